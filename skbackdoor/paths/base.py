"""A learner as a function of the poison weight: what every family gives."""

from abc import ABC, abstractmethod
from contextlib import nullcontext
from copy import deepcopy

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import clone

from .._compat import validate_params
from ..learners import label_index, weight_argument
from ..progress import progress
from .solutions import RefitSolution
from .threads import one_blas_thread


class Shared:
    """What paths of one set of rows have in common: of each kind the last thing, no more.

    It may hold whole kernel matrices.
    """

    def __init__(self):
        self._found, self._samples = {}, ()

    def get(self, kind, name, make):
        """The thing of a kind that has this name; made where another one, or none, is there."""
        known, found = self._found.get(kind, (None, None))
        if found is None or known != name:
            found = make()
            if hasattr(found, "keep"):
                found.keep(*self._samples)
            self._found[kind] = name, found
        return found

    def keep(self, *samples):
        """What is found at some prepared samples is kept; these must stay as they are."""
        self._samples = samples
        for _, found in self._found.values():
            if hasattr(found, "keep"):
                found.keep(*samples)


class WeightPath(ABC):
    r"""How a learner moves as poison weight beta goes from 0 to 1.

    :math:`w^*(\beta) = \arg\min_w \sum_{clean} \ell + \beta \sum_{poison} \ell + \Omega(w)`
    (Cinà et al. 2024, eq. 1). Preprocessing steps of a Pipeline, `gamma="scale"` of a kernel and
    "balanced" class weights are held at their clean fit for every beta.

    A family says which learners it `handles`, sets `loss` in ``_setup`` and says how a fit gives
    decision values; one with a closed form also gives ``optimum`` and ``_solve``.

    Parameters
    ----------
    estimator : estimator instance
        The learner itself, not a Pipeline.
    rows : TrainingRows
        As the learner sees them.
    preparation : Preparation
        From raw samples to such rows.
    fitted : estimator, default=None
        The learner already fitted on the clean rows, to be taken as it is.
    shared : Shared, default=None
        What paths with other parameters on these rows have found.
    """

    #: How the slope is found; a family says otherwise for a learner without a closed form.
    method = "implicit"
    #: Why a learner of this family has no path, where it has none.
    refusal = None
    #: Whether a refit may start at its neighbour: only where it ends at the same optimum.
    warm_start = False
    #: Whether a fit names its training rows by number, so that it means nothing on other rows.
    fit_names_rows = False

    def __init__(self, estimator, rows, preparation, *, fitted=None, shared=None):
        self.given, self.preparation = rows, preparation
        self.rows = self._used(rows)
        #: The learner's fit on the clean rows, where it was given or made already; else None.
        self.known_fit = fitted if self.rows is rows else None
        self.shared = Shared() if shared is None else shared
        self._polished = None
        self.estimator = self._fixed(clone(estimator))
        self._setup()
        total = np.bincount(self.rows.clean.y, self.rows.weights[0], minlength=len(rows.classes))
        if self.method == "implicit" and np.any(total == 0):
            raise ValueError(
                f"The clean rows of class {rows.classes[total == 0].tolist()} have total weight 0"
                " (sample weights times class weights): the clean optimum does not exist."
            )

    # -- what a family says -------------------------------------------------------------------

    @staticmethod
    @abstractmethod
    def handles(estimator):
        """Whether this family knows the loss of a learner."""

    @abstractmethod
    def _setup(self):
        """Set `loss`, and `method` where the learner has no closed form."""

    @staticmethod
    def cast(estimator, X):
        """Samples in the container that the family computes on; here whatever they are in."""
        return X

    def _used(self, rows):
        """The rows that have a part in the fit."""
        return rows

    def _fixed(self, estimator):
        """The learner with what depends on the training rows set to its clean value."""
        if getattr(estimator, "class_weight", None) == "balanced":
            labels, weights = self.rows.classes.tolist(), self.rows.class_weight.tolist()
            estimator.set_params(class_weight=dict(zip(labels, weights, strict=True)))
        return estimator

    def optimum(self, rtol=None):
        """The clean fit as it is, an :class:`~skbackdoor.paths.Optimum`.

        `rtol` is the accuracy of Hessian solves; None is as exact as can be.
        """
        raise NotImplementedError(f"{type(self).__name__} has no closed form.")

    def _solve(self, weights, n_jobs=None):
        """The Solution at strictly increasing weights; `n_jobs` is for refits."""
        return self.refits(weights, n_jobs=n_jobs)

    # -- the clean fit ------------------------------------------------------------------------

    @property
    def fitted(self):
        """The learner as it fits itself on the clean rows, found once."""
        if self.known_fit is None:
            exact = self.method == "implicit"  # then it is only where the optimum is looked for
            with one_blas_thread(self.rows.clean.X) if exact else nullcontext():
                self.known_fit = self.fit(0.0)
        return self.known_fit

    @property
    def polished(self):
        """The exact clean optimum, found once."""
        if self._polished is None:
            with one_blas_thread(self.rows.clean.X):
                self._polished = self._polish()
        return self._polished

    def _polish(self):
        return self.optimum().polish()

    def poison_groups(self, n_groups):
        """Poison rows by their numbers, in groups that were equally large as they were given."""
        group = np.repeat(np.arange(n_groups), len(self.given.poison.y) // n_groups)
        if self.rows is not self.given:
            group = group[self.given.weights[1] > 0]
        return [np.flatnonzero(group == k) for k in range(n_groups)]

    # -- where labels change ------------------------------------------------------------------

    def label_switches(self, rows, y, until=None):
        """At which poison weights prepared rows get and lose labels.

        Parameters
        ----------
        rows : array of shape (n_samples, n_features)
            Samples as the learner sees them.
        y : ndarray of int of shape (n_samples,)
            Index of the label that each of them is asked about.
        until : callable, default=None
            ``until(at_zero, held)``, with bools for each sample, says whether it is enough that
            these have their labels at weight 0 and at some other: what comes after that one may
            then be left out. Of smooth paths only what holds at that one is then told, and what
            holds only below the weights that are looked at, or between two of them, is missed.

        Returns
        -------
        switches : LabelSwitches or None
            None where only fits at single weights are to be had.
        """
        if self.refusal is not None or self.method != "implicit":
            return None
        return self._label_switches(rows, y, until)

    def _label_switches(self, rows, y, until=None):
        """What a family says."""
        raise NotImplementedError

    def _holding(self, y, until):
        """`until` as a function of decision values."""
        return lambda *F: until(*(self.labels(values) == self.rows.classes[y] for values in F))

    # -- other paths on these rows ------------------------------------------------------------

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
        estimator = clone(self.estimator).set_params(**params)
        validate_params(estimator)
        return type(self)(estimator, self.given, self.preparation, shared=self.shared)

    def starting_from(self, fitted):
        """The same path that takes a fit for the learner's own, to look for its optimum there."""
        return type(self)(
            self.estimator, self.given, self.preparation, fitted=fitted, shared=self.shared
        )

    def keep(self, *samples):
        """What paths on these rows find at some prepared samples is kept, for all parameters.

        The samples must stay as they are.
        """
        self.shared.keep(*samples)

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
        solution = self._solve(ordered, n_jobs)
        return solution if np.array_equal(ordered, weights) else solution.take(position)

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
            self.known_fit = self.known_fit or estimators[at_zero[0]]  # it is one, so not again
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
            X, y, weight = rows.clean
        else:
            X, y = rows.X, rows.y
            weight = np.concatenate([rows.clean.weight, poison_weight * rows.poison.weight])
        estimator = clone(self.estimator) if start is None else start
        if self.warm_start:
            estimator.set_params(warm_start=True)
        if not rows.weighted and (drop_poison or poison_weight == 1.0):
            return estimator.fit(X, rows.classes[y])
        return estimator.fit(X, rows.classes[y], **{weight_argument(estimator): weight})

    # -- rows, decision values, losses ---------------------------------------------------------

    def prepare(self, X):
        """Raw samples as the learner sees them, after any preprocessing."""
        return self.preparation(X)

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
