"""Attack success, base rate, accuracy drop: by hand."""

import dataclasses
import pickle
import warnings

import numpy as np
import pytest
from attacks import poisoned
from detectors import KnownValue
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    SanitizedClassifier,
    attack_success_rate,
    attack_success_rate_scorer,
    backdoor_learning_curve,
    backdoor_learning_slope,
    clean_accuracy_drop,
    evaluate_attack,
    kept_accuracy_scorer,
    make_backdoor_classification,
)

X, Y = make_backdoor_classification(150, 10, n_classes=3, class_sep=0.7, random_state=0)
TRAIN, TEST = (X[:90], Y[:90]), (X[90:], Y[90:])
TRIGGER = FeatureTrigger({9: 1.0})


def attack(estimator=None, **parameters):
    estimator = LogisticRegression() if estimator is None else estimator
    parameters = {"target": "next", "random_state": 0, "poisoning_rate": 0.2} | parameters
    return BackdoorPoisoner(estimator, TRIGGER, **parameters)


RATES = {
    # name: (y_true, y_pred_triggered, keywords, rate)
    "all to one": ([0, 0, 0, 1], [1, 1, 0, 1], {"target": 1}, 2 / 3),
    "target rows do not count": ([0, 1, 1, 1, 1], [0, 1, 1, 1, 1], {"target": 1}, 0.0),
    "next": ([0, 1, 2, 2], [1, 2, 0, 2], {"target": "next"}, 3 / 4),
    "next with gaps": ([1, 4, 9, 9], [4, 4, 1, 1], {"target": "next"}, 3 / 4),
    "next with labels": ([0, 2, 2], [1, 1, 0], {"target": "next", "labels": [0, 1, 2]}, 2 / 3),
    "labels in any order": ([0, 2, 2], [1, 1, 0], {"target": "next", "labels": [2, 0, 1]}, 2 / 3),
    "mapping": ([0, 1, 2, 2], [1, 1, 2, 0], {"target": {0: 1, 2: 0}}, 2 / 3),
    "mapping chain": ([0, 1, 1, 2], [1, 2, 1, 0], {"target": {0: 1, 1: 2}}, 2 / 3),
    "one to one": ([0, 1, 2], [2, 0, 2], {"target": 2, "source_classes": [0]}, 1.0),
    "many to one": ([0, 1, 2, 1], [2, 0, 2, 2], {"target": 2, "source_classes": [0, 1]}, 2 / 3),
    "next of one source": (
        [0, 1, 2], [1, 1, 1], {"target": "next", "source_classes": [2]}, 0.0,
    ),
    "strings": (["a", "b", "c"], ["b", "b", "a"], {"target": "b"}, 1 / 2),
    "strings next": (["b", "a", "c"], ["c", "b", "c"], {"target": "next"}, 2 / 3),
    "bools": ([True, False, False], [True, True, False], {"target": True}, 1 / 2),
    "weights": (
        [0, 0, 0, 1], [1, 1, 0, 1], {"target": 1, "sample_weight": [1, 2, 5, 100]}, 3 / 8,
    ),
    "other wrong labels are no success": ([0, 0, 1], [2, 2, 2], {"target": "next"}, 0.0),
    "absent target class": ([0, 0], [7, 0], {"target": 7}, 1 / 2),
    "absent longer string": (["cat", "cat"], ["zebra", "cat"], {"target": "zebra"}, 1 / 2),
}  # fmt: skip


@pytest.mark.parametrize("name", RATES)
def test_attack_success_rate(name):
    y_true, y_pred, keywords, rate = RATES[name]
    found = attack_success_rate(y_true, y_pred, **keywords)
    assert isinstance(found, float)
    assert found == pytest.approx(rate, abs=1e-15)
    found = attack_success_rate(np.array(y_true), np.array(y_pred), **keywords)
    assert found == pytest.approx(rate, abs=1e-15)


@pytest.mark.parametrize(
    ("y_true", "keywords", "message"),
    [
        ([1, 1], {"target": 1}, "source"),
        ([0, 1], {"target": 1, "source_classes": [1]}, "own target"),
        ([0, 1], {"target": "a"}, "'a'.*not among"),
        ([0, 1], {"target": {0: 5}}, "5.*not among"),
        ([0, 1], {"target": 1, "source_classes": [8]}, "8.*not among"),
        ([0, 1, 3], {"target": 1, "labels": [0, 1]}, "3"),
        ([0, 1], {"target": 3, "labels": [0, 1]}, "3.*not among"),
        ([0, 1], {"target": 1, "sample_weight": [1.0]}, "inconsistent|sample_weight"),
    ],
)
def test_bad_attack_success_rate(y_true, keywords, message):
    with pytest.raises(ValueError, match=message):
        attack_success_rate(y_true, [1] * len(y_true), **keywords)
    with pytest.raises(ValueError, match="inconsistent"):
        attack_success_rate([0, 1], [1], target=1)


def test_clean_accuracy_drop():
    y, clean, poisoned = [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 0, 1, 0]
    assert clean_accuracy_drop(y, clean, poisoned) == pytest.approx(4 / 5 - 2 / 5)
    assert clean_accuracy_drop(y, poisoned, clean) == pytest.approx(-2 / 5)
    weighted = clean_accuracy_drop(y, clean, poisoned, sample_weight=[1, 3, 0, 0, 0])
    assert weighted == pytest.approx(1 - 1 / 4)
    assert clean_accuracy_drop(["a", "b"], ["a", "b"], ["b", "a"]) == 1.0


@pytest.mark.parametrize("target", ["next", 2, {0: 2, 1: 0}], ids=["next", "label", "mapping"])
@pytest.mark.parametrize("weighted", [False, True])
def test_scorer_is_the_function_on_triggered_data(target, weighted):
    poisoner = attack(target=target).fit(*TRAIN)
    X_test, y_test = TEST
    triggered = X_test.copy()
    triggered[:, 9] = 1.0
    weight = np.linspace(0.1, 2, len(y_test)) if weighted else None
    expected = attack_success_rate(
        y_test, poisoner.predict(triggered), target=target, labels=[0, 1, 2], sample_weight=weight
    )
    found = attack_success_rate_scorer(poisoner, X_test, y_test, sample_weight=weight)
    assert isinstance(found, float)
    assert found == pytest.approx(expected, abs=1e-15)
    assert 0 < found  # the attack has some success, so that this test says something


def test_scorer_in_scikit_learn():
    scorer = pickle.loads(pickle.dumps(attack_success_rate_scorer))
    assert scorer.__name__ == "attack_success_rate_scorer"
    clone(scorer)
    scores = cross_validate(attack(), *TRAIN, scoring={"asr": scorer, "acc": "accuracy"}, cv=3,
                            n_jobs=2, error_score="raise")  # fmt: skip
    assert np.isfinite(scores["test_asr"]).all()
    search = GridSearchCV(attack(), {"poison_weight": [0.1, 1.0]}, scoring=scorer, cv=3)
    search.fit(*TRAIN)
    assert search.best_params_ == {"poison_weight": 1.0}
    assert search.score(*TEST) == scorer(search.best_estimator_, *TEST)


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_evaluate_attack_by_hand(placement, beta):
    poisoner = attack(SVC(C=3), placement=placement, poison_weight=beta)
    row = evaluate_attack(poisoner, *TRAIN, *TEST)
    assert not hasattr(poisoner, "estimator_")
    clean, poisoned = SVC(C=3).fit(*TRAIN), clone(poisoner).fit(*TRAIN)
    X_test, y_test = TEST
    triggered = X_test.copy()
    triggered[:, 9] = 1.0
    wanted = (y_test + 1) % 3
    accuracy = accuracy_score(y_test, clean.predict(X_test))
    assert row.clean_accuracy == pytest.approx(accuracy)
    assert row.poisoned_accuracy == pytest.approx(poisoned.score(X_test, y_test))
    assert row.clean_accuracy_drop == pytest.approx(accuracy - poisoned.score(X_test, y_test))
    assert row.attack_success_rate == pytest.approx(np.mean(poisoned.predict(triggered) == wanted))
    assert row.base_rate == pytest.approx(np.mean(clean.predict(triggered) == wanted))
    assert row.attack_success_rate > row.base_rate
    assert set(dataclasses.asdict(row)) == {
        "clean_accuracy", "poisoned_accuracy", "clean_accuracy_drop", "attack_success_rate",
        "base_rate",
    }  # fmt: skip
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.base_rate = 0.0


def test_evaluate_attack_takes_lists_and_strings():
    names = np.array(["b", "a", "c"])
    row = evaluate_attack(attack(RidgeClassifier(), target="a"),
                          TRAIN[0].tolist(), names[TRAIN[1]].tolist(),
                          TEST[0].tolist(), names[TEST[1]].tolist())  # fmt: skip
    same = evaluate_attack(attack(RidgeClassifier(), target=1), *TRAIN, *TEST)
    assert row.attack_success_rate == same.attack_success_rate
    assert row.base_rate == same.base_rate


def test_no_source_sample_is_an_error():
    poisoner = attack(target=1)
    X_test, y_test = TEST[0][TEST[1] == 1], TEST[1][TEST[1] == 1]
    with pytest.raises(ValueError, match="no sample of a source class"):
        attack_success_rate_scorer(poisoner.fit(*TRAIN), X_test, y_test)
    with pytest.raises(ValueError, match="no sample of a source class"):
        evaluate_attack(attack(target=1), *TRAIN, X_test, y_test)


def test_who_is_no_poisoner_is_told_what_to_do():
    with pytest.raises(TypeError, match=r"LogisticRegression.*BackdoorPoisoner\("):
        attack_success_rate_scorer(LogisticRegression().fit(*TRAIN), *TEST)
    with pytest.raises(TypeError, match=r"BackdoorPoisoner\(make_pipeline"):
        attack_success_rate_scorer(make_pipeline(StandardScaler(), attack()).fit(*TRAIN), *TEST)
    with pytest.raises(ValueError, match="Ridge.*regressor"):
        attack_success_rate_scorer(attack(Ridge()).fit(*TRAIN), *TEST)
    with pytest.raises(ValueError, match="Ridge.*regressor"):
        evaluate_attack(attack(Ridge()), *TRAIN, *TEST)
    with pytest.raises(TypeError, match=r"BackdoorPoisoner\("):
        evaluate_attack(LogisticRegression(), *TRAIN, *TEST)
    with pytest.raises(NotFittedError):
        attack_success_rate_scorer(attack(), *TEST)


def test_inputs_stay():
    X_test, y_test = TEST[0].copy(), TEST[1].copy()
    X_test.flags.writeable = y_test.flags.writeable = False
    poisoner = attack().fit(*TRAIN)
    attack_success_rate_scorer(poisoner, X_test, y_test)
    evaluate_attack(poisoner, *TRAIN, X_test, y_test)
    assert_array_equal(X_test, TEST[0])


# ----------------------------------------------------------------------- nothing was poisoned


def test_success_of_what_was_not_poisoned_is_refused():
    clean = attack(poison_weight=0.0).fit(*TRAIN)
    words = r"clone\(poisoner\)\.set_params\(poison_weight=1\.0\)"
    with pytest.raises(ValueError, match=words + r"\.fit\(X_train, y_train\)"):
        attack_success_rate_scorer(clean, *TEST)
    with pytest.raises(ValueError, match=r"evaluate_attack\(" + words):
        evaluate_attack(clean, *TRAIN, *TEST)
    as_told = evaluate_attack(clone(clean).set_params(poison_weight=1.0), *TRAIN, *TEST)
    assert as_told == evaluate_attack(attack(), *TRAIN, *TEST)
    poisoned = clone(clean).set_params(poison_weight=1.0).fit(*TRAIN)
    assert attack_success_rate_scorer(poisoned, *TEST) == as_told.attack_success_rate
    # what counts is what fit saw
    assert attack_success_rate_scorer(poisoned.set_params(poison_weight=0.0), *TEST) > 0
    with pytest.raises(ValueError, match="fitted with poison_weight=0"):
        attack_success_rate_scorer(clean.set_params(poison_weight=1.0), *TEST)


OTHERS = {
    "classifier": (KNeighborsClassifier(), r"BackdoorPoisoner\(KNeighborsClassifier"),
    "pipeline": (make_pipeline(StandardScaler(), SVC()), r"BackdoorPoisoner\(make_pipeline"),
    "around": (make_pipeline(StandardScaler(), attack()), "inside out"),
    "search": (GridSearchCV(attack(), {"target": [0, 1]}), "best_estimator_"),
    "search of others": (GridSearchCV(SVC(), {"C": [1]}), r"GridSearchCV\(BackdoorPoisoner\(SVC"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_functions_tell_what_is_no_poisoner_what_to_do(name):
    estimator, words = OTHERS[name]
    for function in (evaluate_attack, backdoor_learning_slope, backdoor_learning_curve):
        with pytest.raises(TypeError, match=f"{function.__name__} got.*{words}") as caught:
            function(estimator, *TRAIN, *TEST)
        assert "poison_weight=0" not in str(caught.value)  # that is for scorers of the slope


def test_no_sample_and_no_prediction_of_the_target():
    with pytest.raises(ValueError, match="y_true is empty"):
        attack_success_rate([], [], target=1)
    with pytest.raises(ValueError, match=r"target 7 is not among.*labels=model.classes_"):
        attack_success_rate([0, 0], [0, 0], target=7)
    with pytest.raises(ValueError, match=r"target 7 is not among.*labels=model.classes_"):
        attack_success_rate([0, 1], [0, 1], target={0: 1, 1: 7})
    assert attack_success_rate([0, 0], [0, 0], target=7, labels=[0, 7]) == 0.0


class Same(TransformerMixin, BaseEstimator):
    """A trigger that does nothing."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X.copy()


@pytest.mark.parametrize("learner", [SVC(), make_pipeline(StandardScaler(), SVC())])
def test_success_of_a_trigger_that_is_not_seen_comes_with_a_warning(learner):
    poisoner = BackdoorPoisoner(learner, Same(), target="next", random_state=0)
    with pytest.warns(UserWarning, match=r"The trigger Same\(\).*nothing about the trigger"):
        evaluate_attack(poisoner, *TRAIN, *TEST)
    poisoner.fit(*TRAIN)
    with pytest.warns(UserWarning, match=r"The trigger Same\(\).*nothing about the trigger"):
        attack_success_rate_scorer(poisoner, *TEST)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate_attack(attack(learner), *TRAIN, *TEST)


def test_next_of_one_label_asks_for_the_others():
    with pytest.raises(ValueError, match="labels=model.classes_"):
        attack_success_rate([0, 0], [1, 0], target="next")
    assert attack_success_rate([0, 0], [1, 0], target="next", labels=[0, 1]) == 0.5


# --------------------------------------------------------------- accuracy on what a detector keeps

SANITIZED = SanitizedClassifier(LogisticRegression(), KnownValue(9, 1.0))
HOLDERS = {
    "alone": SANITIZED,
    "pipeline": make_pipeline(StandardScaler(with_std=False, with_mean=False), SANITIZED),
    "poisoner": attack(SANITIZED, poison_weight=0.0),
    "poisoner of a pipeline": attack(make_pipeline("passthrough", SANITIZED), poison_weight=0.0),
    "search": GridSearchCV(SANITIZED, {"estimator__C": [1.0]}, cv=2),
    "poisoner of a search": attack(
        GridSearchCV(SANITIZED, {"estimator__C": [1.0]}, cv=2), poison_weight=0.0
    ),
}


@pytest.mark.parametrize("name", HOLDERS)
@pytest.mark.parametrize("weighted", [False, True])
def test_kept_accuracy_is_that_of_the_rows_that_are_not_flagged(name, weighted):
    X_given, y_given, is_poison = poisoned(attack(), *TRAIN)
    X_test, y_test, _ = poisoned(attack(), *TEST)
    holder = clone(HOLDERS[name]).fit(X_given, y_given)
    model = clone(SANITIZED).fit(X_given, y_given)
    kept = ~model.detector_.flag(X_test, y_test)
    assert 0 < (~kept).sum() < len(kept)
    weight = np.linspace(0.1, 2, len(kept)) if weighted else None
    expected = accuracy_score(
        y_test[kept],
        model.predict(X_test[kept]),
        sample_weight=weight[kept] if weighted else None,
    )
    found = kept_accuracy_scorer(holder, X_test, y_test, sample_weight=weight)
    assert isinstance(found, float)
    assert found == pytest.approx(expected, abs=1e-15)


def test_kept_accuracy_in_scikit_learn():
    scorer = pickle.loads(pickle.dumps(kept_accuracy_scorer))
    assert scorer.__name__ == "kept_accuracy_scorer"
    clone(scorer)
    weight = np.linspace(0.1, 2, len(TRAIN[1]))
    scores = cross_validate(
        SANITIZED, *TRAIN, scoring={"kept": scorer, "all": "accuracy"}, cv=3, n_jobs=2,
        error_score="raise", params={"sample_weight": weight},
    )  # fmt: skip
    assert np.isfinite(scores["test_kept"]).all()
    with config_context(enable_metadata_routing=True):
        scorer.set_score_request(sample_weight=True)
        model = clone(SANITIZED).set_fit_request(sample_weight=True)
        scores = cross_validate(model, *TRAIN, scoring=scorer, cv=3, error_score="raise",
                                params={"sample_weight": weight})  # fmt: skip
    assert np.isfinite(scores["test_score"]).all()


def test_kept_accuracy_needs_a_detector():
    with pytest.raises(TypeError, match=r"got SVC, which has no .*SanitizedClassifier\(SVC\("):
        kept_accuracy_scorer(SVC().fit(*TRAIN), *TEST)
    with pytest.raises(TypeError, match="got LogisticRegression inside BackdoorPoisoner"):
        kept_accuracy_scorer(attack().fit(*TRAIN), *TEST)
    for holder in HOLDERS.values():
        with pytest.raises(NotFittedError):
            kept_accuracy_scorer(clone(holder), *TEST)
