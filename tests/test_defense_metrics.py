"""What a detector finds, and what a defence does: by hand."""

import dataclasses

import numpy as np
import pytest
from detectors import Disagreement, KnownValue, Told
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score

from skbackdoor import (
    Attack,
    BackdoorPoisoner,
    FeatureTrigger,
    SanitizedClassifier,
    evaluate_attack,
    evaluate_defense,
    evaluate_detection,
    make_backdoor_classification,
)

X, Y = make_backdoor_classification(200, 10, n_classes=3, class_sep=0.7, random_state=0)
TRAIN, TEST = (X[:120], Y[:120]), (X[120:], Y[120:])
TRIGGER = FeatureTrigger({9: 5.0})
LEARNER = LogisticRegression(C=10)
SANITIZED = SanitizedClassifier(LEARNER, KnownValue(9, 5.0))


def attack(**parameters):
    parameters = {"target": 1, "poisoning_rate": 0.2, "random_state": 0} | parameters
    return Attack(TRIGGER, **parameters)


def poisoner(estimator=LEARNER, **parameters):
    return BackdoorPoisoner(estimator, **attack(**parameters).get_params(deep=False))


@pytest.mark.parametrize("placement", ["append", "replace", "supplant"])
@pytest.mark.parametrize("as_poisoner", [False, True])
def test_detection_by_hand(placement, as_poisoner):
    given = attack(placement=placement)
    X_poisoned, y_poisoned, is_poison = clone(given).fit(*TRAIN).poison(*TRAIN)
    detector = Disagreement().fit(X_poisoned, y_poisoned)
    found, scores = detector.is_poison_, detector.scores_
    if as_poisoner:
        given = poisoner(placement=placement).set_params(poison_weight=0.0)  # has no part
    evaluation = evaluate_detection(Disagreement(), given, *TRAIN)
    n_poison = is_poison.sum()
    assert evaluation.true_positive_rate == np.sum(found & is_poison) / n_poison
    assert evaluation.false_positive_rate == np.sum(found & ~is_poison) / np.sum(~is_poison)
    pairs = scores[is_poison][:, None] - scores[~is_poison]
    assert evaluation.auroc == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
    assert evaluation.auroc == roc_auc_score(is_poison, scores)
    assert all(type(value) is float for value in dataclasses.asdict(evaluation).values())
    assert not hasattr(given, "trigger_")


def test_detection_by_one_that_knows():
    evaluation = evaluate_detection(KnownValue(9, 5.0), attack(), *TRAIN)
    assert dataclasses.astuple(evaluation) == (1.0, 0.0, 1.0)
    rows = np.arange(144) < 12  # a tenth of the clean rows, and no poison, which comes last
    evaluation = evaluate_detection(Told(rows), attack(), *TRAIN)
    assert evaluation.true_positive_rate == 0.0
    assert evaluation.false_positive_rate == pytest.approx(0.1)
    assert evaluation.auroc == pytest.approx(0.45)


def test_defense_by_hand():
    X_poisoned, y_poisoned, is_poison = attack().fit(*TRAIN).poison(*TRAIN)
    X_triggered, y_target = attack().fit(*TRAIN).triggered(*TEST)
    bare = clone(LEARNER).fit(X_poisoned, y_poisoned)
    clean = clone(LEARNER).fit(*TRAIN)  # "append": the detector leaves just these
    evaluation = evaluate_defense(LEARNER, SANITIZED, attack(), *TRAIN, *TEST)
    assert evaluation.accuracy_before == bare.score(*TEST)
    assert evaluation.accuracy_after == clean.score(*TEST)
    assert evaluation.attack_success_before == np.mean(bare.predict(X_triggered) == y_target)
    assert evaluation.attack_success_after == np.mean(clean.predict(X_triggered) == y_target)
    assert evaluation.base_rate == evaluation.attack_success_after
    assert evaluation.attack_success_before > evaluation.attack_success_after + 0.3
    assert all(type(value) is float for value in dataclasses.asdict(evaluation).values())
    of_poisoner = evaluate_defense(
        LEARNER, SANITIZED, poisoner(Ridge()).set_params(poison_weight=0.0), *TRAIN, *TEST
    )
    assert dataclasses.astuple(of_poisoner) == dataclasses.astuple(evaluation)


def test_accuracy_after_counts_all_test_rows():
    """Not those only that the detector keeps: the test data are clean."""
    defended = SanitizedClassifier(LEARNER, Disagreement())
    evaluation = evaluate_defense(LEARNER, defended, attack(), *TRAIN, *TEST)
    X_poisoned, y_poisoned, _ = attack().fit(*TRAIN).poison(*TRAIN)
    model = clone(defended).fit(X_poisoned, y_poisoned)
    assert evaluation.accuracy_after == np.mean(model.predict(TEST[0]) == TEST[1])


def test_before_is_evaluate_attack_also_for_learners_and_attacks_without_a_seed():
    forest = RandomForestClassifier(n_estimators=5)
    expected = evaluate_attack(poisoner(forest), *TRAIN, *TEST)
    defended = SanitizedClassifier(forest, KnownValue(9, 5.0))
    evaluations = [evaluate_defense(forest, defended, attack(), *TRAIN, *TEST) for _ in range(2)]
    assert evaluations[0].attack_success_before == expected.attack_success_rate
    assert evaluations[0].accuracy_before == expected.poisoned_accuracy
    assert evaluations[0].base_rate == expected.base_rate
    assert dataclasses.astuple(evaluations[0]) == dataclasses.astuple(evaluations[1])
    for random_state in (None, np.random.RandomState(0)):  # one attack for both all the same
        given = attack(random_state=random_state)
        found = evaluate_defense(LEARNER, LEARNER, given, *TRAIN, *TEST)
        assert found.attack_success_before == found.attack_success_after
        assert found.accuracy_before == found.accuracy_after
    assert given.random_state.randint(1000) == np.random.RandomState(0).randint(1000)


def test_errors():
    with pytest.raises(TypeError, match="got FeatureTrigger for attack"):
        evaluate_detection(Disagreement(), TRIGGER, *TRAIN)
    with pytest.raises(TypeError, match="got LogisticRegression for attack"):
        evaluate_defense(SANITIZED, attack(), LEARNER, *TRAIN, *TEST)
    with pytest.raises(TypeError, match="got a BackdoorPoisoner for a classifier"):
        evaluate_defense(poisoner(), SANITIZED, attack(), *TRAIN, *TEST)
    with pytest.raises(TypeError, match="got a BackdoorPoisoner for a classifier"):
        evaluate_defense(LEARNER, poisoner(SANITIZED), attack(), *TRAIN, *TEST)
    with pytest.raises(ValueError, match="regressor"):
        evaluate_defense(Ridge(), SANITIZED, attack(), *TRAIN, *TEST)
    everything = attack(target="next", poisoning_rate=1.0, placement="replace")
    with pytest.raises(ValueError, match="All 120 rows are poisoned"):
        evaluate_detection(Disagreement(), everything, *TRAIN)
    with pytest.raises(ValueError, match="no sample of a source class"):
        only = attack(source_classes=[0])
        rows = TEST[1] != 0
        evaluate_defense(LEARNER, SANITIZED, only, *TRAIN, TEST[0][rows], TEST[1][rows])


def test_a_trigger_that_does_nothing_is_warned_of():
    nothing = Attack(FeatureTrigger({9: 0.0}), target="next", random_state=0)
    zero = X.copy()
    zero[:, 9] = 0.0
    with pytest.warns(UserWarning, match="changes none of the test samples"):
        evaluate_defense(LEARNER, SANITIZED, nothing, zero[:120], Y[:120], zero[120:], Y[120:])
