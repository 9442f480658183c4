"""Weight paths against what defines them, at every weight.

Optimality conditions are computed here, with plain numpy, from the coefficients that a path gives;
ridge against dense solves, refined in extended precision; decision values and tangents against the
independent refits of reference.py and their differences. No number here came from the package.
"""

import warnings
from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reference import LONG, Refit, augmented, hinge_slope, intercept_of
from scipy import sparse
from scipy.optimize import lsq_linear
from scipy.special import expit, log_softmax, softmax
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics.pairwise import laplacian_kernel
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from threadpoolctl import threadpool_limits

from skbackdoor.paths import weight_path
from skbackdoor.paths.linear.design import DesignMatrix
from skbackdoor.paths.linear.hessian import Hessian
from skbackdoor.paths.linear.objective import LinearObjective
from skbackdoor.paths.linear.solver import HessianSolver
from skbackdoor.paths.losses import Logistic, MarginLoss

pytestmark = pytest.mark.filterwarnings(
    "error::sklearn.exceptions.ConvergenceWarning",
    "ignore:(lbfgs|Liblinear|newton-cg|The max_iter)",
    "ignore::FutureWarning",
)
SIX_DECADES = [1e-3, 0.03, 1.0, 30.0, 1e3]
WEIGHTS = np.array([0.0, 1e-6, 1e-3, 0.03, 0.1, 0.37, 0.5, 0.9, 1.0])
BETWEEN = np.array([0.0, 1e-3, 0.23, 1.0])
SKLEARN = tuple(int(part) for part in sklearn.__version__.split(".")[:2])


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small matrices: BLAS threads only cost."""
    with threadpool_limits(1):
        yield


# -- Rows -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """Training rows, clean and poison in one another's midst, and test rows."""

    X: np.ndarray
    y: np.ndarray
    is_poison: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    def path(self, estimator, **options):
        return weight_path(estimator, self.X, self.y, self.is_poison, **options)

    def reference(self, estimator, sample_weight=None):
        return Refit(estimator, self.X, self.y, self.is_poison, sample_weight)

    @property
    def order(self):
        """Clean rows, then poison: the order of dual coefficients."""
        return clean_first(self.is_poison)


def clean_first(is_poison):
    return np.argsort(is_poison, kind="stable")


@cache
def digits(*labels, n_clean=100, n_poison=12, n_test=30):
    """Some digits, 64 features in [0, 1] of which some are 0 everywhere; a corner is lit in poison
    rows and their label is the next one."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(len(labels))
    rows = rng.permutation(np.flatnonzero(np.isin(y, labels)))[: n_clean + n_poison + n_test]
    X, y = X[rows] / 16, y[rows]
    n_train = n_clean + n_poison
    is_poison = np.zeros(n_train, bool)
    is_poison[rng.permutation(n_train)[:n_poison]] = True
    poison = np.flatnonzero(is_poison)
    X[np.ix_(poison, [54, 55, 62, 63])] = 1.0
    y[poison] = np.take(labels, (np.searchsorted(labels, y[poison]) + 1) % len(labels))
    return Rows(X[:n_train], y[:n_train], is_poison, X[n_train:], y[n_train:])


@cache
def numbers(n_classes=2, n_clean=60, n_poison=8, d=6):
    """Overlapping normal clouds."""
    rng = np.random.default_rng(7)
    n = n_clean + n_poison
    y = rng.integers(n_classes, size=n + 25)
    X = rng.normal(size=(n + 25, d)) + 0.8 * rng.normal(size=(n_classes, d))[y]
    is_poison = np.zeros(n, bool)
    is_poison[rng.permutation(n)[:n_poison]] = True
    X[:n][is_poison, 0] += 3.0
    y[:n][is_poison] = 1
    return Rows(X[:n], y[:n], is_poison, X[n:], y[n:])


def skewed_weights(rows, zeros=False):
    values = [0.0, 0.3, 1.0, 2.5] if zeros else [0.3, 1.0, 2.5]
    return np.random.default_rng(3).choice(values, len(rows.y))


def assert_close(actual, expected, rtol):
    """To `rtol` of the largest expected number."""
    expected = np.asarray(expected, float)
    assert_allclose(actual, expected, rtol=0, atol=rtol * np.abs(expected).max())


# -- Ridge ------------------------------------------------------------------------------------


def refined_solve(A, B):
    """A^-1 B with its residual taken in extended precision."""
    solution = np.zeros(B.shape, LONG)
    for _ in range(6):
        rest = B.astype(LONG) - A.astype(LONG) @ solution
        solution = solution + np.linalg.solve(A.astype(float), rest.astype(float))
    return solution


def ridge_truth(X, T, s, poison_weight, is_poison, alpha, intercept):
    """Coefficients with the intercept last, and their derivative, by the normal equations."""
    Z = np.column_stack([X, np.ones(len(X))]).astype(LONG) if intercept else X.astype(LONG)
    T = T.astype(LONG)
    penalty = np.full(Z.shape[1], LONG(alpha))
    if intercept:
        penalty[-1] = 0
    S = (s * np.where(is_poison, poison_weight, 1.0))[:, None].astype(LONG)
    A = Z.T @ (S * Z) + np.diag(penalty)
    W = refined_solve(A, Z.T @ (S * T))
    P = is_poison
    rate = refined_solve(A, Z[P].T @ (s[P, None] * (T[P] - Z[P] @ W)))
    return W.T, rate.T


def signs_of(y):
    """Targets of RidgeClassifier."""
    classes = np.unique(y)
    if len(classes) == 2:
        return np.where(y == classes[1], 1.0, -1.0)[:, None]
    return np.where(y[:, None] == classes, 1.0, -1.0)


def assert_ridge_is_true(estimator, rows, *, X=None, sample_weight=None, class_weight=None):
    betas = np.linspace(0, 1, 11)
    s = np.ones(len(rows.y)) if sample_weight is None else sample_weight
    if class_weight is not None:
        s = s * np.array([class_weight[label] for label in rows.y])
    T = rows.y[:, None] if isinstance(estimator, Ridge) else signs_of(rows.y)
    fed = rows.X if X is None else X
    path = weight_path(estimator, fed, rows.y, rows.is_poison, sample_weight=sample_weight)
    solution = path.solve(betas)
    assert solution.method == "closed form"
    assert np.max(solution.residuals) < 1e-10
    decision, tangent = solution.decision_function(rows.X_test), solution.tangent(rows.X_test)
    for k, beta in enumerate(betas):
        free = estimator.fit_intercept
        W, rate = ridge_truth(rows.X, T, s, beta, rows.is_poison, estimator.alpha, free)
        coef, b = (W[:, :-1], W[:, -1]) if free else (W, np.zeros(len(W)))
        rate, b_rate = (rate[:, :-1], rate[:, -1]) if free else (rate, np.zeros(len(W)))
        assert_close(solution.coef[k], coef, 1e-10)
        scale = np.abs(W).max()
        assert_allclose(solution.intercept[k], b.astype(float), rtol=0, atol=1e-10 * scale)
        assert_close(decision[k], rows.X_test @ coef.T + b, 1e-10)
        assert_close(tangent[k], rows.X_test @ rate.T + b_rate, 1e-9)
    return path


@pytest.mark.parametrize("alpha", [1e-3, 0.03, 1.0, 30.0, 1e3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_clean", [100, 40], ids=["n > d", "n < d"])
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
@pytest.mark.parametrize("learner", [RidgeClassifier, Ridge])
def test_ridge(learner, labels, n_clean, fit_intercept, alpha):
    estimator = learner(alpha=alpha, fit_intercept=fit_intercept)
    assert_ridge_is_true(estimator, digits(*labels, n_clean=n_clean))


@pytest.mark.parametrize("alpha", [1e-6, 1e6])
@pytest.mark.parametrize("n_clean", [100, 40])
def test_ridge_at_extreme_alpha(n_clean, alpha):
    """alpha = 1e-6 lies 1e-10 below the largest eigenvalue: to what that leaves of 16 digits."""
    rows, betas = digits(1, 7, n_clean=n_clean), np.linspace(0, 1, 5)
    solution = rows.path(RidgeClassifier(alpha=alpha)).solve(betas)
    T, ones = signs_of(rows.y), np.ones(len(rows.y))
    for k, beta in enumerate(betas):
        W, _ = ridge_truth(rows.X, T, ones, beta, rows.is_poison, alpha, True)
        assert_close(solution.coef[k], W[:, :-1], 1e-6)
        truth = rows.X_test @ W[:, :-1].T + W[:, -1]
        assert_close(solution.decision_function(rows.X_test)[k], truth, 1e-6)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_ridge_with_more_poison_rows_than_features(fit_intercept):
    estimator = RidgeClassifier(alpha=0.1, fit_intercept=fit_intercept)
    assert_ridge_is_true(estimator, numbers(3, n_poison=20))


@pytest.mark.parametrize("n_clean", [100, 40], ids=["n > d", "n < d"])
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
@pytest.mark.parametrize("zeros", [False, True], ids=["positive", "zeros"])
def test_ridge_sample_weight(labels, n_clean, zeros):
    rows = digits(*labels, n_clean=n_clean)
    weight = skewed_weights(rows, zeros)
    assert_ridge_is_true(RidgeClassifier(alpha=0.3), rows, sample_weight=weight)


@pytest.mark.parametrize("n_clean", [100, 40], ids=["n > d", "n < d"])
@pytest.mark.parametrize("balanced", [True, False])
def test_ridge_class_weight(n_clean, balanced):
    """ "balanced" counts clean rows."""
    rows = digits(1, 3, 7, n_clean=n_clean)
    per_class = {1: 3.0, 3: 0.2, 7: 1.0}
    if balanced:
        y_clean = rows.y[~rows.is_poison]
        per_class = {k: len(y_clean) / (3 * np.sum(y_clean == k)) for k in (1, 3, 7)}
    estimator = RidgeClassifier(alpha=2.0, class_weight="balanced" if balanced else per_class)
    assert_ridge_is_true(estimator, rows, class_weight=per_class)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_clean", [100, 40], ids=["n > d", "n < d"])
def test_ridge_sparse(n_clean, fit_intercept):
    rows = digits(1, 3, 7, n_clean=n_clean)
    estimator = RidgeClassifier(alpha=0.5, fit_intercept=fit_intercept)
    assert_ridge_is_true(estimator, rows, X=sparse.csr_array(rows.X))
    weight = skewed_weights(rows, zeros=True)
    assert_ridge_is_true(estimator, rows, X=sparse.csc_matrix(rows.X), sample_weight=weight)


@pytest.mark.parametrize("n_clean", [100, 40], ids=["n > d", "n < d"])
def test_ridge_with_params_is_a_fresh_path(n_clean):
    rows = digits(1, 3, 7, n_clean=n_clean)
    first = rows.path(RidgeClassifier(alpha=1.0))
    first.solve(0.5)
    for alpha in (1e-3, 1.0, 1e3):
        other = first.with_params(alpha=alpha).solve(WEIGHTS)
        fresh = rows.path(RidgeClassifier(alpha=alpha)).solve(WEIGHTS)
        assert_close(other.coef, fresh.coef, 1e-13)
        assert_close(other.intercept, fresh.intercept, 1e-13)
        assert_close(other.tangent(rows.X_test), fresh.tangent(rows.X_test), 1e-12)
    without = first.with_params(fit_intercept=False).solve(WEIGHTS)
    fresh = rows.path(RidgeClassifier(fit_intercept=False)).solve(WEIGHTS)
    assert_close(without.coef, fresh.coef, 1e-13)
    assert first.estimator.alpha == 1.0


def test_ridge_without_penalty():
    """alpha = 0: least squares where that is determined, else an error that says what to do."""
    rows = numbers()
    path = assert_ridge_is_true(RidgeClassifier(alpha=0.0), rows)
    assert path.method == "implicit"
    X = np.column_stack([rows.X, rows.X[:, 0]])
    with pytest.raises(ValueError, match="singular.*alpha"):
        weight_path(RidgeClassifier(alpha=0.0), X, rows.y, rows.is_poison).solve(0.5)


# -- Smooth losses: gradients -----------------------------------------------------------------


def smooth_gradient(refit, coef, intercept, beta):
    """Gradient of C sum_i s_i l_i + ||w||^2 / 2 (n_outputs, n_parameters), and at 0."""
    A, penalty = augmented(refit.X, refit.intercept)
    parameters = coef
    if refit.intercept is not None:
        scale = 1.0 if refit.intercept == "free" else refit.intercept
        parameters = np.column_stack([coef, intercept / scale])
    S = refit.C * refit.row_weights(beta)

    def gradient(parameters):
        F = A @ parameters.T
        if refit.kind == "softmax":
            R = softmax(F, axis=1) - (refit.y[:, None] == refit.classes)
        elif refit.kind == "logistic":
            R = -refit.T * expit(-refit.T * F)
        else:
            R = -2 * refit.T * np.maximum(0, 1 - refit.T * F)
        return (S * R).T @ A + penalty * parameters

    return gradient(parameters), gradient(np.zeros_like(parameters))


def gradient_terms(refit, beta):
    """Size of the terms of the gradient at 0: on balanced rows they cancel."""
    A, _ = augmented(refit.X, refit.intercept)
    return np.linalg.norm((refit.C * refit.row_weights(beta)).T @ np.abs(A))


def relative_gradient(refit, coef, intercept, beta):
    gradient, start = smooth_gradient(refit, coef, intercept, beta)
    return np.linalg.norm(gradient) / np.linalg.norm(start)


def assert_smooth_is_true(estimator, rows, *, sample_weight=None, weights=WEIGHTS, X=None):
    """Gradients at all weights; decision values and tangents at some."""
    fed = rows.X if X is None else X
    path = weight_path(estimator, fed, rows.y, rows.is_poison, sample_weight=sample_weight)
    refit = rows.reference(estimator, sample_weight)
    solution = path.solve(weights)
    assert solution.method == "continuation"
    for k, beta in enumerate(weights):
        residual = relative_gradient(refit, solution.coef[k], solution.intercept[k], beta)
        assert residual <= 1e-8
        if refit.intercept is None or refit.intercept in ("free", 1.0):
            assert_allclose(solution.residuals[k], residual, rtol=1e-2, atol=1e-12)
    assert_decision_and_tangent(refit, path, rows)
    return solution


def assert_decision_and_tangent(refit, path, rows):
    solution = path.solve(BETWEEN)
    decision, tangent = solution.decision_function(rows.X_test), solution.tangent(rows.X_test)
    for k, beta in enumerate(BETWEEN):
        truth = refit.coefficients(beta)
        assert_close(decision[k], refit.decision(truth, rows.X_test), 1e-6)
        if beta < 1:
            assert_close(tangent[k], smooth_tangent(refit, truth, beta, rows.X_test), 1e-4)


def smooth_tangent(refit, fit, beta, X):
    """Extrapolated differences of refits, with smaller steps until they agree.

    For the squared hinge the rows inside the hinge are held, as in reference.smooth_slope.
    """
    held, F = None, refit.decision(fit, X)
    if refit.kind == "squared_hinge":
        held = refit.T * refit.decision(fit, refit.X) < 1
    for largest in 0.02 * 0.05 ** np.arange(7):
        steps = largest / 2 ** np.arange(4)
        fits = [refit.coefficients(beta + h, fit, held) for h in steps]
        table = [(refit.decision(moved, X) - F) / h for moved, h in zip(fits, steps)]
        while len(table) > 1:
            order, before = 5 - len(table), table
            table = [b + (b - a) / (2**order - 1) for a, b in zip(table, table[1:])]
        if np.abs(table[0] - before[-1]).max() <= 1e-5 * np.abs(table[0]).max():
            return table[0]
    raise AssertionError("no step small enough")


LOGISTIC = {
    "binary": (LogisticRegression(), (1, 7)),
    "multinomial": (LogisticRegression(), (1, 3, 7)),
    "liblinear": (LogisticRegression(solver="liblinear"), (1, 7)),
}


@pytest.mark.parametrize("C", SIX_DECADES)
@pytest.mark.parametrize("name", LOGISTIC)
def test_logistic(name, C):
    estimator, labels = LOGISTIC[name]
    assert_smooth_is_true(clone(estimator).set_params(C=C), digits(*labels))


@pytest.mark.parametrize("n_clean", [40])
@pytest.mark.parametrize("name", LOGISTIC)
def test_logistic_with_fewer_rows_than_features(name, n_clean):
    estimator, labels = LOGISTIC[name]
    assert_smooth_is_true(clone(estimator).set_params(C=3.0), digits(*labels, n_clean=n_clean))


LOGISTIC_VARIANTS = {
    "no intercept": (LogisticRegression(fit_intercept=False), (1, 7)),
    "softmax no intercept": (LogisticRegression(fit_intercept=False), (1, 3, 7)),
    "liblinear no intercept": (
        LogisticRegression(fit_intercept=False, solver="liblinear"),
        (1, 7),
    ),
    "liblinear scaled": (LogisticRegression(intercept_scaling=4.0, solver="liblinear"), (1, 7)),
    "dict": (LogisticRegression(class_weight={1: 4.0, 7: 0.3}), (1, 7)),
    "balanced": (LogisticRegression(class_weight="balanced"), (1, 3, 7)),
    "liblinear dict": (
        LogisticRegression(class_weight={1: 4.0, 7: 0.3}, solver="liblinear"),
        (1, 7),
    ),
    "liblinear balanced": (
        LogisticRegression(class_weight="balanced", solver="liblinear"),
        (1, 7),
    ),
    "newton-cholesky": (LogisticRegression(solver="newton-cholesky"), (1, 3, 7)),
    "saga": (LogisticRegression(solver="saga", max_iter=5), (1, 7)),
}


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("name", LOGISTIC_VARIANTS)
def test_logistic_variants(name, weighted):
    estimator, labels = LOGISTIC_VARIANTS[name]
    rows = digits(*labels)
    if weighted and "balanced" in name and SKLEARN < (1, 7):
        pytest.skip("'balanced' of the reference counts sample weights, as scikit-learn >= 1.7")
    weight = skewed_weights(rows, zeros=True) if weighted else None
    assert_smooth_is_true(estimator, rows, sample_weight=weight)


@pytest.mark.parametrize("name", LOGISTIC)
def test_logistic_sparse(name):
    estimator, labels = LOGISTIC[name]
    rows = digits(*labels)
    solution = assert_smooth_is_true(estimator, rows, X=sparse.csr_array(rows.X))
    dense = rows.path(estimator).solve(WEIGHTS)
    X_test = sparse.csr_array(rows.X_test)
    assert_close(solution.decision_function(X_test), dense.decision_function(rows.X_test), 1e-7)
    assert_close(solution.tangent(X_test), dense.tangent(rows.X_test), 1e-6)


@pytest.mark.parametrize("parameters", [{"C": np.inf}, {"penalty": None}])
def test_logistic_without_regularization_is_refused(parameters):
    rows = numbers()
    with pytest.raises(ValueError, match="regulariz"):
        rows.path(LogisticRegression(**parameters))
    with pytest.raises(ValueError, match="regulariz"):
        rows.path(LogisticRegression()).with_params(**parameters).solve(0.5)


@pytest.mark.parametrize("C", [0.1, 100.0])
@pytest.mark.parametrize("name", LOGISTIC)
def test_logistic_hundreds_of_weights(name, C):
    estimator, labels = LOGISTIC[name]
    estimator, rows = clone(estimator).set_params(C=C), digits(*labels)
    betas = np.random.default_rng(0).uniform(size=200)
    path, refit = rows.path(estimator), rows.reference(estimator)
    many = path.solve(betas)
    decision = many.decision_function(rows.X_test)
    for k in range(0, 200, 10):
        residual = relative_gradient(refit, many.coef[k], many.intercept[k], betas[k])
        assert residual <= 1e-8
        one = path.solve(betas[k])
        assert_close(one.decision_function(rows.X_test)[0], decision[k], 1e-6)
        assert_close(one.tangent(rows.X_test)[0], many.tangent(rows.X_test)[k], 1e-5)


@pytest.mark.parametrize("C", [1.0, 1e9])
def test_a_factor_in_single_precision_is_taken_only_where_it_serves(C):
    """Hessian solves reach the same residual, whichever precision the factor has."""
    rows = digits(1, 7)
    clean = ~rows.is_poison
    X = rows.X[clean]
    X[:, 20] = X[:, 21] + 1e-5 * X[:, 22]
    objective = LinearObjective(
        DesignMatrix(X, True),
        np.searchsorted([1, 7], rows.y[clean]),
        np.ones(clean.sum()),
        MarginLoss.one_vs_rest(Logistic(), 2),
        1.0 / C,
    )
    hessian_at_0 = Hessian(objective, np.zeros((clean.sum(), 1)))
    right = np.random.default_rng(0).normal(size=(2, 1, X.shape[1] + 1))
    Z = np.column_stack([X, np.ones(len(X))])
    hessian = 0.25 * Z.T @ Z + np.diag(objective.penalty)  # the logistic curvature at 0
    # the backward error: what any solve in double precision can promise
    solution = HessianSolver(hessian_at_0)(right)[:, 0]
    size = np.linalg.norm(hessian, 2) * np.linalg.norm(solution, axis=1)
    left = np.linalg.norm(solution @ hessian - right[:, 0], axis=1)
    assert np.all(left <= 1e-14 * size + 1e-12 * np.linalg.norm(right[:, 0], axis=1))
    single = hessian_at_0.factorise().factors[0][0].dtype
    assert single == (np.float32 if C == 1.0 else np.float64)


@pytest.mark.rounding
@pytest.mark.parametrize("C", [1e4, 1e5, 1e6])
@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), LogisticRegression(solver="liblinear"), LinearSVC()],
    ids=["lbfgs", "liblinear", "squared hinge"],
)
def test_huge_C_is_true_or_warned_of(estimator, C):
    """A gradient small against that at 0, which is C times a sum over rows, may still be large
    against the penalty: decision values decide."""
    rows, estimator = digits(1, 7), clone(estimator).set_params(C=C)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solution = rows.path(estimator).solve(BETWEEN)
    if any("was not reached" in str(w.message) for w in caught):
        assert C == 1e6 and isinstance(estimator, LinearSVC)
        return
    refit = rows.reference(estimator)
    for k, beta in enumerate(BETWEEN):
        F = refit.decision(refit.coefficients(beta), rows.X_test)
        assert_close(solution.decision_function(rows.X_test)[k], F, 1e-5)


def test_logistic_with_params_is_a_fresh_path():
    rows = digits(1, 3, 7)
    first = rows.path(LogisticRegression())
    for parameters in ({"C": 50.0}, {"C": 0.01, "fit_intercept": False}):
        other = first.with_params(**parameters).solve(WEIGHTS)
        fresh = rows.path(LogisticRegression(**parameters)).solve(WEIGHTS)
        assert_close(other.coef, fresh.coef, 1e-6)


# -- Hinge: Karush-Kuhn-Tucker ----------------------------------------------------------------


def signed_duals(refit, solution, order):
    """v of the rows as given (n_weights, n_rows, n_outputs): clean ones come first in a path."""
    v = np.zeros((len(solution.poison_weights), len(refit.y), len(refit.rows)))
    assert solution.dual_coef.shape == (len(v), len(order), v.shape[2])
    v[:, order] = solution.dual_coef
    return v


def svc_violations(refit, solution, order, unit=0.0):
    """Violation of the optimality conditions at each weight, in units of the margin.

    0 <= a <= u = C s beta, sum of v = 0, and t f >= 1 where a < u, t f <= 1 where a > 0. With
    `unit` > 0 that many rounding errors of f, and what the sum of v has left, are allowed.
    """
    worst = np.zeros(len(solution.poison_weights))
    V = signed_duals(refit, solution, order)
    for w, beta in enumerate(solution.poison_weights):
        for k, (rows, (K, t, u)) in enumerate(zip(refit.rows, refit.problems(beta))):
            v, b = V[w, rows, k], solution.intercept[w, k]
            assert np.count_nonzero(V[w, :, k]) == np.count_nonzero(v)
            a, total = t * v, np.abs(v).sum()
            assert a.min() >= 0 and np.all(a <= u * (1 + 1e-12))
            assert abs(v.astype(LONG).sum()) <= 1e-10 * total
            f = K.astype(LONG) @ v + b
            rounding = unit * np.finfo(float).eps * (np.abs(K) @ np.abs(v) + abs(b))
            if unit:
                rounding = rounding + abs(v.sum()) * np.abs(K).max()
            gap = 1 - t * f
            wrong = np.where(a < u * (1 - 1e-12), gap, -np.inf)
            wrong = np.maximum(wrong, np.where(a > 1e-12 * u, -gap, -np.inf))
            wrong = np.where(u > 0, wrong - rounding, 0.0)
            worst[w] = max(worst[w], float(wrong.max()))
    return worst


def assert_hinge_decision(refit, solution, X_test):
    """Decision values to 1e-6: without the intercept everywhere, with it where it is unique."""
    decision, unique = solution.decision_function(X_test), 0
    for w, beta in enumerate(solution.poison_weights):
        duals = refit.duals(beta)
        F = refit.decision(duals, X_test).astype(float)
        for k, dual in enumerate(duals):
            actual, expected = decision[w, :, k], F[:, k]
            atol = 1e-6 * max(1.0, np.abs(expected).max())
            if dual.free.any() or not refit.equality:
                unique += 1
                assert_allclose(actual, expected, rtol=0, atol=atol)
            moved = actual - actual.mean(), expected - expected.mean()
            assert_allclose(*moved, rtol=0, atol=atol)
    return unique


def assert_piecewise_tangent(refit, solution, X_test):
    """(F(beta + h) - F(beta)) / h of exact refits, with beta + 2 h on the same piece."""
    tangent, confirmed = solution.tangent(X_test), 0
    for w, beta in enumerate(solution.poison_weights):
        if beta == 1.0:
            continue
        start = refit.duals(beta)
        if refit.equality and not all(dual.free.any() for dual in start):
            continue
        F = refit.decision(start, X_test)
        for h in (1e-3, 1e-4, 1e-5, 1e-6):
            one, two = (refit.decision(refit.duals(beta + k * h), X_test) for k in (1, 2))
            first, second = (one - F) / h, (two - one) / h
            size = np.abs(first).max()
            if np.abs(second - first).max() <= 1e-5 * size:
                atol = 1e-4 * size + 1e-9 * np.abs(F).max()
                assert_allclose(tangent[w], first.astype(float), rtol=0, atol=atol)
                confirmed += 1
                break
    return confirmed


def assert_svc_is_true(estimator, rows, *, sample_weight=None, tangents=True, **options):
    path = rows.path(estimator, sample_weight=sample_weight)
    refit, solution = rows.reference(estimator, sample_weight), path.solve(WEIGHTS)
    assert solution.method == "dual path"
    violations = svc_violations(refit, solution, rows.order)
    assert violations.max() <= 1e-9
    assert solution.residuals.max() <= 1e-9
    between = path.solve(BETWEEN)
    unique = assert_hinge_decision(refit, between, rows.X_test)
    if tangents and unique == len(BETWEEN) * len(refit.rows):
        assert assert_piecewise_tangent(refit, between, rows.X_test) >= 2
    return path


@pytest.mark.parametrize("C", SIX_DECADES)
@pytest.mark.parametrize(
    "kernel",
    [{"kernel": "linear"}, {"kernel": "poly", "gamma": 0.05, "coef0": 1.0}]
    + [{"gamma": gamma} for gamma in (1e-6, 1e-3, 0.05, 1.0)]
    + [{"kernel": laplacian_kernel}],
    ids=["linear", "poly", "rbf 1e-6", "rbf 1e-3", "rbf 0.05", "rbf 1", "laplacian"],
)
def test_svc(kernel, C):
    assert_svc_is_true(SVC(C=C, **kernel), digits(1, 7))


@pytest.mark.rounding
@pytest.mark.parametrize("gamma", [1e-4, 1e-3])
def test_signed_duals_sum_to_0(gamma):
    """A walk of many steps loses digits of the sum, which counts by the kernel as it is."""
    rows = digits(1, 3, 7, 8, n_clean=400, n_poison=80)
    solution = rows.path(SVC(C=1e4, gamma=gamma)).solve(np.linspace(0, 1, 12))
    assert np.abs(solution.dual_coef.sum(axis=1)).max() <= 5e-11
    assert solution.residuals.max() <= 1e-9


SVC_VARIANTS = {
    "3-class linear": (SVC(kernel="linear", C=0.5), (1, 3, 7)),
    "3-class rbf": (SVC(gamma=0.05, C=10.0), (1, 3, 7)),
    "scale": (SVC(C=3.0), (1, 7)),
    "auto": (SVC(C=3.0, gamma="auto"), (1, 3, 7)),
    "dict": (SVC(C=2.0, gamma=0.05, class_weight={1: 5.0, 7: 0.2}), (1, 7)),
    "balanced": (SVC(C=2.0, gamma=0.05, class_weight="balanced"), (1, 3, 7)),
}


@pytest.mark.parametrize("name", SVC_VARIANTS)
def test_svc_variants(name):
    estimator, labels = SVC_VARIANTS[name]
    assert_svc_is_true(estimator, digits(*labels))


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_svc_sample_weight(kernel):
    rows = digits(1, 7)
    estimator = SVC(kernel=kernel, gamma=0.05)
    assert_svc_is_true(estimator, rows, sample_weight=skewed_weights(rows))


def test_svc_zero_sample_weight():
    """Rows of weight 0 are as good as absent."""
    rows = digits(1, 7)
    weight = skewed_weights(rows, zeros=True)
    estimator, kept = SVC(gamma=0.05), weight > 0
    solution = rows.path(estimator, sample_weight=weight).solve(WEIGHTS)
    less = Rows(rows.X[kept], rows.y[kept], rows.is_poison[kept], rows.X_test, rows.y_test)
    fewer = less.path(estimator, sample_weight=weight[kept]).solve(WEIGHTS)
    refit = less.reference(estimator, weight[kept])
    assert svc_violations(refit, fewer, less.order).max() <= 1e-9
    F, F_less = solution.decision_function(rows.X_test), fewer.decision_function(rows.X_test)
    assert_close(F, F_less, 1e-9)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_svc_sparse(kernel):
    rows, estimator = digits(1, 3, 7), SVC(kernel=kernel, C=2.0, gamma=0.05)
    X = sparse.csr_array(rows.X)
    solution = weight_path(estimator, X, rows.y, rows.is_poison).solve(WEIGHTS)
    assert svc_violations(rows.reference(estimator), solution, rows.order).max() <= 1e-9
    dense = rows.path(estimator).solve(WEIGHTS).decision_function(rows.X_test)
    assert_close(solution.decision_function(sparse.csr_array(rows.X_test)), dense, 1e-9)


def test_svc_sparse_scale():
    """gamma="scale" of sparse rows is that of the dense ones."""
    rows = digits(1, 7)
    X = sparse.csr_array(rows.X)
    solution = weight_path(SVC(), X, rows.y, rows.is_poison).solve(WEIGHTS)
    assert svc_violations(rows.reference(SVC()), solution, rows.order).max() <= 1e-9


@pytest.mark.parametrize("svc", [SVC(C=3.0, gamma=0.02), SVC(kernel="linear", C=0.02)])
def test_svc_in_a_pipeline(svc):
    """The scaler is held at the clean rows."""
    rows = digits(1, 7)
    scaler = StandardScaler().fit(rows.X[~rows.is_poison])
    scaled = Rows(
        scaler.transform(rows.X),
        rows.y,
        rows.is_poison,
        scaler.transform(rows.X_test),
        rows.y_test,
    )
    solution = rows.path(make_pipeline(StandardScaler(), svc)).solve(WEIGHTS)
    refit = scaled.reference(svc)
    assert svc_violations(refit, solution, rows.order).max() <= 1e-9
    decision = solution.decision_function(rows.X_test)
    for k in (0, 4, 8):
        F = refit.decision(refit.duals(WEIGHTS[k]), scaled.X_test)
        assert_allclose(decision[k], F.astype(float), rtol=0, atol=1e-6)


def test_svc_precomputed_is_the_kernel_itself():
    rows = digits(1, 7)
    K, K_test = rows.X @ rows.X.T, rows.X_test @ rows.X.T
    path = weight_path(SVC(kernel="precomputed", C=0.3), K, rows.y, rows.is_poison)
    solution = path.solve(WEIGHTS)
    estimator = SVC(kernel="linear", C=0.3)
    assert svc_violations(rows.reference(estimator), solution, rows.order).max() <= 1e-9
    linear = rows.path(estimator).solve(WEIGHTS)
    assert_close(solution.decision_function(K_test), linear.decision_function(rows.X_test), 1e-9)


@pytest.mark.rounding
@pytest.mark.parametrize("C", [1e-2, 0.3, 30.0])
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_first_breakpoint(kernel, labels, C):
    """Duals are linear in beta up to it, and not beyond; the reference finds the same one."""
    rows, estimator = digits(*labels), SVC(kernel=kernel, C=C, gamma=0.05)
    path, refit = rows.path(estimator), rows.reference(estimator)
    end = path.solve(0.3).first_breakpoint
    assert 0 < end <= 1
    assert end == path.solve([0.0, 1.0]).first_breakpoint
    if end < 1:
        shares = np.array([0.0, 0.25, 0.5, 0.75, 1.0, min(1.2, 1 / end)])
        v = path.solve(shares * end).dual_coef
        line = v[0] + shares[:, None, None] * (v[4] - v[0])
        size = np.abs(v[4] - v[0]).max()
        assert_allclose(v[:5], line[:5], rtol=0, atol=1e-7 * size + 1e-11 * np.abs(v).max())
        assert np.abs(v[5] - line[5]).max() > 1e-6 * size
    expected = hinge_slope(refit, rows.X_test, rows.y_test).breakpoint
    if expected is not None:
        assert_allclose(end, min(expected, 1.0), rtol=1e-4)


def test_other_families_have_no_breakpoint():
    rows = numbers()
    for estimator in (RidgeClassifier(), LogisticRegression(), LinearSVC(), GaussianNB()):
        assert rows.path(estimator).solve(0.5).first_breakpoint is None


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "zero weights"])
def test_svc_with_params_is_a_fresh_path(weighted):
    rows = digits(1, 7)
    weight = skewed_weights(rows, zeros=True) if weighted else None
    first = rows.path(SVC(C=1.0, gamma=0.05), sample_weight=weight)
    first.solve(0.5)
    for parameters in ({"C": 100.0}, {"gamma": 1e-3}, {"kernel": "linear"}, {"gamma": "scale"}):
        other = first.with_params(**parameters).solve(WEIGHTS)
        estimator = SVC(C=1.0, gamma=0.05).set_params(**parameters)
        fresh = rows.path(estimator, sample_weight=weight).solve(WEIGHTS)
        F, F_fresh = (s.decision_function(rows.X_test) for s in (other, fresh))
        assert_close(F, F_fresh, 1e-9)


def test_tangent_of_an_undetermined_intercept_is_that_of_the_decision_values():
    """No free row at any small weight: whichever intercept of its interval a solution takes, its
    tangent is the derivative of what decision_function gives."""
    X = np.array([[-1.0], [1.0], [-1.5], [1.5], [-0.5], [3.0]])
    y, is_poison = np.array([0, 1, 0, 1, 0, 1]), np.arange(6) >= 4
    solution = weight_path(SVC(kernel="linear", C=0.01), X, y, is_poison).solve([0.2, 0.21])
    grid = np.array([[-2.0], [0.0], [1.0]])
    F = solution.decision_function(grid)
    assert_allclose(solution.tangent(grid)[0], (F[1] - F[0]) / 0.01, rtol=1e-6)


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly"])
def test_kernel_of_very_many_rows(kernel, monkeypatch):
    """Where BLAS must not know that rows are multiplied with themselves: the same kernel."""
    rows, estimator = digits(1, 7), SVC(kernel=kernel, gamma=0.05)
    expected = rows.path(estimator).kernel.gram()
    monkeypatch.setattr("skbackdoor.paths.kernels.LARGEST_SYRK", 50)
    assert_allclose(rows.path(estimator).kernel.gram(), expected, rtol=0, atol=1e-13)


def test_kernel_refits_are_refits(monkeypatch):
    """Beyond the size that is followed: libsvm on a kernel matrix, named, without a tangent."""
    monkeypatch.setattr("skbackdoor.paths.svc.LARGEST_PATH", 50)
    rows, estimator = digits(1, 3, 7), SVC(C=2.0, gamma=0.05, tol=1e-6)
    solution = rows.path(estimator).solve(WEIGHTS)
    assert solution.method == "kernel refit"
    refit = rows.reference(estimator)
    violations = svc_violations(refit, solution, rows.order)
    assert violations.max() <= 1e-5  # libsvm keeps kernel values in single precision
    assert_allclose(solution.residuals, violations, rtol=1e-3)
    decision = solution.decision_function(rows.X_test)
    for k in (0, 3, 8):
        F = refit.decision(refit.duals(WEIGHTS[k]), rows.X_test)
        assert_close(decision[k], F, 1e-5)
    with pytest.raises(ValueError, match="tangent"):
        solution.tangent(rows.X_test)


# -- LinearSVC --------------------------------------------------------------------------------


def hinge_stationarity(refit, coef, intercept, beta, edge):
    """How far (w, b) is from sum_i a_i t_i (x_i, scale) with a as the hinge allows, relative.

    a is C s beta inside the hinge, 0 outside, and anything between within `edge` of the margin.
    """
    scale = intercept_of(refit.estimator)
    A, _ = augmented(refit.X, scale)
    worst = 0.0
    for k, t in enumerate(refit.T.T):
        w = coef[k]
        if scale is not None:
            w = np.append(w, intercept[k] / scale)
        u = refit.C * refit.row_weights(beta)[:, k]
        gap = 1 - t * (A @ w)
        on = (np.abs(gap) <= edge) & (u > 0)
        rest = w - A.T @ (t * np.where(on, 0, u * (gap > 0)))
        if on.any():
            columns = (A[on] * (t * u)[on, None]).T
            a = lsq_linear(columns, rest, (0, 1), tol=1e-15, lsmr_tol=None, method="bvls").x
            rest = rest - columns @ a
        size = np.linalg.norm(w) + np.linalg.norm(np.abs(A).T @ np.where(gap > edge, u, 0))
        worst = max(worst, np.linalg.norm(rest) / size)
    return worst


def assert_linear_hinge_is_true(estimator, rows, *, sample_weight=None, X=None):
    fed = rows.X if X is None else X
    path = weight_path(estimator, fed, rows.y, rows.is_poison, sample_weight=sample_weight)
    refit, solution = rows.reference(estimator, sample_weight), path.solve(WEIGHTS)
    assert solution.method == "dual path"
    assert solution.residuals.max() <= 1e-9
    for k, beta in enumerate(WEIGHTS):
        wrong = hinge_stationarity(refit, solution.coef[k], solution.intercept[k], beta, 1e-9)
        assert wrong <= 1e-9
    between = path.solve(BETWEEN)
    assert_hinge_decision(refit, between, rows.X_test)
    assert assert_piecewise_tangent(refit, between, rows.X_test) >= 2
    return path


@pytest.mark.rounding
@pytest.mark.parametrize("C", SIX_DECADES)
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
def test_linear_hinge(labels, C):
    assert_linear_hinge_is_true(LinearSVC(C=C, loss="hinge"), digits(*labels))


def refuse(*_):
    raise RuntimeError("this way gets lost")


@pytest.mark.rounding
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
def test_linear_hinge_by_interior_points(labels, C, monkeypatch):
    """Where the dual can be neither followed nor polished, the optimum is found all the same."""
    monkeypatch.setattr("skbackdoor.paths.hinge.active_set.ActiveSet.polish", refuse)
    assert_linear_hinge_is_true(LinearSVC(C=C, loss="hinge"), digits(*labels))


@pytest.mark.rounding
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_svc_by_interior_points(kernel, labels, C, monkeypatch):
    monkeypatch.setattr("skbackdoor.paths.hinge.active_set.ActiveSet.polish", refuse)
    monkeypatch.setattr("skbackdoor.paths.hinge.path.Walk.go", refuse)
    assert_svc_is_true(SVC(kernel=kernel, C=C, gamma=0.02), digits(*labels))


@pytest.mark.parametrize("C", SIX_DECADES)
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
def test_linear_squared_hinge(labels, C):
    assert_smooth_is_true(LinearSVC(C=C), digits(*labels))


LINEAR_VARIANTS = {
    "no intercept": {"fit_intercept": False},
    "scaled": {"intercept_scaling": 3.0},
    "dict": {"class_weight": {1: 4.0, 3: 0.5, 7: 1.0}},
    "balanced": {"class_weight": "balanced"},
}


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
@pytest.mark.parametrize("name", LINEAR_VARIANTS)
def test_linear_variants(name, labels, weighted):
    rows, parameters = digits(*labels), dict(LINEAR_VARIANTS[name])
    if name == "dict":
        parameters["class_weight"] = {k: parameters["class_weight"][k] for k in labels}
    if weighted and name == "balanced" and SKLEARN < (1, 7):
        pytest.skip("'balanced' of the reference counts sample weights, as scikit-learn >= 1.7")
    weight = skewed_weights(rows, zeros=True) if weighted else None
    hinge = LinearSVC(C=0.2, loss="hinge", **parameters)
    assert_linear_hinge_is_true(hinge, rows, sample_weight=weight)
    assert_smooth_is_true(LinearSVC(C=0.2, **parameters), rows, sample_weight=weight)


def test_linear_sparse():
    rows = digits(1, 3, 7)
    X = sparse.csr_array(rows.X)
    assert_linear_hinge_is_true(LinearSVC(C=0.2, loss="hinge"), rows, X=X)
    assert_smooth_is_true(LinearSVC(C=0.2), rows, X=X)


# -- Ten classes ------------------------------------------------------------------------------


@cache
def ten():
    return digits(*range(10), n_clean=250, n_poison=25)


def test_ten_classes_ridge():
    assert_ridge_is_true(RidgeClassifier(alpha=1.0), ten())


@pytest.mark.parametrize("C", [0.1, 100.0])
def test_ten_classes_logistic(C):
    rows, estimator = ten(), LogisticRegression(C=C)
    refit, solution = rows.reference(estimator), rows.path(estimator).solve(BETWEEN)
    decision = solution.decision_function(rows.X_test)
    tight = clone(estimator).set_params(solver="newton-cholesky", tol=1e-12, max_iter=1000)
    for k, beta in enumerate(BETWEEN):
        residual = relative_gradient(refit, solution.coef[k], solution.intercept[k], beta)
        assert residual <= 1e-8
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tight.fit(rows.X, rows.y, sample_weight=np.where(rows.is_poison, beta, 1.0))
        truth = tight.decision_function(rows.X_test)
        truth, actual = (F - F.mean(axis=1, keepdims=True) for F in (truth, decision[k]))
        assert_close(actual, truth, 1e-6)
        assert_array_equal(solution.predict(rows.X_test)[k], tight.predict(rows.X_test))


@pytest.mark.parametrize("svc", [SVC(C=5.0, gamma=0.05), SVC(kernel="linear", C=0.1)])
def test_ten_classes_svc(svc):
    rows, betas = ten(), np.array([0.0, 0.3, 1.0])
    solution = rows.path(svc).solve(betas)
    assert svc_violations(rows.reference(svc), solution, rows.order).max() <= 1e-9
    decision, labels = solution.decision_function(rows.X_test), solution.predict(rows.X_test)
    tight = clone(svc).set_params(tol=1e-10, decision_function_shape="ovo")
    for k, beta in enumerate(betas):
        used = np.ones(len(rows.y), bool) if beta else ~rows.is_poison
        weight = np.where(rows.is_poison, beta, 1.0)[used]
        tight.fit(rows.X[used], rows.y[used], sample_weight=weight)
        assert_close(decision[k], tight.decision_function(rows.X_test), 1e-6)
        assert_array_equal(labels[k], tight.predict(rows.X_test))


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_ten_classes_linear_svc(loss):
    rows, estimator = ten(), LinearSVC(C=0.3, loss=loss)
    refit, solution = rows.reference(estimator), rows.path(estimator).solve([0.0, 0.3, 1.0])
    for k, beta in enumerate(solution.poison_weights):
        fit = solution.coef[k], solution.intercept[k]
        if loss == "hinge":
            assert hinge_stationarity(refit, *fit, beta, 1e-9) <= 1e-9
        else:
            assert relative_gradient(refit, *fit, beta) <= 1e-8
    F = refit.decision(refit.fit(0.3), rows.X_test)
    assert_close(solution.decision_function(rows.X_test)[1], F, 1e-6)
    assert_array_equal(solution.predict(rows.X_test)[1], np.argmax(F, axis=1))


# -- What every solution gives ----------------------------------------------------------------

EVERY = {
    "ridge": RidgeClassifier(),
    "logistic": LogisticRegression(),
    "liblinear": LogisticRegression(solver="liblinear"),
    "hinge": LinearSVC(loss="hinge"),
    "squared hinge": LinearSVC(),
    "svc": SVC(gamma=0.1),
    "svc linear": SVC(kernel="linear"),
    "refit": GaussianNB(),
}
MULTICLASS = sorted(set(EVERY) - {"liblinear"})


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", EVERY)
def test_weights_in_any_order(name, n_classes):
    if n_classes == 3 and name not in MULTICLASS:
        pytest.skip("liblinear's logistic regression is binary only")
    rows = numbers(n_classes)
    path = rows.path(EVERY[name])
    betas = [0.7, 0.0, 0.2, 0.7, 1.0, 0.0]
    solution = path.solve(betas)
    assert_array_equal(solution.poison_weights, betas)
    decision, tangent = solution.decision_function(rows.X_test), solution.tangent(rows.X_test)
    n_outputs = 3 if n_classes == 3 else (2 if name == "refit" else 1)
    assert decision.shape == tangent.shape == (6, 25, n_outputs)
    if solution.residuals is not None:
        assert solution.residuals.shape == (6,)
    losses = solution.losses(rows.X_test, rows.y_test)
    assert losses.shape == solution.predict(rows.X_test).shape == (6, 25)
    for k, beta in enumerate(betas):
        one = path.solve(beta)
        assert_close(decision[k], one.decision_function(rows.X_test)[0], 1e-7)
        atol = 1e-5 * np.abs(tangent).max()
        assert_allclose(tangent[k], one.tangent(rows.X_test)[0], rtol=0, atol=atol)
        assert_close(losses[k], one.losses(rows.X_test, rows.y_test)[0], 1e-6)
        if name != "refit":
            assert_allclose(solution.norm[k], one.norm[0], rtol=1e-7)
            assert_allclose(solution.cosine[k], one.cosine[0], atol=1e-7)


@pytest.mark.parametrize("bad", [-0.1, 1.5, np.nan, [0.0, 2.0], [], [[0.1]], np.inf])
@pytest.mark.parametrize("name", ["ridge", "logistic", "svc", "refit"])
def test_weights_outside_the_unit_interval(name, bad):
    with pytest.raises(ValueError, match="poison_weights"):
        numbers().path(EVERY[name]).solve(bad)


@pytest.mark.parametrize("name", EVERY)
def test_a_plain_refit_is_near(name):
    """path.fit(beta) is the learner's own fit, at its own tolerance."""
    rows = numbers()
    path, beta = rows.path(EVERY[name]), 0.4
    F = path.solve(beta).decision_function(rows.X_test)[0]
    own = path.decision_values(path.fit(beta), rows.X_test)
    assert_allclose(F, own, rtol=0, atol=0.02 * np.abs(own).max())


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", EVERY)
def test_losses_and_labels(name, n_classes):
    """Losses by their formulas, on the decision values; labels as the learner gives them."""
    if n_classes == 3 and name not in MULTICLASS:
        pytest.skip("liblinear's logistic regression is binary only")
    rows = numbers(n_classes)
    path = rows.path(EVERY[name])
    solution = path.solve([0.0, 0.6])
    losses, labels = solution.losses(rows.X_test, rows.y_test), solution.predict(rows.X_test)
    index = rows.y_test
    for k, F in enumerate(solution.decision_function(rows.X_test)):
        if name.startswith("svc") and n_classes == 3:
            pairs = [(0, 1), (0, 2), (1, 2)]
            T = np.column_stack([1.0 * (index == i) - 1.0 * (index == j) for i, j in pairs])
        else:
            T = signs_of(index)
        if name == "refit":
            expected = -np.log(np.maximum(F, 1e-15))[np.arange(len(F)), index]
        elif name == "logistic" and n_classes == 3:
            expected = -log_softmax(F, axis=1)[np.arange(len(F)), index]
        else:
            gap = np.where(T == 0, 0, np.maximum(0, 1 - T * F))
            expected = {
                "ridge": (T - F) ** 2,
                "logistic": np.logaddexp(0, -T * F),
                "liblinear": np.logaddexp(0, -T * F),
                "squared hinge": gap**2,
            }.get(name, gap).sum(axis=1)
        assert_allclose(losses[k], expected, rtol=1e-10, atol=1e-14)
        fitted = path.fit(solution.poison_weights[k])
        sure = np.abs(F).min(axis=1) > 0.05
        assert_array_equal(labels[k][sure], fitted.predict(rows.X_test)[sure])


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", sorted(set(EVERY) - {"refit"}))
def test_norm_and_cosine(name, n_classes):
    if n_classes == 3 and name not in MULTICLASS:
        pytest.skip("liblinear's logistic regression is binary only")
    rows = numbers(n_classes)
    path = rows.path(EVERY[name])
    solution, betas = path.solve([0.0, 0.2, 1.0]), [0.0, 0.2, 1.0]
    if name.startswith("svc"):
        X = rows.X[rows.order]
        K = X @ X.T
        if name == "svc":
            K = np.exp(-0.1 * np.sum((X[:, None] - X[None]) ** 2, axis=2))
        inner = np.einsum("wik,ij,vjk->wv", solution.dual_coef, K, solution.dual_coef)
    else:
        coef = solution.coef.reshape(3, -1)
        inner = coef @ coef.T
    norm = np.sqrt(np.diag(inner))
    assert_allclose(solution.norm, norm, rtol=1e-9)
    assert_allclose(solution.cosine, inner[0] / (norm * norm[0]), rtol=1e-9)
    assert solution.cosine[0] == pytest.approx(1.0, abs=1e-12)
    assert np.all(np.abs(solution.cosine) <= 1)
    later = path.solve(betas[1:])
    assert_allclose(later.cosine, solution.cosine[1:], rtol=1e-9)


# -- Refits -----------------------------------------------------------------------------------


def direct_fit(estimator, rows, beta):
    """The learner fitted on clean rows above poison rows; without poison at 0, plain at 1."""
    order = rows.order if beta else np.flatnonzero(~rows.is_poison)
    X, y, weight = rows.X[order], rows.y[order], np.where(rows.is_poison, beta, 1.0)[order]
    if beta in (0.0, 1.0):
        return clone(estimator).fit(X, y)
    return clone(estimator).fit(X, y, sample_weight=weight)


@pytest.mark.parametrize(
    "estimator",
    [GaussianNB(), RandomForestClassifier(10, random_state=0)],
    ids=["bayes", "forest"],
)
def test_refits(estimator):
    rows, betas = numbers(3), [0.5, 0.0, 1.0, 0.25, 0.5]
    path = rows.path(estimator)
    solution = path.solve(betas)
    assert solution.method == "refit" and solution.residuals is None
    probabilities = solution.decision_function(rows.X_test)
    for k, beta in enumerate(betas):
        fitted = direct_fit(estimator, rows, beta)
        assert_allclose(probabilities[k], fitted.predict_proba(rows.X_test), atol=1e-12)
        assert_array_equal(solution.predict(rows.X_test)[k], fitted.predict(rows.X_test))
        P = np.maximum(fitted.predict_proba(rows.X_test), 1e-15)
        expected = -np.log(P[np.arange(25), rows.y_test])
        assert_allclose(solution.losses(rows.X_test, rows.y_test)[k], expected, atol=1e-9)
    two = path.solve(betas, n_jobs=2).decision_function(rows.X_test)
    assert_array_equal(two, probabilities)


def test_refit_tangent_is_a_difference():
    rows, estimator = numbers(3), GaussianNB()
    tangent = rows.path(estimator).solve([0.3, 1.0]).tangent(rows.X_test)
    for k, (low, high) in enumerate([(0.3, 0.4), (0.9, 1.0)]):
        sides = [
            direct_fit(estimator, rows, beta).predict_proba(rows.X_test) for beta in (low, high)
        ]
        assert_allclose(tangent[k], (sides[1] - sides[0]) / 0.1, atol=1e-9)


def l1(solver, **parameters):
    chosen = {"l1_ratio": 1.0} if SKLEARN >= (1, 8) else {"penalty": "l1"}
    return LogisticRegression(solver=solver, **chosen, **parameters)


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("solver", ["saga", "liblinear"])
def test_l1_refits_are_optimal(solver, n_jobs):
    """The gradient of C sum s l is within 1 where w = 0, and -sign(w) elsewhere."""
    rows, C = numbers(), 0.15
    estimator = l1(solver, C=C, tol=1e-9, max_iter=20_000, random_state=0)
    solution = rows.path(estimator).solve([0.9, 0.0, 0.4, 0.45, 1.0], n_jobs=n_jobs)
    assert solution.method == "refit"
    T, zeros = signs_of(rows.y)[:, 0], 0
    for k, beta in enumerate(solution.poison_weights):
        w, b = solution.coef[k, 0], solution.intercept[k, 0]
        s = C * np.where(rows.is_poison, beta, 1.0)
        R = -T * s * expit(-T * (rows.X @ w + b))
        gradient, parameters = rows.X.T @ R, w
        if solver == "liblinear":
            gradient, parameters = np.append(gradient, R.sum()), np.append(w, b)
        else:
            assert abs(R.sum()) <= 1e-5
        on = parameters != 0
        zeros += np.sum(~on)
        assert_allclose(gradient[on], -np.sign(parameters[on]), atol=1e-5)
        assert np.all(np.abs(gradient[~on]) <= 1 + 1e-5)
    assert zeros > 0


@pytest.mark.parametrize("solver", ["saga", "liblinear"])
def test_warm_start_of_the_caller_is_not_touched(solver):
    rows = numbers()
    estimator = l1(solver, tol=1e-8, max_iter=20_000, random_state=0)
    path = rows.path(estimator)
    path.solve([0.1, 0.2, 0.3])
    assert estimator.warm_start is False and not hasattr(estimator, "coef_")


# -- Degenerate rows --------------------------------------------------------------------------


@st.composite
def degenerate(draw, most_classes=3):
    """Few rows of small integers, with duplicates, ties, constant and collinear columns."""
    n, d, m = draw(st.integers(4, 12)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    n_classes = draw(st.integers(2, most_classes))
    X = rng.integers(-2, 3, (n, d)).astype(float)
    if draw(st.booleans()):
        X[n // 2 :] = X[: n - n // 2]
    if draw(st.booleans()):
        X = np.column_stack([X, np.full(n, 3.0)])
    if draw(st.booleans()):
        X = np.column_stack([X, 2 * X[:, 0]])
    labels = draw(st.sampled_from(["random", "separable", "hopeless"]))
    if labels == "separable":
        y = np.digitize(X[:, 0], [0, 1][: n_classes - 1], right=True)
    else:
        y = rng.integers(n_classes, size=n) if labels == "random" else np.arange(n) % n_classes
    y[:n_classes] = np.arange(n_classes)
    source = rng.integers(n, size=m)
    X_poison, y_poison = X[source].copy(), y[source].copy()
    if draw(st.booleans()):  # else: copies of clean rows, on the margin if these are
        X_poison[:, : max(1, d // 2)] += rng.integers(-3, 4)
    if draw(st.booleans()):
        y_poison[:] = draw(st.integers(0, n_classes - 1))
    weight = None
    if draw(st.booleans()):
        weight = np.append(rng.choice([0.0, 0.5, 1.0, 3.0], n), np.ones(m))
    C = 10.0 ** draw(st.integers(-6, 6))
    is_poison = np.arange(n + m) >= n
    X, y = np.concatenate([X, X_poison]), np.append(y, y_poison)
    return Rows(X, y, is_poison, X, y), weight, C


FEW = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # a failing case is small as it is
)
DEGENERATE_WEIGHTS = np.array([0.0, 1e-4, 0.25, 0.5, 1.0])


#: How many problems a test solved, and how many of them ended with a warning or an error.
TOLD = Counter()


@pytest.fixture(autouse=True)
def warnings_are_few():
    """A test that holds where the code warns would hold if it always did."""
    TOLD.clear()
    yield
    assert TOLD["warned"] + TOLD["refused"] <= max(1, TOLD["solved"] / 40)


def solved(estimator, rows, weight):
    """The solution and whether it warned; None for an error that says what is wrong."""
    TOLD["solved"] += 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            solution = rows.path(estimator, sample_weight=weight).solve(DEGENERATE_WEIGHTS)
        except (ValueError, RuntimeError) as error:
            message = str(error)
            absent = [
                label
                for label in np.unique(rows.y)
                if weight is not None and weight[~rows.is_poison & (rows.y == label)].sum() == 0
            ]
            if absent:
                assert "weight 0" in message
            else:
                TOLD["refused"] += 1
                assert "singular or indefinite" in message
            return None, False
    assert not any(issubclass(w.category, RuntimeWarning) for w in caught)
    mine = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    warned = any("was not reached" in str(w.message) for w in mine)
    TOLD["warned"] += warned
    return solution, warned


@pytest.mark.rounding
@FEW
@given(degenerate())
def test_degenerate_ridge(case):
    """Backward error of the normal equations at the level of rounding, for their condition."""
    rows, weight, C = case
    solution, warned = solved(RidgeClassifier(alpha=1 / C), rows, weight)
    if solution is None:
        return
    s = np.ones(len(rows.y)) if weight is None else weight
    Z, T = np.column_stack([rows.X, np.ones(len(rows.y))]), signs_of(rows.y)
    penalty = np.append(np.full(rows.X.shape[1], 1 / C), 0.0)
    for k, beta in enumerate(solution.poison_weights):
        S = (s * np.where(rows.is_poison, beta, 1.0))[:, None]
        W = np.column_stack([solution.coef[k], solution.intercept[k]]).T
        A, right = Z.T @ (S * Z) + np.diag(penalty), Z.T @ (S * T)
        wrong = np.linalg.norm(A @ W - right)
        scale = np.linalg.norm(A) * np.linalg.norm(W) + np.linalg.norm(np.abs(Z).T @ S)
        if not warned:
            assert wrong <= (1e-10 + 1e-16 * C * np.linalg.norm(A)) * scale
            F = Z @ refined_solve(A, right).astype(float)
            assert_allclose(
                solution.decision_function(rows.X)[k],
                F,
                rtol=0,
                atol=1e-6 * max(1, np.abs(F).max()),
            )
        assert wrong <= 2 * solution.residuals[k] * np.linalg.norm(right) + 1e-12 * scale
    assert np.all(np.isfinite(solution.tangent(rows.X)))


def newton_step_of_decisions(refit, coef, intercept, beta):
    """How far one more Newton step would move decision values of training rows."""
    A, penalty = augmented(refit.X, refit.intercept)
    gradient, _ = smooth_gradient(refit, coef, intercept, beta)
    scale = 1.0 if refit.intercept in (None, "free") else refit.intercept
    W = np.column_stack([coef, intercept / scale])
    S, F = refit.C * refit.row_weights(beta), A @ W.T
    n_outputs, p = W.shape
    H = np.zeros((n_outputs, p, n_outputs, p))
    P = softmax(F, axis=1)
    for j in range(n_outputs):
        H[j, :, j, :] = np.diag(penalty)
        for k in range(n_outputs):
            if refit.kind == "softmax":
                curvature = S[:, 0] * P[:, j] * ((j == k) - P[:, k])
            elif j != k:
                continue
            else:
                curvature = S[:, k] * expit(F[:, k]) * expit(-F[:, k])
            H[j, :, k, :] += A.T @ (curvature[:, None] * A)
    H = H.reshape(n_outputs * p, -1)
    step = np.linalg.lstsq(H, gradient.ravel(), rcond=1e-14)[0].reshape(n_outputs, p)
    moved = A @ step.T
    if refit.kind == "softmax":
        moved = moved - moved.mean(axis=1, keepdims=True)
    return np.abs(moved).max(), np.abs(F).max()


@pytest.mark.rounding
@pytest.mark.parametrize("solver", ["lbfgs", "liblinear"])
@FEW
@given(data=st.data())
def test_degenerate_logistic(solver, data):
    """The gradient is what `residuals` says, below 1e-8 without a warning, and then no Newton
    step moves a decision value by more than 1e-5 of the largest up to C = 1e5, more as C grows:
    the gradient is measured against that at 0, which is C times a sum over rows."""
    rows, weight, C = data.draw(degenerate(2 if solver == "liblinear" else 3))
    estimator = LogisticRegression(C=C, solver=solver)
    solution, warned = solved(estimator, rows, weight)
    if solution is None:
        return
    refit = rows.reference(estimator, weight)
    for k, beta in enumerate(solution.poison_weights):
        fit = solution.coef[k], solution.intercept[k]
        gradient, start = smooth_gradient(refit, *fit, beta)
        left, scale = np.linalg.norm(gradient), np.linalg.norm(start)
        noise = 1e-14 * gradient_terms(refit, beta)
        assert left <= max(1e-8, 2 * solution.residuals[k]) * scale + noise
        assert warned or left <= 1e-8 * scale + noise
        if not warned:
            moved, size = newton_step_of_decisions(refit, *fit, beta)
            assert moved <= 1e-5 * max(1.0, C / 1e5) * max(1.0, size)
    assert np.all(np.isfinite(solution.tangent(rows.X)))


@pytest.mark.rounding
@FEW
@given(degenerate())
def test_degenerate_squared_hinge(case):
    rows, weight, C = case
    estimator = LinearSVC(C=C)
    solution, warned = solved(estimator, rows, weight)
    if solution is None:
        return
    refit = rows.reference(estimator, weight)
    for k, beta in enumerate(solution.poison_weights):
        fit = solution.coef[k], solution.intercept[k]
        gradient, start = smooth_gradient(refit, *fit, beta)
        left, scale = np.linalg.norm(gradient), np.linalg.norm(start)
        noise = 1e-14 * gradient_terms(refit, beta)
        assert left <= max(1e-8, 2 * solution.residuals[k]) * scale + noise
        assert warned or left <= 1e-8 * scale + noise
        if not warned:
            try:
                F = refit.decision(refit.coefficients(beta), rows.X)
            except AssertionError:  # the reference found no end
                continue
            atol = 1e-5 * max(1.0, C / 1e5) * max(1.0, np.abs(F).max())
            decision = solution.decision_function(rows.X)[k]
            assert_allclose(decision, F.astype(float), rtol=0, atol=atol)


def intercepts_are_unique(refit, solution, order):
    """Whether each problem has a free row at each weight above 0."""
    V = signed_duals(refit, solution, order)
    for w, beta in enumerate(solution.poison_weights):
        for k, (rows, (_, t, u)) in enumerate(zip(refit.rows, refit.problems(beta))):
            a = t * V[w, rows, k]
            if beta > 0 and not np.any((a > 1e-9 * u) & (a < u * (1 - 1e-9))):
                return False
    return True


def assert_certified_tangent(path, solution, X, C):
    """Values are certified by their conditions; the tangent is their difference, at some step
    short enough for the piece and long enough for rounding. A weight may lie on a breakpoint to
    rounding: then it is that to the left or to the right."""
    F, tangent = solution.decision_function(X), solution.tangent(X)
    for w, beta in enumerate(solution.poison_weights):
        if beta in (0.0, 1.0):  # at 0 an intercept may jump
            continue
        near = []
        for h in (1e-2, 1e-3, 1e-4, 1e-5, -1e-5, 1e-6, 1e-7):
            difference = (path.solve(beta + h).decision_function(X)[0] - F[w]) / h
            noise = 1e-14 * (1 + C * np.sum(1 + X**2)) / abs(h)
            allowed = 1e-5 * np.abs(difference).max() + noise
            near.append(np.abs(difference - tangent[w]).max() / allowed)
        assert min(near) <= 1


@pytest.mark.rounding
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@FEW
@given(data=st.data())
def test_degenerate_svc(kernel, data):
    rows, weight, C = data.draw(degenerate())
    estimator = SVC(kernel=kernel, C=C, gamma=0.3)
    solution, warned = solved(estimator, rows, weight)
    if solution is None:
        return
    kept = slice(None) if weight is None else weight > 0
    rows = Rows(rows.X[kept], rows.y[kept], rows.is_poison[kept], rows.X, rows.y)
    refit = rows.reference(estimator, None if weight is None else weight[kept])
    excess = svc_violations(refit, solution, rows.order, unit=64)
    assert np.all(excess <= (np.maximum(1e-9, 2 * solution.residuals) if warned else 1e-9))
    assert np.all(np.isfinite(solution.tangent(rows.X)))
    if not warned and C <= 1e3:
        if intercepts_are_unique(refit, solution, rows.order):
            assert_certified_tangent(solution.path, solution, rows.X, C)


@pytest.mark.rounding
@FEW
@given(degenerate())
def test_degenerate_linear_hinge(case):
    rows, weight, C = case
    estimator = LinearSVC(C=C, loss="hinge")
    solution, warned = solved(estimator, rows, weight)
    if solution is None or warned:
        return
    refit = rows.reference(estimator, weight)
    for k, beta in enumerate(solution.poison_weights):
        fit = solution.coef[k], solution.intercept[k]
        size = C * (np.abs(rows.X).sum(axis=1) ** 2).sum()
        edge = 1e-9 + 64 * np.finfo(float).eps * size
        assert hinge_stationarity(refit, *fit, beta, edge) <= 1e-8
    assert np.all(np.isfinite(solution.tangent(rows.X)))
    if C <= 1e3:
        assert_certified_tangent(solution.path, solution, rows.X, C)


@pytest.mark.rounding
def test_tangent_on_a_breakpoint_is_that_to_its_right():
    """beta = 0.5 is a breakpoint of these rows, as sums of their weights show: after it the
    intercept stays where it is."""
    X = np.array([[-1.0, -2.0], [-1.0, -2.0], [2.0, -2.0], [5.0, 4.0], [2.0, -2.0], [5.0, 4.0]])
    y, is_poison = np.array([1, 0, 1, 0, 0, 0]), np.arange(6) >= 2
    weight = np.array([3.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    path = weight_path(SVC(gamma=0.3), X, y, is_poison, sample_weight=weight)
    solution = path.solve([0.4, 0.5, 0.51])
    F = solution.decision_function(X)
    assert_allclose(F[2], F[1], rtol=0, atol=1e-8)
    assert_allclose(solution.tangent(X)[1], (F[2] - F[1]) / 0.01, rtol=0, atol=1e-6)


@pytest.mark.rounding
@pytest.mark.parametrize(
    "estimator",
    [SVC(kernel="linear"), SVC(), SVC(kernel="linear", C=100.0)],
    ids=["linear", "rbf", "linear C=100"],
)
def test_a_fit_that_stands_still(estimator):
    """A poison row beyond its margin changes nothing: no dual coefficient moves, none is new."""
    X, y = np.array([[-1.0], [1.0], [2.0]]), np.array([0, 1, 1])
    is_poison = np.array([False, False, True])
    solution = weight_path(estimator, X, y, is_poison).solve([0.0, 0.5])
    if estimator.kernel == "linear":
        assert_allclose(solution.decision_function(X)[1].ravel(), [-1.0, 1.0, 2.0], atol=1e-9)
        assert_allclose(solution.tangent(X), 0.0, atol=1e-9)
    assert np.all(np.isfinite(solution.tangent(X)))


def test_hopeless_rows_have_weights_of_norm_zero():
    """Each row comes twice, with both labels: w = 0, its norm is 0, its cosine is not defined."""
    X = np.array([[2.0], [1.0], [0.0], [2.0], [1.0], [0.0], [-1.0]])
    y, is_poison = np.array([0, 0, 0, 1, 1, 1, 0]), np.arange(7) == 6
    for estimator in (SVC(C=100.0), SVC(kernel="linear", C=100.0), RidgeClassifier()):
        solution = weight_path(estimator, X, y, is_poison).solve([0.0, 0.5])
        assert_allclose(solution.norm[0], 0.0, atol=1e-6)
        assert not np.isnan(solution.norm).any()
        assert solution.cosine.shape == (2,)


SINGULAR = {
    "squared hinge": (
        LinearSVC(C=1e5),
        [[2, 2, 2, 1], [2, 1, 0, 0], [0, -1, 0, 2], [-2, 2, 2, -2], [0, -2, 2, -2], [0, -1, 0, 2]]
        + [[0, -2, 2, -2], [-2, 2, 2, -2]],
        [0, 1, 0, 0, 0, 1, 1, 1],
        3,
    ),
    "liblinear": (
        LogisticRegression(C=1e6, solver="liblinear"),
        [[0, 1, 3, 0], [1, -2, 3, 2], [1, 1, 3, 2], [1, -2, 3, 2], [0, 1, 3, 0], [1, -2, 3, 2]]
        + [[1, -2, 3, 2], [1, -2, 3, 2]],
        [0, 1, 1, 1, 1, 1, 1, 1],
        4,
    ),
}


@pytest.mark.rounding
@pytest.mark.parametrize("name", SINGULAR)
def test_huge_C_on_collinear_rows(name):
    """The penalty makes every optimum unique: there is one to be found."""
    estimator, X, y, n_poison = SINGULAR[name]
    X, y = np.array(X, float), np.array(y)
    rows = Rows(X, y, np.arange(len(y)) >= len(y) - n_poison, X, y)
    solution, warned = solved(estimator, rows, None)
    assert solution is not None and not warned
    refit = rows.reference(estimator)
    for k, beta in enumerate(solution.poison_weights):
        fit = solution.coef[k], solution.intercept[k]
        assert relative_gradient(refit, *fit, beta) <= 1e-8


@pytest.mark.rounding
@pytest.mark.parametrize("C", [1e3, 1e4, 1e5, 1e6])
def test_squared_hinge_reaches_1e8_or_warns(C):
    """Two rows with two labels each, weights on the edge of the hinge."""
    X = np.array([[-2.0, 1.0, -1.0, -4.0], [2.0, 1.0, -1.0, 4.0], [-1.0, 0.0, -2.0, -2.0]])
    X, y = X[[0, 1, 0, 1, 2, 0, 2, 1]], np.array([0, 1, 2, 0, 1, 2, 1, 1])
    rows = Rows(X, y, np.arange(8) >= 5, X, y)
    solution, warned = solved(LinearSVC(C=C), rows, None)
    refit = rows.reference(LinearSVC(C=C))
    worst = max(
        relative_gradient(refit, solution.coef[k], solution.intercept[k], beta)
        for k, beta in enumerate(solution.poison_weights)
    )
    assert worst <= (1e-4 if warned else 1e-8)


@pytest.mark.rounding
@pytest.mark.parametrize("C", [0.4, 0.5, 10.0, 1e6])
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("x", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_one_poison_sample_on_the_margin(kernel, x, label, C):
    """Clean rows at -1 and 1, w = 1 and b = 0 for C >= 1/2: the poison row is on a margin, on the
    wrong one, or in the middle."""
    X, y = np.array([[-1.0], [1.0], [x]]), np.array([0, 1, label])
    rows = Rows(X, y, np.array([False, False, True]), X, y)
    estimator = SVC(kernel=kernel, gamma=0.5, C=C)
    solution = rows.path(estimator).solve(WEIGHTS)
    refit = rows.reference(estimator)
    assert svc_violations(refit, solution, rows.order, unit=64).max() <= 1e-9
    if kernel == "linear" and C >= 0.5:
        assert_allclose(solution.decision_function(X)[0, :2, 0], [-1.0, 1.0], atol=1e-12)
    if kernel == "linear" and C >= 0.5 and x == (1.0 if label else -1.0):
        assert_allclose(solution.decision_function(X)[:, 2, 0], x, atol=1e-9)
        assert_allclose(solution.tangent(X), 0.0, atol=1e-9)


# -- Frames, labels, Pipelines ----------------------------------------------------------------


def frame(rows):
    """Numbers and a category, whose rows have an index of their own; labels are names."""
    colour = np.where(rows.X[:, 1] > 0, "red", "blue")
    table = pd.DataFrame(rows.X, columns=[f"x{j}" for j in range(rows.X.shape[1])])
    table = table.assign(colour=colour).set_index(np.arange(len(colour))[::-1] * 10)
    return table, pd.Series(np.array(["no", "yes"])[rows.y], index=table.index)


@pytest.mark.parametrize("name", EVERY)
def test_frames_and_names(name):
    """A Pipeline on a DataFrame is the learner on what its steps, fitted on clean rows, give."""
    rows = numbers()
    X, y = frame(rows)
    features = [f"x{j}" for j in range(6)]
    steps = make_column_transformer((StandardScaler(), features), (OneHotEncoder(), ["colour"]))
    path = weight_path(make_pipeline(steps, EVERY[name]), X, y, rows.is_poison)
    held = clone(steps).fit(X[~rows.is_poison])
    bare = weight_path(EVERY[name], held.transform(X), rows.y, rows.is_poison)
    solution, expected = path.solve(BETWEEN), bare.solve(BETWEEN)
    F = expected.decision_function(held.transform(X))
    assert_close(solution.decision_function(X), F, 1e-9)
    assert_array_equal(
        solution.predict(X), np.array(["no", "yes"])[expected.predict(held.transform(X))]
    )
    assert_close(solution.losses(X, y), expected.losses(held.transform(X), rows.y), 1e-8)
    if name == "ridge":
        Z, T, ones = held.transform(X), signs_of(rows.y), np.ones(len(y))
        for k, beta in enumerate(BETWEEN):
            W, _ = ridge_truth(Z, T, ones, beta, rows.is_poison, 1.0, True)
            assert_close(solution.coef[k], W[:, :-1], 1e-10)


@pytest.mark.parametrize("name", EVERY)
def test_frames_without_a_pipeline(name):
    rows = numbers()
    X, y = frame(rows)
    X = X.drop(columns="colour")
    solution = weight_path(EVERY[name], X, y, rows.is_poison).solve(BETWEEN)
    expected = rows.path(EVERY[name]).solve(BETWEEN).decision_function(rows.X_test)
    X_test = pd.DataFrame(rows.X_test, columns=X.columns)
    assert_close(solution.decision_function(X_test), expected, 1e-9)


@pytest.mark.parametrize("mask", [np.zeros(68, bool), np.ones(68, bool), np.ones(3, bool)])
def test_mask_must_mark_some_rows(mask):
    rows = numbers()
    with pytest.raises(ValueError, match="is_poison"):
        weight_path(RidgeClassifier(), rows.X, rows.y, mask)


def test_class_without_clean_rows():
    rows = numbers()
    y = np.where(rows.is_poison, 2, rows.y)
    with pytest.raises(ValueError, match="No clean training row"):
        weight_path(RidgeClassifier(), rows.X, y, rows.is_poison)


def test_inputs_are_not_written_to():
    rows, weight = numbers(), np.ones(68)
    X, y = rows.X.copy(), rows.y.copy()
    for estimator in EVERY.values():
        rows.path(estimator, sample_weight=weight).solve([0.0, 0.5])
    assert_array_equal(rows.X, X)
    assert_array_equal(rows.y, y)
    assert_array_equal(weight, 1.0)
