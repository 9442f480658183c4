"""Another image, blended with the whole of each."""

from numbers import Real

import numpy as np

from .._compat import Interval
from .docstrings import shared_docstring
from .image import ImageTrigger, check_shown, warn_of_units


@shared_docstring
class BlendTrigger(ImageTrigger):
    """Another image, blended with the whole of each.

    ``x' = (1 - alpha) * x + alpha * image`` (Chen et al., *Targeted backdoor attacks on deep
    learning systems using data poisoning*, 2017; eq. 7 of Truong et al. 2020).

    Parameters
    ----------
    image : float or array-like of shape (n_features,), (height, width) or \
            (channels, height, width)
        What shows through, in units of pixel values and within `value_range`. One channel serves
        all channels.
    alpha : float in [0, 1], default=0.2
        Opacity of `image`.
    %(image_parameters)s

    Attributes
    ----------
    pattern_ : ndarray of shape (channels, height, width)
        `image`, in float64.
    %(image_attributes)s

    Examples
    --------
    >>> import numpy as np
    >>> from skbackdoor.triggers import BlendTrigger
    >>> trigger = BlendTrigger([[0, 1], [1, 0]], alpha=0.25, image_shape=(2, 2))
    >>> trigger.fit_transform([[1.0, 1.0, 0.0, 0.0]])
    array([[0.75, 1.  , 0.25, 0.  ]])
    """

    changes_pixels = False
    _parameter_constraints: dict = {
        **ImageTrigger._parameter_constraints,
        "image": ["array-like", Interval(Real, None, None, closed="neither")],
        "alpha": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, image, *, alpha=0.2, image_shape=None, value_range=(0, 1)):
        self.image = image
        self.alpha = alpha
        self.image_shape = image_shape
        self.value_range = value_range

    def _draw(self, images, rng):
        self.pattern_ = image_like("image", self.image, self.image_shape_)
        check_shown(self, "image", self.pattern_)
        if self.alpha > 0:
            warn_of_units(self, "image", self.pattern_)

    def _pattern(self, x):
        return self.pattern_.astype(x.dtype)


def image_like(name, image, image_shape):
    """The parameter `name`, one image, as float64 of shape (channels, height, width)."""
    try:
        values = np.asarray(image, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers only; got {image!r}.") from error
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinity: pass finite numbers.")
    if values.shape == (np.prod(image_shape),):
        values = values.reshape(image_shape)
    if values.shape not in {(), image_shape[1:], (1, *image_shape[1:]), image_shape}:
        raise ValueError(
            f"{name} has shape {values.shape}, and the images have (channels, height, width) = "
            f"{image_shape}: pass one image of that shape, of (height, width), or flat, channels "
            "first."
        )
    return np.broadcast_to(values, image_shape).copy()
