"""What all displays have in common: their methods, and that nothing drawn outside is cut."""

from inspect import Parameter, signature

import numpy as np
import pytest
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorLearningCurveDisplay,
    BackdoorPoisoner,
    BackdoorSlopeDisplay,
    DecisionBoundaryPathDisplay,
    FeatureTrigger,
    ParameterDeviationDisplay,
    RobustnessHeatmapDisplay,
    backdoor_learning_curve,
    display,
    make_backdoor_classification,
    slope_grid,
)

plt = pytest.importorskip("matplotlib.pyplot")

X, Y = make_backdoor_classification(80, 2, class_sep=0.5, random_state=0)
DATA = X[:60], Y[:60], X[60:], Y[60:]
POISONER = BackdoorPoisoner(
    SVC(), FeatureTrigger({1: 1.0}), target="next", source_classes=[0], random_state=0
)
GRID = {"estimator__C": [0.1, 1.0], "estimator__gamma": [0.1, 1.0]}


@pytest.mark.parametrize("name", display.__all__)
def test_methods_and_their_arguments(name):
    cls = getattr(display, name)
    for method in ("from_estimator", "from_results", "plot"):
        parameters = list(signature(getattr(cls, method)).parameters.values())
        assert parameters[-1].name == "ax"
        assert parameters[-1].kind is Parameter.KEYWORD_ONLY
    assert {p.name for p in signature(cls).parameters.values()} <= {
        p.name for p in signature(cls.from_results).parameters.values()
    } | {"panels", "columns"}
    data = [p for p in signature(cls.from_estimator).parameters if p[0] in "Xy"]
    assert data in (["X", "y"], ["X_train", "y_train"], ["X_train", "y_train", "X_test", "y_test"])


def curves():
    curve = backdoor_learning_curve(POISONER, *DATA, poison_weights=[0.0, 0.5, 1.0])
    return {"a long name of a learner": curve, "another one": curve}


DRAWN = {
    "curve": lambda: BackdoorLearningCurveDisplay.from_results(
        curves(), ax=plt.subplots(1, 2, figsize=(6.4, 3))[1]
    ),
    "curve, divided": lambda: BackdoorLearningCurveDisplay.from_results(
        curves(), ax=plt.subplots(figsize=(6, 3.4))[1]
    ),
    "slope": lambda: BackdoorSlopeDisplay.from_results(
        slope_grid(POISONER, GRID, *DATA, fit_poisoned=True),
        by="estimator__gamma",
        ax=plt.subplots(1, 2, figsize=(6.4, 3))[1],
    ),
    "deviation": lambda: ParameterDeviationDisplay.from_results(
        curves(), ax=plt.subplots(figsize=(4, 3))[1]
    ),
    "boundary": lambda: DecisionBoundaryPathDisplay.from_estimator(
        POISONER, *DATA[:2], ax=plt.subplots(figsize=(4, 3))[1]
    ),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_legends_are_not_cut_on_axes_of_ones_own(kind):
    figure = DRAWN[kind]().figure_
    figure.canvas.draw()
    inside = figure.bbox
    legends = [
        part for ax in figure.axes for part in ax.get_children() if hasattr(part, "get_texts")
    ]
    assert legends
    for legend in legends:
        box = legend.get_window_extent()
        assert box.x0 >= inside.x0 and box.x1 <= inside.x1
        assert box.y0 >= inside.y0 and box.y1 <= inside.y1


def test_a_layout_that_was_chosen_stays():
    figure, ax = plt.subplots(layout="tight")
    before = figure.get_layout_engine()
    ParameterDeviationDisplay.from_results(curves(), ax=ax)
    assert figure.get_layout_engine() is before


def test_heat_map_from_estimator():
    drawn = RobustnessHeatmapDisplay.from_estimator(
        POISONER, GRID, *DATA, fit_poisoned=True, rows="estimator__C"
    )
    grid = slope_grid(POISONER, GRID, *DATA, fit_poisoned=True)
    expected = RobustnessHeatmapDisplay.from_results(grid, rows="estimator__C")
    assert list(drawn.panels) == ["clean accuracy", "slope θ", "attack success", "base rate"]
    assert drawn.rows == expected.rows
    for title, table in drawn.panels.items():
        np.testing.assert_array_equal(table, expected.panels[title])


def test_activation_maps_from_results():
    rng = np.random.default_rng(0)
    images, maps = rng.random((2, 2, 1, 4, 4)), rng.random((4, 2, 2, 4, 4))
    drawn = display.GradCAMDisplay.from_results(images, maps, [("a", "b"), ("b", "a")])
    assert drawn.axes_.shape == (4, 4)
    np.testing.assert_array_equal(drawn.axes_[3, 2].images[1].get_array(), maps[3, 1, 0])
    with pytest.raises(ValueError, match="images must have the shape"):
        display.GradCAMDisplay.from_results(images, maps[:3], [("a", "b"), ("b", "a")])
