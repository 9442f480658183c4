"""Heat maps draw the numbers of grids and searches."""

from dataclasses import replace

import pytest
from attacked_tables import CS, DATA, PARAMS, X_TRAIN, Y_TRAIN, attack
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from skbackdoor import (
    RobustnessHeatmapDisplay,
    neg_backdoor_slope_scorer,
    slope_grid,
)

plt = pytest.importorskip("matplotlib.pyplot")


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
    with pytest.raises(ValueError, match=r"has no value of \['estimator__gamma'\]"):
        RobustnessHeatmapDisplay.from_results(slope_grid(attack(SVC()), lists, *DATA))
    with pytest.raises(TypeError, match=r"GridSearchCV, not SVC\(\)"):
        RobustnessHeatmapDisplay.from_search(SVC())
    with pytest.raises(NotFittedError):
        RobustnessHeatmapDisplay.from_search(GridSearchCV(SVC(), {"C": [1]}))
