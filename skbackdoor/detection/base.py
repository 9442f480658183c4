"""What a detector of poison is: it ranks training rows, decides on them, and says why."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, clone
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from .._compat import HasMethods, _check_sample_weight, _num_samples, _safe_indexing
from ..attack import check_data
from ..learners import label_index


@dataclass(eq=False)
class Findings:
    """What the core of a detector found among the rows that it was given.

    Attributes
    ----------
    scores : ndarray of shape (n_samples,)
        The larger, the more suspicious.
    is_poison : ndarray of bool of shape (n_samples,)
        What it decided.
    groups : list of PoisonGroup
        Rows that are suspected together, and why, where it can tell.
    """

    scores: np.ndarray
    is_poison: np.ndarray
    groups: list = field(default_factory=list)


class PoisonDetector(ABC, BaseEstimator):
    """Base of all detectors of poison that is already in the training data.

    Subclasses write ``_detect(X, features, y, sample_weight)``, which gets rows of positive
    weight only and returns :class:`~skbackdoor.detection.Findings`; where they have their own way
    with new rows, also ``_goes_with_poison(features, label)``. This class checks the input,
    applies the representation, and makes of it all that a detector has.

    Parameters
    ----------
    representation : None, transformer or callable, default=None
        What rows are compared by: None takes numbers as they are (image batches flattened), a
        transformer or a Pipeline of them is cloned and fitted on the rows (and the labels, which
        it may ignore), a callable is called on the rows. It gives one row of numbers a sample.
        For a network take the input of its head (:class:`~skbackdoor.deep.DeepFeatures`).

    Attributes
    ----------
    scores_ : ndarray of shape (n_samples,)
        How suspicious each row is: the larger, the more. 0 for rows of weight 0.
    is_poison_ : ndarray of bool of shape (n_samples,)
        The decision; False for rows of weight 0.
    groups_ : list of PoisonGroup
        Rows suspected together, most suspicious group first; empty for detectors that judge rows
        one by one.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    representation_ : None, transformer or callable
        The fitted representation.
    sample_indices_ : ndarray
        The rows that :meth:`fit_resample` kept; after that only.
    n_features_in_, feature_names_in_ : int, ndarray
        As in scikit-learn, for 2-D `X`.
    """

    _parameter_constraints: dict = {
        "representation": [HasMethods(["fit", "transform"]), callable, None],
    }

    @abstractmethod
    def _detect(self, X, features, y, sample_weight):
        """Find poison.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The rows as they were given.
        features : ndarray or sparse matrix of shape (n_samples, n_features)
            Their representation, float.
        y : ndarray of shape (n_samples,)
            Label indices.
        sample_weight : ndarray of shape (n_samples,) or None
            Positive weights.

        Returns
        -------
        findings : Findings
        """

    def fit(self, X, y, sample_weight=None):
        """Look for poison in training data.

        Parameters
        ----------
        X : array-like, DataFrame, sparse matrix or list of shape (n_samples, ...)
            Training data: whatever the representation takes.
        y : array-like of shape (n_samples,)
            Their labels, of any type.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; those of weight 0 have no part.

        Returns
        -------
        self : PoisonDetector

        Raises
        ------
        ValueError
            One class only; a representation that gives another number of rows, or values that
            are not finite.
        """
        self._validate_params()
        X, y = check_data(X, y)
        self._check_n_features(X)
        y = np.asarray(y)
        weight, rows = None, np.arange(len(y))
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, y[:, None], ensure_non_negative=True)
            rows = np.flatnonzero(weight > 0)
            weight = weight[rows]
        kept = X if len(rows) == len(y) else _safe_indexing(X, rows)
        self.classes_ = np.unique(y[rows])
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} compares the rows of a class with those of others, but y"
                f" holds only 1 class: {self.classes_.tolist()}."
            )
        self.representation_ = self.representation
        if hasattr(self.representation, "transform"):
            self.representation_ = clone(self.representation).fit(kept, y[rows])
        features = self._features(kept)
        labels = label_index(y[rows], self.classes_)
        found = self._detect(kept, features, labels, weight)
        self.scores_ = np.zeros(len(y))
        self.scores_[rows] = found.scores
        self.is_poison_ = np.zeros(len(y), dtype=bool)
        self.is_poison_[rows] = found.is_poison
        self.groups_ = [
            group.beside(features, labels, ~found.is_poison).of_rows(X, rows, self.classes_)
            for group in found.groups
        ]
        self._kept_features, self._kept_rows, self._y = features, rows, y
        return self

    def fit_predict(self, X, y, sample_weight=None):
        """Look for poison, and say which rows are.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.

        Returns
        -------
        is_poison : ndarray of bool of shape (n_samples,)
        """
        return self.fit(X, y, sample_weight).is_poison_

    def fit_resample(self, X, y):
        """Look for poison, and return the other rows: a sampler of imbalanced-learn's Pipeline.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Training data.
        y : array-like of shape (n_samples,)
            Their labels.

        Returns
        -------
        X_kept : array-like of shape (n_kept, ...)
            The rows that are not poison, in the container of X.
        y_kept : array-like of shape (n_kept,)
            Their labels.
        """
        self.fit(X, y)
        self.sample_indices_ = np.flatnonzero(~self.is_poison_)
        X, y = check_data(X, y)
        return _safe_indexing(X, self.sample_indices_), _safe_indexing(y, self.sample_indices_)

    def flag(self, X, y):
        """Say of rows that were not in `fit` whether they go with those that are poison.

        Where a detector has no way of its own, a row does if most of the five rows of its label
        that are nearest to it, in the representation, were found to be poison.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows.
        y : array-like of shape (n_samples,)
            Their labels; one that `fit` did not see is never poison.

        Returns
        -------
        is_poison : ndarray of bool of shape (n_samples,)
        """
        check_is_fitted(self)
        X, y = check_data(X, y)
        if hasattr(self, "n_features_in_"):
            validate_data(self, X, reset=False, skip_check_array=True)
        y, features = np.asarray(y), self._features(X)
        flagged = np.zeros(len(y), dtype=bool)
        for label in np.unique(self._y[self.is_poison_]):
            new = np.flatnonzero(y == label)
            if len(new):
                index = int(np.searchsorted(self.classes_, label))
                flagged[new] = self._goes_with_poison(_safe_indexing(features, new), index)
        return flagged

    def _goes_with_poison(self, features, label):
        """Which new rows, said to be of a label (an index), go with its poison."""
        of_label = np.flatnonzero(self._y[self._kept_rows] == self.classes_[label])
        known = self.is_poison_[self._kept_rows[of_label]]
        search = NearestNeighbors(n_neighbors=min(5, len(of_label)))
        search.fit(self._kept_features[of_label])
        near = search.kneighbors(features, return_distance=False)
        return known[near].mean(axis=1) > 0.5

    def _check_n_features(self, X):
        """Remember number and names of the columns of 2-D X, as scikit-learn does."""
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)  # of an earlier fit
        if len(getattr(X, "shape", ())) == 2:
            validate_data(self, X, skip_check_array=True)

    def _features(self, X):
        """The representation of some rows: floats, two-dimensional, finite."""
        n, of = _num_samples(X), self.representation_
        name = "X"
        if of is not None:
            X = of.transform(X) if hasattr(of, "transform") else of(X)
            name = f"The representation {type(of).__name__}"
            if _num_samples(X) != n:
                raise ValueError(
                    f"{name} gave {_num_samples(X)} rows for {n}: it must give one row a sample."
                )
        if not sp.issparse(X) and np.ndim(X) > 2:
            X = np.asarray(X).reshape(n, -1)
        try:
            return check_array(X, accept_sparse="csr", dtype=[np.float64, np.float32])
        except ValueError as error:
            if of is None and not sp.issparse(X) and np.asarray(X).dtype.kind in "OUS":
                raise ValueError(
                    f"{type(self).__name__} compares rows by numbers, and X holds others. Pass"
                    " representation=, a transformer that makes numbers of them (a"
                    " TfidfVectorizer for texts, a ColumnTransformer with OneHotEncoder for"
                    " tables)."
                ) from error
            raise

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.sparse = True
        return tags
