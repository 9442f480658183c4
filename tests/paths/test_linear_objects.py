"""What linear models are made of, against dense matrices and differences: design matrix,
objective, Hessian and its solver, nonzero columns, centring."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix

from skbackdoor.paths.centring import Centring, far_mean
from skbackdoor.paths.linear.design import DesignMatrix
from skbackdoor.paths.linear.hessian import Hessian
from skbackdoor.paths.linear.nonzero_columns import NonzeroColumns
from skbackdoor.paths.linear.objective import LinearObjective
from skbackdoor.paths.linear.solver import HessianSolver
from skbackdoor.paths.losses import Logistic, MarginLoss, Multinomial, Squared

pytestmark = pytest.mark.rounding

N_SAMPLES, N_FEATURES = 40, 5
LOSSES = {
    "logistic": (MarginLoss.one_vs_rest(Logistic(), 2), 1),
    "one-vs-rest": (MarginLoss.one_vs_rest(Logistic(), 3), 3),
    "softmax": (Multinomial(), 3),
    "squared": (MarginLoss.one_vs_rest(Squared(), 3), 3),
}
#: Whether there is an intercept, and its penalty.
INTERCEPTS = {"none": (False, 0.0), "free": (True, 0.0), "penalised": (True, 0.5)}


@pytest.fixture(params=["dense", "sparse"])
def X(request):
    X = np.random.default_rng(0).normal(size=(N_SAMPLES, N_FEATURES))
    return X if request.param == "dense" else csr_matrix(np.where(np.abs(X) > 0.5, X, 0.0))


@pytest.fixture(params=INTERCEPTS)
def intercept(request):
    return INTERCEPTS[request.param]


@pytest.fixture(params=LOSSES)
def problem(request, X, intercept):
    """An objective, parameters of two fits, and two directions."""
    loss, n_outputs = LOSSES[request.param]
    design, rng = DesignMatrix(X, intercept[0]), np.random.default_rng(1)
    y = rng.integers(max(n_outputs, 2), size=N_SAMPLES)
    weight = rng.uniform(0.5, 2.0, size=(2, N_SAMPLES))
    objective = LinearObjective(design, y, weight, loss, 0.7, intercept[1])
    return objective, *rng.normal(size=(2, 2, n_outputs, design.n_parameters))


def test_design_matrix(X, intercept):
    design, rng = DesignMatrix(X, intercept[0]), np.random.default_rng(2)
    Z = X if isinstance(X, np.ndarray) else X.toarray()
    Z = np.column_stack([Z, np.ones(N_SAMPLES)]) if intercept[0] else Z
    W, R = rng.normal(size=(2, 3, Z.shape[1])), rng.normal(size=(2, N_SAMPLES, 3))
    assert_allclose(design.rows(slice(3, 9)), Z[3:9])
    assert_allclose(design.norm, np.linalg.norm(Z))
    assert_allclose(design.product(W), Z @ W.transpose(0, 2, 1), atol=1e-12)
    assert_allclose(design.adjoint(R), R.transpose(0, 2, 1) @ Z, atol=1e-12)
    for weight in (rng.uniform(size=N_SAMPLES), rng.normal(size=N_SAMPLES)):
        assert_allclose(design.gram(weight), Z.T @ (weight[:, None] * Z), atol=1e-12)
    single = design.single.product(W.astype(design.single.X.dtype))
    assert_allclose(single, design.product(W), rtol=1e-5, atol=1e-5)


def test_gradient(problem):
    objective, W, V = problem
    slope = np.sum(objective.gradient(W, objective.decision(W)) * V, axis=(1, 2))
    sides = [objective.value(U, objective.decision(U)) for U in (W - 1e-5 * V, W + 1e-5 * V)]
    assert_allclose((sides[1] - sides[0]) / 2e-5, slope, rtol=1e-6)


def test_hessian_product(problem):
    objective, W, V = problem
    hessian = Hessian(objective, objective.decision(W))
    if hessian.shifts:  # in that direction it has a curvature that the objective has not
        V[:, :, -1] -= V[:, :, -1].mean(axis=1, keepdims=True)
    sides = [objective.gradient(U, objective.decision(U)) for U in (W - 1e-5 * V, W + 1e-5 * V)]
    product = hessian.product(V)
    assert_allclose((sides[1] - sides[0]) / 2e-5, product, rtol=1e-6, atol=1e-6)
    for i in range(2):
        assert_allclose(hessian.of(i).product(V[i : i + 1])[0], product[i], atol=1e-12)
    # directions in single precision, as such factors give them, are no others in double
    many = np.random.default_rng(2).normal(size=(50, *V.shape[1:])).astype(np.float32)
    exact = hessian.of(0).product(many.astype(float))
    atol = 1e-12 * np.abs(exact).max()
    assert_allclose(hessian.of(0).product(many), exact, rtol=0, atol=atol)


@pytest.mark.parametrize("rtol", [None, 1e-5])
@pytest.mark.parametrize("n_right", [2, 40])
def test_solves(problem, n_right, rtol, monkeypatch):
    """By factors of either precision, by conjugate gradients, from another Hessian's factor."""
    objective, W, _ = problem
    hessian = Hessian(objective, objective.decision(W))
    right = np.random.default_rng(3).normal(size=(n_right, *W.shape[1:]))
    accuracy = 1e-10 if rtol is None else 1e-4
    for factor in (None, hessian.of(1).factorise()):
        solution = HessianSolver(hessian.of(0), rtol, factor)(right)
        assert_allclose(hessian.of(0).product(solution), right, atol=10 * accuracy)
    monkeypatch.setattr("skbackdoor.paths.linear.hessian.DENSE_UNKNOWNS", 1)
    alone = HessianSolver(hessian.of(0), rtol)(right)
    assert_allclose(alone, solution, atol=10 * accuracy)


def test_nonzero_columns(intercept):
    X = np.random.default_rng(0).normal(size=(N_SAMPLES, N_FEATURES))
    X[:, [1, 4]] = 0.0
    columns = NonzeroColumns(intercept[0], X[:30], X[30:])
    W = np.random.default_rng(1).normal(size=(2, 3, N_FEATURES + intercept[0]))
    reduced = DesignMatrix(columns.take(X), intercept[0]).product(columns.reduce(W))
    assert_allclose(reduced, DesignMatrix(X, intercept[0]).product(W), atol=1e-12)
    expanded = columns.expand(columns.reduce(W))
    assert np.all(expanded[..., [1, 4]] == 0.0)
    assert_allclose(columns.reduce(expanded), columns.reduce(W))
    assert NonzeroColumns(intercept[0], X[:30], X[30:] + 1.0).indices is None


def test_centring():
    X = 1e4 + np.random.default_rng(0).normal(size=(N_SAMPLES, N_FEATURES))
    W = np.random.default_rng(1).normal(size=(2, 3, N_FEATURES + 1))
    assert far_mean(X - 1e4) is None
    centring = Centring(far_mean(X))
    assert np.abs(centring(X)).max() < 10
    centred = DesignMatrix(centring(X), True).product(centring.to_centred(W))
    assert_allclose(centred, DesignMatrix(X, True).product(W), rtol=1e-9)
    assert_allclose(centring.from_centred(centring.to_centred(W)), W, atol=1e-9)
