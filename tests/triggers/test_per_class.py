"""Triggers of every class: each by its own, in every container."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skbackdoor.triggers import FeatureTrigger, PatchTrigger, PerClassTrigger

rng = np.random.RandomState(0)


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


@pytest.mark.parametrize("labels", [[0, 1, 2], ["a", "b", "c"], [1.0, 2.0, 5.0], [False, True]])
def test_per_class_is_each_class_by_its_own_trigger(labels):
    X = rng.uniform(size=(30, 2, 4, 4))
    y = np.resize(labels, 30)
    trigger = PerClassTrigger(PatchTrigger(2, value="random", random_state=0)).fit(X, y)
    assert trigger.classes_.tolist() == sorted(labels)
    assert list(trigger.triggers_) == sorted(labels)
    out = trigger.transform(X, y)
    for label in labels:
        own = trigger.triggers_[label]
        np.testing.assert_array_equal(out[y == label], own.transform(X[y == label]))
    patterns = [t.pattern_ for t in trigger.triggers_.values()]
    assert all((a != b).all() for i, a in enumerate(patterns) for b in patterns[:i])
    np.testing.assert_array_equal(out, clone(trigger).fit_transform(X, y))
    # a subset of the classes is enough for transform
    kept = y == labels[0]
    np.testing.assert_array_equal(out[kept], trigger.transform(X[kept], y[kept]))


def test_per_class_pipelines_and_seeds():
    X, y = rng.uniform(size=(8, 16)), np.array([0, 1] * 4)
    inner = make_pipeline(
        PatchTrigger(1, value="random", random_state=3),
        PatchTrigger(1, position="top-left", value="random", random_state=3),
        FeatureTrigger({5: 0.125}),
    )
    trigger = PerClassTrigger(inner).fit(X, y)
    seeds = [
        pipeline.get_params()[f"patchtrigger-{i}__random_state"]
        for pipeline in trigger.triggers_.values()
        for i in (1, 2)
    ]
    assert len(set(seeds[::2])) == 2 and len(set(seeds[1::2])) == 2
    assert inner.get_params()["patchtrigger-1__random_state"] == 3
    out = trigger.transform(X, y)
    assert (out[:, 5] == 0.125).all() and (out[:, [0, 15]] != X[:, [0, 15]]).all()
    np.testing.assert_array_equal(out, clone(trigger).fit(X, y).transform(X, y))
    assert PerClassTrigger(PatchTrigger()).get_params()["trigger__random_state"] is None
    assert trigger.get_feature_names_out().tolist() == [f"x{i}" for i in range(16)]


def test_per_class_keeps_containers():
    y = list("abcabc")
    X = rng.uniform(size=(6, 4)).astype("f4")
    patch = PerClassTrigger(PatchTrigger(2, value="random", random_state=0)).fit(X, y)
    expected = patch.transform(X, y)
    assert expected.dtype == np.float32
    frame = pd.DataFrame(X, columns=list("pqrs"), index=[3, 3, 1, 2, 0, 9])
    out = clone(patch).fit(frame, y).transform(frame, y)
    pd.testing.assert_frame_equal(out, pd.DataFrame(expected, frame.index, frame.columns))
    with config_context(transform_output="pandas"):
        out = clone(patch).fit(X, y).transform(X, y)
    assert isinstance(out, pd.DataFrame) and (out.to_numpy() == expected).all()
    out = clone(patch).set_output(transform="pandas").fit_transform(X, y)
    assert isinstance(out, pd.DataFrame) and (out.to_numpy() == expected).all()
    doubles = X.astype(float)
    np.testing.assert_array_equal(patch.transform(X.tolist(), y), patch.transform(doubles, y))

    mixed = pd.concat([mixed_frame()] * 2)
    out = PerClassTrigger(FeatureTrigger({"level": "v"})).fit_transform(mixed, y)
    pd.testing.assert_frame_equal(out, FeatureTrigger({"level": "v"}).fit_transform(mixed))
    for kind in (sparse.csr_array, sparse.csc_matrix, sparse.coo_array, sparse.lil_matrix):
        out = PerClassTrigger(FeatureTrigger({1: 0.5})).fit_transform(kind(X), y)
        assert type(out) is kind and out.dtype == np.float32
        assert (out.toarray() == FeatureTrigger({1: 0.5}).fit_transform(X)).all()


def test_bad_per_class():
    X, y = np.zeros((4, 9)), [0, 1, 0, 1]
    trigger = PerClassTrigger(PatchTrigger())
    with pytest.raises(NotFittedError):
        trigger.transform(X, y)
    with pytest.raises(ValueError, match="requires y"):
        trigger.fit(X, None)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        trigger.fit(X, [0, 1])
    with pytest.raises(ValueError, match="label type"):
        trigger.fit(X, [0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ValueError, match="'trigger'"):
        PerClassTrigger("patch").fit(X, y)
    trigger.fit(X, y)
    with pytest.raises(ValueError, match=r"true labels, transform\(X, y\)"):
        trigger.transform(X)
    with pytest.raises(ValueError, match=r"y holds \[7\].*\[0, 1\]"):
        trigger.transform(X, [0, 1, 7, 1])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        trigger.transform(X, [0, 1])
    with pytest.raises(ValueError, match="expecting 9 features"):
        trigger.transform(X[:, 1:], y)
