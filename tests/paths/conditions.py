"""What defines a fit at a poison weight, computed with plain numpy.

Optimality conditions of the coefficients that a path gives; ridge by dense solves, refined in
extended precision; decision values and tangents by the independent refits of reference.py and
their differences. No number here came from the package.
"""

import numpy as np
from numpy.testing import assert_allclose
from problems import BETWEEN, WEIGHTS, assert_close
from reference import LONG, augmented, intercept_of
from scipy.optimize import lsq_linear
from scipy.special import expit, softmax

from skbackdoor.paths import weight_path

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


def assert_decision_and_tangent(refit, path, rows):
    solution = path.solve(BETWEEN)
    decision, tangent = solution.decision_function(rows.X_test), solution.tangent(rows.X_test)
    for k, beta in enumerate(BETWEEN):
        truth = refit.coefficients(beta)
        assert_close(decision[k], refit.decision(truth, rows.X_test), 1e-6)
        if beta < 1:
            assert_close(tangent[k], smooth_tangent(refit, truth, beta, rows.X_test), 1e-4)


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


# -- Hinge: Karush-Kuhn-Tucker ---------------------------------------------------------------


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
