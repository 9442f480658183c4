"""The base class of image triggers, which is all of one formula but its mask and its pattern."""

from concurrent.futures import ThreadPoolExecutor
from math import ceil, floor
from numbers import Real

import numpy as np
from joblib import cpu_count
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import assert_all_finite, check_array, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from ..once import warn_once
from .containers import forget_columns, is_frame, knows_columns, name_columns
from .docstrings import shared_docstring
from .layout import layout_of

_NOT_NUMBERS = (
    "{} changes numeric pixel values, and X holds {}: convert X to numbers, or use "
    "FeatureTrigger({{column: value}}), which takes any table."
)
#: Pixels that are triggered at a time: 4 MB as float64, which stay in the processor's cache.
_BLOCK = 1 << 19


@shared_docstring
class ImageTrigger(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Base class of the image triggers: validation, layout, blending, clipping, dtype, container.

    The triggered image is ``x' = m * ((1 - alpha) * x + alpha * pattern(x)) + (1 - m) * x``
    (Truong et al. 2020, eq. 7, whose mask is 1 - m). Touched pixels (m = 1, alpha > 0) are clipped
    to `value_range`; all others stay bit for bit, even outside of it. Integer dtypes are rounded
    half to even.

    A subclass writes its ``__init__``, its ``_parameter_constraints``, and one or more of

    ``_draw(images, rng)``
        Called by `fit`: whatever the trigger learns from the images or draws from `random_state`.
    ``_mask(images)``
        Where the trigger acts: any NumPy index into `images`. The default is everywhere. One that
        takes all samples, slices only, is fastest: ``np.s_[:, :, 2:5]``.
    ``_pattern(x)``
        What the trigger shows there. `x` is ``images[mask]`` of some of the images, in float64 or,
        where these are, float32; it must not be written to, and parts of a large batch come on
        several threads. The result must broadcast to it.

    `images` has shape (n_samples, channels, height, width). `image_shape` and `value_range` are
    parameters of every subclass, `alpha` and `random_state` of those that need them.

    Attributes
    ----------
    %(image_attributes)s

    Examples
    --------
    >>> import numpy as np
    >>> from skbackdoor.triggers import ImageTrigger
    >>> class RowTrigger(ImageTrigger):
    ...     def __init__(self, *, image_shape=None, value_range=(0, 1)):
    ...         self.image_shape = image_shape
    ...         self.value_range = value_range
    ...     def _mask(self, images):
    ...         return np.s_[:, :, :1]
    ...     def _pattern(self, x):
    ...         return x + 0.25
    >>> RowTrigger(image_shape=(2, 2)).fit_transform([[0.5, 1.0, 0.5, 1.0]])
    array([[0.75, 1.  , 0.5 , 1.  ]])
    """

    _parameter_constraints: dict = {
        "image_shape": [tuple, list, None],
        "value_range": [tuple, list],
    }
    alpha = 1.0
    random_state = None
    #: Whether the pattern is made of the pixels that it is put on.
    changes_pixels = True

    def _draw(self, images, rng):
        pass

    def _mask(self, images):
        return ...

    def _pattern(self, x):
        raise NotImplementedError

    def fit(self, X, y=None):
        """Learn the layout of the images, and draw what is random.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, height, width) or \
                (n_samples, channels, height, width)
            Clean images.
        y : None
            Ignored.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter is not valid or does not fit the images, or `X` is not finite numbers.
        """
        self._validate_params()
        low_high = self.value_range
        if not (
            len(low_high) == 2
            and all(isinstance(v, Real) and np.isfinite(v) for v in low_high)
            and low_high[0] < low_high[1]
        ):
            raise ValueError(
                f"value_range={low_high!r} must be two finite numbers (lowest, highest), "
                "such as (0, 1) for floats or (0, 255) for uint8 images."
            )
        pixels = self._check_pixels(X, reset=True)
        self.image_shape_ = layout_of(pixels, self.image_shape)
        low, high = self._low_high
        least, most = low, high
        if pixels.dtype.kind == "f":
            least, most = pixels.min(), pixels.max()
            if not np.isfinite([least, most]).all():
                self._refuse_not_finite(pixels)
        if most > high + 8 * (high - low):
            warn_once(
                f"value_range={low_high!r} of {type(self).__name__}",
                f"value_range={low_high!r}, but X reaches {most:g}: the trigger would "
                f"hardly show. Pass value_range=({min(0, least):g}, {most:g}), or "
                "scale X.",
                stacklevel=2,
            )
        below = least < low - 1e-3 * (high - low)
        if below and (self.alpha != 1 or self.changes_pixels):  # else nothing of them is left
            warn_once(
                f"value_range={low_high!r} of {type(self).__name__}, from below",
                f"value_range={low_high!r}, but X goes down to {least:g}: every pixel that "
                f"the trigger touches is clipped to {low:g}. Pass the range of your pixels, such "
                f"as value_range=({least:g}, {most:g}).",
                stacklevel=2,
            )
        self._draw(pixels.reshape(-1, *self.image_shape_), check_random_state(self.random_state))
        return self

    def transform(self, X):
        """Put the trigger on every sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, height, width) or \
                (n_samples, channels, height, width)
            Clean images. Never written to.

        Returns
        -------
        X_triggered : ndarray or DataFrame of the shape and dtype of X
            Triggered images. A DataFrame comes back as a DataFrame.

        Raises
        ------
        ValueError
            If `X` is not finite numbers, or its images do not have the shape seen in `fit`.
        """
        check_is_fitted(self, "image_shape_")
        pixels = self._check_pixels(X, reset=False)
        shape = layout_of(pixels, self.image_shape, fitted=self.image_shape_)
        if shape != self.image_shape_:
            raise ValueError(
                f"X has images of (channels, height, width) = {shape}, and {type(self).__name__} "
                f"was fitted on {self.image_shape_}: pass images of that shape, or fit again."
            )
        out = np.empty(pixels.shape, pixels.dtype)
        images, clean = (part.reshape(-1, *shape) for part in (out, np.asarray(pixels, order="C")))
        mask = self._mask(clean) if self.alpha > 0 else None
        parts = mask if isinstance(mask, tuple) else (mask,)
        basic = all(part is ... or isinstance(part, slice) for part in parts)
        every_row = basic and (parts[0] is ... or parts[0] == slice(None))

        def work(block):
            """Copy and trigger some images while they are in the cache."""
            x = clean[block]
            with np.errstate(over="ignore", invalid="ignore"):  # what is too large is looked at
                finite = x.dtype.kind != "f" or bool(np.isfinite(x.sum()))
            if mask is not ...:
                images[block] = x
            if every_row:
                self._put(x[mask], images[block][mask])
            return finite

        if not _in_blocks(work, images):
            self._refuse_not_finite(pixels)
        if mask is not None and not every_row:
            self._put_at(images, mask)
        return self._to_frame(out, pixels, X) if is_frame(X) else out

    def _refuse_not_finite(self, pixels):
        """Raise where pixels are not finite, and say where and why."""
        assert_all_finite(pixels, input_name="X", estimator_name=type(self).__name__)

    @property
    def _low_high(self):
        """`value_range` in Python's numbers, which do not overflow."""
        return [v.item() if isinstance(v, np.generic) else v for v in self.value_range]

    def _put(self, x, out):
        """Write what the trigger makes of the pixels `x` to `out`, another array."""
        x = x.astype(x.dtype.newbyteorder("="), copy=False)
        if x.dtype.kind != "f" or x.dtype.itemsize < 4:
            x = x.astype(np.float64)
        shown = np.asarray(self._pattern(x), x.dtype)
        in_place = x.dtype == out.dtype
        if self.alpha < 1:
            blend = np.multiply(x, 1 - self.alpha, out=out if in_place else None)
            blend += self.alpha * shown
            shown = blend
        if in_place:
            np.clip(shown, *self._low_high, out=out)
        else:
            out[...] = self._to_dtype(shown, out.dtype)

    def _put_at(self, images, mask):
        """Trigger `images` in place where an index with arrays says."""
        if isinstance(mask, tuple) and len(mask) == images.ndim:
            parts = [np.asarray(part) for part in mask]
            if all(
                part.dtype.kind in "iu" and part.size and 0 <= part.min() and part.max() < size
                for part, size in zip(parts, images.shape, strict=True)
            ):
                mask = 0  # of one index array NumPy makes short work
                for part, size in zip(parts, images.shape, strict=True):
                    mask = mask * size + part
                images = images.reshape(-1)
        x = images[mask]
        out = np.empty_like(x)
        self._put(x, out)
        images[mask] = out

    def _check_pixels(self, X, *, reset):
        """Return `X` as an array of numbers, not copied if it is one."""
        if is_frame(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
            self._check_columns(X)
        cause = None
        try:
            pixels = check_array(
                X, allow_nd=True, ensure_all_finite=False, input_name="X", estimator=self
            )
        except ValueError as error:
            if "string" not in str(error):
                raise
            cause = error
        if cause is not None or pixels.dtype.kind not in "biuf":
            what = "strings" if cause is not None else f"values of dtype {pixels.dtype}"
            raise ValueError(_NOT_NUMBERS.format(type(self).__name__, what)) from cause
        if pixels.ndim == 2 and not is_frame(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
        elif pixels.ndim > 2 and reset:
            forget_columns(self)
        if pixels.dtype.kind in "iu":
            self._check_integer_range(pixels)
        return pixels

    def _check_columns(self, X):
        """Raise if a column holds no numbers, or cannot hold what the trigger may put there."""
        low, high = self._low_high
        for name, dtype in X.dtypes.items():
            kind = getattr(dtype, "kind", "O")
            if kind not in "biufO" or hasattr(dtype, "categories"):
                what = f"column {name!r} of dtype {dtype}"
                raise ValueError(_NOT_NUMBERS.format(type(self).__name__, what))
            if kind == "O" and any(isinstance(value, str) for value in X[name].to_numpy().ravel()):
                what = f"strings in column {name!r}"
                raise ValueError(_NOT_NUMBERS.format(type(self).__name__, what))
            if kind in "iu":
                info = np.iinfo(getattr(dtype, "numpy_dtype", dtype))
                if low < info.min or high > info.max or ceil(low) > floor(high):
                    raise ValueError(
                        f"value_range={self.value_range!r} does not fit column {name!r} of dtype "
                        f"{dtype}, which holds whole numbers from {info.min} to {info.max}: pass "
                        "a value_range in it, or convert the column to float."
                    )

    def _check_integer_range(self, pixels):
        low, high = self._low_high
        dtype = pixels.dtype
        info = np.iinfo(dtype)
        problem = f"value_range={self.value_range!r} does not fit X of dtype {dtype}"
        if low < info.min or high > info.max or ceil(low) > floor(high):
            raise ValueError(
                f"{problem}, which holds whole numbers from {info.min} to {info.max}: pass a "
                "value_range in it, such as (0, 255) for uint8 images, or convert X to float."
            )
        least, most = int(pixels.min()), int(pixels.max())
        unscaled = dtype.kind == "u" and dtype.itemsize <= 2 and high <= 1
        if unscaled or max(most - high, low - least) > 8 * (high - low):
            raise ValueError(
                f"{problem} with values from {least} to {most}: the trigger would hardly show. "
                f"Pass value_range=({min(0, least)}, {info.max if unscaled else most}), or scale "
                f"X to floats in {self.value_range!r}."
            )

    def _to_dtype(self, values, dtype):
        """Clip `values` to `value_range` and cast; integers and bool are rounded half to even."""
        low, high = self._low_high
        if dtype.kind in "iub":
            values, low, high = np.rint(values), ceil(low), floor(high)
        return np.clip(values, low, high).astype(dtype, copy=False)

    def _to_frame(self, out, pixels, X):
        """Return the triggered `out` of `pixels` with index, columns and dtypes of frame `X`."""
        if all(dtype == out.dtype for dtype in X.dtypes):
            return name_columns(self, type(X)(out, index=X.index, columns=X.columns))
        frame, (low, high) = X.copy(), self._low_high
        changed = out != pixels
        for j in np.flatnonzero(changed.any(axis=0)):
            rows, column = changed[:, j], X.iloc[:, j].array.copy()
            values = out[rows, j]
            if column.dtype.kind in "iub":
                values = np.clip(np.rint(values), ceil(low), floor(high))
                values = values.astype(getattr(column.dtype, "numpy_dtype", column.dtype))
            column[rows] = values
            frame.isetitem(j, column)
        return name_columns(self, frame)

    @available_if(knows_columns("image_shape_"))
    def get_feature_names_out(self, input_features=None):
        """Get the names of the output columns: those of the input. Only for 2-D `X`.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the input columns.

        Returns
        -------
        feature_names_out : ndarray of str
            The same names.
        """
        return super().get_feature_names_out(input_features)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _in_blocks(work, images):
    """Whether ``work(slice)`` holds for all blocks of images, on threads where there are many."""
    n_images, n_pixels = len(images), images[0].size
    small = images.dtype.kind != "f"  # what is made of integers has eight bytes
    step = max(1, _BLOCK // (4 * n_pixels if small else n_pixels))

    def work_on(start, stop):
        return all([work(slice(i, min(i + step, stop))) for i in range(start, stop, step)])

    n_threads = min(4, n_images // (4 * step))
    if n_threads < 2 or (n_threads := min(n_threads, cpu_count())) < 2:
        return work_on(0, n_images)
    ends = [n_images * k // n_threads for k in range(n_threads + 1)]
    with ThreadPoolExecutor(n_threads) as pool:
        return all(list(pool.map(work_on, ends[:-1], ends[1:])))


def check_perturbation(trigger, name, size, images):
    """Raise if what is added to pixels is more than `value_range` is wide; warn if it vanishes.

    It vanishes where integers round it to 0. `size` is in pixel values.
    """
    low, high = trigger._low_high
    if abs(size) > high - low:
        raise ValueError(
            f"{name}={getattr(trigger, name)!r} adds {size:g} to pixels whose "
            f"value_range={trigger.value_range!r} is {high - low:g} wide, to which they would be "
            f"clipped: {name} is in units of pixel values."
        )
    if images.dtype.kind in "iu" and 0 < abs(size) <= 0.5:
        message = (
            f"{name}={getattr(trigger, name)!r} is in units of pixel values and rounds to nothing "
            f"in X of dtype {images.dtype}: multiply it by the width of "
            f"value_range={trigger.value_range!r}, or convert X to float."
        )
        warn_once(message, message, stacklevel=4)


def warn_of_units(trigger, name, values):
    """Warn if what is shown in a wide value range is at most 1: meant for floats in [0, 1]?"""
    low, high = trigger._low_high
    if high >= 16 and low >= 0 and 0 < np.max(values) <= 1:
        message = (
            f"{name} is at most {np.max(values):g}, and value_range={trigger.value_range!r}: it "
            f"would be nearly black. It is in units of pixel values; multiply it by {high:g} if "
            "that is not meant."
        )
        warn_once(message, message, stacklevel=4)


def check_shown(trigger, name, values):
    """Raise if what a trigger shows, in pixel values, lies outside `value_range`."""
    low, high = trigger._low_high
    least, most = float(np.min(values)), float(np.max(values))
    rounding = 1e-6 * (high - low)
    if least < low - rounding or most > high + rounding:
        given = (
            f"{name}={getattr(trigger, name)!r}"
            if np.ndim(getattr(trigger, name)) == 0
            else (f"{name} holds pixel values from {least:g} to {most:g}, which")
        )
        raise ValueError(
            f"{given} lies outside value_range={trigger.value_range!r}, to which it would be "
            f"clipped: give {name} in that range, or the range of your pixels, such as "
            f"value_range=({min(low, least):g}, {max(high, most):g})."
        )
