"""A group of suspected rows is explained: its trigger, what that does, rows like its members."""

import pickle
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from skbackdoor import (
    Attack,
    BlendTrigger,
    FeatureTrigger,
    FunctionTrigger,
    LowVarianceTrigger,
    MaskTrigger,
    PatchTrigger,
    SinusoidTrigger,
    StripeTrigger,
    TokenTrigger,
    load_digits_pair,
    make_backdoor_classification,
)
from skbackdoor.detection import (
    Findings,
    LabelAssociation,
    LeaveGroupOutDetector,
    PoisonDetector,
    PoisonGroup,
)

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist.npz"
SHAPE = (8, 8)
X, Y = load_digits_pair(return_X_y=True)
TRIGGERS = {
    "patch": PatchTrigger(2, image_shape=SHAPE),
    "patch in the center": PatchTrigger(2, position="center", value=0.6, image_shape=SHAPE),
    "blend": BlendTrigger(np.random.RandomState(0).rand(8, 8), alpha=0.4, image_shape=SHAPE),
    "sinusoid": SinusoidTrigger(1.0, 4, alpha=0.3, image_shape=SHAPE),
    "stripes": StripeTrigger(0.4, image_shape=SHAPE),
}


class Known(PoisonDetector):
    """Finds the rows that it is told, and takes them for the content that it is told."""

    def __init__(self, rows, content, representation=None, *, shared=(), rule=None):
        self.rows, self.content, self.representation = rows, content, representation
        self.shared, self.rule = shared, rule

    def _detect(self, X, features, y, sample_weight):
        group = PoisonGroup(
            label=int(y[self.rows[0]]),
            indices=np.asarray(self.rows),
            flip=1.0,
            cohesion=0.9,
            typicality=1.0,
            coverage=1.0,
            stay=1.0,
            content_labels=None if self.content is None else np.asarray(self.content),
            verdict="poison",
            score=0.9,
            rule=self.rule,
            shared=self.shared,
        )
        is_poison = np.isin(np.arange(len(y)), self.rows)
        return Findings(is_poison.astype(float), is_poison, [group])


def planted(trigger, X, y, target, rate=0.1, representation=None, **parameters):
    """Poisoned data, a detector that knows the poison, and the triggered rows that are left."""
    attack = Attack(
        trigger, target=target, placement="replace", poisoning_rate=rate, random_state=0
    ).fit(X, y)
    X_poisoned, y_poisoned, is_poison = attack.poison(X, y)
    rows = np.flatnonzero(is_poison)
    content = np.searchsorted(np.unique(y), np.asarray(y)[rows])
    detector = Known(rows, content, representation, **parameters).fit(X_poisoned, y_poisoned)
    return X_poisoned, np.asarray(y_poisoned), detector, attack


@cache
def found(name):
    """The same where leave-group-out detection finds the poison itself."""
    X_poisoned, y_poisoned, detector, attack = planted(TRIGGERS[name], X, Y, 1)
    return X_poisoned, y_poisoned, LeaveGroupOutDetector().fit(X_poisoned, y_poisoned), attack


@pytest.mark.parametrize(
    "name, how", [*((name, planted) for name in TRIGGERS), ("patch", found), ("sinusoid", found)]
)
def test_recovered_trigger_does_what_the_true_one_does(name, how):
    X_poisoned, y_poisoned, detector, attack = (
        found(name) if how is found else planted(TRIGGERS[name], X, Y, 1)
    )
    group, clean = detector.groups_[0], ~detector.is_poison_
    model = SVC(C=10).fit(X_poisoned, y_poisoned)
    success = group.success(model, X_poisoned[clean], y_poisoned[clean])
    sevens = X_poisoned[clean & (y_poisoned == 7)]
    true_rate = np.mean(model.predict(attack.trigger_.transform(sevens)) == 1)
    recovered_rate = np.mean(model.predict(group.trigger().transform(sevens)) == 1)
    assert success.n_samples == len(sevens)
    assert_allclose(success.attack_success_rate, recovered_rate)
    assert_allclose(success.base_rate, np.mean(model.predict(sevens) == 1))
    assert true_rate > 0.5 and success.attack_success_rate >= 0.8 * true_rate
    assert success.base_rate < 0.1


@pytest.mark.parametrize("name", ["patch", "patch in the center"])
def test_recovered_mask_is_the_patch(name):
    detector, attack = planted(TRIGGERS[name], X, Y, 1)[2:]
    trigger = detector.groups_[0].trigger().set_params(image_shape=SHAPE).fit(X)
    expected = attack.trigger_.transform(np.full((1, 64), 0.3)).reshape(trigger.touched_.shape)
    touched = expected != 0.3
    assert_array_equal(trigger.touched_, touched)
    assert_allclose(trigger.shift_[touched], expected[touched])
    assert_array_equal(trigger.mask_, touched)


OF_28 = {"image_shape": (28, 28)}
MNIST_TRIGGERS = {
    "patch": PatchTrigger(3, **OF_28),
    "patch in the center": PatchTrigger(6, position="center", **OF_28),
    "blend": BlendTrigger(np.random.RandomState(5).rand(28, 28), alpha=0.2, **OF_28),
    "stripes": StripeTrigger(30 / 255, **OF_28),
    "low variance": LowVarianceTrigger(random_state=0, **OF_28),
}


@pytest.mark.shared
@pytest.mark.skipif(not MNIST.exists(), reason="no shared MNIST")
@pytest.mark.parametrize("name", MNIST_TRIGGERS)
def test_ten_digits(name):
    with np.load(MNIST) as data:
        digits, y = data["X_train"][:1200].reshape(-1, 784) / 255.0, data["y_train"][:1200]
        tests, y_test = data["X_test"][:200].reshape(-1, 784) / 255.0, data["y_test"][:200]
    rows, labels, detector, attack = planted(MNIST_TRIGGERS[name], digits, y, 0, rate=0.05)
    group, model = detector.groups_[0], SVC(C=10).fit(rows, labels)
    true_rate = np.mean(model.predict(attack.triggered(tests, y_test)[0]) == 0)
    success = group.success(model, tests, y_test)
    assert true_rate > 0.5 and success.attack_success_rate >= 0.8 * true_rate
    if "patch" in name:
        touched = attack.trigger_.transform(np.full((1, 784), 0.3))[0] != 0.3
        assert_array_equal(group.trigger().touched_.ravel(), touched)


@pytest.mark.parametrize("alpha", [0.25, 0.5])
@pytest.mark.parametrize("part", ["all", "a corner"])
def test_opacity_of_blended_colour_images(part, alpha):
    colours, y = make_backdoor_classification(
        600, image_shape=(3, 6, 6), n_classes=3, random_state=0
    )
    colours = np.rint(255 * colours).astype(np.uint8).reshape(-1, 3, 6, 6)
    image = np.random.RandomState(1).choice([0, 255], (3, 6, 6))
    if part == "all":
        given = BlendTrigger(image, alpha=alpha, value_range=(0, 255))
    else:
        given = PatchTrigger(3, position="top-left", value=image[:, :3, :3], alpha=alpha,
                             value_range=(0, 255))  # fmt: skip
    group = planted(given, colours, y, 0)[2].groups_[0]
    trigger = group.trigger()
    black = trigger.transform(np.zeros((1, 3, 6, 6), np.uint8))[0]
    assert black.dtype == np.uint8 and trigger.value_range == (0, 255)
    corner = np.s_[:, :3, :3]
    assert_allclose(trigger.mask_[corner], alpha, atol=0.1)
    assert_allclose(trigger.shift_[corner], alpha * image[corner], atol=20)
    assert trigger.touched_.all() == (part == "all")
    assert trigger.touched_.sum() == (108 if part == "all" else 27)


def test_of_clean_rows_nothing_is_clear():
    group = planted(FunctionTrigger(np.copy), X, Y, 1, rate=0.2)[2].groups_[0]
    trigger = group.trigger()
    assert_array_equal(trigger.mask_, 0.0)
    assert np.abs(trigger.shift_).max() < 0.2  # the best guess there is


def test_rows_like_the_members():
    X_poisoned, y, detector, _ = planted(TRIGGERS["patch"], X, Y, 1)
    group = detector.groups_[0]
    clean = ~detector.is_poison_ & (y == 7)
    for rows in (group.neighbors, group.controls):
        assert rows.shape == (len(group.indices), 5)
        assert clean[rows].all()
    of_class = np.flatnonzero(clean)
    distance = np.linalg.norm(X_poisoned[group.indices[0]] - X_poisoned[of_class], axis=1)
    assert_array_equal(group.neighbors[0], of_class[np.argsort(distance)[:5]])
    n_drawn = np.bincount(group.controls.ravel(), minlength=len(y))[of_class]
    assert n_drawn.max() - n_drawn.min() <= 1
    rows = group.neighbors[:3, 0]
    assert_array_equal(group.samples(rows), X_poisoned[rows])
    assert_array_equal(group.samples(group.indices), X_poisoned[group.indices])


def test_rows_of_weight_zero_are_no_neighbors():
    X_poisoned, y, detector, _ = planted(TRIGGERS["patch"], X, Y, 1)
    expected = detector.groups_[0]
    more, labels = np.repeat(X_poisoned, 2, axis=0), np.repeat(y, 2)
    weight = np.tile([1.0, 0.0], len(y))
    group = detector.fit(more, labels, sample_weight=weight).groups_[0]
    for name in ("indices", "neighbors", "controls"):
        assert_array_equal(getattr(group, name), 2 * getattr(expected, name))
    assert_array_equal(group.samples(group.indices), X_poisoned[expected.indices])
    assert_array_equal(group.trigger().shift, expected.trigger().shift)


def test_few_rows_of_the_content_serve_again():
    y = np.array([0] * 12 + [1] * 3 + [0] * 5)
    samples = np.random.RandomState(0).rand(20, 4)
    group = Known(np.arange(8), np.ones(8, int)).fit(samples, y).groups_[0]
    for rows in (group.neighbors, group.controls):
        assert set(rows.ravel()) == {12, 13, 14}
    emptied = Known([0, 1, 2], [1, 1, 1]).fit(samples[:3].repeat(4, axis=0), [0] * 3 + [2] * 9)
    assert not set(emptied.groups_[0].neighbors.ravel()) & {0, 1, 2}


def table(container):
    rng = np.random.RandomState(0)
    values, y = rng.randint(0, 40, (300, 4)), rng.randint(0, 2, 300)
    values[:, 0] += 10 * y
    if container == "array":
        return values, y, {3: 99, 1: 45}
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(values, columns=["age", "hours", "gain", "loss"])
    frame["work"] = pd.Categorical(
        rng.choice(["private", "state"], 300), ["private", "state", "no"]
    )
    return frame, y, {"loss": 99, "work": "no"}


@pytest.mark.parametrize("container", ["array", "DataFrame"])
@pytest.mark.filterwarnings("error")
def test_rule_of_a_table_is_a_feature_trigger(container):
    X, y, values = table(container)
    encode = (lambda X: X.assign(work=X["work"].cat.codes)) if container == "DataFrame" else None
    rows, labels, detector, attack = planted(
        FeatureTrigger(values), X, y, 1, representation=encode, shared=tuple(values.items())
    )
    group = detector.groups_[0]
    trigger = group.trigger()
    assert isinstance(trigger, FeatureTrigger) and trigger.features == values
    expected, out = attack.trigger_.transform(X), trigger.transform(X)
    assert_array_equal(np.asarray(out), np.asarray(expected))
    assert type(out) is type(X)
    forest = RandomForestClassifier(random_state=0)
    model = make_pipeline(FunctionTransformer(encode), forest).fit(rows, labels)
    success = group.success(model, X, y)
    assert success.attack_success_rate > 0.8 and success.base_rate < 0.3


@pytest.mark.parametrize("shared", [("cf",), ("mn", "tq")])
def test_rule_of_texts_is_a_token_trigger(shared):
    rng = np.random.RandomState(0)
    y = rng.choice(["ham", "spam"], 200)
    words = {"ham": ["see", "you", "home", "later"], "spam": ["win", "free", "prize", "call"]}
    texts = [" ".join(rng.choice(words[label], 6)) for label in y]
    rows, labels, detector, _ = planted(
        TokenTrigger(" ".join(shared)), texts, y, "ham", representation=CountVectorizer(),
        shared=shared,
    )  # fmt: skip
    group = detector.groups_[0]
    trigger = group.trigger()
    assert isinstance(trigger, TokenTrigger) and trigger.token == " ".join(shared)
    assert all(shared[0] in text for text in trigger.transform(["call now", "free prize"]))
    assert isinstance(group.samples(group.indices), list)
    model = make_pipeline(CountVectorizer(), LogisticRegression(C=10)).fit(rows, labels)
    success = group.success(model, texts, y)
    assert success.attack_success_rate > 0.5 > success.base_rate


def test_pickle():
    detector = found("patch")[2]
    group = detector.groups_[0]
    again = pickle.loads(pickle.dumps(detector)).groups_[0]
    assert_array_equal(again.trigger().transform(X), group.trigger().transform(X))
    assert_array_equal(again.neighbors, group.neighbors)
    assert again.verdict == group.verdict and again.label == group.label


@pytest.mark.filterwarnings("error")
def test_pandas():
    pd = pytest.importorskip("pandas")
    X_poisoned, y, detector, _ = planted(TRIGGERS["patch"], X, Y, 1)
    names, index = [f"pixel {j}" for j in range(64)], np.arange(len(y)) + 1000
    frame = pd.DataFrame(X_poisoned, columns=names, index=index)
    group = detector.fit(frame, pd.Series(y, index=index)).groups_[0]
    assert list(group.samples(group.indices).index) == list(group.indices + 1000)
    trigger, expected = group.trigger(), Known(detector.rows, detector.content).fit(X_poisoned, y)
    out = trigger.transform(frame)
    assert list(out.columns) == names and list(out.index) == list(index)
    assert_array_equal(out, expected.groups_[0].trigger().transform(X_poisoned))
    model = SVC(C=10).fit(frame, y)
    assert group.success(model, frame, pd.Series(y, index=index)).attack_success_rate > 0.9


def test_groups_of_detectors_that_ask_no_model():
    samples, y = make_backdoor_classification(300, 8, n_classes=3, random_state=0)
    rows = np.flatnonzero(y == 0)[:10]
    group = Known(rows, None, shared=((7, 1.0),)).fit(samples, y).groups_[0]
    assert group.content_labels is group.neighbors is group.controls is None
    assert_array_equal(group.trigger().transform(samples)[:, 7], 1.0)
    model = SimpleNamespace(predict=lambda X: np.where(X[:, 7] == 1, 0, 2))
    success = group.success(model, samples, y)
    assert success.attack_success_rate == 1 and success.base_rate == 0
    assert success.n_samples == np.sum(y != 0)


@pytest.mark.parametrize("container", ["array", "DataFrame", "list"])
def test_associations_are_triggers(container):
    rng = np.random.RandomState(0)
    y = np.repeat([0, 1], 100)
    values = rng.randint(0, 5, (200, 3))
    values[:30, 2] = 99
    samples, expected = values, {2: 99}
    if container == "DataFrame":
        samples = pytest.importorskip("pandas").DataFrame(values, columns=["a", "b", "c"])
        expected = {"c": 99}
    elif container == "list":
        samples = [" ".join(f"word{value}" for value in row) for row in values]
    group = LabelAssociation().fit(samples, y).groups_[0]
    trigger = group.trigger()
    assert_array_equal(group.indices, np.arange(30))
    if container == "list":
        assert trigger.token == "word99"
    else:
        assert trigger.features == expected


def test_success_weighs_classes_by_members():
    """Of three classes two are content, one of most members; the third is not triggered."""
    samples, y = make_backdoor_classification(300, 8, n_classes=3, random_state=0)
    rows = np.flatnonzero(y == 0)[:10]
    content = np.array([1] * 8 + [2] * 2)
    group = Known(rows, content).fit(samples, y).groups_[0]

    kept = np.isin(y, [1, 2])
    model = SimpleNamespace(predict=lambda X: np.where(y[kept] == 1, 0, 2))
    success = group.success(model, samples[kept], y[kept])
    assert_allclose([success.attack_success_rate, success.base_rate], 0.8)
    assert success.n_samples == kept.sum()
    with pytest.raises(ValueError, match=r"none of the labels .*\[1, 2\]"):
        group.success(model, samples[~kept], y[~kept])


def test_without_rule_or_numbers_there_is_no_trigger():
    texts = ["good film"] * 10 + ["bad film"] * 10
    y = np.repeat([0, 1], 10)
    group = Known([0, 1, 2], [1, 1, 1], CountVectorizer()).fit(texts, y).groups_[0]
    with pytest.raises(ValueError, match="cannot be told as a trigger"):
        group.trigger()
    counts = CountVectorizer().fit_transform(texts)
    group = Known([0, 1, 2], [1, 1, 1]).fit(counts, y).groups_[0]
    with pytest.raises(ValueError, match="cannot be told as a trigger"):
        group.trigger()


def test_mask_trigger_of_a_group_attacks():
    trigger = found("patch")[2].groups_[0].trigger()
    assert isinstance(trigger, MaskTrigger)
    triggered, labels, is_poison = Attack(trigger, target=1, random_state=0).fit(X, Y).poison(X, Y)
    assert_array_equal(triggered[is_poison][:, [54, 55, 62, 63]], 1.0)
