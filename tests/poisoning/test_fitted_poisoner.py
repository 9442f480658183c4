"""A fitted poisoner: its draws on other data, copies of it, and its learner's methods."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from poisoners import WEIGHT, X2, X3, Y2, Y3, attack
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skbackdoor import (
    FeatureTrigger,
    PatchTrigger,
    PerClassTrigger,
    attack_success_rate_scorer,
    backdoor_slope_scorer,
    make_backdoor_classification,
)


@pytest.mark.parametrize("placement", ["append", "replace"])
def test_poison_on_other_data_is_a_new_draw_that_repeats(placement):
    poisoner = attack(placement=placement, poisoning_rate=0.2).fit(X3, Y3)
    X, y = make_backdoor_classification(90, 8, n_classes=3, random_state=5)
    first, second = poisoner.poison(X, y), poisoner.poison(X, y)
    for a, b in zip(first, second, strict=True):
        assert_array_equal(a, b)
    assert first[2].sum() == 18
    assert (first[0][first[2], 0] == 5.0).all()
    assert (first[0][~first[2], 0] != 5.0).all()
    # on an equal copy of the training data it is the fitted draw, on others not
    assert_array_equal(poisoner.poison(X3.copy(), Y3.copy())[2], poisoner.poison(X3, Y3)[2])
    shifted = poisoner.poison(X3 + 1e-3, Y3)[0]
    rows = poisoner.poisoned_indices_
    copies = X3[rows].copy()
    copies[:, 0] = 5.0
    assert not np.allclose(shifted[-len(rows) :], copies, atol=1e-2)
    assert_array_equal(poisoner.poisoned_indices_, rows)


def test_per_class_trigger_acts_on_the_true_label():
    patch = PatchTrigger(size=2, value="random", image_shape=(2, 4))
    poisoner = attack(trigger=PerClassTrigger(patch), poisoning_rate=0.5).fit(X3, Y3)
    X, _, is_poison = poisoner.poison(X3, Y3)
    rows = poisoner.poisoned_indices_
    assert_array_equal(X[is_poison], poisoner.trigger_.transform(X3[rows], Y3[rows]))


def test_fit_does_not_change_parameters():
    learner = SGDClassifier(class_weight="balanced")
    trigger = PatchTrigger(size=2, value="random", image_shape=(2, 4))
    poisoner = attack(learner, trigger)
    before = {name: repr(value) for name, value in poisoner.get_params().items()}
    poisoner.fit(X3, Y3)
    assert {name: repr(value) for name, value in poisoner.get_params().items()} == before
    assert not hasattr(learner, "coef_")
    assert not hasattr(trigger, "image_shape_")


def test_clone_pickle_deepcopy():
    poisoner = attack(LogisticRegression(), poison_weight=0.5).fit(X3, Y3)
    for other in (pickle.loads(pickle.dumps(poisoner)), copy.deepcopy(poisoner)):
        assert_array_equal(other.predict_proba(X3), poisoner.predict_proba(X3))
        for a, b in zip(other.poison(X3, Y3), poisoner.poison(X3, Y3), strict=True):
            assert_array_equal(a, b)
        new = X3 + 1.0
        assert_array_equal(other.poison(new, Y3)[2], poisoner.poison(new, Y3)[2])
    fresh = clone(poisoner)
    assert not hasattr(fresh, "estimator_")
    assert_array_equal(fresh.fit(X3, Y3).predict_proba(X3), poisoner.predict_proba(X3))


def test_refit_forgets_the_earlier_fit():
    frame = pd.DataFrame(X3, columns=[f"f{i}" for i in range(8)])
    poisoner = attack(LogisticRegression()).fit(frame, Y3)
    assert poisoner.feature_names_in_.tolist() == list(frame.columns)
    poisoner.fit(X2, Y2)
    assert not hasattr(poisoner, "feature_names_in_")
    assert poisoner.classes_.tolist() == [0, 1]


CHANGES = {
    "poison_weight": 0.0, "placement": "replace", "poisoning_rate": 0.3, "victims": [1, 2],
    "target": 0, "source_classes": [1], "random_state": 5, "estimator__C": 1e-3,
    "trigger": FeatureTrigger({3: 5.0}),
}  # fmt: skip


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("learner", [LogisticRegression(), SVC()])
def test_what_is_set_after_fit_has_no_part_before_the_next(learner, name, weight):
    fitted = attack(learner).fit(X3, Y3, sample_weight=weight)
    other = X3[::-1], Y3[::-1]
    scorers = backdoor_slope_scorer, attack_success_rate_scorer
    before = [scorer(fitted, X3, Y3) for scorer in scorers]
    poisoned = fitted.poison(*other)
    clean = fitted.clean_copy().decision_function(X3)
    fitted.set_params(**{name: CHANGES[name]})
    assert [scorer(fitted, X3, Y3) for scorer in scorers] == before
    for after, was in zip(fitted.poison(*other), poisoned, strict=True):
        assert_array_equal(after, was)
    assert_array_equal(fitted.clean_copy().decision_function(X3), clean)
    fitted.fit(X3, Y3, sample_weight=weight)
    if name == "poison_weight":  # now it has
        assert fitted.clean_copy() is fitted


def test_methods_are_those_of_the_fitted_learner():
    frame = pd.DataFrame(X3, columns=[f"f{i}" for i in range(8)])
    poisoner = attack(LogisticRegression()).fit(frame, Y3)
    inner = poisoner.estimator_
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert_array_equal(getattr(poisoner, method)(frame), getattr(inner, method)(frame))
    assert poisoner.score(frame, Y3) == inner.score(frame, Y3)
    assert poisoner.score(frame, Y3, sample_weight=WEIGHT) == inner.score(frame, Y3, WEIGHT)
    assert poisoner.n_features_in_ == 8
    assert_array_equal(poisoner.feature_names_in_, frame.columns)
    assert_array_equal(poisoner.classes_, inner.classes_)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        poisoner.predict(frame)


@pytest.mark.parametrize(
    ("learner", "has", "has_not"),
    [
        (LogisticRegression(), ["predict_proba", "decision_function"], []),
        (RidgeClassifier(), ["decision_function"], ["predict_proba", "predict_log_proba"]),
        (RandomForestClassifier(n_estimators=2), ["predict_proba"], ["decision_function"]),
        (make_pipeline(StandardScaler(), LinearSVC()), ["decision_function"], ["predict_proba"]),
    ],
    ids=["logistic", "ridge", "forest", "pipeline"],
)
def test_methods_follow_the_learner(learner, has, has_not):
    for poisoner in (attack(learner), attack(learner).fit(X2, Y2)):
        assert all(hasattr(poisoner, name) for name in has)
        assert not any(hasattr(poisoner, name) for name in has_not)
