"""The worst trigger against the slopes of all candidates, one by one."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    MaskTrigger,
    PatchTrigger,
    backdoor_learning_slope,
    worst_trigger,
)
from skbackdoor.worst_trigger import largest_on_sphere

LEARNERS = {
    "ridge": RidgeClassifier(alpha=10),
    "logistic": LogisticRegression(C=0.3),
    "liblinear": LogisticRegression(C=0.3, solver="liblinear", class_weight={4: 2.0}),
    "squared hinge": LinearSVC(C=0.05),
}
CASES = [(name, labels) for name in LEARNERS for labels in ((4, 9), (1, 4, 7))]
CASES.remove(("liblinear", (1, 4, 7)))


@cache
def digits(*labels, shift=0.0):
    """Digits, four by four pixels."""
    X, y = load_digits(return_X_y=True)
    rows = np.flatnonzero(np.isin(y, labels))
    rows = np.random.default_rng(0).permutation(rows)[:150]
    X = X[rows].reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16) / 16 + shift
    return X[:100], y[rows][:100], X[100:], y[rows][100:]


def attack(name, target):
    return BackdoorPoisoner(
        LEARNERS[name], FeatureTrigger({0: 1.0}), target=target, random_state=0, poisoning_rate=0.1
    )


def theta(poisoner, trigger, data):
    return backdoor_learning_slope(clone(poisoner).set_params(trigger=trigger), *data).theta


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*already, so it says little",
    "ignore:The trigger FeatureTrigger",
    "ignore:(lbfgs|Liblinear|newton-cg|The max_iter)",
)


@pytest.mark.parametrize(("name", "labels"), CASES)
@pytest.mark.parametrize("target", ["next", "last"])
def test_the_worst_patch(name, labels, target):
    data, poisoner = digits(*labels), attack(name, labels[-1] if target == "last" else target)
    worst = worst_trigger(poisoner, *data, kind="patch", size=2, image_shape=(4, 4))
    assert isinstance(worst, PatchTrigger)
    every = [
        theta(poisoner, PatchTrigger(2, position=(i, j), value=v, image_shape=(4, 4)), data)
        for i in range(3)
        for j in range(3)
        for v in (0, 1)
    ]
    assert_allclose(theta(poisoner, worst, data), max(every), rtol=1e-9)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_the_worst_column(name, shift):
    data, poisoner = digits(4, 9, shift=shift), attack(name, 9)
    worst = worst_trigger(poisoner, *data, kind="columns", size=1)
    ends = [data[0].min(axis=0), data[0].max(axis=0)]
    every = [theta(poisoner, FeatureTrigger({j: end[j]}), data) for j in range(16) for end in ends]
    assert_allclose(theta(poisoner, worst, data), max(every), rtol=1e-9)


def test_columns_one_after_the_other():
    data, poisoner = digits(4, 9), attack("logistic", 9)
    worst = worst_trigger(poisoner, *data, kind="columns", size=2, value_range=(-1.0, 2.0))
    (first, value), (second, _) = worst.features.items()
    every = [
        theta(poisoner, FeatureTrigger({first: value, j: end}), data)
        for j in range(16)
        if j != first
        for end in (-1.0, 2.0)
    ]
    assert second != first
    assert_allclose(theta(poisoner, worst, data), max(every), rtol=1e-9)


def shifts(size, delta=None):
    """Directions everywhere, or near one."""
    rng = np.random.default_rng(0)
    for spread in (0.01, 0.1, 1.0):
        for _ in range(8):
            d = rng.normal(size=16)
            d = d if delta is None else delta / np.linalg.norm(delta) + spread * d
            yield MaskTrigger(0.0, size * d / np.linalg.norm(d), value_range=(-1e3, 1e3))


@pytest.mark.parametrize(("name", "labels"), CASES)
@pytest.mark.parametrize("size", [0.3, 2.0])
def test_no_direction_is_worse(name, labels, size):
    data, poisoner = digits(*labels), attack(name, labels[-1])
    worst = worst_trigger(poisoner, *data, size=size)
    assert_allclose(np.linalg.norm(worst.shift), size)
    reached = theta(poisoner, worst, data)
    others = [theta(poisoner, t, data) for t in (*shifts(size), *shifts(size, worst.shift))]
    assert reached >= max(others) - 2e-3 * abs(reached)


def test_sparse_rows():
    data = digits(4, 9)
    rows = [sparse.csr_matrix(data[0]), data[1], sparse.csr_matrix(data[2]), data[3]]
    poisoner = attack("logistic", 9)
    dense, thin = (worst_trigger(poisoner, *d, kind="columns", size=2) for d in (data, rows))
    assert dense.features == thin.features


def test_largest_on_a_sphere():
    rng = np.random.default_rng(0)
    for k in range(20):
        Q = rng.normal(size=(6, 6))
        Q, q = Q + Q.T - 3 * np.eye(6) * (k % 2), rng.normal(size=6)
        if k % 3 == 0:  # the hard case: q has no part in the top direction
            top = np.linalg.eigh(Q)[1][:, -1]
            q -= top * (top @ q)
            q *= 0.01
        size = 0.1 + k / 5
        d = largest_on_sphere(Q, q, size)
        assert_allclose(np.linalg.norm(d), size)
        tries = rng.normal(size=(4000, 6))
        tries = np.vstack([tries, d + 0.01 * tries])
        tries *= size / np.linalg.norm(tries, axis=1)[:, None]
        values = np.einsum("ij,jk,ik->i", tries, Q, tries) + tries @ q
        assert d @ Q @ d + q @ d >= values.max() - 1e-12


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "colour"}, "kind='colour'"),
        ({"kind": "columns", "size": 17}, "size=17"),
        ({"kind": "columns", "size": 1.5}, "size=1.5"),
        ({"kind": "patch", "size": 2}, "image_shape"),
        ({"kind": "patch", "size": 5, "image_shape": (4, 4)}, "size=5"),
        ({"size": 0.0}, "size=0.0"),
    ],
)
def test_wrong_parameters(wrong, message):
    with pytest.raises(ValueError, match=message):
        worst_trigger(attack("ridge", 9), *digits(4, 9), **wrong)


@pytest.mark.parametrize(
    "learner", [SVC(), make_pipeline(StandardScaler(), RidgeClassifier())], ids=["svc", "pipeline"]
)
def test_other_learners(learner):
    poisoner = attack("ridge", 9).set_params(estimator=learner)
    with pytest.raises(ValueError, match="trigger_family"):
        worst_trigger(poisoner, *digits(4, 9))
