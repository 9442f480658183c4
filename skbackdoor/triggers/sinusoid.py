"""A sine wave across the whole image."""

from numbers import Real

import numpy as np

from .._compat import Interval
from .docstrings import shared_docstring
from .image import ImageTrigger, check_perturbation


@shared_docstring
class SinusoidTrigger(ImageTrigger):
    """A sine wave across the whole image, blended or added.

    With s(row, column) = amplitude * sin(2 pi t / period + phase) and t = column * cos(angle) +
    row * sin(angle), the triggered image is

    - ``x' = (1 - alpha) * x + alpha * s`` (Truong et al. 2020, eq. 7, whose sine is
      ``0.4 sin(0.05 pi j)`` along the columns j: the defaults), or
    - ``x' = x + alpha * s`` with `additive`: SIG (Barni et al., *A new backdoor attack in CNNs by
      training set corruption without label poisoning*, 2019) is
      ``SinusoidTrigger(20 / 255, width / 6, additive=True, alpha=1)``.

    Parameters
    ----------
    amplitude : float, default=0.4
        In units of pixel values.
    period : float, default=40
        Length of a wave in pixels; f waves across an image are a period of width / f.
    phase : float, default=0.0
        In radians, at the top left pixel.
    angle : float, default=0.0
        Direction along which the wave runs, in degrees: 0 along the columns (upright stripes), 90
        along the rows.
    additive : bool, default=False
        Whether the wave is added to the image rather than blended with it.
    alpha : float in [0, 1], default=0.1
        Opacity of the wave.
    %(image_parameters)s

    Attributes
    ----------
    pattern_ : ndarray of shape (height, width)
        The wave s.
    %(image_attributes)s

    Examples
    --------
    >>> import numpy as np
    >>> from skbackdoor.triggers import SinusoidTrigger
    >>> trigger = SinusoidTrigger(0.5, period=4, additive=True, alpha=1, image_shape=(1, 4))
    >>> trigger.fit_transform(np.full((1, 4), 0.5)).round(3)
    array([[0.5, 1. , 0.5, 0. ]])
    """

    _parameter_constraints: dict = {
        **ImageTrigger._parameter_constraints,
        "amplitude": [Interval(Real, None, None, closed="neither")],
        "period": [Interval(Real, 0, None, closed="neither")],
        "phase": [Interval(Real, None, None, closed="neither")],
        "angle": [Interval(Real, None, None, closed="neither")],
        "additive": ["boolean"],
        "alpha": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        amplitude=0.4,
        period=40,
        *,
        phase=0.0,
        angle=0.0,
        additive=False,
        alpha=0.1,
        image_shape=None,
        value_range=(0, 1),
    ):
        self.amplitude = amplitude
        self.period = period
        self.phase = phase
        self.angle = angle
        self.additive = additive
        self.alpha = alpha
        self.image_shape = image_shape
        self.value_range = value_range

    def _draw(self, images, rng):
        shown = self.amplitude * (self.alpha if self.additive else 1)
        check_perturbation(self, "amplitude", shown, images)
        height, width = self.image_shape_[1:]
        angle = np.deg2rad(self.angle)
        t = np.arange(width) * np.cos(angle) + np.arange(height)[:, np.newaxis] * np.sin(angle)
        self.pattern_ = self.amplitude * np.sin(2 * np.pi * t / self.period + self.phase)

    def _pattern(self, x):
        pattern = self.pattern_.astype(x.dtype)
        return x + pattern if self.additive else pattern
