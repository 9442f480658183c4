"""Gradient displays draw what the functions compute."""

import numpy as np
import pytest
from attacked_images import SHAPE, X_TEST, X_TRAIN, Y_TEST, Y_TRAIN, attack, shown
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skbackdoor import (
    FeatureTrigger,
    InputGradientDisplay,
    PatchTrigger,
    input_gradient,
)

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.mark.parametrize("batches", [False, True])
def test_gradients_of_both_models_for_each_samples_own_target(batches):
    flat = make_pipeline(StandardScaler(), SVC())
    poisoner = attack(flat).fit(X_TRAIN, Y_TRAIN)
    data = X_TEST
    if batches:
        learner = FlatSVC()
        poisoner = attack(learner, PatchTrigger(2)).fit(X_TRAIN.reshape(-1, *SHAPE), Y_TRAIN)
        data = X_TEST.reshape(-1, *SHAPE)
    display = InputGradientDisplay.from_estimator(poisoner, data, Y_TEST, n_samples=4)
    assert display.axes_.shape == (3, 8)
    models = poisoner.clean_copy().estimator_, poisoner.estimator_
    for side, part in enumerate((data[:4], poisoner.trigger_.transform(data[:4]))):
        for k in range(4):
            assert_allclose(
                shown(display.axes_[0, 2 * k + side]), part[k].reshape(SHAPE).transpose(1, 2, 0)
            )
            for m, model in enumerate(models):
                target = (Y_TEST[k] + 1) % 3
                gradient = input_gradient(model, part[[k]], target).gradient.reshape(SHAPE)
                expected = np.abs(gradient).max(axis=0)
                drawn = shown(display.axes_[1 + m, 2 * k + side])
                assert_allclose(drawn, expected, atol=1e-6 * expected.max())
    assert display.axes_[0, 1].get_title() == f"triggered, to {(Y_TEST[0] + 1) % 3}"
    scales = [image.get_clim() for axis in display.axes_[2] for image in axis.images]
    assert len(set(scales)) == 1
    display.figure_.canvas.draw()


class FlatSVC(SVC):
    def fit(self, X, y, sample_weight=None):
        return super().fit(X.reshape(len(X), -1), y, sample_weight)

    def predict(self, X):
        return super().predict(X.reshape(len(X), -1))

    def decision_function(self, X):
        return super().decision_function(X.reshape(len(X), -1))


def test_gradients_of_a_given_clean_model_and_of_series():
    poisoner = attack(LogisticRegression(), FeatureTrigger({5: 1.0})).fit(X_TRAIN, Y_TRAIN)
    clean = RidgeClassifier().fit(X_TRAIN, Y_TRAIN)
    figure, axes = plt.subplots(3, 2)
    display = InputGradientDisplay.from_estimator(
        poisoner, X_TEST, Y_TEST, clean=clean, n_samples=1, ax=axes
    )
    assert display.figure_ is figure
    (line,) = display.axes_[1, 1].lines
    assert_allclose(line.get_ydata(), np.abs(clean.coef_[(Y_TEST[0] + 1) % 3]))


def test_gradients_from_results():
    images = np.random.default_rng(0).random((2, 2, 3, 4, 4))
    gradients = np.stack([images - 0.5, 0.5 - images])
    display = InputGradientDisplay.from_results(images, gradients, [("a", "b"), ("b", "a")])
    assert_allclose(display.maps_[1], np.abs(images - 0.5).max(axis=2))
    with pytest.raises(ValueError, match=r"gradients.*got .*\(1, 2, 2, 3, 4, 4\) and 2"):
        InputGradientDisplay.from_results(images, gradients[:1], [(0, 1)] * 2)


def test_gradient_errors():
    poisoner = attack(SVC())
    with pytest.raises(NotFittedError):
        InputGradientDisplay.from_estimator(poisoner, X_TEST, Y_TEST)
    poisoner.fit(X_TRAIN, Y_TRAIN)
    with pytest.raises(TypeError, match="InputGradientDisplay needs a BackdoorPoisoner"):
        InputGradientDisplay.from_estimator(poisoner.estimator_, X_TEST, Y_TEST)
    with pytest.raises(ValueError, match="n_samples=0"):
        InputGradientDisplay.from_estimator(poisoner, X_TEST, Y_TEST, n_samples=0)
    with pytest.raises(ValueError, match=r"shape \(3, 4\); got \(3, 2\)"):
        InputGradientDisplay.from_estimator(poisoner, X_TEST, Y_TEST, ax=plt.subplots(3, 2)[1])
