"""Victims, trigger and base learner draw from streams of their own."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from poisoners import PATCH, TRIGGER, X3, Y3, attack
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skbackdoor import PatchTrigger, PerClassTrigger


def test_random_state():
    a, b, c = (attack(random_state=seed).fit(X3, Y3) for seed in (1, 1, 2))
    assert_array_equal(a.poisoned_indices_, b.poisoned_indices_)
    assert not np.array_equal(a.poisoned_indices_, c.poisoned_indices_)
    drawn = [attack(random_state=None).fit(X3, Y3).poisoned_indices_.tolist() for _ in range(5)]
    assert len({tuple(rows) for rows in drawn}) > 1
    state = np.random.RandomState(3)
    first, second = (attack(random_state=state).fit(X3, Y3).poisoned_indices_ for _ in range(2))
    assert not np.array_equal(first, second)


def test_victims_do_not_depend_on_poison_weight():
    indices = [
        attack(LogisticRegression(), poison_weight=beta).fit(X3, Y3).poisoned_indices_
        for beta in (0.0, 0.5, 1.0)
    ]
    assert_array_equal(indices[0], indices[1])
    assert_array_equal(indices[0], indices[2])


def test_seeds_go_to_trigger_and_learner_only_where_they_have_none():
    patch = PatchTrigger(size=2, value="random", image_shape=(2, 4))
    for trigger in (patch, PerClassTrigger(patch)):
        name = "random_state" if trigger is patch else "trigger__random_state"
        poisoner = attack(SGDClassifier(), trigger).fit(X3, Y3)
        assert isinstance(poisoner.trigger_.get_params()[name], int)
        assert isinstance(poisoner.estimator_.random_state, int)
        assert trigger.get_params()[name] is None
        own = clone(trigger).set_params(**{name: 11})
        keeps = attack(SGDClassifier(random_state=12), own).fit(X3, Y3)
        assert keeps.trigger_.get_params()[name] == 11
        assert keeps.estimator_.random_state == 12
        other = attack(SGDClassifier(random_state=12), own, random_state=9).fit(X3, Y3)
        shown = [
            p.trigger_.transform(X3, Y3) if trigger is not patch else p.trigger_.transform(X3)
            for p in (keeps, other)
        ]
        assert_array_equal(*shown)
    nested = attack(make_pipeline(StandardScaler(), SGDClassifier())).fit(X3, Y3)
    assert isinstance(nested.estimator_[-1].random_state, int)


STREAMS = {  # triggers and learners that draw more or less
    "none drawn": (TRIGGER, LogisticRegression()),
    "drawn by the trigger": (PatchTrigger(1, value="random", **PATCH), GaussianNB()),
    "drawn twice": (PatchTrigger(1, value="random", position="random", **PATCH), SVC()),
    "a seed of its own": (PatchTrigger(1, value="random", random_state=3, **PATCH), SVC()),
    "per class": (PerClassTrigger(PatchTrigger(1, value="random", **PATCH)), LinearSVC()),
    "drawn by the learner": (TRIGGER, RandomForestClassifier(3)),
    "by both": (PatchTrigger(1, value="random", **PATCH), RandomForestClassifier(3)),
}


@pytest.mark.parametrize("placement", ["append", "supplant"])
@pytest.mark.parametrize("seeds", [int, np.random.RandomState])
def test_victims_are_those_of_any_other_trigger_and_learner(seeds, placement):
    other = X3[::-1][:50], Y3[::-1][:50]
    found, drawn = [], []
    for trigger, learner in STREAMS.values():
        poisoner = attack(learner, trigger, placement=placement, random_state=seeds(7)).fit(X3, Y3)
        found.append((poisoner.poisoned_indices_, poisoner.replaced_indices_))
        drawn.append(poisoner.poison(*other)[2])
        assert_array_equal(poisoner.poison(X3, Y3)[2].sum(), len(found[0][0]))
    for victims, is_poison in zip(found[1:], drawn[1:], strict=True):
        assert_array_equal(victims[0], found[0][0])
        assert_array_equal(victims[1], found[0][1])
        assert_array_equal(is_poison, drawn[0])


def test_the_trigger_is_that_of_any_other_learner():
    patch = PatchTrigger(1, value="random", **PATCH)
    shown = [
        attack(learner, patch, **parameters).fit(X3, Y3).trigger_.pattern_
        for learner in (SVC(), RandomForestClassifier(3), LogisticRegression())
        for parameters in ({}, {"poisoning_rate": 0.3}, {"victims": "stratified"})
    ]
    assert len({float(pattern.ravel()[0]) for pattern in shown}) == 1
    forests = [
        attack(RandomForestClassifier(3), trigger).fit(X3, Y3).estimator_.random_state
        for trigger in (TRIGGER, patch)
    ]
    assert forests[0] == forests[1]


def test_a_random_state_that_goes_on_draws_anew_and_alike():
    drawn = {}
    for name, learner in (("svc", SVC()), ("forest", RandomForestClassifier(2))):
        rng = np.random.RandomState(0)
        poisoner = attack(learner, random_state=rng)
        drawn[name] = [poisoner.fit(X3, Y3).poisoned_indices_ for _ in range(3)]
        assert not np.array_equal(drawn[name][0], drawn[name][1])
    for first, second in zip(drawn["svc"], drawn["forest"], strict=True):
        assert_array_equal(first, second)
    np.random.seed(3)
    first = attack(random_state=None).fit(X3, Y3).poisoned_indices_
    np.random.seed(3)
    second = attack(RandomForestClassifier(2), random_state=None).fit(X3, Y3).poisoned_indices_
    assert_array_equal(first, second)
