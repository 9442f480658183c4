"""Parameters and data that a poisoner refuses."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from poisoners import TRIGGER, X2, X3, Y2, Y3, attack
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from skbackdoor import FeatureTrigger, PatchTrigger

BAD = {
    "target no label": ({"target": 9}, "9.*not among"),
    "target of another type": ({"target": "a"}, "'a'.*not among"),
    "target None": ({"target": None}, "not among"),
    "target unhashable": ({"target": [0]}, "not among"),
    "mapping from no label": ({"target": {9: 0}}, "9.*not among"),
    "mapping to no label": ({"target": {0: 9}}, "9.*not among"),
    "mapping to itself": ({"target": {1: 1}}, "1.*itself"),
    "empty mapping": ({"target": {}}, "no class to"),
    "source is the target": ({"target": 1, "source_classes": [1, 2]}, "1.*own target"),
    "source no label": ({"source_classes": [9]}, "9.*not among"),
    "source outside the mapping": ({"target": {0: 1}, "source_classes": [2]}, "2"),
    "no source": ({"source_classes": []}, "no class to"),
    "rate 0": ({"poisoning_rate": 0}, "poisoning_rate"),
    "rate negative": ({"poisoning_rate": -0.1}, "poisoning_rate"),
    "rate above 1": ({"poisoning_rate": 1.1}, "poisoning_rate"),
    "rate nan": ({"poisoning_rate": float("nan")}, "poisoning_rate"),
    "m is 0": ({"poisoning_rate": 0.01}, "no poisoned sample"),
    "more than source rows": (
        {"poisoning_rate": 0.5, "source_classes": [0]}, "asks for 30.*only 20",
    ),
    "weight below 0": ({"poison_weight": -0.1}, "poison_weight"),
    "weight above 1": ({"poison_weight": 1.01}, "poison_weight"),
    "weight nan": ({"poison_weight": float("nan")}, "poison_weight"),
    "placement unknown": ({"placement": "prepend"}, "placement"),
    "trigger is none": ({"trigger": "patch"}, "trigger"),
    "estimator is none": ({"estimator": "svc"}, "estimator"),
    "random_state": ({"random_state": "zero"}, "random_state"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_parameters(name):
    parameters, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        attack(**parameters).fit(X3, Y3)


def test_next_as_a_label_is_ambiguous():
    with pytest.raises(ValueError, match="ambiguous"):
        attack().fit(X2, np.where(Y2 == 0, "next", "last"))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity(bad):
    X = X3.copy()
    X[3, 4] = bad
    for trigger in (TRIGGER, PatchTrigger(size=2, image_shape=(2, 4))):
        with pytest.raises(ValueError, match="NaN|infinity"):
            attack(LogisticRegression(), trigger).fit(X, Y3)
    with pytest.raises(ValueError, match="NaN|infinity"):
        attack().fit(X3, np.where(np.arange(60) == 3, bad, Y3.astype(float)))
    with pytest.raises(ValueError, match="NaN|infinity"):
        attack().fit(X3, Y3, np.where(np.arange(60) == 3, bad, 1.0))


def test_nan_that_learner_and_trigger_take():
    X = X3.copy()
    X[::7, 4] = np.nan
    poisoner = attack(HistGradientBoostingClassifier(max_iter=3), poison_weight=0.5).fit(X, Y3)
    assert poisoner.predict(X).shape == (60,)
    rows = poisoner.poisoned_indices_
    assert_array_equal(poisoner.poison(X, Y3)[0][60:, 4], X[rows, 4])


def test_bad_data():
    with pytest.raises(ValueError, match="class"):
        attack().fit(X3, np.zeros(60))
    with pytest.raises(ValueError, match="inconsistent"):
        attack().fit(X3, Y3[:-1])
    with pytest.raises(ValueError, match="sample_weight"):
        attack().fit(X3, Y3, np.ones(59))
    with pytest.raises(ValueError, match="[Uu]nknown label type|continuous"):
        attack().fit(X3, np.linspace(0, 1, 60))
    with pytest.raises(ValueError, match="y"):
        attack().fit(X3, None)
    words = np.array([["a", "b"]] * 60)
    with pytest.raises(ValueError, match="string|strings"):
        attack(LogisticRegression(), PatchTrigger(size=1)).fit(words, Y3)
    with pytest.raises(ValueError, match="hold|string"):
        attack(LogisticRegression(), FeatureTrigger({0: 1.0})).fit(words, Y3)


def test_unfitted():
    poisoner = attack(LogisticRegression())
    for call in (
        lambda: poisoner.predict(X3),
        lambda: poisoner.predict_proba(X3),
        lambda: poisoner.decision_function(X3),
        lambda: poisoner.score(X3, Y3),
        lambda: poisoner.poison(X3, Y3),
    ):
        with pytest.raises(NotFittedError):
            call()


def test_labels_that_training_did_not_have():
    poisoner = attack().fit(X3, Y3)
    with pytest.raises(ValueError, match="7"):
        poisoner.poison(X3, np.where(Y3 == 0, 7, Y3))
