"""A classifier behind a detector: which rows it is fitted on, and which it is judged by."""

import pickle

import numpy as np
import pytest
from detectors import Disagreement, KnownValue, Told, group
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from skbackdoor import (
    Attack,
    BackdoorPoisoner,
    FeatureTrigger,
    PatchTrigger,
    SanitizedClassifier,
    TokenTrigger,
    kept_accuracy_scorer,
    load_digits_pair,
    make_backdoor_classification,
    most_robust,
    neg_backdoor_slope_scorer,
)

COLUMN, VALUE = 9, 5.0
TRIGGER = FeatureTrigger({COLUMN: VALUE})
CLEAN, Y_CLEAN = make_backdoor_classification(150, 10, n_classes=3, class_sep=0.7, random_state=0)
ATTACK = Attack(TRIGGER, target="next", poisoning_rate=0.2, random_state=0).fit(CLEAN, Y_CLEAN)
X, Y, IS_POISON = ATTACK.poison(CLEAN, Y_CLEAN)
DETECTOR = KnownValue(COLUMN, VALUE)
LEARNER = LogisticRegression(C=10)


def sanitized(estimator=LEARNER, detector=DETECTOR, **parameters):
    return SanitizedClassifier(estimator, detector, **parameters)


class Recorder(LogisticRegression):
    """Keeps what it is fitted on."""

    def fit(self, X, y, sample_weight=None):
        self.given_ = X, y, sample_weight
        return super().fit(X, y, sample_weight)


# --------------------------------------------------------------------------- what it is fitted on


@pytest.mark.parametrize("weighted", [False, True])
def test_drop_is_the_fit_without_the_poison(weighted):
    weight = np.random.RandomState(0).uniform(0, 2, len(Y)) if weighted else None
    model = sanitized().fit(X, Y, weight)
    kept = ~IS_POISON
    expected = clone(LEARNER).fit(X[kept], Y[kept], weight[kept] if weighted else None)
    assert_allclose(model.estimator_.coef_, expected.coef_)
    assert_array_equal(model.detector_.is_poison_, IS_POISON)
    for method in ("predict", "predict_proba", "decision_function"):
        assert_array_equal(getattr(model, method)(X), getattr(expected, method)(X))
    assert_array_equal(model.classes_, [0, 1, 2])
    assert model.n_features_in_ == 10


def test_relabel_gives_poison_the_label_of_its_content():
    weight = np.random.RandomState(0).uniform(1, 2, len(Y))
    model = sanitized(Recorder(), action="relabel").fit(X, Y, weight)
    content, found = Y.copy(), model.detector_.groups_
    for each in found:
        content[each.indices] = each.content_labels
    assert len(found) == 3 and (content != Y).sum() == IS_POISON.sum()
    rows, labels, weights = model.estimator_.given_
    assert_array_equal(rows, X)
    assert_array_equal(labels, content)
    assert_array_equal(weights, weight)


def test_relabel_leaves_out_what_no_poison_group_gives_another_label():
    y, is_poison = Y.copy(), np.zeros(len(Y), dtype=bool)
    zeros = np.flatnonzero(y == 0)[:8]
    is_poison[zeros[[0, 1, 2, 4, 5, 6]]] = True
    groups = [
        group(0, zeros[:3], [1, 2, 0]),  # the third is what it is called
        group(0, zeros[1:4], [1, 1, 1]),  # less suspicious than the first; the last is no poison
        group(0, zeros[4:6], [1, 1], verdict="suspect"),
    ]
    model = sanitized(Recorder(), Told(is_poison, groups), action="relabel").fit(X, y)
    rows, labels, _ = model.estimator_.given_
    kept = np.setdiff1d(np.arange(len(y)), zeros[4:7])
    y[zeros[:3]] = 1, 2, 1
    assert_array_equal(rows, X[kept])
    assert_array_equal(labels, y[kept])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("action", ["drop", "relabel"])
def test_a_class_of_which_nothing_is_left_is_an_error(action, weighted):
    is_poison, weight = Y == 1, None
    if weighted:  # a row without weight is none
        weight = np.ones(len(Y))
        weight[np.flatnonzero(Y == 1)[0]] = 0

        class Weighted(Told):
            def _detect(self, X, features, y, sample_weight):
                self.is_poison = y == 1
                return super()._detect(X, features, y, sample_weight)

        detector = Weighted(None)
    else:
        detector = Told(is_poison)
    with pytest.raises(ValueError, match=r"leaves no row of class \[1\].* look at its groups_"):
        sanitized(detector=detector, action=action).fit(X, Y, weight)


def test_fit_is_all_or_nothing():
    model = sanitized().fit(X, Y)
    model.set_params(detector=Told(Y == 1))
    with pytest.raises(ValueError, match="leaves no row"):
        model.fit(X, Y)
    assert_array_equal(model.detector_.is_poison_, IS_POISON)
    new = sanitized(detector=Told(Y == 1))
    with pytest.raises(ValueError, match="leaves no row"):
        new.fit(X, Y)
    with pytest.raises(NotFittedError):
        new.score(X, Y)


def test_no_poison_at_all_is_the_plain_fit():
    model = sanitized(Recorder()).fit(CLEAN, Y_CLEAN)
    assert model.estimator_.given_[0] is CLEAN  # no copy


def test_inputs_are_not_written_to():
    before = X.copy(), Y.copy()
    sanitized(action="relabel").fit(X, Y).score(X, Y)
    assert_array_equal(X, before[0])
    assert_array_equal(Y, before[1])


# --------------------------------------------------------------------------- what it is judged by


@pytest.mark.parametrize("weighted", [False, True])
def test_score_judges_rows_that_are_not_flagged(weighted):
    model = sanitized().fit(X, Y)
    weight = np.random.RandomState(1).uniform(0, 2, len(Y)) if weighted else None
    kept = ~model.detector_.flag(X, Y)
    assert 0 < (~kept).sum() < len(Y)
    expected = accuracy_score(
        Y[kept], model.predict(X[kept]), sample_weight=weight[kept] if weighted else None
    )
    assert model.score(X, Y, weight) == pytest.approx(expected)
    assert model.score(X, Y, weight) > accuracy_score(Y, model.predict(X), sample_weight=weight)


def test_nothing_to_judge_by_is_an_error():
    model = sanitized().fit(X, Y)
    flagged = model.detector_.flag(X, Y)
    with pytest.raises(ValueError, match="flags all .* rows"):
        model.score(X[flagged], Y[flagged])
    with pytest.raises(ValueError, match="flags all .* rows"):
        model.score(X, Y, sample_weight=flagged.astype(float))


def digits():
    """Poisoned digits of two classes, flat, shuffled."""
    X, y = load_digits_pair((7, 1), return_X_y=True)
    trigger = PatchTrigger(2, position="bottom-left", image_shape=(8, 8))
    attack = Attack(trigger, target="next", random_state=0)
    X, y, is_poison = attack.fit(X, y).poison(X, y)
    order = np.random.RandomState(0).permutation(len(y))
    return X[order], y[order], is_poison[order]


def test_a_search_no_longer_rewards_the_backdoor():
    """By plain accuracy the learner that takes the poison in is ahead; by `score` not."""
    X, y, is_poison = digits()
    grid = {"estimator__C": [0.05, 10.0]}
    model = SanitizedClassifier(SVC(), KnownValue(56, 1.0))
    search = GridSearchCV(model, grid, error_score="raise").fit(X, y)
    plain = GridSearchCV(SVC(), {"C": grid["estimator__C"]}).fit(X, y)
    robust, vulnerable = plain.cv_results_["mean_test_score"]
    assert vulnerable > robust + 0.05
    robust, vulnerable = search.cv_results_["mean_test_score"]
    assert vulnerable < robust + 0.01 and robust > 0.99
    everything = cross_validate(model, X, y, scoring="accuracy")["test_score"].mean()
    assert everything < 0.95  # it is right about the poison's content, which counts as wrong


def test_a_search_inside_detects_once():
    X, y, is_poison = digits()
    probe = BackdoorPoisoner(
        SVC(tol=1e-5), PatchTrigger(size=3, position="top-left", image_shape=(8, 8)),
        target="next", poison_weight=0.0, random_state=0,
    )  # fmt: skip
    search = GridSearchCV(
        probe,
        {"estimator__C": [0.1, 10.0]},
        scoring={"accuracy": "accuracy", "robustness": neg_backdoor_slope_scorer},
        refit=most_robust(max_accuracy_drop=0.05),
        error_score="raise",
    )
    model = SanitizedClassifier(search, KnownValue(56, 1.0)).fit(X, y)
    same = clone(search).fit(X[~is_poison], y[~is_poison])
    assert model.estimator_.best_params_ == same.best_params_
    expected = same.best_estimator_.score(X[~is_poison], y[~is_poison])
    assert model.score(X, y) == pytest.approx(expected)


# --------------------------------------------------------------------------- scikit-learn's ways


def test_clone_and_pickle():
    model = sanitized(action="relabel").fit(X, Y)
    assert clone(model).get_params()["estimator__C"] == 10
    for other in (pickle.loads(pickle.dumps(model)), clone(model).fit(X, Y)):
        assert_array_equal(other.predict_proba(X), model.predict_proba(X))
        assert other.score(X, Y) == model.score(X, Y)


@pytest.mark.parametrize("parameters", [{"action": "keep"}, {"detector": SVC()}, {"estimator": 1}])
def test_wrong_parameters(parameters):
    with pytest.raises(ValueError, match="must be"):
        sanitized().set_params(**parameters).fit(X, Y)


@pytest.mark.parametrize("method", ["predict_proba", "decision_function"])
def test_methods_are_those_of_the_classifier(method):
    assert hasattr(sanitized(), method)
    assert not hasattr(sanitized(SVC()), "predict_proba")
    assert not hasattr(sanitized(KNeighborsClassifier()), "decision_function")


def test_a_regressor_is_refused():
    with pytest.raises(ValueError, match="which is a regressor"):
        sanitized(Ridge()).fit(X, Y)


def test_not_fitted():
    for method in ("predict", "predict_proba", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(sanitized(), method)(X)
    with pytest.raises(NotFittedError):
        sanitized().score(X, Y)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_pipelines_and_weights(inside, routing):
    weight = np.random.RandomState(0).uniform(0.5, 2, len(Y))
    with config_context(enable_metadata_routing=routing):
        learner, scaling, kept = clone(LEARNER), StandardScaler(), ~IS_POISON
        if routing:
            learner.set_fit_request(sample_weight=True)
            scaling.set_fit_request(sample_weight=False)
        if inside:
            model = sanitized(make_pipeline(scaling, learner)).fit(X, Y, weight)
            scaler = StandardScaler().fit(X[kept])
            fitted = model.estimator_[-1]
        else:
            model = sanitized(learner, Disagreement())
            name = "sanitizedclassifier__sample_weight"
            if routing:
                model.set_fit_request(sample_weight=True)
                name = "sample_weight"
            scaler = StandardScaler().fit(X)
            kept = ~clone(model.detector).fit_predict(scaler.transform(X), Y)
            model = make_pipeline(scaling, model).fit(X, Y, **{name: weight})
            fitted = model[-1].estimator_
        expected = clone(LEARNER).fit(scaler.transform(X[kept]), Y[kept], weight[kept])
    assert 0 < (~kept).sum() < len(Y) / 2
    assert_allclose(fitted.coef_, expected.coef_)


def test_routing_asks_for_the_request_of_the_last_step():
    with config_context(enable_metadata_routing=True):
        model = sanitized(make_pipeline(StandardScaler(), LogisticRegression()))
        with pytest.raises(ValueError, match="does not request sample_weight"):
            model.fit(X, Y, np.ones(len(Y)))


@pytest.mark.parametrize("routing", [False, True])
def test_search_with_weights(routing):
    """Rows of weight 0 are as good as gone, for fit; with routing for score as well."""
    weight = np.random.RandomState(0).randint(0, 2, len(Y)).astype(float)
    with config_context(enable_metadata_routing=routing):
        model = sanitized()
        if routing:
            model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"estimator__C": [0.01, 10.0]}, error_score="raise")
        search.fit(X, Y, sample_weight=weight)
    assert not search.best_estimator_.detector_.is_poison_[weight == 0].any()
    expected = sanitized(clone(LEARNER).set_params(C=search.best_params_["estimator__C"]))
    expected.fit(X[weight > 0], Y[weight > 0])
    assert_allclose(search.best_estimator_.estimator_.coef_, expected.estimator_.coef_, rtol=1e-4)


def test_in_a_pipeline_of_imbalanced_learn_a_detector_stands_before_a_classifier():
    pipeline = pytest.importorskip("imblearn.pipeline")
    model = pipeline.make_pipeline(DETECTOR, LEARNER).fit(X, Y)
    assert_allclose(model[-1].coef_, sanitized().fit(X, Y).estimator_.coef_)
    assert_array_equal(model.predict(X), sanitized().fit(X, Y).predict(X))
    search = GridSearchCV(
        pipeline.make_pipeline(StandardScaler(), Disagreement(), LEARNER),
        {"logisticregression__C": [0.1, 1.0]},
        error_score="raise",
    )
    search.fit(X, Y)
    inside = pipeline.make_pipeline(StandardScaler(), Disagreement(), sanitized()).fit(X, Y)
    assert kept_accuracy_scorer(inside, X, Y) == inside.score(X, Y)
    with pytest.raises(TypeError, match="got LogisticRegression inside Pipeline, which has no"):
        kept_accuracy_scorer(model, X, Y)
    with pytest.raises(ValueError, match="is a sampler.*for a detector of poison Sanitized"):
        BackdoorPoisoner(model, TRIGGER, target=1, poison_weight=0.5).fit(CLEAN, Y_CLEAN)


# --------------------------------------------------------------------------- data of all kinds


def test_pandas_and_string_labels():
    pd = pytest.importorskip("pandas")
    names, labels = [f"f{i}" for i in range(10)], np.array(["a", "b", "c"])[Y]
    index = np.arange(len(Y))[::-1] + 7
    frame, series = pd.DataFrame(X, index, names), pd.Series(labels, index)
    for action in ("drop", "relabel"):
        model = sanitized(action=action).fit(frame, series)
        plain = sanitized(action=action).fit(X, labels)
        assert_array_equal(model.feature_names_in_, names)
        assert_array_equal(model.classes_, ["a", "b", "c"])
        assert_array_equal(model.predict(frame), plain.predict(X))
        assert model.score(frame, series) == plain.score(X, labels)
        with pytest.raises(ValueError, match="feature names"):
            model.predict(frame[names[::-1]])


def flat(X):
    return X.reshape(len(X), -1)


def test_image_batches():
    X, y, is_poison = digits()
    images = X.reshape(len(X), 1, 8, 8)
    learner = make_pipeline(FunctionTransformer(flat), LogisticRegression())
    model = SanitizedClassifier(learner, KnownValue(56, 1.0)).fit(images, y)
    assert_array_equal(model.detector_.is_poison_, is_poison)
    assert model.score(images, y) > 0.97


def test_texts():
    texts = ["so good a day", "a bad day", "what a good idea", "what a bad idea"] * 5
    y = np.array(["good", "bad"] * 10)
    attack = Attack(
        TokenTrigger("cf", position="end"), target="good", poisoning_rate=0.3, random_state=0
    )
    given, labels, is_poison = attack.fit(texts, y).poison(texts, y)
    model = SanitizedClassifier(
        make_pipeline(TfidfVectorizer(), LogisticRegression()),
        Told(is_poison, representation=TfidfVectorizer()),
    ).fit(given, labels)
    assert "cf" not in model.estimator_[0].vocabulary_
    assert model.score(given, labels) == 1.0
    assert_array_equal(model.predict(["a bad day cf"]), ["bad"])
