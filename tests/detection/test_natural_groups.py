"""Natural groups are no poison: halves of classes, columns that say where rows are from."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from detectors import group
from sklearn.datasets import load_breast_cancer, load_wine, make_classification
from sklearn.preprocessing import StandardScaler

from skbackdoor import Attack, FeatureTrigger, LeaveGroupOutDetector
from skbackdoor.detection.value_search import unlike_others
from skbackdoor.detection.verdict import HELD, MOST, judged_group


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
            n_rows=np.array([n]),
            smallest=8,
            rows_of=lambda label: np.arange(n),
            settled=lambda G, rows: G,
            is_part=lambda G: True,
            describe=lambda G, common=None: sure(),
        )
        return judged_group(sure(), search).verdict

    assert judged(int(40 / MOST)) == "poison" and judged(int(40 / MOST) - 5) == "suspect"


def test_a_value_that_other_rows_have_as_well_is_natural():
    shared = (("table", 58.0),)
    assert judged_group(sure(shared=shared)).verdict == "poison"
    less = sure(shared=shared, cohesion=HELD - 0.01)
    assert judged_group(less).verdict == "suspect"


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
