"""The dual path where it is hard to follow: interior points, kernels of low rank, bounds."""

import warnings

import numpy as np
import pytest
from conditions import assert_linear_hinge_is_true, assert_svc_is_true
from numpy.testing import assert_allclose, assert_array_equal
from problems import CONVERGED, digits, poisoned
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC, LinearSVC

from skbackdoor import weight_path

pytestmark = CONVERGED


def refuse(*_):
    raise RuntimeError("this way fails")


@pytest.mark.rounding
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
def test_linear_hinge_by_interior_points(labels, C, monkeypatch):
    """Where the dual can be neither followed nor polished, the optimum is found all the same."""
    monkeypatch.setattr("skbackdoor.paths.hinge.active_set.ActiveSet.move", refuse)
    assert_linear_hinge_is_true(LinearSVC(C=C, loss="hinge"), digits(*labels))


@pytest.mark.rounding
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_svc_by_interior_points(kernel, labels, C, monkeypatch):
    monkeypatch.setattr("skbackdoor.paths.hinge.active_set.ActiveSet.move", refuse)
    assert_svc_is_true(SVC(kernel=kernel, C=C, gamma=0.02), digits(*labels))


@pytest.mark.rounding
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weight", [0.4, 1.0])
@pytest.mark.parametrize(
    "svc", [SVC(C=0.01), SVC(gamma=0.5), SVC(kernel="linear", C=10.0), SVC(gamma=5.0, C=100.0)]
)
def test_a_single_weight_is_what_a_walk_comes_to(svc, weight, n_classes):
    """No walk leads to a weight that is asked for alone: libsvm's fit there is polished."""
    X, y, is_poison = poisoned(n_classes)
    walked = weight_path(svc, X, y, is_poison).solve([0.0, 0.1, weight])
    alone = weight_path(svc, X, y, is_poison).solve([0.0, weight])
    assert alone.residuals.max() < 1e-9
    assert alone.first_breakpoint == walked.first_breakpoint
    for values in ("decision_function", "tangent"):
        expected = getattr(walked, values)(X)[[0, 2]]
        assert_allclose(getattr(alone, values)(X), expected, rtol=1e-7, atol=1e-7)
    assert_allclose(alone.norm, walked.norm[[0, 2]])
    assert_allclose(alone.cosine, walked.cosine[[0, 2]])


def of_hardly_any_rank(n, seed):
    """One feature, labels at random: with a small gamma a kernel matrix of rank 3 or so."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 1))
    y = (rng.random(n) < 0.5).astype(int)
    y[:4] = [0, 0, 1, 1]
    return X, y, np.arange(n) >= n * 9 // 10


@pytest.mark.rounding
@pytest.mark.parametrize(
    "n, C, gamma, seed",
    [
        (50, 10.0, 0.01, 9),
        (50, 100.0, 0.01, 203),
        (50, 1.0, 0.01, 4),
        (60, 1000.0, 0.01, 110),
        (60, 100.0, 0.01, 134),
        (80, 10.0, 0.001, 104),
        (80, 1000.0, 0.01, 117),
        (50, 100.0, 0.01, 122),
    ],
)
def test_what_is_stored_is_optimal(n, C, gamma, seed):
    """Box, sum and complementarity of the stored duals, their residual, and libsvm's labels."""
    X, y, is_poison = of_hardly_any_rank(n, seed)
    betas, sign = [0.0, 0.1, 0.5, 1.0], 2.0 * y - 1.0  # poison rows are the last ones
    K = np.exp(-gamma * (X - X.T) ** 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        solution = weight_path(SVC(C=C, gamma=gamma), X, y, is_poison).solve(betas)
    F = solution.decision_function(X)[:, :, 0]
    for k, beta in enumerate(betas):
        u = C * np.where(is_poison, beta, 1.0)
        v, h = solution.dual_coef[k, :, 0], sign * F[k] - 1.0
        assert np.all((sign * v >= 0) & (sign * v <= u * (1 + 1e-12)))
        assert abs(v.sum()) <= 1e-8
        free = (v != 0) & (sign * v < u * (1 - 1e-12))
        wrong = np.where(free, np.abs(h), np.where(v == 0, np.maximum(-h, 0), np.maximum(h, 0)))
        assert wrong[u > 0].max() <= 2e-8
        assert_allclose(F[k], K @ v + solution.intercept[k, 0], rtol=0, atol=1e-8)
        kept = u > 0
        libsvm = SVC(C=C, gamma=gamma, tol=1e-8).fit(X[kept], y[kept], u[kept] / C)
        clear = np.abs(libsvm.decision_function(X)) > 0.01
        assert_array_equal((F[k] > 0)[clear], (libsvm.decision_function(X) > 0)[clear])
    assert np.all(np.isfinite(solution.tangent(X)))


@pytest.mark.parametrize("C", [1e-3, 10.0])
def test_a_dual_that_just_reaches_its_bound_is_there(C):
    """Hardly any kernel, and classes of equal weight at 1: every dual is at its bound, exactly,
    and the intercept in the middle, as libsvm has it."""
    X = np.random.default_rng(0).normal(size=(40, 3))
    y, is_poison = np.r_[np.zeros(20, int), np.ones(20, int)], np.arange(40) >= 36
    svc = SVC(gamma=1e-6, C=C, tol=1e-9)
    solution = weight_path(svc, X, y, is_poison).solve([0.0, 0.5, 1.0])
    assert solution.residuals.max() <= 1e-9
    assert np.all(np.abs(solution.dual_coef[2]) == C)
    expected = svc.fit(X, y).decision_function(X)
    assert_allclose(solution.decision_function(X)[2, :, 0], expected, rtol=0, atol=1e-6 * C)


def test_where_no_way_leads_to_the_optimum_the_fits_are_refits(monkeypatch):
    """The cause is named: the first way failed, and there are too many rows for the second."""

    def refuse(*_):
        raise RuntimeError("this way fails")

    monkeypatch.setattr("skbackdoor.paths.hinge.active_set.ActiveSet.move", refuse)
    monkeypatch.setattr("skbackdoor.paths.hinge.solve.MOST_ROWS", 3)
    X, y, is_poison = of_hardly_any_rank(50, 0)
    with pytest.warns(ConvergenceWarning, match="refits. Cause: this way fails"):
        solution = weight_path(SVC(), X, y, is_poison).solve([0.0, 0.5])
    assert solution.method == "kernel refit"


def test_a_breakpoint_that_is_not_found_is_no_number(monkeypatch):
    """Nor is the tangent there; the fits are."""

    def refuse(*_, **__):
        raise RuntimeError("no right derivative")

    monkeypatch.setattr("skbackdoor.paths.hinge.path.right_limit", refuse)
    X, y, is_poison = of_hardly_any_rank(50, 0)
    solution = weight_path(SVC(C=1.0, gamma=0.5), X, y, is_poison).solve([0.0, 0.5])
    assert np.isnan(solution.first_breakpoint) and solution.residuals.max() <= 1e-8
    with pytest.raises(ValueError, match=r"No tangent at poison weights \[0.0"):
        solution.tangent(X)
