"""Paths of logistic regression against its gradient and its refits."""

import warnings

import numpy as np
import pytest
from conditions import assert_smooth_is_true, relative_gradient
from numpy.testing import assert_array_equal
from problems import (
    BETWEEN,
    CONVERGED,
    SIX_DECADES,
    SKLEARN,
    WEIGHTS,
    assert_close,
    digits,
    numbers,
    skewed_weights,
    ten,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skbackdoor.paths.linear.continuation import Continuation

pytestmark = CONVERGED

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


def test_softmax_fits_between_others_that_share_a_constant():
    """A softmax model is the same with one constant in all outputs, but its penalty is not.

    No Newton step moves it. It comes with directions that were found in single precision, and
    with some BLAS kernels it was more than what the fit was allowed to be off by.
    """
    path = digits(1, 3, 7).path(LogisticRegression(C=10))
    continuation = Continuation(path, path.polished)
    known = np.linspace(0.1, 1.0, 20)
    fits, _, _ = continuation._solve(known)
    between = (known[1:] + known[:-1]) / 2
    drifted = fits + 1e-5 * np.random.default_rng(0).normal(size=fits.shape[2])
    some, _, residuals = continuation._between(known, drifted, between)
    assert len(some) > 0 and np.all(residuals <= 5 * continuation.tol)


def test_logistic_with_params_is_a_fresh_path():
    rows = digits(1, 3, 7)
    first = rows.path(LogisticRegression())
    for parameters in ({"C": 50.0}, {"C": 0.01, "fit_intercept": False}):
        other = first.with_params(**parameters).solve(WEIGHTS)
        fresh = rows.path(LogisticRegression(**parameters)).solve(WEIGHTS)
        assert_close(other.coef, fresh.coef, 1e-6)


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
