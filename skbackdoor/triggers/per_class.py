"""Another trigger for every source class."""

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import check_random_state, get_tags, indexable
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from .._compat import HasMethods, _safe_indexing
from .containers import forget_columns, knows_columns

_MAX_SEED = np.iinfo(np.int32).max


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
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
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

    requires_y = True  #: `transform` is given the labels before the attack.
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

    @available_if(knows_columns("triggers_"))
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
            forget_columns(self)

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
    if isinstance(first, (list, tuple)):
        placed = sorted(zip(np.concatenate(rows), sum(map(list, parts), []), strict=True),
                        key=lambda pair: pair[0])  # fmt: skip
        return type(X)(text for _, text in placed)
    if isinstance(first, np.ndarray):
        dtype = np.result_type(*(part.dtype for part in parts))  # texts differ in width
        out = np.empty((sum(map(len, parts)), *first.shape[1:]), dtype=dtype)
        for part, row in zip(parts, rows, strict=True):
            out[row] = part
        return out
    order = np.argsort(np.concatenate(rows))
    if sparse.issparse(first):
        return sparse.vstack(parts, format="csr")[order].asformat(X.format)
    import pandas as pd

    out = pd.concat(parts).iloc[order]
    out.index = X.index if hasattr(X, "iloc") else pd.RangeIndex(len(out))
    return out
