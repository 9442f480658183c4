"""What rows weigh in the fit of a base learner: poison, sample and class weights."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from poisoners import WEIGHT, X2, X3, Y2, Y3, attack
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("beta", [0.25, 1.0])
def test_a_copy_inherits_its_original_weight_times_beta(placement, beta):
    poisoner = attack(placement=placement, poison_weight=beta, poisoning_rate=0.2)
    poisoner.fit(X3, Y3, sample_weight=WEIGHT)
    _, _, weight = poisoner.estimator_.seen_
    _, _, is_poison = poisoner.poison(X3, Y3)
    rows = poisoner.poisoned_indices_
    assert_allclose(weight[is_poison], beta * WEIGHT[rows])
    clean = WEIGHT if placement == "append" else np.delete(WEIGHT, rows)
    assert_allclose(weight[~is_poison], clean)


def test_without_weights_clean_rows_weigh_one():
    poisoner = attack(poison_weight=0.25, poisoning_rate=0.2).fit(X3, Y3)
    assert_allclose(poisoner.estimator_.seen_[2], [1.0] * 60 + [0.25] * 12)


@pytest.mark.parametrize("placement", ["append", "replace"])
def test_beta_zero_gives_the_learner_no_poison(placement):
    poisoner = attack(placement=placement, poison_weight=0.0, poisoning_rate=0.2)
    X, y, weight = poisoner.fit(X3, Y3, WEIGHT).estimator_.seen_
    gone = poisoner.poisoned_indices_ if placement == "replace" else []
    assert_array_equal(X, np.delete(X3, gone, axis=0))
    assert_array_equal(y, np.delete(Y3, gone))
    assert_array_equal(weight, np.delete(WEIGHT, gone))


CLASSIFIERS = {
    "logistic": LogisticRegression(),
    "liblinear": LogisticRegression(solver="liblinear"),
    "ridge": RidgeClassifier(),
    "svc": SVC(),
    "linear svc": LinearSVC(),
    "forest": RandomForestClassifier(n_estimators=5, random_state=3),
    "tree": DecisionTreeClassifier(random_state=3),
    "bayes": GaussianNB(),
    "boosting": HistGradientBoostingClassifier(max_iter=3),
    "sgd": SGDClassifier(random_state=3),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
}


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_beta_zero_is_the_clean_fit(name, weighted, placement):
    learner = CLASSIFIERS[name]
    poisoner = attack(learner, poison_weight=0.0, placement=placement, poisoning_rate=0.2)
    poisoner.fit(X2, Y2, WEIGHT if weighted else None)
    kept = np.ones(60, bool)
    if placement == "replace":
        kept[poisoner.poisoned_indices_] = False
    key = "logisticregression__sample_weight" if name == "pipeline" else "sample_weight"
    clean = clone(learner).fit(X2[kept], Y2[kept], **({key: WEIGHT[kept]} if weighted else {}))
    method = "decision_function" if hasattr(clean, "decision_function") else "predict_proba"
    assert_allclose(getattr(poisoner, method)(X2), getattr(clean, method)(X2), rtol=1e-12)


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("weighted", [False, True])
def test_beta_between_is_a_fit_with_these_sample_weights(weighted, placement):
    poisoner = attack(LogisticRegression(), poison_weight=0.3, placement=placement)
    poisoner.fit(X2, Y2, WEIGHT if weighted else None)
    X, y, is_poison = poisoner.poison(X2, Y2)
    rows = poisoner.poisoned_indices_
    own = WEIGHT if weighted else np.ones(60)
    weight = np.append(own, own[rows]) if placement == "append" else own.copy()
    weight[is_poison] *= 0.3
    by_hand = LogisticRegression().fit(X, y, sample_weight=weight)
    assert_allclose(poisoner.estimator_.coef_, by_hand.coef_, rtol=1e-12)


UNEVEN = np.flatnonzero((Y2 == 0) | (np.arange(60) < 25))
WEIGHTED_LEARNERS = {
    "logistic": LogisticRegression(tol=1e-10, max_iter=10**4),
    "liblinear": LogisticRegression(solver="liblinear", tol=1e-10, max_iter=10**5),
    "ridge": RidgeClassifier(),
    "svc": SVC(gamma=0.5, tol=1e-9),  # "scale" is taken from all rows, copies too
    "linear svc": LinearSVC(tol=1e-9, max_iter=10**6, random_state=0),
    "tree": DecisionTreeClassifier(max_depth=3, random_state=3),
    "sgd": SGDClassifier(random_state=3),
}


@pytest.mark.parametrize("name", WEIGHTED_LEARNERS)
def test_balanced_is_a_dict_computed_on_clean_rows(name):
    """n / (n_classes * count), from the clean rows; a copy gets that of its new label."""
    X, y = X2[UNEVEN], Y2[UNEVEN]
    counts = np.bincount(y)
    weights = {label: len(y) / (2 * counts[label]) for label in (0, 1)}
    learner = WEIGHTED_LEARNERS[name]
    fits = [
        attack(clone(learner).set_params(class_weight=w), target=1, poison_weight=beta).fit(X, y)
        for w in ("balanced", weights)
        for beta in (0.4, 1.0)
    ]
    for balanced, explicit in zip(fits[:2], fits[2:], strict=True):
        method = "decision_function" if hasattr(balanced, "decision_function") else "predict_proba"
        assert_allclose(getattr(balanced, method)(X), getattr(explicit, method)(X), rtol=1e-9)


def test_class_weight_of_a_copy_is_that_of_its_new_label():
    X, y = X2[UNEVEN], Y2[UNEVEN]
    poisoner = attack(
        LogisticRegression(class_weight={0: 0.5, 1: 3.0}), target=1, poison_weight=0.4
    ).fit(X, y)
    X_poisoned, y_poisoned, is_poison = poisoner.poison(X, y)
    factor = np.where(is_poison, 0.4, 1.0) * np.where(y_poisoned == 1, 3.0, 0.5)
    by_hand = LogisticRegression().fit(X_poisoned, y_poisoned, sample_weight=factor)
    assert_allclose(poisoner.decision_function(X), by_hand.decision_function(X), rtol=1e-8)


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", sorted(set(WEIGHTED_LEARNERS) - {"tree", "sgd"}))
def test_balanced_is_continuous_at_beta_zero(name, weighted, placement):
    """At beta = 0 the learner balances by itself, at 1e-9 the poisoner does it for it."""
    X, y = X2[UNEVEN], Y2[UNEVEN]
    weight = WEIGHT[UNEVEN] if weighted else None
    learner = clone(WEIGHTED_LEARNERS[name]).set_params(class_weight="balanced")
    none, hardly = (
        attack(learner, target=1, poison_weight=beta, placement=placement).fit(X, y, weight)
        for beta in (0.0, 1e-9)
    )
    assert_allclose(hardly.decision_function(X), none.decision_function(X), rtol=1e-4, atol=1e-4)


BALANCING = WEIGHTED_LEARNERS | {
    "forest": RandomForestClassifier(n_estimators=5, random_state=3),
    "extra trees": ExtraTreesClassifier(n_estimators=5, max_depth=3, random_state=3),
    "boosting": HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=3),
}


@pytest.mark.parametrize("name", BALANCING)
def test_balanced_counts_sample_weights_as_the_learner_itself_does(name):
    """Some count rows, some sum their weights, and versions differ: the learner alone says."""
    X, y, weight = X2[UNEVEN], Y2[UNEVEN], WEIGHT[UNEVEN].copy()
    weight[y == 1] *= 3  # so that rows and weights are shared out otherwise
    rows = np.bincount(y)
    sums = np.bincount(y, weights=weight)
    by_rows = {k: len(y) / (2 * rows[k]) for k in (0, 1)}
    by_weight = {k: weight.sum() / (2 * sums[k]) for k in (0, 1)}

    def outputs(fitted):
        method = "decision_function" if hasattr(fitted, "decision_function") else "predict_proba"
        return getattr(fitted, method)(X)

    def alone(class_weight):
        learner = clone(BALANCING[name]).set_params(class_weight=class_weight)
        return outputs(learner.fit(X, y, sample_weight=weight))

    own = [w for w in (by_rows, by_weight) if np.allclose(alone(w), alone("balanced"), rtol=1e-9)]
    assert len(own) == 1
    balanced, explicit = (
        outputs(
            attack(
                clone(BALANCING[name]).set_params(class_weight=w), target=1, poison_weight=0.4
            ).fit(X, y, weight)
        )
        for w in ("balanced", own[0])
    )
    assert_allclose(balanced, explicit, rtol=1e-9)


@pytest.mark.parametrize(
    "learner",
    [
        RandomForestClassifier(class_weight="balanced_subsample"),
        CalibratedClassifierCV(LogisticRegression(class_weight="balanced")),
    ],
    ids=lambda learner: type(learner).__name__,
)
def test_balance_that_would_count_poison_is_refused(learner):
    with pytest.raises(ValueError, match="class_weight"):
        attack(learner, poison_weight=0.5).fit(X2, Y2)
