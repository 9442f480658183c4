"""Tokens in texts: containers, places, bad texts, attacks on texts."""

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skbackdoor import Attack, BackdoorPoisoner, evaluate_attack
from skbackdoor.triggers import PerClassTrigger, TokenTrigger

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
        if kind != "tuple":
            attack = Attack(trigger, target=1, poisoning_rate=0.34).fit(X, labels)
            poisoned, _, is_poison = attack.poison(X, labels)
            assert all(text.endswith(" cf") for text in np.asarray(poisoned)[is_poison])
