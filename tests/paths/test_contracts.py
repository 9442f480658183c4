"""What every family of learners promises: WeightPath, Optimum and Solution, on one set of rows."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC, LinearSVC

from skbackdoor import weight_path
from skbackdoor.paths import Optimum, Solution, WeightPath

LEARNERS = {
    "ridge": (RidgeClassifier(), {"alpha": 7.0}),
    "logistic": (LogisticRegression(), {"C": 0.1}),
    "liblinear": (LogisticRegression(solver="liblinear"), {"C": 0.1}),
    "svc": (SVC(gamma=0.1), {"C": 0.1}),
    "linear svc": (SVC(kernel="linear"), {"C": 0.1}),
    "hinge": (LinearSVC(loss="hinge", max_iter=100_000), {"C": 0.1}),
    "squared hinge": (LinearSVC(), {"C": 0.1}),
    "refit": (GaussianNB(), {"var_smoothing": 1e-3}),
}
CLOSED = [name for name in LEARNERS if name != "refit"]
WEIGHTS = [0.6, 0.0, 1.0, 0.6]


def rows(n_classes):
    X, y = make_classification(
        100, 6, n_informative=4, n_classes=n_classes, flip_y=0.1, random_state=0
    )
    return X[:80], y[:80], np.arange(80) >= 70, X[80:], y[80:]


def path_of(name, n_classes, **params):
    X, y, is_poison, *_ = rows(n_classes)
    return weight_path(clone(LEARNERS[name][0]).set_params(**params), X, y, is_poison)


def cases(names):
    return pytest.mark.parametrize(
        "name, n_classes",
        [(name, n) for name in names for n in ((2,) if name == "liblinear" else (2, 3))],
    )


@cases(LEARNERS)
def test_path(name, n_classes):
    """It is a WeightPath, its own family's, whose shapes are those that the contract states."""
    *_, X, y = rows(n_classes)
    path = path_of(name, n_classes)
    assert isinstance(path, WeightPath) and type(path).handles(path.estimator)
    n_clean, n_poison = len(path.rows.clean.y), len(path.rows.poison.y)
    assert (n_clean, n_poison) == (70, 10) and len(path.rows.y) == path.rows.X.shape[0] == 80
    assert [len(part) for part in path.rows.weights] == [70, 10]
    solution = path.solve(WEIGHTS)
    F = solution.decision_function(X)
    assert F.shape[:2] == (4, 20) and solution.tangent(X).shape == F.shape
    assert solution.predict(X).shape == solution.losses(X, y).shape == (4, 20)
    assert np.all(solution.losses(X, y) >= 0)
    assert_array_equal(np.unique(np.setdiff1d(solution.predict(X), path.rows.classes)), [])


@cases(LEARNERS)
def test_solution(name, n_classes):
    """A Solution has a row a weight, in the order asked for; taking some of them is a Solution."""
    *_, X, _ = rows(n_classes)
    solution = path_of(name, n_classes).solve(WEIGHTS)
    assert isinstance(solution, Solution)
    assert_array_equal(solution.poison_weights, WEIGHTS)
    F = solution.decision_function(X)
    assert_array_equal(F[0], F[3])
    some = solution.take(np.array([2, 1]))
    assert isinstance(some, Solution) and type(some) is type(solution)
    assert_array_equal(some.poison_weights, [1.0, 0.0])
    assert_allclose(some.decision_function(X), F[[2, 1]], rtol=0, atol=1e-12)
    again = pickle.loads(pickle.dumps(solution))
    assert_array_equal(again.decision_function(X), F)
    if solution.has_weights:
        assert solution.norm.shape == solution.cosine.shape == (4,)
        assert_allclose(solution.cosine[1], 1.0)
    if solution.residuals is not None:
        assert solution.residuals.shape == (4,) and solution.residuals.max() <= 1e-8


@cases(CLOSED)
def test_optimum(name, n_classes):
    """The clean optimum: its values are those of the path at 0, its rates those of the path."""
    *_, X, _ = rows(n_classes)
    path = path_of(name, n_classes)
    optimum = path.polished
    assert isinstance(optimum, Optimum) and optimum.residual <= 1e-8
    assert path.polished is optimum
    F, dF = optimum.right_limit(X)
    solution = path.solve([0.0])
    assert_allclose(optimum.decision_values(X), solution.decision_function(X)[0], atol=1e-7)
    assert_allclose(dF, solution.tangent(X)[0], rtol=1e-6, atol=1e-6)
    responses = {samples: optimum.responses(X, samples) for samples in ("poison", "all")}
    assert responses["poison"].shape == (10, *F.shape)
    assert responses["all"].shape == (80, *F.shape)
    assert_allclose(responses["all"][70:], responses["poison"], rtol=1e-6, atol=1e-8)
    assert_allclose(responses["poison"].sum(axis=0), dF, rtol=1e-6, atol=1e-6)
    assert optimum.polish().residual <= 1e-8
    assert optimum.newton_step(X) is None


@cases(CLOSED)
def test_the_fit_as_it_is(name, n_classes):
    """A loose fit is taken as it is; a Newton step leads from there towards the optimum, which is
    the same wherever one starts."""
    *_, X, _ = rows(n_classes)
    path = path_of(name, n_classes)
    loose = clone(path.estimator)
    smooth = name in ("logistic", "liblinear", "squared hinge")
    if smooth:
        loose.set_params(tol=0.1)
    loose.fit(path.rows.clean.X, path.rows.classes[path.rows.clean.y])
    other = path.starting_from(loose)
    assert other.known_fit is loose
    fit, own = other.optimum(), path.decision_values(loose, X)
    assert isinstance(fit, Optimum)
    assert_allclose(fit.decision_values(X), own, rtol=1e-6, atol=1e-3)
    best = path.polished.decision_values(X)
    assert_allclose(other.polished.decision_values(X), best, rtol=1e-6, atol=1e-7)
    if smooth:
        step = fit.newton_step(X)
        before = np.abs(own - best).max()
        if step is None:
            assert before < 0.01
        else:
            assert np.abs(step.decision_values(X) - best).max() < 0.5 * before


@cases(LEARNERS)
def test_other_params(name, n_classes):
    """A path of other parameters on the same rows is a path made anew, and the first one stays."""
    *_, X, _ = rows(n_classes)
    params = LEARNERS[name][1]
    path = path_of(name, n_classes)
    before = path.solve(WEIGHTS).decision_function(X)
    other = path.with_params(**params)
    assert type(other) is type(path) and other is not path
    expected = path_of(name, n_classes, **params).solve(WEIGHTS).decision_function(X)
    assert_allclose(other.solve(WEIGHTS).decision_function(X), expected, rtol=1e-7, atol=1e-7)
    assert_allclose(path.solve(WEIGHTS).decision_function(X), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("contract", [WeightPath, Optimum, Solution])
def test_contracts_are_abstract(contract):
    with pytest.raises(TypeError, match="abstract"):
        contract()
