"""BackdoorBreakdownScorer: what a score is, in searches, and slope_grid with breakdown rates."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from probes import TEST, TRAIN, WEIGHT, probe
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skbackdoor import (
    BackdoorBreakdownScorer,
    FeatureTrigger,
    backdoor_breakdown,
    backdoor_learning_slope,
    most_robust,
    slope_grid,
)

LEARNERS = {
    "ridge": RidgeClassifier(),
    "logistic": LogisticRegression(tol=1e-9, max_iter=10**4),
    "hinge": LinearSVC(loss="hinge", C=0.1, tol=1e-10, max_iter=10**6, random_state=0),
    "svc": SVC(C=10, tol=1e-8),
    "pipeline": make_pipeline(StandardScaler(), SVC(C=10, tol=1e-8)),
    "bayes": GaussianNB(),
}


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("target", ["next", 1])
def test_score_is_the_rate_and_theta_breaks_ties(name, target):
    poisoner = probe(LEARNERS[name], target=target)
    fitted = clone(poisoner).fit(*TRAIN)
    levels = (0.2, 0.5, 1.0)
    for level in levels:
        breakdown = backdoor_breakdown(poisoner, *TRAIN, *TEST, level=level)
        score = BackdoorBreakdownScorer(level)(fitted, *TEST)
        assert isinstance(score, float)
        if not breakdown.censored:
            rtol = {"bayes": 0.02, "logistic": 1e-3}.get(name, 1e-4)
            assert_allclose(score, breakdown.rate, rtol=rtol)
            continue
        theta = backdoor_learning_slope(poisoner, *TRAIN, *TEST).theta
        assert_allclose(score, breakdown.rate * (1 + 0.01 * (1 - theta) / 2), rtol=1e-6)
        assert score >= breakdown.rate


@pytest.mark.parametrize("name", ["ridge", "svc"])
def test_both_kinds_of_score_are_seen_here(name):
    censored = {
        backdoor_breakdown(probe(LEARNERS[name], target=target), *TRAIN, *TEST).censored
        for target in ("next", 1)
    }
    assert censored == ({True, False} if name == "ridge" else {False})


def test_weights_of_test_samples():
    """An integer weight is a sample that many times."""
    fitted = probe(SVC(C=10), target=1).fit(*TRAIN)
    X, y = TEST
    times = np.random.default_rng(0).integers(1, 4, len(y))
    weighted = BackdoorBreakdownScorer()(fitted, X, y, sample_weight=times)
    repeated = BackdoorBreakdownScorer()(fitted, np.repeat(X, times, 0), np.repeat(y, times))
    assert_allclose(weighted, repeated)
    only = (y == 0) & (np.arange(len(y)) < 30)
    some = BackdoorBreakdownScorer()(fitted, X, y, sample_weight=1.0 * only)
    assert_allclose(some, BackdoorBreakdownScorer()(fitted, X[only], y[only]))


def test_training_weights_enter_the_fit():
    fitted = probe(RidgeClassifier(), target=1).fit(*TRAIN, sample_weight=WEIGHT)
    X_all, y_all, is_poison = fitted.poison(*TRAIN)
    own = np.append(WEIGHT, WEIGHT[fitted.poisoned_indices_])
    X, labels, _ = fitted.triggered_test(*TEST)
    rate = BackdoorBreakdownScorer()(fitted, *TEST)
    whole = is_poison.sum() / len(TRAIN[0])

    def excess(share):
        weight = own * np.where(is_poison, share / whole, 1.0)
        success = np.mean(RidgeClassifier().fit(X_all, y_all, weight).predict(X) == labels)
        base = np.mean(fitted.predict(X) == labels)
        return (success - base) / (1 - base) + 1e-12

    assert rate < whole
    assert excess(0.999 * rate) < 0.5 <= excess(1.001 * rate)


def test_a_poisoner_of_another_weight_is_refitted():
    poisoner = probe(SVC(C=10), target=1)
    expected = BackdoorBreakdownScorer()(clone(poisoner).fit(*TRAIN), *TEST)
    poisoned = clone(poisoner).set_params(poison_weight=1.0).fit(*TRAIN)
    assert_allclose(BackdoorBreakdownScorer()(poisoned, *TEST), expected)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_in_a_search(n_jobs):
    scoring = {"accuracy": "accuracy", "breakdown": BackdoorBreakdownScorer(0.3)}
    search = GridSearchCV(
        probe(SVC(), target=1), {"estimator__C": [0.1, 1.0, 100.0]}, scoring=scoring, cv=3,
        refit=most_robust(1.0, robustness="breakdown"), error_score="raise", n_jobs=n_jobs,
    ).fit(*TRAIN)  # fmt: skip
    rates = search.cv_results_["mean_test_breakdown"]
    assert search.best_index_ == np.argmax(rates)
    assert len(np.unique(rates)) == 3
    weighted = clone(search).fit(*TRAIN, sample_weight=WEIGHT)
    assert np.isfinite(weighted.cv_results_["mean_test_breakdown"]).all()


def test_as_an_object():
    scorer = BackdoorBreakdownScorer(level=0.3)
    assert scorer.__name__ == "backdoor_breakdown"
    assert clone(scorer).level == pickle.loads(pickle.dumps(scorer)).level == 0.3
    with pytest.raises(ValueError, match="level"):
        BackdoorBreakdownScorer(0.0)(probe().fit(*TRAIN), *TEST)
    with pytest.raises(TypeError, match="BackdoorPoisoner"):
        scorer(SVC().fit(*TRAIN), *TEST)


@pytest.mark.parametrize("placement", ["append", "supplant"])
@pytest.mark.parametrize("learner", [SVC(tol=1e-10), RidgeClassifier(), GaussianNB()], ids=str)
def test_slope_grid(learner, placement):
    poisoner = probe(learner, target=1, placement=placement)
    name = {"SVC": "C", "RidgeClassifier": "alpha", "GaussianNB": "var_smoothing"}
    grid = {f"estimator__{name[type(learner).__name__]}": [0.01, 1.0]}
    found = slope_grid(
        poisoner, grid, *TRAIN, *TEST, random_states=[0, 3], breakdown=True, fit_poisoned=True
    )
    assert found.breakdown_censored.dtype == bool
    for i, params in enumerate(found.params):
        for j, seed in enumerate([0, 3]):
            one = clone(poisoner).set_params(random_state=seed, **params)
            alone = backdoor_breakdown(one, *TRAIN, *TEST)
            assert_allclose(found.breakdown_rate[i, j], alone.rate)
            assert_allclose(found.collapse_rate[i, j], alone.collapse_rate)
            assert found.breakdown_censored[i, j] == alone.censored
            assert_allclose(found.attack_success_rate[i, j], alone.attack_success_rate)
            assert_allclose(found.base_rate[i, j], alone.base_rate)
    without = slope_grid(poisoner, grid, *TRAIN, *TEST, random_states=[0])
    assert without.breakdown_rate is None and without.breakdown_censored is None
    assert_array_equal(without.theta[:, 0], found.theta[:, 0])


def excess_by_refits(estimator, poisoner, train, test, shares):
    """Excess success of scikit-learn's own fits, poison as sample weights."""
    clean, poison = poisoner.training_rows()
    X, y = np.concatenate([clean[0], poison[0]]), np.concatenate([clean[1], poison[1]])
    triggered, target, _ = poisoner.triggered_test(*test)
    beta = np.array([0.0, *shares]) * len(train[1]) / len(poison[1])
    success = []
    for weight in beta:
        weights = np.r_[np.ones(len(clean[1])), np.full(len(poison[1]), weight)]
        used = weights > 0
        fitted = clone(estimator).fit(X[used], y[used], weights[used])
        success.append(np.mean(fitted.predict(triggered) == target))
    return (np.array(success[1:]) - success[0]) / (1.0 - success[0])


def blobs(n_classes, n_features, scale):
    rng = np.random.RandomState(0)
    y = np.arange(160) % n_classes
    X = 2.0 * rng.randn(n_classes, n_features)[y] + scale * rng.randn(160, n_features)
    return (X[:80], y[:80]), (X[80:], y[80:])


@pytest.mark.parametrize(
    ("C", "target", "data", "trigger"),
    [
        (1e-4, 1, (TRAIN, TEST), None),
        (1e-3, 1, (TRAIN, TEST), None),
        (0.1, 1, (TRAIN, TEST), None),
        (100.0, 1, (TRAIN, TEST), None),
        (1e-4, 2, blobs(3, 5, 1.0), FeatureTrigger({0: 6.0})),
        (0.01, 2, blobs(3, 5, 1.0), FeatureTrigger({0: 6.0})),
        (5.0, "next", blobs(3, 15, 1.0), FeatureTrigger({0: 20.0})),
        (2.0, "next", blobs(4, 3, 0.5), FeatureTrigger({0: -8.0})),
    ],
)
def test_root_finding_against_refits(C, target, data, trigger):
    """The tangent may point far beyond the path, and margins may be small."""
    estimator = LogisticRegression(C=C, tol=1e-10, max_iter=10**5, solver="newton-cholesky")
    poisoner = probe(estimator, target=target)
    if trigger is not None:
        poisoner.set_params(trigger=trigger, poisoning_rate=0.3)
    fitted = poisoner.fit(*data[0])
    score = BackdoorBreakdownScorer()(fitted, *data[1])
    share = len(fitted.poisoned_indices_) / len(data[0][1])
    if score >= share:  # censored
        (excess,) = excess_by_refits(estimator, fitted, *data, [share])
        assert excess < 0.5
        return
    below, above = excess_by_refits(estimator, fitted, *data, [0.997 * score, 1.003 * score])
    assert below < 0.5 <= above
