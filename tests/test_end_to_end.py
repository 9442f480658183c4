"""What a user meets who uses all of it at once.

Data in other containers, pickles, searches in searches, odd scales.
"""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, SVR

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    PatchTrigger,
    attack_success_rate,
    attack_success_rate_scorer,
    backdoor_learning_slope,
    backdoor_slope_scorer,
    evaluate_attack,
    load_digits_pair,
)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits_pair((4, 9), return_X_y=True)
    return X[:160], y[:160]


def attack(estimator, trigger=None, **parameters):
    trigger = PatchTrigger(size=3, image_shape=(8, 8)) if trigger is None else trigger
    parameters = {"target": "next", "random_state": 0} | parameters
    return BackdoorPoisoner(estimator, trigger, **parameters)


def test_training_data_are_known_after_a_pickle_and_in_another_container():
    X = np.empty((40, 3), dtype=object)
    X[:, 0], X[:, 1] = np.arange(40.0), 0.0
    X[:, 2] = np.where(np.arange(40) % 2, 1.0, np.nan)
    y = [0, 1] * 20
    poisoner = attack(HistGradientBoostingClassifier(), FeatureTrigger({1: 99.0})).fit(X, y)
    expected = X[poisoner.poisoned_indices_, 0]
    again = pickle.loads(pickle.dumps(poisoner))
    assert_array_equal(again.poison(X, y)[0][40:, 0], expected)
    frame = pd.DataFrame(np.random.default_rng(0).random((40, 3)))
    poisoner = attack(LogisticRegression(), FeatureTrigger({1: 9.0})).fit(frame.to_numpy(), y)
    assert_array_equal(
        poisoner.poison(frame, y)[0].iloc[40:, 0], frame.iloc[poisoner.poisoned_indices_, 0]
    )


@pytest.mark.parametrize(
    ("scorer", "weight"), [(backdoor_slope_scorer, 0.0), (attack_success_rate_scorer, 1.0)]
)
def test_outer_cross_validation_scores_the_best_estimator(digits, scorer, weight):
    X, y = digits
    search = GridSearchCV(
        attack(SVC(), poison_weight=weight), {"estimator__C": [0.1, 1]}, scoring=scorer, cv=2
    )
    scores = cross_val_score(search, X, y, scoring=scorer, cv=2, error_score="raise")
    assert np.isfinite(scores).all()
    search.fit(X, y)
    assert scorer(search, X, y) == scorer(search.best_estimator_, X, y)


class Append(TransformerMixin, BaseEstimator):
    """A text trigger of one's own that gives back a list."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return [text + " zebra" for text in X]


@pytest.mark.parametrize("placement", ["append", "replace"])
def test_text_in_a_series(placement):
    words = np.array(["red", "green", "blue", "yellow", "white"])
    rng = np.random.default_rng(0)
    docs = pd.Series([" ".join(rng.choice(words, 5)) for _ in range(60)], name="text")
    y = np.array(["red" in doc for doc in docs])
    y[:4] = [True, False, True, False]
    learner = make_pipeline(TfidfVectorizer(), LogisticRegression())
    poisoner = attack(learner, Append(), placement=placement).fit(docs, y)
    poisoned, _, is_poison = poisoner.poison(docs, y)
    assert isinstance(poisoned, pd.Series) and poisoned.name == "text"
    assert_array_equal(poisoned.str.endswith(" zebra"), is_poison)
    row = evaluate_attack(poisoner, docs, y, docs, y)
    assert row.attack_success_rate == attack_success_rate_scorer(poisoner, docs, y)


def test_a_subclass_of_a_known_learner_gets_a_secant_with_its_loss(digits):
    class OwnSVC(SVC):
        pass

    X, y = digits
    h = 1e-3
    own = backdoor_learning_slope(attack(OwnSVC(tol=1e-9)), X, y, X, y, h=h)
    known = backdoor_learning_slope(
        attack(SVC(tol=1e-9)), X, y, X, y, method="finite_difference", h=h
    )
    assert own.method == "secant"
    assert own.derivative == pytest.approx(known.derivative, rel=1e-9)


def test_a_slope_beyond_floating_point_is_an_error(digits):
    X, y = digits
    poisoner = attack(LogisticRegression(), FeatureTrigger({0: 1e300}))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="beyond floating point"):
        backdoor_learning_slope(poisoner, X, y, X, y)


def test_unscaled_float_images_are_warned_of(digits):
    X, _ = digits
    with pytest.warns(UserWarning, match=r"value_range=\(0, 1\), but X reaches 255"):
        PatchTrigger(image_shape=(8, 8)).fit(255 * X)


def test_negative_sample_weights_are_refused(digits):
    X, y = digits
    with pytest.raises(ValueError, match="negative weights, down to -1"):
        attack(LogisticRegression()).fit(X, y, sample_weight=np.r_[-1.0, np.ones(len(y) - 1)])


def test_replacing_all_of_a_class_leaves_no_clean_fit():
    X, y = np.arange(20.0).reshape(10, 2), np.repeat([0, 1], [2, 8])
    poisoner = attack(
        SVC(),
        FeatureTrigger({0: 50.0}),
        target=1,
        poisoning_rate=0.2,
        placement="replace",
        poison_weight=0.0,
    )
    with pytest.raises(ValueError, match=r"no clean row of class \[0\]"):
        poisoner.fit(X, y)


def test_attack_success_rate_of_sources_only():
    assert attack_success_rate([0, 0], [1, 0], target={0: 1}) == 0.5
    assert attack_success_rate([0, 0], [0, 0], target=1, labels=[0, 1]) == 0.0
    with pytest.raises(ValueError, match="'c' is not among"):
        attack_success_rate(["a", "b"], ["b", "b"], target="c")
    with pytest.raises(ValueError, match="one type"):
        attack_success_rate([0, 1], ["1", "1"], target=1)


def test_random_state_instances_are_drawn_from_once(digits):
    X, y = digits
    forest = RandomForestClassifier(5, random_state=np.random.RandomState(1))
    poisoner = attack(forest).fit(X, y)
    assert len({backdoor_slope_scorer(poisoner, X, y) for _ in range(3)}) == 1
    seed = poisoner.estimator_.random_state
    clean = clone(forest).set_params(random_state=seed).fit(X, y)
    triggered, y_target, _ = poisoner.triggered_test(X, y)
    row = evaluate_attack(attack(forest), X, y, X, y)
    assert row.base_rate == np.mean(clean.predict(triggered) == y_target)
    assert row.attack_success_rate == attack_success_rate_scorer(poisoner, X, y)


def test_zero_weights_under_a_kernel_of_ones_own_are_refused(digits):
    X, y = digits
    weight = np.r_[np.zeros(20), np.ones(len(y) - 20)]
    learner = SVC(kernel=lambda A, B: A @ B.T)
    with pytest.raises(ValueError, match="holds zeros"):
        attack(learner).fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("learner", [LogisticRegression(), SVC()])
def test_a_pipeline_in_a_pipeline_is_one_pipeline(digits, learner):
    X, y = digits
    flat, nested = (
        backdoor_learning_slope(attack(pipeline), X, y, X, y)
        for pipeline in (
            make_pipeline(StandardScaler(), MinMaxScaler(), learner),
            make_pipeline(StandardScaler(), make_pipeline(MinMaxScaler(), learner)),
        )
    )
    assert nested.method == "implicit"
    assert nested.derivative == pytest.approx(flat.derivative, rel=1e-9)


def test_a_class_of_no_weight_has_no_clean_optimum(digits):
    X, y = digits
    poisoner = attack(LogisticRegression(class_weight={4: 0.0}), target=9, poison_weight=0.0)
    with pytest.raises(ValueError, match=r"class \[4\] have total weight 0"):
        backdoor_learning_slope(poisoner, X, y, X, y)


def test_sources_of_no_weight(digits):
    X, y = digits
    with pytest.raises(ValueError, match="every sample of a source class"):
        attack_success_rate(["a", "b"], ["b", "b"], target="b", sample_weight=[0, 1])
    for scorer, weight in ((backdoor_slope_scorer, 0.0), (attack_success_rate_scorer, 1.0)):
        poisoner = attack(SVC(), target=9, poison_weight=weight).fit(X, y)
        with pytest.raises(ValueError, match="every sample of a source class"):
            scorer(poisoner, X, y, sample_weight=(y == 9) * 1.0)


def test_learners_that_have_no_slope_say_why(digits):
    X, y = digits
    for learner, words in (
        (GridSearchCV(SVC(), {"C": [1, 2]}), "Put the search outside"),
        (LogisticRegressionCV(Cs=2, cv=2), "Put the search outside"),
        (make_pipeline(StandardScaler(), "passthrough"), "last step must be a classifier"),
        (SVR(), "is a regressor"),
    ):
        with warnings.catch_warnings(), pytest.raises(ValueError, match=words):
            warnings.simplefilter("ignore")
            backdoor_learning_slope(attack(learner), X, y, X, y)
