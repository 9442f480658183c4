"""poison_influence: against slopes, refits of single samples, and its errors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    backdoor_learning_slope,
    make_backdoor_classification,
    poison_influence,
    weight_path,
)

LEARNERS = {
    "ridge": RidgeClassifier(),
    "logistic": LogisticRegression(),
    "liblinear": LogisticRegression(solver="liblinear"),
    "squared hinge": LinearSVC(),
    "linear hinge": LinearSVC(loss="hinge", C=0.3),
    "svc": SVC(gamma=0.2, C=3.0),
    "pipeline": make_pipeline(StandardScaler(), RidgeClassifier()),
}


def data(n_classes, n_train=90, n_test=40):
    X, y = make_backdoor_classification(
        n_train + n_test, 8, n_classes=n_classes, class_sep=0.4, random_state=3
    )
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:]


def attack(learner):
    return BackdoorPoisoner(
        learner, FeatureTrigger({7: 1.5}), target="next", poisoning_rate=0.2, random_state=0
    )


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", LEARNERS)
def test_sum_and_mean_are_the_slope(name, n_classes):
    if name == "liblinear" and n_classes > 2:
        pytest.skip("liblinear's logistic regression is binary only")
    poisoner, sets = attack(LEARNERS[name]), data(n_classes)
    slope = backdoor_learning_slope(poisoner, *sets)
    influence = poison_influence(poisoner, *sets)
    assert influence.shape[0] == slope.n_poison
    assert_allclose(influence.sum(axis=0).mean(), slope.derivative, rtol=1e-7)


@pytest.mark.parametrize("name", ["ridge", "logistic", "squared hinge", "linear hinge", "svc"])
def test_each_row_is_the_derivative_of_one_sample_alone(name):
    """A path on which a single row gains weight: a poison one from 0, a clean one from 1 on."""
    X, y, X_test, y_test = data(2)
    poisoner = clone(attack(LEARNERS[name])).fit(X, y)
    X_all, y_all, is_poison = poisoner.poison(X, y)
    triggered, y_target, _ = poisoner.triggered_test(X_test, y_test)
    influence = poison_influence(poisoner, X, y, X_test, y_test, samples="all")
    assert influence.shape == (len(X_all), len(triggered))
    n = len(X)
    for j in (0, 1, 5, n, n + 3, len(X_all) - 1):
        rows = np.append(np.arange(n), j)  # a clean row once more, with weight beta
        path = weight_path(LEARNERS[name], X_all[rows], y_all[rows], np.arange(n + 1) == n)
        h = 1e-7 if name in ("svc", "linear hinge", "squared hinge") else 1e-5
        start, end = path.solve([h, 2 * h]).losses(triggered, y_target)
        scale = np.abs(influence).max()
        assert_allclose(influence[j], (end - start) / h, atol=2e-3 * scale)


def test_sides_agree():
    """More test samples than training samples, or fewer: two ways to solve."""
    X, y, X_test, y_test = data(2, 60, 400)
    poisoner = attack(LogisticRegression())
    many = poison_influence(poisoner, X, y, X_test, y_test, samples="all")
    few = poison_influence(poisoner, X, y, X_test[:20], y_test[:20], samples="all")
    assert_allclose(many[:, : few.shape[1]], few, rtol=1e-7, atol=1e-12)


def test_poison_rows_are_the_last_of_all():
    sets = data(3)
    both = [poison_influence(attack(SVC()), *sets, samples=s) for s in ("poison", "all")]
    assert_allclose(both[1][-len(both[0]) :], both[0])


def test_errors():
    sets = data(2)
    with pytest.raises(ValueError, match="no closed form"):
        poison_influence(attack(GaussianNB()), *sets)
    with pytest.raises(ValueError, match="samples"):
        poison_influence(attack(RidgeClassifier()), *sets, samples="clean")
    X, y, X_test, y_test = sets
    rows = np.concatenate([np.flatnonzero(y == label)[:30] for label in (0, 1)])
    bounded = attack(SVC(C=1e-6, kernel="linear")).set_params(random_state=None)
    with pytest.raises(ValueError, match="no free support vector"):
        for seed in range(40):  # until both classes get as many copies
            poison_influence(
                bounded.set_params(random_state=seed), X[rows], y[rows], X_test, y_test
            )
