"""weight_path as a door, precomputed kernels, weights of zero."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skbackdoor import (
    Attack,
    BackdoorPoisoner,
    FeatureTrigger,
    PatchTrigger,
    backdoor_learning_curve,
    backdoor_learning_slope,
    load_digits_pair,
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


POISON = Attack(FeatureTrigger({9: 1.0}), target="next", poisoning_rate=0.15, random_state=0)


def poisoned(n_classes=2):
    """Rows in any order, some of them poison."""
    X, y, *_ = data(n_classes)
    X_all, y_all, is_poison = POISON.fit(X, y).poison(X, y)
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


# ------------------------------------------------------------------ what users do to solutions

FAR = [
    RidgeClassifier(),
    LogisticRegression(tol=1e-10, max_iter=10_000),
    SVC(kernel="linear"),
    SVC(gamma=0.5),
]


@pytest.mark.parametrize("learner", FAR, ids=lambda learner: repr(learner)[:22])
@pytest.mark.parametrize("mean", [1e3, 1e6])
def test_a_mean_far_from_zero_changes_nothing_but_the_intercept(learner, mean):
    X, y, is_poison = poisoned(3)
    near, far = (weight_path(learner, X + m, y, is_poison).solve([0, 0.4]) for m in (0.0, mean))
    F = near.decision_function(X)
    assert_allclose(far.decision_function(X + mean), F, atol=1e-15 * mean**2 + 1e-6)
    assert_allclose(far.tangent(X + mean), near.tangent(X), atol=1e-14 * mean**2 + 1e-4)


@pytest.mark.parametrize("name", LEARNERS)
def test_solutions_pickle(name):
    X, y, is_poison = poisoned(3)
    solution = weight_path(LEARNERS[name], X, y, is_poison).solve([0.3, 0.0])
    again = pickle.loads(pickle.dumps(solution))
    assert_array_equal(again.decision_function(X), solution.decision_function(X))


@pytest.mark.parametrize("name", LEARNERS)
def test_samples_that_change_are_seen(name):
    X, y, is_poison = poisoned()
    solution = weight_path(LEARNERS[name], X, y, is_poison).solve([1.0])
    samples = X[:5].copy()
    before = solution.decision_function(samples)
    samples += 1.0
    assert not np.allclose(solution.decision_function(samples), before)


def test_samples_are_checked():
    X, y, is_poison = poisoned()
    frame = pd.DataFrame(X, columns=list("abcdefghij"))
    solution = weight_path(SVC(), frame, y, is_poison).solve([1.0])
    with pytest.raises(ValueError, match="columns must be"):
        solution.decision_function(frame[list("jihgfedcba")])
    with pytest.raises(ValueError, match="shape"):
        solution.decision_function(X[:, :4])
    with pytest.raises(ValueError, match="shape"):
        solution.losses(frame, y[:1])
    with pytest.raises(ValueError, match="0 and 1"):
        weight_path(SVC(), X, y, 2 * is_poison)
    with pytest.raises(ValueError, match="negative"):
        weight_path(SVC(), X, y, is_poison, sample_weight=-np.ones(len(y)))


def test_indefinite_kernels_are_refitted_by_name():
    X, y, is_poison = poisoned()
    learner = SVC(kernel="sigmoid", gamma=0.1, tol=1e-6)
    solution = weight_path(learner, X, y, is_poison).solve([0.5])
    assert solution.method == "kernel refit"
    weight = np.where(is_poison, 0.5, 1.0)
    by_hand = clone(learner).fit(X, y, sample_weight=weight).decision_function(X)
    assert_allclose(solution.decision_function(X)[0, :, 0], by_hand, atol=1e-4)
    with pytest.raises(ValueError, match="No tangent"):
        solution.tangent(X)


def test_ridge_without_penalty_on_few_rows():
    X, y, is_poison = poisoned()
    wide = np.tile(X, (1, 12))
    with pytest.raises(ValueError, match="singular"):
        weight_path(RidgeClassifier(alpha=0.0), wide, y, is_poison).solve([0.5])


@pytest.mark.rounding
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weight", [0.4, 1.0])
@pytest.mark.parametrize(
    "svc", [SVC(C=0.01), SVC(gamma=0.5), SVC(kernel="linear", C=10.0), SVC(gamma=5.0, C=100.0)]
)
def test_a_single_weight_is_what_a_walk_comes_to(svc, weight, n_classes):
    """No walk leads to a weight that is asked for alone: libsvm's fit there is polished."""
    X, y, is_poison = poisoned(n_classes)
    walked = weight_path(svc, X, y, is_poison).solve([0.0, 0.1, weight])
    alone = weight_path(svc, X, y, is_poison).solve([0.0, weight])
    assert alone.residuals.max() < 1e-9
    assert alone.first_breakpoint == walked.first_breakpoint
    for values in ("decision_function", "tangent"):
        expected = getattr(walked, values)(X)[[0, 2]]
        assert_allclose(getattr(alone, values)(X), expected, rtol=1e-7, atol=1e-7)
    assert_allclose(alone.norm, walked.norm[[0, 2]])
    assert_allclose(alone.cosine, walked.cosine[[0, 2]])


# -- What a reader found ------------------------------------------------------------------------


def of_hardly_any_rank(n, seed):
    """One feature, labels at random: with a small gamma a kernel matrix of rank 3 or so."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 1))
    y = (rng.random(n) < 0.5).astype(int)
    y[:4] = [0, 0, 1, 1]
    return X, y, np.arange(n) >= n * 9 // 10


@pytest.mark.rounding
@pytest.mark.parametrize(
    "n, C, gamma, seed",
    [
        (50, 10.0, 0.01, 9),
        (50, 100.0, 0.01, 203),
        (50, 1.0, 0.01, 4),
        (60, 1000.0, 0.01, 110),
        (60, 100.0, 0.01, 134),
        (80, 10.0, 0.001, 104),
        (80, 1000.0, 0.01, 117),
        (50, 100.0, 0.01, 122),
    ],
)
def test_what_is_stored_is_optimal(n, C, gamma, seed):
    """Box, sum and complementarity of the stored duals, their residual, and libsvm's labels."""
    X, y, is_poison = of_hardly_any_rank(n, seed)
    betas, sign = [0.0, 0.1, 0.5, 1.0], 2.0 * y - 1.0  # poison rows are the last ones
    K = np.exp(-gamma * (X - X.T) ** 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        solution = weight_path(SVC(C=C, gamma=gamma), X, y, is_poison).solve(betas)
    F = solution.decision_function(X)[:, :, 0]
    for k, beta in enumerate(betas):
        u = C * np.where(is_poison, beta, 1.0)
        v, h = solution.dual_coef[k, :, 0], sign * F[k] - 1.0
        assert np.all((sign * v >= 0) & (sign * v <= u * (1 + 1e-12)))
        assert abs(v.sum()) <= 1e-8
        free = (v != 0) & (sign * v < u * (1 - 1e-12))
        wrong = np.where(free, np.abs(h), np.where(v == 0, np.maximum(-h, 0), np.maximum(h, 0)))
        assert wrong[u > 0].max() <= 2e-8
        assert_allclose(F[k], K @ v + solution.intercept[k, 0], rtol=0, atol=1e-8)
        kept = u > 0
        libsvm = SVC(C=C, gamma=gamma, tol=1e-8).fit(X[kept], y[kept], u[kept] / C)
        clear = np.abs(libsvm.decision_function(X)) > 0.01
        assert_array_equal((F[k] > 0)[clear], (libsvm.decision_function(X) > 0)[clear])
    assert np.all(np.isfinite(solution.tangent(X)))


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


def test_kernel_refits_know_their_bounds():
    """libsvm multiplies C, class weight and sample weight in an order of its own."""
    X, y = make_classification(80, 4, flip_y=0.2, random_state=0)
    weight = np.random.default_rng(0).random(80)
    svc = SVC(kernel="sigmoid", C=0.01, class_weight={0: 1.36, 1: 0.247})
    path = weight_path(svc, X, y, np.arange(80) >= 70, sample_weight=weight)
    assert path.solve([0, 0.3, 1]).residuals.max() <= 1e-3  # its tol


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


@pytest.mark.parametrize(
    "learner",
    [LogisticRegression(), LogisticRegression(solver="liblinear"), LinearSVC(), RidgeClassifier()],
)
def test_rows_that_cancel_are_no_cause_for_a_warning(learner):
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = weight_path(
            learner, np.vstack([X, X]), np.r_[y, 1 - y], np.arange(40) >= 20
        ).solve([0, 0.5, 1])
    assert solution.norm[2] < 1e-9 and solution.residuals.max() < 1e-8


@pytest.mark.parametrize(
    "learner", [RidgeClassifier(), LogisticRegression(C=1), LogisticRegression(C=1e-6)]
)
@pytest.mark.parametrize("scale", [1e7, 1e8])
def test_units_of_features_make_no_hessian_singular(learner, scale):
    """The same fit as in other units, with alpha (or C) in the units of these."""
    X = np.random.default_rng(0).normal(size=(40, 1))
    y, is_poison = (X[:, 0] > 0.3) * 1, np.arange(40) >= 35
    solution = weight_path(learner, X * scale, y, is_poison).solve([0, 1.0])
    assert solution.residuals.max() < 1e-9
    name = "alpha" if hasattr(learner, "alpha") else "C"
    factor = scale**2 if name == "C" else scale**-2
    if name == "C" and factor * learner.C > 1e9:
        return  # separable rows: no fit in other units to compare with
    other = clone(learner).set_params(**{name: getattr(learner, name) * factor})
    expected = weight_path(other, X, y, is_poison).solve([0, 1.0])
    assert_allclose(
        solution.decision_function(X * scale), expected.decision_function(X), rtol=1e-6
    )


def test_input_that_is_no_path():
    X, y = make_classification(30, 4, random_state=0)
    is_poison = np.arange(30) >= 25
    for learner in (Ridge(), LogisticRegression(), SVC()):
        for weight in (2.0, -0.5, np.nan):
            with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
                weight_path(learner, X, y, is_poison).fit(weight)
    with pytest.raises(ValueError, match=r"Gram matrix.*\(30, 4\)"):
        weight_path(SVC(kernel="precomputed"), X, y, is_poison)
    with pytest.raises(ValueError, match="continuous"):
        weight_path(Ridge(), X, X[:, 0], is_poison)
    with pytest.raises(ValueError, match="NaN"):
        weight_path(Ridge(), X, np.where(y == 0, np.nan, 1.0), is_poison)
    with pytest.raises(ValueError, match="make a new weight_path"):
        weight_path(SVC(), X, y, is_poison).with_params(kernel="precomputed").solve(0.5)


@pytest.mark.parametrize("C", [1e-3, 10.0])
def test_a_dual_that_just_reaches_its_bound_is_there(C):
    """Hardly any kernel, and classes of equal weight at 1: every dual is at its bound, exactly,
    and the intercept in the middle, as libsvm has it."""
    X = np.random.default_rng(0).normal(size=(40, 3))
    y, is_poison = np.r_[np.zeros(20, int), np.ones(20, int)], np.arange(40) >= 36
    svc = SVC(gamma=1e-6, C=C, tol=1e-9)
    solution = weight_path(svc, X, y, is_poison).solve([0.0, 0.5, 1.0])
    assert solution.residuals.max() <= 1e-9
    assert np.all(np.abs(solution.dual_coef[2]) == C)
    expected = svc.fit(X, y).decision_function(X)
    assert_allclose(solution.decision_function(X)[2, :, 0], expected, rtol=0, atol=1e-6 * C)


def test_where_no_way_leads_to_the_optimum_the_fits_are_refits(monkeypatch):
    """The cause is named: the first way got lost, and there are too many rows for the second."""

    def refuse(*_):
        raise RuntimeError("this way gets lost")

    monkeypatch.setattr("skbackdoor.paths.hinge.active_set.ActiveSet.move", refuse)
    monkeypatch.setattr("skbackdoor.paths.hinge.solve.MOST_ROWS", 3)
    X, y, is_poison = of_hardly_any_rank(50, 0)
    with pytest.warns(ConvergenceWarning, match="refits. Cause: this way gets lost"):
        solution = weight_path(SVC(), X, y, is_poison).solve([0.0, 0.5])
    assert solution.method == "kernel refit"


def test_a_breakpoint_that_is_not_found_is_no_number(monkeypatch):
    """Nor is the tangent there; the fits are."""

    def refuse(*_, **__):
        raise RuntimeError("no right derivative")

    monkeypatch.setattr("skbackdoor.paths.hinge.path.right_limit", refuse)
    X, y, is_poison = of_hardly_any_rank(50, 0)
    solution = weight_path(SVC(C=1.0, gamma=0.5), X, y, is_poison).solve([0.0, 0.5])
    assert np.isnan(solution.first_breakpoint) and solution.residuals.max() <= 1e-8
    with pytest.raises(ValueError, match=r"No tangent at poison weights \[0.0"):
        solution.tangent(X)
