"""The worst theta over several triggers: as if each were scored alone."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from probes import TEST, TRAIN, probe
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skbackdoor import (
    Attack,
    BackdoorPoisoner,
    BackdoorSlopeScorer,
    FeatureTrigger,
    PatchTrigger,
    TokenTrigger,
    backdoor_learning_slope,
    load_digits_pair,
    make_backdoor_classification,
)

TRIGGERS = [FeatureTrigger({9: 1.0}), FeatureTrigger({0: 2.0, 3: -2.0}), FeatureTrigger({5: 0.1})]
LEARNERS = {
    "ridge": RidgeClassifier(),
    "logistic": LogisticRegression(C=10),  # as it is, far from its optimum
    "liblinear": LogisticRegression(solver="liblinear"),
    "squared hinge": LinearSVC(),
    "hinge": LinearSVC(loss="hinge", C=0.1, tol=1e-10, max_iter=10**6, random_state=0),
    "svc": SVC(),
    "svc, few free": SVC(C=1e-3),
    "pipeline": make_pipeline(StandardScaler(), SVC(C=10)),
    "bayes": GaussianNB(),
    "forest": RandomForestClassifier(5),
}


def three_classes():
    X, y = make_backdoor_classification(150, 10, n_classes=3, class_sep=0.6, random_state=0)
    return X[:100], y[:100], X[100:], y[100:]


@pytest.mark.rounding
@pytest.mark.filterwarnings("ignore:theta=")
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", LEARNERS)
def test_the_worst_of_each_alone(name, n_classes, weights):
    if name == "liblinear" and n_classes == 3:
        pytest.skip("liblinear has two classes")
    X, y, X_test, y_test = (*TRAIN, *TEST) if n_classes == 2 else three_classes()
    rng = np.random.default_rng(0)
    zeros = np.array([0.0, 1.0, 2.0]) if name not in ("bayes", "forest") else np.array([1.0, 2.0])
    weight = rng.choice(zeros, len(y)) if weights else None
    poisoner = probe(LEARNERS[name])
    alone = []
    for trigger in TRIGGERS:
        one = clone(poisoner).set_params(trigger=trigger).fit(X, y, sample_weight=weight)
        alone.append(BackdoorSlopeScorer(0.0)(one, X_test, y_test))
    assert len(np.unique(np.round(alone, 6))) == 3 or name == "forest"
    fitted = clone(poisoner).fit(X, y, sample_weight=weight)
    worst = BackdoorSlopeScorer(0.0, triggers=TRIGGERS)(fitted, X_test, y_test)
    assert_allclose(worst, min(alone), atol=2e-5)
    for trigger, own in zip(TRIGGERS, alone, strict=True):
        one = BackdoorSlopeScorer(0.0, triggers=[trigger])(fitted, X_test, y_test)
        assert_allclose(one, own, atol=2e-5)


@pytest.mark.parametrize("placement", ["replace", "supplant"])
def test_placements(placement):
    poisoner = probe(SVC(tol=1e-8), placement=placement)
    fitted = clone(poisoner).fit(*TRAIN)
    worst = BackdoorSlopeScorer(0.0, triggers=TRIGGERS)(fitted, *TEST)
    thetas = [
        backdoor_learning_slope(clone(poisoner).set_params(trigger=t), *TRAIN, *TEST).theta
        for t in TRIGGERS
    ]
    assert_allclose(worst, -max(thetas), atol=1e-4)


def test_victims_are_shared_without_a_seed():
    attack = Attack(TRIGGERS[0], target="next").fit(*TRAIN)
    other = attack.with_trigger(TRIGGERS[1])
    assert_array_equal(other.poisoned_indices_, attack.poisoned_indices_)
    X, _, is_poison = other.poison(*TRAIN)
    assert np.all(X[is_poison][:, 0] == 2.0) and np.all(X[is_poison][:, 3] == -2.0)
    assert np.all(attack.poison(*TRAIN)[0][is_poison][:, 9] == 1.0)  # the first one stays
    seeded = [
        Attack(trigger, target=1, random_state=3).fit(*load())
        for trigger in (random_patch(), FeatureTrigger({0: 1.0}))
    ]
    again = seeded[1].with_trigger(random_patch())
    assert_array_equal(again.trigger_.pattern_, seeded[0].trigger_.pattern_)


def load():
    return load_digits_pair((0, 1), return_X_y=True)


def random_patch():
    return PatchTrigger(value="random", image_shape=(8, 8))


def test_the_poisoner_keeps_its_own_trigger():
    fitted = probe(SVC()).fit(*TRAIN)
    before = BackdoorSlopeScorer()(fitted, *TEST)
    BackdoorSlopeScorer(triggers=TRIGGERS)(fitted, *TEST)
    assert fitted.trigger.features == {9: 1.0}
    assert BackdoorSlopeScorer()(fitted, *TEST) == before


def test_tables_texts_and_sparse_rows():
    names = [f"column {k}" for k in range(10)]
    frames = [pd.DataFrame(part[0], columns=names) for part in (TRAIN, TEST)]
    learner = make_pipeline(StandardScaler(), LogisticRegression())
    rows = BackdoorSlopeScorer(triggers=TRIGGERS)(probe(learner).fit(*TRAIN), *TEST)
    table = BackdoorSlopeScorer(triggers=TRIGGERS)(
        probe(learner).fit(frames[0], TRAIN[1]), frames[1], TEST[1]
    )
    assert_allclose(table, rows)
    few = BackdoorSlopeScorer(triggers=TRIGGERS)(
        probe(SVC()).fit(sparse.csr_matrix(TRAIN[0]), TRAIN[1]),
        sparse.csr_matrix(TEST[0]),
        TEST[1],
    )
    assert_allclose(few, BackdoorSlopeScorer(triggers=TRIGGERS)(probe(SVC()).fit(*TRAIN), *TEST))

    texts = ["good film", "fine plot", "good plot", "bad film", "poor plot", "bad poor cast"] * 5
    y = [1, 1, 1, 0, 0, 0] * 5
    poisoner = BackdoorPoisoner(
        make_pipeline(CountVectorizer(), LogisticRegression()), TokenTrigger("cast"), target=1,
        poison_weight=0.0, random_state=0,
    )  # fmt: skip
    tokens = [TokenTrigger("cast"), TokenTrigger("good"), TokenTrigger("film")]
    alone = [
        BackdoorSlopeScorer()(clone(poisoner).set_params(trigger=t).fit(texts, y), texts, y)
        for t in tokens
    ]
    worst = BackdoorSlopeScorer(triggers=tokens)(poisoner.fit(texts, y), texts, y)
    assert_allclose(worst, min(alone), atol=1e-6)


def test_in_a_search_with_two_jobs():
    scores = [
        GridSearchCV(
            probe(SVC()), {"estimator__C": [0.1, 10]}, cv=3, n_jobs=n_jobs, error_score="raise",
            scoring={"worst": BackdoorSlopeScorer(0.0, triggers=TRIGGERS), "acc": "accuracy"},
            refit="worst",
        ).fit(*TRAIN).cv_results_["mean_test_worst"]
        for n_jobs in (1, 2)
    ]  # fmt: skip
    assert_allclose(*scores)


def test_wrong_lists():
    fitted = probe().fit(*TRAIN)
    with pytest.raises(ValueError, match="triggers holds 1, which is no trigger"):
        BackdoorSlopeScorer(triggers=[1])(fitted, *TEST)
    with pytest.raises(ValueError, match="names no trigger"):
        BackdoorSlopeScorer(triggers=[])(fitted, *TEST)
    with pytest.raises(ValueError, match="triggers"):
        BackdoorSlopeScorer(triggers=TRIGGERS[0])(fitted, *TEST)


def test_a_loose_fit_is_told():
    loose = LogisticRegression(C=100, max_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = probe(loose).fit(*TRAIN)
    with pytest.warns(ConvergenceWarning, match="Newton"):
        BackdoorSlopeScorer(triggers=TRIGGERS)(fitted, *TEST)
