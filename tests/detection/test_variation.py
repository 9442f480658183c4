"""Members of a group vary where their content does; a cluster of a class of several does not."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import rankdata
from sklearn.datasets import make_classification
from sklearn.preprocessing import StandardScaler

from skbackdoor import LeaveGroupOutDetector
from skbackdoor.detection import PoisonGroup
from skbackdoor.detection.clean_label import LEAST, _least
from skbackdoor.detection.evidence import variation
from skbackdoor.detection.search import Pattern
from skbackdoor.detection.verdict import ABOVE, VARIES, are_too_many, judged_group, varies
from skbackdoor.detection.whitened import N_LEADING, Whitened, Whitening

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


def of_random_rows(rows, y, rng):
    """That of forty rows among the others, forty times."""
    orders = (rng.permutation(len(rows)) for _ in range(40))
    return [of(rows[order[:40]], rows[order[40:]], y[40:]) for order in orders]


def test_rows_of_the_class_vary_as_it_does(clusters):
    found = of_random_rows(*clusters, np.random.RandomState(1))
    assert_allclose(np.mean(found), 1.0, atol=0.05)


def test_one_cluster_does_not(clusters):
    rows, y = clusters
    members, others = rows[::2][:40], rows[80:]
    assert of(members, others, y[80:]) < 0.35  # half of the ranks: a quarter of their variance
    middle = members - members.mean(axis=0) + others.mean(axis=0)
    assert of(middle, others, y[80:]) < 0.05  # as what they have in common puts rows


def test_it_is_the_variance_of_ranks_along_what_stands_out():
    """One axis in all: the ranks among a fifth of the rows, in turn, are those among all."""
    rng = np.random.RandomState(0)
    rows, members = rng.normal(size=(2000, 1)) ** 3, rng.uniform(-0.5, 0.5, size=(300, 1))
    # In one dimension no axis stands out from all; a second one, of noise, lets the first.
    rows, members = (np.hstack([x, 1e-3 * rng.normal(size=x.shape)]) for x in (rows, members))
    moved = members[:, 0] - members[:, 0].mean() + rows[:, 0].mean()
    ranks = rankdata(np.append(rows[:, 0], moved))[2000:] - rankdata(moved)
    expected = 12.0 * np.var(ranks / 2000, ddof=1)
    assert 0.1 < expected < 0.9
    assert_allclose(of(members, rows, np.zeros(2000)), expected, rtol=0.02)


def test_rows_with_heavy_tails_vary_as_their_class_does(clusters):
    """Ranks, not variances: of heavy tails, few rows have hardly any of the variance."""
    rows, y = clusters
    rng = np.random.RandomState(0)
    rows = rng.standard_t(1.5, size=rows.shape) * np.r_[5.0, np.ones(N_FEATURES - 1)]
    assert_allclose(np.median(of_random_rows(rows, y, rng)), 1.0, atol=0.1)


def test_few_members_of_many_classes_are_pooled(clusters):
    rows, _ = clusters
    y, few = np.repeat(np.arange(4), 100), np.array([0, 1, 2, 3, 0, 1, 2, 3])
    rows = rows + 5.0 * np.eye(N_FEATURES)[y + 3]
    drawn = []
    for k in range(60):
        one = 100 * few + np.random.RandomState(k).permutation(100)[: len(few)]
        left = np.setdiff1d(np.arange(400), one)
        drawn.append(of(rows[one], rows[left], y[left], few, k))
    assert_allclose(np.mean(drawn), 1.0, atol=0.15)


@pytest.mark.parametrize("share, most", [(0.3, 0.03), (0.05, 0.05)])
def test_of_random_rows_hardly_any_group_is_taken_for_a_cluster(share, most):
    """Tight clusters, and a rare one far out, which few rows may not hold."""
    least, errors = VARIES
    rng, less = np.random.RandomState(0), []
    for k in range(100):
        rows = 0.1 * rng.normal(size=(340, N_FEATURES))
        rows[:, 0] += 3.0 * (rng.uniform(size=340) < share)
        found = of(rows[:40], rows[40:], np.zeros(300), seed=k)
        less.append(found < least * (1.0 - errors / np.sqrt(40)))
    assert np.mean(less) <= most


def test_one_cluster_of_each_class_does_not_either():
    rng = np.random.RandomState(0)
    y = np.repeat(np.arange(5), 100)
    rows = rng.normal(size=(500, N_FEATURES)) + 20.0 * np.eye(N_FEATURES)[y]
    rows[::2] += 8.0 * np.eye(N_FEATURES)[y[::2] + 5]
    members = np.concatenate([np.flatnonzero(y == s)[:8:2] for s in range(5)])  # four of each
    rest = np.setdiff1d(np.arange(500), members)
    assert of(rows[members], rows[rest], y[rest], y[members]) < 0.4


def test_where_nothing_can_be_said_it_is_nan(clusters):
    rows, y = clusters
    assert np.isnan(of(rows[:30], rows[:19], y[:19]))  # nineteen rows of the content
    assert np.isnan(of(rows[:3], rows[50:], y[50:]))
    assert np.isnan(of(np.zeros((20, 3)), np.zeros((50, 3)), y[:50]))  # nothing varies
    many = np.append(np.zeros(10, dtype=int), np.ones(20, dtype=int))  # most of a class unknown
    assert np.isnan(of(rows[:30], rows[50:], y[50:], many))
    assert of(np.zeros((20, N_FEATURES)), rows, y) < 0.01


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

    # A strong trigger makes the same features of all content.
    assert varies(less, lambda: Given(1.0))
    assert not varies(less, lambda: Given(limit - 0.01))
    assert not varies(less, lambda: Given(np.nan))


@pytest.mark.parametrize("n_features", [40, 900])  # fewer and more than rows
def test_rows_as_given_are_asked_along_their_own_leading_axes(n_features):
    """Half whitened, the axes along which clusters part are not the leading ones."""
    rng = np.random.RandomState(0)
    y = np.repeat([0, 1], 240)
    X = rng.normal(size=(480, n_features)) * np.geomspace(1.0, 0.1, n_features)
    parts, label, one, other = np.linalg.qr(rng.normal(size=(n_features, 4)))[0].T
    sides = rng.choice([-4.0, 4.0], size=(480, 1))
    cluster, victims = np.arange(240, 300), np.arange(300, 360)
    X[y == 1] += 6.0 * label
    X[y == 0] += sides[y == 0] * parts
    X[cluster] += 4.0 * parts - 6.0 * label + 3.0 * one  # one of the other class's two, moved
    X[victims] += sides[victims] * parts - 6.0 * label + 3.0 * other
    whitening = Whitening(X, y, 0)
    view = Whitened(whitening, True, X, y, None, 8, 0)
    along = whitening._within.along(X)
    assert_allclose(view.leading(view.X), along[:, -N_LEADING:], atol=1e-9)
    content = np.zeros(60, dtype=int)
    assert view.variation(cluster, content) < 0.3
    assert 0.7 < view.variation(victims, content) < 1.3


def test_rows_as_given_are_searched_only_where_features_say_no(poison_group):
    asked = []

    class Stub(SimpleNamespace):
        @property
        def given(self):
            asked.append(self)
            return SimpleNamespace(variation=lambda G, content: 1.0)

    def verdict(**more):
        group = replace(poison_group, **more)
        search = Stub(
            ridge=SimpleNamespace(y=np.zeros(4000, int)),
            n_rows=np.array([4000]),
            smallest=8,
            rows_of=lambda label: np.arange(4000),
            settled=lambda G, rows: G,
            is_part=lambda G: True,
            describe=lambda G, common=None: group,
        )
        return judged_group(group, search).verdict

    assert verdict(variation=1.0) == verdict(variation=np.nan) == "poison" and not asked
    assert verdict(variation=0.1, flip=0.1) == "suspect" and not asked
    assert verdict(variation=0.1) == "poison" and asked


def test_part_of_poison_known_may_vary_less(poison_group):
    pattern = SimpleNamespace(transfer=0.9, common=None)
    less = replace(poison_group, variation=0.1)
    assert judged_group(less, pattern=pattern).verdict == "poison"


def test_of_four_labels_more_than_half_have_no_poison_each_by_another_trigger():
    def patterns(*shifts):
        return [Pattern(None, np.array(shift), None, 1.0) for shift in shifts]

    unlike = np.eye(6)
    assert are_too_many(patterns(*unlike[:3]), 4) and are_too_many(patterns(*unlike[:3]), 5)
    assert not are_too_many(patterns(*unlike[:2]), 4) and not are_too_many(
        patterns(*unlike[:2]), 6
    )
    assert not are_too_many(patterns(*unlike[:3]), 3)  # each is held against the others' scores
    alike = unlike[0] + 0.3 * unlike
    assert not are_too_many(patterns(*alike), 6)  # one trigger, to all labels


def test_of_clean_label_groups_all_labels_have_none_is_poison():
    assert _least((0,), [0.0, 0.0, 0.2]) == LEAST[1]
    assert _least((0,), [0.6, 0.5, 0.5, 0.4]) == ABOVE * 0.5
    assert _least((0, 1), [0.6, 0.5, 0.5, 0.4]) == ABOVE * 0.5


@pytest.mark.parametrize("n_classes, n_informative, seed", [(4, 12, 4), (3, 8, 5)])
def test_clusters_far_apart_are_no_poison(n_classes, n_informative, seed):
    X, y = make_classification(
        n_samples=600,
        n_features=40,
        n_informative=n_informative,
        n_redundant=0,
        n_classes=n_classes,
        class_sep=3.0,
        flip_y=0.0,
        random_state=seed,
    )
    detector = LeaveGroupOutDetector().fit(StandardScaler().fit_transform(X), y)
    assert not detector.is_poison_.any()
    assert detector.leave_one_out_accuracy_ > 0.9
