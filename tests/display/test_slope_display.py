"""Slope displays draw the numbers of the grids."""

from dataclasses import replace

import numpy as np
import pytest
from attacked_tables import DATA, GAMMAS, attack
from numpy.testing import assert_allclose
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeClassifier
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorSlopeDisplay,
    slope_grid,
)

plt = pytest.importorskip("matplotlib.pyplot")


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
