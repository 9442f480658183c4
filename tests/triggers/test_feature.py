"""Feature triggers and quantiles: containers, dtypes, bad columns, attacks on tables."""

import pickle
import subprocess
import sys
import warnings
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from attacks import poisoned as poisoned_data
from hypothesis import given, settings
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbackdoor import Attack, BackdoorPoisoner, evaluate_attack
from skbackdoor.triggers import (
    FeatureTrigger,
    FunctionTrigger,
    PatchTrigger,
    Quantile,
    TokenTrigger,
)

ARRAY = np.zeros((2, 3))


def mixed_frame():
    return pd.DataFrame(
        {
            "int": [1, 2, 3],
            "float": np.array([1, np.nan, 3], "f4"),
            "text": ["x", "y", "z"],
            "object": np.array(["p", 1, None], dtype=object),
            "level": pd.Categorical(["u", "v", "u"]),
            "Int64": pd.array([1, None, 3], dtype="Int64"),
            "bool": [True, False, True],
            "date": pd.to_datetime(["2020-01-01"] * 3),
        },
        index=[7, 7, 8],
    ).astype({"text": "string", "object": object})


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


def test_works_without_pandas():
    code = (
        "import sys\n"
        "class NoPandas:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'pandas':\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, NoPandas())\n"
        "from skbackdoor.triggers import FeatureTrigger, PatchTrigger, PerClassTrigger\n"
        "for trigger in (PatchTrigger(1), FeatureTrigger({1: 1.0})):\n"
        "    out = PerClassTrigger(trigger).fit_transform([[0.5, 0.5]], ['a'])\n"
        "    assert out.tolist() == [[0.5, 1.0]]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "column, value",
    [
        ("int", 7),
        ("int", 7.0),
        ("float", 0.1),
        ("float", np.nan),
        ("text", "a longer text"),
        ("object", "q"),
        ("object", 2.5),
        ("level", "v"),
        ("Int64", 9),
        ("bool", False),
        ("date", pd.Timestamp("2021-01-01")),
    ],
)
def test_feature_trigger_on_mixed_frames(column, value):
    frame = mixed_frame()
    before = frame.copy()
    by_name = FeatureTrigger({column: value}).fit(frame)
    out = by_name.transform(frame)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(out.drop(columns=column), frame.drop(columns=column))
    assert out[column].dtype == frame[column].dtype and out.index.equals(frame.index)
    if value == value:
        expected = np.float32(value) if column == "float" else value
        assert (out[column] == expected).all()
    else:
        assert out[column].isna().all()
    position = list(frame.columns).index(column)
    pd.testing.assert_frame_equal(FeatureTrigger({position: value}).fit_transform(frame), out)
    assert list(by_name.feature_names_in_) == list(frame.columns)


def test_column_names_win_over_indices():
    frame = pd.DataFrame({1: [0.0], 0: [0.0], 5: [0.0]})
    out = FeatureTrigger({1: 0.5, 2: 0.25}).fit_transform(frame)
    assert out.to_numpy().tolist() == [[0.5, 0, 0.25]]
    assert list(out.columns) == [1, 0, 5]


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from(["f4", "f8", "i4", "u1"]), st.data())
def test_feature_trigger_containers_agree(n_samples, n_features, dtype, data):
    draw = data.draw
    columns = draw(st.sets(st.integers(0, n_features - 1), min_size=1))
    features = {j: draw(st.sampled_from([0, 1, 3])) for j in columns}
    X = np.random.RandomState(draw(st.integers(0, 99))).randint(0, 3, size=(n_samples, n_features))
    X = X.astype(dtype)
    expected = X.copy()
    for column, value in features.items():
        expected[:, column] = value
    out = FeatureTrigger(features).fit_transform(X)
    assert out.dtype == X.dtype and (out == expected).all()
    kind = draw(st.sampled_from([sparse.csr_array, sparse.csc_matrix, sparse.coo_array]))
    S = kind(X)
    out = FeatureTrigger(features).fit_transform(S)
    assert type(out) is type(S) and out.dtype == S.dtype
    assert (out.toarray() == expected).all() and (S.toarray() == X).all()
    frame = pd.DataFrame(X, columns=[f"c{j}" for j in range(n_features)])
    out = FeatureTrigger({f"c{j}": value for j, value in features.items()}).fit_transform(frame)
    assert (out.dtypes == frame.dtypes).all() and (out.to_numpy() == expected).all()


def test_feature_trigger_keeps_missing_values_and_sparse_indices():
    X = np.array([[np.nan, 1], [2, np.inf]])
    np.testing.assert_array_equal(FeatureTrigger({1: 0}).fit_transform(X), [[np.nan, 0], [2, 0]])
    S = sparse.csr_matrix(np.array([[np.nan, 0.0], [0, 4]]))
    out = FeatureTrigger({1: 0.5}).fit_transform(S)
    np.testing.assert_array_equal(out.toarray(), [[np.nan, 0.5], [0, 0.5]])
    assert out.indices.dtype == S.indices.dtype
    texts = np.array([["ab", "c"]], dtype="<U2")
    assert FeatureTrigger({1: "zz"}).fit_transform(texts).tolist() == [["ab", "zz"]]


@pytest.mark.parametrize(
    "features, X, words",
    [
        ({}, ARRAY, ["features={}", "{column name or index: value}"]),
        ([1], ARRAY, ["'features'", "Got [1]"]),
        ({"a": 1}, ARRAY, ["'a'", "no column names", "0 to 2"]),
        ({3: 1}, ARRAY, ["3", "0 to 2"]),
        ({-1: 1}, ARRAY, ["-1", "0 to 2"]),
        ({"zz": 1}, mixed_frame(), ["'zz'", "'text'"]),
        ({"int": 1, 0: 2}, mixed_frame(), ["twice", "'int'", "0"]),
        ({"int": 0.5}, mixed_frame(), ["'int'", "0.5", "int64"]),
        ({"level": "w"}, mixed_frame(), ["'level'", "'w'", "['u', 'v']"]),
        ({"text": 3}, mixed_frame(), ["'text'", "3"]),
        ({"Int64": 0.5}, mixed_frame(), ["'Int64'", "0.5"]),
        ({"float": "0.5"}, mixed_frame(), ["'float'", "'0.5'", "float32"]),
        ({"float": 1e300}, mixed_frame(), ["1e+300", "float32"]),
        ({0: 0.5}, np.zeros((2, 2), int), ["0.5", "int64", "convert"]),
        ({0: 256}, np.zeros((2, 2), np.uint8), ["256", "uint8"]),
        ({0: -1}, sparse.csr_array(np.eye(2, dtype=np.uint8)), ["-1", "uint8"]),
        ({0: "abc"}, np.array([["ab"]]), ["'abc'", "<U2"]),
        ({0: "abc"}, ARRAY, ["'abc'", "float64"]),
        ({0: 1}, np.zeros((2, 3, 4)), ["dim 3"]),
        ({0: 1}, pd.DataFrame({"a": []}), ["(0, 1)", "minimum of 1"]),
    ],
)
def test_bad_features(features, X, words):
    with pytest.raises(ValueError) as raised:
        FeatureTrigger(features).fit(X)
    for word in words:
        assert word in str(raised.value)


def test_bad_features_at_transform():
    trigger = FeatureTrigger({0: 0.5}).fit(ARRAY)
    with pytest.raises(ValueError, match="int64, cannot hold"):
        trigger.transform(ARRAY.astype(int))
    with pytest.raises(NotFittedError):
        FeatureTrigger({0: 0.5}).transform(ARRAY)


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
    poisoned, _, is_poison = poisoned_data(poisoner, X[:400], y[:400])
    assert poisoned.dtypes.equals(X.dtypes)
    assert (poisoned.loc[is_poison, "hours"] == 99.5).all()


def test_level_that_the_column_does_not_have():
    X, _ = census()
    with pytest.raises(ValueError, match="'pilot'.*one of its levels, \\['clerk', 'cook'"):
        FeatureTrigger({"job": "pilot"}).fit(X)


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
    attack = Attack(FeatureTrigger({0: 3.0}), target=1)
    assert attack.fit(X, y).poison(X.astype(np.float32), y)[0].dtype == np.float32
