"""Paths of learners that are refitted at every weight."""

import numpy as np
import pytest
from conditions import signs_of
from numpy.testing import assert_allclose, assert_array_equal
from problems import CONVERGED, SKLEARN, numbers
from scipy.special import expit
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

pytestmark = CONVERGED


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
