"""A classifier behind a detector, under attack: its slope, its curve, its weights, the search."""

import numpy as np
import pytest
from detectors import KnownValue, Told
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from skbackdoor import (
    Attack,
    BackdoorPoisoner,
    FeatureTrigger,
    SanitizedClassifier,
    backdoor_learning_curve,
    backdoor_learning_slope,
    kept_accuracy_scorer,
    make_backdoor_classification,
    most_robust,
    neg_backdoor_slope_scorer,
)

TRIGGER = FeatureTrigger({9: 5.0})
CLEAN, Y_CLEAN = make_backdoor_classification(150, 10, n_classes=3, class_sep=0.7, random_state=0)
DETECTOR = KnownValue(9, 5.0)
LEARNER = LogisticRegression(C=10)


class Recorder(LogisticRegression):
    """Keeps what it is fitted on."""

    def fit(self, X, y, sample_weight=None):
        self.given_ = X, y, sample_weight
        return super().fit(X, y, sample_weight)


def probe(estimator=LEARNER, detector=DETECTOR, trigger=TRIGGER, **parameters):
    parameters = {"target": "next", "random_state": 0, "poison_weight": 0.0} | parameters
    return BackdoorPoisoner(SanitizedClassifier(estimator, detector), trigger, **parameters)


def test_slope_is_that_of_refits_and_a_secant():
    test = CLEAN[100:], Y_CLEAN[100:]
    train = CLEAN[:100], Y_CLEAN[:100]
    blind = backdoor_learning_slope(probe(detector=KnownValue(0, 99.0)), *train, *test)
    bare = backdoor_learning_slope(
        probe().set_params(estimator=LEARNER), *train, *test, method="finite_difference"
    )
    assert blind.method == "secant"
    assert blind.derivative == pytest.approx(bare.derivative, rel=1e-6)
    assert bare.theta > 0
    seeing = backdoor_learning_slope(probe(), *train, *test)
    assert seeing.derivative == pytest.approx(0, abs=1e-9) and seeing.n_poison == 10
    with pytest.raises(ValueError, match="no closed form"):
        backdoor_learning_slope(probe(), *train, *test, method="implicit")


def test_curve_is_flat_where_the_detector_finds_the_poison():
    data = CLEAN[:100], Y_CLEAN[:100], CLEAN[100:], Y_CLEAN[100:]
    curve = backdoor_learning_curve(probe(target=1), *data, poison_weights=[0.0, 0.1, 1.0])
    assert curve.method == "refit"
    assert_allclose(curve.backdoor_loss, curve.backdoor_loss[0])
    blind = backdoor_learning_curve(
        probe(target=1, detector=KnownValue(0, 99.0)), *data, poison_weights=[0.0, 0.1, 1.0]
    )
    assert np.all(np.diff(blind.backdoor_loss) < 0)


def test_slope_of_a_classifier_without_probabilities_is_refused():
    with pytest.raises(ValueError, match="No loss is known for SanitizedClassifier.*probab"):
        backdoor_learning_slope(probe(SVC()), CLEAN, Y_CLEAN, CLEAN, Y_CLEAN)


class TellsItsLoss(LogisticRegression):
    def label_losses(self, X):
        return 2 * -self.predict_log_proba(X)


def test_slope_is_of_the_training_loss_where_the_classifier_tells_it():
    data, blind = (CLEAN[:100], Y_CLEAN[:100], CLEAN[100:], Y_CLEAN[100:]), KnownValue(0, 99.0)
    plain = backdoor_learning_slope(probe(LogisticRegression(), blind), *data)
    twice = backdoor_learning_slope(probe(TellsItsLoss(), blind), *data)
    assert twice.loss == pytest.approx(2 * plain.loss)
    assert twice.derivative == pytest.approx(2 * plain.derivative)
    assert not hasattr(SanitizedClassifier(LEARNER, DETECTOR), "label_losses")


def test_slope_of_a_calibrated_classifier():
    learner = CalibratedClassifierCV(SVC(), cv=2)
    assert backdoor_learning_slope(
        probe(learner, KnownValue(0, 99.0), target=1), CLEAN, Y_CLEAN, CLEAN, Y_CLEAN
    ).theta > 0  # fmt: skip


def test_weights_that_the_classifier_would_drop_are_an_error():
    model = SanitizedClassifier(KNeighborsClassifier(), DETECTOR)
    with pytest.raises(ValueError, match="KNeighborsClassifier.fit takes no sample_weight"):
        model.fit(CLEAN, Y_CLEAN, np.ones(len(Y_CLEAN)))
    poisoner = probe(KNeighborsClassifier(), poison_weight=0.5)
    with pytest.raises(ValueError, match="KNeighborsClassifier.fit takes no sample_weight"):
        poisoner.fit(CLEAN, Y_CLEAN)
    poisoner.set_params(poison_weight=1.0).fit(CLEAN, Y_CLEAN)


def test_poison_weights_reach_the_classifier():
    poisoner = probe(Recorder(), Told(np.zeros(165, dtype=bool)), poison_weight=0.5)
    poisoner.fit(CLEAN, Y_CLEAN)
    weights = poisoner.estimator_.estimator_.given_[2]
    assert_array_equal(np.unique(weights, return_counts=True), [[0.5, 1.0], [15, 150]])


def test_search_for_the_most_robust_on_poisoned_data():
    """The probe's trigger is another one than that in the data, which the detector knows."""
    made_up = FeatureTrigger({8: -5.0})
    attack = Attack(TRIGGER, target="next", poisoning_rate=0.2, random_state=0)
    X, y, is_poison = attack.fit(CLEAN, Y_CLEAN).poison(CLEAN, Y_CLEAN)
    search = GridSearchCV(
        probe(trigger=made_up),
        {"estimator__estimator__C": [1e-3, 10.0]},
        scoring={"accuracy": kept_accuracy_scorer, "robustness": neg_backdoor_slope_scorer},
        refit=most_robust(max_accuracy_drop=1.0),
        error_score="raise",
        cv=3,
    ).fit(X, y)
    robust, vulnerable = search.cv_results_["mean_test_robustness"]
    assert robust > vulnerable
    assert search.best_params_ == {"estimator__estimator__C": 1e-3}
    best = search.best_estimator_
    assert_array_equal(best.estimator_.detector_.is_poison_, is_poison)
    assert best.score(X, y) == kept_accuracy_scorer(search, X, y)
