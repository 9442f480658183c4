"""Clean-label groups are found by being apart and spread; kinds that are natural are not taken."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackdoor import (
    Attack,
    BlendTrigger,
    LeaveGroupOutDetector,
    PoisonGroupDisplay,
    SanitizedClassifier,
    SinusoidTrigger,
)

TRIGGERS = {
    "blend": BlendTrigger(np.random.RandomState(7).rand(8, 8), alpha=0.4, image_shape=(8, 8)),
    "sine": SinusoidTrigger(image_shape=(8, 8), alpha=0.4, period=5),
}


def poisoned(trigger, rate=0.1):
    """Two digits, held-out rows, and an attack that touches rows of its own target only."""
    X, y = load_digits(return_X_y=True)
    some = np.isin(y, [1, 7])
    X, y = X[some] / 16, y[some]
    attack = Attack(
        TRIGGERS[trigger],
        target=7,
        clean_label=True,
        poisoning_rate=rate,
        placement="replace",
        random_state=0,
    ).fit(X[::2], y[::2])
    return attack, attack.poison(X[::2], y[::2]), (X[1::2], y[1::2])


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_clean_label_attack_is_found(trigger):
    _, (X, y, is_poison), (X_test, y_test) = poisoned(trigger)
    detector = LeaveGroupOutDetector().fit(X, y)
    assert np.mean(detector.is_poison_[is_poison]) >= 0.9
    assert not np.any(detector.is_poison_[~is_poison])
    (group,) = [group for group in detector.groups_ if group.verdict == "poison"]
    assert group.clean_label and np.all(group.content_labels == 7)
    shown = PoisonGroupDisplay(group, image_shape=(8, 8))._title()
    assert "rightly" in shown and "get another label" not in shown
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    shown = group.success(model, X_test, y_test)
    assert shown.attack_success_rate > shown.base_rate + 0.3
    assert shown.n_samples == np.sum(y_test == 1)


def test_rows_that_were_not_searched_are_told_by_membership_alone():
    attack, (X, y, _), (X_test, y_test) = poisoned("blend")
    detector = LeaveGroupOutDetector().fit(X, y)
    sevens = y_test == 7
    assert not np.any(detector.flag(X_test, y_test))
    triggered = attack.trigger_.transform(X_test[sevens])
    assert np.mean(detector.flag(triggered, y_test[sevens])) >= 0.9


@pytest.mark.parametrize("action", ["drop", "relabel"])
def test_a_model_of_what_is_left_does_not_obey(action):
    attack, (X, y, is_poison), (X_test, y_test) = poisoned("blend")
    model = make_pipeline(StandardScaler(), LogisticRegression())
    triggered, target = attack.triggered(X_test, y_test)
    success = [
        np.mean(fitted.predict(triggered) == target)
        for fitted in (
            SanitizedClassifier(model, LeaveGroupOutDetector(), action=action).fit(X, y),
            model.fit(X[~is_poison], y[~is_poison]),
        )
    ]
    assert np.mean(model.fit(X, y).predict(triggered) == target) > success[1] + 0.3
    assert success[0] <= success[1] + 0.05


def test_rows_that_stand_twice_are_no_attack():
    X, y = load_digits(return_X_y=True)
    X, y = np.repeat(X[:200] / 16, 2, axis=0), np.repeat(y[:200], 2)
    assert not LeaveGroupOutDetector().fit(X, y).is_poison_.any()


def test_what_most_rows_of_a_label_hold_is_no_attack():
    """Of three kinds of a class two are apart from the third, and spread over the label."""
    X, y = make_classification(
        2000,
        40,
        n_informative=15,
        n_redundant=0,
        n_classes=4,
        n_clusters_per_class=3,
        class_sep=2,
        flip_y=0,
        random_state=1,
    )
    detector = LeaveGroupOutDetector().fit(StandardScaler().fit_transform(X), y)
    assert not detector.is_poison_.any()
