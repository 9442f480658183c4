"""Displays of gradients, influential samples and boundaries draw what the functions compute."""

import numpy as np
import pandas as pd
import pytest
from attacks import poisoned
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorPoisoner,
    DecisionBoundaryPathDisplay,
    FeatureTrigger,
    InfluentialSamplesDisplay,
    InputGradientDisplay,
    PatchTrigger,
    input_gradient,
    make_backdoor_classification,
    poison_influence,
    weight_path,
)

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")
from matplotlib.colors import to_rgba  # noqa: E402

SHAPE = (3, 4, 4)
X, Y = make_backdoor_classification(120, image_shape=SHAPE, n_classes=3, random_state=0)
X_TRAIN, Y_TRAIN, X_TEST, Y_TEST = X[:90], Y[:90], X[90:], Y[90:]
ORANGE = to_rgba("#D55E00")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def attack(estimator, trigger=None, **parameters):
    trigger = PatchTrigger(2, image_shape=SHAPE) if trigger is None else trigger
    parameters = {"target": "next", "poisoning_rate": 0.2, "random_state": 0} | parameters
    return BackdoorPoisoner(estimator, trigger, **parameters)


def shown(axis):
    return np.asarray(axis.images[0].get_array())


# ------------------------------------------------------------------------- input gradients


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


# ------------------------------------------------------------------------- influence


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


# ------------------------------------------------------------------------- boundaries

PLANE, SIDE = make_backdoor_classification(80, 2, class_sep=0.7, random_state=1)
PLANE = np.column_stack([PLANE[:, 0], np.random.default_rng(0).random(80)])


def plane_attack(estimator):
    return attack(estimator, FeatureTrigger({1: 2.0}), source_classes=[0])


def vertices(boundary):
    return np.concatenate([path.vertices for path in boundary.get_paths()])


def test_boundaries_of_a_linear_model_are_its_lines():
    betas = [1.0, 0.0, 0.2]
    poisoner = plane_attack(LogisticRegression(C=100))
    figure, ax = plt.subplots()
    display = DecisionBoundaryPathDisplay.from_estimator(
        poisoner, PLANE, SIDE, poison_weights=betas, ax=ax
    )
    assert display.figure_ is figure and display.ax_ is ax
    fitted = poisoner.fit(PLANE, SIDE)
    path = weight_path(LogisticRegression(C=100), *fitted.poison(PLANE, SIDE))
    solution = path.solve(betas)
    for k, boundary in enumerate(display.boundaries_):
        points = vertices(boundary)
        coef, intercept = solution.coef[k, 0], solution.intercept[k, 0]
        assert_allclose((points @ coef + intercept) / np.linalg.norm(coef), 0, atol=1e-9)
    widths = [boundary.get_linewidths()[0] for boundary in display.boundaries_]
    assert widths[1] > widths[2] > widths[0]  # thicker for smaller weights
    copies = [line for line in ax.lines if line.get_marker() == "X"]
    assert_allclose(
        copies[0].get_xydata(), fitted.trigger_.transform(PLANE[fitted.poisoned_indices_])
    )


@pytest.mark.parametrize("learner", [SVC(gamma=5.0), GaussianNB()], ids=str)
def test_boundaries_of_curved_models(learner):
    X_all, y_all, is_poison = poisoned(plane_attack(learner), PLANE, SIDE)
    frame = pd.DataFrame(X_all, columns=["width", "height"])
    solution = weight_path(learner, frame, y_all, is_poison).solve([0.0, 1.0])
    display = DecisionBoundaryPathDisplay.from_results(solution, frame, y_all, is_poison)
    for k, boundary in enumerate(display.boundaries_):
        points = pd.DataFrame(vertices(boundary), columns=frame.columns)
        F = solution.decision_function(points)[k]
        F = F[:, 0] if F.shape[1] == 1 else F[:, 1] - F[:, 0]
        assert np.abs(F).max() < 0.05
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("width", "height")
    display.figure_.canvas.draw()


def test_boundaries_outside_the_plane():
    X_all, y_all, is_poison = poisoned(plane_attack(SVC(C=1e-4)), PLANE, SIDE)
    solution = weight_path(SVC(C=1e-4), X_all, y_all, is_poison).solve([0.5])
    display = DecisionBoundaryPathDisplay.from_results(solution, X_all, y_all, is_poison)
    assert display.boundaries_ == [None]


def test_boundary_errors():
    with pytest.raises(ValueError, match=r"two features and two classes.*\(90, 48\).*3 classes"):
        DecisionBoundaryPathDisplay.from_estimator(attack(SVC()), X_TRAIN, Y_TRAIN)
