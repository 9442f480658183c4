"""Curve and slope of data of any form, and of data that have none."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from attacks import attack, data, poisoned
from by_hand import cross_entropy
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

from skbackdoor import (
    FeatureTrigger,
    PatchTrigger,
    backdoor_learning_curve,
    backdoor_learning_slope,
    parameter_deviation,
)

FORMS = {
    "lists": lambda X, y: (X.tolist(), y.tolist()),
    "frame": lambda X, y: (
        pd.DataFrame(X, columns=[f"f{i}" for i in range(10)]), pd.Series(y),
    ),
    "csr": lambda X, y: (sparse.csr_matrix(X), y),
    "csc": lambda X, y: (sparse.csc_array(X), y),
    "strings": lambda X, y: (X, np.array(["a", "b", "c"])[y]),
    "negative": lambda X, y: (X, y - 5),
    "float32": lambda X, y: (X.astype(np.float32), y),
    "object": lambda X, y: (X.astype(object), y),
    "fortran": lambda X, y: (np.asfortranarray(X), y),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "learner",
    [
        RidgeClassifier(solver="sparse_cg", tol=1e-12),
        LogisticRegression(C=0.5, tol=1e-9),
        LinearSVC(C=0.5, tol=1e-9, max_iter=10**6, random_state=0),
        LinearSVC(C=0.5, loss="hinge", tol=1e-9, max_iter=10**6, random_state=0),
        SVC(gamma=0.5, tol=1e-8),
        RandomForestClassifier(n_estimators=3, random_state=0),
    ],
    ids=["ridge", "logistic", "squared hinge", "hinge", "svc", "forest"],
)
@pytest.mark.filterwarnings("error:X (has|does not have)")
def test_every_form_of_the_data_gives_the_same(learner, form):
    X, y, X_test, y_test = data(3)
    change = FORMS[form]
    poisoner = attack(learner)
    arguments = (*change(X, y), *change(X_test, y_test))
    if form == "frame":
        y_test_series = arguments[3]
        y_test_series.index = np.arange(len(y_test)) + 500
    tolerance = 1e-2 if form == "float32" else 1e-5
    slopes = [backdoor_learning_slope(poisoner, *a) for a in ((X, y, X_test, y_test), arguments)]
    if not (form in ("csr", "csc", "float32") and isinstance(learner, RandomForestClassifier)):
        assert_allclose(slopes[1].derivative, slopes[0].derivative, rtol=tolerance)
        assert_allclose(slopes[1].loss, slopes[0].loss, rtol=tolerance)
    curves = [
        backdoor_learning_curve(poisoner, *a, poison_weights=[0, 0.3, 1])
        for a in ((X, y, X_test, y_test), arguments)
    ]
    if not (form in ("csr", "csc", "float32") and isinstance(learner, RandomForestClassifier)):
        for name in ("clean_loss", "backdoor_loss", "clean_accuracy", "attack_success_rate"):
            first, second = (getattr(curve, name) for curve in curves)
            assert_allclose(second, first, rtol=tolerance)


@pytest.mark.parametrize(
    "learner",
    [RidgeClassifier(), LogisticRegression(), LinearSVC(C=0.1), SVC()],
    ids=lambda learner: type(learner).__name__,
)
@pytest.mark.filterwarnings("error:X (has|does not have)")
def test_pipelines_that_put_out_frames(learner):
    X, y, X_test, y_test = data(3)
    framed = make_pipeline(StandardScaler().set_output(transform="pandas"), learner)
    plain = make_pipeline(StandardScaler(), learner)
    a, b = (backdoor_learning_slope(attack(p), X, y, X_test, y_test) for p in (framed, plain))
    assert_allclose(a.derivative, b.derivative, rtol=1e-5)
    a, b = (
        backdoor_learning_curve(attack(p), X, y, X_test, y_test, poison_weights=[0, 0.5])
        for p in (framed, plain)
    )
    assert_allclose(a.backdoor_loss, b.backdoor_loss, rtol=1e-5)


class Word(TransformerMixin, BaseEstimator):
    """Puts a word that is in the vocabulary behind every text."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return [f"{text} v4 v4 v4" for text in X]


def test_texts():
    """Raw input of any kind, as long as trigger and Pipeline take it."""
    texts = [f"{'good' if i % 2 else 'bad'} w{i % 7} v{i % 5}" for i in range(60)]
    y = np.arange(60) % 2
    learner = LogisticRegression(tol=1e-9)
    poisoner = attack(make_pipeline(CountVectorizer(), learner), Word())
    slope = backdoor_learning_slope(poisoner, texts[:40], y[:40], texts[40:], y[40:])
    curve = backdoor_learning_curve(
        poisoner, texts[:40], y[:40], texts[40:], y[40:], poison_weights=[0, 0.5]
    )
    words = CountVectorizer().fit(texts[:40])
    X_all, y_all, is_poison = poisoned(poisoner, texts[:40], y[:40])
    Z, Z_test = words.transform(X_all), words.transform([f"{t} v4 v4 v4" for t in texts[40:]])
    losses = []
    for beta in (0.0, 0.5, 1e-5):
        model = LogisticRegression(solver="newton-cholesky", tol=1e-13).fit(
            Z, y_all, np.where(is_poison, beta, 1.0)
        )
        losses.append(cross_entropy(model, Z_test, 1 - y[40:]).mean())
    assert_allclose(curve.backdoor_loss, losses[:2], rtol=1e-5)
    assert slope.method == "implicit"
    assert_allclose(slope.derivative, (losses[2] - losses[0]) / 1e-5, rtol=1e-2)


def test_image_batches_and_tables():
    rng = np.random.default_rng(0)
    images, y = rng.random((80, 1, 4, 4)), np.arange(80) % 2
    images[y == 1, 0, 0] += 0.3
    flat = images.reshape(80, -1)
    flatten = FunctionTransformer(lambda batch: batch.reshape(len(batch), -1))
    split = slice(50), slice(50, 80)
    for learner in (SVC(), RidgeClassifier(), LogisticRegression()):
        batch = attack(make_pipeline(flatten, learner), PatchTrigger(size=2))
        plain = attack(learner, PatchTrigger(size=2, image_shape=(4, 4)))
        a = backdoor_learning_slope(
            batch, images[split[0]], y[split[0]], images[split[1]], y[split[1]]
        )
        b = backdoor_learning_slope(
            plain, flat[split[0]], y[split[0]], flat[split[1]], y[split[1]]
        )
        assert_allclose(a.derivative, b.derivative, rtol=1e-8)
        c = backdoor_learning_curve(
            batch, images[split[0]], y[split[0]], images[split[1]], y[split[1]],
            poison_weights=[0, 0.3],
        )  # fmt: skip
        d = backdoor_learning_curve(
            plain, flat[split[0]], y[split[0]], flat[split[1]], y[split[1]],
            poison_weights=[0, 0.3],
        )  # fmt: skip
        assert_allclose(c.backdoor_loss, d.backdoor_loss, rtol=1e-8)
        assert_allclose(c.clean_loss, d.clean_loss, rtol=1e-8)
    frame = pd.DataFrame({"a": flat[:, 0], "kind": np.where(y, "u", "v"), "c": flat[:, 15]})
    frame.loc[::5, "kind"] = "w"
    encode = make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")
    table = attack(make_pipeline(encode, LogisticRegression()), FeatureTrigger({"kind": "w"}))
    slope = backdoor_learning_slope(table, frame[:50], y[:50], frame[50:], y[50:])
    by_hand = attack(LogisticRegression(), FeatureTrigger({0: 0.0, 1: 0.0, 2: 1.0}))
    Z = encode.fit(frame[:50]).transform(frame)
    assert_allclose(
        slope.derivative,
        backdoor_learning_slope(by_hand, Z[:50], y[:50], Z[50:], y[50:]).derivative,
        rtol=1e-8,
    )


def test_results_are_frozen():
    X, y, X_test, y_test = data(2)
    poisoner = attack(RidgeClassifier())
    for result, name in (
        (backdoor_learning_curve(poisoner, X, y, X_test, y_test, poison_weights=[0]), "rho"),
        (parameter_deviation(poisoner, X, y, poison_weights=[0]), "nu"),
        (backdoor_learning_slope(poisoner, X, y, X_test, y_test), "theta"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, name, 0.0)
    assert not hasattr(poisoner, "estimator_")


def test_inputs_stay():
    arrays = [array.copy() for array in data(2)]
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    for learner in (RidgeClassifier(), LogisticRegression(), LinearSVC(loss="hinge"), SVC()):
        backdoor_learning_slope(attack(learner), *arrays)
        backdoor_learning_curve(attack(learner), *arrays, poison_weights=[0, 0.5])
    for array, old in zip(arrays, before, strict=True):
        assert_array_equal(array, old)


# -- What has neither -------------------------------------------------------------------------


def test_bad_poisoner():
    X, y, X_test, y_test = data(2)
    for function in (backdoor_learning_curve, backdoor_learning_slope):
        with pytest.raises((TypeError, ValueError), match="BackdoorPoisoner"):
            function(SVC(), X, y, X_test, y_test)
    with pytest.raises((TypeError, ValueError), match="BackdoorPoisoner"):
        parameter_deviation(SVC(), X, y)


@pytest.mark.parametrize("function", [backdoor_learning_curve, backdoor_learning_slope])
def test_bad_test_data(function):
    X, y, X_test, y_test = data(3)
    poisoner = attack(RidgeClassifier(), target=1)
    only = y_test == 1
    with pytest.raises(ValueError, match="no sample of a source class"):
        function(poisoner, X, y, X_test[only], y_test[only])
    with pytest.raises(ValueError, match="8"):
        function(poisoner, X, y, X_test, np.where(only, 8, y_test))


@pytest.mark.parametrize("function", [backdoor_learning_curve, backdoor_learning_slope])
def test_a_class_that_replace_takes_away_is_an_error(function):
    X, y, X_test, y_test = data(2)
    rows = np.concatenate([np.flatnonzero(y == 0)[:4], np.flatnonzero(y == 1)])
    rate = 4 / len(rows)
    poisoner = attack(LogisticRegression(), target=1, placement="replace", poisoning_rate=rate)
    with pytest.raises(ValueError, match="class"):
        function(poisoner, X[rows], y[rows], X_test, y_test)


def test_searches_are_refused():
    X, y, X_test, y_test = data(2)
    search = GridSearchCV(LogisticRegression(), {"C": [1, 2]})
    for function in (backdoor_learning_curve, backdoor_learning_slope):
        with pytest.raises(ValueError, match="GridSearchCV"):
            function(attack(search), X, y, X_test, y_test)


@pytest.mark.parametrize(
    "learner",
    [RidgeClassifier(), LogisticRegression(), LinearSVC(), SVC(), SVC(kernel="linear")],
    ids=lambda learner: str(learner),
)
@pytest.mark.parametrize("size", [1e40, 1e155, 1e300])
def test_features_beyond_floating_point_are_to_be_scaled(learner, size):
    X_train, y_train, X_test, y_test = data(2)
    for measure in (backdoor_learning_slope, backdoor_learning_curve):
        with pytest.raises(ValueError, match=r"floating point\. Scale them.*StandardScaler"):
            measure(attack(learner), X_train * size, y_train, X_test * size, y_test)
    X_test[0, 0] = size  # in the test data only
    with pytest.raises(ValueError, match=r"floating point\. Scale them.*StandardScaler"):
        backdoor_learning_slope(attack(learner), X_train, y_train, X_test, y_test)


def test_crammer_singer_has_no_slope():
    learner = LinearSVC(multi_class="crammer_singer")
    for measure in (backdoor_learning_slope, backdoor_learning_curve):
        with pytest.raises(ValueError, match="multi_class='crammer_singer'.*multi_class='ovr'"):
            measure(attack(learner), *data(3))
