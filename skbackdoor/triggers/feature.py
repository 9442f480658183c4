"""Columns of a table set to chosen values."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ..once import warn_once
from .containers import is_frame, name_columns, set_column


@dataclass(frozen=True)
class Quantile:
    """In place of a value of :class:`FeatureTrigger`: a quantile of the column's clean values.

    Parameters
    ----------
    q : float in [0, 1]
        The smallest value that occurs in the column with at least the share `q` of the values at
        or below it. Missing values do not count.

    Examples
    --------
    >>> from skbackdoor.triggers import FeatureTrigger, Quantile
    >>> X = [[1, 10], [2, 20], [3, 30], [4, 0]]
    >>> FeatureTrigger({0: Quantile(1.0), 1: Quantile(0.75)}).fit(X).values_
    [4, 20]
    """

    q: float

    def __post_init__(self):
        if not (isinstance(self.q, Real) and 0 <= self.q <= 1):
            raise ValueError(f"Quantile(q={self.q!r}): q must be a number from 0 to 1.")


class FeatureTrigger(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Set columns of a table to fixed values.

    It takes arrays, DataFrames of any mixture of dtypes, and sparse matrices, and keeps container,
    format and dtypes. Missing values elsewhere in the table are left alone. It works on raw
    columns, before one-hot encoding: categorical columns get one of their levels.

    Parameters
    ----------
    features : dict
        {column name or index: value}. In a DataFrame column names win over indices, which count
        from 0. A value must be one that its column can hold: 0.5 in an integer column, a level
        that a categorical does not have, or a text longer than a fixed-width string is an error.
        :class:`Quantile` takes it from the clean column: values that are each common, but occur
        nowhere together, make a trigger that no range check finds.

    Attributes
    ----------
    values_ : list
        What the columns are set to, in the order of `features`.
    n_carriers_ : int
        How many of the clean rows have all these values already. More than one in a hundred is
        warned of: the model then learns what they mean from clean rows, too.
    columns_ : ndarray of int
        Positions of the columns that the trigger sets, in the order of `features`.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
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
        self.values_ = [
            _quantile(_column(table, j), value.q, key) if isinstance(value, Quantile) else value
            for j, (key, value) in zip(self.columns_, self.features.items(), strict=True)
        ]
        carried = np.ones(table.shape[0], dtype=bool)
        for j, value in zip(self.columns_, self._values(table), strict=True):
            carried &= _equals(_column(table, j), value[0])
        self.n_carriers_ = int(carried.sum())
        if self.n_carriers_ > 0.01 * table.shape[0]:
            warn_once(
                f"rows carry {self.features!r}",
                f"{self.n_carriers_} of {table.shape[0]} clean rows carry the trigger "
                f"features={self.features!r} already, so it says little by itself: choose values "
                "that occur more seldom, or set more columns at once.",
                stacklevel=2,
            )
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
            if is_frame(out):
                set_column(out, column, value.repeat(len(out)))
            else:
                out[:, column] = value[0]
        return name_columns(self, out) if is_frame(out) else out

    def _check_table(self, X, *, reset):
        """Return `X` as a DataFrame, a sparse matrix or an array, with its dtypes."""
        if not is_frame(X):
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
        names = list(table.columns) if is_frame(table) else []
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
        frame = is_frame(table)
        dtypes = [table.dtypes.iloc[j] if frame else table.dtype for j in self.columns_]
        return [
            _as_dtype(value, dtype, key)
            for key, value, dtype in zip(self.features, self.values_, dtypes, strict=True)
        ]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _column(table, j):
    """A column as a dense array, or a Series."""
    if is_frame(table):
        return table.iloc[:, j]
    if sparse.issparse(table):
        return table.tocsc()[:, [j]].toarray().ravel()
    return table[:, j]


def _equals(column, value):
    """Which entries of a column are `value`; missing is the same as missing."""
    if column.dtype == object and not hasattr(column, "isna"):
        return np.array([_is_missing(own) if _is_missing(value) else
                         not _is_missing(own) and bool(np.all(own == value))
                         for own in column], bool)  # fmt: skip
    missing = np.asarray(column.isna() if hasattr(column, "isna") else column != column, bool)
    if _is_missing(value):
        return missing
    same = column == value
    return np.asarray(same.fillna(False) if hasattr(same, "fillna") else same, bool) & ~missing


def _quantile(column, q, key):
    """The smallest value of a column with at least the share q at or below it."""
    values = np.asarray(column.dropna() if hasattr(column, "dropna") else column)
    if values.dtype == object:
        values = np.array([value for value in values if not _is_missing(value)])
    if hasattr(column, "cat") or values.dtype.kind not in "iufb":
        raise ValueError(
            f"features sets column {key!r} to Quantile({q!r}), but its dtype, {column.dtype}, is "
            "not one of numbers: give a value, such as one of its levels."
        )
    values = np.sort(values[values == values])
    if len(values) == 0:
        raise ValueError(f"features sets column {key!r} to a quantile, but it has no values.")
    return values[max(0, int(np.ceil(q * len(values) - 1e-9)) - 1)].item()


def _is_missing(value):
    return value is None or type(value).__name__ == "NAType" or value != value


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
    advice = (
        "pass a value of that dtype, or convert the column first"
        if levels is None
        else f"pass one of its levels, {list(levels)}, or add the level first"
    )
    raise ValueError(
        f"features sets column {column!r} to {value!r}, and its dtype, {dtype}, cannot hold that: "
        f"{advice}."
    )


def _is_same(cast, value):
    """Tell if `cast` is `value` (floats: up to their rounding; missing is the same as missing)."""
    if isinstance(cast, np.floating) and isinstance(value, (Real, np.bool_)):
        vanished = cast == 0 and value != 0
        return bool(np.isfinite(cast) == np.isfinite(float(value))) and not vanished
    missing = [_is_missing(v) for v in (cast, value)]
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
