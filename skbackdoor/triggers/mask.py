"""A mask and a pattern of one's own: every pixel with its own opacity."""

from numbers import Real

import numpy as np

from .._compat import Interval
from .blend import image_like
from .docstrings import shared_docstring
from .image import ImageTrigger


@shared_docstring
class MaskTrigger(ImageTrigger):
    """Every pixel faded by its own opacity, and something added to it.

    ``x' = (1 - mask) * x + shift``, clipped to `value_range` where the trigger acts. With
    ``shift = mask * pattern`` that is the trigger of Wang et al., *Neural Cleanse* (2019), eq. 3;
    with a mask of 0 it is an additive one. What a group of suspected rows has in common is
    told in this form (:meth:`PoisonGroup.trigger <skbackdoor.PoisonGroup.trigger>`).

    Parameters
    ----------
    mask : float or array-like of shape (n_features,), (height, width) or (channels, height, width)
        Opacity of every pixel, from 0 (the image shows) to 1 (it does not). One channel serves
        all channels.
    shift : float or array-like of shape (n_features,), (height, width) or \
            (channels, height, width)
        What is added, in units of pixel values.
    %(image_parameters)s

    Attributes
    ----------
    mask_ : ndarray of shape (channels, height, width)
        `mask`, in float64.
    shift_ : ndarray of shape (channels, height, width)
        `shift`, in float64.
    touched_ : ndarray of bool of shape (channels, height, width)
        Where the trigger acts: where one of the two is not 0.
    %(image_attributes)s

    Examples
    --------
    >>> from skbackdoor.triggers import MaskTrigger
    >>> trigger = MaskTrigger([[0, 1], [0.5, 0]], [[0, 1], [0, 0.25]], image_shape=(2, 2))
    >>> trigger.fit_transform([[0.5, 0.5, 0.5, 0.5]])
    array([[0.5 , 1.  , 0.25, 0.75]])
    """

    _parameter_constraints: dict = {
        **ImageTrigger._parameter_constraints,
        "mask": ["array-like", Interval(Real, 0, 1, closed="both")],
        "shift": ["array-like", Interval(Real, None, None, closed="neither")],
    }

    def __init__(self, mask, shift, *, image_shape=None, value_range=(0, 1)):
        self.mask = mask
        self.shift = shift
        self.image_shape = image_shape
        self.value_range = value_range

    def _draw(self, images, rng):
        self.mask_ = image_like("mask", self.mask, self.image_shape_)
        self.shift_ = image_like("shift", self.shift, self.image_shape_)
        if self.mask_.min() < 0 or self.mask_.max() > 1:
            raise ValueError(
                f"mask holds values from {self.mask_.min():g} to {self.mask_.max():g}: opacities"
                " are from 0 to 1."
            )
        self.touched_ = (self.mask_ > 0) | (self.shift_ != 0)

    def _mask(self, images):
        return (slice(None), *np.nonzero(self.touched_))

    def _pattern(self, x):
        mask, shift = self.mask_[self.touched_], self.shift_[self.touched_]
        return (1 - mask).astype(x.dtype) * x + shift.astype(x.dtype)
