"""Members of a group vary where their content does; a cluster of a class of several does not."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import make_classification
from sklearn.preprocessing import StandardScaler

from skbackdoor import LeaveGroupOutDetector
from skbackdoor.detection import PoisonGroup
from skbackdoor.detection.clean_label import LEAST, _least
from skbackdoor.detection.evidence import variation
from skbackdoor.detection.verdict import ABOVE, VARIES, judged_group, varies

N_FEATURES = 12


@pytest.fixture
def clusters():
    """A class of two clusters far apart along the first axis, and noise along all."""
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(400, N_FEATURES))
    rows[::2, 0] += 8.0
    return rows, np.zeros(400, dtype=int)


@pytest.fixture
def poison_group():
    """One that is poison by all but its variation."""
    return PoisonGroup(
        label=0,
        indices=np.arange(400),
        flip=1.0,
        cohesion=0.8,
        typicality=1.0,
        coverage=1.0,
        transfer=1.0,
        stay=1.0,
        content_accuracy=1.0,
        content_labels=np.ones(400, dtype=int),
        verdict="suspect",
        score=0.8,
    )


def of(members, rows, y, content=None, seed=0):
    content = np.zeros(len(members), dtype=int) if content is None else content
    return variation(members, rows, y, content, np.random.RandomState(seed))


def test_rows_of_the_class_vary_as_it_does(clusters):
    rows, y = clusters
    rng = np.random.RandomState(1)
    random = []
    for _ in range(40):
        drawn = rng.permutation(400)
        random.append(of(rows[drawn[:40]], rows[drawn[40:]], y[40:]))
    assert_allclose(np.mean(random), 1.0, atol=0.05)


def test_one_cluster_does_not(clusters):
    rows, y = clusters
    assert of(rows[::2][:40], rows[80:], y[80:]) < 0.15  # 1 of 1 + 16


def test_it_is_a_ratio_of_variances(clusters):
    rows, y = clusters
    members, others = rows[:50], rows[50:]
    once = of(members, others, y[50:])
    assert_allclose(of(3.0 * members + 2.0, others, y[50:]), 9.0 * once)
    # The first axis alone stands out: its variance in the members over that in the rows.
    along = others[:, 0].var()
    assert_allclose(once, members[:, 0].var(ddof=1) / along, rtol=0.05)


def test_few_members_of_many_classes_are_held_against_the_means_of_these(clusters):
    rows, _ = clusters
    y, few = np.repeat(np.arange(4), 100), np.array([0, 1, 2, 3, 0, 1, 2, 3])
    rows = rows + 5.0 * np.eye(N_FEATURES)[y + 3]
    drawn = []
    for k in range(60):
        one = 100 * few + np.random.RandomState(k).permutation(100)[: len(few)]
        left = np.setdiff1d(np.arange(400), one)
        drawn.append(of(rows[one], rows[left], y[left], few, k))
    assert_allclose(np.mean(drawn), 1.0, atol=0.15)


def test_where_nothing_can_be_said_it_is_nan(clusters):
    rows, y = clusters
    assert np.isnan(of(rows[:30], rows[:19], y[:19]))  # nineteen rows of the content
    assert np.isnan(of(rows[:3], rows[50:], y[50:]))
    assert np.isnan(of(np.zeros((20, 3)), np.zeros((50, 3)), y[:50]))  # nothing varies
    assert of(np.zeros((20, N_FEATURES)), rows, y) == 0.0


def test_a_group_that_does_not_vary_is_no_poison(poison_group):
    least, errors = VARIES
    n = len(poison_group.indices)
    limit = least * (1.0 - errors / np.sqrt(n))
    assert judged_group(poison_group).verdict == "poison"  # not asked
    assert judged_group(replace(poison_group, variation=limit + 0.01)).verdict == "poison"
    less = replace(poison_group, variation=limit - 0.01)
    assert not varies(less) and judged_group(less).verdict == "suspect"

    class Given:
        def __init__(self, variation):
            self.variation = lambda *_: variation

    assert varies(less, Given(1.0))  # a strong trigger makes the same features of all content
    assert not varies(less, Given(limit - 0.01))


def test_of_clean_label_groups_all_labels_have_none_is_poison():
    assert _least((0,), [0.0, 0.0, 0.2]) == LEAST[1]
    assert _least((0,), [0.6, 0.5, 0.5, 0.4]) == ABOVE * 0.5
    assert _least((0, 1), [0.6, 0.5, 0.5, 0.4]) == ABOVE * 0.5


@pytest.mark.parametrize("n_classes, n_informative, class_sep", [(4, 12, 3.0), (3, 8, 3.0)])
def test_clusters_far_apart_are_no_poison(n_classes, n_informative, class_sep):
    X, y = make_classification(
        n_samples=600,
        n_features=40,
        n_informative=n_informative,
        n_redundant=0,
        n_classes=n_classes,
        class_sep=class_sep,
        flip_y=0.0,
        random_state=5,
    )
    detector = LeaveGroupOutDetector().fit(StandardScaler().fit_transform(X), y)
    assert not detector.is_poison_.any()
    assert detector.leave_one_out_accuracy_ > 0.9
