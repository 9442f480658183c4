"""TriggerDisplay draws what the trigger makes of the samples."""

import numpy as np
import pandas as pd
import pytest
from attacked_images import shown
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline

from skbackdoor import (
    BackdoorPoisoner,
    PatchTrigger,
    PerClassTrigger,
    SinusoidTrigger,
    TokenTrigger,
    TriggerDisplay,
    load_digits_pair,
)

plt = pytest.importorskip("matplotlib.pyplot")

X, Y = load_digits_pair((4, 9), return_X_y=True)
TRIGGER = PatchTrigger(2, image_shape=(8, 8), value=0.5)


def test_rows_are_clean_triggered_and_difference():
    trigger = TRIGGER.fit(X)
    display = TriggerDisplay.from_estimator(trigger, X, Y, n_samples=3, gain=1.0)
    triggered = trigger.transform(X)
    assert display.axes_.shape == (3, 3) and display.gain_ == 1.0
    for k in range(3):
        assert_allclose(shown(display.axes_[0, k]), X[k].reshape(8, 8))
        assert_allclose(shown(display.axes_[1, k]), triggered[k].reshape(8, 8))
        difference = (triggered[k] - X[k]).reshape(8, 8)
        assert_allclose(shown(display.axes_[2, k]), 0.5 + difference / 2)
        assert display.axes_[0, k].get_title() == str(Y[k])
    assert "difference\n× 1" in display.axes_[2, 0].get_ylabel()


def test_gain_brings_the_largest_difference_to_the_whole_range():
    trigger = SinusoidTrigger(0.1, 4, alpha=0.1, image_shape=(8, 8)).fit(X)
    display = TriggerDisplay.from_estimator(trigger, X)
    largest = np.abs(trigger.transform(X[:5]) - X[:5]).max()
    assert_allclose(display.gain_ * largest, 1.0)
    pictures = np.stack([shown(axis) for axis in display.axes_[2]])
    assert_allclose(np.abs(pictures - 0.5).max(), 0.5)


@pytest.mark.parametrize("kind", ["poisoner", "per class", "pipeline", "frame"])
def test_whatever_carries_a_trigger(kind):
    data = X
    if kind == "poisoner":
        poisoner = BackdoorPoisoner(RidgeClassifier(), TRIGGER, target=4).fit(X, Y)
        estimator, trigger = poisoner, poisoner.trigger_
        expected = trigger.transform(X[:5])
    elif kind == "per class":
        inner = PatchTrigger(2, image_shape=(8, 8), value="random", random_state=0)
        estimator = PerClassTrigger(inner).fit(X, Y)
        expected = estimator.transform(X[:5], Y[:5])
    else:
        estimator = make_pipeline(TRIGGER, SinusoidTrigger(image_shape=(8, 8)))
        data = pd.DataFrame(X) if kind == "frame" else X
        expected = np.asarray(estimator.fit(data).transform(data[:5]))
    display = TriggerDisplay.from_estimator(estimator, data, Y)
    for k in range(5):
        assert_allclose(shown(display.axes_[1, k]), expected[k].reshape(8, 8))


def test_eight_bits_and_colour():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 6, 6)).astype(np.uint8)
    trigger = PatchTrigger(2, value=(102, 179, 92), value_range=(0, 255)).fit(images)
    display = TriggerDisplay.from_estimator(trigger, images)
    assert_allclose(shown(display.axes_[0, 1]), images[1].transpose(1, 2, 0) / 255)
    assert_allclose(shown(display.axes_[1, 1])[-1, -1], np.array([102, 179, 92]) / 255)


def test_series_are_curves():
    series = np.random.default_rng(0).random((4, 30))
    display = TriggerDisplay.from_estimator(PatchTrigger(5).fit(series), series, n_samples=2)
    (line,) = display.axes_[1, 1].lines
    assert_array_equal(line.get_ydata()[-5:], 1)
    assert_array_equal(line.get_ydata()[:-5], series[1, :-5])


def test_axes_of_ones_own():
    _, axes = plt.subplots(3, 2)
    display = TriggerDisplay.from_results(X[:2].reshape(2, 8, 8), X[2:4].reshape(2, 8, 8), ax=axes)
    assert display.axes_[0, 0] is axes[0, 0]
    with pytest.raises(ValueError, match=r"shape \(3, 5\); got \(3, 2\)"):
        TriggerDisplay.from_estimator(TRIGGER.fit(X), X, ax=axes)


def test_errors():
    with pytest.raises(NotFittedError):
        TriggerDisplay.from_estimator(PatchTrigger(), X)
    with pytest.raises(ValueError, match="draws numbers"):
        TriggerDisplay.from_estimator(TokenTrigger("cf").fit(["a"]), ["a", "b"])
    with pytest.raises(ValueError, match="differ in shape"):
        TriggerDisplay.from_results(X[:2], X[:3])
    with pytest.raises(ValueError, match="n_samples=0"):
        TriggerDisplay.from_estimator(TRIGGER.fit(X), X, n_samples=0)
    with pytest.raises(ValueError, match="one or three channels"):
        TriggerDisplay.from_results(np.zeros((2, 2, 4, 4)), np.zeros((2, 2, 4, 4)))
