"""How many rows are poisoned, which, and with which label."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from poisoners import X2, X3, Y2, Y3, attack
from sklearn.linear_model import LogisticRegression

from skbackdoor import make_backdoor_classification


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
