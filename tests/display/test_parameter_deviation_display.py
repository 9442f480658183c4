"""Deviation displays draw the numbers of the results."""

from dataclasses import replace

import pytest
from attacked_tables import DATA, X_TRAIN, Y_TRAIN, attack
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC

from skbackdoor import (
    ParameterDeviationDisplay,
    backdoor_learning_curve,
    parameter_deviation,
)

plt = pytest.importorskip("matplotlib.pyplot")


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
