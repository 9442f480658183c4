"""The audit of data: verdicts, what they rest on, and that inputs are left alone."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import poisoned
import pytest
import scipy.sparse as sp
from scipy.stats import binom
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skbackdoor import (
    Attack,
    BackdoorPoisoner,
    FeatureTrigger,
    MaskTrigger,
    SinusoidTrigger,
    audit,
    load_digits_pair,
)
from skbackdoor.audit import resistance, training_data
from skbackdoor.audit.kinds import default_code, kind_of
from skbackdoor.audit.proof import confidence_interval, replaces_content
from skbackdoor.audit.report import Withstood


@pytest.mark.parametrize("kind", ["digits", "table", "texts"])
def test_a_planted_backdoor_is_found_and_proved(kind):
    X, y, is_poison = getattr(poisoned, kind)()
    report = poisoned.report(kind)
    assert report.verdict == "poison"
    assert (report.is_poison & is_poison).sum() >= 0.9 * is_poison.sum()
    assert (report.is_poison & ~is_poison).sum() <= 0.01 * len(y)
    group = report.groups[0]
    assert group.success > group.base_rate
    assert group.interval[0] <= group.success <= group.interval[1]
    # what is proposed takes the backdoor out, at hardly any price
    remedies = {row.name: row for row in report.remedies}
    if kind != "table":  # the trees have too few poisoned rows for a leaf: another one proves it
        assert group.success >= 0.8 and group.interval[0] >= group.base_rate + 0.3
        assert remedies["Leave it as it is"].success >= 0.8
    for row in report.remedies:  # of the same rows, and none is without doubt
        low, high = row.interval
        assert low <= row.accuracy <= high and low < high
    dropped = remedies["Drop these rows"]
    assert dropped.success <= group.base_rate + 0.2
    assert dropped.accuracy >= report.accuracy - 0.05


@pytest.mark.parametrize("kind", ["digits", "table", "texts"])
def test_clean_data_are_never_called_poison(kind):
    report = poisoned.report(kind, poison=False)
    assert report.verdict != "poison"
    assert not report.is_poison.any()


def test_the_input_is_left_alone():
    frame, y, _ = poisoned.table()
    before, labels = frame.copy(), y.copy()
    audit(frame, y)
    pd.testing.assert_frame_equal(frame, before)
    assert (y == labels).all()


def test_a_fitted_model_is_asked_as_it_is():
    X, y, _ = poisoned.digits()
    flat = X.reshape(len(X), -1)
    model = SVC(C=10).fit(flat, y)
    vectors = model.support_vectors_.copy()
    report = audit(flat, y, model, image_shape=(8, 8))
    np.testing.assert_array_equal(model.support_vectors_, vectors)
    assert report.verdict == "poison" and "fitted" in " ".join(report.notes)
    # a poisoned model, and clean data
    X_clean, y_clean, _ = poisoned.digits(poison=False)
    report = audit(X_clean.reshape(len(X), -1), y_clean, model, image_shape=(8, 8))
    assert report.verdict == "poison" and not report.groups
    assert report.model.verdict == "poison" and report.model.classes[0].label == 9


def test_rows_that_rightly_have_their_label_are_shown():
    X, y = load_digits_pair((1, 7), return_X_y=True)
    attack = Attack(
        SinusoidTrigger(alpha=0.4, period=5), target=7, clean_label=True, poisoning_rate=0.1,
        placement="replace", random_state=0).fit(X.reshape(-1, 8, 8), y)  # fmt: skip
    X, y, is_poison = attack.poison(X.reshape(-1, 8, 8), y)
    report = audit(X, y)
    assert report.verdict != "nothing" and report.groups[0].group.clean_label
    assert is_poison[report.groups[0].indices].mean() >= 0.9


def test_trusted_rows_are_what_success_is_of():
    X, y, _ = poisoned.digits()
    trusted = tuple(part[-80:] for part in poisoned.digits(poison=False)[:2])
    report = audit(X[:-80], y[:-80], trusted=trusted)
    assert report.groups[0].n_samples == np.sum(trusted[1] != 9)


def test_breakdown_rates_grow_with_regularisation():
    report = poisoned.report("digits")
    by_trigger = {}
    for row in report.withstood:
        by_trigger.setdefault(row.trigger, []).append(row.rate)
    assert by_trigger and all(rates[0] <= rates[-1] for rates in by_trigger.values())
    text = report.summary()
    for row in report.withstood:
        assert f"{row.setting} (this one)" in text if row.chosen else row.setting in text
        assert f"{row.trigger} {row.in_words()}" in text
        assert row.accuracy > 0.5 and row.in_words() in report.to_html()


def test_a_model_that_collapses_is_said_to():
    row = Withstood("C = 1", True, "blend", 1, 0.2, 0.02, False, 0.015, False, 0.99)
    assert row.in_words() == "2.00%, collapses at 1.50%"
    assert replace(row, collapse_censored=True).in_words() == "2.00%"
    assert replace(row, censored=True).in_words() == "over 2.00%, collapses at 1.50%"
    assert replace(row, base_rate=1.0).in_words() == "none: 100% without any poison"


def test_what_replaces_the_content_is_no_trigger():
    X = np.random.RandomState(0).rand(200, 8, 8)
    face = np.random.RandomState(1).rand(8, 8)
    assert not replaces_content(MaskTrigger(0.2, 0.2 * face).fit(X), X)
    mask = np.zeros((8, 8))
    mask[5:, 5:] = 1.0
    assert not replaces_content(MaskTrigger(mask, mask).fit(X), X)
    assert replaces_content(MaskTrigger(0.95, 0.95 * face).fit(X), X)


@pytest.mark.parametrize("share, n", [(0.0, 10), (1.0, 10), (0.3, 50), (0.95, 400)])
def test_intervals_hold_at_their_ends(share, n):
    """Clopper and Pearson: at either end the count is as extreme as has a chance of 2.5 %."""
    low, high = confidence_interval(share, n)
    k = round(share * n)
    if k > 0:
        assert binom.sf(k - 1, n, low) == pytest.approx(0.025)
    if k < n:
        assert binom.cdf(k, n, high) == pytest.approx(0.025)


@pytest.mark.parametrize(
    "y, message",
    [
        (["a"] * 60, "one class"),
        (["a", "b", None] * 20, "missing"),
        ([float("nan"), 1.0, 2.0] * 20, "missing"),
        ([f"id {i}" for i in range(60)], "60 classes"),
        (np.linspace(0, 1, 60), "no classes"),
    ],
)
def test_what_cannot_be_labels_is_said(y, message):
    X = np.random.RandomState(0).randn(60, 3)
    with pytest.raises(ValueError, match=message):
        audit(X, np.array(y, dtype=object if None in list(y) else None))


def test_an_estimator_of_ones_own():
    X, y, _ = poisoned.digits()
    report = audit(X.reshape(len(X), -1), y, LogisticRegression(max_iter=300))
    assert report.kind == "numbers" and "LogisticRegression" in report.estimator


@pytest.mark.parametrize("kind", ["digits", "table", "texts"])
def test_lines_to_copy_run(kind):
    X, y, _ = getattr(poisoned, kind)()
    names = {"X": X, "y": y}
    exec(default_code(kind_of(X), X), names)
    model = names["estimator"].fit(names["X"], y)
    assert model.score(names["X"], y) > 0.9


def test_a_slow_model_is_not_asked_for_hours(monkeypatch):
    monkeypatch.setattr(training_data, "LONGEST", 0)
    X, y, _ = poisoned.digits(poison=False)
    report = audit(X, y)
    assert report.model is None and any("predictions are slow" in note for note in report.notes)


def overlapping(seed, noise=0.6):
    """Clean rows on both sides of a line, labels near it by chance."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(400, 4))
    return X, (X[:, 0] + X[:, 1] + noise * rng.normal(size=400) > 0).astype(int)


@pytest.mark.parametrize("seed", [0, 3])
def test_accuracy_is_that_of_all_held_out_rows_of_clean_data(seed):
    X, y = overlapping(seed, 1.0)
    report = audit(X, y)
    expected = cross_val_score(make_pipeline(StandardScaler(), SVC(C=10)), X, y, cv=5).mean()
    assert abs(report.accuracy - expected) <= 0.09  # two standard errors of a hundred rows
    (note,) = [note for note in report.notes if note.startswith("Success and accuracy")]
    judged, aside = (int(number) for number in re.findall(r"\d+", note))
    assert judged + aside == 100
    assert aside <= sum(len(group.indices) for group in report.groups)


def test_rates_of_forests_are_of_whole_rows():
    """Fewer rows than the stated rate says do not give a working backdoor, that many do."""
    X, y = overlapping(1, 0.0)
    frame = pd.DataFrame(X, columns=list("abcd"))
    train, test = frame[:300], frame[300:]
    trigger = FeatureTrigger({"c": 9.0})
    forest = RandomForestClassifier(50, random_state=0)
    setting = forest, "as it is", True, ()
    found = resistance._measured(setting, trigger, 1, None, (train, y[:300], test, y[300:]))
    assert not found.censored

    def excess(k):
        attack = BackdoorPoisoner(
            forest, trigger, target=1, poisoning_rate=k / 300, random_state=0
        ).fit(train, y[:300])
        triggered, labels, _ = attack.triggered_test(test, y[300:])
        return (np.mean(attack.predict(triggered) == labels) - base) / (1 - base)

    clean = clone(forest).fit(train, y[:300])
    base = np.mean(clean.predict(trigger.fit_transform(test[y[300:] == 0])) == 1)
    assert found.base_rate == pytest.approx(base)
    k = round(found.rate * 300)
    assert excess(k) >= 0.5 and k > 1
    assert excess(int(min(k - 1, k / resistance.CLOSE))) < 0.5


def test_a_fitted_model_is_said_to_know_the_rows():
    X, y = overlapping(0)
    report = audit(X, y, SVC(C=1000, gamma=2).fit(X, y))
    assert any("its accuracy here is too high" in note for note in report.notes)
    assert not any("not fitted on" in note for note in report.notes)
    with pytest.raises(ValueError, match=r"does not know: \['no', 'yes'\]; its classes_ are"):
        audit(X, np.where(y, "yes", "no"), SVC().fit(X, y))
    with pytest.raises(ValueError, match="does not take these rows"):
        audit(X, y, SVC().fit(X[:, :3], y))


class TwoDimensional(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full((len(X), 1), self.classes_[0])


class NoClasses(TwoDimensional):
    def fit(self, X, y):
        return self


class NoEstimator:
    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X))


X_GIVEN, Y_GIVEN = overlapping(0)


@pytest.mark.parametrize(
    "given, message",
    [
        (dict(y=Y_GIVEN[:9]), "X has 400 rows and y 9 labels"),
        (dict(X=X_GIVEN[:0], y=[]), "X has 0 rows"),
        (dict(y=np.array([1, "x"] * 200, dtype=object)), "several types, int, str"),
        (dict(X=np.where(X_GIVEN > 2, np.nan, X_GIVEN)), "X holds NaN: give a DataFrame"),
        (dict(X=pd.DataFrame(X_GIVEN, columns=list("abca"))), r"named twice, \['a'\]"),
        (dict(X=X_GIVEN[:12], y=Y_GIVEN[:12]), "too few to be audited"),
        (dict(trusted=5), "trusted=5 must be a pair"),
        (dict(estimator=NoEstimator()), "no scikit-learn estimator"),
        (dict(estimator=NoClasses()), "has no classes_ after fit"),
        (dict(estimator=TwoDimensional()), r"an array of shape \(5, 1\) for 5 rows"),
    ],
)
def test_what_cannot_be_audited_is_said(given, message):
    with pytest.raises(ValueError, match=message):
        audit(**dict(X=X_GIVEN, y=Y_GIVEN) | given)


def test_labels_of_true_and_false_and_objects():
    X, y = overlapping(0)
    for labels in ((y == 1).astype(object), np.array(["a", "b"], dtype=object)[y], y == 1):
        assert audit(X, labels).verdict == "nothing"


def test_lines_to_copy_name_what_was_given():
    X, _, _ = poisoned.digits()
    flat = X.reshape(len(X), -1)
    assert "estimator = " not in default_code("numbers", flat, own_estimator=True)
    assert "representation = " not in default_code("numbers", flat, own_representation=True)
    names = {}
    exec(default_code("numbers", sp.csr_matrix(flat)), names)
    names["representation"].fit(sp.csr_matrix(flat))
