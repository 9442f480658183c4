"""Displays of influential samples draw what the functions compute."""

import numpy as np
import pytest
from attacked_images import SHAPE, X_TEST, X_TRAIN, Y_TEST, Y_TRAIN, attack, shown
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB

from skbackdoor import (
    FeatureTrigger,
    InfluentialSamplesDisplay,
    PatchTrigger,
    poison_influence,
)

plt = pytest.importorskip("matplotlib.pyplot")
from matplotlib.colors import to_rgba  # noqa: E402

ORANGE = to_rgba("#D55E00")


@pytest.mark.parametrize("placement", ["append", "replace", "supplant"])
def test_most_influential_samples(placement):
    poisoner = attack(LogisticRegression(max_iter=1000), placement=placement)
    display = InfluentialSamplesDisplay.from_estimator(
        poisoner, X_TRAIN, Y_TRAIN, X_TEST, Y_TEST, n_samples=3, n_influential=24
    )
    influence = poison_influence(poisoner, X_TRAIN, Y_TRAIN, X_TEST[:3], Y_TEST[:3], samples="all")
    fitted = poisoner.fit(X_TRAIN, Y_TRAIN)
    (clean, y_clean, _), (poison, y_poison, _) = fitted.training_rows()
    rows, labels = np.concatenate([clean, poison]), np.concatenate([y_clean, y_poison])
    assert display.axes_.shape == (3, 25)
    for t in range(3):
        values = influence[display.rows_[t], t]
        left_out = np.delete(influence[:, t], display.rows_[t])
        assert np.all(np.diff(np.abs(values)) <= 0)
        assert np.abs(left_out).max() <= np.abs(values).min()
        first = fitted.trigger_.transform(X_TEST[[t]]).reshape(SHAPE)
        assert_allclose(shown(display.axes_[t, 0]), first.transpose(1, 2, 0))
        for axis, j, value in zip(display.axes_[t, 1:], display.rows_[t], values, strict=True):
            assert_allclose(shown(axis), rows[j].reshape(SHAPE).transpose(1, 2, 0))
            assert axis.get_title() == f"I = {value:.2g}"
            poisoned = j >= len(clean)
            assert axis.get_xlabel() == f"{labels[j]}{', poison' if poisoned else ''}"
            assert (axis.spines["top"].get_edgecolor() == ORANGE) == poisoned
    assert {True, False} == set((display.rows_ >= len(clean)).ravel().tolist())


def test_influence_without_a_seed_draws_the_attack_that_was_computed():
    trigger = PatchTrigger(2, value="random", image_shape=SHAPE)
    poisoner = attack(RidgeClassifier(), trigger, random_state=None)
    display = InfluentialSamplesDisplay.from_estimator(
        poisoner, X_TRAIN, Y_TRAIN, X_TEST, Y_TEST, n_influential=200
    )
    images, tests = display.images
    patch = tests[0, :, 2:, 2:]
    assert_array_equal(display.is_poison, np.arange(108) >= 90)
    assert_array_equal(images[90:, :, 2:, 2:], np.broadcast_to(patch, (18, 3, 2, 2)))
    assert poisoner.random_state is None


def test_influence_on_tables_is_bars():
    poisoner = attack(LogisticRegression(), FeatureTrigger({5: 1.0}))
    figure, axes = plt.subplots(2, 1)
    display = InfluentialSamplesDisplay.from_estimator(
        poisoner, X_TRAIN, Y_TRAIN, X_TEST, Y_TEST, n_influential=40, ax=axes
    )
    assert display.figure_ is figure
    influence = poison_influence(poisoner, X_TRAIN, Y_TRAIN, X_TEST[:2], Y_TEST[:2], samples="all")
    for t, axis in enumerate(display.axes_):
        assert_allclose([bar.get_width() for bar in axis.patches], influence[display.rows_[t], t])
        colors = [bar.get_facecolor() == ORANGE for bar in axis.patches]
        assert_array_equal(colors, display.rows_[t] >= 90)


def test_influence_from_results():
    influence = np.array([[1.0, -3.0], [-2.0, 0.5], [0.1, 4.0]])
    display = InfluentialSamplesDisplay.from_results(
        influence, ["a", "b", "a"], [False, False, True], ["x", "y"], n_influential=2
    )
    assert display.rows_.tolist() == [[1, 0], [2, 0]]
    assert display.axes_.shape == (2,)
    with pytest.raises(ValueError, match=r"got 2, 3 and \(\), 2 and \(\)"):
        InfluentialSamplesDisplay.from_results(influence, "ab", [False] * 3, "xy")
    images = np.zeros((3, 1, 4, 4)), np.zeros((1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"got 3, 3 and \(3,\), 2 and \(1,\)"):
        InfluentialSamplesDisplay.from_results(influence, "aba", [False] * 3, "xy", images=images)


def test_influence_errors():
    data = X_TRAIN, Y_TRAIN, X_TEST, Y_TEST
    with pytest.raises(ValueError, match="no closed form"):
        InfluentialSamplesDisplay.from_estimator(attack(GaussianNB()), *data)
    with pytest.raises(ValueError, match="n_influential=0"):
        InfluentialSamplesDisplay.from_estimator(attack(RidgeClassifier()), *data, n_influential=0)
    with pytest.raises(ValueError, match=r"shape \(2, 8\); got \(2, 2\)"):
        InfluentialSamplesDisplay.from_estimator(
            attack(RidgeClassifier()), *data, ax=plt.subplots(2, 2)[1]
        )
