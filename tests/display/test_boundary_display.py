"""Displays of boundaries draw what the functions compute."""

import numpy as np
import pandas as pd
import pytest
from attacked_images import X_TRAIN, Y_TRAIN, attack
from attacks import poisoned
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC

from skbackdoor import (
    DecisionBoundaryPathDisplay,
    FeatureTrigger,
    make_backdoor_classification,
    weight_path,
)

plt = pytest.importorskip("matplotlib.pyplot")


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
