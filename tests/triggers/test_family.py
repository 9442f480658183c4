"""Standard lists of triggers: they act, differ from one another, and serve a scorer."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbackdoor import BackdoorPoisoner, BackdoorSlopeScorer, load_digits_pair, trigger_family
from skbackdoor.triggers import FeatureTrigger

N = 60
pytestmark = pytest.mark.filterwarnings("ignore:.*already, so it says little")


def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "length": rng.normal(size=N),
            "count": rng.poisson(30, N),
            "colour": rng.choice(["red", "green", "blue"], N, p=[0.1, 0.3, 0.6]),
            "flag": rng.random(N) < 0.2,
            "level": pd.Categorical(rng.choice(["low", "high"], N)),
            "nothing": np.zeros(N),
        }
    )


def texts():
    rng = np.random.default_rng(0)
    words = [f"word{k}" for k in range(30)]
    return [" ".join(rng.choice(words, 8)) for _ in range(N)]


def all_differ(triggered):
    for i, first in enumerate(triggered):
        for second in triggered[:i]:
            assert not np.array_equal(np.asarray(first), np.asarray(second))


@pytest.mark.parametrize(
    ("shape", "value_range"), [((8, 8), (0, 1)), ((3, 28, 28), (0, 255)), (None, (0, 1))]
)
def test_images(shape, value_range):
    batch = (5, 1, 12, 12) if shape is None else (5, int(np.prod(shape)))
    X = np.random.default_rng(0).uniform(*value_range, batch)
    family = trigger_family("image", image_shape=shape, value_range=value_range)
    assert len(family) == 8
    triggered = [clone(trigger).fit(X).transform(X) for trigger in family]
    all_differ([X, *triggered])
    for out in triggered:
        assert out.min() >= value_range[0] and out.max() <= value_range[1]


def test_tables():
    X = table()
    family = trigger_family("table", X)
    assert 5 <= len(family) <= 8
    all_differ([X, *(clone(trigger).fit(X).transform(X) for trigger in family)])
    columns = {key for trigger in family for key in trigger.features}
    assert columns == {"length", "count", "colour", "flag", "level"}
    one = {key: value for trigger in family if len(trigger.features) == 1
           for key, value in trigger.features.items()}  # fmt: skip
    out = FeatureTrigger(one).fit(X)
    for key, value in zip(one, out.values_, strict=True):
        counts = X[key].value_counts()
        rare = X[key].max() if X[key].nunique() > 20 else counts[counts > 0].idxmin()
        assert value == rare or counts[value] == counts[counts > 0].min()


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_arrays(container):
    X = np.random.default_rng(0).normal(size=(N, 12))
    X[:, 3] = 0
    family = trigger_family("table", container(X))
    assert all(3 not in trigger.features for trigger in family)
    assert len(family) == 8
    for trigger in family:
        out = trigger.fit(container(X)).transform(container(X))
        out = out.toarray() if sparse.issparse(out) else out
        changed = np.flatnonzero((out != X).any(axis=0))
        assert set(changed) == set(trigger.features)


def test_one_column():
    family = trigger_family("table", np.arange(40.0)[:, None])
    assert [trigger.fit(np.arange(40.0)[:, None]).values_ for trigger in family] == [[39.0]]


def test_texts():
    X = texts()
    family = trigger_family("text", X)
    assert len(family) == 8
    all_differ([X, *(trigger.fit(X).transform(X) for trigger in family)])
    vocabulary = CountVectorizer().fit(X).vocabulary_
    for trigger in family:
        assert all(word in vocabulary for word in trigger.token.split())


def test_it_is_the_same_for_the_same_data():
    for kind, X in (("table", table()), ("text", texts()), ("image", None)):
        assert repr(trigger_family(kind, X)) == repr(trigger_family(kind, X))


@pytest.mark.parametrize("kind", ["image", "table", "text"])
def test_in_a_scorer(kind):
    y = np.arange(N) % 2
    if kind == "image":
        X, y = load_digits_pair(return_X_y=True)
        family, learner = trigger_family(kind, image_shape=(8, 8)), RidgeClassifier()
    elif kind == "table":
        X, family = table(), trigger_family(kind, table())
        encode = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["colour", "flag", "level"]),
            remainder=StandardScaler(),
        )
        learner = make_pipeline(encode, LogisticRegression())
    else:
        X, family = texts(), trigger_family(kind, texts())
        learner = make_pipeline(CountVectorizer(), LogisticRegression())
    probe = BackdoorPoisoner(
        learner, family[0], target=1, poison_weight=0.0, random_state=0, poisoning_rate=0.1
    ).fit(X, y)
    worst = BackdoorSlopeScorer(0.0, triggers=family)(probe, X, y)
    alone = [BackdoorSlopeScorer(0.0, triggers=[trigger])(probe, X, y) for trigger in family]
    np.testing.assert_allclose(worst, min(alone), atol=1e-5)
    assert len(np.unique(alone)) > 4


def test_what_it_refuses():
    with pytest.raises(ValueError, match="kind='sound'"):
        trigger_family("sound")
    for kind in ("table", "text"):
        with pytest.raises(ValueError, match=f"trigger_family\\('{kind}', X_train\\)"):
            trigger_family(kind)
    with pytest.raises(ValueError, match="No column"):
        trigger_family("table", np.zeros((5, 3)))
    with pytest.raises(ValueError, match="No word"):
        trigger_family("text", ["one two", "three four"])
    with pytest.raises(ValueError, match=r"shape \(0,\) is no table"):
        trigger_family("table", [])
    for texts, named in (("hello hello world", "'hello hello world'"), (["a b", 1], "got 1")):
        with pytest.raises(ValueError, match=f"list of texts.*{named}"):
            trigger_family("text", texts)


def test_nothing_is_written_to():
    X = table()
    before = X.copy()
    trigger_family("table", X)
    pd.testing.assert_frame_equal(X, before)
    Z = np.arange(60.0).reshape(20, 3)
    Z.setflags(write=False)
    assert_array_equal(Z, np.arange(60.0).reshape(20, 3))
    trigger_family("table", Z)
