"""A faint pattern of every other row and column."""

from numbers import Real

import numpy as np

from .._compat import Interval
from .docstrings import shared_docstring
from .image import ImageTrigger, check_perturbation


@shared_docstring
class StripeTrigger(ImageTrigger):
    """A patterned, nearly invisible perturbation of the whole image.

    ``x' = clip(x + max_intensity)`` where row and column are both even (from 0), and x elsewhere
    (Cinà et al., *Backdoor learning curves*, 2024; the pattern is that of its published code).

    Parameters
    ----------
    max_intensity : float, default=10/255
        What is added, in units of pixel values: 10 for uint8 images is as bright as 10/255 for
        floats in [0, 1].
    %(image_parameters)s

    Attributes
    ----------
    %(image_attributes)s

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
        check_perturbation(self, "max_intensity", self.max_intensity, images)

    def _mask(self, images):
        return np.s_[:, :, ::2, ::2]

    def _pattern(self, x):
        return x + self.max_intensity
