"""Few rows, drawn to be degenerate: duplicates, ties, collinear columns, any C."""

import warnings
from collections import Counter

import numpy as np
import pytest
from conditions import (
    gradient_terms,
    hinge_stationarity,
    refined_solve,
    relative_gradient,
    signed_duals,
    signs_of,
    smooth_gradient,
    svc_violations,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from problems import CONVERGED, WEIGHTS, Rows
from reference import augmented
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import SVC, LinearSVC

from skbackdoor.paths import weight_path

pytestmark = CONVERGED


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
    """Values are certified by their conditions, to the residual; the tangent is their difference,
    at some step short enough for the piece and long enough for rounding. A weight may lie on a
    breakpoint to rounding: then it is that to the left or to the right."""
    F, tangent = solution.decision_function(X), solution.tangent(X)
    for w, beta in enumerate(solution.poison_weights):
        if beta in (0.0, 1.0):  # at 0 an intercept may jump
            continue
        near = []
        for h in (1e-2, 1e-3, 1e-4, 1e-5, -1e-5, 1e-6, 1e-7):
            moved = path.solve(beta + h)
            difference = (moved.decision_function(X)[0] - F[w]) / h
            noise = 1e-14 * (1 + C * np.sum(1 + X**2)) + 2 * moved.residuals[0]
            allowed = 1e-5 * np.abs(difference).max() + noise / abs(h)
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
