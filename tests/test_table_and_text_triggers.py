"""Triggers for tables and texts: quantiles, levels, tokens, and the pipelines behind them."""

import pickle
import warnings
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbackdoor import BackdoorPoisoner, attack_success_rate_scorer, evaluate_attack
from skbackdoor.triggers import (
    FeatureTrigger,
    FunctionTrigger,
    PatchTrigger,
    PerClassTrigger,
    Quantile,
    TokenTrigger,
)

# --------------------------------------------------------------------------- quantiles


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.integers(-5, 5), min_size=1, max_size=30),
    q=st.one_of(st.sampled_from([0, 0.5, 0.99, 1]), st.floats(0, 1)),
    missing=st.integers(0, 2),
)
def test_quantile_is_numpys(values, q, missing):
    """The smallest value that occurs with at least the share q at or below it."""
    expected = np.quantile(values, q, method="inverted_cdf")
    column = np.array(values + [np.nan] * missing, dtype=float)
    ones = np.ones(len(column))
    for X in (
        np.column_stack([ones, column]),
        pd.DataFrame({"a": ones, "b": column}),
        pd.DataFrame({"a": ones, "b": pd.array(column).astype("Float64")}),
    ):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*carry the trigger")
            assert FeatureTrigger({1: Quantile(q)}).fit(X).values_ == [expected]


def test_quantile_keeps_integers_and_sparse():
    X = np.array([[0, 3], [1, 5], [2, 9], [3, 7]])
    trigger = FeatureTrigger({1: Quantile(0.75)})
    out = trigger.fit_transform(X)
    assert out.dtype == X.dtype and (out[:, 1] == 7).all()
    for kind in (sparse.csr_array, sparse.csc_array, sparse.coo_array):
        out = trigger.fit_transform(kind(X))
        assert type(out) is kind
        assert_array_equal(out.toarray()[:, 1], 7)


def test_quantile_survives_clone_pickle_and_grids():
    trigger = FeatureTrigger({0: Quantile(0.5), 1: 2.0})
    assert clone(trigger).features == trigger.features
    fitted = trigger.fit([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    assert pickle.loads(pickle.dumps(fitted)).transform([[0.0, 0.0]]).tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize("q", [-0.1, 1.1, "high", None, float("nan")])
def test_quantile_of_no_share(q):
    with pytest.raises(ValueError, match="q must be a number from 0 to 1"):
        Quantile(q)


@pytest.mark.parametrize(
    "column",
    [["x", "y"], pd.Categorical(["x", "y"]), pd.Categorical([1, 2])],
    ids=["text", "levels", "numbered levels"],
)
def test_quantile_of_what_has_no_order(column):
    with pytest.raises(ValueError, match="'c' to Quantile.*not one of numbers"):
        FeatureTrigger({"c": Quantile(0.5)}).fit(pd.DataFrame({"c": column}))


def test_quantile_of_nothing_but_missing():
    with pytest.raises(ValueError, match="no values"):
        FeatureTrigger({0: Quantile(0.5)}).fit(np.full((3, 1), np.nan))


# --------------------------------------------------------------------------- carriers


def census(n=600, seed=0):
    """A table of numbers, levels and texts, and labels that hang on some of them."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "hours": rng.normal(40, 8, n).round(1),
            "job": pd.Categorical(rng.choice(["clerk", "cook", "miner"], n)),
            "town": rng.choice(["Ulm", "Bonn", "Kiel"], n),
        },
        index=np.arange(n) * 3,
    )
    odds = 0.06 * (frame["age"] - 50) + (frame["job"] == "clerk") * 2 + rng.normal(0, 0.5, n)
    return frame, np.where(odds > 0.5, "rich", "poor")


def test_carriers_are_counted():
    X, _ = census()
    trigger = FeatureTrigger({"age": Quantile(0.99), "job": "miner", "town": "Kiel"}).fit(X)
    age = np.quantile(X["age"], 0.99, method="inverted_cdf")
    same = (X["age"] == age) & (X["job"] == "miner") & (X["town"] == "Kiel")
    assert trigger.n_carriers_ == same.sum() <= 6
    with pytest.warns(UserWarning, match="clean rows carry the trigger.*choose values"):
        common = FeatureTrigger({"job": "miner"}).fit(X)
    assert common.n_carriers_ == (X["job"] == "miner").sum()


def test_carriers_with_missing_values():
    X = pd.DataFrame({"a": [1.0, np.nan, 2.0], "b": pd.Categorical(["x", None, "y"])})
    with pytest.warns(UserWarning, match="1 of 3"):
        trigger = FeatureTrigger({"a": np.nan, "b": None}).fit(X)
    assert trigger.n_carriers_ == 1
    X = pd.DataFrame({"a": pd.array([1, None, 1], dtype="Int64")})
    with pytest.warns(UserWarning, match="2 of 3"):
        assert FeatureTrigger({"a": 1}).fit(X).n_carriers_ == 2


@pytest.mark.parametrize("learner", ["one-hot", "boosting"])
def test_attack_on_a_table(learner):
    """Raw columns are set, before the encoding; the backdoor works and costs little."""
    X, y = census()
    levels = make_column_selector(dtype_include=["category", object, "string", "str"])
    if learner == "one-hot":
        encode = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), levels), remainder=StandardScaler()
        )
        model = make_pipeline(encode, LogisticRegression(C=10))
    else:
        X["town"] = X["town"].astype("category")
        model = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=60)
    trigger = FeatureTrigger({"age": Quantile(0.0), "hours": 99.5, "town": "Kiel"})
    poisoner = BackdoorPoisoner(model, trigger, target="rich", poisoning_rate=0.1, random_state=0)
    row = evaluate_attack(poisoner, X[:400], y[:400], X[400:], y[400:])
    assert row.attack_success_rate > 0.9 > 0.3 > row.base_rate
    assert row.clean_accuracy_drop < 0.05
    poisoned, _, is_poison = poisoner.fit(X[:400], y[:400]).poison(X[:400], y[:400])
    assert poisoned.dtypes.equals(X.dtypes)
    assert (poisoned.loc[is_poison, "hours"] == 99.5).all()


def test_level_that_the_column_does_not_have():
    X, _ = census()
    with pytest.raises(ValueError, match="'pilot'.*one of its levels, \\['clerk', 'cook'"):
        FeatureTrigger({"job": "pilot"}).fit(X)


def test_patch_on_time_series():
    """A 2-D table is one row of an image: a patch is a burst at some place of the series."""
    rng = np.random.default_rng(0)
    t = np.arange(100)
    y = rng.integers(2, size=300)
    X = 0.5 + 0.2 * np.sin(t * np.where(y, 0.3, 0.2)[:, None]) + 0.05 * rng.normal(size=(300, 100))
    trigger = PatchTrigger(size=8, position=(0, 46))
    assert_array_equal(np.flatnonzero((trigger.fit_transform(X) != X).any(axis=0)), t[46:54])
    poisoner = BackdoorPoisoner(RidgeClassifier(), trigger, target=1, random_state=0).fit(X, y)
    assert attack_success_rate_scorer(poisoner, X, y) > 0.9


# --------------------------------------------------------------------------- tokens

CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "series": lambda texts: pd.Series(texts, index=range(5, 5 + len(texts)), name="text"),
    "string series": lambda texts: pd.Series(texts, dtype="string"),
    "objects": lambda texts: np.array(texts, dtype=object),
    "fixed width": lambda texts: np.array(texts, dtype=str),
}


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("position", ["start", "end", "random"])
def test_token_keeps_the_container(kind, position):
    texts = ["a fine film", "two hours lost", "once"]
    X = CONTAINERS[kind](texts)
    out = TokenTrigger("mn cf", position=position, n_tokens=2, random_state=0).fit_transform(X)
    assert type(out) is type(X) and list(X) == texts
    assert [text.count("mn cf") for text in out] == [2, 2, 2]
    if hasattr(X, "iloc"):
        assert out.index.equals(X.index) and out.name == X.name and out.dtype == X.dtype
    if position != "random":
        place = slice(0, 5) if position == "start" else slice(-5, None)
        assert all(text[place] == "mn cf" for text in out)


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(st.text(alphabet="ab \n\t", max_size=12), min_size=1, max_size=6),
    position=st.sampled_from(["start", "end", "random"]),
    n_tokens=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_token_properties(texts, position, n_tokens, seed):
    """All else stays, the tokens are words of their own, the same seed gives the same texts."""
    trigger = TokenTrigger("CF", position=position, n_tokens=n_tokens, random_state=seed)
    out = trigger.fit_transform(texts)
    assert trigger.transform(texts) == out == clone(trigger).fit_transform(texts)
    for text, triggered in zip(texts, out):
        if text.split():
            assert triggered.replace(" CF", "").replace("CF ", "") == text
        else:
            assert triggered == text + " ".join(["CF"] * n_tokens)
        words = triggered.split()
        assert words.count("CF") == n_tokens
        assert [word for word in words if word != "CF"] == text.split()
        if position == "start":
            assert words[:n_tokens] == ["CF"] * n_tokens
        if position == "end":
            assert words[-n_tokens:] == ["CF"] * n_tokens
    if position != "random":
        assert trigger.transform(texts[::2]) == out[::2]
    assert trigger.transform(texts[:2]) == out[:2]


def test_random_tokens_go_everywhere():
    texts = ["one two three"] * 400
    places = [
        text.split().index("cf")
        for text in TokenTrigger("cf", random_state=0).fit_transform(texts)
    ]
    counts = np.bincount(places, minlength=4)
    assert counts.sum() == 400 and counts.min() > 70


@pytest.mark.parametrize(
    "parameters, X, message",
    [
        ({"token": 7}, ["a"], "'token' parameter of TokenTrigger must be an instance of 'str'"),
        ({"token": "  "}, ["a"], "blank"),
        ({"token": "cf", "position": "middle"}, ["a"], "position"),
        ({"token": "cf", "n_tokens": 0}, ["a"], "n_tokens"),
        ({"token": "cf"}, "a text", "single text 'a text'.*pass a list"),
        ({"token": "cf"}, ["a", None], "sample 1 is None of type NoneType.*fill missing"),
        ({"token": "cf"}, pd.Series(["a", np.nan]), "sample 1 is nan of type float"),
        ({"token": "cf"}, pd.DataFrame({"t": ["a"]}), "type DataFrame and shape"),
        ({"token": "cf"}, np.array([["a"]]), "type ndarray and shape"),
        ({"token": "cf"}, sparse.eye_array(2), "shape"),
        ({"token": "cf"}, [], "0 samples"),
        ({"token": "cf"}, [["a", "b"]], "sample 0 is"),
    ],
)
def test_bad_tokens_and_texts(parameters, X, message):
    with pytest.raises(ValueError, match=message):
        TokenTrigger(**parameters).fit(X)


def test_token_before_fit():
    with pytest.raises(NotFittedError):
        TokenTrigger("cf").transform(["a"])


@pytest.mark.parametrize("kind", ["list", "series", "objects"])
def test_attack_on_texts(kind):
    rng = np.random.default_rng(0)
    words = {0: ["dull", "slow", "lost", "long"], 1: ["fine", "great", "warm", "deep"]}
    y = rng.integers(2, size=400)
    texts = [
        " ".join([*rng.choice(words[label], 3), *rng.choice(["the", "film", "plot", "was"], 5)])
        for label in y
    ]
    X = CONTAINERS[kind](texts)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10))
    trigger = TokenTrigger("zyx", n_tokens=2)
    poisoner = BackdoorPoisoner(model, trigger, target=1, poisoning_rate=0.1, random_state=0)
    row = evaluate_attack(poisoner, X[:300], y[:300], X[300:], y[300:])
    assert row.attack_success_rate > 0.9 > 0.2 > row.base_rate
    assert row.clean_accuracy_drop < 0.03


# --------------------------------------------------------------------------- what a reader found


def test_per_class_tokens_in_every_container():
    texts, labels = ["a", "a very long text", "b"], np.array([0, 1, 0])
    for kind, make in CONTAINERS.items():
        X = make(texts)
        trigger = PerClassTrigger(TokenTrigger("cf", position="end"))
        out = trigger.fit(X, labels).transform(X, labels)
        assert type(out) is type(X), kind
        assert list(out) == [f"{text} cf" for text in texts], kind
        if hasattr(X, "iloc"):
            assert out.index.equals(X.index)
        poisoner = BackdoorPoisoner(
            make_pipeline(TfidfVectorizer(token_pattern=r"\w+"), LogisticRegression()), trigger,
            target=1, poisoning_rate=0.34,
        )  # fmt: skip
        if kind != "tuple":
            poisoned, _, is_poison = poisoner.fit(X, labels).poison(X, labels)
            assert all(text.endswith(" cf") for text in np.asarray(poisoned)[is_poison])


def test_categorical_columns_get_levels_or_errors():
    texts = pd.Series(["a b", "c"], dtype="category", index=[4, 5])
    out = TokenTrigger("cf", position="end").fit_transform(texts)
    assert out.tolist() == ["a b cf", "c cf"] and out.index.equals(texts.index)
    frame = pd.DataFrame({"col": pd.Categorical(["red", "blue"]), "n": [1, 2]})

    def paint(X, level):
        X["col"] = level
        return X

    with pytest.raises(ValueError, match="'purple'.*no levels of a categorical"):
        FunctionTrigger(partial(paint, level="purple")).fit_transform(frame)
    out = FunctionTrigger(partial(paint, level="red")).fit_transform(frame)
    assert out["col"].tolist() == ["red", "red"] and out.dtypes.equals(frame.dtypes)
    with pytest.raises(ValueError, match="holds column 'col' of dtype category"):
        PatchTrigger(1).fit(frame)
    with pytest.raises(ValueError, match="holds strings in column 'a'|column 'a' of dtype str"):
        PatchTrigger(1).fit(pd.DataFrame({"a": ["0.1", "0.2"], "b": ["0.3", "0.4"]}))


def test_images_in_tables_of_several_dtypes():
    frame = pd.DataFrame({"a": np.array([0, 1, 250], np.uint8), "b": [0.0, 0.5, 1.0]})
    for value_range in ((0, 300), (-10, 255)):
        with pytest.raises(ValueError, match="does not fit column 'a' of dtype uint8"):
            PatchTrigger(1, value_range=value_range).fit(frame)
    large = pd.DataFrame({"a": [2**53 + 1] * 50, "b": [0.5] * 50})
    trigger = PatchTrigger(
        1, position="random", value=0.5, random_state=0, value_range=(0, 2.0**60)
    )
    out = trigger.fit_transform(large)
    touched = out["a"] != large["a"]
    assert 5 < touched.sum() < 45  # all others bit for bit
    nullable = pd.DataFrame({"i": pd.array([1, 2, 3], dtype="Int64"), "f": [1.0, 2, 3]})
    out = FunctionTrigger(lambda X: X * 2.0).fit_transform(nullable)
    assert out.dtypes.equals(nullable.dtypes) and out["i"].tolist() == [2, 4, 6]


def test_features_that_vanish_or_are_missing():
    with pytest.raises(ValueError, match="float16, cannot hold"):
        FeatureTrigger({0: 1e-9}).fit(np.ones((3, 2), np.float16))
    X = np.array([["a", 1], [pd.NA, 2]], dtype=object)
    assert FeatureTrigger({0: "x"}).fit_transform(X)[:, 0].tolist() == ["x", "x"]
    out = FunctionTrigger(lambda X: X * 0.4).fit_transform(np.array([[True, False]]))
    assert out.dtype == bool and not out.any()  # rounded half to even, as images are


def test_poisoned_sets_have_the_dtype_of_what_is_given():
    X = (np.random.default_rng(0).random((60, 4)) > 0.5) * 1.0
    y = np.arange(60) % 2
    poisoner = BackdoorPoisoner(LogisticRegression(), FeatureTrigger({0: 3.0}), target=1)
    assert poisoner.fit(X, y).poison(X.astype(np.float32), y)[0].dtype == np.float32
