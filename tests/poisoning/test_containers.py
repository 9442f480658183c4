"""Poisoned data stay in their container: frames, sparse matrices, image batches, texts."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from poisoners import WEIGHT, X3, Y3, attack
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from skbackdoor import FeatureTrigger, PatchTrigger


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
