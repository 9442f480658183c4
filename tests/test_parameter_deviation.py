"""Norm and angle of the weights along a path."""

from itertools import combinations

import numpy as np
import pytest
from attacks import attack, data
from by_hand import BETAS, LEARNERS, fits
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics.pairwise import rbf_kernel

from skbackdoor import backdoor_learning_curve, parameter_deviation


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ["ridge", "logistic", "hinge", "squared hinge", "sgd hinge"])
def test_rho_and_nu_of_linear_learners(name, n_classes):
    X, y, *_ = data(n_classes)
    poisoner = attack(LEARNERS[name][0])
    found = parameter_deviation(poisoner, X, y, poison_weights=BETAS)
    weights = [model.coef_.ravel() for model in fits(poisoner, X, y)]
    norms = [np.linalg.norm(w) for w in weights]
    cosines = [w @ weights[0] / (norm * norms[0]) for w, norm in zip(weights, norms, strict=True)]
    assert_allclose(found.rho, norms, rtol=3e-6)  # refits at tol=1e-8 or so
    assert_allclose(found.nu, (1 - np.array(cosines)) / 2, rtol=1e-5, atol=1e-8)
    assert_array_equal(found.poison_weights, BETAS)


def feature_space(first, second, gamma):
    """Sum over the pairs of classes of <w_1, w_2> = v_1^T K v_2, each pair on its own."""
    if gamma is None:
        K = first.support_vectors_ @ second.support_vectors_.T
    else:
        K = rbf_kernel(first.support_vectors_, second.support_vectors_, gamma=gamma)
    return sum(a @ K @ b for a, b in zip(pairs(first), pairs(second), strict=True))


def pairs(model):
    """Dual coefficients of each pair of classes over all support vectors."""
    ends = np.concatenate([[0], np.cumsum(model.n_support_)])
    for i, j in combinations(range(len(model.classes_)), 2):
        v = np.zeros(model.support_vectors_.shape[0])
        v[ends[i] : ends[i + 1]] = model.dual_coef_[j - 1, ends[i] : ends[i + 1]]
        v[ends[j] : ends[j + 1]] = model.dual_coef_[i, ends[j] : ends[j + 1]]
        yield v


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ["svc", "svc linear"])
def test_rho_and_nu_of_kernel_machines(name, n_classes):
    X, y, X_test, y_test = data(n_classes)
    learner = LEARNERS[name][0]
    gamma = None if learner.kernel == "linear" else learner.gamma
    poisoner = attack(learner)
    found = parameter_deviation(poisoner, X, y, poison_weights=BETAS)
    models = fits(poisoner, X, y)
    inner = np.array([feature_space(models[0], model, gamma) for model in models])
    norms = np.sqrt([feature_space(model, model, gamma) for model in models])
    assert_allclose(found.rho, norms, rtol=3e-6)  # refits at tol=1e-8 or so
    assert_allclose(found.nu, (1 - inner / (norms * norms[0])) / 2, rtol=1e-4, atol=1e-7)
    if gamma is None:  # the weights themselves
        assert_allclose(found.rho, [np.linalg.norm(model.coef_) for model in models], rtol=3e-6)
    curve = backdoor_learning_curve(poisoner, X, y, X_test, y_test, poison_weights=BETAS)
    assert_array_equal(curve.rho, found.rho)
    assert_array_equal(curve.nu, found.nu)


def test_learners_without_weight_vector():
    X, y, X_test, y_test = data(2)
    forest = attack(RandomForestClassifier(n_estimators=3))
    curve = backdoor_learning_curve(forest, X, y, X_test, y_test, poison_weights=[0, 1])
    assert curve.rho is None
    assert curve.nu is None
    with pytest.raises(ValueError, match="RandomForestClassifier.*weight vector"):
        parameter_deviation(forest, X, y)
