"""What every solution gives: values, losses, labels, norms, in any order of weights."""

import numpy as np
import pytest
from conditions import signs_of
from numpy.testing import assert_allclose, assert_array_equal
from problems import CONVERGED, EVERY, assert_close, numbers
from scipy.special import log_softmax

pytestmark = CONVERGED

MULTICLASS = sorted(set(EVERY) - {"liblinear"})


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", EVERY)
def test_weights_in_any_order(name, n_classes):
    if n_classes == 3 and name not in MULTICLASS:
        pytest.skip("liblinear's logistic regression is binary only")
    rows = numbers(n_classes)
    path = rows.path(EVERY[name])
    betas = [0.7, 0.0, 0.2, 0.7, 1.0, 0.0]
    solution = path.solve(betas)
    assert_array_equal(solution.poison_weights, betas)
    decision, tangent = solution.decision_function(rows.X_test), solution.tangent(rows.X_test)
    n_outputs = 3 if n_classes == 3 else (2 if name == "refit" else 1)
    assert decision.shape == tangent.shape == (6, 25, n_outputs)
    if solution.residuals is not None:
        assert solution.residuals.shape == (6,)
    losses = solution.losses(rows.X_test, rows.y_test)
    assert losses.shape == solution.predict(rows.X_test).shape == (6, 25)
    for k, beta in enumerate(betas):
        one = path.solve(beta)
        assert_close(decision[k], one.decision_function(rows.X_test)[0], 1e-7)
        atol = 1e-5 * np.abs(tangent).max()
        assert_allclose(tangent[k], one.tangent(rows.X_test)[0], rtol=0, atol=atol)
        assert_close(losses[k], one.losses(rows.X_test, rows.y_test)[0], 1e-6)
        if name != "refit":
            assert_allclose(solution.norm[k], one.norm[0], rtol=1e-7)
            assert_allclose(solution.cosine[k], one.cosine[0], atol=1e-7)


@pytest.mark.parametrize("bad", [-0.1, 1.5, np.nan, [0.0, 2.0], [], [[0.1]], np.inf])
@pytest.mark.parametrize("name", ["ridge", "logistic", "svc", "refit"])
def test_weights_outside_the_unit_interval(name, bad):
    with pytest.raises(ValueError, match="poison_weights"):
        numbers().path(EVERY[name]).solve(bad)


@pytest.mark.parametrize("name", EVERY)
def test_a_plain_refit_is_near(name):
    """path.fit(beta) is the learner's own fit, at its own tolerance."""
    rows = numbers()
    path, beta = rows.path(EVERY[name]), 0.4
    F = path.solve(beta).decision_function(rows.X_test)[0]
    own = path.decision_values(path.fit(beta), rows.X_test)
    assert_allclose(F, own, rtol=0, atol=0.02 * np.abs(own).max())


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", EVERY)
def test_losses_and_labels(name, n_classes):
    """Losses by their formulas, on the decision values; labels as the learner gives them."""
    if n_classes == 3 and name not in MULTICLASS:
        pytest.skip("liblinear's logistic regression is binary only")
    rows = numbers(n_classes)
    path = rows.path(EVERY[name])
    solution = path.solve([0.0, 0.6])
    losses, labels = solution.losses(rows.X_test, rows.y_test), solution.predict(rows.X_test)
    index = rows.y_test
    for k, F in enumerate(solution.decision_function(rows.X_test)):
        if name.startswith("svc") and n_classes == 3:
            pairs = [(0, 1), (0, 2), (1, 2)]
            T = np.column_stack([1.0 * (index == i) - 1.0 * (index == j) for i, j in pairs])
        else:
            T = signs_of(index)
        if name == "refit":
            expected = -np.log(np.maximum(F, 1e-15))[np.arange(len(F)), index]
        elif name == "logistic" and n_classes == 3:
            expected = -log_softmax(F, axis=1)[np.arange(len(F)), index]
        else:
            gap = np.where(T == 0, 0, np.maximum(0, 1 - T * F))
            expected = {
                "ridge": (T - F) ** 2,
                "logistic": np.logaddexp(0, -T * F),
                "liblinear": np.logaddexp(0, -T * F),
                "squared hinge": gap**2,
            }.get(name, gap).sum(axis=1)
        assert_allclose(losses[k], expected, rtol=1e-10, atol=1e-14)
        fitted = path.fit(solution.poison_weights[k])
        sure = np.abs(F).min(axis=1) > 0.05
        assert_array_equal(labels[k][sure], fitted.predict(rows.X_test)[sure])


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", sorted(set(EVERY) - {"refit"}))
def test_norm_and_cosine(name, n_classes):
    if n_classes == 3 and name not in MULTICLASS:
        pytest.skip("liblinear's logistic regression is binary only")
    rows = numbers(n_classes)
    path = rows.path(EVERY[name])
    solution, betas = path.solve([0.0, 0.2, 1.0]), [0.0, 0.2, 1.0]
    if name.startswith("svc"):
        X = rows.X[rows.order]
        K = X @ X.T
        if name == "svc":
            K = np.exp(-0.1 * np.sum((X[:, None] - X[None]) ** 2, axis=2))
        inner = np.einsum("wik,ij,vjk->wv", solution.dual_coef, K, solution.dual_coef)
    else:
        coef = solution.coef.reshape(3, -1)
        inner = coef @ coef.T
    norm = np.sqrt(np.diag(inner))
    assert_allclose(solution.norm, norm, rtol=1e-9)
    assert_allclose(solution.cosine, inner[0] / (norm * norm[0]), rtol=1e-9)
    assert solution.cosine[0] == pytest.approx(1.0, abs=1e-12)
    assert np.all(np.abs(solution.cosine) <= 1)
    later = path.solve(betas[1:])
    assert_allclose(later.cosine, solution.cosine[1:], rtol=1e-9)
