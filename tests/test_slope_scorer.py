"""What a score is, when it warns, and whom the scorers refuse."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from probes import TEST, TRAIN, WEIGHT, probe
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skbackdoor import (
    BackdoorSlopeScorer,
    backdoor_learning_slope,
    backdoor_slope_scorer,
    neg_backdoor_slope_scorer,
)

TIGHT = {
    "ridge": RidgeClassifier(),
    "logistic": LogisticRegression(tol=1e-9, max_iter=10**4),
    "liblinear": LogisticRegression(solver="liblinear", tol=1e-9, max_iter=10**4),
    "squared hinge": LinearSVC(tol=1e-9, max_iter=10**6, random_state=0),
    "hinge": LinearSVC(loss="hinge", C=0.1, tol=1e-10, max_iter=10**6, random_state=0),
    "svc": SVC(tol=1e-8),
    "pipeline": make_pipeline(StandardScaler(), SVC(tol=1e-8)),
}


def by_hand(fitted, X_test, y_test, accuracy_weight=1.0, sample_weight=None):
    """accuracy_weight * accuracy - theta of a ridge poisoner, from refits with small weights."""
    X_train, y_train, given = fitted.given_rows()
    X_all, y_all, is_poison = fitted.poison(X_train, y_train)
    triggered = X_test.copy()
    triggered[:, 9] = 1.0
    margin = []
    own = np.ones(len(y_all)) if given is None else np.append(
        given, given[fitted.poisoned_indices_]
    )  # fmt: skip
    h = 1e-7
    for beta in (0.0, h):
        model = clone(fitted.estimator).fit(X_all, y_all, own * np.where(is_poison, beta, 1.0))
        sign = 2.0 * ((y_test + 1) % 2) - 1
        losses = (1 - sign * model.decision_function(triggered)) ** 2
        margin.append(np.average(losses, weights=sample_weight))
    derivative = (margin[1] - margin[0]) / h
    theta = -2 / np.pi * np.arctan(derivative / is_poison.sum())
    accuracy = accuracy_score(y_test, fitted.predict(X_test), sample_weight=sample_weight)
    return accuracy_weight * accuracy - theta


@pytest.mark.parametrize("name", TIGHT)
@pytest.mark.parametrize("scale", ["per_sample", "total"])
def test_score_is_accuracy_minus_theta(name, scale):
    poisoner = probe(TIGHT[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        fitted = clone(poisoner).fit(*TRAIN)
        slope = backdoor_learning_slope(poisoner, *TRAIN, *TEST, scale=scale)
        for weight in (0.0, 1.0, 2.5):
            score = BackdoorSlopeScorer(weight, scale=scale)(fitted, *TEST)
            assert isinstance(score, float)
            expected = weight * fitted.score(*TEST) - slope.theta
            assert_allclose(score, expected, atol=2e-3)


@pytest.mark.parametrize(
    "sample_weight", [None, np.linspace(0.1, 3, 60)], ids=["plain", "weights"]
)
def test_score_by_hand(sample_weight):
    fitted = probe().fit(*TRAIN, sample_weight=WEIGHT)
    for accuracy_weight in (0.0, 1.0, 3.0):
        found = BackdoorSlopeScorer(accuracy_weight)(fitted, *TEST, sample_weight=sample_weight)
        expected = by_hand(fitted, *TEST, accuracy_weight, sample_weight)
        assert_allclose(found, expected, rtol=1e-4)


def test_named_scorers():
    """accuracy - theta, and -theta, per poisoned sample: by refits."""
    fitted = probe().fit(*TRAIN)
    for scorer, accuracy_weight in (
        (backdoor_slope_scorer, 1.0),
        (neg_backdoor_slope_scorer, 0.0),
    ):
        expected = by_hand(fitted, *TEST, accuracy_weight)
        assert_allclose(scorer(fitted, *TEST), expected, rtol=1e-4)
        assert scorer.get_params() == {
            "accuracy_weight": accuracy_weight,
            "scale": "per_sample",
            "triggers": None,
        }
    assert_allclose(
        backdoor_slope_scorer(fitted, *TEST) - neg_backdoor_slope_scorer(fitted, *TEST),
        fitted.score(*TEST),
    )


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_a_poisoned_fit_is_scored_as_refitted_at_zero(beta, placement):
    for learner in (RidgeClassifier(), LogisticRegression(class_weight="balanced")):
        clean = probe(learner, placement=placement).fit(*TRAIN, sample_weight=WEIGHT)
        other = probe(learner, placement=placement, poison_weight=beta)
        other.fit(*TRAIN, sample_weight=WEIGHT)
        before = other.decision_function(TEST[0])
        for scorer in (backdoor_slope_scorer, neg_backdoor_slope_scorer):
            assert_allclose(scorer(other, *TEST), scorer(clean, *TEST), rtol=1e-9)
        assert_allclose(other.decision_function(TEST[0]), before)
        assert other.poison_weight == beta


def test_learners_without_closed_form():
    fitted = probe(GaussianNB()).fit(*TRAIN)
    slope = backdoor_learning_slope(probe(GaussianNB()), *TRAIN, *TEST)
    near = backdoor_learning_slope(probe(GaussianNB()), *TRAIN, *TEST, h=1e-4)
    assert near.method == "finite_difference"
    assert_allclose(neg_backdoor_slope_scorer(fitted, *TEST), -slope.theta)


def test_more_regularization_is_harder_to_backdoor():
    """What the scorer is for: on separable data theta falls as alpha grows."""
    thetas = [
        -neg_backdoor_slope_scorer(probe(RidgeClassifier(alpha=alpha)).fit(*TRAIN), *TEST)
        for alpha in (0.01, 1.0, 100.0, 1e4)
    ]
    assert (np.diff(thetas) < 0).all()


LOOSE = {
    "logistic": LogisticRegression(C=1e4, max_iter=3),
    "svc": SVC(C=100, gamma=2.0, tol=1.0),
    "squared hinge": LinearSVC(C=1e3, max_iter=1, random_state=0),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", LOOSE)
def test_warns_where_a_newton_step_would_move_theta(name):
    """Checked against the polished slope: it is not far off for nothing."""
    fitted = probe(LOOSE[name]).fit(*TRAIN)
    slope = backdoor_learning_slope(probe(LOOSE[name]), *TRAIN, *TEST)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        theta = -neg_backdoor_slope_scorer(fitted, *TEST)
    messages = [str(w.message) for w in caught if issubclass(w.category, ConvergenceWarning)]
    assert abs(theta - slope.theta) > 0.02  # else this is no example of a fit that is off
    assert len(messages) == 1
    assert "tol" in messages[0]
    assert type(LOOSE[name]).__name__ in messages[0]


@pytest.mark.parametrize("name", TIGHT)
@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_does_not_warn_of_tight_fits(name):
    neg_backdoor_slope_scorer(probe(TIGHT[name]).fit(*TRAIN), *TEST)


@pytest.mark.parametrize(
    "scorer",
    [backdoor_slope_scorer, neg_backdoor_slope_scorer, BackdoorSlopeScorer(2.0, scale="total")],
)
def test_pickle_and_clone(scorer):
    fitted = probe().fit(*TRAIN)
    for other in (pickle.loads(pickle.dumps(scorer)), clone(scorer)):
        assert other(fitted, *TEST) == scorer(fitted, *TEST)
        assert other.get_params() == scorer.get_params()
        assert other.__name__ == scorer.__name__
    assert isinstance(scorer.__name__, str)


def test_who_is_no_poisoner_is_told_how_to_wrap():
    for scorer in (backdoor_slope_scorer, neg_backdoor_slope_scorer):
        with pytest.raises(TypeError, match=r"SVC.*BackdoorPoisoner\(SVC.*estimator__"):
            scorer(SVC().fit(*TRAIN), *TEST)
        with pytest.raises(TypeError, match=r"BackdoorPoisoner\(make_pipeline"):
            scorer(make_pipeline(StandardScaler(), probe()).fit(*TRAIN), *TEST)
        with pytest.raises(ValueError, match="Ridge.*RidgeClassifier"):
            scorer(probe(Ridge()).fit(*TRAIN), *TEST)
        with pytest.raises(NotFittedError):
            scorer(probe(), *TEST)
    with pytest.raises(TypeError, match="Wrap it"):
        GridSearchCV(SVC(), {"C": [1]}, scoring=backdoor_slope_scorer, error_score="raise").fit(
            *TRAIN
        )


@pytest.mark.parametrize(
    "scorer",
    [BackdoorSlopeScorer(-1.0), BackdoorSlopeScorer("much"), BackdoorSlopeScorer(scale="mean")],
    ids=["negative", "string", "scale"],
)
def test_bad_scorer_parameters(scorer):
    with pytest.raises(ValueError, match="accuracy_weight|scale"):
        scorer(probe().fit(*TRAIN), *TEST)


def test_fold_without_source_sample():
    fitted = probe(target=1).fit(*TRAIN)
    only = TEST[1] == 1
    with pytest.raises(ValueError, match="no sample of a source class"):
        neg_backdoor_slope_scorer(fitted, TEST[0][only], TEST[1][only])
