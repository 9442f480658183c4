"""When labels are got and lost: zeros of single functions, and how they make up a label."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from problems import EVERY, digits, ten

from skbackdoor.paths.linear.rational import FractionSums
from skbackdoor.paths.switches import SignChanges, by_comparisons, by_votes, margins

GRID = np.linspace(0.0, 1.0, 4001)


def test_fractions_all_zeros():
    """Against signs on a fine grid: sums with many terms of both signs, and steep ones."""
    rng = np.random.default_rng(0)
    lam = 10.0 ** rng.uniform(-2, 4, 12)
    c = rng.normal(size=(300, 12)) * (1 + lam) ** rng.uniform(0, 1, (300, 1))
    start = -(c @ (0.3 / (1 + 0.3 * lam))) * rng.uniform(0.5, 1.5, 300)
    changes = FractionSums(start, c, lam).sign_changes()
    values = start[:, None] + c @ (GRID / (1 + lam[:, None] * GRID))
    assert len(changes.rows) > 100
    for f in range(300):
        zeros = changes.weights[changes.rows == f]
        sign = np.where(values[f, 0] > 0, 1, -1) * (-1) ** np.searchsorted(zeros, GRID)
        far = np.abs(values[f]) > 1e-9 * np.abs(c[f] / lam).sum()
        assert np.array_equal(np.sign(values[f])[far], sign[far])
        at = start[f] + (c[f] / (1 / zeros[:, None] + lam)).sum(axis=1)
        assert_allclose(at, 0, atol=1e-12 * np.abs(c[f]).sum())


def test_fractions_that_touch():
    """A function that comes to 0 and turns, and one that passes it twice within 1e-4."""
    lam = np.array([0.0, 1.0])  # g = g_0 + c_0 b + c_1 b / (1 + b): (1 + b) g is a parabola

    def through(low, high):
        # (b - low)(b - high) / (1 + b) = b - (1 + low + high) + (1 + low)(1 + high) / (1 + b)
        product = (1 + low) * (1 + high)
        return low * high, [1.0, -product]

    start, c = map(np.array, zip(through(0.5, 0.5001), through(0.3, 0.7), strict=True))
    changes = FractionSums(start, c, lam).sign_changes()
    assert_allclose(changes.weights[changes.rows == 0], [0.5, 0.5001], atol=1e-9)
    assert_allclose(changes.weights[changes.rows == 1], [0.3, 0.7], atol=1e-12)
    touching, c = through(0.4, 0.4)
    above = FractionSums(np.array([touching + 1e-6]), np.array([c]), lam).sign_changes()
    assert len(above.rows) == 0


def test_a_label_needs_every_comparison():
    changes = SignChanges(
        np.array([True, False, True]), np.array([0, 1, 2, 0]), np.array([0.2, 0.3, 0.3, 0.6])
    )
    switches = by_comparisons(np.array([0, 0, 1]), changes, "", 0.0)
    assert switches.held.tolist() == [False, True]
    assert switches.rows.tolist() == [1, 0]  # 0: lost at 0.2, and the other won at 0.3
    assert_allclose(switches.weights, [0.3, 0.6])
    assert_allclose(switches.first(), [0.6, 0.0])
    weights, shares = switches.shares()
    assert_allclose(weights, [0, 0.3, 0.6])
    assert_allclose(shares, [0.5, 0, 0.5])
    assert_allclose(switches.shares(np.array([3.0, 1.0]))[1], [0.25, 0, 0.75])


def test_a_label_that_is_got_and_lost_at_one_weight_was_never():
    changes = SignChanges(np.array([True, False]), np.array([0, 1]), np.array([0.5, 0.5]))
    switches = by_comparisons(np.array([0, 0]), changes, "", 0.0)
    assert not switches.held[0] and len(switches.rows) == 0


def test_votes_are_those_of_all_pairs():
    changes = [
        SignChanges(np.array([True]), np.array([0]), np.array([0.4])),  # 0 over 1, until 0.4
        SignChanges(np.array([True]), np.array([], int), np.array([])),  # 0 over 2
        SignChanges(np.array([True]), np.array([], int), np.array([])),  # 1 over 2
    ]
    for label, first in ((0, 0.0), (1, 0.4), (2, np.inf)):
        assert by_votes(np.array([label]), changes, 3, "", 0.0).first()[0] == first


def test_margins_of_labels():
    F = np.array([[[1.0, 3.0, 2.0], [0.0, -1.0, 5.0]]])
    assert margins(F, np.array([1, 0])).tolist() == [[[2.0, 1.0], [1.0, -5.0]]]
    assert margins(F[..., :1], np.array([0, 1])).tolist() == [[[-1.0], [0.0]]]


@pytest.mark.filterwarnings("ignore:(lbfgs|Liblinear|newton-cg|The max_iter)")
@pytest.mark.parametrize("name", [name for name in EVERY if name != "refit"])
@pytest.mark.parametrize("rows", [digits(4, 9), ten()], ids=["two", "ten"])
def test_switches_are_those_of_labels_along_the_path(name, rows):
    """Against `predict` of the path at 300 weights: every label that a sample ever has."""
    if name == "liblinear" and rows is ten():
        pytest.skip("liblinear has two classes")
    path = rows.path(EVERY[name])
    weights = np.linspace(0, 1, 300)
    labels = path.solve(weights).predict(rows.X_test)
    ever = [np.unique(column) for column in labels.T]
    asked = [(i, label) for i, own in enumerate(ever) for label in own]
    some = np.array([i for i, _ in asked])
    y = np.searchsorted(path.rows.classes, [label for _, label in asked])
    switches = path.label_switches(path.prepare(rows.X_test[some]), y)
    assert switches.error <= 1e-4
    for k, (i, label) in enumerate(asked):
        own = switches.weights[switches.rows == k]
        has = switches.held[k] ^ (np.searchsorted(own, weights) % 2 == 1)
        near = np.abs(own[:, None] - weights).min(axis=0, initial=1.0) < 1e-5
        assert np.array_equal(has[~near], (labels[:, i] == label)[~near])
