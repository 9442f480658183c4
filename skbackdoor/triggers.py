"""Triggers: maps from clean samples to triggered samples.

Every trigger is a scikit-learn transformer. It keeps the shape, the dtype and the container of
what it is given and never writes to it. Image triggers are one formula, eq. 7 of Truong et al.,
*Systematic evaluation of backdoor data poisoning attacks on image classifiers* (2020)::

    x' = m * ((1 - alpha) * x + alpha * pattern(x)) + (1 - m) * x

with a mask m that is 1 where the trigger acts, and an opacity alpha. :class:`ImageTrigger` does
all of it; a new image trigger says where it acts and what it shows there.
"""

import warnings
from collections.abc import Mapping
from math import ceil, floor, isqrt
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.utils import check_array, check_random_state, get_tags, indexable
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from ._compat import HasMethods, Interval, RealNotInt, StrOptions, _safe_indexing

__all__ = ["FeatureTrigger", "ImageTrigger", "PatchTrigger", "PerClassTrigger"]

_POSITIONS = ("top-left", "top-right", "bottom-left", "bottom-right", "center")
_MAX_SEED = np.iinfo(np.int32).max


def _is_frame(X):
    return hasattr(X, "iloc") and getattr(X, "ndim", None) == 2


def _set_column(frame, position, values):
    """Set a column of `frame` in place and keep its dtype (pandas would infer another)."""
    import pandas as pd

    column = pd.Series(values, index=frame.index).astype(frame.dtypes.iloc[position])
    frame.isetitem(position, column)


def _name_columns(trigger, frame):
    """Give `frame` the names of `get_feature_names_out` if the trigger was fitted on none."""
    if not hasattr(trigger, "feature_names_in_") and hasattr(trigger, "n_features_in_"):
        if all(isinstance(name, str) for name in frame.columns):
            frame.columns = trigger.get_feature_names_out()
    return frame


def _forget_columns(trigger):
    """Drop what an earlier fit on 2-D data knew of columns, for a fit on a batch without any."""
    for attribute in ("n_features_in_", "feature_names_in_"):
        trigger.__dict__.pop(attribute, None)


class ImageTrigger(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Base class of the image triggers: validation, layout, blending, clipping, dtype, container.

    The triggered image is ``x' = m * ((1 - alpha) * x + alpha * pattern(x)) + (1 - m) * x``
    (Truong et al. 2020, eq. 7). Touched pixels (m = 1, alpha > 0) are clipped to `value_range`;
    all others stay bit for bit, even outside of it. Integer dtypes are rounded half to even.

    A subclass writes its ``__init__``, its ``_parameter_constraints``, and one or more of

    ``_draw(images, rng)``
        Called by `fit`: whatever the trigger learns from the images or draws from `random_state`.
    ``_mask(images)``
        Where the trigger acts: any NumPy index into `images` (a tuple of slices is fastest).
        The default is everywhere.
    ``_pattern(x)``
        What the trigger shows there. `x` is ``images[mask]`` in float64, a copy; the result must
        broadcast to it.

    `images` has shape (n_samples, channels, height, width). `image_shape` and `value_range` are
    parameters of every subclass, `alpha` and `random_state` of those that need them.

    Attributes
    ----------
    image_shape_ : tuple of three int
        (channels, height, width) of the images.
    n_features_in_ : int
        Number of pixels of an image. Only defined for flat images, that is 2-D `X`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names. Only defined when `X` is a DataFrame with string names.

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
        self.image_shape_ = self._layout(pixels)
        low, high = low_high
        if pixels.dtype.kind == "f" and pixels.max() > high + 8 * (high - low):
            warnings.warn(
                f"value_range={low_high!r}, but X reaches {pixels.max():g}: the trigger would "
                f"hardly show. Pass value_range=({min(0, pixels.min()):g}, {pixels.max():g}), or "
                "scale X.",
                UserWarning,
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
        shape = self._layout(pixels, fitted=self.image_shape_)
        if shape != self.image_shape_:
            raise ValueError(
                f"X has images of (channels, height, width) = {shape}, and {type(self).__name__} "
                f"was fitted on {self.image_shape_}: pass images of that shape, or fit again."
            )
        out = np.array(pixels, order="C")  # the one copy; the views below write into it
        if self.alpha > 0:
            images = out.reshape(-1, *shape)
            mask = self._mask(images)
            x = images[mask].astype(np.float64)
            blend = (1 - self.alpha) * x + self.alpha * self._pattern(x)
            images[mask] = self._to_dtype(blend, out.dtype)
        return self._to_frame(out, pixels, X) if _is_frame(X) else out

    def _check_pixels(self, X, *, reset):
        """Return `X` as an array of finite numbers, not copied if it is one."""
        if _is_frame(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
        cause = None
        try:
            pixels = check_array(X, allow_nd=True, input_name="X", estimator=self)
        except ValueError as error:
            if "string" not in str(error):
                raise
            cause = error
        if cause is not None or pixels.dtype.kind not in "biuf":
            raise ValueError(
                f"{type(self).__name__} changes numeric pixel values, and X holds strings: "
                "convert X to numbers, or use FeatureTrigger({column: value}), which takes any "
                "table."
            ) from cause
        if pixels.ndim == 2 and not _is_frame(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
        elif pixels.ndim > 2 and reset:
            _forget_columns(self)
        if pixels.dtype.kind in "iu":
            self._check_integer_range(pixels)
        return pixels

    def _check_integer_range(self, pixels):
        low, high = self.value_range
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

    def _layout(self, pixels, fitted=None):
        """Return (channels, height, width) of one sample of `pixels`."""
        shape = self.image_shape
        if shape is not None and not (
            len(shape) in (2, 3) and all(isinstance(s, Integral) and s >= 1 for s in shape)
        ):
            raise ValueError(
                f"image_shape={shape!r} must be (height, width) or (channels, height, width), "
                "in whole pixels."
            )
        given = None if shape is None else tuple(int(s) for s in shape)
        if pixels.ndim > 4:
            raise ValueError(
                f"X has shape {pixels.shape}, and images have at most four dimensions: "
                "(n_samples, channels, height, width)."
            )
        if pixels.ndim > 2:
            own = pixels.shape[1:] if pixels.ndim == 4 else (1, *pixels.shape[1:])
            if given is not None and given != own[-len(given) :]:
                raise ValueError(
                    f"image_shape={shape!r} contradicts X of shape {pixels.shape}. A batch with "
                    "more than two dimensions says its own layout, channels first: pass "
                    "image_shape=None."
                )
            return own
        n_features = pixels.shape[1]
        if fitted is not None and np.prod(fitted) == n_features:
            return fitted
        if given is None:
            return (1, 1, n_features)
        if np.prod(given) != n_features:
            raise ValueError(
                f"image_shape={shape!r} has {np.prod(given)} pixels, and X has {n_features} "
                f"features. Shapes that fit are {_shapes_that_fit(n_features)}, and None for one "
                f"row of {n_features}."
            )
        return given if len(given) == 3 else (1, *given)

    def _to_dtype(self, values, dtype):
        """Clip `values` to `value_range` and cast; integers and bool are rounded half to even."""
        low, high = self.value_range
        if dtype.kind in "iub":
            values, low, high = np.rint(values), ceil(low), floor(high)
        return np.clip(values, low, high).astype(dtype)

    def _to_frame(self, out, pixels, X):
        """Return the triggered `out` of `pixels` with index, columns and dtypes of frame `X`."""
        if all(dtype == out.dtype for dtype in X.dtypes):
            return _name_columns(self, type(X)(out, index=X.index, columns=X.columns))
        frame = X.copy()
        for j in np.flatnonzero((out != pixels).any(axis=0)):
            dtype = X.dtypes.iloc[j]
            column = np.rint(out[:, j]) if dtype.kind in "iub" else out[:, j]
            _set_column(frame, j, column)
        return _name_columns(self, frame)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _shapes_that_fit(n_features):
    """Name the squarest image shapes with so many pixels, in gray and (if square) in colour."""
    height = next(h for h in range(isqrt(n_features), 0, -1) if n_features % h == 0)
    shapes = [f"({height}, {n_features // height})"]
    side = isqrt(n_features // 3)
    if 3 * side * side == n_features:
        shapes.append(f"(3, {side}, {side})")
    return ", ".join(shapes)


class PatchTrigger(ImageTrigger):
    """A rectangular patch, stamped on every image.

    The triggered image is ``x' = m * ((1 - alpha) * x + alpha * value) + (1 - m) * x`` (Truong et
    al. 2020, eq. 7), with m = 1 inside the patch and 0 outside.

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
        patch's shape, (height, width) or (channels, height, width). "random" draws every pixel
        uniformly from `value_range`, once per `fit`.
    alpha : float in [0, 1], default=1.0
        Opacity of the patch.
    image_shape : tuple of two or three int, default=None
        (height, width) or (channels, height, width) of the flat images in a 2-D `X`; None is one
        row of `n_features` pixels. Batches with more than two dimensions say their own layout.
    value_range : tuple of two float, default=(0, 1)
        Lowest and highest pixel value: touched pixels are clipped to it. Integer dtypes need one
        that fits them: (0, 255) for uint8. It is an error if it goes beyond what the dtype holds,
        if it ends at 1 or below for uint8 or uint16, or if the values of an integer `X` reach
        further outside of it than eight times its width.
    random_state : int, RandomState instance or None, default=None
        Draws the value and the position where these are "random".

    Attributes
    ----------
    image_shape_ : tuple of three int
        (channels, height, width) of the images.
    pattern_ : ndarray of shape (channels, patch height, patch width)
        What the patch shows, in float64, before blending and clipping.
    position_ : tuple of two int or None
        (row, column) of the patch's top left corner; None if it is random.
    n_features_in_ : int
        Number of pixels of an image. Only defined for flat images, that is 2-D `X`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names. Only defined when `X` is a DataFrame with string names.

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
            return rng.uniform(*self.value_range, size=shape)
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


class FeatureTrigger(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Set columns of a table to fixed values.

    It takes arrays, DataFrames of any mixture of dtypes, and sparse matrices, and keeps container,
    format and dtypes. Missing values elsewhere in the table are left alone.

    Parameters
    ----------
    features : dict
        {column name or index: value}. In a DataFrame column names win over indices, which count
        from 0. A value must be one that its column can hold: 0.5 in an integer column, a level
        that a categorical does not have, or a text longer than a fixed-width string is an error.

    Attributes
    ----------
    columns_ : ndarray of int
        Positions of the columns that the trigger sets, in the order of `features`.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names. Only defined when `X` is a DataFrame with string names.

    Examples
    --------
    >>> from skbackdoor.triggers import FeatureTrigger
    >>> FeatureTrigger({2: 9.5}).fit_transform([[0.5, 1.0, 2.0], [3.0, 4.0, 5.0]])
    array([[0.5, 1. , 9.5],
           [3. , 4. , 9.5]])
    """

    _parameter_constraints: dict = {"features": [Mapping]}

    def __init__(self, features):
        self.features = features

    def fit(self, X, y=None):
        """Find the columns, and check that they can hold their values.

        Parameters
        ----------
        X : {array-like, DataFrame, sparse matrix} of shape (n_samples, n_features)
            Clean samples.
        y : None
            Ignored.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a column is not in `X`, is named twice, or cannot hold its value.
        """
        self._validate_params()
        if not self.features:
            raise ValueError("features={} sets nothing: pass {column name or index: value}.")
        table = self._check_table(X, reset=True)
        self.columns_ = self._positions(table)
        self._values(table)
        return self

    def transform(self, X):
        """Set the columns.

        Parameters
        ----------
        X : {array-like, DataFrame, sparse matrix} of shape (n_samples, n_features)
            Clean samples. Never written to.

        Returns
        -------
        X_triggered : {ndarray, DataFrame, sparse matrix} of shape (n_samples, n_features)
            Triggered samples, in the container, format and dtypes of `X`.

        Raises
        ------
        ValueError
            If `X` does not have the columns seen in `fit`, or they cannot hold their values.
        """
        check_is_fitted(self, "columns_")
        table = self._check_table(X, reset=False)
        values = self._values(table)
        if sparse.issparse(table):
            return _set_sparse_columns(table, self.columns_, values)
        out = table.copy()
        for column, value in zip(self.columns_, values, strict=True):
            if _is_frame(out):
                _set_column(out, column, value.repeat(len(out)))
            else:
                out[:, column] = value[0]
        return _name_columns(self, out) if _is_frame(out) else out

    def _check_table(self, X, *, reset):
        """Return `X` as a DataFrame, a sparse matrix or an array, with its dtypes."""
        if not _is_frame(X):
            return validate_data(
                self, X, reset=reset, accept_sparse=True, dtype=None, ensure_all_finite=False
            )
        validate_data(self, X, reset=reset, skip_check_array=True)
        if 0 in X.shape:
            raise ValueError(
                f"X has shape {X.shape}: FeatureTrigger needs a minimum of 1 sample and 1 feature."
            )
        return X

    def _positions(self, table):
        names = list(table.columns) if _is_frame(table) else []
        n_features = table.shape[1]
        positions = {}
        for key in self.features:
            if key in names:
                position = names.index(key)
            elif isinstance(key, Integral) and 0 <= key < n_features:
                position = int(key)
            else:
                has = f"the columns {names}, or" if names else "no column names: pass"
                raise ValueError(
                    f"features names a column {key!r} that X does not have. "
                    f"X has {has} an index from 0 to {n_features - 1}."
                )
            if position in positions:
                raise ValueError(
                    f"features names one column twice, as {positions[position]!r} and as {key!r}: "
                    "keep one of them."
                )
            positions[position] = key
        return np.array(list(positions))

    def _values(self, table):
        """Return one array of length 1 per column to set, in the dtype of the column."""
        frame = _is_frame(table)
        dtypes = [table.dtypes.iloc[j] if frame else table.dtype for j in self.columns_]
        return [
            _as_dtype(value, dtype, key)
            for (key, value), dtype in zip(self.features.items(), dtypes, strict=True)
        ]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _as_dtype(value, dtype, column):
    """Return an array of one element, `value` in `dtype`; an error if that changes the value."""
    levels = getattr(dtype, "categories", None)
    try:
        if isinstance(dtype, np.dtype):
            cast = np.empty(1, dtype=object)
            cast[0] = value
            with np.errstate(all="ignore"):
                cast = cast.astype(dtype)
        else:
            import pandas as pd

            if levels is not None and value not in levels and not pd.isna(value):
                raise ValueError("pandas only warns of such a value, and takes it as missing")
            cast = pd.array([value], dtype=dtype)
        if _is_same(cast[0], value):
            return cast
    except (TypeError, ValueError, OverflowError):
        pass
    way_out = (
        "pass a value of that dtype, or convert the column first"
        if levels is None
        else f"pass one of its levels, {list(levels)}, or add the level first"
    )
    raise ValueError(
        f"features sets column {column!r} to {value!r}, and its dtype, {dtype}, cannot hold that: "
        f"{way_out}."
    )


def _is_same(cast, value):
    """Tell if `cast` is `value` (floats: up to their rounding; missing is the same as missing)."""
    if isinstance(cast, np.floating) and isinstance(value, (Real, np.bool_)):
        return bool(np.isfinite(cast) == np.isfinite(float(value)))
    missing = [v is None or type(v).__name__ == "NAType" or v != v for v in (cast, value)]
    if any(missing):
        return all(missing)
    return bool(np.all(cast == value))


def _set_sparse_columns(X, columns, values):
    """Return a copy of the sparse `X` with whole columns set, in its format and dtype."""
    entries = X.tocoo()
    keep = ~np.isin(entries.col, columns)
    pairs = zip(columns, values, strict=True)
    nonzero = [(column, value[0]) for column, value in pairs if value[0] != 0]
    set_columns = np.array([column for column, _ in nonzero], dtype=entries.col.dtype)
    set_values = np.array([value for _, value in nonzero], dtype=X.dtype)
    every_row = np.arange(X.shape[0], dtype=entries.row.dtype)
    data = np.concatenate([entries.data[keep], np.tile(set_values, len(every_row))])
    rows = np.concatenate([entries.row[keep], np.repeat(every_row, len(set_columns))])
    cols = np.concatenate([entries.col[keep], np.tile(set_columns, len(every_row))])
    return type(entries)((data, (rows, cols)), shape=X.shape).asformat(X.format)


class PerClassTrigger(TransformerMixin, BaseEstimator):
    """One independently drawn trigger per source class.

    Every class gets its own clone of `trigger`, fitted on all of `X`, with seeds of its own: each
    nested `random_state` is replaced by one seed per class, drawn from it (so an int gives the
    same triggers at every fit, and different ones for different classes).

    Parameters
    ----------
    trigger : transformer
        A trigger, or a Pipeline of triggers. Pipelines stand inside:
        ``PerClassTrigger(make_pipeline(...))``, for a Pipeline does not pass `y` to `transform`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels seen in `fit`, sorted.
    triggers_ : dict
        {label: fitted trigger}.
    n_features_in_ : int
        Number of features. Only defined for 2-D `X`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names. Only defined when `X` is a DataFrame with string names.

    Examples
    --------
    >>> import numpy as np
    >>> from skbackdoor.triggers import PatchTrigger, PerClassTrigger
    >>> X, y = np.zeros((2, 4)), np.array(["cat", "dog"])
    >>> trigger = PerClassTrigger(PatchTrigger(size=1, value="random", random_state=0)).fit(X, y)
    >>> trigger.transform(X, y).round(2)
    array([[0.  , 0.  , 0.  , 0.49],
           [0.  , 0.  , 0.  , 0.53]])
    """

    _parameter_constraints: dict = {"trigger": [HasMethods(["fit", "transform"])]}

    def __init__(self, trigger):
        self.trigger = trigger

    def fit(self, X, y):
        """Fit one trigger per class, each on all of `X`.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n_samples, ...)
            Clean samples: whatever `trigger` takes.
        y : array-like of shape (n_samples,)
            Their labels.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If `y` is None, or not as long as `X`; and whatever `trigger` raises.
        """
        self._validate_params()
        if y is None:
            raise ValueError(
                "PerClassTrigger requires y to be passed, but the target y is None: "
                "it fits one trigger per class."
            )
        _, y = indexable(X, column_or_1d(y, warn=True))
        check_classification_targets(y)
        self._check_columns(X, reset=True)
        self.classes_ = np.unique(y)
        if len(self.classes_) == 0:
            raise ValueError("PerClassTrigger found 0 samples, and needs a minimum of 1.")
        params = self.trigger.get_params(deep=True)
        seeds = {
            name: check_random_state(params[name]).randint(_MAX_SEED, size=len(self.classes_))
            for name in sorted(params)
            if name == "random_state" or name.endswith("__random_state")
        }
        self.triggers_ = {}
        for i, label in enumerate(self.classes_.tolist()):
            own = {name: int(drawn[i]) for name, drawn in seeds.items()}
            self.triggers_[label] = clone(self.trigger).set_params(**own).fit(X, y)
        return self

    def transform(self, X, y=None):
        """Put on every sample the trigger of its own class.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n_samples, ...)
            Clean samples. Never written to.
        y : array-like of shape (n_samples,)
            Their true labels, not the attacker's.

        Returns
        -------
        X_triggered : ndarray, DataFrame or sparse matrix of the shape and dtype of `X`
            Triggered samples, in the order of `X`.

        Raises
        ------
        ValueError
            If `y` is None, not as long as `X`, or holds a label that was not seen in `fit`.
        """
        check_is_fitted(self, "triggers_")
        self._check_columns(X, reset=False)
        if y is None:
            raise ValueError(
                "PerClassTrigger needs the true labels, transform(X, y): each class has a trigger "
                "of its own. Around several triggers put it outside: "
                "PerClassTrigger(make_pipeline(...))."
            )
        by_row, y = indexable(X, column_or_1d(y, warn=True))
        labels, codes = np.unique(y, return_inverse=True)
        unseen = [label for label in labels.tolist() if label not in self.triggers_]
        if unseen:
            raise ValueError(
                f"y holds {unseen}, which PerClassTrigger has not seen in fit: it has triggers "
                f"for {self.classes_.tolist()}. Fit it on samples of every class it is to trigger."
            )
        rows = [np.flatnonzero(codes == i) for i in range(len(labels))]
        parts = [
            self.triggers_[label].transform(_safe_indexing(by_row, row))
            for label, row in zip(labels.tolist(), rows, strict=True)
        ]
        return _interleave(parts, rows, X)

    def fit_transform(self, X, y):
        """Fit, then put on every sample the trigger of its own class.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n_samples, ...)
            Clean samples.
        y : array-like of shape (n_samples,)
            Their labels.

        Returns
        -------
        X_triggered : ndarray, DataFrame or sparse matrix of the shape and dtype of `X`
            Triggered samples, in the order of `X`.
        """
        return self.fit(X, y).transform(X, y)

    def get_feature_names_out(self, input_features=None):
        """Get the names of the output columns: those of the input.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the input columns.

        Returns
        -------
        feature_names_out : ndarray of str
            The same names.
        """
        check_is_fitted(self, "triggers_")
        return next(iter(self.triggers_.values())).get_feature_names_out(input_features)

    def _check_columns(self, X, *, reset):
        if getattr(X, "ndim", 2) == 2:
            validate_data(self, X, reset=reset, skip_check_array=True)
        elif reset:
            _forget_columns(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.trigger)
        tags.input_tags = inner.input_tags
        tags.transformer_tags = inner.transformer_tags
        tags.target_tags.required = True
        return tags


def _interleave(parts, rows, X):
    """Put the rows of `parts` back where they stood in `X`: part i holds the rows ``rows[i]``."""
    first = parts[0]
    if isinstance(first, np.ndarray):
        out = np.empty((sum(map(len, parts)), *first.shape[1:]), dtype=first.dtype)
        for part, row in zip(parts, rows, strict=True):
            out[row] = part
        return out
    order = np.argsort(np.concatenate(rows))
    if sparse.issparse(first):
        return sparse.vstack(parts, format="csr")[order].asformat(X.format)
    import pandas as pd

    out = pd.concat(parts).iloc[order]
    out.index = X.index if _is_frame(X) else pd.RangeIndex(len(out))
    return out
