"""weight_path as a door, precomputed kernels, weights of zero."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    backdoor_learning_curve,
    backdoor_learning_slope,
    make_backdoor_classification,
    neg_backdoor_slope_scorer,
    weight_path,
)

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


def data(n_classes=2, n_train=70, n_test=40):
    X, y = make_backdoor_classification(
        n_train + n_test, 10, n_classes=n_classes, class_sep=0.5, random_state=0
    )
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:]


def attack(estimator, **parameters):
    parameters = {"target": "next", "random_state": 0, "poisoning_rate": 0.15} | parameters
    return BackdoorPoisoner(estimator, FeatureTrigger({9: 1.0}), **parameters)


def poisoned(n_classes=2):
    """Rows in any order, some of them poison."""
    X, y, *_ = data(n_classes)
    X_all, y_all, is_poison = attack(GaussianNB()).fit(X, y).poison(X, y)
    order = np.random.default_rng(0).permutation(len(y_all))
    return X_all[order], y_all[order], is_poison[order]


LEARNERS = {
    "ridge": RidgeClassifier(),
    "logistic": LogisticRegression(tol=1e-9, max_iter=5000),
    "linear svc": LinearSVC(tol=1e-9, max_iter=10**6, random_state=0),
    "svc": SVC(gamma=0.5, tol=1e-8),
    "bayes": GaussianNB(),
}


def outputs(model, X):
    return getattr(model, "decision_function", getattr(model, "predict_proba", None))(X)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LEARNERS)
def test_fit_is_a_fit_with_these_weights(name, weighted, n_classes):
    learner = LEARNERS[name]
    X, y, is_poison = poisoned(n_classes)
    own = np.random.default_rng(1).uniform(0.5, 2, len(y)) if weighted else None
    path = weight_path(learner, X, y, is_poison, sample_weight=own)
    for beta in (0.0, 0.3, 1.0):
        weight = (np.ones(len(y)) if own is None else own) * np.where(is_poison, beta, 1.0)
        rows = weight > 0
        by_hand = clone(learner).fit(X[rows], y[rows], sample_weight=weight[rows])
        fitted = path.fit(beta)
        assert_allclose(outputs(fitted, X), outputs(by_hand, X), rtol=1e-5, atol=1e-5)
        assert_array_equal(fitted.classes_, by_hand.classes_)
    assert not hasattr(learner, "classes_")


def test_string_labels_lists_and_int_masks():
    X, y, is_poison = poisoned()
    names = np.array(["b", "a"])[y]
    first = weight_path(RidgeClassifier(), X.tolist(), names.tolist(), is_poison.astype(int))
    second = weight_path(RidgeClassifier(), X, names, is_poison)
    assert_allclose(first.fit(0.4).coef_, second.fit(0.4).coef_)
    assert set(first.fit(0.4).predict(X)) <= {"a", "b"}


def test_tangent_is_the_derivative_of_the_decision_values():
    """Of the optimum at beta = 0; forward difference at a small beta."""
    X, y, is_poison = poisoned()
    path = weight_path(RidgeClassifier(), X, y, is_poison)
    F, dF = path.optimum().polish().right_limit(X)
    h = 1e-6
    start, end = (path.decision_values(path.fit(beta), X) for beta in (0.0, h))
    assert_allclose(F, start, rtol=1e-8)
    assert_allclose(dF, (end - start) / h, rtol=1e-3, atol=1e-3 * np.abs(dF).max())


@pytest.mark.parametrize(
    "mask", [np.zeros(80, bool), np.ones(80, bool), np.ones(3, bool)], ids=["none", "all", "short"]
)
def test_bad_masks(mask):
    X, y, _ = poisoned()
    with pytest.raises(ValueError, match="is_poison"):
        weight_path(RidgeClassifier(), X, y, mask)


def test_a_class_of_poison_only_is_an_error():
    X, y, is_poison = poisoned()
    with pytest.raises(ValueError, match="class.*9"):
        weight_path(RidgeClassifier(), X, np.where(is_poison, 9, y), is_poison)


# ------------------------------------------------------------------------- precomputed kernels


@pytest.mark.parametrize("n_classes", [2, 3])
def test_gram_matrix(n_classes):
    X, y, is_poison = poisoned(n_classes)
    by_gram = weight_path(SVC(kernel="precomputed", C=3, tol=1e-8), kernel(X, X), y, is_poison)
    by_name = weight_path(SVC(gamma=GAMMA, C=3, tol=1e-8), X, y, is_poison)
    for beta in (0.0, 0.3, 1.0):
        first, second = by_gram.fit(beta), by_name.fit(beta)
        assert_allclose(
            by_gram.inner(first, first), by_name.inner(second, second), rtol=1e-6
        )
        assert_allclose(first.intercept_, second.intercept_, rtol=1e-5, atol=1e-5)
    a, b = by_gram.optimum().polish(), by_name.optimum().polish()
    assert_allclose(a.first_breakpoint, b.first_breakpoint, rtol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_gram_matrix_predicts_from_kernel_rows(n_classes, beta):
    """Test samples are rows of kernel values against all training rows, as SVC takes them."""
    X, y, X_test, _ = data(n_classes)
    X, y, is_poison = attack(GaussianNB()).fit(X, y).poison(X, y)  # poison rows come last
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
        assert_allclose(
            slopes[name].first_breakpoint, slopes["named"].first_breakpoint, rtol=1e-5
        )
        for field in ("clean_loss", "backdoor_loss", "clean_accuracy", "rho", "nu"):
            a, b = getattr(curves[name], field), getattr(curves["named"], field)
            assert_allclose(a, b, rtol=1e-4, atol=1e-7)
        assert_allclose(scores[name], scores["named"], rtol=1e-4)


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


# ---------------------------------------------------------------------------- weights of zero


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", LEARNERS)
def test_rows_of_weight_zero_count_for_nothing(name, n_classes):
    """libsvm drops them, and then numbers its support vectors otherwise."""
    learner = LEARNERS[name]
    X, y, is_poison = poisoned(n_classes)
    weight = np.ones(len(y))
    weight[::3] = 0.0
    kept = weight > 0
    whole = weight_path(learner, X, y, is_poison, sample_weight=weight)
    part = weight_path(learner, X[kept], y[kept], is_poison[kept])
    for beta in (0.0, 0.3, 1.0):
        a, b = whole.fit(beta), part.fit(beta)
        assert_allclose(outputs(a, X), outputs(b, X), rtol=1e-4, atol=1e-5)
        if name != "bayes":
            assert_allclose(whole.inner(a, a), part.inner(b, b), rtol=1e-4)
    if name != "bayes":
        (F, dF), (G, dG) = (p.optimum().polish().right_limit(X) for p in (whole, part))
        assert_allclose(F, G, rtol=1e-6, atol=1e-6)
        assert_allclose(dF, dG, rtol=1e-5, atol=1e-5 * np.abs(dG).max())


def test_scorer_of_a_fit_with_weights_of_zero():
    X, y, X_test, y_test = data()
    weight = np.ones(len(y))
    for C in (0.1, 10.0):
        poisoner = attack(SVC(gamma=0.5, C=C, tol=1e-8), poison_weight=0.0)
        fitted = clone(poisoner).fit(X, y)
        spare = np.setdiff1d(np.arange(len(y)), fitted.poisoned_indices_)[::2]
        weight[spare] = 0.0
        weighted = clone(poisoner).fit(X, y, sample_weight=weight)
        assert_array_equal(weighted.poisoned_indices_, fitted.poisoned_indices_)
        X_all, y_all, is_poison = weighted.poison(X, y)
        kept = np.append(weight, np.ones(is_poison.sum())) > 0
        path = weight_path(
            SVC(gamma=0.5, C=C, tol=1e-8), X_all[kept], y_all[kept], is_poison[kept]
        )
        triggered = X_test.copy()
        triggered[:, 9] = 1.0
        F, dF = path.optimum().polish().right_limit(triggered)
        sign = 2.0 * ((y_test + 1) % 2) - 1
        derivative = np.mean(np.where(sign * F[:, 0] < 1, -sign * dF[:, 0], 0.0))
        theta = -2 / np.pi * np.arctan(derivative / is_poison.sum())
        score = neg_backdoor_slope_scorer(weighted, X_test, y_test)
        assert_allclose(-score, theta, rtol=1e-4)
