"""Kernels: precomputed, of very many rows or of none, of rows far from 0."""

import numpy as np
import pytest
from attacks import attack, data
from numpy.testing import assert_allclose, assert_array_equal
from problems import CONVERGED, POISON, digits, poisoned
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.feature_selection import SelectKBest
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorPoisoner,
    PatchTrigger,
    backdoor_learning_curve,
    backdoor_learning_slope,
    load_digits_pair,
    neg_backdoor_slope_scorer,
    weight_path,
)
from skbackdoor.paths.kernels import Kernel, NamedKernel, look_up, number_rows

pytestmark = CONVERGED

GAMMA = 0.8


def kernel(A, B):
    return rbf_kernel(A, B, gamma=GAMMA)


class Gram(TransformerMixin, BaseEstimator):
    """Kernel values against the rows it is fitted on."""

    def fit(self, X, y=None):
        self.rows_ = np.array(X)
        return self

    def transform(self, X):
        return kernel(np.asarray(X), self.rows_)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_gram_matrix(n_classes):
    X, y, is_poison = poisoned(n_classes)
    by_gram = weight_path(SVC(kernel="precomputed", C=3, tol=1e-8), kernel(X, X), y, is_poison)
    by_name = weight_path(SVC(gamma=GAMMA, C=3, tol=1e-8), X, y, is_poison)
    for beta in (0.0, 0.3, 1.0):
        first, second = by_gram.fit(beta), by_name.fit(beta)
        assert_allclose(by_gram.inner(first, first), by_name.inner(second, second), rtol=1e-6)
        assert_allclose(first.intercept_, second.intercept_, rtol=1e-5, atol=1e-5)
    a, b = by_gram.optimum().polish(), by_name.optimum().polish()
    assert_allclose(a.first_breakpoint, b.first_breakpoint, rtol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_gram_matrix_predicts_from_kernel_rows(n_classes, beta):
    """Test samples are rows of kernel values against all training rows, as SVC takes them."""
    X, y, X_test, _ = data(n_classes)
    X, y, is_poison = POISON.fit(X, y).poison(X, y)  # poison rows come last
    path = weight_path(SVC(kernel="precomputed", C=3), kernel(X, X), y, is_poison)
    fitted = path.fit(beta)
    kept = ~is_poison | (beta == 1)
    expected = SVC(gamma=GAMMA, C=3, decision_function_shape="ovo").fit(X[kept], y[kept])
    rows = path.prepare(kernel(X_test, X))
    assert_array_equal(path.predict(fitted, rows), expected.predict(X_test))
    F = expected.decision_function(X_test).reshape(len(X_test), -1)
    assert_allclose(path.decision_values(fitted, rows), F, rtol=1e-6)


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_gram_in_a_pipeline_is_the_named_kernel(n_classes, placement):
    X, y, X_test, y_test = data(n_classes)
    learners = {
        "named": SVC(gamma=GAMMA, C=3, tol=1e-8),
        "callable": SVC(kernel=kernel, C=3, tol=1e-8),
        "precomputed": make_pipeline(Gram(), SVC(kernel="precomputed", C=3, tol=1e-8)),
    }
    slopes = {
        name: backdoor_learning_slope(attack(learner, placement=placement), X, y, X_test, y_test)
        for name, learner in learners.items()
    }
    curves = {
        name: backdoor_learning_curve(
            attack(learner, placement=placement), X, y, X_test, y_test, poison_weights=[0, 0.2, 1]
        )
        for name, learner in learners.items()
    }
    scores = {
        name: neg_backdoor_slope_scorer(
            attack(learner, placement=placement, poison_weight=0.0).fit(X, y), X_test, y_test
        )
        for name, learner in learners.items()
    }
    for name in ("callable", "precomputed"):
        assert slopes[name].method == "implicit"
        assert_allclose(slopes[name].derivative, slopes["named"].derivative, rtol=1e-6)
        assert_allclose(slopes[name].loss, slopes["named"].loss, rtol=1e-8)
        assert_allclose(slopes[name].first_breakpoint, slopes["named"].first_breakpoint, rtol=1e-5)
        for field in ("clean_loss", "backdoor_loss", "clean_accuracy", "rho", "nu"):
            a, b = getattr(curves[name], field), getattr(curves["named"], field)
            assert_allclose(a, b, rtol=1e-4, atol=1e-7)
        assert_allclose(scores[name], scores["named"], rtol=1e-4)


def test_only_training_rows_have_a_column_in_a_precomputed_kernel():
    K = np.arange(6.0).reshape(2, 3)
    training, others = number_rows(K, np.array([2, 0])), number_rows(K)
    assert_array_equal(look_up(others, training), K[:, [2, 0]])
    with pytest.raises(ValueError, match="training rows"):
        look_up(training, others)


@pytest.mark.parametrize("step", [StandardScaler(), SelectKBest(k=9)], ids=["scaler", "select"])
def test_steps_before_the_gram_step(step):
    """Preprocessing is held at its clean fit, whether or not it looks at labels."""
    X, y, X_test, y_test = data()
    a, b = (
        backdoor_learning_slope(attack(learner), X, y, X_test, y_test)
        for learner in (
            make_pipeline(clone(step), Gram(), SVC(kernel="precomputed")),
            make_pipeline(clone(step), SVC(gamma=GAMMA)),
        )
    )
    assert_allclose(a.derivative, b.derivative, rtol=1e-6)


def test_precomputed_alone_is_refused():
    X, y, X_test, y_test = data()
    poisoner = attack(SVC(kernel="precomputed"))
    with pytest.raises(ValueError, match="precomputed.*Pipeline"):
        backdoor_learning_slope(poisoner, kernel(X, X), y, kernel(X_test, X), y_test)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_gamma_scale_is_the_clean_number(n_classes):
    X, y, X_test, y_test = data(n_classes)
    gamma = 1 / (X.shape[1] * X.var())
    a, b = (
        backdoor_learning_slope(attack(SVC(gamma=g)), X, y, X_test, y_test)
        for g in ("scale", gamma)
    )
    assert_allclose(a.derivative, b.derivative, rtol=1e-9)


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly"])
def test_kernel_of_very_many_rows(kernel, monkeypatch):
    """Where BLAS must not know that rows are multiplied with themselves: the same kernel."""
    rows, estimator = digits(1, 7), SVC(kernel=kernel, gamma=0.05)
    expected = rows.path(estimator).kernel.gram()
    monkeypatch.setattr("skbackdoor.paths.kernels.LARGEST_SYRK", 50)
    assert_allclose(rows.path(estimator).kernel.gram(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kernel", ["poly", "rbf", "sigmoid"])
def test_a_kernel_of_no_rows(kernel):
    """Poison that is no support vector: a tangent of 0; no vector at its bound: a slope."""
    X, y = np.array([[-2.0], [-1.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1, 1])
    path = weight_path(SVC(kernel=kernel, C=10, gamma=0.1), X, y, np.arange(5) == 4)
    if kernel != "sigmoid":
        assert np.all(path.solve([0, 0.5, 1]).tangent(X) == 0)
    digits, labels = load_digits_pair((4, 9), return_X_y=True)
    probe = BackdoorPoisoner(
        SVC(kernel=kernel, C=10), PatchTrigger(size=3, image_shape=(8, 8)), target="next",
        poison_weight=0.0, random_state=0,
    ).fit(digits, labels)  # fmt: skip
    assert np.isfinite(neg_backdoor_slope_scorer(probe, digits, labels))


@pytest.mark.rounding
@pytest.mark.parametrize("container", [np.asarray, csr_matrix])
@pytest.mark.parametrize("scale, gamma", [(1e5, 1.0), (1e6, 1.0), (1e8, "auto"), (1e3, 1e-3)])
def test_rbf_of_rows_that_are_far_from_0(container, scale, gamma):
    """As libsvm has it: from differences, not from a.a - 2 a.b + b.b."""
    X = np.random.default_rng(0).normal(size=(40, 3)) * scale
    X[5] = X[4] + 1e-3
    y, is_poison = np.arange(40) % 2, np.arange(40) >= 35
    solution = weight_path(SVC(gamma=gamma, C=10), container(X), y, is_poison).solve(1.0)
    decision = SVC(gamma=gamma, C=10, tol=1e-9).fit(X, y).decision_function(X)
    assert_allclose(solution.decision_function(container(X))[0, :, 0], decision, atol=1e-8)


@pytest.mark.rounding
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("name", ["linear", "rbf"])
def test_products_and_kept_rows(name, sparse):
    """Values times duals, and kernel rows of some rows when others are known already."""
    X = np.random.default_rng(0).normal(5.0, 1.0, (12, 4))
    X = csr_matrix(X) if sparse else X
    own = Kernel(NamedKernel(SVC(kernel=name, gamma=GAMMA), X), X, 1.0)
    v, rows = np.random.default_rng(1).normal(size=(3, 2)), np.array([1, 7, 4])
    assert_allclose(own.product(X[:5], rows, v), own(X[:5], rows) @ v, atol=1e-12)

    among = own.on(np.arange(12))[0]
    among(np.array([6, 2, 9]))
    mask = np.isin(np.arange(12), [0, 2, 3, 9, 11])
    kept = among.kept(mask)
    assert kept.used == 2
    whole = own(X, np.arange(12))[np.ix_(mask, mask)]
    for some in ([1, 3], [0, 1, 4], [2], [4, 3, 2, 1, 0]):
        assert_allclose(kept(np.array(some)), whole[some], atol=1e-12)
