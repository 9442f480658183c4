"""Attack: poisoned data without a learner, the same as those of a poisoner."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from skbackdoor import (
    Attack,
    BackdoorPoisoner,
    FeatureTrigger,
    PatchTrigger,
    PerClassTrigger,
    TokenTrigger,
    TriggerDisplay,
    attack_success_rate_scorer,
    backdoor_learning_slope,
    make_backdoor_classification,
)

X, Y = make_backdoor_classification(90, 6, n_classes=3, random_state=0)
X_TEST, Y_TEST = make_backdoor_classification(50, 6, n_classes=3, random_state=1)
RANDOM = PatchTrigger(1, position="random", value="random")


class OfItsClass(TransformerMixin, BaseEstimator):
    """Writes 10 plus the class into one column: another trigger for every class."""

    requires_y = True

    def __init__(self, column=0):
        self.column = column

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X, y):
        X = np.array(X)
        X[:, self.column] = 10.0 + np.asarray(y)
        return X


def attack(trigger=None, **parameters):
    parameters = {"target": "next", "random_state": 0} | parameters
    return Attack(FeatureTrigger({0: 9.0}) if trigger is None else trigger, **parameters)


def same(first, second):
    for a, b in zip(first, second, strict=True):
        assert_array_equal(a, b)


# --------------------------------------------------------------------------- as the poisoner


@pytest.mark.parametrize("trigger", [None, RANDOM, PerClassTrigger(RANDOM), OfItsClass()], ids=str)
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"placement": "replace", "poisoning_rate": 0.2},
        {"placement": "supplant", "target": {0: 2, 1: 2}},
        {"victims": "stratified", "random_state": 3},
        {"victims": [1, 5, 8], "placement": "replace"},
        {"source_classes": [1], "poisoning_rate": {1: 0.5}},
    ],
    ids=str,
)
@pytest.mark.parametrize("learner", [LogisticRegression(), DecisionTreeClassifier()], ids=str)
def test_a_poisoner_is_an_attack_and_a_learner(trigger, parameters, learner):
    alone = attack(trigger, **parameters).fit(X, Y)
    poisoner = BackdoorPoisoner(learner, **alone.get_params(deep=False)).fit(X, Y)
    for name in ("classes_", "poisoned_indices_", "replaced_indices_"):
        assert_array_equal(getattr(alone, name), getattr(poisoner, name))
    assert alone.expected_counts_ == poisoner.expected_counts_
    assert alone.effective_rate_ == poisoner.effective_rate_
    same(alone.poison(X, Y), poisoner.poison(X, Y))
    if isinstance(alone.victims, str):
        same(alone.poison(X_TEST, Y_TEST), poisoner.poison(X_TEST, Y_TEST))
    X_triggered, y_target, rows = poisoner.triggered_test(X_TEST, Y_TEST)
    same(alone.triggered(X_TEST, Y_TEST), (X_triggered, y_target))
    fitted = clone(poisoner.estimator_).fit(*alone.poison(X, Y)[:2])
    assert_array_equal(fitted.predict(X_TEST), poisoner.predict(X_TEST))


def test_one_random_state_is_drawn_from_once():
    """A RandomState gives other draws to each fit, and the same to attack and poisoner."""
    rng = np.random.RandomState(0)
    first, second = attack(random_state=rng).fit(X, Y), attack(random_state=rng).fit(X, Y)
    assert first.poisoned_indices_.tolist() != second.poisoned_indices_.tolist()
    shared = np.random.RandomState(0)
    for expected in (first, second):
        poisoner = BackdoorPoisoner(
            LogisticRegression(), FeatureTrigger({0: 9.0}), target="next", random_state=shared
        )
        assert_array_equal(poisoner.fit(X, Y).poisoned_indices_, expected.poisoned_indices_)


# ------------------------------------------------------------------- who is poisoned, and P_ts


def test_victims_do_not_depend_on_the_trigger():
    drawn = [attack(trigger).fit(X, Y) for trigger in (None, RANDOM, PerClassTrigger(RANDOM))]
    for other in drawn[1:]:
        assert_array_equal(other.poisoned_indices_, drawn[0].poisoned_indices_)


def test_triggered_are_source_classes_with_the_label_of_the_attacker():
    fitted = attack(target={0: 2}, source_classes=[0]).fit(X, Y)
    X_triggered, y_target = fitted.triggered(X_TEST, Y_TEST)
    expected = X_TEST[Y_TEST == 0].copy()
    expected[:, 0] = 9.0
    assert_array_equal(X_triggered, expected)
    assert_array_equal(y_target, 2)
    with pytest.raises(ValueError, match=r"no sample of a source class \[0\]"):
        fitted.triggered(X_TEST[Y_TEST == 1], Y_TEST[Y_TEST == 1])


def test_a_trigger_of_ones_own_that_depends_on_the_class():
    fitted = attack(OfItsClass(), poisoning_rate=0.3).fit(X, Y)
    X_poisoned, y_poisoned, is_poison = fitted.poison(X, Y)
    originals = Y[fitted.poisoned_indices_]
    assert len(set(originals.tolist())) == 3
    assert_array_equal(X_poisoned[is_poison, 0], 10.0 + originals)
    assert_array_equal(y_poisoned[is_poison], (originals + 1) % 3)
    X_triggered, y_target = fitted.triggered(X_TEST, Y_TEST)
    assert_array_equal(X_triggered[:, 0], 10.0 + Y_TEST)
    poisoner = BackdoorPoisoner(LogisticRegression(), OfItsClass(), target="next", random_state=0)
    assert np.isfinite(backdoor_learning_slope(poisoner, X, Y, X_TEST, Y_TEST).theta)
    assert 0 <= attack_success_rate_scorer(poisoner.fit(X, Y), X_TEST, Y_TEST) <= 1
    display = TriggerDisplay.from_estimator(OfItsClass().fit(X), X, Y, n_samples=3)
    assert_array_equal(display.triggered[:, 0, 0, 0], 10.0 + Y[:3])
    with pytest.raises(ValueError, match="OfItsClass puts another one.*the same for all classes"):
        attack(OfItsClass(), clean_label=True).fit(X, Y)


# ----------------------------------------------------------------------------- as an estimator


def test_clone_and_pickle():
    fitted = attack(RANDOM).fit(X, Y)
    same(clone(fitted).fit(X, Y).poison(X, Y), fitted.poison(X, Y))
    again = pickle.loads(pickle.dumps(fitted))
    for rows in ((X, Y), (X_TEST, Y_TEST)):
        same(again.poison(*rows), fitted.poison(*rows))


def test_input_is_not_written_to():
    given, labels = X.copy(), Y.copy()
    fitted = attack(placement="replace").fit(given, labels)
    fitted.poison(given, labels)
    fitted.triggered(given, labels)
    same((given, labels), (X, Y))


def test_containers():
    expected = attack().fit(X, Y).poison(X, Y)
    frame = pd.DataFrame(X, columns=list("abcdef"), index=range(7, 97))
    labels = pd.Series(Y, index=frame.index, name="label")
    for placement in ("append", "replace"):
        fitted = attack(placement=placement).fit(frame, labels)
        X_poisoned, y_poisoned, is_poison = fitted.poison(frame, labels)
        assert isinstance(X_poisoned, pd.DataFrame) and isinstance(y_poisoned, pd.Series)
        assert X_poisoned.index.equals(y_poisoned.index) and y_poisoned.name == "label"
        same(
            attack(placement=placement).fit(X, Y).poison(X, Y), (X_poisoned, y_poisoned, is_poison)
        )
        assert isinstance(fitted.triggered(frame, labels)[0], pd.DataFrame)
    thin = attack().fit(sparse.csc_array(X), Y).poison(sparse.csc_array(X), Y)
    assert sparse.issparse(thin[0])
    same((thin[0].toarray(), *thin[1:]), expected)
    texts = [f"w{i}" for i in range(40)]
    fitted = attack(TokenTrigger("cf", position="end"), target="spam")
    X_poisoned, y_poisoned, is_poison = fitted.fit(texts, ["spam", "ham"] * 20).poison(
        texts, ["spam", "ham"] * 20
    )
    assert isinstance(X_poisoned, list) and set(y_poisoned[is_poison]) == {"spam"}
    assert all(text.endswith(" cf") for text in np.array(X_poisoned)[is_poison])


@pytest.mark.parametrize(
    "parameters, labels, message",
    [
        ({"poisoning_rate": 0.0}, Y, "'poisoning_rate' parameter of Attack must be"),
        ({"placement": "front"}, Y, "'placement' parameter of Attack must be"),
        ({"target": 7}, Y, "target 7"),
        ({}, None, "requires y"),
        ({}, np.zeros(90), "at least two classes"),
        ({"victims": [0, 0]}, Y, "more than once"),
    ],
)
def test_errors(parameters, labels, message):
    with pytest.raises(ValueError, match=message):
        attack(**parameters).fit(X, labels)


def test_given_victims_are_of_the_training_data():
    fitted = attack(victims=[0, 1]).fit(X, Y)
    with pytest.raises(ValueError, match="victims are rows of the training data"):
        fitted.poison(X_TEST, Y_TEST)
