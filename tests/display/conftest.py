"""Figures are drawn off screen, and closed after each test; one grid serves two displays."""

import pytest
from attacked_tables import DATA, PARAMS, attack
from sklearn.svm import SVC

from skbackdoor import slope_grid


@pytest.fixture(autouse=True)
def closed_figures():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def grid():
    return slope_grid(attack(SVC()), PARAMS, *DATA, random_states=[0, 1, 2], fit_poisoned=True)
