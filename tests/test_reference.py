"""The references agree with scikit-learn's own fits, and their derivatives with other methods."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from reference import Refit, slope_reference
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import SVC, LinearSVC

LEARNERS = {
    "ridge": RidgeClassifier(alpha=0.5),
    "ridge, no intercept": RidgeClassifier(alpha=5.0, fit_intercept=False),
    "logistic": LogisticRegression(C=1.0, tol=1e-10, max_iter=10000),
    "logistic, cholesky": LogisticRegression(C=0.3, solver="newton-cholesky", tol=1e-12),
    "logistic, no intercept": LogisticRegression(tol=1e-10, max_iter=10000, fit_intercept=False),
    "liblinear": LogisticRegression(
        solver="liblinear", intercept_scaling=3.0, tol=1e-10, max_iter=100000
    ),
    "squared hinge": LinearSVC(C=0.1, tol=1e-10, max_iter=10**6, intercept_scaling=3.0),
    "hinge": LinearSVC(loss="hinge", C=0.1, tol=1e-10, max_iter=10**6, intercept_scaling=3.0),
    "svc linear": SVC(kernel="linear", C=0.3, tol=1e-10, decision_function_shape="ovo"),
    "svc rbf": SVC(kernel="rbf", C=3.0, tol=1e-10, decision_function_shape="ovo"),
    "svc poly": SVC(kernel="poly", gamma=0.05, C=2.0, coef0=0.5, tol=1e-10),
}
CLASS_WEIGHTS = [None, "balanced", {1: 3.0, 7: 0.5}]


def weighted_digits(digits, n=120):
    X, y = load_digits(return_X_y=True)
    rows = np.flatnonzero(np.isin(y, digits))[:n]
    weight = np.random.default_rng(0).uniform(0.5, 2, len(rows))
    return X[rows] / 16, y[rows], weight


@pytest.mark.parametrize("class_weight", CLASS_WEIGHTS, ids=["equal", "balanced", "dict"])
@pytest.mark.parametrize("digits", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
@pytest.mark.parametrize("name", LEARNERS)
def test_agrees_with_scikit_learn(name, digits, class_weight):
    if name == "liblinear" and len(digits) > 2:
        pytest.skip("liblinear logistic is binary only")
    learner = clone(LEARNERS[name]).set_params(class_weight=class_weight)
    if isinstance(learner, SVC):
        learner.set_params(decision_function_shape="ovo")
    X, y, weight = weighted_digits(digits)
    refit = Refit(learner, X, y, np.zeros(len(y), bool), weight)
    ours = np.asarray(refit.decision(refit.fit(1.0), X), float)
    theirs = learner.fit(X, y, sample_weight=weight).decision_function(X)
    if refit.kind == "softmax":
        ours = ours - ours.mean(axis=1, keepdims=True)
        theirs = theirs - theirs.mean(axis=1, keepdims=True)
    assert_allclose(ours, theirs.reshape(ours.shape), atol=2e-5)


def poisoned_digits(digits):
    """Clean rows, then copies of some of them with two pixels set and the next label."""
    X, y, weight = weighted_digits(digits)
    copies = X[:12].copy()
    copies[:, [54, 63]] = 1.0
    order = np.asarray(digits)
    labels = order[(np.searchsorted(order, y) + 1) % len(order)]
    X_test, y_test = X[60:90].copy(), labels[60:90]
    X_test[:, [54, 63]] = 1.0
    X, y = np.vstack([X, copies]), np.append(y, labels[:12])
    weight = np.append(weight, weight[:12])
    return X, y, np.arange(len(y)) >= len(y) - 12, X_test, y_test, weight


@pytest.mark.parametrize("digits", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
def test_smooth_difference_is_the_implicit_derivative(digits):
    """Ridge without intercept: dw/dbeta = -H^-1 grad, everything in closed form."""
    X, y, is_poison, X_test, y_test, weight = poisoned_digits(digits)
    learner = LEARNERS["ridge, no intercept"]
    found = slope_reference(learner, X, y, is_poison, X_test, y_test, weight)
    refit = Refit(learner, X, y, is_poison, weight)
    Z, P = X[~is_poison], X[is_poison]
    s, sP = weight[~is_poison, None], weight[is_poison, None]
    H = 2 * Z.T @ (s * Z) + 2 * 5.0 * np.eye(X.shape[1])
    W = np.linalg.solve(H, 2 * Z.T @ (s * refit.T[~is_poison]))
    dW = -np.linalg.solve(H, 2 * P.T @ (sP * (P @ W - refit.T[is_poison])))
    T = Refit(LEARNERS["ridge"], X_test, y_test, np.zeros(len(y_test), bool)).T
    residual = X_test @ W - T
    assert_allclose(found.loss, np.mean(np.sum(residual**2, 1)))
    assert_allclose(found.derivative, np.mean(np.sum(2 * residual * (X_test @ dW), 1)), rtol=1e-6)


@pytest.mark.parametrize("name", ["hinge", "svc linear", "svc rbf"])
@pytest.mark.parametrize("digits", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
def test_hinge_segment_ends_where_the_slope_changes(name, digits):
    """Linear up to the reported breakpoint, to rounding; another line beyond it."""
    X, y, is_poison, X_test, y_test, weight = poisoned_digits(digits)
    found = slope_reference(LEARNERS[name], X, y, is_poison, X_test, y_test, weight)
    refit = Refit(LEARNERS[name], X, y, is_poison, weight)

    def F(beta):
        return refit.decision(refit.fit(beta), X_test)

    end = found.breakpoint
    assert 0 < end < 1
    first, middle, last, beyond = (F(part * end) for part in (0.2, 0.5, 0.98, 1.1))
    slope = (middle - first) / (0.3 * end)
    assert_allclose(last, middle + 0.48 * end * slope, atol=1e-11)
    assert np.abs(beyond - middle - 0.6 * end * slope).max() > 1e-9
