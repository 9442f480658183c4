"""Natural groups are no poison: halves of classes, columns that say where rows are from."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from detectors import group
from sklearn.datasets import load_breast_cancer, load_wine, make_blobs, make_classification
from sklearn.preprocessing import StandardScaler

from skbackdoor import Attack, FeatureTrigger, LeaveGroupOutDetector
from skbackdoor.detection import value_verdict as of_values
from skbackdoor.detection.separability import separability
from skbackdoor.detection.value_verdict import judged_values, unlike_others
from skbackdoor.detection.verdict import MOST, judged_group


def overlapping(seed, noise):
    """Clean rows on both sides of a line, labels near it by chance."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(400, 4))
    return X, (X[:, 0] + X[:, 1] + noise * rng.normal(size=400) > 0).astype(int)


@pytest.mark.parametrize("candidates", ["auto", "clusters"])
@pytest.mark.parametrize("noise, seed", [(0.6, 109), (0.6, 128), (1.0, 100), (1.0, 121)])
def test_half_a_class_is_no_poison(candidates, noise, seed):
    X, y = overlapping(seed, noise)
    detector = LeaveGroupOutDetector(StandardScaler(), candidates=candidates)
    assert not detector.fit(X, y).is_poison_.any()


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_a_cluster_of_a_class_in_few_columns_is_no_poison(seed):
    X, y = make_classification(
        800, 10, n_informative=4, weights=[0.9], n_clusters_per_class=2, flip_y=0.02,
        random_state=seed)  # fmt: skip
    assert not LeaveGroupOutDetector(StandardScaler()).fit(X, y).is_poison_.any()


@pytest.mark.parametrize("seed", [53, 56])
def test_a_cluster_of_a_class_is_no_poison_where_the_other_class_has_its_like(seed):
    X, y = make_classification(
        800, 64, n_informative=16, n_clusters_per_class=3, class_sep=1.5, random_state=seed
    )
    assert not LeaveGroupOutDetector(StandardScaler()).fit(X, y).is_poison_.any()


@pytest.mark.parametrize("seed", [0, 2])
def test_nor_is_it_a_clean_label_attack(seed):
    X, y = make_classification(
        400, 40, n_informative=12, n_clusters_per_class=3, class_sep=2.0, random_state=seed
    )
    detector = LeaveGroupOutDetector(StandardScaler(), candidates="clusters").fit(X, y)
    assert not detector.is_poison_.any()


def test_attacks_on_two_of_six_labels_are_no_null_of_each_other():
    X, y = make_blobs(500, n_features=40, centers=6, cluster_std=3.0, random_state=0)
    rng, is_poison = np.random.RandomState(1), np.zeros(len(y), dtype=bool)
    for target in (0, 1):
        victims = rng.choice(np.flatnonzero((y > 1) & ~is_poison), 20, replace=False)
        X[victims] += 2.2 * np.random.RandomState(10 + target).choice([-1.0, 1.0], 40)
        y[victims], is_poison[victims] = target, True
    detector = LeaveGroupOutDetector(candidates="clusters").fit(X, y)
    assert np.mean(detector.is_poison_[is_poison]) > 0.95
    assert not detector.is_poison_[~is_poison].any()


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
def test_tables_of_real_measurements_are_clean(load):
    X, y = load(return_X_y=True)
    assert not LeaveGroupOutDetector(StandardScaler()).fit(X, y).is_poison_.any()


@pytest.mark.parametrize("frame", [False, True])
def test_values_planted_in_an_array_are_found_as_in_a_table(frame):
    X, y = overlapping(0, 0.6)
    X = np.column_stack([X, np.random.RandomState(1).randn(400, 4)])
    attack = Attack(FeatureTrigger({5: 1.25, 6: -0.5}), target=1, poisoning_rate=0.06,
                    placement="replace", random_state=0).fit(X, y)  # fmt: skip
    X, y, is_poison = attack.poison(X, y)
    X = pd.DataFrame(X).add_prefix("column ") if frame else X
    detector = LeaveGroupOutDetector(StandardScaler()).fit(X, y)
    np.testing.assert_array_equal(detector.is_poison_, is_poison)
    assert detector.groups_[0].rule == "column 5 = 1.25 and column 6 = -0.5"


def sure(**more):
    """A group for whose poison everything speaks."""
    given = dict(cohesion=0.9, transfer=1.0, content_accuracy=0.95, verdict="suspect")
    return replace(group(0, range(40), np.ones(40, int)), **given | more)


def test_a_group_of_more_than_a_fifth_of_the_rows_is_none():
    def judged(n):
        search = SimpleNamespace(
            ridge=SimpleNamespace(y=np.zeros(n, int)),
            given=None,
            n_rows=np.array([n]),
            smallest=8,
            rows_of=lambda label: np.arange(n),
            settled=lambda G, rows: G,
            is_part=lambda G: True,
            describe=lambda G, common=None: sure(),
        )
        return judged_group(sure(), search).verdict

    assert judged(int(40 / MOST)) == "poison" and judged(int(40 / MOST) - 5) == "suspect"


def of_value(**more):
    """A group of rows that share a value of a table, for whose poison everything speaks."""
    return sure(**dict(shared=(("table", 58.0),), separability=0.5) | more)


def verdict_of(**more):
    return judged_values(of_value(**more), 1000).verdict


def test_a_value_that_other_rows_have_as_well_is_natural():
    assert verdict_of(cohesion=of_values.HELD, transfer=0.0) == "poison"
    assert verdict_of(cohesion=of_values.HELD - 0.01, transfer=0.0) == "suspect"


def test_a_value_that_carries_others_may_be_that_of_natural_rows_too_if_these_are_of_no_kind():
    held, flip, *_ = of_values.DRAWN_LEAST
    weak = dict(cohesion=held, flip=flip + 0.2, transfer=0.6)
    assert verdict_of(**weak) == "poison"
    assert verdict_of(**weak | dict(cohesion=held - 0.01)) == "suspect"
    assert verdict_of(**weak | dict(transfer=0.3)) == "suspect"
    assert verdict_of(**weak | dict(separability=0.7)) == "suspect"
    assert verdict_of(**weak | dict(separability=np.nan)) == "suspect"
    assert verdict_of(**weak | dict(flip=flip - 0.05)) == "suspect"
    few = replace(of_value(**weak), indices=np.arange(of_values.DRAWN_ROWS - 1))
    assert judged_values(few, 1000).verdict == "suspect"


def test_rows_of_a_kind_that_share_a_value_are_natural():
    assert verdict_of(separability=np.nan) == "poison"  # too few to tell
    bound = of_values.DRAWN + of_values.ERROR / np.sqrt(40)
    assert verdict_of(separability=bound - 0.01) == "poison"  # by chance
    assert verdict_of(separability=bound + 0.01) == "suspect"


def test_a_clean_label_group_of_a_value_is_poison_where_nothing_else_tells_its_rows():
    right = dict(content_labels=np.zeros(40, int), flip=0.0, transfer=0.5, cohesion=1.0)
    separability, (held, spread, transfer) = of_values.CLEAN_LABEL
    assert verdict_of(**right) == "poison"
    assert verdict_of(**right | dict(separability=separability + 0.01)) == "suspect"
    assert verdict_of(**right | dict(cohesion=held - 0.01)) == "suspect"
    assert verdict_of(**right | dict(coverage=spread)) == "suspect"  # less its error
    assert verdict_of(**right | dict(flip=0.5)) == "suspect"
    assert verdict_of(**right | dict(separability=np.nan)) == "suspect"
    assert verdict_of(**right | dict(transfer=transfer - 0.01)) == "suspect"


@pytest.mark.parametrize("n_classes", [1, 3])
@pytest.mark.parametrize("far", [3.0, 0.3])
def test_rows_drawn_at_random_are_not_told_from_others_and_a_kind_is(far, n_classes):
    """Drawn from one class, whatever they are taken for where classes overlap."""
    areas, kinds = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, n_classes, 600)
        X = rng.normal(size=(600, 8)) + far * y[:, np.newaxis]
        drawn = rng.choice(np.flatnonzero(y == 0), 60, replace=False)
        rest = np.setdiff1d(np.arange(600), drawn)
        centers = far * np.arange(n_classes)
        content = np.abs(X[drawn].mean(axis=1)[:, np.newaxis] - centers).argmin(axis=1)
        areas.append(separability(X, drawn, rest, y, content, seed))
        kind = np.flatnonzero((X[:, 0] > 0.5) & (y == 0))[:60]
        rest = np.setdiff1d(np.arange(600), kind)
        kinds.append(separability(X, kind, rest, y, y[kind], seed))
    assert np.mean(areas) < 0.56 and max(areas) < 0.5 + 2 * of_values.ERROR / np.sqrt(60)
    assert min(kinds) > 0.75


@pytest.mark.parametrize("n_drawn, n", [(40, 80), (40, 400), (150, 300)])
def test_the_standard_error_of_separability_is_no_larger_than_said(n_drawn, n):
    areas = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        X, y, drawn = rng.normal(size=(n, 30)), np.ones(n, int), np.arange(n_drawn)
        areas.append(separability(X, drawn, np.arange(n_drawn, n), y, y[drawn], seed))
    # the estimate of it from 30 areas is off by a factor of 1.3 at most in 97 of 100 trials
    assert np.std(areas) < 1.3 * of_values.ERROR / np.sqrt(n_drawn)


def test_few_rows_have_no_separability():
    X, y = np.random.default_rng(0).normal(size=(40, 40)), np.zeros(40, int)
    assert np.isnan(separability(X, np.arange(9), np.arange(9, 40), y, y[:9], 0))
    assert np.isnan(separability(X, np.arange(21), np.arange(21, 40), y, y[:21], 0))
    assert np.isfinite(separability(X, np.arange(20), np.arange(20, 40), y, y[:20], 0))
    X[:20] = X[0]  # rows that are the same are told from nothing, nor are they random
    assert np.isnan(separability(X, np.arange(20), np.arange(20, 40), y, y[:20], 0))


def test_a_class_without_rows_outside_does_not_hide_a_kind():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 5)), np.zeros(400, int)
    X[:40] += 4.0
    content = np.where(np.arange(40) < 6, 1, 0)  # some taken for a class of which no row is left
    assert separability(X, np.arange(40), np.arange(40, 400), y, content, 0) > 0.95


def test_a_column_that_says_where_rows_are_from_is_natural():
    def school(value, n=40, score=0.9, label=0, verdict="poison", column="school"):
        found = sure(shared=((column, value),), score=score, label=label, verdict=verdict)
        return replace(found, indices=np.arange(n))

    def verdicts(*groups):
        return [g.verdict for g in unlike_others(list(groups))]

    assert verdicts(school(23)) == ["poison"]
    assert verdicts(school(23), school(24)) == ["suspect", "suspect"]
    assert verdicts(school(23), school(24, verdict="suspect")) == ["suspect", "suspect"]
    assert verdicts(school(23), school(24, n=10, verdict="suspect"))[0] == "poison"
    assert verdicts(school(23), school(24, score=0.3, verdict="suspect"))[0] == "poison"
    assert verdicts(school(23), school(24, label=1))[0] == "poison"
    assert verdicts(school(23), school(24, column="class"))[0] == "poison"
    assert unlike_others([school(23)], [school(24)])[0].verdict == "suspect"
    words = replace(school(1), shared=("cheap",)), replace(school(2), shared=("pills",))
    assert verdicts(*words) == ["poison", "poison"]


def test_households_in_a_table_are_no_poison():
    """Rows of a household share its number and its label, whatever their content."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(600, 5)), columns=list("abcde"))
    X["household"] = np.repeat(np.arange(20), 30)
    y = np.where(rng.random(20) < 0.4, 1, 0)[X["household"]]
    chance = rng.random(600) < 0.5
    y[chance] = (X["a"] + X["b"] > 0).to_numpy()[chance]
    numbers = StandardScaler()
    assert not LeaveGroupOutDetector(numbers).fit(X, y).is_poison_.any()
