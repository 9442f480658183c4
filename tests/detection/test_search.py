"""What a group has in common, how sets of rows are compared, and what makes one poison."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.covariance import OAS
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import rbf_kernel

from skbackdoor import Attack, PatchTrigger, SinusoidTrigger, load_digits_pair
from skbackdoor.detection import LeaveGroupOutDetector, apart_sets
from skbackdoor.detection.candidates import nearest_content
from skbackdoor.detection.evidence import margins_of_flips
from skbackdoor.detection.group import PoisonGroup
from skbackdoor.detection.in_common import InCommon
from skbackdoor.detection.joined import beside
from skbackdoor.detection.kernel_ridge import LeaveGroupOutRidge
from skbackdoor.detection.search import Search, alike
from skbackdoor.detection.verdict import (
    ABOVE,
    ABOVE_OTHERS,
    ALONE,
    APART,
    FAR_APART,
    HARDLY_TOLD,
    STANDS_OUT,
    SURE,
    VARIES_MORE,
    _holds,
    apart_score,
    is_apart,
    is_certain,
    is_usual,
    judged_group,
    least_score,
    may_be_apart,
    of_others,
    stands_apart,
    stands_out,
)
from skbackdoor.detection.within_classes import WithinClasses


def search_of(X, y, wide=2.0 / 64, penalty=0.1):
    kernel = partial(rbf_kernel, gamma=wide / X.var(axis=0).sum())
    K = kernel(X)
    return Search(X, kernel, K, LeaveGroupOutRidge(K, y, penalty), 8, 0)


@pytest.fixture(scope="module")
def attacked():
    """Fours and nines, one in ten of the nines a four with a patch."""
    X, y = load_digits_pair((4, 9), return_X_y=True)
    attack = Attack(
        PatchTrigger(size=2, image_shape=(8, 8)), target=9, placement="replace", random_state=0
    ).fit(X, y)
    X, y, is_poison = attack.poison(X, y)
    y = (y == 9).astype(int)
    return search_of(X.astype(float), y), np.flatnonzero(is_poison)


def waves(n=120, seed=0):
    """Rows of pixels of which many are black or white, and the same with a wave, cut off."""
    rng = np.random.RandomState(seed)
    X = np.clip(rng.normal(0.5, 0.6, (n, 64)), 0, 1)
    return X, np.clip(X + 0.5 * np.sin(np.arange(64)), 0, 1)


def test_what_is_added_is_cut_off_where_pixels_end():
    X, triggered = waves()
    search = search_of(np.r_[X[:60], triggered[60:]], np.repeat([0, 1], 60))
    G = np.arange(60, 120)
    common = InCommon.of(search, G, np.zeros(60, dtype=int))
    held_out, held_out_triggered = waves(seed=1)
    error = np.abs(common.put_on(held_out) - held_out_triggered).mean()
    shift = triggered[60:].mean(axis=0) - X[:60].mean(axis=0)
    assert error < 0.75 * np.abs(held_out + shift - held_out_triggered).mean()
    assert common.put_on(held_out).min() >= 0.0 and common.put_on(held_out).max() <= 1.0


def test_what_is_added_makes_the_means_equal():
    X, triggered = waves()
    # Five other rows: they are the nearest of any.
    search = search_of(np.r_[X[:5], triggered[60:]], np.repeat([0, 1], [5, 60]))
    G = np.arange(5, 55)
    common = InCommon.of(search, G, np.zeros(50, dtype=int))
    near = search.X[:5]
    added = ~common.overwritten & (common.value != 0)
    assert added.any()
    assert_allclose(
        common.put_on(near).mean(axis=0)[added], search.X[G].mean(axis=0)[added], atol=1e-3
    )


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5])
def test_a_blend_leaves_its_share_of_the_contrast(alpha):
    """Also where what is added is cut off."""
    X, y = load_digits(return_X_y=True)
    X, rng = X / 16, np.random.RandomState(0)
    pattern = rng.rand(64)
    ones = rng.permutation(np.flatnonzero(y == 1))
    members, held_out = X[ones[:30]], X[ones[30:60]]
    of_others = X[np.flatnonzero(y != 1)[:200]]

    def blended(X):
        return np.clip((1 - alpha) * X + (alpha or 0.4) * pattern, 0, 1)

    search = search_of(
        np.r_[X[ones[60:]], of_others, blended(members)],
        np.repeat([0, 1, 1], [len(ones) - 60, 200, 30]),
    )
    G = np.arange(len(search.X) - 30, len(search.X))
    common = InCommon.of(search, G, np.zeros(30, dtype=int))
    assert common.contrast == pytest.approx(1 - alpha, abs=0.1)
    error = np.abs(common.put_on(held_out) - blended(held_out)).mean()
    shift = (blended(members) - members).mean(axis=0)
    by_shift = np.abs(np.clip(held_out + shift, 0, 1) - blended(held_out)).mean()
    assert error < (0.8 if alpha else 1.6) * by_shift  # that of the members, known


def test_a_feature_that_few_rows_have_is_not_overwritten_where_a_few_members_lack_it():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(300, 5))
    X[:, 0] = rng.rand(300) < 0.05
    X[290:, 0], X[290:, 1] = 0.0, 2.0
    search = search_of(X, np.repeat([0, 1], [250, 50]))
    common = InCommon.of(search, np.arange(290, 300), np.zeros(10, dtype=int))
    assert_array_equal(common.overwritten, [False, True, False, False, False])


def test_constant_features_are_overwritten_and_their_variance_is_lost(attacked):
    search, G = attacked
    content = np.zeros(len(G), dtype=int)
    common = InCommon.of(search, G, content)
    patch = np.zeros((8, 8), dtype=bool)
    patch[-2:, -2:] = True
    varies = search.X[search.ridge.y == 0].std(axis=0) > 0.05
    assert np.all(common.overwritten[patch.ravel() & varies])
    put = common.put_on(search.X)[:, common.overwritten]
    assert np.all(put == common.value[common.overwritten])
    variance = np.arange(64.0)
    kept = variance[~common.overwritten].sum() / variance.sum()
    assert common.kept(variance) == pytest.approx(kept)


def test_the_most_suspicious_set_is_the_one_with_the_highest_score(attacked):
    search, G = attacked
    rng, nines = np.random.RandomState(0), search.rows_of(1)
    sets = [np.sort(rng.choice(nines, 20, replace=False)) for _ in range(5)]
    sets += [G, np.sort(np.r_[G, rng.choice(np.setdiff1d(nines, G), 12, replace=False)])]
    assert_array_equal(search.most_suspicious(sets).indices, G)
    assert search.most_suspicious([]) is None
    groups = [search.describe(one) for one in sets]
    assert max(groups, key=lambda group: group.score).score == search.most_suspicious(sets).score


def test_rows_that_were_carried_in_are_taken_out_and_no_others(attacked):
    search, G = attacked
    clean = np.setdiff1d(search.rows_of(1), G)[:3]
    assert_array_equal(search.trim(np.sort(np.r_[G, clean])), G)
    assert_array_equal(search.trim(G), G)


def test_a_part_gives_way_to_the_whole_but_not_to_other_rows(attacked):
    search, G = attacked
    clean = np.setdiff1d(search.rows_of(1), G)[: len(G)]
    assert _holds(G, G[: len(G) // 2], search)
    assert not _holds(np.sort(np.r_[G, clean]), G, search)
    assert not _holds(G, G, search)
    # Half of a group is carried by the other half: not one of its rows flips.
    assert judged_group(search.describe(G[: len(G) // 2]), search).verdict == "suspect"


def test_variances_from_sums_are_variances(attacked):
    search, G = attacked
    rest = np.setdiff1d(search.rows_of([0, 1]), G)
    assert_allclose(search._variance(np.array([0, 1]), G), search.X[rest].var(axis=0), atol=1e-10)
    fours = search.rows_of(0)
    assert_allclose(search._variance(np.array([0]), G), search.X[fours].var(axis=0), atol=1e-10)


@pytest.fixture
def group():
    """One of so many rows that standard errors are small."""
    return PoisonGroup(
        label=0,
        indices=np.arange(10**6),
        flip=1.0,
        cohesion=0.6,
        typicality=1.0,
        coverage=1.0,
        transfer=0.0,
        stay=1.0,
        content_accuracy=1.0,
        content_labels=np.ones(10**6, dtype=int),
        verdict="suspect",
        score=0.6,
    )


def of_scores(group, *scores, variation=1.0):
    """Groups of other labels that have these scores."""
    return [
        replace(group, label=9 + k, score=s, variation=variation) for k, s in enumerate(scores)
    ]


def test_groups_are_held_against_those_of_the_other_labels(group):
    groups = [replace(group, label=k, cohesion=c) for k, c in enumerate((0.5, 0.5, 0.6, 0.2))]
    others = of_others(2, groups)
    assert [other.label for other in others] == [0, 1, 3]
    assert_allclose([other.score for other in others], [0.5, 0.5, 0.2], rtol=0.01)
    assert least_score(of_scores(group, 0.5, 0.6)) == ALONE[1]  # two others say too little
    assert_allclose(least_score(of_scores(group, 0.5, 0.5, 0.2)), ABOVE * 0.5)
    assert least_score(of_scores(group, 0.1, 0.1, 0.1)) == least_score([]) == ALONE[1]
    assert of_others(2, []) == []


def test_of_two_labels_the_group_of_the_other_is_the_null(group):
    weak = replace(group, cohesion=0.5)
    assert is_usual(weak, of_scores(group, 0.4), 2)
    assert not is_usual(weak, of_scores(group, 0.3), 2)
    assert is_usual(weak, of_scores(group, 0.3, 0.4), 3)
    assert not is_usual(weak, of_scores(group, 0.4, 0.0, 0.0), 4)
    assert not is_usual(weak, of_scores(group, 0.4), 10)  # most labels have no group at all
    assert not is_usual(weak, [], 2)
    assert not is_usual(replace(group, cohesion=1.1 * SURE), of_scores(group, 0.9), 2)
    certain = replace(weak, transfer=0.9, apart=0.8)
    assert is_certain(certain) and not is_usual(certain, of_scores(group, 0.4), 2)


@pytest.mark.parametrize("evidence", ["flip", "coverage", "typicality", "transfer", "apart"])
def test_few_rows_for_which_all_else_speaks_are_poison(group, evidence):
    nine = replace(group, indices=np.arange(9), content_labels=np.ones(9, dtype=int))
    nine = replace(nine, cohesion=0.35, transfer=0.95, apart=0.85, variation=1.0)
    assert judged_group(nine).verdict == "poison" and not is_certain(replace(nine, stay=0.5))
    assert judged_group(replace(nine, **{evidence: 0.5})).verdict == "suspect"
    assert judged_group(replace(nine, variation=0.3)).verdict == "suspect"
    assert not is_certain(replace(nine, **{evidence: np.nan}))
    much = {"typicality": 1.5, "coverage": 1.5}  # no more than 1 each makes up for others
    assert not is_certain(replace(nine, apart=0.4, **{k: much[k] for k in much if k != evidence}))


@pytest.mark.parametrize(
    "evidence, verdict",
    [
        (dict(typicality=0.86, apart=0.3), "suspect"),  # as printed nines, which are like zeros
        (dict(typicality=0.9, apart=0.1), "poison"),
        (dict(typicality=0.8, apart=0.6), "poison"),
        (dict(typicality=0.8, apart=np.nan, transfer=0.0), "poison"),  # of several labels
        (dict(typicality=0.8, apart=0.1, cohesion=1.1 * SURE), "poison"),
        (dict(typicality=0.9, apart=0.6, transfer=0.26), "suspect"),  # letters of a kind
        (dict(transfer=0.0, cohesion=1.1 * SURE), "poison"),
    ],
)
def test_a_group_that_is_not_sure_is_ordinary_or_apart(group, evidence, verdict):
    unsure = replace(group, cohesion=0.48, variation=0.95, transfer=0.4)
    assert judged_group(replace(unsure, **evidence)).verdict == verdict
    poison = SimpleNamespace(transfer=0.0, common=None)  # of another label, with the same trigger
    like = replace(unsure, **evidence | {"transfer": 0.2})
    assert judged_group(like, pattern=poison).verdict == "poison"


def test_a_group_that_stands_out_less_than_those_of_other_labels_is_a_suspect(group):
    assert judged_group(group).verdict == "poison"
    assert judged_group(group, others=of_scores(group, 0.5, 0.5, 0.5)).verdict == "suspect"


def test_a_group_far_above_those_of_all_other_labels_needs_less(group):
    least, above = STANDS_OUT
    weak = replace(group, cohesion=1.1 * least, transfer=0.4)
    low = of_scores(group, 0.1, 0.1, 0.1)
    assert judged_group(weak).verdict == "suspect"
    assert judged_group(weak, others=low[:2]).verdict == "suspect"  # too few
    assert judged_group(weak, others=low).verdict == "poison"
    assert not stands_out(weak, of_scores(group, 0.1, 0.1, 1.2 * least / above))
    assert not stands_out(replace(weak, coverage=0.4), low)
    assert not stands_out(replace(weak, typicality=0.7), low)
    assert not stands_out(replace(weak, transfer=0.2, apart=0.6), low)
    assert stands_out(replace(weak, typicality=0.8, apart=0.6), low)
    assert not stands_out(replace(weak, typicality=0.8, apart=0.3), low)
    assert not stands_out(replace(weak, cohesion=0.9 * least), of_scores(group, 0.0, 0.0, 0.0))


def test_a_group_that_varies_where_those_of_other_labels_do_not_needs_less(group):
    least, above, typicality = VARIES_MORE
    weak = replace(group, cohesion=1.3 * least, typicality=1.01 * typicality, variation=0.9)
    still = of_scores(group, 0.2, 0.2, 0.2, variation=0.3)
    assert stands_out(weak, still) and judged_group(weak, others=still).verdict == "poison"
    assert not stands_out(weak, of_scores(group, 0.2, 0.2, 0.2, variation=0.9))
    assert not stands_out(weak, of_scores(group, 0.2, 0.2, 0.2, variation=np.nan))
    assert not stands_out(replace(weak, variation=np.nan), still)
    assert not stands_out(replace(weak, variation=0.7), still)
    assert not stands_out(replace(weak, typicality=0.99 * typicality), still)
    assert not stands_out(replace(weak, coverage=0.45, cohesion=0.8), still)
    assert not stands_out(replace(weak, cohesion=0.9 * least, variation=1.5), still)
    assert not stands_out(weak, still[:2])


def test_where_classes_overlap_a_group_apart_from_its_label_is_poison(group):
    overlapping = replace(group, cohesion=0.4, coverage=0.5, content_accuracy=0.7, apart=0.5)
    assert not stands_apart(overlapping)
    overlapping = replace(overlapping, transfer=0.3)
    assert judged_group(overlapping).verdict == "poison"
    assert judged_group(replace(overlapping, content_accuracy=0.95)).verdict == "suspect"
    assert not stands_apart(replace(overlapping, apart=0.9 * APART[2] / 0.2))
    assert not stands_apart(replace(overlapping, cohesion=0.9, apart=0.9 * APART[1]))
    assert not stands_apart(replace(overlapping, apart=np.nan))
    assert not stands_apart(replace(overlapping, coverage=0.9 * APART[0]))
    assert not stands_apart(replace(overlapping, stay=0.7))
    assert not stands_apart(replace(overlapping, typicality=0.87))  # clusters reach that
    assert not stands_apart(replace(overlapping, indices=np.arange(9)))  # few


def test_a_group_apart_in_rows_as_given_is_held_against_those_of_other_labels(group):
    group = replace(group, coverage=1.5, content_accuracy=0.7, apart=0.5, transfer=0.5)
    assert is_apart(replace(group, cohesion=0.5), 0.7, [0.2, 0.2, 1.0])  # another is poison, too
    assert not is_apart(replace(group, cohesion=0.5), 0.5, [0.2, 0.2, 1.0])
    weak = replace(group, cohesion=1.2 * ABOVE_OTHERS[0] / apart_score(replace(group, cohesion=1)))
    assert_allclose(apart_score(weak), 1.2 * ABOVE_OTHERS[0])
    low, high = 0.4 * apart_score(weak), 0.6 * apart_score(weak)
    assert is_apart(weak, 0.5, [low, 0.0, low])
    assert is_apart(replace(weak, content_accuracy=0.95), 0.5, [low, 0.0, low])
    assert not is_apart(weak, 0.3, [low, 0.0, low])
    assert not is_apart(weak, 0.5, [low, 0.0, high])
    assert not is_apart(weak, 0.5, [low, low])  # two others say too little
    assert not is_apart(replace(weak, transfer=0.1), 0.5, [0.0, 0.0, 0.0])
    assert not is_apart(replace(weak, typicality=0.6), 0.5, [0.0, 0.0, 0.0])
    assert not is_apart(replace(weak, cohesion=0.5 * weak.cohesion), 0.5, [0.0, 0.0, 0.0])
    # Compared by these same rows, of which fewer than 0.8 are told, it needs more.
    accuracy, least = HARDLY_TOLD
    assert not is_apart(weak, 0.5, [low, 0.0, low], other_rows=False)
    told = replace(weak, content_accuracy=accuracy)
    assert is_apart(told, 0.5, [low, 0.0, low], other_rows=False)
    more = replace(weak, cohesion=weak.cohesion * 1.01 * least / apart_score(weak))
    assert is_apart(more, 0.5, [low, 0.0, low], other_rows=False)


def test_a_group_far_apart_in_rows_as_given_may_be_small_and_hardly_cohere(group):
    apart, spread, transfer = FAR_APART
    few = replace(group, indices=np.arange(9), cohesion=0.06, coverage=0.5, transfer=0.9)
    few = replace(few, apart=1.1 * apart)
    assert not may_be_apart(few) and is_apart(few, 1.1 * spread, [])
    assert is_apart(few, 1.1 * spread, [1.0, 1.0, 1.0])
    assert is_apart(replace(few, flip=8 / 9, content_accuracy=1.0), 1.1 * spread, [])
    for other in (
        replace(few, apart=0.9 * apart),
        replace(few, transfer=0.9 * transfer),
        replace(few, typicality=0.7),
        replace(few, flip=7 / 9, content_accuracy=1.0),
        replace(few, stay=0.7),
    ):
        assert not is_apart(other, 1.1 * spread, [])
    assert not is_apart(few, 0.9 * spread, [])  # a kind, in a corner of its content
    assert not is_apart(few, np.nan, [])
    kind = replace(few, typicality=0.8)  # of a network's features, or of the nines of one font
    assert is_apart(kind, 1.1 * spread, []) and not is_apart(kind, 1.1 * spread, [], False)
    assert is_apart(few, 1.1 * spread, [], False)


@pytest.mark.parametrize("evidence", ["flip", "typicality", "transfer", "apart", "spread"])
def test_all_that_speaks_for_a_group_far_apart_in_rows_as_given_may_be_enough(group, evidence):
    shown = {"flip": 0.95, "typicality": 0.7, "transfer": 0.7, "apart": 0.8}

    def far(spread=0.9, other_rows=True, **changed):
        changed = replace(group, cohesion=0.06, variation=1.0, **shown | changed)
        return is_apart(changed, spread, [1.0, 1.0, 1.0], other_rows)

    assert far() and not far(other_rows=False) and not far(spread=np.nan)
    much = {"flip": 1.0, "typicality": 1.5, "transfer": 1.0, "apart": 1.0, "spread": 1.5}
    assert not far(**much | {"transfer": 0.3, "typicality": 0.9})  # no more than 1 each counts
    assert not far(**{evidence: {"flip": 0.7, "apart": 0.65}.get(evidence, 0.5)})


def test_a_group_that_is_no_poison_hides_none_of_its_label_and_no_null(group, monkeypatch):
    true = replace(group, indices=np.arange(60), coverage=0.9, cohesion=0.6, transfer=0.9)
    true = replace(true, apart=0.5)
    kind = replace(true, indices=np.arange(9), cohesion=0.06, apart=0.9, typicality=0.6)
    cluster = replace(true, indices=np.arange(80), cohesion=0.9, apart=0.9, variation=0.1)
    view = SimpleNamespace(
        as_given=False,
        coverage=lambda indices, content: 0.9,
        members=lambda label: SimpleNamespace(is_part=lambda G: False),
    )
    found = {g.indices.tobytes(): g for g in (true, kind, cluster)}
    monkeypatch.setattr(
        apart_sets,
        "_described",
        lambda search, view, label, G: replace(found[G.tobytes()], label=label),
    )
    monkeypatch.setattr(apart_sets, "completed", lambda view, members, G: G)

    def labels(sets):
        groups = apart_sets.groups_apart(None, view, {k: [] for k in range(4)} | sets)
        return [group.label for group in groups]

    both = [kind.indices, true.indices]
    assert labels({0: [true.indices]}) == labels({0: both}) == [0]
    assert labels({0: [true.indices], 1: [true.indices]}) == []
    assert labels({0: [true.indices], 1: both}) == []
    assert labels({0: [kind.indices]}) == []
    assert labels({0: [cluster.indices]}) == []
    assert labels({0: [cluster.indices, true.indices]}) == [0]
    assert labels({0: [true.indices], 1: [cluster.indices]}) == []  # a null still
    view.as_given, view.variation = True, lambda indices, content: 1.0  # features hide its content
    assert labels({0: [cluster.indices]}) == [0]
    view.variation = lambda indices, content: 0.1
    assert labels({0: [cluster.indices]}) == []


def test_no_rows_are_none_of_any_label(attacked):
    search, _ = attacked
    assert len(search.main_labels(np.array([], dtype=int))) == 0


@pytest.mark.parametrize("far", [0.0, 1e4])
@pytest.mark.parametrize("shape", [(300, 40), (60, 90)])
def test_what_stands_out_within_classes_is_what_another_library_says(shape, far):
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1])), np.arange(shape[0]) % 3
    X += 5.0 * rng.normal(size=(3, shape[1]))[y]
    centred = X - np.stack([X[y == label].mean(axis=0) for label in range(3)])[y]
    shift = rng.normal(size=shape[1])
    expected = OAS(assume_centered=True).fit(centred).precision_ @ shift
    assert_allclose(WithinClasses(X + far, y).solve(shift), expected, rtol=1e-6, atol=1e-8)


def test_rows_that_do_not_differ_within_classes_leave_a_shift_as_it_is():
    X, y, shift = np.eye(2)[[0, 0, 1, 1]], np.array([0, 0, 1, 1]), np.array([1.0, -2.0])
    assert_array_equal(WithinClasses(X, y).solve(shift), shift)
    one = np.array([[0.0], [2.0], [5.0], [7.0]])  # one feature of variance 1
    assert_allclose(WithinClasses(one, y).solve(np.array([3.0])), [3.0])


def test_the_nearest_rows_are_those_without_the_trigger():
    """Without what is added, rows of a group are nearest to the very rows that they were."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(200, 6)) * [9, 9, 1, 1, 1, 1]
    victims, shift = X[:60] + rng.normal(scale=0.01, size=(60, 6)), np.array([0, 0, 9, 9, 0, 0])
    search = search_of(np.r_[X, victims + shift], np.repeat([0, 1], [200, 60]))
    G = np.arange(200, 260)
    content = np.zeros(60, dtype=int)
    common = InCommon.of(search, G, content)
    first = search.X[nearest_content(search.K, search.ridge.y, G, content).ravel()].mean(axis=0)
    first = search.X[G].mean(axis=0) - first
    assert not common.overwritten.any()
    error, shifted = np.abs(common.value - shift), shift > 0
    assert error[shifted].max() < 0.5 * np.abs(first - shift)[shifted].max()
    assert np.all(error[~shifted] < X[:, ~shifted].std(axis=0) / np.sqrt(60))  # standard errors
    near = common._nearest(search, G, content)
    assert np.mean((near == np.arange(60)[:, None]).any(axis=1)) > 0.9


def test_rows_left_behind_are_added_though_they_carry_each_other(attacked):
    search, G = attacked
    rows = search.rows_of(1)
    # Half of a group carries the other half, of which none flips; still all are found.
    half = G[: len(G) // 2]
    assert not np.any(margins_of_flips(search.ridge, half) > 0)
    assert_array_equal(search.settled(half, rows), G)
    clean = np.setdiff1d(rows, G)
    assert_array_equal(search.settled(np.sort(np.r_[G, clean[:3]]), rows), G)


def test_a_member_that_looks_like_its_label_belongs_though_others_hold_as_much():
    """Of what a wave adds other sevens hold as much by nature, but they are no members."""
    X, y = load_digits_pair((1, 7), return_X_y=True)
    wave = SinusoidTrigger(image_shape=(8, 8), alpha=0.4, period=5)
    attack = Attack(wave, target=7, placement="replace", random_state=0).fit(X, y)
    X, y, is_poison = attack.poison(X, y)
    search, G = search_of(X.astype(float), (y == 7).astype(int)), np.flatnonzero(is_poison)
    assert_array_equal(search.settled(G, search.rows_of(1)), G)


def test_a_group_does_not_become_its_label(attacked):
    search, G = attacked
    rows = search.rows_of(1)
    most = np.setdiff1d(rows, G)[:-5]
    settled = search.settled(most, rows)
    assert search.is_part(settled) or np.array_equal(settled, most)


def test_sets_that_are_all_but_the_same_are_alike():
    rows = np.arange(40)
    assert alike(rows, rows) and alike(rows, rows[1:]) and alike(rows[1:], rows)
    assert not alike(rows, rows[5:]) and not alike(rows[:20], rows[20:])


def test_rows_where_classes_meet_beside_a_group_of_one_label_are_no_attack_on_several(attacked):
    search, G = attacked
    one = replace(search.describe(G), verdict="poison")
    fours = search.rows_of(0)
    mixed = replace(one, indices=np.sort(np.r_[G, fours[:20]]), score=0.5 * one.score)
    assert beside([mixed], [one], search) == []
    assert beside([mixed], [], search) == [mixed]
    assert beside([one], [replace(one, indices=fours[:20])], search) == [one]


@pytest.fixture(scope="module")
def waved():
    """Digits of ten classes, fifty of the nines being ones with a wave.

    Fifty other digits have the wave and their own label.
    """
    X, y = load_digits(return_X_y=True)
    X, y = X[:1000].reshape(-1, 8, 8) / 16, y[:1000]
    attack = Attack(
        SinusoidTrigger(0.4, 5, alpha=0.4), target=9, source_classes=[1], poisoning_rate=0.05,
        placement="append", random_state=0,
    ).fit(X, y)  # fmt: skip
    others = np.random.RandomState(0).choice(np.flatnonzero(~np.isin(y, [1, 9])), 50, False)
    X, y, is_poison = attack.poison(X, y)
    X[others] = attack.trigger_.transform(X[others])
    return X.reshape(len(X), -1), y, is_poison


def test_victims_that_look_like_another_class_are_known_without_what_they_share(waved):
    X, y, is_poison = waved
    search, G = search_of(X, y), np.flatnonzero(is_poison)
    taken_for = search._flips(G)[0]
    assert np.mean(taken_for == 1) < 0.5
    group = search.describe(G)
    assert_array_equal(group.content_labels, np.ones(len(G)))
    assert search.coverage(G, taken_for) < 0.4 < 0.9 < group.coverage
    assert group.transfer > 0.8


def test_rows_are_never_taken_for_their_own_label(waved):
    X, y, is_poison = waved
    search = search_of(X, y)
    G = np.flatnonzero(is_poison | (y == 8))
    assert not np.any(search.describe(G).content_labels == y[G])


def test_half_a_class_is_not_another_class_moved(waved):
    X, y, is_poison = waved
    search = search_of(X, y, 0.5, 0.01)  # as the detector chooses it
    nines = np.flatnonzero((y == 9) & ~is_poison)
    assert search.describe(nines).coverage < 0.3


def test_the_wave_is_found_and_its_rows_are_given_back_to_their_class(waved):
    X, y, is_poison = waved
    detector = LeaveGroupOutDetector(random_state=0).fit(X, y)
    assert_array_equal(detector.is_poison_, is_poison)
    (group,) = (group for group in detector.groups_ if group.verdict == "poison")
    assert set(group.content_labels) == {1}
