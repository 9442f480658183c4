"""Paths of LinearSVC, hinge and squared hinge, against their conditions and refits."""

import numpy as np
import pytest
from conditions import (
    assert_linear_hinge_is_true,
    assert_smooth_is_true,
    hinge_stationarity,
    relative_gradient,
)
from numpy.testing import assert_array_equal
from problems import CONVERGED, SIX_DECADES, SKLEARN, assert_close, digits, skewed_weights, ten
from scipy import sparse
from sklearn.svm import LinearSVC

pytestmark = CONVERGED


@pytest.mark.rounding
@pytest.mark.parametrize("C", SIX_DECADES)
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
def test_linear_hinge(labels, C):
    assert_linear_hinge_is_true(LinearSVC(C=C, loss="hinge"), digits(*labels))


@pytest.mark.parametrize("C", SIX_DECADES)
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
def test_linear_squared_hinge(labels, C):
    assert_smooth_is_true(LinearSVC(C=C), digits(*labels))


LINEAR_VARIANTS = {
    "no intercept": {"fit_intercept": False},
    "scaled": {"intercept_scaling": 3.0},
    "dict": {"class_weight": {1: 4.0, 3: 0.5, 7: 1.0}},
    "balanced": {"class_weight": "balanced"},
}


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
@pytest.mark.parametrize("name", LINEAR_VARIANTS)
def test_linear_variants(name, labels, weighted):
    rows, parameters = digits(*labels), dict(LINEAR_VARIANTS[name])
    if name == "dict":
        parameters["class_weight"] = {k: parameters["class_weight"][k] for k in labels}
    if weighted and name == "balanced" and SKLEARN < (1, 7):
        pytest.skip("'balanced' of the reference counts sample weights, as scikit-learn >= 1.7")
    weight = skewed_weights(rows, zeros=True) if weighted else None
    hinge = LinearSVC(C=0.2, loss="hinge", **parameters)
    assert_linear_hinge_is_true(hinge, rows, sample_weight=weight)
    assert_smooth_is_true(LinearSVC(C=0.2, **parameters), rows, sample_weight=weight)


def test_linear_sparse():
    rows = digits(1, 3, 7)
    X = sparse.csr_array(rows.X)
    assert_linear_hinge_is_true(LinearSVC(C=0.2, loss="hinge"), rows, X=X)
    assert_smooth_is_true(LinearSVC(C=0.2), rows, X=X)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_ten_classes_linear_svc(loss):
    rows, estimator = ten(), LinearSVC(C=0.3, loss=loss)
    refit, solution = rows.reference(estimator), rows.path(estimator).solve([0.0, 0.3, 1.0])
    for k, beta in enumerate(solution.poison_weights):
        fit = solution.coef[k], solution.intercept[k]
        if loss == "hinge":
            assert hinge_stationarity(refit, *fit, beta, 1e-9) <= 1e-9
        else:
            assert relative_gradient(refit, *fit, beta) <= 1e-8
    F = refit.decision(refit.fit(0.3), rows.X_test)
    assert_close(solution.decision_function(rows.X_test)[1], F, 1e-6)
    assert_array_equal(solution.predict(rows.X_test)[1], np.argmax(F, axis=1))
