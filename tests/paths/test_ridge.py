"""Paths of ridge against the normal equations."""

import numpy as np
import pytest
from conditions import ridge_truth, signs_of
from numpy.testing import assert_allclose
from problems import (
    CONVERGED,
    WEIGHTS,
    assert_close,
    digits,
    numbers,
    poisoned,
    skewed_weights,
    ten,
)
from scipy import sparse
from sklearn.linear_model import RidgeClassifier

from skbackdoor import weight_path

pytestmark = CONVERGED


def assert_ridge_is_true(estimator, rows, *, X=None, sample_weight=None, class_weight=None):
    betas = np.linspace(0, 1, 11)
    s = np.ones(len(rows.y)) if sample_weight is None else sample_weight
    if class_weight is not None:
        s = s * np.array([class_weight[label] for label in rows.y])
    T = signs_of(rows.y)
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
def test_ridge(labels, n_clean, fit_intercept, alpha):
    estimator = RidgeClassifier(alpha=alpha, fit_intercept=fit_intercept)
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


def test_ridge_without_penalty_on_few_rows():
    X, y, is_poison = poisoned()
    wide = np.tile(X, (1, 12))
    with pytest.raises(ValueError, match="singular"):
        weight_path(RidgeClassifier(alpha=0.0), wide, y, is_poison).solve([0.5])


def test_ten_classes_ridge():
    assert_ridge_is_true(RidgeClassifier(alpha=1.0), ten())
