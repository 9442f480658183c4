"""Which rows of a label count as members of a part of them, and how far that part is apart."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import rbf_kernel

from skbackdoor.detection.kernel_ridge import LeaveGroupOutRidge
from skbackdoor.detection.members import Members


def test_membership_within_a_label_is_that_of_the_whole_fit():
    X, y = load_digits(return_X_y=True)
    X, y = X[:300] / 16, y[:300]
    ridge = LeaveGroupOutRidge(rbf_kernel(X, gamma=0.2), y, 0.1)
    rows = np.flatnonzero(y == 3)
    part = np.arange(0, len(rows), 3)
    relative, gap = Members(ridge, rows).relative(part)
    whole = ridge.membership(rows[part])[rows]
    inside = np.isin(np.arange(len(rows)), part)
    low, high = np.median(whole[~inside]), np.median(whole[inside])
    assert_allclose(gap, high - low)
    assert_allclose(relative, (whole - low) / (gap + 1e-9))


@pytest.mark.parametrize("shift", [0.0, 8.0])
def test_apart_is_a_gap_and_no_mere_end_of_a_spread(shift):
    """A cloud that is shifted off is apart; the upper end of one cloud is not."""
    rng = np.random.RandomState(0)
    X = rng.randn(120, 4)
    X[:30, 0] += shift
    part = np.arange(30) if shift else np.argsort(-X[:, 0])[:30]
    y = np.zeros(120, dtype=int)
    ridge = LeaveGroupOutRidge(rbf_kernel(X, gamma=0.05), y, 0.1)
    members = Members(ridge, np.arange(120))
    apart, _ = members.apart(part)
    refined = members.refined(np.sort(part)[:20])
    if shift:
        assert apart > 0.6 and np.mean(np.isin(refined, part)) > 0.9
    else:
        assert apart < 0.3


def test_the_rows_that_are_most_apart_are_those_of_the_cloud():
    """From most of them, and from all with some others."""
    rng = np.random.RandomState(0)
    X = rng.randn(120, 4)
    X[:30, 0] += 8.0
    ridge = LeaveGroupOutRidge(rbf_kernel(X, gamma=0.05), np.zeros(120, dtype=int), 0.1)
    members = Members(ridge, np.arange(120))
    assert_array_equal(members.resized(np.arange(24)), np.arange(30))
    assert_array_equal(members.resized(np.arange(36)), np.arange(30))
