"""What goes into weight_path: frames, names for labels, masks; and that it is not written to."""

import numpy as np
import pandas as pd
import pytest
from conditions import ridge_truth, signs_of
from numpy.testing import assert_array_equal
from problems import BETWEEN, CONVERGED, EVERY, assert_close, numbers
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbackdoor.paths import weight_path

pytestmark = CONVERGED


def frame(rows):
    """Numbers and a category, whose rows have an index of their own; labels are names."""
    colour = np.where(rows.X[:, 1] > 0, "red", "blue")
    table = pd.DataFrame(rows.X, columns=[f"x{j}" for j in range(rows.X.shape[1])])
    table = table.assign(colour=colour).set_index(np.arange(len(colour))[::-1] * 10)
    return table, pd.Series(np.array(["no", "yes"])[rows.y], index=table.index)


@pytest.mark.parametrize("name", EVERY)
def test_frames_and_names(name):
    """A Pipeline on a DataFrame is the learner on what its steps, fitted on clean rows, give."""
    rows = numbers()
    X, y = frame(rows)
    features = [f"x{j}" for j in range(6)]
    steps = make_column_transformer((StandardScaler(), features), (OneHotEncoder(), ["colour"]))
    path = weight_path(make_pipeline(steps, EVERY[name]), X, y, rows.is_poison)
    held = clone(steps).fit(X[~rows.is_poison])
    bare = weight_path(EVERY[name], held.transform(X), rows.y, rows.is_poison)
    solution, expected = path.solve(BETWEEN), bare.solve(BETWEEN)
    F = expected.decision_function(held.transform(X))
    assert_close(solution.decision_function(X), F, 1e-9)
    assert_array_equal(
        solution.predict(X), np.array(["no", "yes"])[expected.predict(held.transform(X))]
    )
    assert_close(solution.losses(X, y), expected.losses(held.transform(X), rows.y), 1e-8)
    if name == "ridge":
        Z, T, ones = held.transform(X), signs_of(rows.y), np.ones(len(y))
        for k, beta in enumerate(BETWEEN):
            W, _ = ridge_truth(Z, T, ones, beta, rows.is_poison, 1.0, True)
            assert_close(solution.coef[k], W[:, :-1], 1e-10)


@pytest.mark.parametrize("name", EVERY)
def test_frames_without_a_pipeline(name):
    rows = numbers()
    X, y = frame(rows)
    X = X.drop(columns="colour")
    solution = weight_path(EVERY[name], X, y, rows.is_poison).solve(BETWEEN)
    expected = rows.path(EVERY[name]).solve(BETWEEN).decision_function(rows.X_test)
    X_test = pd.DataFrame(rows.X_test, columns=X.columns)
    assert_close(solution.decision_function(X_test), expected, 1e-9)


@pytest.mark.parametrize("mask", [np.zeros(68, bool), np.ones(68, bool), np.ones(3, bool)])
def test_mask_must_mark_some_rows(mask):
    rows = numbers()
    with pytest.raises(ValueError, match="is_poison"):
        weight_path(RidgeClassifier(), rows.X, rows.y, mask)


def test_class_without_clean_rows():
    rows = numbers()
    y = np.where(rows.is_poison, 2, rows.y)
    with pytest.raises(ValueError, match="No clean training row"):
        weight_path(RidgeClassifier(), rows.X, y, rows.is_poison)


def test_inputs_are_not_written_to():
    rows, weight = numbers(), np.ones(68)
    X, y = rows.X.copy(), rows.y.copy()
    for estimator in EVERY.values():
        rows.path(estimator, sample_weight=weight).solve([0.0, 0.5])
    assert_array_equal(rows.X, X)
    assert_array_equal(rows.y, y)
    assert_array_equal(weight, 1.0)
