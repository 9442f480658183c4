"""The path of a fitted model as the weight of its poison rows goes from 0 to 1."""

from copy import copy, deepcopy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed, effective_n_jobs
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import assert_all_finite

from .._compat import validate_params
from ..learners import clean_class_weight, label_index, weight_argument
from ..progress import progress
from .solutions import RefitSolution
from .threads import one_blas_thread

#: `fit_transform` that give what `transform` gives after `fit`: the default, and those of counts.
_BY_DEFAULT = (
    TransformerMixin.fit_transform,
    CountVectorizer.fit_transform,
    TfidfVectorizer.fit_transform,
)


@dataclass(frozen=True)
class TrainingRows:
    """Rows that a path is fitted on, clean and poison ones apart.

    Attributes
    ----------
    X, X_poison : arrays of shape (n_clean, ...) and (n_poison, ...)
        Rows as the learner itself sees them, after any preprocessing.
    y, y_poison : ndarrays of int
        Indices into `classes`.
    weight, weight_poison : ndarrays of float
        Sample weights; those of poison rows without the factor beta.
    classes : ndarray of shape (n_classes,)
        The labels.
    weighted : bool
        False where no sample weights were given.
    """

    X: object
    y: np.ndarray
    weight: np.ndarray
    X_poison: object
    y_poison: np.ndarray
    weight_poison: np.ndarray
    classes: np.ndarray
    weighted: bool


class WeightPath:
    r"""How a learner moves as poison weight beta goes from 0 to 1.

    :math:`w^*(\beta) = \arg\min_w \sum_{clean} \ell + \beta \sum_{poison} \ell + \Omega(w)`
    (Cinà et al. 2024, eq. 2). Preprocessing steps of a Pipeline, `gamma="scale"` of a kernel and
    "balanced" class weights are held at their clean fit for every beta.

    Subclasses set `loss` and say how a fitted learner gives decision values; families with a
    closed form also give ``optimum``, the clean fit with its right derivative, and ``_solve``.

    Parameters
    ----------
    estimator : estimator instance
        The base learner, a plain classifier or a Pipeline.
    clean, poison : tuples of (X, y, sample_weight)
        Raw rows with labels; weights or None, those of poison rows without the factor beta.
    fitted : estimator or None
        The base learner already fitted on the clean rows, to be taken as it is unless steps of
        its preprocessing give other rows to `fit` than to `predict` (`TargetEncoder`).
    """

    #: How the slope is found; a family says otherwise for a learner without a closed form.
    method = "implicit"
    #: Why a learner of this family has no path, where it has none.
    refusal = None
    #: Whether a refit may start at its neighbour: only where it ends at the same optimum.
    warm_start = False
    #: Whether a fit names its training rows by number, so that it means nothing on other rows.
    fit_names_rows = False

    def __init__(self, estimator, clean, poison, fitted=None):
        (X, y, weight), (X_poison, y_poison, weight_poison) = clean, poison
        classes = np.unique(np.concatenate([y, y_poison]))
        missing = np.setdiff1d(classes, y)
        if len(missing):
            raise ValueError(
                f"No clean training row of class {missing.tolist()} is left at poison weight 0;"
                " lower poisoning_rate or use placement='append'."
            )
        before, rows, last, fitted = _split(estimator, X, y, weight, fitted)
        self._prepare = _identity if before is None else before.transform
        if fitted is not None:
            self.fitted = fitted  # else made where it is asked for
        class_weight = clean_class_weight(last, y, weight)
        #: Weight of each class, "balanced" ones computed on the clean rows.
        self.class_weight = np.array([class_weight[label] for label in classes.tolist()])
        self.estimator = clone(last)
        self._columns, self._shape = getattr(X, "columns", None), np.shape(X)[1:]
        self.rows = TrainingRows(
            X=self._cast(rows),
            y=label_index(y, classes),
            weight=_ones_or(weight, y),
            X_poison=self.prepare(X_poison),
            y_poison=label_index(y_poison, classes),
            weight_poison=_ones_or(weight_poison, y_poison),
            classes=classes,
            weighted=weight is not None,
        )
        self.estimator = self._fixed(self.estimator)
        #: What paths on these rows with other parameters of the learner can take over.
        self.shared = {}
        self._setup()
        total = np.bincount(self.rows.y, self.training_weights()[0], minlength=len(classes))
        if self.method == "implicit" and np.any(total == 0):
            raise ValueError(
                f"The clean rows of class {classes[total == 0].tolist()} have total weight 0"
                " (sample weights times class weights): the clean optimum does not exist."
            )

    @cached_property
    def fitted(self):
        """The learner as it fits itself on the clean rows."""
        if self.method != "implicit":
            return self.fit(0.0)
        with one_blas_thread(self.rows.X):  # only where the optimum is looked for
            return self.fit(0.0)

    @cached_property
    def polished(self):
        """The exact clean optimum, found once."""
        with one_blas_thread(self.rows.X):
            return self.optimum().polish()

    def _fixed(self, estimator):
        """The learner with what depends on the training rows set to its clean value."""
        if getattr(estimator, "class_weight", None) == "balanced":
            labels = self.rows.classes.tolist()
            estimator.set_params(
                class_weight=dict(zip(labels, self.class_weight.tolist(), strict=True))
            )
        return estimator

    def training_weights(self):
        """Sample weight times class weight: of clean rows, and of poison rows at beta = 1."""
        rows = self.rows
        return (
            rows.weight * self.class_weight[rows.y],
            rows.weight_poison * self.class_weight[rows.y_poison],
        )

    def _setup(self):
        """Set `loss` and whatever else the family needs, once."""
        raise NotImplementedError

    def with_params(self, **params):
        """The path of the same rows with other parameters of the learner.

        What does not depend on them is taken over: products of the rows for another alpha, the
        kernel matrix for another C.

        Parameters
        ----------
        **params : dict
            Parameters of the learner itself (of a Pipeline its last step).

        Returns
        -------
        path : WeightPath
        """
        if "class_weight" in params:
            raise ValueError("class_weight changes the rows' weights; make a new weight_path.")
        other = copy(self)
        for name in list(other.__dict__):
            found = isinstance(getattr(type(self), name, None), cached_property)
            if found or name in ("method", "refusal", "warm_start"):
                del other.__dict__[name]
        other.estimator = clone(self.estimator).set_params(**params)
        validate_params(other.estimator)
        other.estimator = other._fixed(other.estimator)
        other._setup()
        return other

    def _shared_kernel(self, name, make):
        """The kernel over all training rows, one at a time: it may hold a whole matrix."""
        if self.shared.get("kernel name") != name:
            kernel = make()
            kernel.keep(*self.shared.get("kept", ()))
            self.shared.update({"kernel name": name, "kernel": kernel})
        return self.shared["kernel"]

    def keep(self, *samples):
        """What paths on these rows find at some prepared samples is kept, for all parameters.

        The samples must stay as they are.
        """
        self.shared["kept"] = samples
        for found in self.shared.values():
            if hasattr(found, "keep"):
                found.keep(*samples)

    # -- the learner at any weight -------------------------------------------------------------

    def solve(self, poison_weights, *, n_jobs=None):
        """The learner at some poison weights.

        Parameters
        ----------
        poison_weights : float or array-like of shape (n_weights,)
            Weights in [0, 1], in any order.
        n_jobs : int, default=None
            Parallel refits, through joblib, where the learner is refitted.

        Returns
        -------
        solution : Solution
            Its arrays have a row for each weight.

        Raises
        ------
        ValueError
            A weight outside [0, 1], a learner that has no path or would drop weights.

        Warns
        -----
        ConvergenceWarning
            An optimum was not reached; `solution.residuals` says by how much.
        """
        weights = check_poison_weights(poison_weights)
        if self.refusal is not None:
            raise ValueError(self.refusal)
        if self.method != "implicit":
            return self.refits(weights, n_jobs=n_jobs)
        ordered, position = np.unique(weights, return_inverse=True)
        return self._solve(ordered, n_jobs).take(position)

    def _solve(self, weights, n_jobs=None):
        """The solution at strictly increasing weights; `n_jobs` is for refits."""
        raise NotImplementedError

    def refits(self, poison_weights, *, drop_poison=None, n_jobs=None):
        """The learner fitted anew at each of some poison weights.

        Parameters
        ----------
        poison_weights : ndarray of shape (n_weights,)
            Weights in [0, 1].
        drop_poison : bool or None, default=None
            As in :meth:`fit`.
        n_jobs : int, default=None
            Parallel refits, through joblib.

        Returns
        -------
        solution : RefitSolution
        """
        if np.any((poison_weights > 0) & (poison_weights < 1)):
            weight_argument(self.estimator)
        order = np.argsort(poison_weights, kind="stable")
        n_chunks = min(effective_n_jobs(n_jobs), len(order)) if self.warm_start else len(order)
        chunks = np.array_split(order, n_chunks)
        tasks = (delayed(self._refit_chunk)(poison_weights[c], drop_poison) for c in chunks)
        results = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
        estimators = [None] * len(order)
        for chunk, fits in zip(chunks, progress(results, n_chunks, "refits"), strict=True):
            for i, fitted in zip(chunk, fits, strict=True):
                estimators[i] = fitted
        at_zero = np.flatnonzero(poison_weights == 0.0)
        if len(at_zero) and drop_poison is not False:
            self.__dict__.setdefault("fitted", estimators[at_zero[0]])  # it is one, so not again
        return RefitSolution(self, poison_weights, estimators)

    def _refit_chunk(self, weights, drop_poison):
        """Fits at neighbouring weights, each from the one before where `warm_start` says so."""
        fits = []
        for weight in weights:
            start = deepcopy(fits[-1]) if self.warm_start and fits else None
            fits.append(self.fit(weight, drop_poison=drop_poison, start=start))
        return fits

    def fit(self, poison_weight, *, drop_poison=None, start=None):
        """Refit the learner at one poison weight.

        Parameters
        ----------
        poison_weight : float in [0, 1]
            The weight beta.
        drop_poison : bool or None, default=None
            Whether the poison rows are left out rather than given weight 0; None leaves them
            out where beta = 0.
        start : fitted estimator, default=None
            One whose `warm_start` is on, to be fitted further.

        Returns
        -------
        fitted : estimator
            The last step, fitted on rows that are already preprocessed.
        """
        if not 0.0 <= poison_weight <= 1.0:
            raise ValueError(f"poison_weight={poison_weight!r} must be in [0, 1].")
        rows = self.rows
        drop_poison = poison_weight == 0.0 if drop_poison is None else drop_poison
        if drop_poison:
            X, y, weight = rows.X, rows.y, rows.weight
        else:
            X, y = stack(rows.X, rows.X_poison), np.concatenate([rows.y, rows.y_poison])
            weight = np.concatenate([rows.weight, poison_weight * rows.weight_poison])
        estimator = clone(self.estimator) if start is None else start
        if self.warm_start:
            estimator.set_params(warm_start=True)
        if not rows.weighted and (drop_poison or poison_weight == 1.0):
            return estimator.fit(X, rows.classes[y])
        return estimator.fit(X, rows.classes[y], **{weight_argument(estimator): weight})

    # -- rows, decision values, losses ---------------------------------------------------------

    def prepare(self, X):
        """Raw samples as the learner sees them, after any preprocessing."""
        columns, known = getattr(X, "columns", None), self._columns
        if columns is not None and known is not None and list(columns) != list(known):
            raise ValueError(
                f"The columns must be {list(known)}, in this order, as in the training data; got"
                f" {list(columns)}."
            )
        if np.ndim(X) > 1 and self._shape and np.shape(X)[1:] != self._shape:
            raise ValueError(
                f"Samples have the shape {np.shape(X)[1:]}, but those of the training data have"
                f" {self._shape}."
            )
        return self._cast(self._prepare(X))

    def _cast(self, X):
        """The container that the family computes on; here whatever the learner takes."""
        return X

    def decision_values(self, fitted, X):
        """Decision values of a fit at prepared rows X, shape (n_samples, n_outputs)."""
        F = fitted.decision_function(X)
        return F[:, None] if F.ndim == 1 else F

    def predict(self, fitted, X):
        """Labels that a fit gives to prepared rows X, shape (n_samples,)."""
        return fitted.predict(X)

    def labels(self, F):
        """Labels that go with decision values F of shape (n_samples, n_outputs)."""
        best = F.argmax(axis=1) if F.shape[1] > 1 else (F[:, 0] > 0).astype(int)
        return self.rows.classes[best]

    def losses(self, F, y):
        """Loss of each sample at decision values F, shape (n_weights, n_samples).

        Parameters
        ----------
        F : ndarray of shape (n_weights, n_samples, n_outputs)
            Decision values.
        y : array-like of shape (n_samples,)
            Labels.
        """
        y = label_index(np.asarray(y), self.rows.classes)
        if np.shape(y) != (F.shape[1],):
            raise ValueError(f"y has the shape {np.shape(y)}, but X has {F.shape[1]} samples.")
        return np.stack([self.loss.value(values, y) for values in F])

    def weights(self, fitted):
        """Weight vectors of a fit without intercept, shape (n_outputs, n_features), or None."""
        coef = getattr(fitted, "coef_", None)
        if coef is None:
            return None
        return np.atleast_2d(np.asarray(coef.toarray() if sp.issparse(coef) else coef, float))

    def inner(self, first, second):
        """Inner product of two fits' weights; in feature space for kernel machines."""
        return float(np.sum(self.weights(first) * self.weights(second)))

    def has_weights(self, fitted):
        """Whether norm and cosine of a fit's weights are defined."""
        return self.weights(fitted) is not None


def check_poison_weights(poison_weights):
    """Poison weights as an ndarray of shape (n_weights,), or an error."""
    weights = np.atleast_1d(np.asarray(poison_weights, dtype=float))
    if weights.ndim != 1 or len(weights) == 0 or not np.all((weights >= 0) & (weights <= 1)):
        raise ValueError(
            f"poison_weights must be numbers in [0, 1], one or more; got {poison_weights!r}."
        )
    return weights


class _TrainingRows(BaseEstimator):
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
    keeper, fit_params = _TrainingRows(), {}
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


def _ones_or(sample_weight, y):
    return np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=float)


def _identity(X):
    return X


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
