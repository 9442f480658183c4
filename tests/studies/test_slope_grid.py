"""slope_grid: equal to slopes one by one, in parallel, on a cluster."""

from itertools import product

import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import SparsePCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import ParameterGrid
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    backdoor_learning_curve,
    backdoor_learning_slope,
    evaluate_attack,
    make_backdoor_classification,
    slope_grid,
)

GRIDS = {
    "ridge": (RidgeClassifier(), {"estimator__alpha": [0.01, 1.0, 100.0]}),
    "logistic": (LogisticRegression(tol=1e-8), {"estimator__C": [0.1, 10.0]}),
    "svc": (SVC(), {"estimator__C": [0.1, 10.0], "estimator__gamma": [0.1, 0.5, "scale"]}),
    "two kernels": (
        SVC(),
        [
            {"estimator__kernel": ["linear"], "estimator__C": [0.1, 1.0]},
            {"estimator__kernel": ["rbf"], "poisoning_rate": [0.1, 0.3]},
        ],
    ),
    "pipeline": (
        make_pipeline(StandardScaler(), SVC()),
        {"estimator__svc__C": [0.1, 10.0], "estimator__standardscaler__with_std": [True, False]},
    ),
    "bayes": (GaussianNB(), {"estimator__var_smoothing": [1e-9, 1e-2]}),
}


SHARES = ("clean_accuracy", "base_rate", "poisoned_accuracy", "attack_success_rate")

#: Fitted so tightly that no label of theirs is another than at the optimum.
TIGHT = {
    "ridge": (RidgeClassifier(), {"estimator__alpha": [0.01, 100.0]}),
    "logistic": (LogisticRegression(tol=1e-10, max_iter=10_000), {"estimator__C": [0.1, 10.0]}),
    "linear svm": (
        LinearSVC(loss="hinge", tol=1e-10, max_iter=1_000_000, random_state=0),
        {"estimator__C": [0.01, 1.0]},
    ),
    "rbf svm": (
        SVC(tol=1e-10),
        {"estimator__C": [0.1, 10.0], "estimator__gamma": [0.1, 0.5]},
    ),
    "pipeline": (
        make_pipeline(StandardScaler(), SVC(tol=1e-10)),
        {"estimator__svc__C": [0.1, 10.0], "estimator__svc__gamma": [0.1]},
    ),
    "forest": (
        RandomForestClassifier(10),
        {"estimator__max_depth": [2, 5], "poisoning_rate": [0.2, 0.4]},
    ),
}


def data(n_classes=3):
    X, y = make_backdoor_classification(140, 8, n_classes=n_classes, class_sep=0.5, random_state=1)
    return X[:100], y[:100], X[100:], y[100:]


def attack(learner, **params):
    poisoner = BackdoorPoisoner(
        learner, FeatureTrigger({7: 1.5}), target="next", poisoning_rate=0.2, random_state=0
    )
    return poisoner.set_params(**params)


@pytest.mark.parametrize("name", GRIDS)
def test_cells_are_slopes(name):
    learner, params = GRIDS[name]
    poisoner, sets, seeds = attack(learner), data(), [3, 4]
    grid = slope_grid(poisoner, params, *sets, random_states=seeds)
    assert grid.params == list(ParameterGrid(params)) and grid.random_states == seeds
    for i, setting in enumerate(grid.params):
        for s, seed in enumerate(seeds):
            cell = clone(poisoner).set_params(random_state=seed, **setting)
            slope = backdoor_learning_slope(cell, *sets)
            assert_allclose(grid.theta[i, s], slope.theta, rtol=1e-6)
            assert_allclose(grid.derivative[i, s], slope.derivative, rtol=1e-6)
            assert_allclose(grid.loss[i, s], slope.loss, rtol=1e-6)
            clean = cell.set_params(poison_weight=0.0).fit(*sets[:2])
            assert_allclose(grid.clean_accuracy[i, s], clean.score(*sets[2:]))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "name, placement",
    [
        *product(
            ("ridge", "logistic", "linear svm", "rbf svm"), ("append", "replace", "supplant")
        ),
        ("forest", "append"),  # else its rows are in another order than those of a fit
    ],
)
def test_shares_are_those_of_tight_fits(name, placement, n_classes):
    learner, params = TIGHT[name]
    sets, seeds = data(n_classes), [3, 4]
    poisoner = attack(learner, placement=placement)
    grid = slope_grid(poisoner, params, *sets, random_states=seeds, fit_poisoned=True)
    for i, setting in enumerate(grid.params):
        for s, seed in enumerate(seeds):
            cell = clone(poisoner).set_params(random_state=seed, **setting)
            alone = evaluate_attack(cell, *sets)
            for share in SHARES:
                assert getattr(grid, share)[i, s] == getattr(alone, share), (share, setting, seed)


@pytest.mark.parametrize("placement", ["append", "replace"])
def test_preprocessing_of_the_clean_model_and_of_the_path(placement):
    learner, params = TIGHT["pipeline"]
    sets = X, y, X_test, y_test = data()
    poisoner = attack(learner, placement=placement)
    grid = slope_grid(poisoner, params, *sets, fit_poisoned=True)
    for i, setting in enumerate(grid.params):
        cell = clone(poisoner).set_params(**setting).fit(X, y)
        alone = evaluate_attack(cell, *sets)
        assert grid.clean_accuracy[i, 0] == alone.clean_accuracy
        assert grid.base_rate[i, 0] == alone.base_rate
        (kept, y_kept, _), (copies, y_copies, _) = cell.training_rows()
        scaler = clone(learner[0]).fit(kept)  # held at the fit without poison
        rows = scaler.transform(np.concatenate([kept, copies]))
        svc = clone(cell.estimator[-1]).fit(rows, np.concatenate([y_kept, y_copies]))
        X_triggered, y_target, _ = cell.triggered_test(X_test, y_test)
        assert grid.poisoned_accuracy[i, 0] == svc.score(scaler.transform(X_test), y_test)
        success = svc.score(scaler.transform(X_triggered), y_target)
        assert grid.attack_success_rate[i, 0] == success


def test_poisoned_fits_only_where_asked_for():
    grid = slope_grid(attack(RidgeClassifier()), GRIDS["ridge"][1], *data())
    assert grid.poisoned_accuracy is None and grid.attack_success_rate is None
    assert grid.base_rate.shape == (3, 1)


def test_two_jobs_and_the_poisoners_own_seed():
    learner, params = GRIDS["svc"]
    one, two = (slope_grid(attack(learner), params, *data(), n_jobs=n) for n in (None, 2))
    assert one.random_states == [0]
    assert_array_equal(one.theta, two.theta)


def test_refits_and_grids_go_to_a_dask_cluster():
    distributed = pytest.importorskip("distributed", reason="needs the extra [dask]")
    sets = data()
    here = slope_grid(attack(SVC()), GRIDS["svc"][1], *sets)
    curve_here = backdoor_learning_curve(attack(GaussianNB()), *sets, poison_weights=[0, 0.5, 1])
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    )
    with cluster, distributed.Client(cluster):
        before = cluster.scheduler.transition_counter
        with parallel_config(backend="dask"):
            there = slope_grid(attack(SVC()), GRIDS["svc"][1], *sets, n_jobs=-1)
            curve = backdoor_learning_curve(
                attack(GaussianNB()), *sets, poison_weights=[0, 0.5, 1], n_jobs=-1
            )
        assert cluster.scheduler.transition_counter > before  # the cluster did it
    assert_allclose(there.theta, here.theta, rtol=1e-12)
    assert_array_equal(curve.backdoor_loss, curve_here.backdoor_loss)


def test_settings_whose_repr_is_cut_short_are_told_apart():
    X, y, X_test, y_test = data()
    X, X_test = np.tile(X, (1, 5)), np.tile(X_test, (1, 5))
    others = {i: 3.0 for i in range(39)}
    triggers = [FeatureTrigger(others | {39: value}) for value in (0.0, 50.0)]
    poisoner = attack(RidgeClassifier())
    grid = slope_grid(poisoner, {"trigger": triggers}, X, y, X_test, y_test)
    alone = [
        backdoor_learning_slope(clone(poisoner).set_params(trigger=t), X, y, X_test, y_test).theta
        for t in triggers
    ]
    assert_allclose(grid.theta[:, 0], alone)


def test_a_parameter_of_another_step_of_equal_length_stays_its_own():
    sets = data()
    pipeline = Pipeline([("pre", SparsePCA(3, random_state=0)), ("rdg", RidgeClassifier())])
    params = {"estimator__pre__alpha": [0.01, 30.0], "estimator__rdg__alpha": [1.0, 1e3]}
    poisoner = attack(pipeline)
    grid = slope_grid(poisoner, params, *sets)
    for i, setting in enumerate(grid.params):
        slope = backdoor_learning_slope(clone(poisoner).set_params(**setting), *sets)
        assert_allclose(grid.theta[i, 0], slope.theta, rtol=1e-6)


def test_what_is_no_poisoner():
    """Named, with what to write."""
    X, y = make_backdoor_classification(random_state=0)
    with pytest.raises(TypeError, match="slope_grid got SVC.*BackdoorPoisoner"):
        slope_grid(SVC(), {"C": [1.0]}, X, y, X, y)
