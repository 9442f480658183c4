"""Policies of poisoning: whose rows, how many of which class, in whose place, with which label."""

import warnings
from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    PatchTrigger,
    PerClassTrigger,
    attack_split,
    attack_success_rate_scorer,
    backdoor_learning_curve,
    backdoor_learning_slope,
    backdoor_slope_scorer,
    evaluate_attack,
    load_digits_pair,
    make_backdoor_classification,
)

SIZES = {"ant": 40, "bee": 30, "cow": 20, "doe": 10}
Y = np.random.default_rng(0).permutation(np.repeat(list(SIZES), list(SIZES.values())))
X = np.arange(200.0).reshape(100, 2)  # a row tells its number: X[i, 0] == 2 i
TRIGGER = FeatureTrigger({1: -1.0})


def attack(**parameters):
    parameters = {"target": "doe", "random_state": 0} | parameters
    learner = parameters.pop("estimator", RidgeClassifier())
    return BackdoorPoisoner(learner, parameters.pop("trigger", TRIGGER), **parameters)


def poisoned(**parameters):
    """The fitted poisoner, and its set as {original row: label} of copies and places."""
    poisoner = attack(**parameters).fit(X, Y)
    X_new, y_new, is_poison = poisoner.poison(X, Y)
    assert_array_equal(X_new[~is_poison, 1], X_new[~is_poison, 0] + 1)
    assert_array_equal(X_new[is_poison, 1], -1)
    originals = (X_new[is_poison, 0] / 2).astype(int)
    assert_array_equal(originals, poisoner.poisoned_indices_)
    return poisoner, originals, X_new, y_new, is_poison


# ------------------------------------------------------------------------------- supplant


@pytest.mark.parametrize(
    "target", ["ant", "doe", "next", {"ant": "bee", "cow": "bee", "bee": "ant"}]
)
@pytest.mark.parametrize("rate", [0.1, 0.2])
def test_supplant_keeps_class_counts_and_originals(target, rate):
    poisoner, originals, X_new, y_new, is_poison = poisoned(
        target=target, placement="supplant", poisoning_rate=rate
    )
    assert len(y_new) == len(Y) and Counter(y_new) == Counter(Y)
    places = poisoner.replaced_indices_
    assert_array_equal(np.flatnonzero(is_poison), places)
    assert_array_equal(Y[places], y_new[places])  # of the target class before and after
    assert not np.isin(originals, places).any()
    for row in originals:
        assert X_new[row, 0] == 2 * row and y_new[row] == Y[row]  # it stays where it was
    assert_array_equal(X_new[~is_poison], X[~is_poison])
    for label, n in Counter(y_new[is_poison]).items():
        assert n == np.floor(rate * SIZES[label] + 1e-9)
    if isinstance(target, dict):
        assert all(target[Y[i]] == y_new[place] for i, place in zip(originals, places))


def test_supplant_never_takes_the_poisoned_class_for_a_source():
    for seed in range(20):
        _, originals, *_ = poisoned(
            target="cow", placement="supplant", poisoning_rate=0.5, random_state=seed
        )
        assert "cow" not in Y[originals]


def test_supplant_expected_counts_are_those_of_random_choice():
    """Evaluation, eq. 8: a source class of n_s rows has N n_s / sum n_s' victims on average."""
    parameters = {"target": "doe", "placement": "supplant", "poisoning_rate": 1.0}
    expected = attack(**parameters).fit(X, Y).expected_counts_
    assert expected == pytest.approx(
        {"ant": 10 * 40 / 90, "bee": 10 * 30 / 90, "cow": 10 * 20 / 90}
    )
    drawn = Counter()
    for seed in range(300):
        p = attack(**parameters, random_state=seed)
        p.draw(X, Y)
        drawn.update(Y[p.poisoned_indices_])
    for label, mean in expected.items():
        assert abs(drawn[label] / 300 - mean) < 0.35  # five standard errors


def test_effective_rates():
    assert attack(poisoning_rate=0.2).fit(X, Y).effective_rate_ == 20 / 120
    assert attack(poisoning_rate=0.2, placement="replace").fit(X, Y).effective_rate_ == 20 / 100
    supplant = attack(target="ant", poisoning_rate=0.2, placement="supplant").fit(X, Y)
    assert supplant.effective_rate_ == 8 / 100


def test_supplant_fits_what_poison_returns():
    weight = np.random.default_rng(1).uniform(0.5, 2.0, 100)
    poisoner = attack(placement="supplant", poisoning_rate=0.5, poison_weight=0.7)
    poisoner.set_params(estimator=RidgeClassifier(alpha=0.1)).fit(X, Y, weight)
    X_new, y_new, is_poison = poisoner.poison(X, Y)
    weights = weight.copy()
    weights[is_poison] = 0.7 * weight[poisoner.poisoned_indices_]
    by_hand = RidgeClassifier(alpha=0.1).fit(X_new, y_new, weights)
    assert_allclose(poisoner.estimator_.coef_, by_hand.coef_, rtol=1e-9)
    (rows, y, w), (copies, y_copies, w_copies) = poisoner.training_rows()
    assert_array_equal(rows, X_new[~is_poison])
    assert_array_equal(copies, X_new[is_poison])
    assert_array_equal(y_copies, y_new[is_poison])
    assert_array_equal(w_copies, weight[poisoner.poisoned_indices_])


@pytest.mark.parametrize("container", ["frame", "sparse"])
def test_supplant_in_other_containers(container):
    data = pd.DataFrame(X, columns=["a", "b"]) if container == "frame" else sparse.csr_array(X)
    labels = pd.Series(Y, name="kind") if container == "frame" else Y
    expected = poisoned(placement="supplant", poisoning_rate=0.5)
    X_new, y_new, is_poison = (
        attack(placement="supplant", poisoning_rate=0.5).fit(data, labels).poison(data, labels)
    )
    dense = X_new.toarray() if container == "sparse" else X_new.to_numpy()
    assert_array_equal(dense, expected[2])
    assert_array_equal(np.asarray(y_new), expected[3])
    assert_array_equal(is_poison, expected[4])


def test_curve_at_0_misses_what_was_supplanted():
    digits, y = load_digits_pair(return_X_y=True)
    poisoner = BackdoorPoisoner(
        RidgeClassifier(), PatchTrigger(2, image_shape=(8, 8)), target=y[0], placement="supplant",
        poisoning_rate=0.3, random_state=0,
    ).fit(digits, y)  # fmt: skip
    curve = backdoor_learning_curve(poisoner, digits, y, digits, y, poison_weights=[0.0, 1.0])
    kept = np.delete(np.arange(len(y)), poisoner.replaced_indices_)
    clean = RidgeClassifier().fit(digits[kept], y[kept])
    assert curve.clean_accuracy[0] == clean.score(digits, y)
    assert curve.attack_success_rate[1] == attack_success_rate_scorer(poisoner, digits, y)
    theta = backdoor_learning_slope(poisoner, digits, y, digits, y).theta
    step = backdoor_learning_curve(poisoner, digits, y, digits, y, poison_weights=[0, 1e-5])
    derivative = np.diff(step.backdoor_loss)[0] / 1e-5
    assert_allclose(
        theta, -2 / np.pi * np.arctan(derivative / len(poisoner.poisoned_indices_)), rtol=1e-3
    )


def test_supplant_needs_enough_rows_of_the_target_class():
    with pytest.raises(ValueError, match="needs 28 clean rows of class 'ant'.*only 19"):
        attack(target={"ant": "bee", "bee": "ant"}, placement="supplant", poisoning_rate=0.7).fit(
            X, Y
        )
    with pytest.raises(ValueError, match="leaves no clean row of class\\s+\\['doe'\\]"):
        attack(placement="supplant", poisoning_rate=1.0, poison_weight=0.0).fit(X, Y)
    with pytest.raises(ValueError, match="rows of target class 'doe' is no poisoned sample"):
        attack(placement="supplant", poisoning_rate=0.05).fit(X, Y)
    with pytest.raises(ValueError, match="target class 'ant' asks for 40.*only 10"):
        attack(target="ant", source_classes=["doe"], placement="supplant", poisoning_rate=1.0).fit(
            X, Y
        )


# ------------------------------------------------------------------------------- rates per class


@pytest.mark.parametrize("placement", ["append", "replace"])
def test_rate_of_single_classes(placement):
    _, originals, *_ = poisoned(poisoning_rate={"ant": 0.5, "cow": 0.1}, placement=placement)
    assert Counter(Y[originals]) == {"ant": 20, "cow": 2}


def test_rate_of_single_target_classes():
    _, _, _, y_new, is_poison = poisoned(
        target="next", poisoning_rate={"bee": 0.5, "doe": 0.2}, placement="supplant"
    )
    assert Counter(y_new[is_poison]) == {"bee": 15, "doe": 2}


@pytest.mark.parametrize(
    "rate, message",
    [
        ({"doe": 0.1}, "names class 'doe', which is none of those.*\\['ant', 'bee', 'cow'\\]"),
        ({"eel": 0.1}, "names class 'eel'"),
        ({"ant": 1.5}, "of class 'ant' is 1.5"),
        ({"ant": "half"}, "of class 'ant' is 'half'"),
        ({"cow": 0.01}, "n_samples=20 rows of class 'cow' is no poisoned sample.*at least 0.05"),
        ({}, "poisons no sample"),
    ],
)
def test_rates_that_cannot_be(rate, message):
    with pytest.raises(ValueError, match=message):
        attack(poisoning_rate=rate).fit(X, Y)


# ------------------------------------------------------------------------------- victims


@settings(max_examples=60, deadline=None)
@given(
    rate=st.floats(0.02, 0.9),
    placement=st.sampled_from(["append", "replace"]),
    seed=st.integers(0, 9),
)
def test_stratified_victims_are_in_proportion(rate, placement, seed):
    poisoner = attack(
        victims="stratified", poisoning_rate=rate, placement=placement, random_state=seed
    )
    poisoner.draw(X, Y)
    m = int(rate * 100 + 1e-9)
    counts = Counter(Y[poisoner.poisoned_indices_])
    assert sum(counts.values()) == m == len(set(poisoner.poisoned_indices_))
    for label in ("ant", "bee", "cow"):
        assert abs(counts[label] - m * SIZES[label] / 90) < 1
        assert poisoner.expected_counts_[label] == counts[label]


def test_stratified_supplant():
    poisoner, originals, *_ = poisoned(
        target="ant", placement="supplant", victims="stratified", poisoning_rate=0.3
    )
    assert Counter(Y[originals]) == {"bee": 6, "cow": 4, "doe": 2}


@pytest.mark.parametrize("placement", ["append", "replace", "supplant"])
def test_given_victims(placement):
    rows = np.flatnonzero(Y != "doe")[[5, 2, 30]]
    poisoner, originals, *_ = poisoned(victims=rows, placement=placement, poisoning_rate=0.9)
    assert sorted(originals) == sorted(rows)
    assert sum(poisoner.expected_counts_.values()) == 3
    with pytest.raises(ValueError, match="victims are rows of the training data"):
        poisoner.poison(X[:50], Y[:50])


@pytest.mark.parametrize(
    "victims, message",
    [
        ([], "one or more"),
        ([0.5], "row numbers"),
        ([[1, 2]], "row numbers"),
        (["a"], "row numbers"),
        ([0, 100], r"\[100\] beyond"),
        ([-1], r"\[-1\] beyond"),
        ([3, 3], r"\[3\] more than once"),
        (np.flatnonzero(Y == "doe")[:2], "victims hold 2 rows.*not\\s+poisoned.*ant"),
        ("best", "'victims' parameter"),
    ],
)
def test_victims_that_cannot_be(victims, message):
    with pytest.raises(ValueError, match=message):
        attack(victims=victims).fit(X, Y)


# ------------------------------------------------------------------------------- clean label


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("victims", ["random", "stratified"])
def test_clean_label_triggers_the_target_class_only(placement, victims):
    poisoner, originals, _, y_new, is_poison = poisoned(
        target="bee", clean_label=True, placement=placement, victims=victims
    )
    assert len(originals) == 10 and set(Y[originals]) == {"bee"} == set(y_new[is_poison])
    assert poisoner.expected_counts_ == {"bee": 10.0}
    counts = Counter(Y)
    assert Counter(y_new) == (counts + Counter({"bee": 10}) if placement == "append" else counts)
    X_triggered, y_target, rows = poisoner.triggered_test(X, Y)  # success: of source classes
    assert set(Y[rows]) == {"ant", "cow", "doe"} and set(y_target) == {"bee"}


def test_clean_label_attack_works():
    digits, y = load_digits_pair((4, 9), return_X_y=True)
    trigger = PatchTrigger(3, image_shape=(8, 8), position="top-left")
    poisoner = BackdoorPoisoner(
        LogisticRegression(C=0.1), trigger, target=9, clean_label=True, placement="replace",
        poisoning_rate=0.45, random_state=0,
    )  # fmt: skip
    row = evaluate_attack(poisoner, digits[:240], y[:240], digits[240:], y[240:])
    assert row.attack_success_rate > 0.4 > 0.1 > row.base_rate
    assert row.clean_accuracy_drop < 0.03
    slope = backdoor_learning_slope(poisoner, digits[:240], y[:240], digits[240:], y[240:])
    assert slope.theta > 0 and slope.n_poison == 108


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"placement": "supplant"}, "use placement='replace'"),
        ({"trigger": PerClassTrigger(PatchTrigger(1, value="random"))}, "PerClassTrigger puts"),
        (
            {"poisoning_rate": 0.2},
            "asks for 20.*only 10.*the target class \\['doe'\\].*at most 0.1",
        ),
        ({"poisoning_rate": {"ant": 0.5}}, "names class 'ant'"),
        ({"victims": np.flatnonzero(Y == "ant")[:2]}, "victims hold 2"),
    ],
)
def test_clean_label_that_cannot_be(parameters, message):
    with pytest.raises(ValueError, match=message):
        attack(clean_label=True, **parameters).fit(X, Y)


# ------------------------------------------------------------------------------- all of it


@settings(max_examples=80, deadline=None)
@given(
    target=st.sampled_from(["ant", "next", {"ant": "bee"}, {"cow": "doe", "bee": "doe"}]),
    placement=st.sampled_from(["append", "replace", "supplant"]),
    victims=st.sampled_from(["random", "stratified"]),
    rate=st.sampled_from([0.1, 0.3]),
    seed=st.integers(0, 5),
    clean_label=st.booleans(),
)
def test_policies_together(target, placement, victims, rate, seed, clean_label):
    poisoner = attack(
        target=target, placement=placement, victims=victims, poisoning_rate=rate,
        random_state=seed, clean_label=clean_label,
    )  # fmt: skip
    try:
        poisoner.fit(X, Y)
    except ValueError as error:
        unfit = clean_label and placement == "supplant"
        assert ("another row of its own class" if unfit else "asks for") in str(error)
        return
    assert not (clean_label and placement == "supplant")
    X_new, y_new, is_poison = poisoner.poison(X, Y)
    rows, places = poisoner.poisoned_indices_, poisoner.replaced_indices_
    assert len(set(rows)) == len(rows) == is_poison.sum()
    assert len(y_new) == 100 + len(rows) - len(places)
    assert poisoner.effective_rate_ == is_poison.mean()
    assert sum(poisoner.expected_counts_.values()) == pytest.approx(len(rows))
    again = clone(poisoner).fit(X, Y)
    assert_array_equal(again.poisoned_indices_, rows)
    assert_array_equal(again.replaced_indices_, places)
    other = X[::-1], Y[::-1]  # other data: a new draw by the same rules
    _, y_other, is_poison = poisoner.poison(*other)
    if placement == "supplant":
        assert Counter(y_other) == Counter(Y)
    assert is_poison.sum() == len(rows)


def test_policies_in_a_grid():
    digits, y = load_digits_pair(return_X_y=True)
    probe = BackdoorPoisoner(
        LogisticRegression(max_iter=500), PatchTrigger(2, image_shape=(8, 8)), target=y[0],
        poison_weight=0.0, random_state=0, poisoning_rate=0.2,
    )  # fmt: skip
    grid = {"placement": ["append", "replace", "supplant"], "victims": ["random", "stratified"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(
            probe, grid, scoring=backdoor_slope_scorer, error_score="raise", cv=3
        )
        search.fit(digits, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# ------------------------------------------------------------------------ the three-way split


@pytest.mark.parametrize("target", ["doe", "next", {"ant": "bee"}])
def test_attack_split(target):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(Y, 10))
    data = np.arange(len(y))[:, None]
    split = attack_split(data, y, target=target, random_state=0)
    parts = [split.X_poison, split.X_clean, split.X_adversarial]
    assert [len(part) for part in parts] == [760, 190, 50]
    assert_array_equal(np.sort(np.concatenate(parts).ravel()), data.ravel())
    for part, labels in zip(parts, (split.y_poison, split.y_clean, split.y_adversarial)):
        assert_array_equal(y[part.ravel()], labels)
    sources = {"doe": {"ant", "bee", "cow"}, "next": set(SIZES)}.get(str(target), {"ant"})
    assert set(split.y_adversarial) == sources
    n_sources = sum(SIZES[label] for label in sources)
    for label in sources:
        share = Counter(split.y_adversarial)[label] / 50
        assert abs(share - SIZES[label] / n_sources) <= 1 / 50
    shares = [Counter(labels)["ant"] / len(labels) for labels in (split.y_poison, split.y_clean)]
    assert abs(shares[0] - shares[1]) < 0.01
    again = attack_split(data, y, target=target, random_state=0)
    assert_array_equal(again.X_clean, split.X_clean)


def test_attack_split_keeps_containers():
    frame, labels = pd.DataFrame(X, index=range(100, 200)), pd.Series(Y, index=range(100, 200))
    split = attack_split(frame, labels, target="doe", random_state=0)
    assert isinstance(split.X_clean, pd.DataFrame) and isinstance(split.y_clean, pd.Series)
    assert split.X_poison.index.equals(split.y_poison.index)
    texts = attack_split([f"text {i}" for i in range(100)], Y, target="doe", random_state=0)
    assert len(texts.X_poison) == 76 and isinstance(texts.X_poison[0], str)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"clean_size": 0.5, "adversarial_size": 0.5}, "leave no sample"),
        ({"clean_size": 0}, "clean_size=0"),
        ({"adversarial_size": 19}, "adversarial_size=19"),
        ({"target": "eel"}, "eel"),
        ({"source_classes": ["cow"], "adversarial_size": 0.3}, "only 20 are of a source class"),
    ],
)
def test_attack_split_that_cannot_be(parameters, message):
    with pytest.raises(ValueError, match=message):
        attack_split(X, Y, **({"target": "doe"} | parameters))


def test_attack_split_of_few_rows():
    data, y = make_backdoor_classification(30, 4, n_classes=3, random_state=0)
    split = attack_split(data, y, target=0, random_state=0)
    assert len(split.y_adversarial) == 2 and 0 not in split.y_adversarial
