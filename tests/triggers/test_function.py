"""Triggers from functions: containers, dtypes, and functions that are no triggers."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skbackdoor.triggers import FunctionTrigger

rng = np.random.RandomState(0)


def brighten(X):
    X += 0.5
    return X


def test_function_may_write_to_what_it_gets():
    X = rng.uniform(size=(3, 2, 4, 4)).astype(np.float32)
    before = X.copy()
    out = FunctionTrigger(brighten).fit_transform(X)
    assert_array_equal(X, before)
    assert_array_equal(out, before + np.float32(0.5))
    assert out.dtype == np.float32


def test_function_keeps_dtypes_and_containers():
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": ["x", "y"]}, index=[7, 8])

    def numbers_as_float(X):
        X["a"] = X["a"] + 0.6
        return X

    out = FunctionTrigger(numbers_as_float).fit_transform(frame)
    assert out.dtypes.equals(frame.dtypes) and out["a"].tolist() == [2, 3]
    assert out.index.tolist() == [7, 8]
    texts = FunctionTrigger(lambda X: [text.upper() for text in X]).fit_transform(["a b", "c"])
    assert texts == ["A B", "C"]
    series = pd.Series(["a", "b"], index=[3, 4], name="text")
    out = FunctionTrigger(lambda X: X + " cf").fit_transform(series)
    assert out.tolist() == ["a cf", "b cf"] and out.index.tolist() == [3, 4]
    sparse_X = sparse.csr_array(np.eye(3))
    assert_array_equal(
        FunctionTrigger(lambda X: X * 2).fit_transform(sparse_X).toarray(), np.eye(3) * 2
    )


@pytest.mark.parametrize(
    "func, X, message",
    [
        (lambda X: X[:-1], np.zeros((3, 2)), r"shape \(3, 2\) and returned \(2, 2\)"),
        (lambda X: X * 1000.0, np.ones((3, 2), np.uint8), "up|cannot hold"),
        (lambda X: X.astype(int) - 5, np.ones((3, 2), np.uint8), "from -4 to -4.*cannot hold"),
        (lambda X: X.to_numpy(), pd.DataFrame({"a": [1.0]}), "given a DataFrame and returned"),
        (lambda X: X.rename(columns={"a": "b"}), pd.DataFrame({"a": [1.0]}), "keeps the columns"),
        (lambda X: X[0], ["a", "b"], "given a list and returned a str"),
        ("name", np.zeros((2, 2)), "func"),
    ],
)
def test_functions_that_are_no_triggers(func, X, message):
    with pytest.raises(ValueError, match=message):
        FunctionTrigger(func).fit(X).transform(X)
