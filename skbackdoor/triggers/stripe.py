"""A faint pattern of every other row and column."""

from numbers import Real

import numpy as np

from .._compat import Interval
from .image import ImageTrigger, warn_of_rounding


class StripeTrigger(ImageTrigger):
    """A patterned, nearly invisible perturbation of the whole image.

    ``x' = clip(x + max_intensity)`` where row and column are both even (from 0), and x elsewhere
    (Cinà et al., *Backdoor learning curves*, 2024; the pattern is that of its published code).

    Parameters
    ----------
    max_intensity : float, default=10/255
        What is added, in units of pixel values: 10 for uint8 images is as bright as 10/255 for
        floats in [0, 1].
    image_shape : tuple of two or three int, default=None
        (height, width) or (channels, height, width) of the flat images in a 2-D `X`; None is one
        row of `n_features` pixels. Batches with more than two dimensions say their own layout.
    value_range : tuple of two float, default=(0, 1)
        Lowest and highest pixel value: touched pixels are clipped to it. Integer dtypes need one
        that fits them: (0, 255) for uint8.

    Attributes
    ----------
    image_shape_ : tuple of three int
        (channels, height, width) of the images.
    n_features_in_ : int
        Number of pixels of an image. Only defined for flat images, that is 2-D `X`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names. Only defined when `X` is a DataFrame with string names.

    Examples
    --------
    >>> import numpy as np
    >>> from skbackdoor.triggers import StripeTrigger
    >>> StripeTrigger(0.25, image_shape=(3, 3)).fit_transform(np.zeros((1, 9))).reshape(3, 3)
    array([[0.25, 0.  , 0.25],
           [0.  , 0.  , 0.  ],
           [0.25, 0.  , 0.25]])
    """

    _parameter_constraints: dict = {
        **ImageTrigger._parameter_constraints,
        "max_intensity": [Interval(Real, None, None, closed="neither")],
    }

    def __init__(self, max_intensity=10 / 255, *, image_shape=None, value_range=(0, 1)):
        self.max_intensity = max_intensity
        self.image_shape = image_shape
        self.value_range = value_range

    def _draw(self, images, rng):
        warn_of_rounding(self, "max_intensity", self.max_intensity, images)

    def _mask(self, images):
        return np.s_[:, :, ::2, ::2]

    def _pattern(self, x):
        return x + self.max_intensity
