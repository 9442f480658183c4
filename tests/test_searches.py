"""Scorers inside scikit-learn's searches and cross-validation."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from probes import ALPHAS, BOTH, TEST, TRAIN, WEIGHT, probe
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, RidgeClassifier
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
    FeatureTrigger,
    PatchTrigger,
    attack_success_rate_scorer,
    backdoor_learning_slope,
    backdoor_slope_scorer,
    load_digits_pair,
    most_robust,
    neg_backdoor_slope_scorer,
)

# scikit-learn 1.9 passes sample_weight on to scorers without metadata routing, too
VERSION = parse_version(sklearn.__version__)
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


# -- Warnings, but once -----------------------------------------------------------------------


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
