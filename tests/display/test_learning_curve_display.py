"""Displays draw the numbers of the results."""

import builtins
import sys

import numpy as np
import pytest
from attacked_tables import attack
from numpy.testing import assert_array_equal
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB

from skbackdoor import (
    BackdoorLearningCurveDisplay,
    backdoor_learning_curve,
    make_backdoor_classification,
)

plt = pytest.importorskip("matplotlib.pyplot")

X, Y = make_backdoor_classification(100, 6, random_state=0)
DATA = X[:60], Y[:60], X[60:], Y[60:]
BETAS = [0.0, 0.3, 1.0]


def assert_shows(lines, curve):
    values = [
        curve.clean_loss, curve.backdoor_loss, curve.clean_accuracy, curve.attack_success_rate,
    ]  # fmt: skip
    assert len(lines) == 4
    for line, value in zip(lines, values, strict=True):
        assert_array_equal(line.get_xdata(), curve.poison_weights)
        assert_array_equal(line.get_ydata(), value)


def test_from_estimator():
    poisoner = attack(RidgeClassifier())
    display = BackdoorLearningCurveDisplay.from_estimator(
        poisoner, *DATA, poison_weights=BETAS, n_jobs=1
    )
    curve = backdoor_learning_curve(poisoner, *DATA, poison_weights=BETAS)
    assert_shows(display.lines_, curve)
    assert "RidgeClassifier" in display.lines_[0].get_label()
    assert len({line.get_label() for line in display.lines_}) == 4
    losses, shares = display.axes_
    assert display.figure_ is losses.figure
    assert [line.axes is losses for line in display.lines_] == [True, True, False, False]
    for ax in (losses, shares):
        assert ax.get_xlabel() and ax.get_ylabel() and ax.get_legend() is not None
    assert not hasattr(poisoner, "estimator_")
    display.figure_.canvas.draw()


def test_from_estimator_with_name_and_axes():
    figure, axes = plt.subplots(1, 2)
    display = BackdoorLearningCurveDisplay.from_estimator(
        attack(GaussianNB()), *DATA, poison_weights=BETAS, name="bayes", ax=axes
    )
    assert display.figure_ is figure
    assert list(display.axes_) == list(axes)
    assert all(line.get_label().startswith("bayes") for line in display.lines_)
    assert len(plt.get_fignums()) == 1


def test_from_results():
    curves = {
        str(alpha): backdoor_learning_curve(
            attack(RidgeClassifier(alpha=alpha)), *DATA, poison_weights=BETAS
        )
        for alpha in (0.1, 100.0)
    }
    display = BackdoorLearningCurveDisplay.from_results(curves)
    assert len(display.lines_) == 8
    for k, curve in enumerate(curves.values()):
        assert_shows(display.lines_[4 * k : 4 * k + 4], curve)
    single = BackdoorLearningCurveDisplay.from_results(curves["0.1"])
    assert_shows(single.lines_, curves["0.1"])


def test_plot_again_elsewhere():
    curve = backdoor_learning_curve(attack(RidgeClassifier()), *DATA, poison_weights=BETAS)
    display = BackdoorLearningCurveDisplay({"a": curve})
    assert not hasattr(display, "figure_")
    assert display.plot() is display
    first = display.figure_
    _, axes = plt.subplots(2, 1)
    display.plot(ax=axes)
    assert display.figure_ is not first
    assert_shows(display.lines_, curve)
    with pytest.raises(ValueError, match="two"):
        display.plot(ax=plt.subplots(1, 3)[1])


def test_without_matplotlib(monkeypatch):
    curve = backdoor_learning_curve(attack(RidgeClassifier()), *DATA, poison_weights=BETAS)
    real = builtins.__import__

    def no_matplotlib(name, *args, **kwargs):
        if name.split(".")[0] == "matplotlib":
            raise ModuleNotFoundError("No module named 'matplotlib'", name=name)
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(ImportError, match=r"pip install 'skbackdoor\[display\]'"):
        BackdoorLearningCurveDisplay.from_results(curve)


def test_losses_of_any_size_are_drawn():
    curve = backdoor_learning_curve(attack(GaussianNB()), *DATA, poison_weights=[0.0, 1e-9, 1.0])
    display = BackdoorLearningCurveDisplay.from_results(curve)
    assert np.isfinite(display.axes_[0].get_ylim()).all()


def test_one_axes_is_divided_in_two():
    weights = np.array([0.0, 1.0])
    curve = backdoor_learning_curve(attack(RidgeClassifier()), *DATA, poison_weights=weights)
    figure, ax = plt.subplots()
    display = BackdoorLearningCurveDisplay.from_results(curve).plot(ax=ax)
    assert display.figure_ is figure and len(display.axes_) == 2
    assert not ax.axison


def test_many_curves_are_told_apart():
    curve = backdoor_learning_curve(attack(RidgeClassifier()), *DATA, poison_weights=BETAS)
    names = [f"curve {k}" for k in range(12)]
    display = BackdoorLearningCurveDisplay.from_results(dict.fromkeys(names, curve))
    looks = {(str(line.get_color()), line.get_marker()) for line in display.lines_}
    assert len(looks) == 12
    losses, shares = display.axes_
    legends = [part for part in shares.get_children() if hasattr(part, "get_texts")]
    assert names in [[text.get_text() for text in legend.get_texts()] for legend in legends]
    display.figure_.canvas.draw()
    for ax in (losses, shares):
        for legend in (part for part in ax.get_children() if hasattr(part, "get_texts")):
            assert not legend.get_window_extent().overlaps(ax.get_window_extent())
