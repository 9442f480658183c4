"""The slope against differences of independent, exact refits (see reference.py).

Every closed-form family, two and three classes, five C over six decades, on digits and (where the
shared data are there) MNIST; then what changes the objective: weights, intercepts, pipelines,
placements, labels, dtypes, kernels, and margins without a free support vector. It is long because
every family stands in each of its tests.
"""

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import sklearn
from attacks import attack_of, poisoned
from numpy.testing import assert_allclose
from reference import Refit, slope_reference
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics.pairwise import laplacian_kernel
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from threadpoolctl import threadpool_limits

from skbackdoor.attack_path import clean_path
from skbackdoor.curves import backdoor_learning_slope
from skbackdoor.model_selection import BackdoorSlopeScorer, neg_backdoor_slope_scorer
from skbackdoor.poisoning import BackdoorPoisoner
from skbackdoor.triggers import FeatureTrigger, PatchTrigger, PerClassTrigger

# scikit-learn's own fits may stop early: the slope polishes them. Where that fails, it warns.
pytestmark = pytest.mark.filterwarnings(
    "error::sklearn.exceptions.ConvergenceWarning",
    "ignore:(lbfgs|Liblinear|newton-cg|The max_iter)",
)
MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist.npz"
SIX_DECADES = np.logspace(-3, 3, 5)
RBF_GAMMA = {"digits": 0.05, "mnist": 0.01}

FAMILIES = {
    "ridge": lambda C, gamma: RidgeClassifier(alpha=1 / (2 * C)),
    "lbfgs": lambda C, gamma: LogisticRegression(C=C),
    "newton-cg": lambda C, gamma: LogisticRegression(C=C, solver="newton-cg"),
    "liblinear": lambda C, gamma: LogisticRegression(C=C, solver="liblinear"),
    "linear-hinge": lambda C, gamma: LinearSVC(C=C, loss="hinge"),
    "linear-squared-hinge": lambda C, gamma: LinearSVC(C=C),
    "svc-linear": lambda C, gamma: SVC(C=C, kernel="linear"),
    "svc-rbf": lambda C, gamma: SVC(C=C, gamma=gamma),
    "svc-poly": lambda C, gamma: SVC(C=C, kernel="poly", gamma=0.05),
}
BINARY_ONLY = {"liblinear"}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small matrices: BLAS threads only cost."""
    with threadpool_limits(1):
        yield


@cache
def digits(*labels, n_train=160, n_test=60):
    """Train and test rows of some digits, 64 features in [0, 1]."""
    X, y = load_digits(return_X_y=True)
    rows = np.flatnonzero(np.isin(y, labels))
    rows = np.random.default_rng(0).permutation(rows)[: n_train + n_test]
    X, y = X[rows] / 16, y[rows]
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:]


@cache
def mnist(*labels, n_train=300, n_test=80):
    """Train and test rows of some MNIST digits, 784 features in [0, 1]."""
    with np.load(MNIST) as data:
        X, y = data["X_train"][:6000], data["y_train"][:6000]
    rows = np.flatnonzero(np.isin(y, labels))[: n_train + n_test]
    X, y = X[rows].reshape(len(rows), -1) / 255, y[rows]
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:]


def attack(estimator, *, side=8, target="next", **parameters):
    """A poisoner with one random patch per class."""
    patch = PatchTrigger(size=2, value="random", image_shape=(side, side))
    parameters = {"poisoning_rate": 0.1, "random_state": 0} | parameters
    return BackdoorPoisoner(estimator, PerClassTrigger(patch), target=target, **parameters)


def next_labels(y, classes):
    """Class i becomes class i + 1 modulo the number of classes."""
    return classes[(np.searchsorted(classes, y) + 1) % len(classes)]


def truth(poisoner, X, y, X_test, y_test, sample_weight=None):
    """Reference slope of an attack with target="next" and a PerClassTrigger."""
    fitted = attack_of(poisoner).fit(X, y)
    X_all, y_all, is_poison = fitted.poison(X, y)
    triggered = fitted.trigger_.transform(X_test, y_test)
    labels = next_labels(y_test, np.unique(y))
    weight = None
    if sample_weight is not None:
        assert poisoner.placement == "append"
        weight = np.append(sample_weight, sample_weight[fitted.poisoned_indices_])
    return slope_reference(poisoner.estimator, X_all, y_all, is_poison, triggered, labels, weight)


def assert_slope_is_true(poisoner, X, y, X_test, y_test):
    """Derivative to 1e-3, loss to 1e-6, theta by its definition, first breakpoint to 1e-3."""
    expected = truth(poisoner, X, y, X_test, y_test)
    slope = backdoor_learning_slope(poisoner, X, y, X_test, y_test)
    assert slope.method == "implicit"
    assert slope.n_poison == int(np.floor(poisoner.poisoning_rate * len(y) + 1e-9))
    assert_allclose(slope.derivative, expected.derivative, rtol=1e-3)
    assert_allclose(slope.loss, expected.loss, rtol=1e-6)
    theta = -2 / np.pi * np.arctan(slope.derivative / slope.n_poison)
    assert_allclose(slope.theta, theta, rtol=1e-12)
    assert (slope.first_breakpoint is None) == (not expected.piecewise_linear)
    if expected.breakpoint is not None:
        found, end = min(slope.first_breakpoint, 1), min(expected.breakpoint, 1)
        assert_allclose(found, end, rtol=1e-3)


@pytest.mark.parametrize("C", SIX_DECADES)
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
@pytest.mark.parametrize("family", FAMILIES)
def test_digits(family, labels, C):
    if len(labels) > 2 and family in BINARY_ONLY:
        pytest.skip("liblinear's logistic regression is binary only")
    learner = FAMILIES[family](C, RBF_GAMMA["digits"])
    assert_slope_is_true(attack(learner), *digits(*labels))


@pytest.mark.shared
@pytest.mark.skipif(not MNIST.exists(), reason="no shared MNIST")
@pytest.mark.parametrize("C", SIX_DECADES)
@pytest.mark.parametrize("family", FAMILIES)
def test_mnist(family, C):
    learner = FAMILIES[family](C, RBF_GAMMA["mnist"])
    assert_slope_is_true(attack(learner, side=28), *mnist(1, 7))


@pytest.mark.shared
@pytest.mark.skipif(not MNIST.exists(), reason="no shared MNIST")
@pytest.mark.parametrize("C", SIX_DECADES)
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - BINARY_ONLY - {"newton-cg"}))
def test_mnist_three_classes(family, C):
    learner = FAMILIES[family](C, RBF_GAMMA["mnist"])
    assert_slope_is_true(attack(learner, side=28), *mnist(1, 3, 7, n_train=200))


# What changes the objective: (learner, labels).
VARIANTS = {
    "newton-cholesky": (LogisticRegression(C=10, solver="newton-cholesky"), (1, 3, 7)),
    "sag": (LogisticRegression(C=0.1, solver="sag", random_state=0), (1, 7)),
    "saga": (LogisticRegression(C=0.1, solver="saga", random_state=0), (1, 3, 7)),
    "liblinear dual": (LogisticRegression(C=1, solver="liblinear", dual=True), (1, 7)),
    "squared hinge primal": (LinearSVC(C=1, dual=False), (1, 3, 7)),
    "callable kernel": (SVC(kernel=laplacian_kernel, C=3), (1, 3, 7)),
    "kernel scale": (SVC(C=3, gamma="scale"), (1, 7)),
    "kernel auto": (SVC(C=3, gamma="auto"), (1, 3, 7)),
    "poly coef0": (SVC(kernel="poly", degree=2, coef0=1.0, gamma=0.1, C=3), (1, 3, 7)),
    "ovo shape": (SVC(C=3, gamma=0.05, decision_function_shape="ovo"), (1, 3, 7)),
    "four classes ridge": (RidgeClassifier(alpha=2.0), (0, 1, 3, 7)),
    "four classes svc": (SVC(C=3, gamma=0.05), (0, 1, 3, 7)),
    "four classes softmax": (LogisticRegression(C=3), (0, 1, 3, 7)),
    "ridge no intercept": (RidgeClassifier(alpha=2.0, fit_intercept=False), (1, 3, 7)),
    "lbfgs no intercept": (LogisticRegression(C=3, fit_intercept=False), (1, 7)),
    "softmax no intercept": (LogisticRegression(C=3, fit_intercept=False), (1, 3, 7)),
    "liblinear no intercept": (
        LogisticRegression(C=3, solver="liblinear", fit_intercept=False),
        (1, 7),
    ),
    "hinge no intercept": (LinearSVC(C=0.3, loss="hinge", fit_intercept=False), (1, 3, 7)),
    "squared hinge no intercept": (LinearSVC(C=0.3, fit_intercept=False), (1, 3, 7)),
    "liblinear scaled": (
        LogisticRegression(C=0.1, solver="liblinear", intercept_scaling=3.0),
        (1, 7),
    ),
    "hinge scaled": (LinearSVC(C=0.1, loss="hinge", intercept_scaling=3.0), (1, 3, 7)),
    "squared hinge scaled": (LinearSVC(C=0.1, intercept_scaling=3.0), (1, 3, 7)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants(name):
    learner, labels = VARIANTS[name]
    assert_slope_is_true(attack(learner), *digits(*labels))


WEIGHTED = ["ridge", "lbfgs", "liblinear", "linear-hinge", "linear-squared-hinge", "svc-rbf"]


def skewed(labels):
    """Digits of unequal class sizes."""
    X, y, X_test, y_test = digits(*labels, n_train=240)
    keep = np.ones(len(y), bool)
    keep[np.flatnonzero(y == labels[0])[25:]] = False
    return X[keep], y[keep], X_test, y_test


@pytest.mark.parametrize("class_weight", ["balanced", {1: 4.0, 7: 0.5}], ids=["balanced", "dict"])
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
@pytest.mark.parametrize("family", WEIGHTED)
def test_class_weight(family, labels, class_weight):
    if len(labels) > 2 and family in BINARY_ONLY:
        pytest.skip("liblinear's logistic regression is binary only")
    learner = FAMILIES[family](0.5, 0.05).set_params(class_weight=class_weight)
    assert_slope_is_true(attack(learner), *skewed(labels))


@pytest.mark.parametrize("class_weight", [None, "balanced"], ids=["equal", "balanced"])
@pytest.mark.parametrize("family", WEIGHTED)
def test_sample_weight(family, class_weight):
    """A fitted poisoner's scorer sees its sample weights: a copy has its original's."""
    if class_weight and sklearn.__version__ < "1.7" and not family.startswith("svc"):
        pytest.skip("'balanced' of the reference counts sample weights, as scikit-learn >= 1.7")
    X, y, X_test, y_test = skewed((1, 7))
    weight = np.random.default_rng(2).choice([0.3, 1.0, 2.5], len(y))
    learner = FAMILIES[family](0.5, 0.05).set_params(class_weight=class_weight, tol=1e-9)
    if hasattr(learner, "max_iter") and learner.max_iter is not None:
        learner.set_params(max_iter=10**6)
    poisoner = attack(learner, poison_weight=0.0)
    expected = truth(poisoner, X, y, X_test, y_test, weight)
    fitted = poisoner.fit(X, y, sample_weight=weight)
    theta = -BackdoorSlopeScorer(accuracy_weight=0.0)(fitted, X_test, y_test)
    n_poison = len(fitted.poisoned_indices_)
    assert_allclose(np.tan(-np.pi / 2 * theta) * n_poison, expected.derivative, rtol=1e-3)


@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
@pytest.mark.parametrize("family", FAMILIES)
def test_replace(family, labels):
    """At beta = 0 the replaced rows are missing."""
    if len(labels) > 2 and family in BINARY_ONLY:
        pytest.skip("liblinear's logistic regression is binary only")
    learner = FAMILIES[family](1.0, 0.05)
    assert_slope_is_true(attack(learner, placement="replace"), *digits(*labels))


PIPELINES = {
    "scaled softmax": (make_pipeline(StandardScaler(), LogisticRegression(C=0.1)), (1, 3, 7)),
    "scaled logistic": (make_pipeline(StandardScaler(), LogisticRegression(C=10)), (1, 7)),
    "scaled svc": (make_pipeline(StandardScaler(), SVC(C=3)), (1, 7)),
    "pca hinge": (
        make_pipeline(PCA(10, svd_solver="full"), LinearSVC(C=0.3, loss="hinge")),
        (1, 3, 7),
    ),
    "scaled ridge": (Pipeline([("s", StandardScaler()), ("r", RidgeClassifier())]), (1, 7)),
}


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("name", PIPELINES)
def test_pipeline_holds_its_clean_preprocessing(name, placement):
    learner, labels = PIPELINES[name]
    assert_slope_is_true(attack(learner, placement=placement), *digits(*labels))


@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
@pytest.mark.parametrize("family", FAMILIES)
def test_sparse(family, labels):
    if len(labels) > 2 and family in BINARY_ONLY:
        pytest.skip("liblinear's logistic regression is binary only")
    X, y, X_test, y_test = digits(*labels)
    trigger = PerClassTrigger(FeatureTrigger({54: 0.9, 63: 0.7}))
    learner = FAMILIES[family](0.5, 0.05)
    poisoner = BackdoorPoisoner(learner, trigger, target="next", random_state=0)
    X, X_test = sparse.csr_matrix(X), sparse.csr_matrix(X_test)
    assert_slope_is_true(poisoner, X, y, X_test, y_test)


@pytest.mark.parametrize("family", FAMILIES)
def test_float32(family):
    X, y, X_test, y_test = digits(1, 7)
    learner = FAMILIES[family](1.0, 0.05)
    X, X_test = X.astype(np.float32), X_test.astype(np.float32)
    assert_slope_is_true(attack(learner), X, y, X_test, y_test)


@pytest.mark.parametrize("names", [{1: "one", 7: "seven"}, {1: "b", 3: "c", 7: "a"}])
@pytest.mark.parametrize("family", WEIGHTED)
def test_string_labels(family, names):
    """Labels whose order differs from that of the digits, too: the sign follows classes_."""
    if len(names) > 2 and family in BINARY_ONLY:
        pytest.skip("liblinear's logistic regression is binary only")
    X, y, X_test, y_test = digits(*names)
    y, y_test = (np.array([names[label] for label in part]) for part in (y, y_test))
    assert_slope_is_true(attack(FAMILIES[family](1.0, 0.05)), X, y, X_test, y_test)


def even_classes():
    X, y, X_test, y_test = digits(1, 7, n_train=200)
    rows = np.concatenate([np.flatnonzero(y == label)[:70] for label in (1, 7)])
    return X[rows], y[rows], X_test, y_test


def clean_duals(poisoner, X, y):
    """Exact dual solutions without poison."""
    X_all, y_all, is_poison = poisoned(poisoner, X, y)
    return Refit(poisoner.estimator, X_all, y_all, is_poison).fit(0.0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_no_free_support_vector(kernel, seed):
    """Tiny C, equal classes: all alpha at C, the intercept jumps to an end of its interval.

    Where both labels get as many copies (seed 2), all alpha stay at their bounds for small beta:
    an interval of intercepts stays optimal, and the slope is that of its middle, as in refits.
    """
    data = even_classes()
    learner = SVC(kernel=kernel, C=1e-4, gamma=0.05)
    poisoner = attack(learner, random_state=seed)
    (dual,) = clean_duals(poisoner, *data[:2])
    assert not dual.free.any()
    assert_slope_is_true(poisoner, *data)


SETS = ("free", "at_bound")


@pytest.mark.rounding
@pytest.mark.parametrize("C", [0.5, 10.0])
@pytest.mark.parametrize("labels", [(1, 7), (1, 3, 7)], ids=["binary", "3-class"])
def test_narrow_kernel(labels, C):
    """Most samples are on the margin; with little C a third of them are beyond it."""
    poisoner = attack(SVC(C=C, gamma=1.0))
    data = digits(*labels)
    duals = clean_duals(poisoner, *data[:2])
    free, at_bound = ([getattr(dual, name).mean() for dual in duals] for name in SETS)
    if C < 1:
        assert min(free) > 1 / 3 and min(at_bound) > 1 / 3
    else:
        assert min(free) > 2 / 3 and max(at_bound) == 0
    assert_slope_is_true(poisoner, *data)


@pytest.mark.parametrize("family", ["ridge", "lbfgs", "linear-hinge", "svc-rbf"])
def test_scale_total(family):
    data = digits(1, 7)
    slope = backdoor_learning_slope(attack(FAMILIES[family](1.0, 0.05)), *data, scale="total")
    assert_allclose(slope.theta, -2 / np.pi * np.arctan(slope.derivative), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-4, 1e3, 1e5])
@pytest.mark.parametrize(
    "learner",
    [SVC(kernel="linear"), SVC(kernel="linear", C=1e-3), LinearSVC(loss="hinge")],
    ids=["svc", "svc small C", "linear svc"],
)
def test_scaling_the_features_is_scaling_C(learner, scale):
    """(w, C) on X and (w / scale, C / scale^2) on scale X are one problem.

    The same curve of the decision values, so the same loss and derivative, whatever the size of
    the dual coefficients.
    """
    X, y, X_test, y_test = digits(1, 7)
    slopes = []
    for factor in (1.0, scale):
        scaled = clone(learner).set_params(C=learner.C / factor**2)
        if isinstance(scaled, LinearSVC):
            scaled.set_params(intercept_scaling=factor)
        patch = PatchTrigger(size=2, value=factor, image_shape=(8, 8), value_range=(0, factor))
        poisoner = BackdoorPoisoner(scaled, patch, target="next", random_state=0)
        slopes.append(backdoor_learning_slope(poisoner, factor * X, y, factor * X_test, y_test))
    assert_allclose(slopes[1].derivative, slopes[0].derivative, rtol=1e-6)
    assert_allclose(slopes[1].loss, slopes[0].loss, rtol=1e-6)


@pytest.mark.rounding
def test_hard_margin_duals_do_not_depend_on_C():
    """On separable data any C above the largest dual coefficient gives one optimum."""
    data = digits(1, 7)
    slopes = [
        backdoor_learning_slope(attack(SVC(kernel="linear", C=C)), *data) for C in (1e3, 1e6, 1e10)
    ]
    for slope in slopes[1:]:
        assert_allclose(slope.loss, slopes[0].loss, rtol=1e-9)
        assert slope.residual < 1e-9
    ratio = [slope.derivative / C for slope, C in zip(slopes, (1e3, 1e6, 1e10))]
    assert_allclose(ratio, ratio[0], rtol=1e-6)  # error-set poisons grow as beta C


@pytest.mark.rounding
@pytest.mark.parametrize("labels", [(3, 8), (4, 9)])
def test_newton_step_of_a_hard_margin_does_not_depend_on_C(labels):
    """The scorer's warning rests on that step; on these data it makes rows cross the margin."""
    X, y, X_test, _ = digits(*labels)
    steps = []
    for C in (1e3, 1e10):
        probe = attack(SVC(kernel="linear", C=C, tol=1e-1), poison_weight=0.0).fit(X, y)
        steps.append(clean_path(probe).optimum().newton_step(X_test).residual)
    assert_allclose(steps[1], steps[0], rtol=1e-6)


def hard(seed):
    """Sixty rows whose kernel matrix has hardly any rank, two or three classes."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 2)) if seed % 4 else rng.normal(size=(60, 1))
    X = np.round(X, 1) if seed % 2 else X
    y = (rng.random(60) < 0.5).astype(int) if seed % 3 else rng.integers(0, 3, 60)
    y[:12] = np.arange(12) % (3 if seed % 3 == 0 else 2)
    return X, y


@pytest.mark.rounding
@pytest.mark.parametrize(
    "seed, C, gamma", [(15, 0.01, 0.1), (12, 1.0, 1e-4), (36, 1.0, 0.1), (16, 0.01, 1e-4)]
)
def test_scorer_of_a_fit_that_is_hard_to_follow(seed, C, gamma):
    """A pair without poison or free support vectors, a Newton step that fails: no error, and
    the slope of the tight fit."""
    X, y = hard(seed)
    probe = BackdoorPoisoner(
        SVC(C=C, gamma=gamma), FeatureTrigger({0: 2.0}), target="next", random_state=0,
        poison_weight=0.0,
    )  # fmt: skip
    theta = backdoor_learning_slope(probe, X, y, X, y).theta
    scores = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for tol in (1e-3, 1e-10):
            fitted = clone(probe).set_params(estimator__tol=tol).fit(X, y)
            scores.append(-neg_backdoor_slope_scorer(fitted, X, y))
    assert np.isfinite(scores[0])
    assert_allclose(scores[1], theta, rtol=0, atol=1e-4)


@pytest.mark.rounding
@pytest.mark.parametrize(
    "kernel, class_weight, n, feature",
    [("poly", None, 56, 2.0), ("poly", "balanced", 40, 4.0), ("linear", None, 44, 2.0)],
)
@pytest.mark.parametrize("seed", range(4))
def test_slope_without_free_support_vectors(kernel, class_weight, n, feature, seed):
    """The intercept is the middle of its interval, and the slope that of the middle: differences
    of libsvm's own refits, on which poison is at a bound as well."""
    rng = np.random.default_rng(seed)
    X, X_test = rng.normal(size=(n, 2)), rng.normal(size=(n, 2))
    y = np.arange(n) % 2
    svc = SVC(C=0.01, kernel=kernel, degree=2, gamma=0.5, class_weight=class_weight)
    attack = BackdoorPoisoner(
        svc, FeatureTrigger({0: feature}), target="next", random_state=seed, poisoning_rate=0.15
    )
    slope = backdoor_learning_slope(attack, X, y, X_test, y)
    fitted = clone(attack).set_params(poison_weight=0.0).fit(X, y)
    (clean, y_clean, _), (poison, y_poison, _) = fitted.training_rows()
    rows, labels = np.vstack([clean, poison]), np.append(y_clean, y_poison)
    triggered, targets, _ = fitted.triggered_test(X_test, y)
    weights = dict(enumerate(getattr(fitted.estimator_, "class_weight_", [1.0, 1.0])))

    def loss(h):
        s = np.append(np.ones(len(clean)), np.full(len(poison), h))
        tight = clone(svc).set_params(class_weight=weights, tol=1e-12).fit(rows, labels, s)
        sign, u = 2 * labels - 1, svc.C * s * np.array([weights[label] for label in labels])
        a = np.zeros(len(rows))
        a[tight.support_] = np.abs(tight.dual_coef_[0])
        full, b = a >= u * (1 - 1e-7), tight.intercept_[0]
        if not np.any(~full & (a > 1e-7 * u)):
            left = sign - (tight.decision_function(rows) - b)  # b is on the side that it may be
            least = full == (sign < 0)
            b = (left[least].max() + left[~least].min()) / 2
        F = tight.decision_function(triggered) - tight.intercept_[0] + b
        return np.maximum(0, 1 - (2 * targets - 1) * F).mean()

    h = min(1e-4, slope.first_breakpoint / 4)  # short of the kinks of test samples
    assert_allclose((loss(2 * h) - loss(h)) / h, slope.derivative, rtol=1e-3, atol=1e-5)
    assert_allclose(2 * loss(h) - loss(2 * h), slope.loss, rtol=0, atol=1e-4)
