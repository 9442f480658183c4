"""Which base learners serve: those that would drop weights are refused by name."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from poisoners import WEIGHT, X2, X3, Y2, Y3, Recorder, attack
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import IsolationForest, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, Ridge, RidgeClassifierCV
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC

from skbackdoor import (
    attack_success_rate_scorer,
    backdoor_learning_curve,
    backdoor_learning_slope,
    backdoor_slope_scorer,
)

NO_WEIGHTS = [KNeighborsClassifier(), LinearDiscriminantAnalysis()]


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("learner", NO_WEIGHTS, ids=lambda learner: type(learner).__name__)
def test_without_sample_weight_zero_and_one_work(learner, placement):
    poisoner = attack(learner, placement=placement).fit(X2, Y2)
    X, y, _ = poisoner.poison(X2, Y2)
    assert_allclose(poisoner.predict_proba(X2), clone(learner).fit(X, y).predict_proba(X2))
    clean = attack(learner, placement=placement, poison_weight=0.0).fit(X2, Y2)
    kept = np.delete(np.arange(60), clean.poisoned_indices_ if placement == "replace" else [])
    by_hand = clone(learner).fit(X2[kept], Y2[kept])
    assert_allclose(clean.predict_proba(X2), by_hand.predict_proba(X2))


@pytest.mark.parametrize(
    "learner",
    [
        *NO_WEIGHTS,
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
        VotingClassifier([("lr", LogisticRegression()), ("kn", KNeighborsClassifier())]),
        VotingClassifier([("p", make_pipeline(StandardScaler(), LogisticRegression()))]),
        StackingClassifier([("lr", LogisticRegression())], KNeighborsClassifier()),
        StackingClassifier([("kn", KNeighborsClassifier())]),
        CalibratedClassifierCV(KNeighborsClassifier()),
        CalibratedClassifierCV(make_pipeline(StandardScaler(), LogisticRegression())),
        CalibratedClassifierCV(GridSearchCV(SVC(), {"C": [1]})),
        OneVsRestClassifier(LogisticRegression()),
        GridSearchCV(LogisticRegression(), {"C": [1, 2]}),
        LogisticRegressionCV(),
        RidgeClassifierCV(),
        make_pipeline(StandardScaler(), GridSearchCV(LogisticRegression(), {"C": [1, 2]})),
    ],
    ids=lambda learner: type(learner).__name__,
)
def test_learners_that_would_drop_weights_are_refused_by_name(learner):
    """Between 0 and 1, and with sample_weight; the message names the learner and a way out."""
    named = learner
    while hasattr(named, "steps"):
        named = named.steps[-1][1]
    words = rf"{type(named).__name__}|KNeighborsClassifier|GridSearchCV"
    with pytest.raises(ValueError, match=words) as caught:
        attack(learner, poison_weight=0.5).fit(X2, Y2)
    message = str(caught.value)
    assert any(word in message for word in ("Use a learner", "outside", "Write")), message
    with pytest.raises(ValueError, match=words):
        attack(learner, poison_weight=0.0).fit(X2, Y2, sample_weight=WEIGHT)


@pytest.mark.parametrize(
    "learner",
    [
        VotingClassifier([("lr", LogisticRegression()), ("nb", GaussianNB())]),
        StackingClassifier([("lr", LogisticRegression()), ("nb", GaussianNB())], cv=3),
        CalibratedClassifierCV(LogisticRegression(), cv=3),
        CalibratedClassifierCV(LinearSVC(), cv=3),
        CalibratedClassifierCV(cv=3),
    ],
    ids=lambda learner: type(learner).__name__,
)
def test_ensembles_of_learners_with_weights_work(learner):
    poisoner = attack(learner, poison_weight=0.5).fit(X2, Y2)
    X, y, is_poison = poisoner.poison(X2, Y2)
    by_hand = clone(learner).fit(X, y, sample_weight=np.where(is_poison, 0.5, 1.0))
    if not isinstance(getattr(learner, "estimator", None), LinearSVC):  # that one is random
        assert_array_equal(poisoner.predict(X2), by_hand.predict(X2))


def test_search_inside_works_where_no_weight_is_needed():
    search = GridSearchCV(LogisticRegression(), {"C": [1, 2]})
    assert attack(search).fit(X2, Y2).estimator_.best_params_["C"] in (1, 2)


@pytest.mark.parametrize("routing", [False, True])
def test_pipeline_routes_weights_to_its_last_step(routing):
    with config_context(enable_metadata_routing=routing):
        recorder = Recorder()
        if routing:
            recorder.set_fit_request(sample_weight=True)
        pipeline = make_pipeline(FunctionTransformer(), recorder)
        poisoner = attack(pipeline, poison_weight=0.25, poisoning_rate=0.2).fit(X3, Y3, WEIGHT)
        weight = poisoner.estimator_[-1].seen_[2]
        expected = np.append(WEIGHT, 0.25 * WEIGHT[poisoner.poisoned_indices_])
    assert_allclose(weight, expected)


@pytest.mark.parametrize("request_", [None, False])
def test_with_routing_a_last_step_that_does_not_ask_is_an_error(request_):
    with config_context(enable_metadata_routing=True):
        last = LogisticRegression()
        if request_ is not None:
            last.set_fit_request(sample_weight=request_)
        with pytest.raises(ValueError, match=r"set_fit_request\(sample_weight=True\)"):
            attack(make_pipeline(StandardScaler(), last), poison_weight=0.5).fit(X2, Y2)
        attack(make_pipeline(StandardScaler(), last)).fit(X2, Y2)  # no weights to drop at 1


@pytest.mark.parametrize("wrap", [
    lambda member: VotingClassifier([("lr", member), ("nb", clone(member))]),
    lambda member: CalibratedClassifierCV(member, cv=3),
    lambda member: StackingClassifier([("lr", member)], clone(member), cv=3),
], ids=["voting", "calibrated", "stacking"])  # fmt: skip
def test_with_routing_members_that_do_not_ask_are_an_error(wrap):
    """Refused by us or by scikit-learn, never fitted without the weights."""
    with config_context(enable_metadata_routing=True):
        member = LogisticRegression().set_fit_request(sample_weight=False)
        with pytest.raises((ValueError, TypeError)):
            attack(wrap(member), poison_weight=0.5).fit(X2, Y2)
        asking = LogisticRegression().set_fit_request(sample_weight=True)
        attack(wrap(asking), poison_weight=0.5).fit(X2, Y2)


def test_with_routing_sample_weight_reaches_the_poisoner():
    with config_context(enable_metadata_routing=True):
        probe = attack(LogisticRegression(), poison_weight=0.5).set_fit_request(sample_weight=True)
        probe.set_score_request(sample_weight=True)
        search = GridSearchCV(probe, {"estimator__C": [1.0]}, cv=2, error_score="raise")
        search.fit(X2, Y2, sample_weight=WEIGHT)
        by_hand = clone(probe).set_params(estimator__C=1.0).fit(X2, Y2, WEIGHT)
    assert_allclose(search.best_estimator_.estimator_.coef_, by_hand.estimator_.coef_)


@pytest.mark.parametrize(
    "learner",
    [
        KMeans(3, n_init=1),
        IsolationForest(n_estimators=5),
        make_pipeline(StandardScaler(), KMeans(3)),
    ],
)
def test_who_learns_no_labels_is_no_base_learner(learner):
    with pytest.raises(ValueError, match=r"(KMeans|IsolationForest).*is no classifier"):
        attack(learner, poison_weight=1.0).fit(X3, Y3)


@pytest.mark.parametrize(
    "learner",
    [Ridge(), make_pipeline(StandardScaler(), SVR()), GridSearchCV(Ridge(), {"alpha": [1]})],
)
def test_regressors_are_refused(learner):
    with pytest.raises(ValueError, match=r"regressor.*RidgeClassifier for Ridge"):
        attack(learner).fit(X3, Y3)


class Doubled(BaseEstimator):
    """A sampler as those of imbalanced-learn: every row twice."""

    def fit_resample(self, X, y):
        return np.concatenate([X, X]), np.concatenate([y, y])


class SamplingPipeline(Pipeline):
    """What imbalanced-learn's does with a sampler."""

    def fit(self, X, y, **fit_params):
        for _, step in self.steps[:-1]:
            X, y = step.fit_resample(X, y)
        self.steps[-1][1].fit(X, y, **fit_params)
        return self

    def _validate_steps(self):
        pass

    def predict(self, X):
        return self.steps[-1][1].predict(X)

    def __sklearn_is_fitted__(self):
        return True


def test_samplers_serve_without_weights_only():
    pipeline = SamplingPipeline([("twice", Doubled()), ("svc", SVC())])
    poisoner = attack(pipeline).fit(X3, Y3)
    assert attack_success_rate_scorer(poisoner, X3, Y3) >= 0
    words = r"'twice'.*Doubled, is a sampler.*Doubled\(\.\.\.\)\.fit_resample\(X, y\)"
    with pytest.raises(ValueError, match=words):
        attack(pipeline).fit(X3, Y3, sample_weight=WEIGHT)
    with pytest.raises(ValueError, match=words):
        attack(pipeline, poison_weight=0.5).fit(X3, Y3)
    for measure in (backdoor_learning_slope, backdoor_learning_curve):
        with pytest.raises(ValueError, match=words):
            measure(attack(pipeline), X3, Y3, X3, Y3)
    with pytest.raises(ValueError, match=words):
        backdoor_slope_scorer(poisoner, X3, Y3)


def test_the_advice_fits_who_asked():
    knn = KNeighborsClassifier()
    with pytest.raises(ValueError, match="set poison_weight to exactly 0"):
        attack(knn, poison_weight=0.5).fit(X3, Y3)
    with pytest.raises(ValueError, match=r"takes no sample_weight(?!.*poison_weight to)"):
        attack(knn, poison_weight=0.0).fit(X3, Y3, sample_weight=WEIGHT)
    with pytest.raises(ValueError, match=r"pass poison_weights=\[0, 1\]\.$"):
        backdoor_learning_curve(attack(knn), X3, Y3, X3, Y3)
    with pytest.raises(ValueError, match=r"takes no sample_weight(?!.*poison_weight to)"):
        backdoor_learning_slope(attack(knn), X3, Y3, X3, Y3)
    backdoor_learning_curve(attack(knn), X3, Y3, X3, Y3, poison_weights=[0, 1])
