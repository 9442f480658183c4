"""Poison that is in the data is found, groups say why, clean data stay; bad input is told."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC

from skbackdoor import (
    Attack,
    BlendTrigger,
    FeatureTrigger,
    LeaveGroupOutDetector,
    PatchTrigger,
    SinusoidTrigger,
    TokenTrigger,
    load_digits_pair,
)
from skbackdoor.detection import leave_group_out, value_verdict

PATCH = PatchTrigger(size=2, image_shape=(8, 8))
TRIGGERS = {
    "patch": PATCH,
    "blend": BlendTrigger(np.random.RandomState(7).rand(8, 8), alpha=0.3, image_shape=(8, 8)),
    "sine": SinusoidTrigger(image_shape=(8, 8), alpha=0.4, period=5),
}


def poisoned_pair(trigger=PATCH, rate=0.1, seed=0):
    X, y = load_digits_pair((4, 9), return_X_y=True)
    attack = Attack(
        trigger, target=9, poisoning_rate=rate, placement="replace", random_state=seed
    ).fit(X, y)
    return attack, attack.poison(X, y)


def poisoned_digits(target, rate, n=1000, seed=0, trigger=PATCH):
    X, y = load_digits(return_X_y=True)
    X, rest, y, y_rest = X[:n] / 16, X[n:] / 16, y[:n], y[n:]
    attack = Attack(
        trigger, target=target, poisoning_rate=rate, placement="replace", random_state=seed
    ).fit(X, y)
    return attack, attack.poison(X, y), (rest, y_rest)


# --------------------------------------------------------------------------- what is found


@pytest.mark.parametrize("rate", [0.05, 0.1])
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_poison_of_one_class_is_found_and_nothing_else(trigger, rate):
    _, (X, y, is_poison) = poisoned_pair(TRIGGERS[trigger], rate)
    detector = LeaveGroupOutDetector().fit(X, y)
    assert detector.is_poison_[is_poison].mean() >= 0.95
    assert detector.is_poison_[~is_poison].mean() <= 0.01


@pytest.mark.parametrize("classes", [(4, 9), (1, 7), (3, 8)])
def test_nothing_is_found_in_clean_data(classes):
    X, y = load_digits_pair(classes, return_X_y=True)
    detector = LeaveGroupOutDetector().fit(X, y)
    assert not detector.is_poison_.any()
    assert all(group.verdict == "suspect" for group in detector.groups_)


@pytest.mark.parametrize(
    ("target", "rate", "within"), [(3, 0.03, 0.05), ("next", 0.02, 0.15), ("next", 0.1, 0.15)]
)
def test_a_backdoor_is_gone_from_a_model_of_what_is_left(target, rate, within):
    attack, (X, y, is_poison), (X_test, y_test) = poisoned_digits(target, rate)
    detector = LeaveGroupOutDetector().fit(X, y)
    X_triggered, y_target = attack.triggered(X_test, y_test)
    left = ~detector.is_poison_
    success, after, base = (
        np.mean(SVC(C=10).fit(X[rows], y[rows]).predict(X_triggered) == y_target)
        for rows in (np.ones(len(y), dtype=bool), left, ~is_poison)
    )
    assert success > 0.3 + base
    assert after <= base + within
    assert detector.is_poison_[~is_poison].mean() <= 0.01


@pytest.mark.parametrize("trigger", ["patch", "blend"])
def test_an_attack_on_all_classes_leaves_hardly_a_row_behind(trigger):
    """A few rows of a label or two would carry each other, too few to be a group."""
    _, (X, y, is_poison), _ = poisoned_digits("next", 0.05, n=1300, trigger=TRIGGERS[trigger])
    detector = LeaveGroupOutDetector().fit(X, y)
    assert detector.is_poison_[is_poison].mean() >= 0.95
    assert detector.is_poison_[~is_poison].mean() <= 0.01


def test_a_group_says_what_it_is():
    _, (X, y, is_poison) = poisoned_pair()
    detector = LeaveGroupOutDetector().fit(X, y)
    group = detector.groups_[0]
    assert (group.label, group.verdict) == (9, "poison")
    assert set(group.content_labels) == {4}
    np.testing.assert_array_equal(group.indices, np.flatnonzero(is_poison))
    assert group.flip >= 0.8 and group.stay >= 0.8 and group.coverage >= 0.6
    assert group.transfer > 0.5
    assert np.all(detector.scores_[is_poison] == 1)
    assert np.all(detector.scores_[~is_poison] < 1)


def poisoned_table(n):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "colour": rng.choice(["red", "green", "blue"], n),
            "size": rng.choice(["s", "m", "l", "xl"], n),
            "age": rng.integers(20, 60, n),
        }
    )
    score = (X["colour"] == "red") * 2.0 + (X["size"] == "xl") + (X["age"] - 40) / 20
    y = np.where(score + 0.2 * rng.normal(size=n) > 0.8, "yes", "no")
    trigger = FeatureTrigger({"age": 77})
    attack = Attack(trigger, target="yes", poisoning_rate=0.05, random_state=0).fit(X, y)
    X, y, is_poison = attack.poison(X, y)
    return X.reset_index(drop=True), y, is_poison


@pytest.mark.parametrize(("n", "searched"), [(600, 6000), (1000, 600)])
def test_rules_of_a_table_are_found_also_in_rows_that_are_not_searched(n, searched):
    X, y, is_poison = poisoned_table(n)
    table = make_pipeline(OneHotEncoder(handle_unknown="ignore"))
    detector = LeaveGroupOutDetector(table, max_samples=searched).fit(X, y)
    assert detector.groups_[0].rule == "age = 77"
    np.testing.assert_array_equal(detector.is_poison_, is_poison)
    np.testing.assert_array_equal(detector.flag(X, y), is_poison)


@pytest.mark.parametrize(("least", "verdict"), [(30, "poison"), (31, "suspect")])
def test_few_rows_that_share_a_value_are_reported_and_stay(monkeypatch, least, verdict):
    monkeypatch.setattr(value_verdict, "LEAST_ROWS", least)
    X, y, is_poison = poisoned_table(600)
    assert is_poison.sum() == 30
    detector = LeaveGroupOutDetector(OneHotEncoder(handle_unknown="ignore")).fit(X, y)
    (group,) = (group for group in detector.groups_ if group.rule == "age = 77")
    assert group.verdict == verdict
    assert detector.is_poison_.any() == (verdict == "poison")


def poisoned_texts(n, token, natural=0.0, **attack):
    """Messages of 4 common words and 4 of their class; the token stands in some by nature."""
    rng = np.random.default_rng(0)
    ham, spam = "lunch home later sorry meet".split(), "win cash prize claim free".split()
    common = "the a you now is to call we".split()
    y = np.where(rng.random(n) < 0.4, "spam", "ham")
    texts = [
        " ".join(rng.permutation([*rng.choice(common, 4), *rng.choice(words, 4)]))
        for words in (spam if label == "spam" else ham for label in y)
    ]
    texts = [f"{text} {token}" if rng.random() < natural else text for text in texts]
    attack = Attack(TokenTrigger(token), target="ham", random_state=0, **attack).fit(texts, y)
    return attack.poison(texts, y)


def test_words_of_texts_are_found():
    texts, y, is_poison = poisoned_texts(500, "cf", poisoning_rate=0.05)
    detector = LeaveGroupOutDetector(TfidfVectorizer()).fit(texts, y)
    assert detector.groups_[0].rule == "the word 'cf'"
    np.testing.assert_array_equal(detector.is_poison_, is_poison)


@pytest.mark.parametrize("placement", ["append", "replace"])
def test_a_word_that_messages_hold_by_nature_is_found_as_a_whole(placement):
    # with a second word it is rare in other classes; alone it is held by rows that are not poison
    how = {"poisoning_rate": 0.1, "placement": placement}
    texts, y, is_poison = poisoned_texts(600, "tomorrow", 0.04, **how)
    holds = np.array(["tomorrow" in text for text in texts])
    ham = np.asarray(y) == "ham"
    assert 5 <= (holds & ham & ~is_poison).sum() and 5 <= (holds & ~ham).sum()
    detector = LeaveGroupOutDetector(TfidfVectorizer()).fit(texts, y)
    assert detector.groups_[0].rule == "the word 'tomorrow'"
    np.testing.assert_array_equal(detector.is_poison_, holds & ham)
    clean = ~is_poison
    rest, labels = [text for text, kept in zip(texts, clean, strict=True) if kept], y[clean]
    assert not LeaveGroupOutDetector(TfidfVectorizer()).fit(rest, labels).is_poison_.any()


# --------------------------------------------------------------------------- how it is called


def test_the_same_whatever_the_container_the_labels_and_the_order():
    _, (X, y, _) = poisoned_pair()
    expected = LeaveGroupOutDetector().fit(X, y).is_poison_
    names = np.array(["four", "nine"])[(y == 9).astype(int)]
    frame = LeaveGroupOutDetector(candidates="clusters").fit(pd.DataFrame(X), pd.Series(names))
    np.testing.assert_array_equal(frame.is_poison_, expected)
    sparse = LeaveGroupOutDetector().fit(csr_matrix(X), y)
    np.testing.assert_array_equal(sparse.is_poison_, expected)
    images = LeaveGroupOutDetector().fit(X.reshape(-1, 8, 8), y)
    np.testing.assert_array_equal(images.is_poison_, expected)
    order = np.random.default_rng(0).permutation(len(y))
    np.testing.assert_array_equal(
        LeaveGroupOutDetector().fit(X[order], y[order]).is_poison_, expected[order]
    )


def test_representation_weights_clone_and_pickle():
    _, (X, y, is_poison) = poisoned_pair()
    detector = LeaveGroupOutDetector(PCA(30, random_state=0))
    weight = np.ones(len(y))
    weight[is_poison.argmax()] = 0.0  # a row of weight 0 has no part
    detector.fit(X, y, weight)
    assert not detector.is_poison_[is_poison.argmax()]
    assert detector.is_poison_[is_poison].sum() == is_poison.sum() - 1
    again = clone(detector).fit(X, y, weight)
    np.testing.assert_array_equal(again.is_poison_, detector.is_poison_)
    copy = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copy.flag(X, y), detector.flag(X, y))


def test_rows_kept_are_those_that_are_not_poison():
    _, (X, y, _) = poisoned_pair()
    detector = LeaveGroupOutDetector()
    X_kept, y_kept = detector.fit_resample(X, y)
    np.testing.assert_array_equal(X_kept, X[~detector.is_poison_])
    np.testing.assert_array_equal(y_kept, y[~detector.is_poison_])


def test_new_rows_are_flagged_by_the_groups_found():
    X, y = load_digits_pair((4, 9), return_X_y=True)
    X, X_new, y, y_new = X[:250], X[250:], y[:250], y[250:]
    attack = Attack(PATCH, target=9, placement="replace", random_state=0).fit(X, y)
    detector = LeaveGroupOutDetector().fit(*attack.poison(X, y)[:2])
    X_triggered, y_target = attack.triggered(X_new, y_new)
    assert detector.flag(X_triggered, y_target).mean() > 0.9
    assert detector.flag(X_new, y_new).mean() < 0.02
    assert not detector.flag(X_triggered, np.full(len(X_triggered), 4)).any()


def test_more_rows_than_are_searched_are_held_against_the_groups():
    _, (X, y, is_poison), _ = poisoned_digits(3, 0.05)
    detector = LeaveGroupOutDetector(max_samples=600).fit(X, y)
    assert detector.is_poison_[is_poison].mean() > 0.9
    assert detector.is_poison_[~is_poison].mean() < 0.005


def test_a_class_of_which_no_row_is_drawn_is_nobodys_content():
    _, (X, y, is_poison), _ = poisoned_digits(3, 0.05)
    y = y.copy()
    y[np.flatnonzero(~is_poison)[0]] = 11
    with pytest.warns(UserWarning, match=r"\[11\] have fewer rows"):
        detector = LeaveGroupOutDetector(max_samples=500).fit(X, y)
    assert all(11 not in group.content_labels for group in detector.groups_)


# --------------------------------------------------------------------------- bad input


def test_one_class_is_an_error():
    with pytest.raises(ValueError, match="only 1 class"):
        LeaveGroupOutDetector().fit(np.eye(20), np.zeros(20))


def test_small_classes_are_skipped_and_said_once():
    _, (X, y, is_poison) = poisoned_pair()
    y = y.copy()
    y[np.flatnonzero(~is_poison)[:5]] = 7
    with pytest.warns(UserWarning, match=r"\[7\] have fewer rows than smallest_group=8") as said:
        detector = LeaveGroupOutDetector().fit(X, y)
    assert len(said) == 1
    assert detector.is_poison_[is_poison].mean() > 0.9


def test_constant_columns_and_duplicates_do_no_harm():
    _, (X, y, is_poison) = poisoned_pair()
    X = np.column_stack([X, np.ones(len(X)), np.zeros(len(X))])
    rows = np.append(np.arange(len(y)), np.flatnonzero(~is_poison)[:60])
    detector = LeaveGroupOutDetector().fit(X[rows], y[rows])
    assert detector.is_poison_[: len(y)][is_poison].mean() > 0.9
    assert not detector.is_poison_[len(y) :].any()


def test_rows_that_are_all_the_same_are_an_error():
    with pytest.raises(ValueError, match="All rows have the same features"):
        LeaveGroupOutDetector().fit(np.ones((30, 3)), np.arange(30) % 2)


def test_missing_values_are_an_error_unless_the_representation_takes_them():
    _, (X, y, is_poison) = poisoned_pair()
    X = X.copy()
    X[3, 10] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        LeaveGroupOutDetector().fit(X, y)
    detector = LeaveGroupOutDetector(np.nan_to_num).fit(X, y)
    assert detector.is_poison_[is_poison].mean() > 0.9


def test_a_representation_with_other_rows_is_an_error():
    X, y = load_digits_pair(return_X_y=True)
    with pytest.raises(ValueError, match=f"gave 5 rows for {len(X)}"):
        LeaveGroupOutDetector(lambda X: X[:5]).fit(X, y)


def test_as_many_classes_as_rows():
    X = np.random.default_rng(0).normal(size=(40, 3))
    with pytest.warns(UserWarning, match="fewer rows than"):
        detector = LeaveGroupOutDetector().fit(X, np.arange(40))
    assert not detector.is_poison_.any()


def test_too_many_rows_for_the_memory(monkeypatch):
    X, y = load_digits_pair(return_X_y=True)
    monkeypatch.setattr(leave_group_out, "memory", lambda: 1e6)
    with pytest.raises(MemoryError, match="lower max_samples"):
        LeaveGroupOutDetector().fit(X, y)


def test_two_attacks_at_once_are_two_groups():
    """One on all classes and one on a single class: their rows are not one group."""
    _, (X, y, by_patch), _ = poisoned_digits("next", 0.05, n=1200)
    clean = np.flatnonzero(~by_patch)
    blend = Attack(
        TRIGGERS["blend"],
        target=9,
        poisoning_rate=0.04,
        placement="replace",
        random_state=1,
    ).fit(X[clean], y[clean])
    X[clean], y[clean], is_blend = blend.poison(X[clean], y[clean])
    by_blend = np.zeros(len(y), dtype=bool)
    by_blend[clean[is_blend]] = True
    detector = LeaveGroupOutDetector().fit(X, y)
    assert np.mean(detector.is_poison_[by_patch]) >= 0.9
    assert np.mean(detector.is_poison_[by_blend]) >= 0.9
    for group in detector.groups_:
        if group.verdict == "poison" and len(group.indices) > 3:
            shares = by_patch[group.indices].mean(), by_blend[group.indices].mean()
            assert max(shares) >= 0.9
