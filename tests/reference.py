"""Independent references for the backdoor learning slope.

Nothing here is imported from the package under test: every learner is refitted from its documented
objective

    C * sum_i s_i * l_i + ||w||^2 / 2,      s_i = beta * (...) for poisoned rows,

on dense arrays, to rounding error, at a few small poison weights beta, and the slope is a
difference of those refits. Smooth learners (smooth_fits.py): damped Newton with the full Hessian,
forward differences and Richardson extrapolation. Hinge (hinge_dual.py): an exact active-set
solution of the dual, and a difference between two weights that are certified to lie in the first
linear segment.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from hinge_dual import DualFit, fit_hinge, solve_on_sets
from scipy import sparse
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC
from smooth_fits import (
    LONG,
    augmented,
    fit_margin_loss,
    fit_ridge,
    fit_softmax,
    logistic_loss,
    squared_hinge_loss,
    squared_loss,
)


@dataclass(frozen=True)
class SlopeReference:
    """dL/dbeta and L, both from the right at beta = 0.

    ``step`` is the (largest) weight at which a refit was made. ``breakpoint`` (hinge only, and
    only where the intercept is determined) is where the sets of the first linear segment end.
    """

    derivative: float
    loss: float
    step: float
    piecewise_linear: bool = False
    breakpoint: float | None = None


# -- Labels, weights and losses ---------------------------------------------------------------


def signs(y, classes, scheme):
    """+1, -1 or 0 (takes no part) of each row in each binary problem.

    "ovr": one column for two classes (+1 is the second), else one per class. "ovo": one column per
    pair i < j with +1 for i; for two classes +1 is the second, as in the public decision function.
    """
    index = np.searchsorted(classes, y)
    if len(classes) == 2:
        return np.where(index == 1, 1.0, -1.0)[:, None]
    if scheme == "ovr":
        return np.where(index[:, None] == np.arange(len(classes)), 1.0, -1.0)
    pairs = combinations(range(len(classes)), 2)
    return np.column_stack([1.0 * (index == i) - 1.0 * (index == j) for i, j in pairs])


def class_factors(estimator, y, classes, y_clean, sample_weight_clean):
    """Class weight of each row in each binary problem.

    "balanced" is taken from the clean rows: n / (K * count), with counts weighted by the sample
    weights for the learners that do so. In the one-vs-rest problems of LinearSVC only the positive
    class has its weight; the rest counts 1, as liblinear does it.
    """
    linear_svc = isinstance(estimator, LinearSVC)
    if estimator.class_weight is None:
        per_class = np.ones(len(classes))
    elif estimator.class_weight == "balanced":
        counted = isinstance(estimator, LogisticRegression) or linear_svc
        s = sample_weight_clean if counted else np.ones(len(y_clean))
        counts = np.array([s[y_clean == c].sum() for c in classes])
        per_class = counts.sum() / (len(classes) * counts)
    else:
        per_class = np.array([estimator.class_weight.get(c, 1.0) for c in classes])
    factors = per_class[np.searchsorted(classes, y)][:, None]
    if linear_svc and len(classes) > 2:
        T = signs(y, classes, "ovr")
        return np.where(T > 0, per_class, 1.0)
    return factors


def mean_loss(F, y, classes, kind):
    """Mean over the samples of the training loss, summed over the binary problems."""
    if kind == "softmax":
        return -np.mean(log_softmax(F, axis=1)[np.arange(len(y)), np.searchsorted(classes, y)])
    T = signs(y, classes, "ovo" if kind == "ovo_hinge" else "ovr")
    if kind == "squared":
        return np.mean(np.sum((T - F) ** 2, axis=1))
    if kind == "logistic":
        return np.mean(np.sum(np.logaddexp(0, -T * F), axis=1))
    gap = np.where(T == 0, 0, np.maximum(0, 1 - T * F))
    return np.mean(np.sum(gap**2 if kind == "squared_hinge" else gap, axis=1))


def loss_kind(estimator, n_classes):
    """Which of the losses of :func:`mean_loss` an estimator is trained with."""
    if isinstance(estimator, RidgeClassifier):
        return "squared"
    if isinstance(estimator, LogisticRegression):
        return "logistic" if n_classes == 2 else "softmax"
    if isinstance(estimator, LinearSVC):
        return estimator.loss
    return "ovo_hinge"


def intercept_of(estimator):
    """None, "free", or the scale of a penalised intercept (liblinear)."""
    if not estimator.fit_intercept:
        return None
    liblinear = isinstance(estimator, LinearSVC) or (
        isinstance(estimator, LogisticRegression) and estimator.solver == "liblinear"
    )
    return estimator.intercept_scaling if liblinear else "free"


def kernel_of(estimator, X_clean):
    """Kernel function (A, B) -> matrix; gamma="scale" is taken from the clean rows."""
    if isinstance(estimator, LinearSVC):
        scale = estimator.intercept_scaling if estimator.fit_intercept else 0.0
        return lambda A, B: A @ B.T + scale**2
    if callable(estimator.kernel):
        return estimator.kernel
    gamma = estimator.gamma
    if gamma == "scale":
        gamma = 1 / (X_clean.shape[1] * X_clean.var())
    elif gamma == "auto":
        gamma = 1 / X_clean.shape[1]
    if estimator.kernel == "linear":
        return lambda A, B: A @ B.T
    if estimator.kernel == "poly":
        return lambda A, B: (gamma * A @ B.T + estimator.coef0) ** estimator.degree
    assert estimator.kernel == "rbf"

    def rbf(A, B):
        squares = np.sum(A**2, 1)[:, None] + np.sum(B**2, 1) - 2 * A @ B.T
        return np.exp(-gamma * np.maximum(squares, 0))

    return rbf


# -- Fits at any poison weight ----------------------------------------------------------------


class Refit:
    """An estimator's exact fit on clean and poisoned rows at any poison weight.

    The arrays are dense; ``estimator`` is an unfitted plain learner. ``decision(fit, X)`` gives
    one column per binary problem (per class for softmax).
    """

    def __init__(self, estimator, X, y, is_poison, sample_weight=None):
        self.estimator, self.X, self.y = estimator, np.asarray(X, float), np.asarray(y)
        self.is_poison = np.asarray(is_poison)
        self.classes = np.unique(y)
        self.kind = loss_kind(estimator, len(self.classes))
        s = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, float)
        clean = ~self.is_poison
        factors = class_factors(estimator, self.y, self.classes, self.y[clean], s[clean])
        self.T = signs(self.y, self.classes, "ovo" if self.kind == "ovo_hinge" else "ovr")
        self.weights = np.broadcast_to(s[:, None] * factors, self.T.shape)
        self.C = 1 / (2 * estimator.alpha) if self.kind == "squared" else estimator.C
        self.hinge = self.kind in ("hinge", "ovo_hinge")
        if self.hinge:
            self.equality = self.kind == "ovo_hinge"
            self.kernel = kernel_of(estimator, self.X[clean])
            self.rows = [np.flatnonzero(t) for t in self.T.T]
            self.grams = [self.kernel(self.X[r], self.X[r]) for r in self.rows]
        else:
            self.intercept = intercept_of(estimator)
            wide = self.X.shape[1] > len(self.X)
            self.basis = np.linalg.qr(self.X.T)[0] if wide else np.eye(self.X.shape[1])
            self.Z = self.X @ self.basis

    def loss(self, F, y):
        return mean_loss(F, y, self.classes, self.kind)

    def row_weights(self, beta):
        return self.weights * np.where(self.is_poison, beta, 1.0)[:, None]

    def coefficients(self, beta, start=None, held=None):
        """Coefficients of a linear learner with a smooth loss, in its own basis.

        With `held` (rows x problems) the squared hinge is (1 - z)^2 on those rows and 0 on others.
        """
        S = self.row_weights(beta)
        if held is not None:
            return fit_margin_loss(
                self.Z, self.T, S * held, self.C, self.intercept, squared_loss, start
            )
        if self.kind == "squared":
            return fit_ridge(self.Z, self.T, S, self.C, self.intercept)
        if self.kind == "softmax":
            onehot = 1.0 * (self.y[:, None] == self.classes)
            return fit_softmax(self.Z, onehot, S[:, 0], self.C, self.intercept, start)
        loss = logistic_loss if self.kind == "logistic" else squared_hinge_loss
        return fit_margin_loss(self.Z, self.T, S, self.C, self.intercept, loss, start)

    def problems(self, beta):
        """Kernel matrix, signs and upper bounds of each hinge dual."""
        U = self.C * self.row_weights(beta)
        for k, (rows, K) in enumerate(zip(self.rows, self.grams)):
            yield K, self.T[rows, k], U[rows, k]

    def duals(self, beta, clean=None):
        """Exact dual solution of each hinge problem.

        ``clean`` (the solutions at 0) serves as start.
        """
        starts = [None] * len(self.rows) if clean is None else [dual.alpha for dual in clean]
        return [
            fit_hinge(*problem, self.equality, start)
            for problem, start in zip(self.problems(beta), starts)
        ]

    def decision(self, fit, X):
        X = np.asarray(X, float)
        if not self.hinge:
            return augmented(X @ self.basis, self.intercept)[0] @ fit
        columns = []
        for k, (rows, dual) in enumerate(zip(self.rows, fit)):
            v = self.T[rows, k] * dual.alpha
            columns.append(self.kernel(X, self.X[rows]).astype(LONG) @ v + dual.intercept)
        return np.column_stack(columns)

    def fit(self, beta):
        return self.duals(beta) if self.hinge else self.coefficients(beta)


# -- The slope --------------------------------------------------------------------------------


def extrapolated(steps, values, limit):
    """Limit of (values - limit) / steps at step 0 (Neville's table, halved steps), and error."""
    table = [[(value - limit) / step] for step, value in zip(steps, values)]
    for k in range(1, len(table)):
        for j in range(1, k + 1):
            gain = (table[k][j - 1] - table[k - 1][j - 1]) / (2**j - 1)
            table[k].append(table[k][j - 1] + gain)
    best = table[-1][-1]
    return best, max(abs(best - table[-2][-1]), abs(best - table[-1][-2]))


def smooth_slope(refit, X_test, y_test, precision=1e-6):
    """Richardson-extrapolated forward differences; the step shrinks until they agree.

    For the squared hinge the rows inside the hinge are held at those of the clean fit: no row is
    on its edge, so they are the same at 0+, and the curve with them held has the same derivative
    at 0 but is smooth beyond the tiny step at which a first row would cross.
    """
    clean = refit.coefficients(0.0)
    loss = refit.loss(refit.decision(clean, X_test), y_test)
    held = None
    if refit.kind == "squared_hinge":
        margins = refit.T * refit.decision(clean, refit.X)
        assert np.abs(margins - 1).min() > 1e-10
        held = margins < 1

    for largest in 0.25 * 0.1 ** np.arange(10):
        steps = largest / 2 ** np.arange(6)
        fits = [refit.coefficients(h, clean, held) for h in steps]
        losses = [refit.loss(refit.decision(fit, X_test), y_test) for fit in fits]
        derivative, error = extrapolated(steps, losses, loss)
        if error <= precision * abs(derivative):
            return SlopeReference(float(derivative), float(loss), largest)
    raise AssertionError("no step small enough")


def carried(refit, duals, beta):
    """The duals' sets held while the bounds move to another poison weight.

    At beta = 0 the poisoned rows keep their sets, and their say in the intercept: it is the limit
    from the right.
    """
    moved, ever = [], [u > 0 for _, _, u in refit.problems(1.0)]
    for (K, t, u), dual, used in zip(refit.problems(beta), duals, ever):
        sets = dual.free, dual.at_bound
        alpha, b = solve_on_sets(K, t, u, *sets, refit.equality, used)
        moved.append(DualFit(alpha, b, dual.free, dual.at_bound))
    return moved


def condition_slacks(refit, duals, beta):
    """Slack of every condition at ``beta`` (negative: broken): gaps, and bounds of free rows."""
    slacks, ever = [], [u > 0 for _, _, u in refit.problems(1.0)]
    for (K, t, u), dual, used in zip(refit.problems(beta), duals, ever):
        gap = 1 - t * (K.astype(LONG) @ (t * dual.alpha) + dual.intercept)
        slacks.append(np.where(dual.at_bound, gap, -gap)[used & ~dual.free])
        slacks.append(dual.alpha[dual.free])
        slacks.append((u - dual.alpha)[dual.free])
    return np.concatenate(slacks)


def hinge_slope(refit, X_test, y_test):
    """(L(h) - L(h/2)) / (h/2) with h certified to lie in the first linear segment.

    On fixed sets alpha and b are affine in beta, and the optimality conditions are linear: if the
    sets of the solution at h also solve the problem at 0+, they do so in between, and the loss is
    linear up to h once no test sample crosses its own hinge. The loss is the limit from the right,
    2 L(h/2) - L(h): at 0 itself the intercept may be undetermined. Where it stays so for beta > 0
    (no free row, clean and poisoned numbers of both classes in balance), it is the middle of its
    interval, as in libsvm's refits.
    """
    clean = refit.duals(0.0)

    def loss(fit):
        return refit.loss(refit.decision(fit, X_test), y_test)

    def hinges(fit):
        T = signs(y_test, refit.classes, "ovo" if refit.equality else "ovr")
        return T * refit.decision(fit, X_test) < 1

    for h in 0.1 ** np.arange(2, 14):
        duals = refit.duals(h, clean)
        limit = carried(refit, duals, 0.0)
        slack = condition_slacks(refit, limit, 0.0)
        if slack.min() < -1e-10 or (hinges(limit) != hinges(duals)).any():
            continue
        half = refit.duals(h / 2, clean)
        at_h, at_half = loss(duals), loss(half)
        derivative = (at_h - at_half) / (h / 2)
        right = 2 * at_half - at_h
        again = (at_half - loss(limit)) / (h / 2)
        if abs(derivative - again) > 1e-6 * abs(derivative):
            continue
        shrink = slack - condition_slacks(refit, duals, h)
        falls = shrink > 1e-12 * np.abs(shrink).max()
        end = float(h * np.min(np.maximum(slack, 0)[falls] / shrink[falls], initial=np.inf))
        held = not refit.equality or all(dual.free.any() for dual in duals)
        return SlopeReference(float(derivative), float(right), h, True, end if held else None)
    raise AssertionError("no first segment found")


def slope_reference(estimator, X, y, is_poison, X_test, y_test, sample_weight=None):
    """Right derivative and limit of the mean test loss at beta = 0, from refits.

    X, y and sample_weight hold clean and poisoned rows (what a poisoned fit sees, before the
    poison weight); X_test, y_test the triggered test samples with the attacker's labels. The
    preprocessing steps of a Pipeline are fitted on the clean rows and held.
    """
    X, X_test = (Z.toarray() if sparse.issparse(Z) else np.asarray(Z) for Z in (X, X_test))
    y, y_test, is_poison = np.asarray(y), np.asarray(y_test), np.asarray(is_poison)
    if isinstance(estimator, Pipeline):
        preprocessing = clone(estimator[:-1]).fit(X[~is_poison], y[~is_poison])
        X, X_test = preprocessing.transform(X), preprocessing.transform(X_test)
        estimator = estimator[-1]
    refit = Refit(estimator, X, y, is_poison, sample_weight)
    slope = hinge_slope if refit.hinge else smooth_slope
    return slope(refit, X_test, y_test)
