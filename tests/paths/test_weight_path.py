"""weight_path as a door, weights of zero, and what users do to solutions."""

import pickle

import numpy as np
import pandas as pd
import pytest
from attacks import attack, data
from numpy.testing import assert_allclose, assert_array_equal
from problems import poisoned
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC, LinearSVC

from skbackdoor import neg_backdoor_slope_scorer, weight_path

LEARNERS = {
    "ridge": RidgeClassifier(),
    "logistic": LogisticRegression(tol=1e-9, max_iter=5000),
    "linear svc": LinearSVC(tol=1e-9, max_iter=10**6, random_state=0),
    "svc": SVC(gamma=0.5, tol=1e-8),
    "bayes": GaussianNB(),
}


def outputs(model, X):
    return getattr(model, "decision_function", getattr(model, "predict_proba", None))(X)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LEARNERS)
def test_fit_is_a_fit_with_these_weights(name, weighted, n_classes):
    learner = LEARNERS[name]
    X, y, is_poison = poisoned(n_classes)
    own = np.random.default_rng(1).uniform(0.5, 2, len(y)) if weighted else None
    path = weight_path(learner, X, y, is_poison, sample_weight=own)
    for beta in (0.0, 0.3, 1.0):
        weight = (np.ones(len(y)) if own is None else own) * np.where(is_poison, beta, 1.0)
        rows = weight > 0
        by_hand = clone(learner).fit(X[rows], y[rows], sample_weight=weight[rows])
        fitted = path.fit(beta)
        assert_allclose(outputs(fitted, X), outputs(by_hand, X), rtol=1e-5, atol=1e-5)
        assert_array_equal(fitted.classes_, by_hand.classes_)
    assert not hasattr(learner, "classes_")


def test_string_labels_lists_and_int_masks():
    X, y, is_poison = poisoned()
    names = np.array(["b", "a"])[y]
    first = weight_path(RidgeClassifier(), X.tolist(), names.tolist(), is_poison.astype(int))
    second = weight_path(RidgeClassifier(), X, names, is_poison)
    assert_allclose(first.fit(0.4).coef_, second.fit(0.4).coef_)
    assert set(first.fit(0.4).predict(X)) <= {"a", "b"}


def test_tangent_is_the_derivative_of_the_decision_values():
    """Of the optimum at beta = 0; forward difference at a small beta."""
    X, y, is_poison = poisoned()
    path = weight_path(RidgeClassifier(), X, y, is_poison)
    F, dF = path.optimum().polish().right_limit(X)
    h = 1e-6
    start, end = (path.decision_values(path.fit(beta), X) for beta in (0.0, h))
    assert_allclose(F, start, rtol=1e-8)
    assert_allclose(dF, (end - start) / h, rtol=1e-3, atol=1e-3 * np.abs(dF).max())


@pytest.mark.parametrize(
    "mask", [np.zeros(80, bool), np.ones(80, bool), np.ones(3, bool)], ids=["none", "all", "short"]
)
def test_bad_masks(mask):
    X, y, _ = poisoned()
    with pytest.raises(ValueError, match="is_poison"):
        weight_path(RidgeClassifier(), X, y, mask)


def test_a_class_of_poison_only_is_an_error():
    X, y, is_poison = poisoned()
    with pytest.raises(ValueError, match="class.*9"):
        weight_path(RidgeClassifier(), X, np.where(is_poison, 9, y), is_poison)


def test_input_that_is_no_path():
    X, y = make_classification(30, 4, random_state=0)
    is_poison = np.arange(30) >= 25
    for learner in (RidgeClassifier(), LogisticRegression(), SVC()):
        for weight in (2.0, -0.5, np.nan):
            with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
                weight_path(learner, X, y, is_poison).fit(weight)
    with pytest.raises(ValueError, match=r"Gram matrix.*\(30, 4\)"):
        weight_path(SVC(kernel="precomputed"), X, y, is_poison)
    with pytest.raises(ValueError, match="continuous"):
        weight_path(RidgeClassifier(), X, X[:, 0], is_poison)
    with pytest.raises(ValueError, match="NaN"):
        weight_path(RidgeClassifier(), X, np.where(y == 0, np.nan, 1.0), is_poison)
    with pytest.raises(ValueError, match=r"estimator is Ridge\(\).*regressor.*RidgeClassifier"):
        weight_path(Ridge(), X, y, is_poison)
    with pytest.raises(ValueError, match="estimator must be a classifier, not 'svc'"):
        weight_path("svc", X, y, is_poison)
    with pytest.raises(ValueError, match="make a new weight_path"):
        weight_path(SVC(), X, y, is_poison).with_params(kernel="precomputed").solve(0.5)


# ---------------------------------------------------------------------------- weights of zero


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", LEARNERS)
def test_rows_of_weight_zero_count_for_nothing(name, n_classes):
    """libsvm drops them, and then numbers its support vectors otherwise."""
    learner = LEARNERS[name]
    X, y, is_poison = poisoned(n_classes)
    weight = np.ones(len(y))
    weight[::3] = 0.0
    kept = weight > 0
    whole = weight_path(learner, X, y, is_poison, sample_weight=weight)
    part = weight_path(learner, X[kept], y[kept], is_poison[kept])
    for beta in (0.0, 0.3, 1.0):
        a, b = whole.fit(beta), part.fit(beta)
        assert_allclose(outputs(a, X), outputs(b, X), rtol=1e-4, atol=1e-5)
        if name != "bayes":
            assert_allclose(whole.inner(a, a), part.inner(b, b), rtol=1e-4)
    if name != "bayes":
        (F, dF), (G, dG) = (p.optimum().polish().right_limit(X) for p in (whole, part))
        assert_allclose(F, G, rtol=1e-6, atol=1e-6)
        assert_allclose(dF, dG, rtol=1e-5, atol=1e-5 * np.abs(dG).max())


def test_scorer_of_a_fit_with_weights_of_zero():
    X, y, X_test, y_test = data()
    weight = np.ones(len(y))
    for C in (0.1, 10.0):
        poisoner = attack(SVC(gamma=0.5, C=C, tol=1e-8), poison_weight=0.0)
        fitted = clone(poisoner).fit(X, y)
        spare = np.setdiff1d(np.arange(len(y)), fitted.poisoned_indices_)[::2]
        weight[spare] = 0.0
        weighted = clone(poisoner).fit(X, y, sample_weight=weight)
        assert_array_equal(weighted.poisoned_indices_, fitted.poisoned_indices_)
        X_all, y_all, is_poison = weighted.poison(X, y)
        kept = np.append(weight, np.ones(is_poison.sum())) > 0
        path = weight_path(
            SVC(gamma=0.5, C=C, tol=1e-8), X_all[kept], y_all[kept], is_poison[kept]
        )
        triggered = X_test.copy()
        triggered[:, 9] = 1.0
        F, dF = path.optimum().polish().right_limit(triggered)
        sign = 2.0 * ((y_test + 1) % 2) - 1
        derivative = np.mean(np.where(sign * F[:, 0] < 1, -sign * dF[:, 0], 0.0))
        theta = -2 / np.pi * np.arctan(derivative / is_poison.sum())
        score = neg_backdoor_slope_scorer(weighted, X_test, y_test)
        assert_allclose(-score, theta, rtol=1e-4)


# ------------------------------------------------------------------ what users do to solutions

FAR = [
    RidgeClassifier(),
    LogisticRegression(tol=1e-10, max_iter=10_000),
    SVC(kernel="linear"),
    SVC(gamma=0.5),
]


@pytest.mark.parametrize("learner", FAR, ids=lambda learner: repr(learner)[:22])
@pytest.mark.parametrize("mean", [1e3, 1e6])
def test_a_mean_far_from_zero_changes_nothing_but_the_intercept(learner, mean):
    X, y, is_poison = poisoned(3)
    near, far = (weight_path(learner, X + m, y, is_poison).solve([0, 0.4]) for m in (0.0, mean))
    F = near.decision_function(X)
    assert_allclose(far.decision_function(X + mean), F, atol=1e-15 * mean**2 + 1e-6)
    assert_allclose(far.tangent(X + mean), near.tangent(X), atol=1e-14 * mean**2 + 1e-4)


@pytest.mark.parametrize("name", LEARNERS)
def test_solutions_pickle(name):
    X, y, is_poison = poisoned(3)
    solution = weight_path(LEARNERS[name], X, y, is_poison).solve([0.3, 0.0])
    again = pickle.loads(pickle.dumps(solution))
    assert_array_equal(again.decision_function(X), solution.decision_function(X))


@pytest.mark.parametrize("name", LEARNERS)
def test_samples_that_change_are_seen(name):
    X, y, is_poison = poisoned()
    solution = weight_path(LEARNERS[name], X, y, is_poison).solve([1.0])
    samples = X[:5].copy()
    before = solution.decision_function(samples)
    samples += 1.0
    assert not np.allclose(solution.decision_function(samples), before)


def test_samples_are_checked():
    X, y, is_poison = poisoned()
    frame = pd.DataFrame(X, columns=list("abcdefghij"))
    solution = weight_path(SVC(), frame, y, is_poison).solve([1.0])
    with pytest.raises(ValueError, match="columns must be"):
        solution.decision_function(frame[list("jihgfedcba")])
    with pytest.raises(ValueError, match="shape"):
        solution.decision_function(X[:, :4])
    with pytest.raises(ValueError, match="shape"):
        solution.losses(frame, y[:1])
    with pytest.raises(ValueError, match="0 and 1"):
        weight_path(SVC(), X, y, 2 * is_poison)
    with pytest.raises(ValueError, match="negative"):
        weight_path(SVC(), X, y, is_poison, sample_weight=-np.ones(len(y)))
