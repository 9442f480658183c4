"""Linear models with a smooth loss: precision, huge C, units, rows that cancel."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from problems import BETWEEN, CONVERGED, assert_close, digits
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import LinearSVC

from skbackdoor import weight_path
from skbackdoor.paths.linear.design import DesignMatrix
from skbackdoor.paths.linear.hessian import Hessian
from skbackdoor.paths.linear.objective import LinearObjective
from skbackdoor.paths.linear.solver import HessianSolver
from skbackdoor.paths.losses import Logistic, MarginLoss

pytestmark = CONVERGED


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


@pytest.mark.parametrize(
    "learner",
    [LogisticRegression(), LogisticRegression(solver="liblinear"), LinearSVC(), RidgeClassifier()],
)
def test_rows_that_cancel_are_no_cause_for_a_warning(learner):
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = weight_path(
            learner, np.vstack([X, X]), np.r_[y, 1 - y], np.arange(40) >= 20
        ).solve([0, 0.5, 1])
    assert solution.norm[2] < 1e-9 and solution.residuals.max() < 1e-8


@pytest.mark.parametrize(
    "learner", [RidgeClassifier(), LogisticRegression(C=1), LogisticRegression(C=1e-6)]
)
@pytest.mark.parametrize("scale", [1e7, 1e8])
def test_units_of_features_make_no_hessian_singular(learner, scale):
    """The same fit as in other units, with alpha (or C) in the units of these."""
    X = np.random.default_rng(0).normal(size=(40, 1))
    y, is_poison = (X[:, 0] > 0.3) * 1, np.arange(40) >= 35
    solution = weight_path(learner, X * scale, y, is_poison).solve([0, 1.0])
    assert solution.residuals.max() < 1e-9
    name = "alpha" if hasattr(learner, "alpha") else "C"
    factor = scale**2 if name == "C" else scale**-2
    if name == "C" and factor * learner.C > 1e9:
        return  # separable rows: no fit in other units to compare with
    other = clone(learner).set_params(**{name: getattr(learner, name) * factor})
    expected = weight_path(other, X, y, is_poison).solve([0, 1.0])
    assert_allclose(
        solution.decision_function(X * scale), expected.decision_function(X), rtol=1e-6
    )
