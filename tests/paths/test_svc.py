"""Paths of SVC against the conditions of Karush, Kuhn and Tucker, and its refits."""

import numpy as np
import pytest
from conditions import assert_svc_is_true, svc_violations
from numpy.testing import assert_allclose, assert_array_equal
from problems import (
    CONVERGED,
    SIX_DECADES,
    WEIGHTS,
    Rows,
    assert_close,
    digits,
    numbers,
    poisoned,
    skewed_weights,
    ten,
)
from reference import hinge_slope
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics.pairwise import laplacian_kernel
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skbackdoor import weight_path

pytestmark = CONVERGED


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


def test_indefinite_kernels_are_refitted_by_name():
    X, y, is_poison = poisoned()
    learner = SVC(kernel="sigmoid", gamma=0.1, tol=1e-6)
    solution = weight_path(learner, X, y, is_poison).solve([0.5])
    assert solution.method == "kernel refit"
    weight = np.where(is_poison, 0.5, 1.0)
    by_hand = clone(learner).fit(X, y, sample_weight=weight).decision_function(X)
    assert_allclose(solution.decision_function(X)[0, :, 0], by_hand, atol=1e-4)
    with pytest.raises(ValueError, match="No tangent"):
        solution.tangent(X)


def test_kernel_refits_know_their_bounds():
    """libsvm multiplies C, class weight and sample weight in an order of its own."""
    X, y = make_classification(80, 4, flip_y=0.2, random_state=0)
    weight = np.random.default_rng(0).random(80)
    svc = SVC(kernel="sigmoid", C=0.01, class_weight={0: 1.36, 1: 0.247})
    path = weight_path(svc, X, y, np.arange(80) >= 70, sample_weight=weight)
    assert path.solve([0, 0.3, 1]).residuals.max() <= 1e-3  # its tol


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
