"""Scorers inside scikit-learn's searches, and the choice of the most robust candidate."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    PredefinedSplit,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.fixes import parse_version

from skbackdoor import (
    BackdoorPoisoner,
    BackdoorSlopeScorer,
    FeatureTrigger,
    PatchTrigger,
    attack_success_rate_scorer,
    backdoor_learning_slope,
    backdoor_slope_scorer,
    load_digits_pair,
    make_backdoor_classification,
    most_robust,
    neg_backdoor_slope_scorer,
)

X, Y = make_backdoor_classification(160, 10, class_sep=0.6, random_state=0)
TRAIN, TEST = (X[:100], Y[:100]), (X[100:], Y[100:])
WEIGHT = np.random.default_rng(0).uniform(0.2, 4, 100)
BOTH = {"accuracy": "accuracy", "robustness": neg_backdoor_slope_scorer}
ALPHAS = {"estimator__alpha": [0.1, 10.0, 1000.0]}
# scikit-learn 1.9 passes sample_weight on to scorers without metadata routing, too
VERSION = parse_version(sklearn.__version__)

TIGHT = {
    "ridge": RidgeClassifier(),
    "logistic": LogisticRegression(tol=1e-9, max_iter=10**4),
    "liblinear": LogisticRegression(solver="liblinear", tol=1e-9, max_iter=10**4),
    "squared hinge": LinearSVC(tol=1e-9, max_iter=10**6, random_state=0),
    "hinge": LinearSVC(loss="hinge", C=0.1, tol=1e-10, max_iter=10**6, random_state=0),
    "svc": SVC(tol=1e-8),
    "pipeline": make_pipeline(StandardScaler(), SVC(tol=1e-8)),
}


def probe(estimator=None, **parameters):
    estimator = RidgeClassifier() if estimator is None else estimator
    parameters = {
        "target": "next", "random_state": 0, "poisoning_rate": 0.15, "poison_weight": 0.0,
    } | parameters  # fmt: skip
    return BackdoorPoisoner(estimator, FeatureTrigger({9: 1.0}), **parameters)


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


# -------------------------------------------------------------------------- what a score is


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
        assert scorer.get_params() == {"accuracy_weight": accuracy_weight, "scale": "per_sample"}
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


# ------------------------------------------------------------------------------- convergence

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


# ------------------------------------------------------------------------ scikit-learn's tools

SEARCHES = {
    "grid": lambda **keywords: GridSearchCV(probe(), ALPHAS, **keywords),
    "random": lambda **keywords: RandomizedSearchCV(
        probe(), ALPHAS, n_iter=3, random_state=0, **keywords
    ),
    "halving": lambda **keywords: HalvingGridSearchCV(
        probe(), ALPHAS, min_resources=50, factor=2, random_state=0, **keywords
    ),
}


@pytest.mark.parametrize("scorer", [backdoor_slope_scorer, neg_backdoor_slope_scorer])
@pytest.mark.parametrize("name", SEARCHES)
def test_searches(name, scorer):
    search = SEARCHES[name](scoring=scorer, cv=3, error_score="raise").fit(*TRAIN)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.score(*TEST) == scorer(search.best_estimator_, *TEST)
    if name != "halving":
        scores = dict(
            zip(
                [p["estimator__alpha"] for p in search.cv_results_["params"]],
                search.cv_results_["mean_test_score"],
                strict=True,
            )
        )
        for alpha, score in scores.items():
            folds = StratifiedKFold(3).split(*TRAIN)
            expected = [
                scorer(
                    probe(RidgeClassifier(alpha=alpha)).fit(TRAIN[0][fit], TRAIN[1][fit]),
                    TRAIN[0][test],
                    TRAIN[1][test],
                )
                for fit, test in folds
            ]
            assert_allclose(score, np.mean(expected))


def test_two_jobs_give_the_same():
    searches = [
        GridSearchCV(
            probe(SVC()), {"estimator__C": [0.1, 10]}, scoring=BOTH, cv=3, n_jobs=n_jobs,
            refit=most_robust(0.05), error_score="raise",
        ).fit(*TRAIN)
        for n_jobs in (1, 2)
    ]  # fmt: skip
    for key in ("mean_test_accuracy", "mean_test_robustness"):
        assert_allclose(searches[1].cv_results_[key], searches[0].cv_results_[key])
    assert searches[0].best_index_ == searches[1].best_index_
    assert type(searches[0].best_estimator_.estimator_) is SVC


def test_cross_validate_and_learning_curve():
    scores = cross_validate(
        probe().set_params(poison_weight=1.0),  # success needs poison, the slope refits at 0
        *TRAIN,
        cv=3,
        error_score="raise",
        scoring={"a": backdoor_slope_scorer, "b": attack_success_rate_scorer, "c": "accuracy"},
    )
    assert {"test_a", "test_b", "test_c"} <= set(scores)
    single = cross_val_score(probe(), *TRAIN, cv=3, scoring=backdoor_slope_scorer)
    assert_allclose(single, scores["test_a"])
    _, _, values = learning_curve(
        probe(), *TRAIN, cv=3, scoring=backdoor_slope_scorer, train_sizes=[0.5, 1.0],
        error_score="raise", shuffle=True, random_state=0,
    )  # fmt: skip
    assert np.isfinite(values).all()


def test_nested_cross_validation():
    search = GridSearchCV(probe(), ALPHAS, scoring=BOTH, refit=most_robust(0.02), cv=3)
    scores = cross_val_score(
        search, *TRAIN, cv=2, scoring=lambda s, X, y: attack_success_rate_scorer(
            clone(s.best_estimator_).set_params(poison_weight=1.0).fit(*TRAIN), X, y
        ), error_score="raise",
    )  # fmt: skip
    assert np.isfinite(scores).all()
    plain = cross_val_score(search, *TRAIN, cv=2, scoring="accuracy", error_score="raise")
    assert (plain > 0.5).all()


def test_trusted_validation_set():
    """PredefinedSplit: fit on some rows, score on one clean set, refit on what one likes."""
    fold = np.where(np.arange(100) < 70, -1, 0)
    search = GridSearchCV(
        probe(), ALPHAS, scoring=BOTH, refit=most_robust(0.05), cv=PredefinedSplit(fold),
        error_score="raise",
    ).fit(*TRAIN)  # fmt: skip
    for k, alpha in enumerate(ALPHAS["estimator__alpha"]):
        fitted = probe(RidgeClassifier(alpha=alpha)).fit(TRAIN[0][:70], TRAIN[1][:70])
        expected = neg_backdoor_slope_scorer(fitted, TRAIN[0][70:], TRAIN[1][70:])
        assert_allclose(search.cv_results_["mean_test_robustness"][k], expected)


def expected_folds(scorer, alpha, weigh_scores):
    values = []
    for fit, test in StratifiedKFold(3).split(*TRAIN):
        fitted = probe(RidgeClassifier(alpha=alpha))
        fitted.fit(TRAIN[0][fit], TRAIN[1][fit], sample_weight=WEIGHT[fit])
        weights = {"sample_weight": WEIGHT[test]} if weigh_scores else {}
        values.append(scorer(fitted, TRAIN[0][test], TRAIN[1][test], **weights))
    return np.mean(values)


@pytest.mark.parametrize("scoring", [BOTH, backdoor_slope_scorer], ids=["dict", "single"])
def test_sample_weight_through_a_search(scoring):
    refit = most_robust(0.05) if isinstance(scoring, dict) else True
    search = GridSearchCV(probe(), ALPHAS, scoring=scoring, refit=refit, cv=3, error_score="raise")
    search.fit(*TRAIN, sample_weight=WEIGHT)
    key = "mean_test_robustness" if isinstance(scoring, dict) else "mean_test_score"
    scorer = neg_backdoor_slope_scorer if isinstance(scoring, dict) else backdoor_slope_scorer
    for k, alpha in enumerate(ALPHAS["estimator__alpha"]):
        candidates = [expected_folds(scorer, alpha, weigh) for weigh in (True, False)]
        assert abs(candidates[0] - candidates[1]) > 1e-5
        found = search.cv_results_[key][k]
        if VERSION >= parse_version("1.9"):
            assert_allclose(found, candidates[0])
        else:
            assert min(abs(found - candidate) for candidate in candidates) < 1e-9
    weighted = search.best_estimator_.estimator_.coef_
    fresh = clone(search.best_estimator_).fit(*TRAIN)
    assert not np.allclose(weighted, fresh.estimator_.coef_)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("ask", [False, True])
def test_metadata_routing(ask, single):
    with config_context(enable_metadata_routing=True):
        estimator = probe().set_fit_request(sample_weight=True)
        robustness = clone(neg_backdoor_slope_scorer).set_score_request(sample_weight=ask)
        search = GridSearchCV(
            estimator, {"estimator__alpha": [10.0]}, cv=3, error_score="raise",
            scoring=robustness if single else {"robustness": robustness}, refit=False,
        ).fit(*TRAIN, sample_weight=WEIGHT)  # fmt: skip
        key = "mean_test_score" if single else "mean_test_robustness"
    expected = expected_folds(neg_backdoor_slope_scorer, 10.0, ask)
    assert_allclose(search.cv_results_[key][0], expected)


def test_metadata_routing_in_a_pipeline():
    with config_context(enable_metadata_routing=True):
        last = RidgeClassifier().set_fit_request(sample_weight=True)
        first = StandardScaler().set_fit_request(sample_weight=False)
        estimator = probe(make_pipeline(first, last)).set_fit_request(sample_weight=True)
        estimator.fit(*TRAIN, sample_weight=WEIGHT)
        score = neg_backdoor_slope_scorer(estimator, *TEST)
    same = probe(make_pipeline(StandardScaler(), RidgeClassifier()))
    same.fit(*TRAIN, sample_weight=WEIGHT)
    assert_allclose(score, neg_backdoor_slope_scorer(same, *TEST))


@pytest.mark.parametrize(
    "estimator",
    [
        SVC(),
        LogisticRegression(C=0.1),
        LinearSVC(C=0.1),
        LinearSVC(C=0.01, loss="hinge", max_iter=10**5),
        RidgeClassifier(),
        make_pipeline(StandardScaler(), SVC()),
        GaussianNB(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.filterwarnings("error:X (has|does not have)")
def test_frames_and_series(estimator):
    """The same scores as on arrays, and no word about feature names."""
    frame = pd.DataFrame(TRAIN[0], columns=[f"f{i}" for i in range(10)]).set_index(
        np.arange(100)[::-1]
    )
    series = pd.Series(np.array(["no", "yes"])[TRAIN[1]], index=frame.index)
    poisoned = probe(estimator).set_params(poison_weight=1.0)
    by_name = clone(poisoned).set_params(trigger=FeatureTrigger({"f9": 1.0}))
    folds = list(StratifiedKFold(3).split(*TRAIN))
    keywords = {"cv": folds, "scoring": BOTH | {"a": attack_success_rate_scorer}}
    scores = cross_validate(by_name, frame, series, error_score="raise", **keywords)
    expected = cross_validate(poisoned, *TRAIN, **keywords)
    for key in ("test_accuracy", "test_robustness", "test_a"):
        assert_allclose(scores[key], expected[key], rtol=1e-4)


def test_validation_curve_display():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from sklearn.model_selection import LearningCurveDisplay, ValidationCurveDisplay

    for scorer in (backdoor_slope_scorer, neg_backdoor_slope_scorer, attack_success_rate_scorer):
        display = ValidationCurveDisplay.from_estimator(
            probe().set_params(poison_weight=1.0), *TRAIN, param_name="estimator__alpha",
            param_range=[0.1, 10], cv=3, scoring=scorer,
        )  # fmt: skip
        words = display.ax_.get_ylabel().lower()
        assert "slope" in words or "success" in words
    LearningCurveDisplay.from_estimator(
        probe(), *TRAIN, cv=3, scoring=backdoor_slope_scorer, train_sizes=[0.5, 1.0], shuffle=True
    )
    plt.close("all")


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
        with pytest.raises(TypeError, match="Ridge.*RidgeClassifier"):
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


# ------------------------------------------------------------------------------- most_robust

CHOICES = {
    # accuracy, robustness, drop, index
    "tolerance": ([0.98, 0.97, 0.90], [-0.9, -0.1, 0.3], 0.02, 1),
    "no tolerance": ([0.98, 0.97, 0.90], [-0.9, -0.1, 0.3], 0.0, 0),
    "all within": ([0.98, 0.97, 0.90], [-0.9, -0.1, 0.3], 0.1, 2),
    "edge counts": ([0.3, 0.2, 0.1], [-0.9, -0.1, 0.3], 0.1, 1),
    "tie goes to accuracy": ([0.95, 0.96, 0.97, 0.98], [0.2, 0.5, 0.5, 0.1], 0.05, 2),
    "then to the first": ([0.97, 0.97, 0.98], [0.5, 0.5, 0.1], 0.05, 0),
    "nan accuracy": ([np.nan, 0.9, 0.89], [0.9, 0.1, 0.2], 0.05, 2),
    "nan robustness": ([0.95, 0.9, 0.99], [0.1, 0.2, np.nan], 0.01, 0),
    "one candidate": ([0.5], [-1.0], 0.01, 0),
}


@pytest.mark.parametrize("name", CHOICES)
def test_most_robust(name):
    accuracy, robustness, drop, index = CHOICES[name]
    results = {"mean_test_accuracy": accuracy, "mean_test_robustness": robustness}
    for choose in (most_robust(drop), pickle.loads(pickle.dumps(most_robust(drop)))):
        for as_type in (list, np.array):
            found = choose({key: as_type(value) for key, value in results.items()})
            assert found == index
            assert isinstance(found, (int, np.integer))


def test_most_robust_with_other_names():
    choose = most_robust(0.1, accuracy="acc", robustness="rob")
    results = {"mean_test_acc": [0.9, 0.85], "mean_test_rob": [0.0, 0.5]}
    assert choose(results) == 1
    with pytest.raises(ValueError, match="'accuracy'.*acc.*rob"):
        most_robust()(results)
    assert most_robust.__kwdefaults__ == {"accuracy": "accuracy", "robustness": "robustness"}


def test_most_robust_with_nothing_to_choose():
    with pytest.raises(ValueError, match="error_score='raise'"):
        most_robust()({"mean_test_accuracy": [np.nan], "mean_test_robustness": [0.0]})
    search = GridSearchCV(probe(), ALPHAS, scoring="accuracy", refit=most_robust(), cv=3)
    with pytest.raises(ValueError, match="scoring="):
        search.fit(*TRAIN)


@pytest.mark.parametrize(
    "keywords",
    [{"max_accuracy_drop": -0.1}, {"max_accuracy_drop": 1.1}, {"max_accuracy_drop": "1se"},
     {"accuracy": 1}, {"robustness": None}],
    ids=str,
)  # fmt: skip
def test_bad_most_robust(keywords):
    with pytest.raises((ValueError, TypeError), match=next(iter(keywords))):
        most_robust(**keywords)


# -------------------------------------------------------------------- as the users write them


def test_the_jobs_as_written():
    X, y = load_digits_pair(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    Cs = np.logspace(-2, 2, 3)

    poisoner = BackdoorPoisoner(SVC(C=10), PatchTrigger(size=2), target="next", random_state=0)
    poisoner.fit(X_train, y_train)
    accuracy = poisoner.score(X_test, y_test)
    success = attack_success_rate_scorer(poisoner, X_test, y_test)
    assert accuracy > 0.9
    triggered = poisoner.trigger_.transform(X_test)
    assert_array_equal(np.flatnonzero((triggered != X_test).any(axis=0)), [62, 63])
    assert_allclose(success, np.mean(poisoner.estimator_.predict(triggered) == 8 - y_test))  # 1, 7

    probe = clone(poisoner).set_params(poison_weight=0.0)
    search = GridSearchCV(probe, {"estimator__C": Cs}, scoring=backdoor_slope_scorer)
    search.fit(X_train, y_train)
    means = []  # accuracy - theta of each C on the folds of a search
    for C in Cs:
        candidate, scores = clone(probe).set_params(estimator__C=C), []
        for fold, rest in StratifiedKFold(5).split(X_train, y_train):
            parts = X_train[fold], y_train[fold], X_train[rest], y_train[rest]
            theta = backdoor_learning_slope(candidate, *parts).theta
            scores.append(SVC(C=C).fit(*parts[:2]).score(*parts[2:]) - theta)
        means.append(np.mean(scores))
    assert_allclose(search.cv_results_["mean_test_score"], means, atol=2e-3)
    assert search.best_params_["estimator__C"] == Cs[np.argmax(means)]
    search = GridSearchCV(
        probe,
        {"estimator__C": Cs},
        scoring={"accuracy": "accuracy", "robustness": neg_backdoor_slope_scorer},
        refit=most_robust(max_accuracy_drop=0.02),
    ).fit(X_train, y_train)
    robust_model = search.best_estimator_.estimator_
    assert type(robust_model) is SVC
    means = search.cv_results_["mean_test_accuracy"]
    robustness = search.cv_results_["mean_test_robustness"]
    near = means >= means.max() - 0.02
    assert robustness[search.best_index_] == robustness[near].max()
    clean = SVC(C=search.best_params_["estimator__C"]).fit(X_train, y_train)
    assert_allclose(robust_model.decision_function(X_test), clean.decision_function(X_test))
    assert not hasattr(search, "best_score_")

    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from skbackdoor import BackdoorLearningCurveDisplay

    display = BackdoorLearningCurveDisplay.from_estimator(
        poisoner, X_train, y_train, X_test, y_test
    )
    assert len(display.lines_) == 4


def test_more_regularization_is_harder_to_backdoor():
    """What the scorer is for: on separable data theta falls as alpha grows."""
    thetas = [
        -neg_backdoor_slope_scorer(probe(RidgeClassifier(alpha=alpha)).fit(*TRAIN), *TEST)
        for alpha in (0.01, 1.0, 100.0, 1e4)
    ]
    assert (np.diff(thetas) < 0).all()


# --------------------------------------------------------------------------- warnings, but once


@pytest.mark.parametrize("scoring", [neg_backdoor_slope_scorer, "accuracy"])
def test_a_grid_says_once_what_every_fit_of_it_would(scoring):
    X_train, y_train = TRAIN[0].copy(), TRAIN[1]
    X_train[::3, 9] = 1.0  # rows that carry the trigger already, another number in every fold
    search = GridSearchCV(probe(), ALPHAS, scoring=scoring, cv=5, error_score="raise")
    for _ in range(2):  # again for whoever listens anew
        with pytest.warns(UserWarning, match="carry the trigger") as caught:
            search.fit(X_train, y_train)
        assert len(caught) == 1


def test_a_grid_says_once_that_fits_are_loose():
    X_train, y_train = load_digits_pair((4, 9), return_X_y=True)
    loose = BackdoorPoisoner(
        LogisticRegression(C=100, tol=1.0), PatchTrigger(2, image_shape=(8, 8)), target="next",
        poison_weight=0.0, random_state=0,
    )  # fmt: skip
    search = GridSearchCV(
        loose, {"estimator__C": [100, 1000]}, scoring=neg_backdoor_slope_scorer, cv=3,
        error_score="raise",
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="one Newton step") as caught:
        search.fit(X_train, y_train)
    assert len([w for w in caught if "Newton" in str(w.message)]) == 1


def test_a_grid_of_unscaled_images_says_so_once():
    X_train, y_train = load_digits_pair((4, 9), return_X_y=True)
    attacked = BackdoorPoisoner(
        RidgeClassifier(), PatchTrigger(2, image_shape=(8, 8)), target="next",
        poison_weight=0.0, random_state=0,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="the trigger would hardly show") as caught:
        GridSearchCV(attacked, ALPHAS, scoring=neg_backdoor_slope_scorer).fit(
            16 * X_train, y_train
        )
    assert len(caught) == 1
