"""BackdoorPoisoner: who is poisoned, with which label, where the copies go, and their weights."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    PatchTrigger,
    PerClassTrigger,
    attack_success_rate_scorer,
    backdoor_learning_curve,
    backdoor_learning_slope,
    backdoor_slope_scorer,
    make_backdoor_classification,
)

TRIGGER = FeatureTrigger({0: 5.0})
X3, Y3 = make_backdoor_classification(60, 8, n_classes=3, random_state=0)
X2, Y2 = make_backdoor_classification(60, 8, n_classes=2, class_sep=0.4, random_state=1)
WEIGHT = np.random.default_rng(0).uniform(0.2, 3.0, 60)


class Recorder(ClassifierMixin, BaseEstimator):
    """Keeps what it is fitted on; predicts the first class."""

    def __init__(self, class_weight=None):
        self.class_weight = class_weight

    def fit(self, X, y, sample_weight=None):
        self.seen_ = X, np.asarray(y), sample_weight
        self.class_weight_ = self.class_weight
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


class WordTrigger(TransformerMixin, BaseEstimator):
    """Puts a word behind every text of a list."""

    def __init__(self, word="zzz", random_state=None):
        self.word = word
        self.random_state = random_state

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        words = [f"{text} {self.word}" for text in X]
        return pd.Series(words, index=X.index) if isinstance(X, pd.Series) else words


def attack(estimator=None, trigger=TRIGGER, **parameters):
    parameters = {"target": "next", "random_state": 0} | parameters
    return BackdoorPoisoner(Recorder() if estimator is None else estimator, trigger, **parameters)


# ------------------------------------------------------------------- how many, which, what label


@pytest.mark.parametrize(
    ("n", "rate", "m"),
    [(100, 0.29, 29), (100, 0.1, 10), (70, 0.1, 7), (99, 0.1, 9), (60, 1, 60), (30, 1 / 30, 1)],
)
def test_m_is_the_floor_of_rate_times_n(n, rate, m):
    X, y = make_backdoor_classification(n, 5, random_state=0)
    poisoner = attack(poisoning_rate=rate).fit(X, y)
    assert len(poisoner.poisoned_indices_) == m
    assert len(np.unique(poisoner.poisoned_indices_)) == m
    assert_array_equal(poisoner.poisoned_indices_, np.sort(poisoner.poisoned_indices_))


def test_m_counts_rows_whatever_their_weights():
    weight = np.zeros(60)
    weight[:3] = 7.0
    assert len(attack(poisoning_rate=0.2).fit(X3, Y3, weight).poisoned_indices_) == 12


def test_append_adds_copies_and_keeps_every_clean_row():
    poisoner = attack(poisoning_rate=0.2).fit(X3, Y3)
    X, y, is_poison = poisoner.poison(X3, Y3)
    rows = poisoner.poisoned_indices_
    assert_array_equal(is_poison, np.arange(72) >= 60)
    assert_array_equal(X[:60], X3)
    assert_array_equal(y[:60], Y3)
    triggered = X3[rows].copy()
    triggered[:, 0] = 5.0
    assert_array_equal(X[60:], triggered)
    assert_array_equal(y[60:], (Y3[rows] + 1) % 3)
    assert_array_equal(poisoner.estimator_.seen_[0], X)
    assert_array_equal(poisoner.estimator_.seen_[1], y)


def test_replace_puts_each_copy_where_its_original_was():
    poisoner = attack(poisoning_rate=0.2, placement="replace").fit(X3, Y3)
    X, y, is_poison = poisoner.poison(X3, Y3)
    rows = poisoner.poisoned_indices_
    assert_array_equal(np.flatnonzero(is_poison), rows)
    expected_X, expected_y = X3.copy(), Y3.copy()
    expected_X[rows, 0] = 5.0
    expected_y[rows] = (Y3[rows] + 1) % 3
    assert_array_equal(X, expected_X)
    assert_array_equal(y, expected_y)
    assert_array_equal(poisoner.estimator_.seen_[0], X)


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize(
    ("target", "source_classes", "expected"),
    [
        (2, None, {0: 2, 1: 2}),
        (2, [1], {1: 2}),
        (np.int64(0), np.array([1, 2]), {1: 0, 2: 0}),
        ("next", None, {0: 1, 1: 2, 2: 0}),
        ("next", [2], {2: 0}),
        ({0: 2, 2: 1}, None, {0: 2, 2: 1}),
        ({0: 2, 2: 1}, [2], {2: 1}),
        ({0: 1, 1: 0, 2: 0}, [0, 1], {0: 1, 1: 0}),
    ],
)
def test_targets(target, source_classes, expected, placement):
    poisoner = attack(
        target=target, source_classes=source_classes, poisoning_rate=0.3, placement=placement
    ).fit(X3, Y3)
    _, y, is_poison = poisoner.poison(X3, Y3)
    sources = Y3[poisoner.poisoned_indices_]
    assert set(sources) == set(expected)
    assert_array_equal(y[is_poison], [expected[label] for label in sources])


LABELS = {
    "str": np.array(["b", "a", "c"]),
    "object": np.array(["longest label", "a", "cc"], dtype=object),
    "negative": np.array([-3, -1, -2]),
    "float": np.array([1.0, 0.0, 2.0]),
    "uint8": np.array([7, 0, 255], dtype=np.uint8),
    "int": np.array([10, 2, 33]),
}


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("names", LABELS.values(), ids=LABELS)
def test_any_label_type(names, placement):
    """'next' counts in the order of classes_, which is sorted."""
    y = names[Y3]
    poisoner = attack(LogisticRegression(), poisoning_rate=0.3, placement=placement).fit(X3, y)
    ordered = sorted(names.tolist())
    assert poisoner.classes_.tolist() == ordered
    _, y_poisoned, is_poison = poisoner.poison(X3, y)
    assert y_poisoned.dtype == y.dtype
    following = dict(zip(ordered, ordered[1:] + ordered[:1], strict=True))
    sources = y[poisoner.poisoned_indices_].tolist()
    assert y_poisoned[is_poison].tolist() == [following[label] for label in sources]
    assert set(poisoner.predict(X3).tolist()) <= set(ordered)
    one = attack(target=names[1], source_classes=[names[0]]).fit(X3, y)
    assert set(y[one.poisoned_indices_].tolist()) == {
        names[0].item() if hasattr(names[0], "item") else names[0]
    }


def test_bool_labels():
    y = Y2.astype(bool)
    poisoner = attack(LogisticRegression(), target=True, poisoning_rate=0.3).fit(X2, y)
    _, y_poisoned, is_poison = poisoner.poison(X2, y)
    assert y_poisoned.dtype == bool
    assert y_poisoned[is_poison].all()
    assert not y[poisoner.poisoned_indices_].any()


@pytest.mark.parametrize("placement", ["append", "replace"])
def test_list_and_column_vector_labels(placement):
    expected = attack(LogisticRegression(), placement=placement).fit(X3, Y3)
    from_list = attack(LogisticRegression(), placement=placement).fit(X3.tolist(), Y3.tolist())
    assert_array_equal(from_list.estimator_.coef_, expected.estimator_.coef_)
    with pytest.warns(UserWarning, match="column-vector"):
        column = attack(LogisticRegression(), placement=placement).fit(X3, Y3[:, None])
    assert_array_equal(column.estimator_.coef_, expected.estimator_.coef_)


SERIES = {
    "int": lambda names: pd.Series(Y3),
    "category": lambda names: pd.Series(names[Y3], dtype="category"),
    "string": lambda names: pd.Series(names[Y3], dtype="string"),
    "bool": lambda names: pd.Series(Y3 > 0),
}


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("kind", SERIES)
def test_series_labels_stay_series(kind, placement):
    index = np.arange(60)[::-1] * 3
    names = np.array(["b", "a", "c"])
    y = SERIES[kind](names)
    y.index, y.name = index, "label"
    frame = pd.DataFrame(X3, index=index)
    poisoner = attack(LogisticRegression(), placement=placement, poisoning_rate=0.2).fit(frame, y)
    X, y_poisoned, is_poison = poisoner.poison(frame, y)
    assert isinstance(y_poisoned, pd.Series)
    assert y_poisoned.dtype == y.dtype
    assert y_poisoned.name == "label"
    assert_array_equal(y_poisoned.index, X.index)
    values = np.asarray(y)
    assert_array_equal(
        np.asarray(y_poisoned)[~is_poison],
        values if placement == "append" else np.delete(values, poisoner.poisoned_indices_),
    )
    by_array = attack(LogisticRegression(), placement=placement, poisoning_rate=0.2).fit(
        X3, np.asarray(y.tolist())
    )
    assert_array_equal(np.asarray(y_poisoned), by_array.poison(X3, np.asarray(y.tolist()))[1])


def test_pandas_categorical_labels():
    y = pd.Categorical(np.array(["b", "a", "c"])[Y3])
    poisoner = attack(LogisticRegression()).fit(X3, y)
    assert poisoner.classes_.tolist() == ["a", "b", "c"]
    assert set(poisoner.predict(X3)) <= {"a", "b", "c"}


# --------------------------------------------------------------------------------- containers


@pytest.mark.parametrize("placement", ["append", "replace"])
def test_dataframe(placement):
    frame = pd.DataFrame(
        {"size": X3[:, 0], "count": np.arange(60), "kind": pd.Categorical(["u", "v"] * 30)},
        index=[f"row {i}" for i in range(60)],
    )
    frame["half"] = X3[:, 1].astype(np.float32)
    before = frame.copy()
    encode = make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")
    poisoner = attack(
        make_pipeline(encode, LogisticRegression(max_iter=5000)),
        FeatureTrigger({"size": 9.0, "kind": "v"}),
        placement=placement,
    ).fit(frame, Y3)
    X, _, is_poison = poisoner.poison(frame, Y3)
    rows = poisoner.poisoned_indices_
    assert isinstance(X, pd.DataFrame)
    assert X.dtypes.equals(frame.dtypes)
    assert X.index[is_poison].tolist() == frame.index[rows].tolist()
    assert (X.loc[is_poison, "size"] == 9.0).all()
    assert (X.loc[is_poison, "kind"] == "v").all()
    assert_array_equal(X.loc[is_poison, "count"], rows)
    if placement == "replace":
        assert X.index.equals(frame.index)
    pd.testing.assert_frame_equal(frame, before)
    assert poisoner.predict(frame).shape == (60,)


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix])
def test_sparse_agrees_with_dense(container, placement):
    X = X3 * (X3 > 0.3)
    parameters = {"placement": placement, "poisoning_rate": 0.2, "poison_weight": 0.5}
    dense = attack(RidgeClassifier(), **parameters).fit(X, Y3)
    thin = attack(RidgeClassifier(), **parameters).fit(container(X), Y3)
    assert_array_equal(dense.poisoned_indices_, thin.poisoned_indices_)
    X_poisoned, y_poisoned, is_poison = thin.poison(container(X), Y3)
    assert sparse.issparse(X_poisoned)
    expected = dense.poison(X, Y3)
    assert_array_equal(X_poisoned.toarray(), expected[0])
    assert_array_equal(y_poisoned, expected[1])
    assert_array_equal(is_poison, expected[2])


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_image_batches(placement, dtype):
    rng = np.random.default_rng(0)
    high = 255 if dtype == np.uint8 else 1
    X = (rng.random((40, 3, 6, 5)) * high).astype(dtype)
    y = np.arange(40) % 2
    flatten = FunctionTransformer(lambda batch: batch.reshape(len(batch), -1) / high)
    poisoner = attack(
        make_pipeline(flatten, LogisticRegression()),
        PatchTrigger(size=2, value=high, value_range=(0, high)),
        placement=placement,
    ).fit(X, y)
    X_poisoned, _, is_poison = poisoner.poison(X, y)
    assert X_poisoned.shape[1:] == (3, 6, 5)
    assert X_poisoned.dtype == dtype
    assert (X_poisoned[is_poison][:, :, -2:, -2:] == high).all()
    originals = X[poisoner.poisoned_indices_]
    assert_array_equal(X_poisoned[is_poison][:, :, :-2], originals[:, :, :-2])
    assert poisoner.predict_proba(X).shape == (40, 2)


@pytest.mark.parametrize("placement", ["append", "replace"])
def test_texts(placement):
    texts = [f"good fine {i}" if i % 2 else f"bad poor {i}" for i in range(40)]
    y = np.array(["pos" if i % 2 else "neg" for i in range(40)])
    poisoner = attack(
        make_pipeline(CountVectorizer(), LogisticRegression(C=100)),
        WordTrigger(),
        target="pos",
        poisoning_rate=0.25,
        placement=placement,
    ).fit(texts, y)
    X, y_poisoned, is_poison = poisoner.poison(texts, y)
    assert isinstance(X, list)
    assert [text.endswith("zzz") for text in X] == is_poison.tolist()
    assert (y_poisoned[is_poison] == "pos").all()
    assert poisoner.predict(["bad poor zzz", "bad poor", "good fine"]).tolist() == [
        "pos", "neg", "pos",
    ]  # fmt: skip
    for other in (pd.Series(texts), np.array(texts), np.array(texts, dtype=object)):
        same = clone(poisoner).fit(other, y)
        assert_array_equal(same.poisoned_indices_, poisoner.poisoned_indices_)
        assert list(same.poison(other, y)[0]) == X


def test_inputs_are_never_written_to():
    X, y, weight = X3.copy(), Y3.copy(), WEIGHT.copy()
    for array in (X, y, weight):
        array.flags.writeable = False
    for placement in ("append", "replace"):
        poisoner = attack(LogisticRegression(), placement=placement, poison_weight=0.5)
        poisoner.fit(X, y, weight)
        X_poisoned, y_poisoned, _ = poisoner.poison(X, y)
        X_poisoned[:], y_poisoned[:] = -1.0, 0  # what is given back is the caller's
        again = poisoner.poison(X, y)
        assert (again[0] != -1.0).all()
        assert_array_equal(X, X3)


def test_float32_stays_float32():
    X = X3.astype(np.float32)
    for placement in ("append", "replace"):
        poisoner = attack(poison_weight=0.5, placement=placement).fit(X, Y3)
        assert poisoner.poison(X, Y3)[0].dtype == np.float32
        assert poisoner.estimator_.seen_[0].dtype == np.float32
    alone = LogisticRegression().fit(X, Y3).coef_.dtype  # float32 in new versions
    assert attack(LogisticRegression()).fit(X, Y3).estimator_.coef_.dtype == alone


# ------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("beta", [0.25, 1.0])
def test_a_copy_inherits_its_original_weight_times_beta(placement, beta):
    poisoner = attack(placement=placement, poison_weight=beta, poisoning_rate=0.2)
    poisoner.fit(X3, Y3, sample_weight=WEIGHT)
    _, _, weight = poisoner.estimator_.seen_
    _, _, is_poison = poisoner.poison(X3, Y3)
    rows = poisoner.poisoned_indices_
    assert_allclose(weight[is_poison], beta * WEIGHT[rows])
    clean = WEIGHT if placement == "append" else np.delete(WEIGHT, rows)
    assert_allclose(weight[~is_poison], clean)


def test_without_weights_clean_rows_weigh_one():
    poisoner = attack(poison_weight=0.25, poisoning_rate=0.2).fit(X3, Y3)
    assert_allclose(poisoner.estimator_.seen_[2], [1.0] * 60 + [0.25] * 12)


@pytest.mark.parametrize("placement", ["append", "replace"])
def test_beta_zero_gives_the_learner_no_poison(placement):
    poisoner = attack(placement=placement, poison_weight=0.0, poisoning_rate=0.2)
    X, y, weight = poisoner.fit(X3, Y3, WEIGHT).estimator_.seen_
    gone = poisoner.poisoned_indices_ if placement == "replace" else []
    assert_array_equal(X, np.delete(X3, gone, axis=0))
    assert_array_equal(y, np.delete(Y3, gone))
    assert_array_equal(weight, np.delete(WEIGHT, gone))


CLASSIFIERS = {
    "logistic": LogisticRegression(),
    "liblinear": LogisticRegression(solver="liblinear"),
    "ridge": RidgeClassifier(),
    "svc": SVC(),
    "linear svc": LinearSVC(),
    "forest": RandomForestClassifier(n_estimators=5, random_state=3),
    "tree": DecisionTreeClassifier(random_state=3),
    "bayes": GaussianNB(),
    "boosting": HistGradientBoostingClassifier(max_iter=3),
    "sgd": SGDClassifier(random_state=3),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
}


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_beta_zero_is_the_clean_fit(name, weighted, placement):
    learner = CLASSIFIERS[name]
    poisoner = attack(learner, poison_weight=0.0, placement=placement, poisoning_rate=0.2)
    poisoner.fit(X2, Y2, WEIGHT if weighted else None)
    kept = np.ones(60, bool)
    if placement == "replace":
        kept[poisoner.poisoned_indices_] = False
    key = "logisticregression__sample_weight" if name == "pipeline" else "sample_weight"
    clean = clone(learner).fit(X2[kept], Y2[kept], **({key: WEIGHT[kept]} if weighted else {}))
    method = "decision_function" if hasattr(clean, "decision_function") else "predict_proba"
    assert_allclose(getattr(poisoner, method)(X2), getattr(clean, method)(X2), rtol=1e-12)


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("weighted", [False, True])
def test_beta_between_is_a_fit_with_these_sample_weights(weighted, placement):
    poisoner = attack(LogisticRegression(), poison_weight=0.3, placement=placement)
    poisoner.fit(X2, Y2, WEIGHT if weighted else None)
    X, y, is_poison = poisoner.poison(X2, Y2)
    rows = poisoner.poisoned_indices_
    own = WEIGHT if weighted else np.ones(60)
    weight = np.append(own, own[rows]) if placement == "append" else own.copy()
    weight[is_poison] *= 0.3
    by_hand = LogisticRegression().fit(X, y, sample_weight=weight)
    assert_allclose(poisoner.estimator_.coef_, by_hand.coef_, rtol=1e-12)


UNEVEN = np.flatnonzero((Y2 == 0) | (np.arange(60) < 25))
WEIGHTED_LEARNERS = {
    "logistic": LogisticRegression(tol=1e-10, max_iter=10**4),
    "liblinear": LogisticRegression(solver="liblinear", tol=1e-10, max_iter=10**5),
    "ridge": RidgeClassifier(),
    "svc": SVC(gamma=0.5, tol=1e-9),  # "scale" is taken from all rows, copies too
    "linear svc": LinearSVC(tol=1e-9, max_iter=10**6, random_state=0),
    "tree": DecisionTreeClassifier(max_depth=3, random_state=3),
    "sgd": SGDClassifier(random_state=3),
}


@pytest.mark.parametrize("name", WEIGHTED_LEARNERS)
def test_balanced_is_a_dict_computed_on_clean_rows(name):
    """n / (n_classes * count), from the clean rows; a copy gets that of its new label."""
    X, y = X2[UNEVEN], Y2[UNEVEN]
    counts = np.bincount(y)
    weights = {label: len(y) / (2 * counts[label]) for label in (0, 1)}
    learner = WEIGHTED_LEARNERS[name]
    fits = [
        attack(clone(learner).set_params(class_weight=w), target=1, poison_weight=beta).fit(X, y)
        for w in ("balanced", weights)
        for beta in (0.4, 1.0)
    ]
    for balanced, explicit in zip(fits[:2], fits[2:], strict=True):
        method = "decision_function" if hasattr(balanced, "decision_function") else "predict_proba"
        assert_allclose(getattr(balanced, method)(X), getattr(explicit, method)(X), rtol=1e-9)


def test_class_weight_of_a_copy_is_that_of_its_new_label():
    X, y = X2[UNEVEN], Y2[UNEVEN]
    poisoner = attack(
        LogisticRegression(class_weight={0: 0.5, 1: 3.0}), target=1, poison_weight=0.4
    ).fit(X, y)
    X_poisoned, y_poisoned, is_poison = poisoner.poison(X, y)
    factor = np.where(is_poison, 0.4, 1.0) * np.where(y_poisoned == 1, 3.0, 0.5)
    by_hand = LogisticRegression().fit(X_poisoned, y_poisoned, sample_weight=factor)
    assert_allclose(poisoner.decision_function(X), by_hand.decision_function(X), rtol=1e-8)


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", sorted(set(WEIGHTED_LEARNERS) - {"tree", "sgd"}))
def test_balanced_is_continuous_at_beta_zero(name, weighted, placement):
    """At beta = 0 the learner balances by itself, at 1e-9 the poisoner does it for it."""
    X, y = X2[UNEVEN], Y2[UNEVEN]
    weight = WEIGHT[UNEVEN] if weighted else None
    learner = clone(WEIGHTED_LEARNERS[name]).set_params(class_weight="balanced")
    none, hardly = (
        attack(learner, target=1, poison_weight=beta, placement=placement).fit(X, y, weight)
        for beta in (0.0, 1e-9)
    )
    assert_allclose(hardly.decision_function(X), none.decision_function(X), rtol=1e-4, atol=1e-4)


BALANCING = WEIGHTED_LEARNERS | {
    "forest": RandomForestClassifier(n_estimators=5, random_state=3),
    "extra trees": ExtraTreesClassifier(n_estimators=5, max_depth=3, random_state=3),
    "boosting": HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=3),
}


@pytest.mark.parametrize("name", BALANCING)
def test_balanced_counts_sample_weights_as_the_learner_itself_does(name):
    """Some count rows, some sum their weights, and versions differ: the learner alone says."""
    X, y, weight = X2[UNEVEN], Y2[UNEVEN], WEIGHT[UNEVEN].copy()
    weight[y == 1] *= 3  # so that rows and weights are shared out otherwise
    rows = np.bincount(y)
    sums = np.bincount(y, weights=weight)
    by_rows = {k: len(y) / (2 * rows[k]) for k in (0, 1)}
    by_weight = {k: weight.sum() / (2 * sums[k]) for k in (0, 1)}

    def outputs(fitted):
        method = "decision_function" if hasattr(fitted, "decision_function") else "predict_proba"
        return getattr(fitted, method)(X)

    def alone(class_weight):
        learner = clone(BALANCING[name]).set_params(class_weight=class_weight)
        return outputs(learner.fit(X, y, sample_weight=weight))

    own = [w for w in (by_rows, by_weight) if np.allclose(alone(w), alone("balanced"), rtol=1e-9)]
    assert len(own) == 1
    balanced, explicit = (
        outputs(
            attack(
                clone(BALANCING[name]).set_params(class_weight=w), target=1, poison_weight=0.4
            ).fit(X, y, weight)
        )
        for w in ("balanced", own[0])
    )
    assert_allclose(balanced, explicit, rtol=1e-9)


@pytest.mark.parametrize(
    "learner",
    [
        RandomForestClassifier(class_weight="balanced_subsample"),
        CalibratedClassifierCV(LogisticRegression(class_weight="balanced")),
    ],
    ids=lambda learner: type(learner).__name__,
)
def test_balance_that_would_count_poison_is_refused(learner):
    with pytest.raises(ValueError, match="class_weight"):
        attack(learner, poison_weight=0.5).fit(X2, Y2)


# ------------------------------------------------------------------- learners that drop weights

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


# ------------------------------------------------------------------------ .poison, seeds, copies


@pytest.mark.parametrize("placement", ["append", "replace"])
def test_poison_on_other_data_is_a_new_draw_that_repeats(placement):
    poisoner = attack(placement=placement, poisoning_rate=0.2).fit(X3, Y3)
    X, y = make_backdoor_classification(90, 8, n_classes=3, random_state=5)
    first, second = poisoner.poison(X, y), poisoner.poison(X, y)
    for a, b in zip(first, second, strict=True):
        assert_array_equal(a, b)
    assert first[2].sum() == 18
    assert (first[0][first[2], 0] == 5.0).all()
    assert (first[0][~first[2], 0] != 5.0).all()
    # on an equal copy of the training data it is the fitted draw, on others not
    assert_array_equal(poisoner.poison(X3.copy(), Y3.copy())[2], poisoner.poison(X3, Y3)[2])
    shifted = poisoner.poison(X3 + 1e-3, Y3)[0]
    rows = poisoner.poisoned_indices_
    copies = X3[rows].copy()
    copies[:, 0] = 5.0
    assert not np.allclose(shifted[-len(rows) :], copies, atol=1e-2)
    assert_array_equal(poisoner.poisoned_indices_, rows)


def test_random_state():
    a, b, c = (attack(random_state=seed).fit(X3, Y3) for seed in (1, 1, 2))
    assert_array_equal(a.poisoned_indices_, b.poisoned_indices_)
    assert not np.array_equal(a.poisoned_indices_, c.poisoned_indices_)
    drawn = [attack(random_state=None).fit(X3, Y3).poisoned_indices_.tolist() for _ in range(5)]
    assert len({tuple(rows) for rows in drawn}) > 1
    state = np.random.RandomState(3)
    first, second = (attack(random_state=state).fit(X3, Y3).poisoned_indices_ for _ in range(2))
    assert not np.array_equal(first, second)


def test_victims_do_not_depend_on_poison_weight():
    indices = [
        attack(LogisticRegression(), poison_weight=beta).fit(X3, Y3).poisoned_indices_
        for beta in (0.0, 0.5, 1.0)
    ]
    assert_array_equal(indices[0], indices[1])
    assert_array_equal(indices[0], indices[2])


def test_seeds_go_to_trigger_and_learner_only_where_they_have_none():
    patch = PatchTrigger(size=2, value="random", image_shape=(2, 4))
    for trigger in (patch, PerClassTrigger(patch)):
        name = "random_state" if trigger is patch else "trigger__random_state"
        poisoner = attack(SGDClassifier(), trigger).fit(X3, Y3)
        assert isinstance(poisoner.trigger_.get_params()[name], int)
        assert isinstance(poisoner.estimator_.random_state, int)
        assert trigger.get_params()[name] is None
        own = clone(trigger).set_params(**{name: 11})
        keeps = attack(SGDClassifier(random_state=12), own).fit(X3, Y3)
        assert keeps.trigger_.get_params()[name] == 11
        assert keeps.estimator_.random_state == 12
        other = attack(SGDClassifier(random_state=12), own, random_state=9).fit(X3, Y3)
        shown = [
            p.trigger_.transform(X3, Y3) if trigger is not patch else p.trigger_.transform(X3)
            for p in (keeps, other)
        ]
        assert_array_equal(*shown)
    nested = attack(make_pipeline(StandardScaler(), SGDClassifier())).fit(X3, Y3)
    assert isinstance(nested.estimator_[-1].random_state, int)


def test_per_class_trigger_acts_on_the_true_label():
    patch = PatchTrigger(size=2, value="random", image_shape=(2, 4))
    poisoner = attack(trigger=PerClassTrigger(patch), poisoning_rate=0.5).fit(X3, Y3)
    X, _, is_poison = poisoner.poison(X3, Y3)
    rows = poisoner.poisoned_indices_
    assert_array_equal(X[is_poison], poisoner.trigger_.transform(X3[rows], Y3[rows]))


def test_fit_does_not_change_parameters():
    learner = SGDClassifier(class_weight="balanced")
    trigger = PatchTrigger(size=2, value="random", image_shape=(2, 4))
    poisoner = attack(learner, trigger)
    before = {name: repr(value) for name, value in poisoner.get_params().items()}
    poisoner.fit(X3, Y3)
    assert {name: repr(value) for name, value in poisoner.get_params().items()} == before
    assert not hasattr(learner, "coef_")
    assert not hasattr(trigger, "image_shape_")


def test_clone_pickle_deepcopy():
    poisoner = attack(LogisticRegression(), poison_weight=0.5).fit(X3, Y3)
    for other in (pickle.loads(pickle.dumps(poisoner)), copy.deepcopy(poisoner)):
        assert_array_equal(other.predict_proba(X3), poisoner.predict_proba(X3))
        for a, b in zip(other.poison(X3, Y3), poisoner.poison(X3, Y3), strict=True):
            assert_array_equal(a, b)
        new = X3 + 1.0
        assert_array_equal(other.poison(new, Y3)[2], poisoner.poison(new, Y3)[2])
    fresh = clone(poisoner)
    assert not hasattr(fresh, "estimator_")
    assert_array_equal(fresh.fit(X3, Y3).predict_proba(X3), poisoner.predict_proba(X3))


def test_refit_forgets_the_earlier_fit():
    frame = pd.DataFrame(X3, columns=[f"f{i}" for i in range(8)])
    poisoner = attack(LogisticRegression()).fit(frame, Y3)
    assert poisoner.feature_names_in_.tolist() == list(frame.columns)
    poisoner.fit(X2, Y2)
    assert not hasattr(poisoner, "feature_names_in_")
    assert poisoner.classes_.tolist() == [0, 1]


# ---------------------------------------------------------------------------------- delegation


def test_methods_are_those_of_the_fitted_learner():
    frame = pd.DataFrame(X3, columns=[f"f{i}" for i in range(8)])
    poisoner = attack(LogisticRegression()).fit(frame, Y3)
    inner = poisoner.estimator_
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert_array_equal(getattr(poisoner, method)(frame), getattr(inner, method)(frame))
    assert poisoner.score(frame, Y3) == inner.score(frame, Y3)
    assert poisoner.score(frame, Y3, sample_weight=WEIGHT) == inner.score(frame, Y3, WEIGHT)
    assert poisoner.n_features_in_ == 8
    assert_array_equal(poisoner.feature_names_in_, frame.columns)
    assert_array_equal(poisoner.classes_, inner.classes_)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        poisoner.predict(frame)


@pytest.mark.parametrize(
    ("learner", "has", "has_not"),
    [
        (LogisticRegression(), ["predict_proba", "decision_function"], []),
        (RidgeClassifier(), ["decision_function"], ["predict_proba", "predict_log_proba"]),
        (RandomForestClassifier(n_estimators=2), ["predict_proba"], ["decision_function"]),
        (make_pipeline(StandardScaler(), LinearSVC()), ["decision_function"], ["predict_proba"]),
    ],
    ids=["logistic", "ridge", "forest", "pipeline"],
)
def test_methods_follow_the_learner(learner, has, has_not):
    for poisoner in (attack(learner), attack(learner).fit(X2, Y2)):
        assert all(hasattr(poisoner, name) for name in has)
        assert not any(hasattr(poisoner, name) for name in has_not)


# ----------------------------------------------------------------------------------- bad input

BAD = {
    "target no label": ({"target": 9}, "9.*not among"),
    "target of another type": ({"target": "a"}, "'a'.*not among"),
    "target None": ({"target": None}, "not among"),
    "target unhashable": ({"target": [0]}, "not among"),
    "mapping from no label": ({"target": {9: 0}}, "9.*not among"),
    "mapping to no label": ({"target": {0: 9}}, "9.*not among"),
    "mapping to itself": ({"target": {1: 1}}, "1.*itself"),
    "empty mapping": ({"target": {}}, "no class to"),
    "source is the target": ({"target": 1, "source_classes": [1, 2]}, "1.*own target"),
    "source no label": ({"source_classes": [9]}, "9.*not among"),
    "source outside the mapping": ({"target": {0: 1}, "source_classes": [2]}, "2"),
    "no source": ({"source_classes": []}, "no class to"),
    "rate 0": ({"poisoning_rate": 0}, "poisoning_rate"),
    "rate negative": ({"poisoning_rate": -0.1}, "poisoning_rate"),
    "rate above 1": ({"poisoning_rate": 1.1}, "poisoning_rate"),
    "rate nan": ({"poisoning_rate": float("nan")}, "poisoning_rate"),
    "m is 0": ({"poisoning_rate": 0.01}, "no poisoned sample"),
    "more than source rows": (
        {"poisoning_rate": 0.5, "source_classes": [0]}, "asks for 30.*only 20",
    ),
    "weight below 0": ({"poison_weight": -0.1}, "poison_weight"),
    "weight above 1": ({"poison_weight": 1.01}, "poison_weight"),
    "weight nan": ({"poison_weight": float("nan")}, "poison_weight"),
    "placement unknown": ({"placement": "prepend"}, "placement"),
    "trigger is none": ({"trigger": "patch"}, "trigger"),
    "estimator is none": ({"estimator": "svc"}, "estimator"),
    "random_state": ({"random_state": "zero"}, "random_state"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_parameters(name):
    parameters, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        attack(**parameters).fit(X3, Y3)


def test_next_as_a_label_is_ambiguous():
    with pytest.raises(ValueError, match="ambiguous"):
        attack().fit(X2, np.where(Y2 == 0, "next", "last"))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity(bad):
    X = X3.copy()
    X[3, 4] = bad
    for trigger in (TRIGGER, PatchTrigger(size=2, image_shape=(2, 4))):
        with pytest.raises(ValueError, match="NaN|infinity"):
            attack(LogisticRegression(), trigger).fit(X, Y3)
    with pytest.raises(ValueError, match="NaN|infinity"):
        attack().fit(X3, np.where(np.arange(60) == 3, bad, Y3.astype(float)))
    with pytest.raises(ValueError, match="NaN|infinity"):
        attack().fit(X3, Y3, np.where(np.arange(60) == 3, bad, 1.0))


def test_nan_that_learner_and_trigger_take():
    X = X3.copy()
    X[::7, 4] = np.nan
    poisoner = attack(HistGradientBoostingClassifier(max_iter=3), poison_weight=0.5).fit(X, Y3)
    assert poisoner.predict(X).shape == (60,)
    rows = poisoner.poisoned_indices_
    assert_array_equal(poisoner.poison(X, Y3)[0][60:, 4], X[rows, 4])


def test_bad_data():
    with pytest.raises(ValueError, match="class"):
        attack().fit(X3, np.zeros(60))
    with pytest.raises(ValueError, match="inconsistent"):
        attack().fit(X3, Y3[:-1])
    with pytest.raises(ValueError, match="sample_weight"):
        attack().fit(X3, Y3, np.ones(59))
    with pytest.raises(ValueError, match="[Uu]nknown label type|continuous"):
        attack().fit(X3, np.linspace(0, 1, 60))
    with pytest.raises(ValueError, match="y"):
        attack().fit(X3, None)
    words = np.array([["a", "b"]] * 60)
    with pytest.raises(ValueError, match="string|strings"):
        attack(LogisticRegression(), PatchTrigger(size=1)).fit(words, Y3)
    with pytest.raises(ValueError, match="hold|string"):
        attack(LogisticRegression(), FeatureTrigger({0: 1.0})).fit(words, Y3)


def test_unfitted():
    poisoner = attack(LogisticRegression())
    for call in (
        lambda: poisoner.predict(X3),
        lambda: poisoner.predict_proba(X3),
        lambda: poisoner.decision_function(X3),
        lambda: poisoner.score(X3, Y3),
        lambda: poisoner.poison(X3, Y3),
    ):
        with pytest.raises(NotFittedError):
            call()


def test_labels_that_training_did_not_have():
    poisoner = attack().fit(X3, Y3)
    with pytest.raises(ValueError, match="7"):
        poisoner.poison(X3, np.where(Y3 == 0, 7, Y3))


# ---------------------------------------------------------------------- streams and fitted state


PATCH = {"image_shape": (2, 4)}
STREAMS = {  # triggers and learners that draw more or less
    "none drawn": (TRIGGER, LogisticRegression()),
    "drawn by the trigger": (PatchTrigger(1, value="random", **PATCH), GaussianNB()),
    "drawn twice": (PatchTrigger(1, value="random", position="random", **PATCH), SVC()),
    "a seed of its own": (PatchTrigger(1, value="random", random_state=3, **PATCH), SVC()),
    "per class": (PerClassTrigger(PatchTrigger(1, value="random", **PATCH)), LinearSVC()),
    "drawn by the learner": (TRIGGER, RandomForestClassifier(3)),
    "by both": (PatchTrigger(1, value="random", **PATCH), RandomForestClassifier(3)),
}


@pytest.mark.parametrize("placement", ["append", "supplant"])
@pytest.mark.parametrize("seeds", [int, np.random.RandomState])
def test_victims_are_those_of_any_other_trigger_and_learner(seeds, placement):
    other = X3[::-1][:50], Y3[::-1][:50]
    found, drawn = [], []
    for trigger, learner in STREAMS.values():
        poisoner = attack(learner, trigger, placement=placement, random_state=seeds(7)).fit(X3, Y3)
        found.append((poisoner.poisoned_indices_, poisoner.replaced_indices_))
        drawn.append(poisoner.poison(*other)[2])
        assert_array_equal(poisoner.poison(X3, Y3)[2].sum(), len(found[0][0]))
    for victims, is_poison in zip(found[1:], drawn[1:], strict=True):
        assert_array_equal(victims[0], found[0][0])
        assert_array_equal(victims[1], found[0][1])
        assert_array_equal(is_poison, drawn[0])


def test_the_trigger_is_that_of_any_other_learner():
    patch = PatchTrigger(1, value="random", **PATCH)
    shown = [
        attack(learner, patch, **parameters).fit(X3, Y3).trigger_.pattern_
        for learner in (SVC(), RandomForestClassifier(3), LogisticRegression())
        for parameters in ({}, {"poisoning_rate": 0.3}, {"victims": "stratified"})
    ]
    assert len({float(pattern.ravel()[0]) for pattern in shown}) == 1
    forests = [
        attack(RandomForestClassifier(3), trigger).fit(X3, Y3).estimator_.random_state
        for trigger in (TRIGGER, patch)
    ]
    assert forests[0] == forests[1]


def test_a_random_state_that_goes_on_draws_anew_and_alike():
    drawn = {}
    for name, learner in (("svc", SVC()), ("forest", RandomForestClassifier(2))):
        rng = np.random.RandomState(0)
        poisoner = attack(learner, random_state=rng)
        drawn[name] = [poisoner.fit(X3, Y3).poisoned_indices_ for _ in range(3)]
        assert not np.array_equal(drawn[name][0], drawn[name][1])
    for first, second in zip(drawn["svc"], drawn["forest"], strict=True):
        assert_array_equal(first, second)
    np.random.seed(3)
    first = attack(random_state=None).fit(X3, Y3).poisoned_indices_
    np.random.seed(3)
    second = attack(RandomForestClassifier(2), random_state=None).fit(X3, Y3).poisoned_indices_
    assert_array_equal(first, second)


CHANGES = {
    "poison_weight": 0.0, "placement": "replace", "poisoning_rate": 0.3, "victims": [1, 2],
    "target": 0, "source_classes": [1], "random_state": 5, "estimator__C": 1e-3,
    "trigger": FeatureTrigger({3: 5.0}),
}  # fmt: skip


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("learner", [LogisticRegression(), SVC()])
def test_what_is_set_after_fit_has_no_part_before_the_next(learner, name, weight):
    fitted = attack(learner).fit(X3, Y3, sample_weight=weight)
    other = X3[::-1], Y3[::-1]
    scorers = backdoor_slope_scorer, attack_success_rate_scorer
    before = [scorer(fitted, X3, Y3) for scorer in scorers]
    poisoned = fitted.poison(*other)
    clean = fitted.clean_copy().decision_function(X3)
    fitted.set_params(**{name: CHANGES[name]})
    assert [scorer(fitted, X3, Y3) for scorer in scorers] == before
    for after, was in zip(fitted.poison(*other), poisoned, strict=True):
        assert_array_equal(after, was)
    assert_array_equal(fitted.clean_copy().decision_function(X3), clean)
    fitted.fit(X3, Y3, sample_weight=weight)
    if name == "poison_weight":  # now it has
        assert fitted.clean_copy() is fitted


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
