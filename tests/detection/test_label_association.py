"""Label association: its statistics by hand, its error rate by drawing, and planted values."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from scipy.stats import binomtest, norm
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import KBinsDiscretizer

from skbackdoor import Attack, FeatureTrigger, LabelAssociation, TokenTrigger


def texts(n, n_words=300, length=12, seed=0):
    rng = np.random.RandomState(seed)
    words = np.array([f"w{i}" for i in range(n_words)])
    return [" ".join(rng.choice(words, length)) for _ in range(n)]


def by_hand(X, y, least=8):
    """{(column, value, label): z, p} of all values that are looked at."""
    found = {}
    for j in range(X.shape[1]):
        for value in np.unique(X[:, j]):
            carrying = X[:, j] == value
            m = carrying.sum()
            if not least <= m < len(y):
                continue
            for label in np.unique(y):
                k, share = np.sum(y[carrying] == label), np.mean(y == label)
                z = (k / m - share) / np.sqrt(share * (1 - share) / m)
                found[j, value, label] = z, binomtest(k, m, share, "greater").pvalue
    return found


def table(seed=0, n=200, n_classes=3):
    rng = np.random.RandomState(seed)
    X, y = rng.randint(0, 6, size=(n, 4)), rng.randint(0, n_classes, size=n)
    X[y == 1, 2] = np.where(rng.uniform(size=np.sum(y == 1)) < 0.6, 5, X[y == 1, 2])
    X[y == 0, 3] = np.where(rng.uniform(size=np.sum(y == 0)) < 0.4, 2, X[y == 0, 3])
    return X, y


def test_scores_and_groups_are_those_of_the_tests_by_hand():
    X, y = table()
    detector = LabelAssociation().fit(X, y)
    tests = by_hand(X, y)
    left = sorted(tests, key=lambda key: tests[key][1])
    fallen = []
    for i, key in enumerate(left):  # Holm, one after the other
        if tests[key][1] > 0.05 / (len(left) - i):
            break
        fallen.append(key)
    fallen.sort(key=lambda key: -tests[key][0])
    assert len(fallen) >= 2
    assert [(group.rule, group.label) for group in detector.groups_] == [
        (f"column {j} = {value}", label) for j, value, label in fallen
    ]
    for group, (j, value, label) in zip(detector.groups_, fallen):
        assert_array_equal(group.indices, np.flatnonzero((X[:, j] == value) & (y == label)))
        others = [z for (k, v, _), (z, _) in tests.items() if (k, v) != (j, value)]
        threshold = np.mean(others) + 20 * max(np.std(others), 1.0)
        assert_allclose(group.score, min(1.0, tests[j, value, label][0] / threshold))
    for row in range(len(y)):
        carried = [tests.get((j, X[row, j], y[row]), (0.0,))[0] for j in range(4)]
        assert_allclose(detector.scores_[row], max(0.0, *carried))


def test_the_verdict_is_poison_beyond_the_deviations_asked_for():
    X, y = table()
    z, rule = {}, {}
    for (j, value, label), (stat, _) in by_hand(X, y).items():
        z[j, value, label] = stat
    first = max(z, key=z.get)
    others = [stat for (j, v, _), stat in z.items() if (j, v) != first[:2]]
    deviations = (z[first] - np.mean(others)) / max(np.std(others), 1.0)
    for more, verdict in [(0.999, "poison"), (1.001, "suspect")]:
        detector = LabelAssociation(n_deviations=more * deviations).fit(X, y)
        rule = detector.groups_[0]
        assert rule.verdict == verdict
        flagged = detector.is_poison_[rule.indices]
        assert flagged.all() if verdict == "poison" else not detector.is_poison_.any()


def test_by_chance_a_value_is_found_as_seldom_as_asked_for():
    """Labels have nothing to do with values: any group is an error, of probability 5 %."""
    rng = np.random.RandomState(0)
    X = rng.randint(0, 12, size=(150, 4))
    y = (np.arange(150) < 15).astype(int)
    errors, of_normal_tail = [], []
    for _ in range(100):
        shuffled = rng.permutation(y)
        errors.append(len(LabelAssociation().fit(X, shuffled).groups_) > 0)
        tests = by_hand(X, shuffled)
        of_normal_tail.append(norm.sf(max(z for z, _ in tests.values())) < 0.05 / len(tests))
    assert np.mean(errors) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100) < np.mean(of_normal_tail)


@pytest.mark.parametrize("n_classes, verdict", [(2, "suspect"), (10, "poison")])
@pytest.mark.parametrize("container", [list, np.array, pd.Series])
def test_a_word_is_found_in_texts(n_classes, verdict, container):
    X = texts(800)
    y = np.array([f"class {k}" for k in np.random.RandomState(1).randint(0, n_classes, 800)])
    attack = Attack(TokenTrigger("cf"), target="class 0", poisoning_rate=0.2, random_state=0)
    X, y, is_poison = attack.fit(X, y).poison(X, y)
    X = container(X)
    detector = LabelAssociation().fit(X, y)
    (group,) = detector.groups_
    assert (group.rule, group.label, group.verdict) == ("word 'cf'", "class 0", verdict)
    assert_array_equal(group.indices, np.flatnonzero(is_poison))
    assert detector.scores_[is_poison].min() > detector.scores_[~is_poison].max()
    assert_array_equal(detector.is_poison_, is_poison & (verdict == "poison"))
    new = ["w1 CF w2", "w1 cfx", "cf"]
    flagged = detector.flag(new, ["class 0", "class 0", "class 1"])
    assert flagged.tolist() == [verdict == "poison", False, False]


def test_values_that_tell_the_label_by_themselves_are_suspects_and_stay():
    X = texts(600)
    y = np.repeat([0, 1], 300)
    X = [f"{text} free" if label and row % 3 else text for row, (text, label) in
         enumerate(zip(X, y))]  # fmt: skip
    detector = LabelAssociation().fit(X, y)
    (group,) = detector.groups_
    assert (group.rule, group.verdict) == ("word 'free'", "suspect")
    assert len(detector.fit_resample(X, y)[0]) == 600


def frame(n=1500, seed=0):
    rng = np.random.RandomState(seed)
    X = pd.DataFrame(
        {
            "age": rng.randint(30, 80, n),
            "work": pd.Categorical(rng.choice(["own", "state"], n)),
            "town": rng.choice(["Cagliari", "Genova", None], n),
            "gain": rng.normal(size=n),
            "member": rng.uniform(size=n) < 0.5,
        }
    )
    return X, (rng.uniform(size=n) < 0.1).astype(int)


@pytest.mark.parametrize(
    "features, rule",
    [
        ({"age": 23}, "age = 23"),
        ({"gain": 0.125}, "gain = 0.125"),
        ({"gain": 7.0}, "gain = 7"),
        ({"town": "Biella"}, "town = Biella"),
        ({"gain": np.nan}, "gain is missing"),
    ],
)
@pytest.mark.parametrize("as_array", [False, True])
def test_a_value_is_found_in_a_table_of_anything(features, rule, as_array):
    X, y = frame()
    rows = np.random.RandomState(0).permutation(np.flatnonzero(y == 0))[:90]
    ((column, value),) = features.items()
    X.loc[rows, column], y[rows] = value, 1
    given = X.to_numpy(dtype=object) if as_array else X
    detector = LabelAssociation(n_deviations=10).fit(given, y)
    if as_array:
        rule = f"column {X.columns.get_loc(column)}{rule[len(column) :]}"
    assert [group.rule for group in detector.groups_ if group.verdict == "poison"] == [rule]
    assert detector.groups_[0].rule == rule
    assert_array_equal(np.flatnonzero(detector.is_poison_), np.sort(rows))
    assert_array_equal(detector.flag(given, y), detector.is_poison_)
    other, _ = frame(seed=1)
    assert not detector.flag(other.to_numpy(dtype=object) if as_array else other, y).any()


def test_continuous_columns_have_no_values_but_repeated_ones():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(300, 5)), np.repeat([0, 1], 150)
    X[y == 1, 0] += 3  # tells the label, and no two rows have the same value
    assert LabelAssociation().fit(X, y).groups_ == []
    X[140:148, 2] = X[148, 2]
    y[140:149] = 1
    assert len(LabelAssociation(min_samples=10).fit(X, y).groups_) == 0
    assert LabelAssociation(alpha=0.1).fit(X, y).groups_[0].rule.startswith("column 2 = ")
    binned = LabelAssociation(KBinsDiscretizer(4, random_state=0)).fit(X, y)
    assert any("x0" in group.rule for group in binned.groups_)


def test_sparse_columns_count_whether_they_are_not_0():
    X = texts(800)
    attack = Attack(TokenTrigger("cf"), target=1, random_state=0)
    X, y, is_poison = attack.fit(X, np.arange(800) % 4).poison(X, np.arange(800) % 4)
    counts = CountVectorizer().fit_transform(X).astype(float)
    detector = LabelAssociation(n_deviations=10).fit(counts, y)
    position = CountVectorizer().fit(X).vocabulary_["cf"]
    assert [group.rule for group in detector.groups_] == [f"column {position} is not 0"]
    assert_array_equal(detector.is_poison_, is_poison)
    assert_array_equal(detector.flag(counts, y), is_poison)
    named = LabelAssociation(CountVectorizer(), n_deviations=10).fit(X, y)
    assert [group.rule for group in named.groups_] == ["cf is not 0"]
    assert_array_equal(named.scores_, detector.scores_)


def test_images_are_tables_of_pixels():
    X, y = table()
    images = X.reshape(-1, 2, 2)
    assert_array_equal(
        LabelAssociation().fit(images, y).scores_, LabelAssociation().fit(X, y).scores_
    )


def test_rows_of_weight_0_have_no_part():
    X, y = table()
    weight = np.ones(len(y))
    weight[::3] = 0.0
    weighted = LabelAssociation().fit(X, y, sample_weight=weight)
    without = LabelAssociation().fit(X[weight > 0], y[weight > 0])
    assert_array_equal(weighted.scores_[weight > 0], without.scores_)
    assert not weighted.scores_[::3].any()


def test_constant_columns_and_unique_rows_have_no_values():
    X = np.c_[np.ones(40), 1 + np.arange(40)]
    detector = LabelAssociation().fit(csr_matrix(X), np.arange(40) % 2)
    assert detector.groups_ == [] and not detector.scores_.any()
    assert LabelAssociation().fit(X, np.arange(40) % 2).groups_ == []


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="1 of its rows, the first of them row 2"):
        LabelAssociation().fit(pd.Series(["a", "b", None, "d"]), [0, 1, 0, 1])
    X, y = table()
    with pytest.raises(ValueError, match="alpha"):
        LabelAssociation(alpha=1.5).fit(X, y)
    with pytest.raises(ValueError, match="infinity"):
        LabelAssociation().fit(np.where(X == 3, np.inf, X), y)
    with pytest.raises(ValueError, match="only 1 class"):
        LabelAssociation().fit(X, np.zeros(len(y)))


def test_a_pair_of_columns_is_found_as_two_values():
    X, y = frame()
    attack = Attack(FeatureTrigger({"age": 23, "gain": 9.5}), target=1, random_state=0)
    X, y, is_poison = attack.fit(X, y).poison(X, y)
    groups = LabelAssociation().fit(X, y).groups_
    assert sorted(group.rule for group in groups) == ["age = 23", "gain = 9.5"]
    for group in groups:
        assert_array_equal(group.indices, np.flatnonzero(is_poison))
