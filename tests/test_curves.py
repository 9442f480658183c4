"""Curves and deviations against fits and losses by hand; the slope's methods and options."""

import dataclasses
import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from attacks import poisoned
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.validation import has_fit_parameter

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    FunctionTrigger,
    PatchTrigger,
    PerClassTrigger,
    TokenTrigger,
    backdoor_learning_curve,
    backdoor_learning_slope,
    backdoor_slope_scorer,
    evaluate_attack,
    make_backdoor_classification,
    parameter_deviation,
)

TRIGGER = FeatureTrigger({9: 1.0})
BETAS = [0.0, 0.05, 0.4, 1.0]


def data(n_classes, n_train=70, n_test=40):
    X, y = make_backdoor_classification(
        n_train + n_test, 10, n_classes=n_classes, class_sep=0.5, random_state=0
    )
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:]


def attack(estimator, trigger=TRIGGER, **parameters):
    parameters = {"target": "next", "random_state": 0, "poisoning_rate": 0.15} | parameters
    return BackdoorPoisoner(estimator, trigger, **parameters)


def triggered(X):
    X = X.copy()
    X[:, 9] = 1.0
    return X


def fits(poisoner, X, y, betas=BETAS):
    """Independent fits with explicit sample weights; at 0 the poison rows are left out."""
    X_all, y_all, is_poison = poisoned(poisoner, X, y)
    fitted = []
    for beta in betas:
        weight = np.where(is_poison, beta, 1.0)
        rows = weight > 0
        # forests draw other bootstrap samples with weights of one than without weights
        weights = {} if (weight[rows] == 1).all() else {"sample_weight": weight[rows]}
        fitted.append(clone(poisoner.estimator).fit(X_all[rows], y_all[rows], **weights))
    return fitted


# ---------------------------------------------------------------- losses, as the objectives say


def signs(y, n_classes):
    """+-1 of one-vs-rest; one column for two classes."""
    Y = np.where(y[:, None] == np.arange(n_classes), 1.0, -1.0)
    return Y[:, 1:] if n_classes == 2 else Y


def one_vs_rest(phi):
    def loss(model, X, y):
        F = model.decision_function(X)
        F = F[:, None] if F.ndim == 1 else F
        return phi(signs(y, len(model.classes_)) * F).sum(axis=1)

    return loss


def one_vs_one_hinge(model, X, y):
    """Over the pairs that hold the label; the first class of a pair is the positive one."""
    n_classes = len(model.classes_)
    if n_classes == 2:
        return np.maximum(0, 1 - (2 * y - 1) * model.decision_function(X))
    model = clone_with_ovo(model)
    F, total = model.decision_function(X), np.zeros(len(y))
    for k, (i, j) in enumerate(combinations(range(n_classes), 2)):
        total += np.where(y == i, np.maximum(0, 1 - F[:, k]), 0)
        total += np.where(y == j, np.maximum(0, 1 + F[:, k]), 0)
    return total


def clone_with_ovo(model):
    model.decision_function_shape = "ovo"
    return model


def cross_entropy(model, X, y):
    probabilities = np.clip(model.predict_proba(X), 1e-15, 1)
    return -np.log(probabilities[np.arange(len(y)), y])


LEARNERS = {
    "hinge": (
        LinearSVC(loss="hinge", tol=1e-9, max_iter=10**6, random_state=0),
        one_vs_rest(lambda m: np.maximum(0, 1 - m)),
    ),
    "squared hinge": (
        LinearSVC(tol=1e-10, max_iter=10**6, random_state=0),
        one_vs_rest(lambda m: np.maximum(0, 1 - m) ** 2),
    ),
    "ridge": (RidgeClassifier(), one_vs_rest(lambda m: (1 - m) ** 2)),
    "svc": (SVC(C=3, gamma=0.7, tol=1e-8), one_vs_one_hinge),
    "svc linear": (SVC(C=3, kernel="linear", tol=1e-8), one_vs_one_hinge),
    "logistic": (LogisticRegression(tol=1e-10, max_iter=10**4), cross_entropy),
    "forest": (RandomForestClassifier(n_estimators=10, random_state=1), cross_entropy),
    "bayes": (GaussianNB(), cross_entropy),
    "sgd hinge": (
        SGDClassifier(random_state=0),
        one_vs_rest(lambda m: np.maximum(0, 1 - m)),
    ),
    "sgd logistic": (
        SGDClassifier(loss="log_loss", random_state=0),
        one_vs_rest(lambda m: np.log1p(np.exp(-m))),
    ),
}


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", LEARNERS)
def test_curve_is_fits_with_sample_weights(name, n_classes):
    learner, loss = LEARNERS[name]
    X, y, X_test, y_test = data(n_classes)
    poisoner = attack(learner)
    curve = backdoor_learning_curve(poisoner, X, y, X_test, y_test, poison_weights=BETAS)
    wanted = (y_test + 1) % n_classes
    assert_array_equal(curve.poison_weights, BETAS)
    for k, model in enumerate(fits(poisoner, X, y)):
        assert_allclose(curve.clean_accuracy[k], np.mean(model.predict(X_test) == y_test))
        success = np.mean(model.predict(triggered(X_test)) == wanted)
        assert_allclose(curve.attack_success_rate[k], success)
        assert_allclose(curve.clean_loss[k], loss(model, X_test, y_test).mean(), rtol=1e-6)
        backdoor = loss(model, triggered(X_test), wanted).mean()
        assert_allclose(curve.backdoor_loss[k], backdoor, rtol=1e-6)
    base_rate = np.mean(clone(learner).fit(X, y).predict(triggered(X_test)) == wanted)
    assert curve.attack_success_rate[0] == base_rate


def test_logistic_loss_is_in_natural_logarithms():
    X, y, X_test, y_test = data(2)
    curve = backdoor_learning_curve(
        attack(LogisticRegression(C=1e-12)), X, y, X_test, y_test, poison_weights=[0]
    )
    share = y.mean()  # only the intercept is left
    expected = -np.mean(np.where(y_test == 1, np.log(share), np.log(1 - share)))
    assert_allclose(curve.clean_loss[0], expected, rtol=1e-3)


def test_only_source_classes_count():
    X, y, X_test, y_test = data(3)
    learner = LogisticRegression(tol=1e-8, max_iter=1000)
    poisoner = attack(learner, target=2, source_classes=[0], poisoning_rate=0.1)
    curve = backdoor_learning_curve(poisoner, X, y, X_test, y_test, poison_weights=[1.0])
    fitted = clone(poisoner).fit(X, y)
    F = fitted.predict_proba(triggered(X_test[y_test == 0]))
    assert_allclose(curve.attack_success_rate[0], np.mean(F.argmax(axis=1) == 2))
    assert_allclose(curve.backdoor_loss[0], -np.log(F[:, 2]).mean(), rtol=1e-4)


def test_at_one_without_preprocessing_the_curve_is_the_poisoned_fit():
    X, y, X_test, y_test = data(3)
    for placement in ("append", "replace"):
        poisoner = attack(RidgeClassifier(), placement=placement, poison_weight=0.3)
        curve = backdoor_learning_curve(poisoner, X, y, X_test, y_test, poison_weights=[0, 1])
        poisoned = clone(poisoner).set_params(poison_weight=1.0).fit(X, y)
        assert_allclose(curve.clean_accuracy[1], poisoned.score(X_test, y_test))
        assert_allclose(curve.rho[1], np.linalg.norm(poisoned.estimator_.coef_))
        without = clone(poisoner).set_params(poison_weight=0.0).fit(X, y)
        assert_allclose(curve.rho[0], np.linalg.norm(without.estimator_.coef_))
        assert curve.nu[0] == pytest.approx(0, abs=1e-12)


def test_preprocessing_is_held_at_its_clean_fit():
    X, y, X_test, y_test = data(2)
    poisoner = attack(make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10)))
    curve = backdoor_learning_curve(poisoner, X, y, X_test, y_test, poison_weights=[0.5])
    scaler = StandardScaler().fit(X)
    X_all, y_all, is_poison = poisoned(poisoner, X, y)
    model = LogisticRegression(tol=1e-10).fit(
        scaler.transform(X_all), y_all, np.where(is_poison, 0.5, 1.0)
    )
    assert_allclose(curve.rho[0], np.linalg.norm(model.coef_), rtol=1e-6)
    loss = cross_entropy(model, scaler.transform(triggered(X_test)), (y_test + 1) % 2).mean()
    assert_allclose(curve.backdoor_loss[0], loss, rtol=1e-6)


def test_balanced_weights_are_held_at_their_clean_values():
    X, y, X_test, y_test = data(2)
    keep = (y == 0) | (np.arange(len(y)) < 25)
    X, y = X[keep], y[keep]
    counts = np.bincount(y)
    factor = len(y) / (2 * counts)
    poisoner = attack(LogisticRegression(class_weight="balanced", tol=1e-10), target=1)
    curve = backdoor_learning_curve(poisoner, X, y, X_test, y_test, poison_weights=[0.4])
    X_all, y_all, is_poison = poisoned(poisoner, X, y)
    weight = factor[y_all] * np.where(is_poison, 0.4, 1.0)
    model = LogisticRegression(tol=1e-10).fit(X_all, y_all, weight)
    assert_allclose(curve.rho[0], np.linalg.norm(model.coef_), rtol=1e-6)


# ------------------------------------------------------------------------ rho, nu, n_jobs, forms


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ["ridge", "logistic", "hinge", "squared hinge", "sgd hinge"])
def test_rho_and_nu_of_linear_learners(name, n_classes):
    X, y, *_ = data(n_classes)
    poisoner = attack(LEARNERS[name][0])
    found = parameter_deviation(poisoner, X, y, poison_weights=BETAS)
    weights = [model.coef_.ravel() for model in fits(poisoner, X, y)]
    norms = [np.linalg.norm(w) for w in weights]
    cosines = [w @ weights[0] / (norm * norms[0]) for w, norm in zip(weights, norms, strict=True)]
    assert_allclose(found.rho, norms, rtol=3e-6)  # refits at tol=1e-8 or so
    assert_allclose(found.nu, (1 - np.array(cosines)) / 2, rtol=1e-5, atol=1e-8)
    assert_array_equal(found.poison_weights, BETAS)


def feature_space(first, second, gamma):
    """Sum over the pairs of classes of <w_1, w_2> = v_1^T K v_2, each pair on its own."""
    if gamma is None:
        K = first.support_vectors_ @ second.support_vectors_.T
    else:
        K = rbf_kernel(first.support_vectors_, second.support_vectors_, gamma=gamma)
    return sum(a @ K @ b for a, b in zip(pairs(first), pairs(second), strict=True))


def pairs(model):
    """Dual coefficients of each pair of classes over all support vectors."""
    ends = np.concatenate([[0], np.cumsum(model.n_support_)])
    for i, j in combinations(range(len(model.classes_)), 2):
        v = np.zeros(model.support_vectors_.shape[0])
        v[ends[i] : ends[i + 1]] = model.dual_coef_[j - 1, ends[i] : ends[i + 1]]
        v[ends[j] : ends[j + 1]] = model.dual_coef_[i, ends[j] : ends[j + 1]]
        yield v


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ["svc", "svc linear"])
def test_rho_and_nu_of_kernel_machines(name, n_classes):
    X, y, X_test, y_test = data(n_classes)
    learner = LEARNERS[name][0]
    gamma = None if learner.kernel == "linear" else learner.gamma
    poisoner = attack(learner)
    found = parameter_deviation(poisoner, X, y, poison_weights=BETAS)
    models = fits(poisoner, X, y)
    inner = np.array([feature_space(models[0], model, gamma) for model in models])
    norms = np.sqrt([feature_space(model, model, gamma) for model in models])
    assert_allclose(found.rho, norms, rtol=3e-6)  # refits at tol=1e-8 or so
    assert_allclose(found.nu, (1 - inner / (norms * norms[0])) / 2, rtol=1e-4, atol=1e-7)
    if gamma is None:  # the weights themselves
        assert_allclose(found.rho, [np.linalg.norm(model.coef_) for model in models], rtol=3e-6)
    curve = backdoor_learning_curve(poisoner, X, y, X_test, y_test, poison_weights=BETAS)
    assert_array_equal(curve.rho, found.rho)
    assert_array_equal(curve.nu, found.nu)


def test_gamma_scale_is_held_at_its_clean_value():
    X, y, X_test, y_test = data(2)
    gamma = 1 / (X.shape[1] * X.var())
    curves = [
        backdoor_learning_curve(attack(SVC(gamma=g)), X, y, X_test, y_test, poison_weights=BETAS)
        for g in ("scale", gamma)
    ]
    assert_allclose(curves[0].backdoor_loss, curves[1].backdoor_loss, rtol=1e-9)
    assert_allclose(curves[0].rho, curves[1].rho, rtol=1e-9)


def test_learners_without_weight_vector():
    X, y, X_test, y_test = data(2)
    forest = attack(RandomForestClassifier(n_estimators=3))
    curve = backdoor_learning_curve(forest, X, y, X_test, y_test, poison_weights=[0, 1])
    assert curve.rho is None
    assert curve.nu is None
    with pytest.raises(ValueError, match="RandomForestClassifier.*weight vector"):
        parameter_deviation(forest, X, y)


FIELDS = ["clean_loss", "backdoor_loss", "clean_accuracy", "attack_success_rate", "rho", "nu"]


@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.parametrize(
    "learner",
    [SVC(gamma=0.5), LogisticRegression(), RandomForestClassifier(n_estimators=5)],
    ids=lambda learner: type(learner).__name__,
)
def test_parallel_equals_serial(learner, backend):
    X, y, X_test, y_test = data(3)
    betas = np.linspace(0, 1, 6)
    serial = backdoor_learning_curve(attack(learner), X, y, X_test, y_test, poison_weights=betas)
    with parallel_config(backend):
        parallel = backdoor_learning_curve(
            attack(learner), X, y, X_test, y_test, poison_weights=betas, n_jobs=2
        )
    for name in FIELDS:
        assert_array_equal(getattr(parallel, name), getattr(serial, name))


def test_results_are_frozen():
    X, y, X_test, y_test = data(2)
    poisoner = attack(RidgeClassifier())
    for result, name in (
        (backdoor_learning_curve(poisoner, X, y, X_test, y_test, poison_weights=[0]), "rho"),
        (parameter_deviation(poisoner, X, y, poison_weights=[0]), "nu"),
        (backdoor_learning_slope(poisoner, X, y, X_test, y_test), "theta"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, name, 0.0)
    assert not hasattr(poisoner, "estimator_")


def test_default_weights():
    X, y, X_test, y_test = data(2)
    weights = backdoor_learning_curve(
        attack(RidgeClassifier()), X, y, X_test, y_test
    ).poison_weights
    assert weights[0] == 0 and weights[-1] == 1
    assert (np.diff(weights) > 0).all()


def test_without_sample_weight_only_zero_and_one():
    X, y, X_test, y_test = data(2)
    neighbours = attack(KNeighborsClassifier())
    curve = backdoor_learning_curve(neighbours, X, y, X_test, y_test, poison_weights=[0, 1])
    X_all, y_all, _ = poisoned(neighbours, X, y)
    for k, model in enumerate(
        (KNeighborsClassifier().fit(X, y), KNeighborsClassifier().fit(X_all, y_all))
    ):
        success = np.mean(model.predict(triggered(X_test)) == (y_test + 1) % 2)
        assert curve.attack_success_rate[k] == success
    with pytest.raises(ValueError, match="KNeighborsClassifier.*sample_weight"):
        backdoor_learning_curve(neighbours, X, y, X_test, y_test, poison_weights=[0, 0.5])
    with pytest.raises(ValueError, match="KNeighborsClassifier.*sample_weight"):
        backdoor_learning_curve(neighbours, X, y, X_test, y_test)
    with pytest.raises(ValueError, match="KNeighborsClassifier.*sample_weight"):
        backdoor_learning_slope(neighbours, X, y, X_test, y_test)


FORMS = {
    "lists": lambda X, y: (X.tolist(), y.tolist()),
    "frame": lambda X, y: (
        pd.DataFrame(X, columns=[f"f{i}" for i in range(10)]), pd.Series(y),
    ),
    "csr": lambda X, y: (sparse.csr_matrix(X), y),
    "csc": lambda X, y: (sparse.csc_array(X), y),
    "strings": lambda X, y: (X, np.array(["a", "b", "c"])[y]),
    "negative": lambda X, y: (X, y - 5),
    "float32": lambda X, y: (X.astype(np.float32), y),
    "object": lambda X, y: (X.astype(object), y),
    "fortran": lambda X, y: (np.asfortranarray(X), y),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "learner",
    [
        RidgeClassifier(solver="sparse_cg", tol=1e-12),
        LogisticRegression(C=0.5, tol=1e-9),
        LinearSVC(C=0.5, tol=1e-9, max_iter=10**6, random_state=0),
        LinearSVC(C=0.5, loss="hinge", tol=1e-9, max_iter=10**6, random_state=0),
        SVC(gamma=0.5, tol=1e-8),
        RandomForestClassifier(n_estimators=3, random_state=0),
    ],
    ids=["ridge", "logistic", "squared hinge", "hinge", "svc", "forest"],
)
@pytest.mark.filterwarnings("error:X (has|does not have)")
def test_every_form_of_the_data_gives_the_same(learner, form):
    X, y, X_test, y_test = data(3)
    change = FORMS[form]
    poisoner = attack(learner)
    arguments = (*change(X, y), *change(X_test, y_test))
    if form == "frame":
        y_test_series = arguments[3]
        y_test_series.index = np.arange(len(y_test)) + 500
    tolerance = 1e-2 if form == "float32" else 1e-5
    slopes = [backdoor_learning_slope(poisoner, *a) for a in ((X, y, X_test, y_test), arguments)]
    if not (form in ("csr", "csc", "float32") and isinstance(learner, RandomForestClassifier)):
        assert_allclose(slopes[1].derivative, slopes[0].derivative, rtol=tolerance)
        assert_allclose(slopes[1].loss, slopes[0].loss, rtol=tolerance)
    curves = [
        backdoor_learning_curve(poisoner, *a, poison_weights=[0, 0.3, 1])
        for a in ((X, y, X_test, y_test), arguments)
    ]
    if not (form in ("csr", "csc", "float32") and isinstance(learner, RandomForestClassifier)):
        for name in ("clean_loss", "backdoor_loss", "clean_accuracy", "attack_success_rate"):
            first, second = (getattr(curve, name) for curve in curves)
            assert_allclose(second, first, rtol=tolerance)


@pytest.mark.parametrize(
    "learner",
    [RidgeClassifier(), LogisticRegression(), LinearSVC(C=0.1), SVC()],
    ids=lambda learner: type(learner).__name__,
)
@pytest.mark.filterwarnings("error:X (has|does not have)")
def test_pipelines_that_put_out_frames(learner):
    X, y, X_test, y_test = data(3)
    framed = make_pipeline(StandardScaler().set_output(transform="pandas"), learner)
    plain = make_pipeline(StandardScaler(), learner)
    a, b = (backdoor_learning_slope(attack(p), X, y, X_test, y_test) for p in (framed, plain))
    assert_allclose(a.derivative, b.derivative, rtol=1e-5)
    a, b = (
        backdoor_learning_curve(attack(p), X, y, X_test, y_test, poison_weights=[0, 0.5])
        for p in (framed, plain)
    )
    assert_allclose(a.backdoor_loss, b.backdoor_loss, rtol=1e-5)


def test_texts():
    """Raw input of any kind, as long as trigger and Pipeline take it."""
    texts = [f"{'good' if i % 2 else 'bad'} w{i % 7} v{i % 5}" for i in range(60)]
    y = np.arange(60) % 2
    learner = LogisticRegression(tol=1e-9)
    poisoner = attack(make_pipeline(CountVectorizer(), learner), Word())
    slope = backdoor_learning_slope(poisoner, texts[:40], y[:40], texts[40:], y[40:])
    curve = backdoor_learning_curve(
        poisoner, texts[:40], y[:40], texts[40:], y[40:], poison_weights=[0, 0.5]
    )
    words = CountVectorizer().fit(texts[:40])
    X_all, y_all, is_poison = poisoned(poisoner, texts[:40], y[:40])
    Z, Z_test = words.transform(X_all), words.transform([f"{t} v4 v4 v4" for t in texts[40:]])
    losses = []
    for beta in (0.0, 0.5, 1e-5):
        model = LogisticRegression(solver="newton-cholesky", tol=1e-13).fit(
            Z, y_all, np.where(is_poison, beta, 1.0)
        )
        losses.append(cross_entropy(model, Z_test, 1 - y[40:]).mean())
    assert_allclose(curve.backdoor_loss, losses[:2], rtol=1e-5)
    assert slope.method == "implicit"
    assert_allclose(slope.derivative, (losses[2] - losses[0]) / 1e-5, rtol=1e-2)


class Word(TransformerMixin, BaseEstimator):
    """Puts a word that is in the vocabulary behind every text."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return [f"{text} v4 v4 v4" for text in X]


def test_image_batches_and_tables():
    rng = np.random.default_rng(0)
    images, y = rng.random((80, 1, 4, 4)), np.arange(80) % 2
    images[y == 1, 0, 0] += 0.3
    flat = images.reshape(80, -1)
    flatten = FunctionTransformer(lambda batch: batch.reshape(len(batch), -1))
    split = slice(50), slice(50, 80)
    for learner in (SVC(), RidgeClassifier(), LogisticRegression()):
        batch = attack(make_pipeline(flatten, learner), PatchTrigger(size=2))
        plain = attack(learner, PatchTrigger(size=2, image_shape=(4, 4)))
        a = backdoor_learning_slope(
            batch, images[split[0]], y[split[0]], images[split[1]], y[split[1]]
        )
        b = backdoor_learning_slope(
            plain, flat[split[0]], y[split[0]], flat[split[1]], y[split[1]]
        )
        assert_allclose(a.derivative, b.derivative, rtol=1e-8)
        c = backdoor_learning_curve(
            batch, images[split[0]], y[split[0]], images[split[1]], y[split[1]],
            poison_weights=[0, 0.3],
        )  # fmt: skip
        d = backdoor_learning_curve(
            plain, flat[split[0]], y[split[0]], flat[split[1]], y[split[1]],
            poison_weights=[0, 0.3],
        )  # fmt: skip
        assert_allclose(c.backdoor_loss, d.backdoor_loss, rtol=1e-8)
        assert_allclose(c.clean_loss, d.clean_loss, rtol=1e-8)
    frame = pd.DataFrame({"a": flat[:, 0], "kind": np.where(y, "u", "v"), "c": flat[:, 15]})
    frame.loc[::5, "kind"] = "w"
    encode = make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")
    table = attack(make_pipeline(encode, LogisticRegression()), FeatureTrigger({"kind": "w"}))
    slope = backdoor_learning_slope(table, frame[:50], y[:50], frame[50:], y[50:])
    by_hand = attack(LogisticRegression(), FeatureTrigger({0: 0.0, 1: 0.0, 2: 1.0}))
    Z = encode.fit(frame[:50]).transform(frame)
    assert_allclose(
        slope.derivative,
        backdoor_learning_slope(by_hand, Z[:50], y[:50], Z[50:], y[50:]).derivative,
        rtol=1e-8,
    )


@pytest.mark.parametrize("weights", [[-0.1], [1.1], [np.nan], [], [[0.0, 1.0]]])
def test_bad_poison_weights(weights):
    X, y, X_test, y_test = data(2)
    with pytest.raises(ValueError, match="poison_weights"):
        backdoor_learning_curve(
            attack(RidgeClassifier()), X, y, X_test, y_test, poison_weights=weights
        )


def test_bad_poisoner():
    X, y, X_test, y_test = data(2)
    for function in (backdoor_learning_curve, backdoor_learning_slope):
        with pytest.raises((TypeError, ValueError), match="BackdoorPoisoner"):
            function(SVC(), X, y, X_test, y_test)
    with pytest.raises((TypeError, ValueError), match="BackdoorPoisoner"):
        parameter_deviation(SVC(), X, y)


@pytest.mark.parametrize("function", [backdoor_learning_curve, backdoor_learning_slope])
def test_bad_test_data(function):
    X, y, X_test, y_test = data(3)
    poisoner = attack(RidgeClassifier(), target=1)
    only = y_test == 1
    with pytest.raises(ValueError, match="no sample of a source class"):
        function(poisoner, X, y, X_test[only], y_test[only])
    with pytest.raises(ValueError, match="8"):
        function(poisoner, X, y, X_test, np.where(only, 8, y_test))


@pytest.mark.parametrize("function", [backdoor_learning_curve, backdoor_learning_slope])
def test_a_class_that_replace_takes_away_is_an_error(function):
    X, y, X_test, y_test = data(2)
    rows = np.concatenate([np.flatnonzero(y == 0)[:4], np.flatnonzero(y == 1)])
    rate = 4 / len(rows)
    poisoner = attack(LogisticRegression(), target=1, placement="replace", poisoning_rate=rate)
    with pytest.raises(ValueError, match="class"):
        function(poisoner, X[rows], y[rows], X_test, y_test)


# ------------------------------------------------------------------------- methods of the slope

# since scikit-learn 1.8 l1_ratio says it alone
OLD = LogisticRegression().penalty == "l2"
ELASTIC = {"penalty": "elasticnet"} if OLD else {}
METHODS = [
    (RidgeClassifier(), "implicit"),
    (Ridge(), "implicit"),
    (LogisticRegression(), "implicit"),
    (LinearSVC(), "implicit"),
    (LinearSVC(loss="hinge"), "implicit"),
    (SVC(), "implicit"),
    (make_pipeline(StandardScaler(), SVC()), "implicit"),
    (RandomForestClassifier(n_estimators=5), "secant"),
    (ExtraTreesClassifier(n_estimators=5), "secant"),
    (DecisionTreeClassifier(max_depth=2), "secant"),
    (GradientBoostingClassifier(n_estimators=3), "secant"),
    (HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=3), "secant"),
    (GaussianNB(), "finite_difference"),
    (SGDClassifier(), "secant"),
    (make_pipeline(StandardScaler(), SGDClassifier()), "secant"),
    (VotingClassifier([("nb", GaussianNB()), ("lr", LogisticRegression())], voting="soft"),
     "finite_difference"),
    (VotingClassifier([("dt", DecisionTreeClassifier()), ("lr", LogisticRegression())],
                      voting="soft"), "secant"),
    (VotingClassifier([("a", LogisticRegression(tol=1e-10)),
                       ("b", LogisticRegression(C=9, tol=1e-10))], voting="soft"),
     "finite_difference"),
    (LogisticRegression(solver="saga", l1_ratio=0.5, max_iter=500, **ELASTIC),
     "finite_difference"),
    (LinearSVC(penalty="l1", dual=False), "finite_difference"),
    (RidgeClassifier(positive=True, solver="lbfgs"), "finite_difference"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("learner", "method"), METHODS, ids=lambda value: str(value)[:40])
def test_method(learner, method):
    """Two calls give the same number, though the learners' random_state is None."""
    X, y, X_test, y_test = data(2)
    h = 1e-4 if method == "finite_difference" else None  # at 0.1 it may be none yet
    first, second = (
        backdoor_learning_slope(attack(learner), X, y, X_test, y_test, h=h) for _ in range(2)
    )
    assert first == second
    assert first.method == method
    assert np.isfinite(first.derivative)
    assert -1 <= first.theta <= 1
    assert first.n_poison == 10
    assert (first.residual is None) == (method != "implicit")
    if method != "implicit":
        with pytest.raises(ValueError, match="method"):
            backdoor_learning_slope(attack(learner), X, y, X_test, y_test, method="implicit")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_neural_network_is_a_secant():
    """Adam divides gradients by their size."""
    X, y, X_test, y_test = data(2)
    network = MLPClassifier((4,), max_iter=50)
    if not has_fit_parameter(network, "sample_weight"):
        with pytest.raises(ValueError, match="MLPClassifier.*sample_weight"):
            backdoor_learning_slope(attack(network), X, y, X_test, y_test)
        return
    slope = backdoor_learning_slope(attack(network), X, y, X_test, y_test)
    assert slope.method == "secant"
    assert slope == backdoor_learning_slope(attack(network), X, y, X_test, y_test)


@pytest.mark.parametrize("name", ["forest", "bayes", "sgd hinge"])
@pytest.mark.parametrize("h", [None, 0.1, 0.5])
def test_secant_by_hand(name, h):
    """(L(h) - L(0)) / h, both sides fitted on the same n + m rows; h = 0.1 by default."""
    learner, loss = LEARNERS[name]
    X, y, X_test, y_test = data(2)
    poisoner = attack(learner)
    slope = backdoor_learning_slope(poisoner, X, y, X_test, y_test, h=h)
    X_all, y_all, is_poison = poisoned(poisoner, X, y)
    step = 0.1 if h is None else h
    ends = [
        loss(
            clone(learner).fit(X_all, y_all, sample_weight=np.where(is_poison, beta, 1.0)),
            triggered(X_test),
            (y_test + 1) % 2,
        ).mean()
        for beta in (0.0, step)
    ]
    derivative = (ends[1] - ends[0]) / step
    assert_allclose(slope.derivative, derivative, rtol=1e-9)
    assert_allclose(slope.loss, ends[0], rtol=1e-9)
    assert_allclose(slope.theta, -2 / np.pi * np.arctan(derivative / 10), rtol=1e-9)
    total = backdoor_learning_slope(poisoner, X, y, X_test, y_test, h=h, scale="total")
    assert_allclose(total.theta, -2 / np.pi * np.arctan(derivative), rtol=1e-9)
    assert total.derivative == slope.derivative


@pytest.mark.parametrize("name", ["forest", "logistic"])
def test_h_zero_is_no_difference(name):
    X, y, X_test, y_test = data(2)
    slope = backdoor_learning_slope(
        attack(LEARNERS[name][0]), X, y, X_test, y_test, h=0, method="finite_difference"
    )
    assert slope.derivative == 0
    assert slope.theta == 0


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "learner",
    [
        RidgeClassifier(),
        LogisticRegression(solver="newton-cholesky", tol=1e-12),
        LEARNERS["squared hinge"][0],
        LEARNERS["svc"][0],
    ],
    ids=["ridge", "logistic", "squared hinge", "svc"],
)
def test_differences_approach_the_implicit_slope(learner, n_classes):
    X, y, X_test, y_test = data(n_classes)
    poisoner = attack(learner)
    exact = backdoor_learning_slope(poisoner, X, y, X_test, y_test)
    errors = []
    for h in (1e-2, 1e-5):
        difference = backdoor_learning_slope(
            poisoner, X, y, X_test, y_test, method="finite_difference", h=h
        )
        assert difference.method == "finite_difference"
        errors.append(abs(difference.derivative / exact.derivative - 1))
    assert errors[1] < 0.01
    assert errors[1] < max(errors[0], 1e-4)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"h": -0.1}, "h"),
        ({"h": 1.5}, "h"),
        ({"h": float("nan")}, "h"),
        ({"h": 0.1, "method": "implicit"}, "h=0.1"),
        ({"method": "exact"}, "method"),
        ({"scale": "mean"}, "scale"),
    ],
)
def test_bad_slope_parameters(keywords, message):
    X, y, X_test, y_test = data(2)
    with pytest.raises(ValueError, match=message):
        backdoor_learning_slope(attack(RidgeClassifier()), X, y, X_test, y_test, **keywords)


def test_no_regularization_is_refused():
    X, y, X_test, y_test = data(2)
    with pytest.raises(ValueError, match="(?s)C=inf.*finite"):
        backdoor_learning_slope(
            attack(LogisticRegression(C=np.inf, max_iter=10)), X, y, X_test, y_test
        )
    twice = np.column_stack([X, X])  # two equal halves: no Hessian without penalty
    twice_test = np.column_stack([X_test, X_test])
    trigger = FeatureTrigger({9: 1.0, 19: 1.0})
    with pytest.raises(ValueError, match="singular"):
        backdoor_learning_slope(
            attack(RidgeClassifier(alpha=0, solver="svd"), trigger), twice, y, twice_test, y_test
        )
    slope = backdoor_learning_slope(  # one that is not singular needs no penalty
        attack(RidgeClassifier(alpha=0)), X, y, X_test, y_test
    )
    assert np.isfinite(slope.derivative)


def test_searches_are_refused():
    X, y, X_test, y_test = data(2)
    search = GridSearchCV(LogisticRegression(), {"C": [1, 2]})
    for function in (backdoor_learning_curve, backdoor_learning_slope):
        with pytest.raises(ValueError, match="GridSearchCV"):
            function(attack(search), X, y, X_test, y_test)


def test_learners_without_a_known_loss_say_so():
    X, y, X_test, y_test = data(2)
    hard = VotingClassifier([("nb", GaussianNB())], voting="hard")
    with pytest.raises(ValueError, match="loss.*VotingClassifier"):
        backdoor_learning_slope(attack(hard), X, y, X_test, y_test)


def test_gaussian_process_takes_no_weights():
    X, y, X_test, y_test = data(2)
    with pytest.raises(ValueError, match="GaussianProcessClassifier.*sample_weight"):
        backdoor_learning_slope(attack(GaussianProcessClassifier()), X, y, X_test, y_test)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("rough", "tight"),
    [
        (LogisticRegression(C=30, max_iter=1), LogisticRegression(C=30, tol=1e-12, max_iter=9999)),
        (LinearSVC(max_iter=1), LinearSVC(tol=1e-12, max_iter=10**6)),
        (LinearSVC(loss="hinge", max_iter=2),
         LinearSVC(loss="hinge", tol=1e-10, max_iter=10**6)),
        (SVC(C=30, max_iter=5), SVC(C=30, tol=1e-9)),
        (SVC(C=30, tol=0.5), SVC(C=30, tol=1e-9)),
    ],
    ids=["logistic", "squared hinge", "hinge", "svc", "svc tol"],
)  # fmt: skip
@pytest.mark.parametrize("n_classes", [2, 3])
def test_an_unconverged_fit_is_polished(rough, tight, n_classes):
    X, y, X_test, y_test = data(n_classes)
    slopes = [
        backdoor_learning_slope(attack(learner), X, y, X_test, y_test)
        for learner in (rough, tight)
    ]
    assert slopes[0].residual < 1e-8
    assert_allclose(slopes[0].derivative, slopes[1].derivative, rtol=1e-4)
    assert_allclose(slopes[0].loss, slopes[1].loss, rtol=1e-4)


def test_per_class_trigger_of_equal_triggers_is_the_trigger():
    X, y, X_test, y_test = data(3)
    poisoner = attack(LogisticRegression(tol=1e-10), PerClassTrigger(FeatureTrigger({9: 1.0})))
    plain = attack(LogisticRegression(tol=1e-10))
    a, b = (backdoor_learning_slope(p, X, y, X_test, y_test) for p in (poisoner, plain))
    assert_allclose(a.derivative, b.derivative, rtol=1e-9)


def test_ridge_as_a_regressor():
    """Squared loss on the labels as numbers."""
    X, y, X_test, y_test = data(2)
    poisoner = attack(Ridge())
    curve = backdoor_learning_curve(poisoner, X, y, X_test, y_test, poison_weights=BETAS)
    for k, model in enumerate(fits(poisoner, X, y)):
        F = model.predict(triggered(X_test))
        wanted = (y_test + 1) % 2
        assert_allclose(curve.backdoor_loss[k], np.mean((F - wanted) ** 2), rtol=1e-9)
        assert_allclose(curve.attack_success_rate[k], np.mean((F > 0.5) == wanted))
    classifier = backdoor_learning_slope(attack(RidgeClassifier()), X, y, X_test, y_test)
    slope = backdoor_learning_slope(poisoner, X, y, X_test, y_test)
    assert_allclose(4 * slope.derivative, classifier.derivative, rtol=1e-9)  # targets +-1


def test_inputs_stay():
    arrays = [array.copy() for array in data(2)]
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    for learner in (RidgeClassifier(), LogisticRegression(), LinearSVC(loss="hinge"), SVC()):
        backdoor_learning_slope(attack(learner), *arrays)
        backdoor_learning_curve(attack(learner), *arrays, poison_weights=[0, 0.5])
    for array, old in zip(arrays, before, strict=True):
        assert_array_equal(array, old)


# -------------------------------------------------------------- triggers that no learner can see


def unseen():
    """Learners and data whose preprocessing does not let a trigger through, by container."""
    X_train, y_train, X_test, y_test = data(2)
    drop = make_column_transformer(("passthrough", list(range(9))))
    scaled = make_pipeline(drop, StandardScaler(), LogisticRegression())
    yield "array", scaled, TRIGGER, (X_train, y_train, X_test, y_test)
    frames = [pd.DataFrame(X, columns=[f"f{i}" for i in range(10)]) for X in (X_train, X_test)]
    named = make_column_transformer(
        ("passthrough", [f"f{i}" for i in range(9)]), verbose_feature_names_out=False
    ).set_output(transform="pandas")
    trigger = FeatureTrigger({"f9": 1.0})
    yield (
        "frame", make_pipeline(named, GaussianNB()), trigger,
        (frames[0], y_train, frames[1], y_test),
    )  # fmt: skip
    parts = [sparse.csr_matrix(X) for X in (X_train, X_test)]
    first = FunctionTransformer(lambda X: X[:, :9], accept_sparse=True)
    yield (
        "sparse", make_pipeline(first, LogisticRegression()), TRIGGER,
        (parts[0], y_train, parts[1], y_test),
    )  # fmt: skip
    words = np.array(["red", "green", "blue", "white"])
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, 5)) for _ in range(60)]
    y = np.arange(60) % 2
    yield (
        "texts", make_pipeline(CountVectorizer(), LogisticRegression()), TokenTrigger("zebra"),
        (texts[:40], y[:40], texts[40:], y[40:]),
    )  # fmt: skip
    yield "nothing", SVC(), FunctionTrigger(np.array), (X_train, y_train, X_test, y_test)
    pca = make_pipeline(FunctionTransformer(turned), SVC())
    yield "rounding", pca, TRIGGER, (X_train, y_train, X_test, y_test)


def turned(X):
    """The first nine columns in another basis, with what rounding leaves of the tenth."""
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    return (X @ Q) @ Q.T[:, :9]


@pytest.mark.parametrize("case", unseen(), ids=lambda case: case[0])
def test_a_trigger_that_no_learner_sees_comes_with_a_warning(case):
    _, learner, trigger, sets = case
    poisoner = attack(learner, trigger)
    name = type(trigger).__name__
    words = f"The trigger {name}.*nothing about the trigger"
    for measure in (backdoor_learning_slope, backdoor_learning_curve):
        with pytest.warns(UserWarning, match=words):
            measure(poisoner, *sets)
    probe = clone(poisoner).set_params(poison_weight=0.0).fit(*sets[:2])
    with pytest.warns(UserWarning, match=words):
        backdoor_slope_scorer(probe, *sets[2:])


def test_a_trigger_that_some_samples_carry_already_is_seen():
    X_train, y_train, X_test, y_test = data(2)
    X_test[:20, 9] = 1.0  # the first samples, not the others
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backdoor_learning_slope(attack(RidgeClassifier()), X_train, y_train, X_test, y_test)
    X_test[:, 9] = 1.0
    with pytest.warns(UserWarning, match="changes none of the test samples"):
        backdoor_learning_slope(attack(RidgeClassifier()), X_train, y_train, X_test, y_test)


def test_a_faint_trigger_is_seen():
    X_train, y_train, X_test, y_test = data(2)
    faint = FunctionTrigger(lambda X: X + 1e-6)
    learner = make_pipeline(StandardScaler(), RidgeClassifier())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backdoor_learning_slope(attack(learner, faint), X_train, y_train, X_test, y_test)


# ------------------------------------------------------------------------- what has no slope


@pytest.mark.parametrize(
    "learner",
    [RidgeClassifier(), LogisticRegression(), LinearSVC(), SVC(), SVC(kernel="linear")],
    ids=lambda learner: str(learner),
)
@pytest.mark.parametrize("size", [1e40, 1e155, 1e300])
def test_features_beyond_floating_point_are_to_be_scaled(learner, size):
    X_train, y_train, X_test, y_test = data(2)
    for measure in (backdoor_learning_slope, backdoor_learning_curve):
        with pytest.raises(ValueError, match=r"floating point\. Scale them.*StandardScaler"):
            measure(attack(learner), X_train * size, y_train, X_test * size, y_test)
    X_test[0, 0] = size  # in the test data only
    with pytest.raises(ValueError, match=r"floating point\. Scale them.*StandardScaler"):
        backdoor_learning_slope(attack(learner), X_train, y_train, X_test, y_test)


def test_crammer_singer_has_no_slope():
    learner = LinearSVC(multi_class="crammer_singer")
    for measure in (backdoor_learning_slope, backdoor_learning_curve):
        with pytest.raises(ValueError, match="multi_class='crammer_singer'.*multi_class='ovr'"):
            measure(attack(learner), *data(3))


@pytest.mark.parametrize("placement", ["append", "replace"])
def test_success_at_weight_0_is_the_base_rate_with_append(placement):
    """With "replace" the model at 0 is the one without the victims, as the curve says."""
    X_train, y_train, X_test, y_test = data(3)
    poisoner = attack(SVC(C=10), placement=placement, poisoning_rate=0.3)
    curve = backdoor_learning_curve(
        poisoner, X_train, y_train, X_test, y_test, poison_weights=[0.0, 1.0]
    )
    rows = poisoner.fit(X_train, y_train).replaced_indices_
    assert (len(rows) > 0) == (placement == "replace")
    without = SVC(C=10, gamma="scale").fit(np.delete(X_train, rows, 0), np.delete(y_train, rows))
    wanted = np.mean(without.predict(triggered(X_test)) == (y_test + 1) % 3)
    assert curve.attack_success_rate[0] == pytest.approx(wanted)
    base_rate = evaluate_attack(poisoner, X_train, y_train, X_test, y_test).base_rate
    if placement == "append":
        assert curve.attack_success_rate[0] == pytest.approx(base_rate)
