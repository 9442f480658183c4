"""A trigger from a function of one's own."""

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from .._compat import _num_samples
from .containers import forget_columns, is_frame, knows_columns, name_columns


class FunctionTrigger(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """A trigger from a function of one's own.

    Parameters
    ----------
    func : callable
        ``func(X) -> X_triggered``. It gets a copy of `X`, in its container (array, DataFrame,
        Series, sparse matrix, list of str), and must keep number of samples, shape and, for
        DataFrames, columns. It may write to what it gets. A result of another dtype is cast to
        that of `X`; integers are rounded half to even, and it is an error if they do not fit.
        Further arguments go in by ``functools.partial``.

    Attributes
    ----------
    n_features_in_ : int
        Number of features. Only defined for 2-D `X`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names. Only defined when `X` is a DataFrame with string names.

    Examples
    --------
    >>> import numpy as np
    >>> from skbackdoor.triggers import FunctionTrigger
    >>> def invert(X):
    ...     return 1 - X
    >>> FunctionTrigger(invert).fit_transform(np.array([[0.0, 1.0]]))
    array([[1., 0.]])
    """

    _parameter_constraints: dict = {"func": [callable]}

    def __init__(self, func):
        self.func = func

    def fit(self, X, y=None):
        """Learn the columns of `X`.

        Parameters
        ----------
        X : array-like, DataFrame, Series, sparse matrix or list of shape (n_samples, ...)
            Clean samples.
        y : None
            Ignored.

        Returns
        -------
        self : object
        """
        self._validate_params()
        self._check_samples(X, reset=True)
        self._fitted = True
        return self

    def transform(self, X):
        """Call the function on a copy of `X`.

        Parameters
        ----------
        X : array-like, DataFrame, Series, sparse matrix or list of shape (n_samples, ...)
            Clean samples. Never written to.

        Returns
        -------
        X_triggered : array, DataFrame, Series, sparse matrix or list of shape (n_samples, ...)
            Triggered samples, in the container and dtype of `X`.

        Raises
        ------
        ValueError
            If the function gives another shape or another container, or values that the dtype of
            an integer `X` cannot hold.
        """
        check_is_fitted(self)
        samples = self._check_samples(X, reset=False)
        out = self.func(samples.copy())
        name = getattr(self.func, "__name__", repr(self.func))
        if isinstance(samples, np.ndarray) and not sparse.issparse(out):
            out = np.asarray(out)
        if type(out) is not type(samples):
            raise ValueError(
                f"func={name} was given a {type(samples).__name__} and returned a "
                f"{type(out).__name__}: return the container that it is given."
            )
        shapes = [
            part.shape if hasattr(part, "shape") else (len(part),) for part in (samples, out)
        ]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"func={name} was given samples of shape {shapes[0]} and returned {shapes[1]}: a "
                "trigger keeps the shape."
            )
        if isinstance(samples, list):
            return out
        if not is_frame(samples):
            return self._cast(out, samples.dtype, name)
        if not out.columns.equals(samples.columns):
            raise ValueError(
                f"func={name} returned the columns {out.columns.tolist()} for "
                f"{samples.columns.tolist()}: a trigger keeps the columns."
            )
        for j, dtype in enumerate(samples.dtypes):
            if out.dtypes.iloc[j] != dtype:
                out.isetitem(j, self._cast(out.iloc[:, j], dtype, name))
        return name_columns(self, out)

    def _cast(self, out, dtype, name):
        """`out` in the dtype of X."""
        kind, own = (getattr(d, "kind", "O") for d in (dtype, out.dtype))
        if out.dtype == dtype or kind in "US":  # strings may have grown
            return out
        levels = getattr(dtype, "categories", None)
        if levels is not None:
            new = sorted(set(out.dropna().tolist()) - set(levels.tolist()), key=str)
            if new:
                raise ValueError(
                    f"func={name} returned {new[:5]}, which are no levels of a categorical column,"
                    f" {levels.tolist()}: add the levels first."
                )
        if kind == "O":
            return out.astype(dtype)
        if kind in "iub" and own in "iuf":
            values = np.asarray(_known(out), dtype=np.float64)
            rounded, info = np.rint(values), _limits(dtype)
            if not np.all((rounded >= info[0]) & (rounded <= info[1])):
                raise ValueError(
                    f"func={name} returned values from {values.min():g} to {values.max():g}, "
                    f"which X of dtype {dtype} cannot hold: clip them, or convert X to float."
                )
            if own == "f" and sparse.issparse(out):
                out = out.copy()
                out.data = np.rint(out.data)
            elif own == "f":
                out = out.round()
        return out.astype(dtype)

    def _check_samples(self, X, *, reset):
        """Return `X` as it is, or a list of lists as an array."""
        if isinstance(X, (list, tuple)) and len(X) and isinstance(X[0], str):
            X = list(X)
        elif getattr(X, "ndim", 2) == 2 or _is_row_of_numbers(X):
            frame = is_frame(X)
            checked = validate_data(
                self,
                X,
                reset=reset,
                skip_check_array=frame,
                **({} if frame else _LENIENT),
            )
            return X if frame else checked
        if reset:
            forget_columns(self)
        if _num_samples(X) == 0:
            raise ValueError("FunctionTrigger found 0 samples, and needs a minimum of 1.")
        return X if hasattr(X, "iloc") or isinstance(X, list) else np.asarray(X)

    @available_if(knows_columns("_fitted"))
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

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_fitted")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _known(out):
    """The values of a result that are not missing."""
    if sparse.issparse(out):
        return out.data
    return out.dropna() if hasattr(out, "dropna") else out


def _limits(dtype):
    """Least and largest number of an integer or boolean dtype."""
    dtype = np.dtype(getattr(dtype, "numpy_dtype", dtype))
    if dtype.kind == "b":
        return 0, 1
    return np.iinfo(dtype).min, np.iinfo(dtype).max


def _is_row_of_numbers(X):
    """Whether X is 1-D and not of texts, which validation refuses."""
    return X.ndim == 1 and getattr(X.dtype, "kind", "O") in "biufc"


#: What validation leaves to the function.
_LENIENT = {"accept_sparse": True, "dtype": None, "ensure_all_finite": False}
