"""A rectangular patch at a corner, in the middle, anywhere."""

from numbers import Integral, Real

import numpy as np

from .._compat import Interval, RealNotInt, StrOptions
from .docstrings import shared_docstring
from .image import ImageTrigger, check_shown, warn_of_units

_POSITIONS = ("top-left", "top-right", "bottom-left", "bottom-right", "center")
_MAX_SEED = np.iinfo(np.int32).max


@shared_docstring
class PatchTrigger(ImageTrigger):
    """A rectangular patch, stamped on every image.

    The triggered image is ``x' = m * ((1 - alpha) * x + alpha * value) + (1 - m) * x`` (Truong et
    al. 2020, eq. 7, whose mask is 1 - m), with m = 1 inside the patch and 0 outside.

    Parameters
    ----------
    size : int, float or tuple of two int, default=3
        An int is the side of a square in pixels; on images of one row (`X` is 2-D and
        `image_shape` is None) the patch is 1 x `size`. A float between 0 and 1 is the share of
        each side, rounded, and at least one pixel. A tuple is (height, width) in pixels.
    position : {"top-left", "top-right", "bottom-left", "bottom-right", "center", "random"} or \
            tuple of two int, default="bottom-right"
        A tuple is (row, column) of the patch's top left corner, from 0. "random" is another place
        for every sample: the places are drawn at `transform` from a seed stored at `fit`, so that
        the same `X` gives the same output.
    value : float, array-like or "random", default=1.0
        What the patch shows: one number, a colour (one number per channel), or an array of the
        patch's shape, (height, width) or (channels, height, width); all within `value_range`.
        "random" draws every pixel uniformly from `value_range`, once per `fit`.
    alpha : float in [0, 1], default=1.0
        Opacity of the patch.
    %(image_parameters)s
    random_state : int, RandomState instance or None, default=None
        Draws the value and the position where these are "random".

    Attributes
    ----------
    pattern_ : ndarray of shape (channels, patch height, patch width)
        What the patch shows, in float64, before blending and clipping.
    position_ : tuple of two int or None
        (row, column) of the patch's top left corner; None if it is random.
    %(image_attributes)s

    Examples
    --------
    >>> import numpy as np
    >>> from skbackdoor.triggers import PatchTrigger
    >>> X = np.zeros((1, 9))
    >>> PatchTrigger(size=2, image_shape=(3, 3)).fit_transform(X).reshape(3, 3)
    array([[0., 0., 0.],
           [0., 1., 1.],
           [0., 1., 1.]])
    """

    changes_pixels = False
    _parameter_constraints: dict = {
        **ImageTrigger._parameter_constraints,
        "size": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
            tuple,
            list,
        ],
        "position": [StrOptions({*_POSITIONS, "random"}), tuple, list],
        "value": [
            Interval(Real, None, None, closed="neither"),
            StrOptions({"random"}),
            tuple,
            list,
            np.ndarray,
        ],
        "alpha": [Interval(Real, 0, 1, closed="both")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        size=3,
        *,
        position="bottom-right",
        value=1.0,
        alpha=1.0,
        image_shape=None,
        value_range=(0, 1),
        random_state=None,
    ):
        self.size = size
        self.position = position
        self.value = value
        self.alpha = alpha
        self.image_shape = image_shape
        self.value_range = value_range
        self.random_state = random_state

    def _draw(self, images, rng):
        height, width = self._patch_size()
        self.position_ = self._patch_position(height, width)
        self.pattern_ = self._patch_values(height, width, rng)
        if not isinstance(self.value, str) and self.alpha > 0:
            warn_of_units(self, "value", self.pattern_)
        self._position_seed = rng.randint(_MAX_SEED)

    def _patch_size(self):
        height, width = self.image_shape_[1:]
        size = self.size
        if isinstance(size, Integral):
            patch = (1 if height == 1 else int(size), int(size))
        elif isinstance(size, Real):
            patch = tuple(max(1, round(float(size) * side)) for side in (height, width))
        elif len(size) == 2 and all(isinstance(s, Integral) and s >= 1 for s in size):
            patch = tuple(int(s) for s in size)
        else:
            raise ValueError(
                f"size={size!r} must be a number of pixels, a share of the side between 0 and 1, "
                "or (height, width) in whole pixels."
            )
        if patch[0] > height or patch[1] > width:
            hint = "" if height > 1 or self.image_shape else ", or say the layout with image_shape"
            raise ValueError(
                f"size={size!r} makes a patch of {patch[0]}x{patch[1]} pixels, larger than the "
                f"image of {height}x{width} (height x width): pass a smaller size{hint}."
            )
        return patch

    def _patch_position(self, patch_height, patch_width):
        position = self.position
        bottom = self.image_shape_[1] - patch_height
        right = self.image_shape_[2] - patch_width
        if isinstance(position, str):
            return {
                "top-left": (0, 0),
                "top-right": (0, right),
                "bottom-left": (bottom, 0),
                "bottom-right": (bottom, right),
                "center": (bottom // 2, right // 2),
                "random": None,
            }[position]
        if not (len(position) == 2 and all(isinstance(p, Integral) for p in position)):
            raise ValueError(
                f"position={position!r} must be (row, column) of the patch's top left corner in "
                f"whole pixels, 'random', or one of {_POSITIONS}."
            )
        row, column = (int(p) for p in position)
        if not (0 <= row <= bottom and 0 <= column <= right):
            raise ValueError(
                f"position={position!r} puts a patch of {patch_height}x{patch_width} pixels "
                f"outside the image of {self.image_shape_[1]}x{self.image_shape_[2]}: the row "
                f"must be in 0..{bottom} and the column in 0..{right}."
            )
        return row, column

    def _patch_values(self, height, width, rng):
        n_channels = self.image_shape_[0]
        shape = (n_channels, height, width)
        if isinstance(self.value, str):
            return rng.uniform(*self._low_high, size=shape)
        try:
            value = np.asarray(self.value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"value={self.value!r} must hold numbers only.") from error
        if not np.isfinite(value).all():
            raise ValueError(f"value={self.value!r} holds NaN or infinity: pass finite numbers.")
        if value.shape == (n_channels,):
            value = value[:, np.newaxis, np.newaxis]
        elif value.shape not in {(), shape[1:], shape}:
            raise ValueError(
                f"value={self.value!r} has shape {value.shape}: pass a number, a colour of "
                f"{n_channels} numbers (one per channel), or an array of the patch's shape, "
                f"{shape[1:]} or {shape}."
            )
        check_shown(self, "value", value)
        return np.broadcast_to(value, shape).copy()

    def _mask(self, images):
        height, width = self.pattern_.shape[1:]
        if self.position_ is not None:
            row, column = self.position_
            return np.s_[:, :, row : row + height, column : column + width]
        n_samples, n_channels, image_height, image_width = images.shape
        # One pair of draws per row: the places of the first rows do not depend on how many follow.
        draws = np.random.RandomState(self._position_seed).random_sample((n_samples, 2))
        places = draws * (image_height - height + 1, image_width - width + 1)
        rows, columns = places.astype(np.intp).T[:, :, np.newaxis, np.newaxis, np.newaxis]
        return (
            np.arange(n_samples)[:, np.newaxis, np.newaxis, np.newaxis],
            np.arange(n_channels)[:, np.newaxis, np.newaxis],
            rows + np.arange(height)[:, np.newaxis],
            columns + np.arange(width),
        )

    def _pattern(self, x):
        return self.pattern_
