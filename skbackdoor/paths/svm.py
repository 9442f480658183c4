"""Support vector machines: `SVC` with any kernel, `LinearSVC` with hinge or squared hinge.

How their binary problems map on :mod:`skbackdoor.paths.dual` (hinge) and
:mod:`skbackdoor.paths.linear` (squared hinge).
"""

from copy import copy
from dataclasses import replace
from itertools import combinations

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC, LinearSVC

from .base import WeightPath, as_float64, stack
from .dual import ActiveSet, DualOptimum
from .kernels import AffineKernel, Kernel, NamedKernel, look_up, number_rows, product
from .linear import LinearObjective, LinearOptimum
from .losses import Hinge, MarginLoss, SquaredHinge
from .ridge import linear_decision, parameters


class SVCPath(WeightPath):
    """`SVC` with any kernel, one binary problem a pair of classes."""

    @staticmethod
    def handles(estimator):
        """Whether this family knows the loss of a learner."""
        return isinstance(estimator, SVC)

    def __init__(self, estimator, clean, poison, fitted=None):
        last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
        if last.kernel != "precomputed":
            super().__init__(estimator, clean, poison, fitted)
            return
        if last is estimator:
            raise ValueError(
                "SVC(kernel='precomputed') alone: a trigger acts on samples, not on kernel rows."
                " Put a transformer that computes the Gram matrix before it in a Pipeline, or"
                " give SVC a callable kernel."
            )
        svc, X, X_poison, prepare = look_up_gram(estimator, clean[0], clean[1], poison[0])
        super().__init__(svc, (X, *clean[1:]), (X_poison, *poison[1:]))
        self._prepare = prepare

    def _cast(self, X):
        return np.asarray(X) if callable(self.fitted.kernel) else as_float64(X)

    def _fixed(self, estimator):
        """Class weights are those of the rows; gamma="scale" and "auto" are clean-fit numbers."""
        estimator = super()._fixed(estimator)
        if isinstance(estimator.gamma, str):
            estimator.set_params(gamma=self.fitted._gamma)
        return estimator

    def _setup(self):
        rows = self.rows
        weight, weight_poison = self.training_weights()
        keep, keep_poison = weight > 0, weight_poison > 0
        self.rows = replace(
            rows,
            X=rows.X[keep],
            y=rows.y[keep],
            weight=rows.weight[keep],
            X_poison=rows.X_poison[keep_poison],
            y_poison=rows.y_poison[keep_poison],
            weight_poison=rows.weight_poison[keep_poison],
        )
        if not keep.all():
            # libsvm drops rows of weight 0, and support_ then does not index the rows given.
            self.fitted = self.fit(0.0)
        if type(self.estimator) is not SVC:  # a subclass may fit otherwise
            self.method = "finite_difference"
        self.loss = MarginLoss.one_vs_one(Hinge(), len(rows.classes))
        if callable(self.estimator.kernel):
            function = self.estimator.kernel
        else:
            function = NamedKernel(self.estimator)
        X = stack(self.rows.X, self.rows.X_poison)
        self.kernel = Kernel(function, X, self.estimator.cache_size)

    def decision_values(self, fitted, X):
        """One column a pair of classes."""
        pairwise = copy(fitted).set_params(decision_function_shape="ovo")
        return super().decision_values(pairwise, X)

    def _coefficients(self, fitted):
        """Signed dual coefficients of the support vectors, shape (n_support, n_pairs)."""
        n_classes = len(self.rows.classes)
        dual = fitted.dual_coef_.toarray() if sp.issparse(fitted.dual_coef_) else fitted.dual_coef_
        ends = np.concatenate([[0], np.cumsum(fitted.n_support_)])
        pairs = list(combinations(range(n_classes), 2))
        v = np.zeros((dual.shape[1], len(pairs)))
        for k, (i, j) in enumerate(pairs):
            v[ends[i] : ends[i + 1], k] = dual[j - 1, ends[i] : ends[i + 1]]
            v[ends[j] : ends[j + 1], k] = dual[i, ends[j] : ends[j + 1]]
        return v

    def has_weights(self, fitted):
        """A kernel machine always has: its norm is that of feature space."""
        return True

    def inner(self, first, second):
        """sum over pairs of v_1^T K v_2, the inner product in feature space."""
        K = self.kernel(self.kernel.X[first.support_], second.support_)
        return float(np.sum(self._coefficients(first) * (K @ self._coefficients(second))))

    def optimum(self, rtol=None):
        """The clean fit as it is, with the rate at which poison moves it (`rtol` is unused)."""
        rows, fitted = self.rows, self.fitted
        n_clean = len(rows.y)
        y = np.concatenate([rows.y, rows.y_poison])
        weight = fitted.C * np.concatenate(self.training_weights())
        v = np.zeros((len(y), self.loss.signs.shape[1]))
        v[fitted.support_] = self._coefficients(fitted)
        problems = []
        for k, signs in enumerate(self.loss.signs.T):
            used = np.flatnonzero(signs[y] != 0)
            sign, bound, clean = signs[y[used]], weight[used], used < n_clean
            u, rate = np.where(clean, bound, 0.0), np.where(clean, 0.0, bound)
            columns, diagonal = self.kernel.on(used)
            a = np.maximum(sign * v[used, k], 0.0)
            active = ActiveSet(columns, diagonal, sign, u, a, float(fitted.intercept_[k]), True)
            problems.append((used, active, rate))
        return DualOptimum(self.kernel, problems)


class LinearSVCPath(WeightPath):
    """`LinearSVC`, one problem a class; the penalty takes in the intercept."""

    @staticmethod
    def handles(estimator):
        """Whether this family knows the loss of a learner."""
        return isinstance(estimator, LinearSVC) and estimator.multi_class == "ovr"

    def _cast(self, X):
        return as_float64(X)

    def _setup(self):
        if self.estimator.penalty == "l1" or type(self.estimator) is not LinearSVC:
            self.method = "finite_difference"
        phi = Hinge() if self.estimator.loss == "hinge" else SquaredHinge()
        self.loss = MarginLoss.one_vs_rest(phi, len(self.rows.classes))

    def decision_values(self, fitted, X):
        return linear_decision(fitted, X)

    def optimum(self, rtol=None):
        """The clean fit as it is, with the rate at which poison moves it."""
        rows, fitted = self.rows, self.fitted
        weighted = self.loss.with_class_weight(self.class_weight)
        if fitted.loss == "squared_hinge":
            objective = LinearObjective(
                rows.X,
                rows.y,
                rows.weight,
                weighted,
                1.0 / fitted.C,
                fitted.fit_intercept,
                1.0 / fitted.intercept_scaling**2 if fitted.fit_intercept else 0.0,
            )
            poison = (rows.X_poison, rows.y_poison, rows.weight_poison)
            return LinearOptimum(objective, parameters(fitted), poison, rtol)
        constant = fitted.intercept_scaling**2 if fitted.fit_intercept else 0.0
        kernel = Kernel(AffineKernel(constant), stack(rows.X, rows.X_poison), 200)
        n_clean = len(rows.y)
        used = np.arange(n_clean + len(rows.y_poison))
        columns, diagonal = kernel.on(used)
        y = np.concatenate([rows.y, rows.y_poison])
        weight = fitted.C * np.concatenate([rows.weight, rows.weight_poison])
        clean = used < n_clean
        F = self.decision_values(fitted, rows.X)
        problems = []
        for k, signs in enumerate(self.loss.signs.T):
            sign, bound = signs[y], weight * weighted.weight[y, k]
            u, rate = np.where(clean, bound, 0.0), np.where(clean, 0.0, bound)
            a = np.zeros(len(used))
            a[:n_clean] = _duals(columns, sign[:n_clean], u[:n_clean], F[:, k])
            problems.append((used, ActiveSet(columns, diagonal, sign, u, a, 0.0, False), rate))
        return DualOptimum(kernel, problems)


def _duals(columns, y, u, f):
    """Dual coefficients of a primal fit, which liblinear does not keep.

    Rows outside a band around the margin are at 0 or at their bound; those inside solve
    ``K_MM v_M = f_M - K_ME v_E`` by least squares, clipped to their box. The band that gives back
    the decision values best is taken.
    """
    n, h = len(y), y * f - 1.0
    best, best_error = None, np.inf
    for band in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1):
        v = np.where(h < -band, y * u, 0.0)
        inside = np.flatnonzero(np.abs(h) <= band)
        if len(inside) > 1000:
            break
        bound = np.flatnonzero(v)
        pushed = product(columns, bound, v[bound])[:n]
        if len(inside):
            K = columns(inside)
            solution = np.linalg.lstsq(K[inside], f[inside] - pushed[inside], rcond=1e-12)[0]
            v[inside] = y[inside] * np.clip(y[inside] * solution, 0.0, u[inside])
            pushed = pushed + (K @ v[inside])[:n]
        error = np.abs(pushed - f).max()
        if error < best_error:
            best, best_error = v, error
    return y * best


def look_up_gram(estimator, X, y, X_poison):
    """A Pipeline that ends in a precomputed-kernel SVC, as one with a kernel function.

    The step before the SVC makes the Gram matrix, whose columns are its training rows; it is
    fitted on clean and poison rows, the steps before it on clean rows only.

    Parameters
    ----------
    estimator : Pipeline
        Ends in ``SVC(kernel="precomputed")``.
    X, X_poison : arrays of shape (n_clean, ...) and (n_poison, ...)
        Raw rows.
    y : ndarray of shape (n_clean,)
        Labels of the clean rows.

    Returns
    -------
    svc : SVC
        With :func:`look_up` for a kernel.
    X, X_poison : ndarrays
        Rows for it.
    prepare : callable
        From raw samples to such rows.
    """
    before = clone(estimator[:-2]).fit(X, y) if len(estimator.steps) > 2 else None

    def first(X):
        return X if before is None else before.transform(X)

    rows = stack(first(X), first(X_poison))
    gram = clone(estimator.steps[-2][1]).fit(rows)
    K, n_clean = np.asarray(gram.transform(rows)), len(y)
    if K.shape[0] != K.shape[1]:
        raise ValueError(
            "The step before SVC(kernel='precomputed') must give one column a training row, but"
            f" on {K.shape[0]} rows it gave {K.shape[1]} columns."
        )
    numbered = number_rows(K, np.arange(len(K)))
    svc = clone(estimator.steps[-1][1]).set_params(kernel=look_up)

    def prepare(X):
        return number_rows(gram.transform(first(X)))

    return svc, numbered[:n_clean], numbered[n_clean:], prepare
