"""Results: importable, compared and hashed without raising; one slope for every h of a list."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB

import skbackdoor
from skbackdoor import (
    BackdoorPoisoner,
    CleanRetraining,
    FeatureTrigger,
    attack_split,
    backdoor_learning_curve,
    backdoor_learning_slope,
    evaluate_attack,
    input_gradient,
    make_backdoor_classification,
    parameter_deviation,
    slope_grid,
)

X, Y = make_backdoor_classification(120, 5, n_classes=2, random_state=0)
DATA = X[:80], Y[:80], X[80:], Y[80:]


def attack(learner):
    return BackdoorPoisoner(learner, FeatureTrigger({0: 9.0}), target="next", random_state=0)


RIDGE = attack(RidgeClassifier())
RESULTS = {
    "BackdoorSlope": lambda: backdoor_learning_slope(RIDGE, *DATA),
    "BackdoorCurve": lambda: backdoor_learning_curve(RIDGE, *DATA),
    "ParameterDeviation": lambda: parameter_deviation(RIDGE, *DATA[:2]),
    "AttackEvaluation": lambda: evaluate_attack(RIDGE, *DATA),
    "AttackSplit": lambda: attack_split(X, Y, target=1, random_state=0),
    "SlopeGrid": lambda: slope_grid(RIDGE, {"estimator__alpha": [1.0, 2.0]}, *DATA),
    "InputGradient": lambda: input_gradient(RidgeClassifier().fit(X, Y), X[:3], 1),
    "RetrainingReport": lambda: CleanRetraining(
        attack(SGDClassifier(random_state=0)).fit(*DATA[:2])
    ).fit(X, Y).report(X, Y),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_results_compare_and_hash(name):
    first, second = RESULTS[name](), RESULTS[name]()
    assert type(first) is getattr(skbackdoor, name)
    assert first == first and isinstance(first == second, bool)
    assert len({first, first}) == 1 and first in [second, first]


@pytest.mark.parametrize("learner", [RidgeClassifier(), GaussianNB()], ids=str)
@pytest.mark.parametrize("h", [[0.1], [0.1, 0.2, 0.5], (0.1, 0.2), np.array([0.1, 0.2])], ids=str)
def test_a_list_of_h_gives_a_list(learner, h):
    slopes = backdoor_learning_slope(attack(learner), *DATA, h=h)
    assert isinstance(slopes, list) and len(slopes) == len(h)
    for slope, step in zip(slopes, h):
        assert slope == backdoor_learning_slope(attack(learner), *DATA, h=step)
    assert not isinstance(backdoor_learning_slope(attack(learner), *DATA, h=0.1), list)


def test_an_implicit_slope_that_is_asked_for_takes_no_h():
    with pytest.raises(ValueError, match="method='implicit' takes none"):
        backdoor_learning_slope(RIDGE, *DATA, method="implicit", h=[0.1])
