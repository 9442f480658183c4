"""What a fit says without some rows equals what a fit without them says."""

import numpy as np
import pytest
from scipy.linalg import solve
from sklearn.metrics.pairwise import linear_kernel, polynomial_kernel, rbf_kernel

from skbackdoor.detection.kernel_ridge import LeaveGroupOutRidge

KERNELS = {
    "rbf": lambda A, B: rbf_kernel(A, B, gamma=0.2),
    "linear": linear_kernel,
    "poly": lambda A, B: polynomial_kernel(A, B, degree=2),
}


def refit(kernel, X, y, weight, penalty, n_classes, rows, X_new):
    """Scores at X_new of weighted kernel ridge regression on some rows, solved anew."""
    K = kernel(X[rows], X[rows]) + penalty * np.diag(1.0 / weight[rows])
    dual = solve(K, np.eye(n_classes)[y[rows]], assume_a="pos")
    return kernel(X_new, X[rows]) @ dual


def problem(seed, weighted):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    X[50:55] = X[:5]  # rows that repeat, some with another label
    weight = rng.uniform(0.2, 3.0, 60) if weighted else np.ones(60)
    return rng, X, y, weight


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("seed", range(3))
def test_predictions_without_a_group_are_those_of_a_refit(seed, kernel, weighted):
    kernel = KERNELS[kernel]
    rng, X, y, weight = problem(seed, weighted)
    for penalty in (1e-2, 1.0):
        ridge = LeaveGroupOutRidge(kernel(X, X), y, penalty, 3, weight if weighted else None)
        for size in (1, 7, 40):
            G = np.sort(rng.choice(60, size, replace=False))
            rest = np.setdiff1d(np.arange(60), G)
            expected = refit(kernel, X, y, weight, penalty, 3, rest, X[G])
            np.testing.assert_allclose(ridge.without(G), expected, rtol=0, atol=1e-8)
            R = rest[:5]
            got = ridge.leave_one_out_without(R, G)
            for k, j in enumerate(R):
                others = np.setdiff1d(rest, [j])
                one = refit(kernel, X, y, weight, penalty, 3, others, X[[j]])
                np.testing.assert_allclose(got[[k]], one, rtol=0, atol=1e-8)
            new = rng.normal(size=(6, 4))
            expected = refit(kernel, X, y, weight, penalty, 3, rest, new)
            got = kernel(new, X) @ ridge.coef_without(G)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
def test_predictions_without_a_group_on_another_kernel_are_those_of_a_refit(weighted):
    rng, X, y, weight = problem(1, weighted)
    kernel = KERNELS["rbf"]
    ridge = LeaveGroupOutRidge(kernel(X, X), y, 0.1, 4, weight if weighted else None)
    other = X.copy()
    other[:, 2] = 0.0
    G = np.sort(rng.choice(60, 9, replace=False))
    expected = refit(kernel, other, y, weight, 0.1, 4, np.setdiff1d(np.arange(60), G), other[G])
    got = ridge.without_on(kernel(other, other), G)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-7)


def test_another_kernel_may_be_very_different():
    rng, X, y, weight = problem(2, True)
    ridge = LeaveGroupOutRidge(KERNELS["rbf"](X, X), y, 1e-4, 4, weight)
    other = rng.normal(size=X.shape)
    G = np.arange(9)
    expected = refit(KERNELS["rbf"], other, y, weight, 1e-4, 4, np.arange(9, 60), other[G])
    got = ridge.without_on(KERNELS["rbf"](other, other), G)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-7)


def test_a_kernel_without_a_fit_is_said():
    _, X, y, _ = problem(0, False)
    ridge = LeaveGroupOutRidge(KERNELS["rbf"](X, X), y, 0.1)
    with pytest.raises(ValueError, match="singular or indefinite"):
        ridge.without_on(-np.eye(60) + 1e-3 * np.ones((60, 60)), np.arange(5))


def test_one_row_left_out_is_a_group_of_one():
    _, X, y, _ = problem(0, False)
    ridge = LeaveGroupOutRidge(rbf_kernel(X, gamma=0.2), y, 0.1)
    each = np.concatenate([ridge.without(np.array([j])) for j in range(60)])
    np.testing.assert_allclose(ridge.leave_one_out(), each, rtol=0, atol=1e-10)


def test_membership_is_leave_one_out_regression_on_the_indicator():
    rng, X, y, weight = problem(1, True)
    ridge = LeaveGroupOutRidge(rbf_kernel(X, gamma=0.2), y, 0.1, weight=weight)
    G = rng.choice(60, 9, replace=False)
    u = np.isin(np.arange(60), G).astype(int)
    for j in (0, int(G[0])):
        rest = np.delete(np.arange(60), j)
        kernel = KERNELS["rbf"]
        expected = refit(kernel, X, u, weight, 0.1, 2, rest, X[[j]])[0, 1]
        assert ridge.membership(G)[j] == pytest.approx(expected, abs=1e-8)


def test_a_singular_system_is_an_error():
    X = np.ones((10, 2))
    with pytest.raises(ValueError, match="raise the penalty"):
        LeaveGroupOutRidge(-linear_kernel(X), np.arange(10) % 2, 0.1)
    with pytest.raises(ValueError, match="raise the penalty"):
        LeaveGroupOutRidge(np.full((10, 10), np.nan), np.arange(10) % 2, 0.1)
