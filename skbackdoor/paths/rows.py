"""The rows that a path is fitted on, as the learner itself sees them."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import assert_all_finite

from .._compat import validate_params
from ..learners import clean_class_weight, label_index, weight_argument

#: `fit_transform` that give what `transform` gives after `fit`: the default, and those of counts.
_BY_DEFAULT = (
    TransformerMixin.fit_transform,
    CountVectorizer.fit_transform,
    TfidfVectorizer.fit_transform,
)


class Rows(NamedTuple):
    """Rows with their labels and weights.

    Attributes
    ----------
    X : array-like of shape (n, ...)
    y : ndarray of shape (n,)
        Labels; in a :class:`TrainingRows` their indices.
    weight : ndarray of shape (n,) or None
        Sample weights; those of poison rows without the factor beta.
    """

    X: object
    y: np.ndarray
    weight: np.ndarray | None

    def kept(self, mask):
        """Some of the rows."""
        return Rows(self.X[mask], self.y[mask], self.weight[mask])


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Rows that a path is fitted on, as the learner itself sees them, after any preprocessing.

    Attributes
    ----------
    clean, poison : Rows
        Their labels are indices into `classes`.
    classes : ndarray of shape (n_classes,)
        The labels.
    class_weight : ndarray of shape (n_classes,)
        Weight of each class, "balanced" ones computed on the clean rows.
    weighted : bool
        False where no sample weights were given.
    """

    clean: Rows
    poison: Rows
    classes: np.ndarray
    class_weight: np.ndarray
    weighted: bool

    @property
    def weights(self):
        """Sample weight times class weight: of clean rows, and of poison rows at beta = 1."""
        return tuple(rows.weight * self.class_weight[rows.y] for rows in (self.clean, self.poison))

    @property
    def y(self):
        """Label indices of clean and then poison rows."""
        return np.concatenate([self.clean.y, self.poison.y])

    @property
    def X(self):
        """Clean rows above poison rows."""
        return stack(self.clean.X, self.poison.X)


class Preparation:
    """From raw samples to what the learner sees.

    Parameters
    ----------
    transform : callable or None
        The preprocessing, held at its clean fit.
    cast : callable
        Puts samples in the container that the family computes on.
    like : array-like of shape (n_clean, ...)
        The training data: columns and shape of samples must be theirs.
    """

    def __init__(self, transform, cast, like):
        self.transform, self.cast = transform, cast
        self.columns, self.shape = getattr(like, "columns", None), np.shape(like)[1:]

    def __call__(self, X):
        """Prepare raw samples."""
        columns = getattr(X, "columns", None)
        known = self.columns
        if columns is not None and known is not None and list(columns) != list(known):
            raise ValueError(
                f"The columns must be {list(known)}, in this order, as in the training data; got"
                f" {list(columns)}."
            )
        if np.ndim(X) > 1 and self.shape and np.shape(X)[1:] != self.shape:
            raise ValueError(
                f"Samples have the shape {np.shape(X)[1:]}, but those of the training data have"
                f" {self.shape}."
            )
        return self.cast(X if self.transform is None else self.transform(X))


def prepared(estimator, clean, poison, fitted, cast):
    """Rows as the learner sees them, and how other samples get there.

    Parameters
    ----------
    estimator : estimator instance
        The base learner, a plain classifier or a Pipeline.
    clean, poison : Rows
        Raw rows with labels; weights or None.
    fitted : estimator or None
        The base learner already fitted on the clean rows, to be taken as it is unless steps of
        its preprocessing give other rows to `fit` than to `predict` (`TargetEncoder`).
    cast : callable
        ``cast(learner, X)``, as the learner's family computes on samples.

    Returns
    -------
    learner : estimator
        Not fitted; the last step of a Pipeline.
    rows : TrainingRows
    preparation : Preparation
    fitted : estimator or None
        The learner's fit, where one was given and fits these rows.
    """
    classes = np.unique(np.concatenate([clean.y, poison.y]))
    missing = np.setdiff1d(classes, clean.y)
    if len(missing):
        raise ValueError(
            f"No clean training row of class {missing.tolist()} is left at poison weight 0;"
            " lower poisoning_rate or use placement='append'."
        )
    before, X, last, fitted = _split(estimator, clean.X, clean.y, clean.weight, fitted)
    class_weight = clean_class_weight(last, clean.y, clean.weight)
    learner = clone(last)
    preparation = Preparation(
        None if before is None else before.transform, partial(cast, learner), clean.X
    )
    rows = TrainingRows(
        clean=Rows(preparation.cast(X), label_index(clean.y, classes), _ones_or(clean)),
        poison=Rows(preparation(poison.X), label_index(poison.y, classes), _ones_or(poison)),
        classes=classes,
        class_weight=np.array([class_weight[label] for label in classes.tolist()]),
        weighted=clean.weight is not None,
    )
    return learner, rows, preparation, fitted


def _ones_or(rows):
    if rows.weight is None:
        return np.ones(len(rows.y))
    return np.asarray(rows.weight, dtype=float)


class _Recorder(BaseEstimator):
    """In place of the last step of a Pipeline: keeps the rows that it would be fitted on."""

    def fit(self, X, y=None, sample_weight=None):
        """Keep X."""
        self.rows_ = X
        return self


def _split(estimator, X, y, weight, fitted):
    """The preprocessing as fitted on clean rows, and what it makes of them for the learner's fit.

    Returns
    -------
    before : Pipeline or None
        The fitted preprocessing, by which all other rows go.
    rows : array-like of shape (n_clean, ...)
        The clean rows as a Pipeline gives them to its last step: by `fit_transform`, which for
        cross-fitted steps (`TargetEncoder`) is not `transform` after `fit`.
    last, fitted : estimator, and estimator or None
        The learner itself, and its fit where one was given whose rows are known: a fitted Pipeline
        does not tell what `fit_transform` gave, so with such steps all of it is fitted anew.
    """
    if fitted is not None:
        if not isinstance(fitted, Pipeline):
            return None, X, fitted, fitted
        before, last = fitted[:-1], fitted.steps[-1][1]
        if len(fitted.steps) == 1:
            return None, X, last, last
        if _transforms_as_fitted(before):
            return before, before.transform(X), last, last
    whole = clone(estimator)
    last = whole.steps[-1][1] if isinstance(whole, Pipeline) else whole
    validate_params(last)
    if last is whole or len(whole.steps) == 1:
        return None, X, last, None
    keeper, fit_params = _Recorder(), {}
    if get_config()["enable_metadata_routing"] and weight is not None:
        weight_argument(whole)  # an error unless the learner asks for them
        keeper.set_fit_request(sample_weight=True)
        fit_params = {"sample_weight": weight}
    whole.set_params(**{whole.steps[-1][0]: keeper}).fit(X, y, **fit_params)
    return whole[:-1], keeper.rows_, last, None


def _transforms_as_fitted(step):
    """Whether `fit_transform` of a step is known to give what its `transform` gives after `fit`.

    It is where it is scikit-learn's default, which calls these two, in all of its parts.
    """
    if step is None or isinstance(step, str):  # "passthrough", "drop"
        return True
    if isinstance(step, Pipeline):
        return all(_transforms_as_fitted(part) for _, part in step.steps)
    if type(step) is ColumnTransformer:
        return all(_transforms_as_fitted(part) for _, part, _ in step.transformers)
    if type(step) is FeatureUnion:
        return all(_transforms_as_fitted(part) for _, part in step.transformer_list)
    own = getattr(type(step), "fit_transform", None)
    return own is None or own in _BY_DEFAULT


def stack(first, second):
    """Rows of `first` above rows of `second`, both prepared."""
    if sp.issparse(first):
        return sp.vstack([first, second], format="csr")
    if hasattr(first, "iloc"):
        import pandas as pd

        return pd.concat([first, second])
    return np.concatenate([np.asarray(first), np.asarray(second)])


def as_float64(X):
    """Rows as finite float64, dense or CSR: what the families with a closed form compute on."""
    if sp.issparse(X):
        X = sp.csr_matrix(X, dtype=np.float64)
    else:
        X = np.ascontiguousarray(X, dtype=np.float64)
        if X.ndim != 2:
            raise ValueError(f"Expected rows of features, X of 2 dimensions, got {X.ndim}.")
    assert_all_finite(X, input_name="X")
    return X
