"""Slope, heat map and deviation displays draw the numbers of the results."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorPoisoner,
    BackdoorSlopeDisplay,
    FeatureTrigger,
    ParameterDeviationDisplay,
    RobustnessHeatmapDisplay,
    backdoor_learning_curve,
    make_backdoor_classification,
    neg_backdoor_slope_scorer,
    parameter_deviation,
    slope_grid,
)

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

X, Y = make_backdoor_classification(160, 6, class_sep=0.5, random_state=0)
X_TRAIN, X_TEST, Y_TRAIN, Y_TEST = train_test_split(X, Y, random_state=0, stratify=Y)
DATA = X_TRAIN, Y_TRAIN, X_TEST, Y_TEST
CS, GAMMAS = [100.0, 0.1, 1.0], [2.0, 0.2]
PARAMS = {"estimator__C": CS, "estimator__gamma": GAMMAS}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def attack(estimator):
    return BackdoorPoisoner(
        estimator, FeatureTrigger({5: 1.0}), target="next", poisoning_rate=0.2, random_state=0
    )


@pytest.fixture(scope="module")
def grid():
    return slope_grid(attack(SVC()), PARAMS, *DATA, random_states=[0, 1, 2], fit_poisoned=True)


# ------------------------------------------------------------------------- slopes


def assert_points(line, theta, values):
    assert_allclose(line.get_xdata(), np.mean(theta, axis=1))
    assert_allclose(line.get_ydata(), np.mean(values, axis=1))


def test_slopes_of_grids_by_name(grid):
    ridge = slope_grid(
        attack(RidgeClassifier()), {"estimator__alpha": [0.1, 10.0, 1000.0]}, *DATA,
        fit_poisoned=True,
    )  # fmt: skip
    display = BackdoorSlopeDisplay.from_results({"svm": grid, "ridge": ridge})
    for points, ranks, result in zip(
        display.points_, display.spearman_, (grid, ridge), strict=True
    ):
        values = result.clean_accuracy, result.attack_success_rate, result.base_rate
        for line, value in zip(points, values, strict=True):
            assert_points(line, result.theta, value)
        assert [line.axes for line in points] == list(display.axes_[[0, 1, 1]])
        means = [array.mean(axis=1) for array in (result.theta, *values)]
        expected = [
            spearmanr(means[0], other).statistic if np.ptp(other) else np.nan
            for other in means[1:3]
        ]
        assert_allclose(ranks, expected)
    assert len({(line.get_marker(), line.get_color()) for line in display.points_[:, 0]}) == 2
    display.figure_.canvas.draw()


def test_slope_bars_are_standard_deviations(grid):
    display = BackdoorSlopeDisplay.from_results(grid)
    (container, *_) = display.axes_[1].containers
    horizontal, vertical = (
        np.array([segment for segment in bars.get_segments()]) for bars in container.lines[2]
    )
    assert_allclose(np.ptp(horizontal[:, :, 0], axis=1), 2 * grid.theta.std(axis=1), atol=1e-12)
    success = grid.attack_success_rate
    assert_allclose(np.ptp(vertical[:, :, 1], axis=1), 2 * success.std(axis=1), atol=1e-12)


def test_slopes_by_a_parameter(grid):
    display = BackdoorSlopeDisplay.from_results(grid, by="estimator__gamma")
    assert list(display.grids) == ["gamma = 2", "gamma = 0.2"]
    for gamma, points in zip(GAMMAS, display.points_, strict=True):
        rows = [p["estimator__gamma"] == gamma for p in grid.params]
        assert_points(points[1], grid.theta[rows], grid.attack_success_rate[rows])


def test_slopes_from_estimator_on_axes_of_ones_own():
    figure, axes = plt.subplots(2, 1)
    params = {"estimator__C": [0.1, 10.0]}
    display = BackdoorSlopeDisplay.from_estimator(
        attack(SVC()), params, *DATA, random_states=[4, 5], ax=axes
    )
    assert display.figure_ is figure and list(display.axes_) == list(axes)
    again = slope_grid(attack(SVC()), params, *DATA, random_states=[4, 5], fit_poisoned=True)
    assert_points(display.points_[0, 1], again.theta, again.attack_success_rate)
    assert len(plt.get_fignums()) == 1


def test_slope_errors(grid):
    bare = replace(grid, poisoned_accuracy=None, attack_success_rate=None)
    with pytest.raises(ValueError, match=r"grid 'svm' has no attack success.*fit_poisoned=True"):
        BackdoorSlopeDisplay.from_results({"svm": bare})
    with pytest.raises(ValueError, match="by='gamma' is none of the grid's parameters"):
        BackdoorSlopeDisplay.from_results(grid, by="gamma")
    with pytest.raises(ValueError, match="divides a single grid"):
        BackdoorSlopeDisplay.from_results({"svm": grid}, by="estimator__gamma")
    with pytest.raises(ValueError, match="two matplotlib Axes; got 1"):
        BackdoorSlopeDisplay.from_results(grid, ax=plt.subplots()[1])


def test_rank_correlation_of_constants_is_nan(grid):
    same = replace(grid, clean_accuracy=np.ones_like(grid.theta))
    display = BackdoorSlopeDisplay.from_results(same)
    assert np.isnan(display.spearman_[0, 0]) and np.isfinite(display.spearman_[0, 1])


# ------------------------------------------------------------------------- heat maps


def test_heat_map_of_a_grid(grid):
    display = RobustnessHeatmapDisplay.from_results(grid)
    values = grid.clean_accuracy, grid.theta, grid.attack_success_rate, grid.base_rate
    assert len(display.images_) == len(display.axes_) == 4
    assert display.rows == ("gamma", [0.2, 2.0]) and display.columns == ("C", [0.1, 1.0, 100.0])
    for image, measure in zip(display.images_, values, strict=True):
        for i, setting in enumerate(grid.params):
            cell = image.get_array()[
                display.rows[1].index(setting["estimator__gamma"]),
                display.columns[1].index(setting["estimator__C"]),
            ]
            assert_allclose(cell, measure[i].mean())
    first = display.axes_[0]
    assert first.images[0].origin == "lower"
    assert [text.get_text() for text in first.get_xticklabels()] == ["0.1", "1", "100"]
    assert (first.get_xlabel(), first.get_ylabel()) == ("C", "gamma")
    display.figure_.canvas.draw()


def test_heat_map_sides_and_axes(grid):
    bare = replace(grid, poisoned_accuracy=None, attack_success_rate=None)
    figure, axes = plt.subplots(2, 1)
    display = RobustnessHeatmapDisplay.from_results(bare, rows="estimator__C", ax=axes)
    assert display.figure_ is figure and display.rows[0] == "C"
    other = RobustnessHeatmapDisplay.from_results(bare)
    for one, two in zip(display.images_, other.images_, strict=True):
        assert_array_equal(one.get_array(), two.get_array().T)
    with pytest.raises(ValueError, match=r"4 matplotlib Axes, for \['clean accuracy'.*got 2"):
        RobustnessHeatmapDisplay.from_results(grid, ax=axes)


def test_heat_map_of_a_search():
    probe = clone(attack(SVC())).set_params(poison_weight=0.0)
    search = GridSearchCV(
        probe,
        {"estimator__C": CS, "estimator__gamma": ["scale", 2.0]},
        scoring={"accuracy": "accuracy", "robustness": neg_backdoor_slope_scorer},
        refit=False,
        cv=2,
    ).fit(X_TRAIN, Y_TRAIN)
    display = RobustnessHeatmapDisplay.from_search(search)
    assert [axis.get_title() for axis in display.axes_] == ["accuracy", "robustness"]
    assert display.rows == ("gamma", ["scale", 2.0])
    results = search.cv_results_
    for i, setting in enumerate(results["params"]):
        row = ["scale", 2.0].index(setting["estimator__gamma"])
        column = sorted(CS).index(setting["estimator__C"])
        for image, name in zip(display.images_, ("accuracy", "robustness"), strict=True):
            assert_allclose(image.get_array()[row, column], results[f"mean_test_{name}"][i])


def test_cells_that_are_not_in_the_grid_stay_empty():
    lists = [
        {"estimator__C": [0.1, 1.0], "estimator__gamma": [0.1]},
        {"estimator__C": [1.0], "estimator__gamma": [1.0]},
    ]
    part = slope_grid(attack(SVC()), lists, *DATA)
    table = RobustnessHeatmapDisplay.from_results(part).images_[1].get_array()
    assert table.mask.tolist() == [[False, False], [True, False]]


def test_heat_map_errors(grid):
    one = slope_grid(attack(SVC()), {"estimator__C": CS}, *DATA)
    with pytest.raises(ValueError, match=r"parameters that vary are \['estimator__C'\]"):
        RobustnessHeatmapDisplay.from_results(one)
    with pytest.raises(ValueError, match="rows='C' is none of the parameters that vary"):
        RobustnessHeatmapDisplay.from_results(grid, rows="C")
    lists = [PARAMS, {"estimator__C": [1.0], "estimator__gamma": [2.0]}]
    with pytest.raises(ValueError, match="comes twice"):
        RobustnessHeatmapDisplay.from_results(slope_grid(attack(SVC()), lists, *DATA))
    lists = [PARAMS, {"estimator__C": [3.0]}]
    with pytest.raises(ValueError, match=r"says nothing of \['estimator__gamma'\]"):
        RobustnessHeatmapDisplay.from_results(slope_grid(attack(SVC()), lists, *DATA))
    with pytest.raises(TypeError, match=r"GridSearchCV, not SVC\(\)"):
        RobustnessHeatmapDisplay.from_search(SVC())
    with pytest.raises(NotFittedError):
        RobustnessHeatmapDisplay.from_search(GridSearchCV(SVC(), {"C": [1]}))


# ------------------------------------------------------------------------- deviations


def test_deviation_from_estimator():
    betas = [1.0, 0.0, 0.5]
    display = ParameterDeviationDisplay.from_estimator(
        attack(SVC()), X_TRAIN, Y_TRAIN, poison_weights=betas, name="svm"
    )
    expected = parameter_deviation(attack(SVC()), X_TRAIN, Y_TRAIN, poison_weights=sorted(betas))
    (line,) = display.lines_
    assert_allclose(line.get_xdata(), expected.rho)
    assert_allclose(line.get_ydata(), expected.nu)
    start = display.ax_.lines[1]
    assert_allclose([start.get_xdata(), start.get_ydata()], [expected.rho[:1], expected.nu[:1]])


def test_deviations_and_curves_by_name():
    curve = backdoor_learning_curve(attack(RidgeClassifier()), *DATA, poison_weights=[0.0, 1.0])
    far = replace(curve, rho=100 * curve.rho)
    figure, ax = plt.subplots()
    display = ParameterDeviationDisplay.from_results({"near": curve, "far": far}, ax=ax)
    assert display.figure_ is figure and display.ax_ is ax
    assert_array_equal(display.lines_[1].get_xdata(), far.rho)
    assert ax.get_xscale() == "log"
    assert ParameterDeviationDisplay.from_results(curve).ax_.get_xscale() == "linear"


def test_learners_without_weights_have_no_deviation():
    curve = backdoor_learning_curve(attack(GaussianNB()), *DATA, poison_weights=[0.0, 1.0])
    with pytest.raises(ValueError, match=r"curves \['bayes'\] have no rho and nu"):
        ParameterDeviationDisplay.from_results({"bayes": curve})
