"""Every size beyond which the package takes another algorithm: lowered, and both compared."""

import gc
import warnings
import weakref
from dataclasses import fields

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import SVC, LinearSVC

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    backdoor_learning_curve,
    backdoor_learning_slope,
    poison_influence,
    slope_grid,
    weight_path,
)

WEIGHTS = [0.0, 0.2, 1.0]
LIMITS = {
    "svc.LARGEST_PATH": ["svc", "svc 3", "sparse svc"],
    "linear_svc.LARGEST_PATH": ["hinge"],
    "svc.LARGEST_GRAM": ["svc", "svc 3"],
    "hinge.solve.MOST_ROWS": ["svc", "hinge"],
    "hinge.interior_point.MOST_FREE": ["svc"],
    "kernels.LARGEST_SYRK": ["svc", "svc 3", "linear svc"],
    "kernels.FAR": ["svc", "sparse svc"],
    "linear.hessian.DENSE_UNKNOWNS": ["ridge", "logistic", "logistic 3", "squared hinge"],
    "linear.solver.MANY_RIGHT_SIDES": ["logistic", "logistic 3", "squared hinge"],
    "linear.ridge.LARGEST_FACTOR": ["ridge", "ridge 3"],
    "hinge.margin_set.LARGE": ["svc", "linear svc"],
    "threads.LARGE": ["ridge", "logistic", "svc", "hinge", "squared hinge"],
    "hinge.active_set.SETTLED": ["svc", "linear svc"],
}
LEARNERS = {
    "svc": (SVC(gamma=0.1, tol=1e-8), {"estimator__C": [0.5, 20.0]}),
    "linear svc": (SVC(kernel="linear", tol=1e-8), {"estimator__C": [0.01, 1.0]}),
    "hinge": (
        LinearSVC(loss="hinge", tol=1e-10, max_iter=1_000_000, random_state=0),
        {"estimator__C": [0.01, 1.0]},
    ),
    "squared hinge": (LinearSVC(tol=1e-10, max_iter=100_000), {"estimator__C": [0.01, 1.0]}),
    "logistic": (LogisticRegression(tol=1e-10, max_iter=10_000), {"estimator__C": [0.1, 10.0]}),
    "ridge": (RidgeClassifier(), {"estimator__alpha": [0.1, 100.0]}),
}
#: How low a limit is set, where it is not 3.
LOWERED = {
    "kernels.FAR": 1e-3,
    "svc.LARGEST_PATH": 30,
    "linear_svc.LARGEST_PATH": 30,
    "svc.LARGEST_GRAM": 30,
}
#: libsvm's own refits: what their tolerance leaves.
REFITS = {"svc.LARGEST_PATH", "svc.LARGEST_GRAM", "linear_svc.LARGEST_PATH"}


def data(n_classes):
    X, y = make_classification(
        150, 6, n_informative=4, n_classes=n_classes, flip_y=0.1, random_state=0
    )
    return X[:100], y[:100], X[100:], y[100:]


def everything(name, placement):
    """All numbers that there are: curve, slope, influence and grid."""
    learner, _, classes = name.removeprefix("sparse ").partition(" 3")
    rows = data(3 if name.endswith(" 3") else 2)
    learner = name.removeprefix("sparse ").removesuffix(" 3")
    estimator, grid = LEARNERS[learner]
    attack = BackdoorPoisoner(
        estimator, FeatureTrigger({0: 3.0, 1: -2.0}), target="next", placement=placement,
        poisoning_rate=0.08, random_state=0,
    )  # fmt: skip
    if name.startswith("sparse"):
        rows = csr_matrix(rows[0]), rows[1], csr_matrix(rows[2]), rows[3]
    curve = backdoor_learning_curve(attack, *rows, poison_weights=WEIGHTS)
    slope = backdoor_learning_slope(attack, *rows)
    cells = slope_grid(
        attack, grid, *rows, random_states=[0, 1], fit_poisoned=True, breakdown=True
    )
    names = ("clean_loss", "backdoor_loss", "clean_accuracy", "attack_success_rate", "rho", "nu")
    found = {f"curve {key}": getattr(curve, key) for key in names}
    found |= {f"slope {key}": getattr(slope, key) for key in ("derivative", "loss")}
    found["influence"] = poison_influence(attack, *rows)
    for field in fields(cells):
        if field.name not in ("params", "random_states"):
            found[f"grid {field.name}"] = getattr(cells, field.name)
    return found, curve.method


@pytest.mark.rounding
@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize(
    "limit, name", [(limit, name) for limit, names in LIMITS.items() for name in names]
)
def test_both_algorithms_lead_to_the_same(limit, name, placement, monkeypatch):
    expected, _ = everything(name, placement)
    monkeypatch.setattr(f"skbackdoor.paths.{limit}", LOWERED.get(limit, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        found, method = everything(name, placement)
    if limit in REFITS:
        assert method in ("kernel refit", "refit")
    for key, value in expected.items():
        of_refits = limit in REFITS and ("curve" in key or "poisoned" in key)
        tolerance = 1e-4 if of_refits else 1e-6
        if key.startswith(("grid breakdown", "grid collapse")):
            tolerance = 0.02 if limit in REFITS else 3e-4  # brackets, and splines
        assert_allclose(found[key], value, rtol=tolerance, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("placement", ["replace", "supplant"])
def test_a_cell_of_the_grid_does_not_start_from_the_rows_of_another_attack(placement, monkeypatch):
    """Support vectors are named by row, and each attack has its own rows."""
    monkeypatch.setattr("skbackdoor.paths.svc.LARGEST_PATH", 30)
    X, y, X_test, y_test = data(2)
    attack = BackdoorPoisoner(
        SVC(gamma=0.1), FeatureTrigger({0: 3.0, 1: -2.0}), target="next",
        poisoning_rate=0.3, placement=placement,
    )  # fmt: skip
    params = {"estimator__C": [0.5, 20.0]}
    grid = slope_grid(attack, params, X, y, X_test, y_test, random_states=[0, 1, 2])
    for i, C in enumerate(params["estimator__C"]):
        for j, seed in enumerate(grid.random_states):
            own = attack.set_params(estimator__C=C, random_state=seed)
            slope = backdoor_learning_slope(own, X, y, X_test, y_test)
            assert_allclose(grid.derivative[i, j], slope.derivative, rtol=1e-6)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_all_cells_of_a_grid_have_one_attack(random_state):
    """Without a seed one is drawn, not one a group of parameters."""
    X, y, X_test, y_test = data(2)
    attack = BackdoorPoisoner(
        SVC(), FeatureTrigger({0: 3.0}), target="next", poisoning_rate=0.2,
        random_state=random_state,
    )  # fmt: skip
    params = [
        {"estimator__gamma": [0.1]},
        {"estimator__gamma": [0.1], "estimator__shrinking": [False]},
    ]
    grid = slope_grid(attack, params, X, y, X_test, y_test)
    assert isinstance(grid.random_states[0], (int, np.integer))
    assert_allclose(grid.derivative[0], grid.derivative[1], rtol=1e-9)


def test_a_path_keeps_one_kernel():
    """Kernels of other gammas are let go of."""
    X, y, *_ = data(2)
    path = weight_path(SVC(), X, y, np.arange(100) >= 90)
    for gamma in (0.01, 0.1, 1.0):
        path.with_params(gamma=gamma).solve([0.5])
    found = weakref.WeakSet()
    for gamma in (0.01, 0.1, 1.0):
        found.add(path.with_params(gamma=gamma).kernel)
    gc.collect()
    assert len(found) == 1
