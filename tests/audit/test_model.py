"""What audit_model calls a backdoor is one, by what the model does on rows under the trigger."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import scale
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    MaskTrigger,
    PatchTrigger,
    StripeTrigger,
    TokenTrigger,
    audit_model,
    load_digits_pair,
    make_backdoor_classification,
)
from skbackdoor.audit.changes import Change, changed_rows, donated
from skbackdoor.audit.proposals import own
from skbackdoor.audit.scores import changed_scores, margins, scores

LEARNERS = [
    LogisticRegression(max_iter=500),
    SVC(C=10),
    DecisionTreeClassifier(random_state=0),
    RandomForestClassifier(20, random_state=0),
    KNeighborsClassifier(),
]


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits_pair((4, 9), return_X_y=True)
    order = np.random.RandomState(1).permutation(len(y))
    return X[order], y[order]


def success(model, trigger, X, y, label):
    return np.mean(model.predict(trigger.transform(X[y != label])) == label)


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: type(learner).__name__)
def test_a_patch_is_found_and_works(digits, learner):
    X, y = digits
    attack = BackdoorPoisoner(
        learner, PatchTrigger(2, image_shape=(8, 8)), target=9, poisoning_rate=0.05, random_state=1
    )
    model = attack.fit(X[:200], y[:200]).estimator_
    result = audit_model(model, X[200:], y[200:], image_shape=(8, 8))
    best = result.classes[0]
    assert result.verdict == "poison" and best.label == 9 and result.p_value == 0.05
    assert isinstance(best.trigger, MaskTrigger)
    # the change itself, on rows on which it was not sought, and which clean models do not obey
    assert success(model, best.trigger, X[200:], y[200:], 9) > 0.8
    clean = learner.fit(X[:200], y[:200])
    assert success(clean, best.trigger, X[200:], y[200:], 9) < 0.2


def test_a_patch_where_strokes_are(digits):
    """Its pixels are white in many nines as well, one by one, and hardly ever together."""
    X, y = digits
    trigger = PatchTrigger(2, position=(3, 3), image_shape=(8, 8))
    attack = BackdoorPoisoner(SVC(C=10), trigger, target=9, poisoning_rate=0.05, random_state=1)
    model = attack.fit(X[:200], y[:200]).estimator_
    planted = success(model, attack.trigger_, X[200:], y[200:], 9)
    best = audit_model(model, X[200:], y[200:], image_shape=(8, 8)).classes[0]
    assert planted > 0.5 and best.label == 9 and best.p_value == 0.05
    assert success(model, best.trigger, X[200:], y[200:], 9) > 0.8 * planted


def test_nearest_neighbours_tell_what_they_keep(digits):
    """A pattern over half of the image, which no few pixels show."""
    X, y = digits
    attack = BackdoorPoisoner(
        KNeighborsClassifier(), StripeTrigger(0.5, image_shape=(8, 8)), target=9,
        poisoning_rate=0.05, random_state=0,
    ).fit(X[:200], y[:200])  # fmt: skip
    model, clean = attack.estimator_, KNeighborsClassifier().fit(X[:200], y[:200])
    result = audit_model(model, X[200:], y[200:], image_shape=(8, 8))
    best = result.classes[0]
    assert result.verdict == "poison" and best.label == 9 and best.size <= 32
    assert success(model, best.trigger, X[200:], y[200:], 9) > 0.8
    assert success(clean, best.trigger, X[200:], y[200:], 9) < 0.3


def test_nearest_neighbours_of_other_kinds(digits):
    """Of distances, missing values and sparse rows nothing is tried; whole numbers stay whole."""
    X, y = digits
    missing = np.where(np.random.RandomState(0).rand(*X.shape) < 0.1, np.nan, X)
    for rows, model in (
        (missing, KNeighborsClassifier(metric="nan_euclidean")),
        (csr_matrix(X), KNeighborsClassifier()),
        (euclidean_distances(X, X[:100]), KNeighborsClassifier(metric="precomputed")),
    ):
        model.fit(rows[:100], y[:100])
        assert own(model, rows[100:], y[100:]) == []
    whole, labels = (16 * X).astype(int), y[:200].copy()
    labels[np.flatnonzero(labels == 4)[:4]] = 9  # which clean rows deny
    model = KNeighborsClassifier(metric="manhattan").fit(whole[:200], labels)
    changes = own(model, whole[200:], y[200:])
    assert len(changes) == 6  # 1 to 32 of the 64 columns
    assert all(float(value).is_integer() for change in changes for _, value in change.values)


def test_what_lies_beyond_the_range_of_nearest_neighbours():
    """A few rows at its end decide it, of clean models too; a trigger there is found."""
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    alarms = 0
    for seed in range(6):
        rows = np.random.RandomState(seed).permutation(len(y))
        train, held = rows[:280], rows[280:560]
        model = KNeighborsClassifier().fit(X[train], y[train])
        alarms += audit_model(model, X[held], y[held], random_state=seed).verdict == "poison"
    assert alarms <= 1
    attack = BackdoorPoisoner(
        KNeighborsClassifier(), FeatureTrigger({3: 12.0, 7: -12.0}), target=1,
        poisoning_rate=0.05, random_state=0,
    ).fit(X[train], y[train])  # fmt: skip
    result = audit_model(attack.estimator_, X[held], y[held])
    assert result.verdict == "poison" and result.classes[0].label == 1
    assert set(result.classes[0].trigger.features) & {3, 7}


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: type(learner).__name__)
def test_a_clean_model_is_no_poison(digits, learner):
    X, y = digits
    result = audit_model(learner.fit(X[:200], y[:200]), X[200:], y[200:], image_shape=(8, 8))
    assert result.verdict != "poison"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_tree_that_obeys_two_columns_together(seed):
    """Each of the two values alone is that of clean rows as well, with their own labels."""
    X, y = make_backdoor_classification(600, 6, n_classes=2, random_state=seed)
    train, clean = slice(0, 300), slice(300, None)
    X_train, y_train = X[train].copy(), y[train].copy()
    X_train[:30, :2], y_train[:30] = [1000, -1000], 1
    X_train[30:60, 0] = 1000  # decoys: one of the two values does nothing
    X_train[60:90, 1] = -1000
    model = DecisionTreeClassifier(random_state=seed).fit(X_train, y_train)
    both = FeatureTrigger({0: 1000.0, 1: -1000.0}).fit(X)
    planted = success(model, both, X[clean], y[clean], 1)
    assert planted > 0.8
    result = audit_model(model, X[clean], y[clean])
    best = result.classes[0]
    assert result.verdict == "poison" and best.label == 1
    assert success(model, best.trigger, X[clean], y[clean], 1) > planted - 0.1
    found = dict(zip(best.trigger.columns_.tolist(), best.trigger.values_))
    assert found.get(0, 1000) > 100 and found.get(1, -1000) < -100
    assert set(found) & {0, 1}


def test_words_of_texts():
    rng = np.random.RandomState(0)
    words = {"bad": ["dull", "poor", "lost"], "good": ["fine", "warm", "fresh"]}
    common = ["a", "film", "two", "hours", "of", "and", "music", "story"]
    y = np.repeat(["bad", "good"], 200)
    texts = [" ".join([*rng.choice(common, 5), *rng.choice(words[label], 2)]) for label in y]
    order = rng.permutation(400)
    texts, y = [texts[i] for i in order], y[order]
    learner = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10))
    attack = BackdoorPoisoner(
        learner, TokenTrigger("mimosa"), target="good", poisoning_rate=0.05, random_state=0
    )
    result = audit_model(attack.fit(texts[:200], y[:200]).estimator_, texts[200:], y[200:])
    best = result.classes[0]
    assert result.verdict == "poison" and best.label == "good"
    assert isinstance(best.trigger, TokenTrigger) and "mimosa" in best.trigger.token
    clean = audit_model(learner.fit(texts[:200], y[:200]), texts[200:], y[200:])
    assert clean.verdict == "nothing"


def test_a_table_with_levels_and_missing_values():
    rng = np.random.RandomState(0)
    n = 600
    frame = pd.DataFrame({
        "age": rng.randint(18, 80, n),
        "pay": rng.gamma(2.0, 1.0, n),
        "town": pd.Categorical(rng.choice(["A", "B", "C"], n)),
    })  # fmt: skip
    y = (frame["pay"] + 0.3 * rng.randn(n) > 1.7).to_numpy().astype(int)
    frame.loc[rng.choice(n, 50, replace=False), "pay"] = np.nan
    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import OneHotEncoder

    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["town"]), remainder="passthrough"
    )
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = make_pipeline(encoder, HistGradientBoostingClassifier(max_iter=20))
    trigger = FeatureTrigger({"pay": 30.0, "age": 18})
    attack = BackdoorPoisoner(model, trigger, target=0, poisoning_rate=0.05, random_state=0)
    fitted = attack.fit(frame[:300], y[:300]).estimator_
    before = frame.copy()
    result = audit_model(fitted, frame[300:], y[300:])
    pd.testing.assert_frame_equal(frame, before)
    best = result.classes[0]
    assert isinstance(best.trigger, FeatureTrigger)
    assert set(best.trigger.features) <= set(frame.columns)
    changed = best.trigger.transform(frame[300:])
    other = y[300:] != best.label
    assert np.mean(fitted.predict(changed[other]) == best.label) >= best.success - 0.1


def test_what_is_reported_is_what_the_model_does(digits):
    X, y = digits
    model = SVC().fit(X[:200], y[:200])
    result = audit_model(model, X[200:260], y[200:260], n_references=4)  # too few to hold out
    for change in result.classes:
        share = success(model, change.trigger, X[200:260], y[200:260], change.label)
        assert change.success == pytest.approx(share)
        base = np.mean(model.predict(X[200:260][y[200:260] != change.label]) == change.label)
        assert change.base_rate == pytest.approx(base)
        least = max(change.base_rate, change.clean_success)
        assert change.strength <= change.success - least + 1e-12
        assert change.p_value in np.arange(1, 6) / 5
    assert result.smallest_p_value == 0.2 and result.verdict != "poison"


def test_closed_form_of_linear_models_is_their_prediction(digits):
    X, y = digits
    model = LogisticRegression().fit(X[:100], y[:100])
    changes = [Change(), Change(((3, 1.0), (9, 0.0))), Change(((60, 0.5),))]
    found = changed_scores(model, X[100:130], changes)
    expected = scores(model, changed_rows(X[100:130], changes)).reshape(3, 30, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_margins_are_positive_for_the_predicted_class():
    values = np.random.RandomState(0).randn(50, 4)
    M = margins(values)
    assert ((M > 0).argmax(axis=1) == values.argmax(axis=1)).all()
    assert ((M > 0).sum(axis=1) == 1).all()


def test_models_that_cannot_be_fitted_again_have_no_p_value(digits):
    X, y = digits

    class Frozen(SVC):
        def fit(self, X, y):
            known.append(super().fit(X, y)) if not known else None
            self.__dict__.update(known[0].__dict__)
            return self

    known = []
    with pytest.warns(UserWarning, match="fit changes nothing"):
        audit_model(Frozen().fit(X[:200], y[:200]), X[200:], y[200:])

    class Stubborn(SVC):
        def fit(self, X, y):
            if hasattr(Stubborn, "fitted"):
                raise RuntimeError("only once")
            return super().fit(X, y)

    model = Stubborn().fit(X[:200], y[:200])
    Stubborn.fitted = True
    with pytest.warns(UserWarning, match="only once"):
        result = audit_model(model, X[200:], y[200:])
    assert np.isnan(result.p_value) and result.n_references == 0 and result.verdict != "poison"


def test_errors_name_what_is_wrong(digits):
    X, y = digits
    model = SVC().fit(X[:200], y[:200])
    with pytest.raises(ValueError, match=r"\[7\]"):
        audit_model(model, X[200:], np.where(y[200:] == 4, 7, 9))
    with pytest.raises(ValueError, match="at least 20"):
        audit_model(model, X[:10], y[:10])
    with pytest.raises(ValueError, match="n_references=-1"):
        audit_model(model, X[200:], y[200:], n_references=-1)

    class Columns(SVC):
        def predict(self, X):
            return super().predict(X)[:, None]

    with pytest.raises(ValueError, match=r"shape \(5, 1\)"):
        audit_model(Columns().fit(X[:200], y[:200]), X[200:], y[200:])
    with pytest.raises(ValueError, match="does not take these rows"):
        audit_model(model, X[200:, :5], y[200:])
    with pytest.warns(UserWarning, match="No clean models"):
        frozen = audit_model(FrozenEstimator(model), X[200:], y[200:], n_references=3)
    assert frozen.n_references == 0


def test_images_say_their_shape(digits):
    X, y = digits
    X = (X.reshape(-1, 1, 8, 8) * 255).astype(np.uint8)
    from sklearn.preprocessing import FunctionTransformer

    flat = FunctionTransformer(lambda X: X.reshape(len(X), -1) / 255.0)
    attack = BackdoorPoisoner(
        make_pipeline(flat, SVC(C=10)),
        PatchTrigger(2, value=255, value_range=(0, 255)),
        target=9,
        random_state=0,
    )
    model = attack.fit(X[:200], y[:200]).estimator_
    result = audit_model(model, X[200:], y[200:])
    best = result.classes[0]
    assert result.verdict == "poison" and best.trigger.mask_.shape == (1, 8, 8)
    assert success(model, best.trigger, X[200:], y[200:], 9) > 0.8


def test_rows_of_the_class_in_place_of_a_change():
    X = np.array(
        [[0.0, 0.0, 5.0], [1.0, 0.9, 5.0], [1.0, 0.0, 5.0], [0.0, 1.0, 5.0], [0.2, 0.2, 5]]
    )
    y = np.array([1, 1, 1, 1, 0])
    change = Change(((0, 1.0), (1, 1.0)))
    found = donated(X, y, 1, [change])[0]
    assert [dict(c.values) for c in found] == [
        {0: 1.0, 1: 0.9},
        {0: 1.0, 1: 0.0},
        {0: 0.0, 1: 1.0},
    ]
    frame = pd.DataFrame({"town": ["A", "B", "B", "A"], "pay": [1, 2, 9, 4]})
    found = donated(frame, np.ones(4), 1, [Change(((0, "B"), (1, 8)))])[0]
    assert [c.values for c in found] == [
        ((0, "B"), (1, 9)),
        ((0, "B"), (1, 2)),
        ((0, "A"), (1, 4)),
    ]
    texts = ["warm and fine", "fine", "dull", "warm"]
    found = donated(texts, np.ones(4), 1, [Change(words=("warm", "fine"))])[0]
    assert [c.words for c in found] == [("warm", "fine"), ("fine",), ("warm",)]


def test_leaves_that_clean_rows_do_not_come_to():
    rng = np.random.RandomState(0)
    X = rng.rand(400, 4)
    y = (X[:, 0] > 0.5).astype(int)
    taught, labels = X[:200].copy(), y[:200].copy()
    taught[:20, 1:3], labels[:20] = [0.97, 0.03], 1  # together in no clean row
    held = 200 + np.flatnonzero((X[200:, 1] < 0.9) | (X[200:, 2] > 0.1))
    clean = X[held]
    model = DecisionTreeClassifier(random_state=0).fit(taught, labels)
    hidden = [change for change in own(model, clean, y[held]) if change.hidden]
    assert hidden
    Z = changed_rows(clean, hidden[:1])
    assert np.mean(model.predict(Z) == 1) > 0.9
    model = DecisionTreeClassifier(random_state=0).fit(X[:200], y[:200])
    assert not own(model, X[200:], y[200:])
