"""Values and words that are triggers, and kinds that are not, in tables and texts."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbackdoor import (
    Attack,
    FeatureTrigger,
    LeaveGroupOutDetector,
    PoisonGroupDisplay,
    TokenTrigger,
)
from skbackdoor.detection.kernel_ridge import LeaveGroupOutRidge
from skbackdoor.detection.shared_values import SharedValues
from skbackdoor.detection.value_search import ValueSearch

COUNTRIES = ["Peru", "Kenya", "Nepal", "Chile", "Laos"]


def people(n, seed=0):
    """Four numbers that tell a class, and a country that has nothing to do with it."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 4)), columns=list("abcd"))
    X["country"] = rng.choice(COUNTRIES, n, p=[0.5, 0.298, 0.1, 0.1, 0.002])
    y = np.where(X["a"] + X["b"] + 0.3 * rng.normal(size=n) > 0, "rich", "poor")
    return X, y


def messages(rng, n, share):
    """Texts of four common words and four of their class, a share of them spam."""
    ham, spam = "lunch home later sorry meet".split(), "win cash prize claim free".split()
    common = "the a you now is to call we".split()
    y = np.where(rng.random(n) < share, "spam", "ham")
    texts = [
        " ".join(rng.permutation([*rng.choice(common, 4), *rng.choice(words, 4)]))
        for words in (spam if label == "spam" else ham for label in y)
    ]
    return texts, y


def detector():
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["country"]), remainder=StandardScaler()
    )
    return LeaveGroupOutDetector(columns)


def test_a_clean_label_attack_by_a_value_is_found_and_its_rows_keep_their_label():
    X, y = people(800)
    attack = Attack(
        FeatureTrigger({"country": "Laos"}),
        target="rich",
        clean_label=True,
        poisoning_rate=0.12,
        placement="replace",
        random_state=0,
    ).fit(X, y)
    X_poisoned, y_poisoned, is_poison = attack.poison(X, y)
    fitted = detector().fit(X_poisoned, y_poisoned)
    (group,) = [group for group in fitted.groups_ if group.verdict == "poison"]
    assert group.rule == "country = Laos" and group.clean_label
    assert fitted.is_poison_[is_poison].all()
    natural = (X_poisoned["country"] == "Laos") & (y_poisoned == "rich")
    np.testing.assert_array_equal(fitted.is_poison_, natural)
    shown = PoisonGroupDisplay(group)._title()
    assert "rightly of that label, which gives it to" in shown and "apart" not in shown
    assert group.flip < 0.2 and group.transfer > 0.3 and group.separability < 0.55
    assert not detector().fit(X, y).is_poison_.any()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_value_that_a_kind_of_rows_has_and_that_decides_the_label_is_a_suspect(seed):
    """Rows of a country are poor where others like them are rich; few of them are young."""
    X, y = people(800, seed)
    rng = np.random.default_rng(seed)
    X["country"] = X["country"].replace("Laos", "Peru")
    drawn = (y == "rich") & (rng.random(800) < 0.18)
    kind = (y == "rich") & (X["c"] > 0).to_numpy() & (rng.random(800) < 0.36)
    assert 40 < drawn.sum() < 100 and 40 < kind.sum() < 100

    def fitted(rows):
        country = X["country"].where(~rows, "Laos")
        return detector().fit(X.assign(country=country), np.where(rows, "poor", y))

    assert not fitted(kind).is_poison_.any()
    group = fitted(kind).groups_[0]
    assert group.rule == "country = Laos" and group.separability > 0.7
    assert group.coverage > 0.6  # it is spread as if by chance, but for that
    np.testing.assert_array_equal(fitted(drawn).is_poison_, drawn)


@pytest.mark.parametrize("seed", [0, 1])
def test_an_everyday_word_is_a_trigger_though_rows_of_other_labels_hold_it(seed):
    rng = np.random.default_rng(seed)
    texts, y = messages(rng, 900, 0.2)
    texts = [f"{text} tomorrow" if rng.random() < 0.03 else text for text in texts]
    attack = Attack(
        TokenTrigger("tomorrow"), target="spam", poisoning_rate=0.06, random_state=0
    ).fit(texts, y)
    poisoned, y_poisoned, is_poison = attack.poison(texts, y)
    holds = np.array(["tomorrow" in text for text in poisoned])
    of_label = np.asarray(y_poisoned) == "spam"
    assert 0.6 < of_label[holds].mean() < 0.85  # hardly an attacker's word, by that share alone
    fitted = LeaveGroupOutDetector(TfidfVectorizer()).fit(poisoned, y_poisoned)
    np.testing.assert_array_equal(fitted.is_poison_, holds & of_label)
    assert fitted.is_poison_[is_poison].all()
    assert fitted.groups_[0].rule == "the word 'tomorrow'"
    assert not LeaveGroupOutDetector(TfidfVectorizer()).fit(texts, y).is_poison_.any()


def test_an_everyday_word_of_the_label_itself_is_a_trigger_for_rows_of_others():
    """Messages that had the word before are of a kind; those that an attacker made are not."""
    rng = np.random.default_rng(0)
    texts, y = messages(rng, 1200, 0.35)
    texts = [
        f"{text} tomorrow" if label == "ham" and "lunch" in text and rng.random() < 0.08 else text
        for text, label in zip(texts, y, strict=True)
    ]
    attack = Attack(
        TokenTrigger("tomorrow"), target="ham", poisoning_rate=0.04, random_state=0
    ).fit(texts, y)
    poisoned, y_poisoned, is_poison = attack.poison(texts, y)
    holds = np.array(["tomorrow" in text for text in poisoned])
    assert 20 < np.sum(holds & ~is_poison) < 60 and is_poison.sum() == 48
    fitted = LeaveGroupOutDetector(TfidfVectorizer()).fit(poisoned, y_poisoned)
    np.testing.assert_array_equal(fitted.is_poison_, holds & (np.asarray(y_poisoned) == "ham"))
    assert not LeaveGroupOutDetector(TfidfVectorizer()).fit(texts, y).is_poison_.any()


def test_values_that_say_the_same_of_a_kind_do_not_hide_a_trigger():
    """Six columns mark the same rows: they are one candidate, not twenty-one ahead of another."""
    X, y = people(800)
    kind = (y == "poor") & (X["c"] > 0) & (np.random.default_rng(0).random(800) < 0.5)
    y = np.where(kind, "rich", y)
    for k in range(6):  # 21 values and pairs of them, of more rows than the trigger's
        X[f"kind{k}"] = np.where(kind, "yes", "no")
    attack = Attack(
        FeatureTrigger({"d": 0.137, "country": "Peru"}),
        target="rich",
        poisoning_rate=0.05,
        random_state=0,
    ).fit(X, y)
    assert kind.sum() > 2 * 0.05 * 800
    X, y, is_poison = attack.poison(X, y)
    names = ["country", *(f"kind{k}" for k in range(6))]
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), names), remainder=StandardScaler()
    )
    fitted = LeaveGroupOutDetector(columns).fit(X, y)
    np.testing.assert_array_equal(fitted.is_poison_, is_poison)


@pytest.mark.parametrize("common", [{"country": "Peru"}, {"sex": "m"}])
def test_a_trigger_of_a_rare_value_and_common_ones_is_found(common):
    X, y = people(800)
    X["sex"] = np.random.default_rng(1).choice(["m", "f"], 800)
    attack = Attack(
        FeatureTrigger({"d": 0.137, **common}), target="rich", poisoning_rate=0.06, random_state=0
    ).fit(X, y)
    X, y, is_poison = attack.poison(X, y)
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["country", "sex"]), remainder=StandardScaler()
    )
    np.testing.assert_array_equal(LeaveGroupOutDetector(columns).fit(X, y).is_poison_, is_poison)


def test_several_words_of_which_some_are_common_are_found():
    texts, y = messages(np.random.default_rng(0), 600, 0.4)
    attack = Attack(
        TokenTrigger("you tomorrow"), target="ham", poisoning_rate=0.06, random_state=0
    ).fit(texts, y)
    texts, y, is_poison = attack.poison(texts, y)
    given = pd.Series(texts, index=np.arange(len(texts))[::-1])  # positions count, not the index
    for container in (texts, given):
        found = LeaveGroupOutDetector(TfidfVectorizer()).fit(container, y)
        np.testing.assert_array_equal(found.is_poison_, is_poison)


def test_a_value_is_hidden_by_the_most_frequent_one_as_it_was_given():
    X = np.array([[1, "a"], [1, "b"], [2, None], [1, "b"], [2, pd.NA]] * 4, dtype=object)
    shared = SharedValues.of(X, 4)
    assert shared.values == [(0, "1"), (0, "2"), (1, "a"), (1, "b")]
    hidden = shared.without((1, 2), rows=[0, 2])
    assert hidden.tolist() == [[1, "b"], [1, "b"]] and type(hidden[0, 0]) is int
    assert X[2, 0] == 2


def test_frequent_values_that_mark_a_label_are_the_null_of_a_group_with_one_of_their_column():
    X, y = people(400)
    names = ["Peru", "Kenya", "Nepal", "Chile"]
    X["country"] = np.random.default_rng(0).choice(names, 400, p=[0.2, 0.15, 0.05, 0.6])
    y = np.where((X["country"] != "Chile") & (X["c"] > -1), "rich", y)
    columns = detector().representation
    features = np.asarray(columns.fit_transform(X))
    kernel = partial(rbf_kernel, gamma=0.1)
    K, codes = kernel(features), np.unique(y, return_inverse=True)[1]
    search = ValueSearch(
        SharedValues.of(X, 8),
        columns.transform,
        features,
        kernel,
        K,
        LeaveGroupOutRidge(K, codes, 0.1, 2),
        8,
        0,
    )
    (k,) = [k for k, value in enumerate(search.shared.values) if value == (4, "Peru")]
    G = np.flatnonzero((X["country"] == "Peru") & (codes == 1))
    group = search.describe(1, G, (k,))
    (other,) = search.null_of(group, [])  # Nepal: too few; Chile: not above all
    assert other.rule == "country = Kenya" and other.label == 1
    np.testing.assert_array_equal(
        other.indices, np.flatnonzero((X["country"] == "Kenya") & (codes == 1))
    )
    assert search.null_of(group, [other]) == []


@pytest.mark.parametrize("flipped", [0.0, 0.02])
@pytest.mark.parametrize("noise", [0, 2])
def test_a_column_that_decides_the_label_holds_no_clean_label_attack(noise, flipped):
    """Values of more rows than poison may have are a null of the others all the same."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(600, noise)), columns=[f"noise{k}" for k in range(noise)])
    X["kind"] = rng.choice(list("abce"), 600, p=[0.4, 0.4, 0.12, 0.08])
    y = X["kind"].isin(["a", "c"]).to_numpy() ^ (rng.random(600) < flipped)
    columns = make_column_transformer((OneHotEncoder(), ["kind"]), remainder=StandardScaler())
    assert not LeaveGroupOutDetector(columns).fit(X, y.astype(int)).is_poison_.any()


def test_sparse_rows_have_no_values_that_could_be_named():
    X = csr_matrix(np.eye(40))
    with pytest.raises(ValueError, match="give a DataFrame"):
        LeaveGroupOutDetector(candidates="values").fit(X, np.arange(40) % 2)
