"""Pipelines whose training rows are not the `transform` of their fitted preprocessing."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import KFold
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, TargetEncoder
from sklearn.svm import SVC
from sklearn.utils.fixes import parse_version

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    backdoor_learning_curve,
    backdoor_learning_slope,
    neg_backdoor_slope_scorer,
    slope_grid,
)
from skbackdoor.attack_path import clean_path

H = 1e-5
NEW = parse_version(sklearn.__version__) >= parse_version("1.9")
pytestmark = pytest.mark.filterwarnings("ignore:.* clean rows carry the trigger")


def categories(n_train=150, n_test=80):
    """Columns of many categories, whose encoding cross-fitting changes much; two classes."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 25, size=(n_train + n_test, 3)).astype(float)
    effect = rng.normal(size=(3, 25))
    score = sum(effect[j, X[:, j].astype(int)] for j in range(3))
    y = (score + rng.normal(size=len(X)) > 0).astype(int)
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:]


def attack(estimator, **parameters):
    parameters = {"target": 1, "poisoning_rate": 0.1, "random_state": 0} | parameters
    return BackdoorPoisoner(estimator, FeatureTrigger({2: 7.0}), **parameters)


# since scikit-learn 1.9 `cv` says it
SEEDED = {"cv": KFold(3, shuffle=True, random_state=0)} if NEW else {"random_state": 0}
ENCODER = TargetEncoder(**SEEDED)
BEFORE = {
    "encoder": [ENCODER],
    "columns": [make_column_transformer((ENCODER, [0, 1, 2])), StandardScaler()],
    "nested": [make_pipeline(FunctionTransformer(), ENCODER)],
    "union": [FeatureUnion([("encoded", ENCODER), ("given", StandardScaler())])],
}
LEARNERS = {
    "ridge": RidgeClassifier(),
    "logistic": LogisticRegression(tol=1e-12, max_iter=10**4),
    "l1": LogisticRegression(tol=1e-12, max_iter=10**5, solver="liblinear", l1_ratio=1.0)
    if LogisticRegression().penalty != "l2"
    else LogisticRegression(tol=1e-12, max_iter=10**5, solver="liblinear", penalty="l1"),
}


def mean_loss(model, rows, labels):
    margin = (2 * labels - 1) * model.decision_function(rows)
    ridge = isinstance(model, RidgeClassifier)
    return np.mean((1 - margin) ** 2 if ridge else np.logaddexp(0, -margin))


def held(poisoner, X, y, X_test, y_test):
    """Clean rows, poison rows and P_ts as scikit-learn prepares them, and two tight refits."""
    fitted = clone(poisoner).set_params(poison_weight=0.0).fit(X, y)
    X_all, y_all, is_poison = fitted.poison(X, y)
    before = clone(poisoner.estimator)[:-1]
    rows = before.fit_transform(X_all[~is_poison], y_all[~is_poison])
    rows = np.vstack([rows, before.transform(X_all[is_poison])])
    labels = np.append(y_all[~is_poison], y_all[is_poison])
    triggered = X_test[y_test == 0].copy()
    triggered[:, 2] = 7.0
    losses = []
    for beta in (0.0, H):
        weight = np.append(np.ones((~is_poison).sum()), np.full(is_poison.sum(), beta))
        model = clone(poisoner.estimator[-1]).fit(rows, labels, sample_weight=weight)
        losses.append(mean_loss(model, before.transform(triggered), np.ones(len(triggered))))
    return (losses[1] - losses[0]) / H, losses[0]


@pytest.mark.parametrize("placement", ["append", "replace"])
@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("before", BEFORE)
def test_slope_is_that_of_refits_with_the_clean_preprocessing(before, learner, placement):
    data = categories()
    poisoner = attack(make_pipeline(*BEFORE[before], LEARNERS[learner]), placement=placement)
    derivative, loss = held(poisoner, *data)
    slope = backdoor_learning_slope(poisoner, *data, h=H if learner == "l1" else None)
    assert_allclose(slope.derivative, derivative, rtol=1e-3)
    assert_allclose(slope.loss, loss, rtol=1e-6)


@pytest.mark.parametrize("learner", ["ridge", "logistic"])
@pytest.mark.parametrize("before", BEFORE)
def test_the_scorer_sees_the_rows_that_the_fit_saw(before, learner):
    X, y, X_test, y_test = categories()
    poisoner = attack(make_pipeline(*BEFORE[before], LEARNERS[learner]), poison_weight=0.0)
    derivative, _ = held(poisoner, X, y, X_test, y_test)
    fitted = poisoner.fit(X, y)
    theta = -neg_backdoor_slope_scorer(fitted, X_test, y_test)
    n_poison = len(fitted.poisoned_indices_)
    assert_allclose(theta, -2 / np.pi * np.arctan(derivative / n_poison), rtol=1e-3)


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("learner", ["ridge", "logistic", "svc"])
def test_the_curve_begins_at_the_real_pipeline(before, learner):
    X, y, X_test, y_test = categories()
    last = LEARNERS.get(learner, SVC(tol=1e-8))
    real = make_pipeline(*BEFORE[before], last)
    curve = backdoor_learning_curve(attack(real), X, y, X_test, y_test, poison_weights=[0.0])
    real = clone(real).fit(X, y)
    triggered = X_test[y_test == 0].copy()
    triggered[:, 2] = 7.0
    assert_allclose(curve.clean_accuracy, real.score(X_test, y_test))
    assert_allclose(curve.attack_success_rate, np.mean(real.predict(triggered) == 1))
    if learner != "svc":
        assert_allclose(curve.rho, np.linalg.norm(real[-1].coef_), rtol=1e-6)
    grid = slope_grid(attack(real), {"placement": ["append"]}, X, y, X_test, y_test)
    assert_allclose(grid.clean_accuracy, real.score(X_test, y_test))


class Jittered(TransformerMixin, BaseEstimator):
    """Training rows get noise of their own at each fit, as regularised target encoders give."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X / 25

    def fit_transform(self, X, y=None):
        self.fit(X)
        return np.random.default_rng().normal(X / 25, 0.3)


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_random_rows_without_a_seed_are_those_of_one_fit():
    """Which rows a fit saw is then not known: the scorer fits the whole Pipeline anew."""
    X, y, X_test, y_test = categories()
    estimator = make_pipeline(Jittered(), LogisticRegression(C=100, tol=1e-9))
    fitted = attack(estimator, poison_weight=0.0).fit(X, y)
    path = clean_path(fitted)
    assert path.optimum().residual < 1e-6
    neg_backdoor_slope_scorer(fitted, X_test, y_test)


class Counted(StandardScaler):
    """Counts fits."""

    n_fits = 0

    def fit(self, X, y=None, sample_weight=None):
        type(self).n_fits += 1
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize(
    "before", [Counted(), make_pipeline(Counted()), make_column_transformer((Counted(), [0, 1]))]
)
def test_ordinary_preprocessing_is_not_fitted_again(before):
    X, y, X_test, y_test = categories()
    fitted = attack(make_pipeline(before, RidgeClassifier()), poison_weight=0.0).fit(X, y)
    Counted.n_fits = 0
    neg_backdoor_slope_scorer(fitted, X_test, y_test)
    assert Counted.n_fits == 0
    backdoor_learning_slope(fitted, X, y, X_test, y_test)
    assert Counted.n_fits == 1


def test_randomised_components():
    """The scores of a truncated decomposition are not its `transform`."""
    X, y, X_test, y_test = categories()
    X, X_test = np.eye(25)[X.astype(int)[:, 0]], np.eye(25)[X_test.astype(int)[:, 0]]
    X += np.random.default_rng(1).normal(size=X.shape) / 2
    before = PCA(4, svd_solver="randomized", n_oversamples=1, iterated_power=0, random_state=0)
    real = make_pipeline(before, RidgeClassifier())
    curve = backdoor_learning_curve(attack(real), X, y, X_test, y_test, poison_weights=[0.0])
    other = clone(real[:-1]).fit(X).transform(X)
    assert not np.allclose(other, clone(real[:-1]).fit_transform(X), rtol=0.01)
    assert_allclose(curve.rho, np.linalg.norm(real.fit(X, y)[-1].coef_), rtol=1e-6)


def test_routed_weights_reach_cross_fitted_steps():
    X, y, *_ = categories()
    weight = np.random.default_rng(0).uniform(0.2, 3.0, len(y))
    with config_context(enable_metadata_routing=True):
        before = Jittered()
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        last = RidgeClassifier().set_fit_request(sample_weight=True)
        poisoner = attack(make_pipeline(before, scaler, last), poison_weight=0.0)
        poisoner.set_fit_request(sample_weight=True).fit(X, y, sample_weight=weight)
        path = clean_path(poisoner)
    assert_allclose(np.average(path.rows.clean.X, axis=0, weights=weight), 0, atol=1e-9)
    assert np.abs(path.rows.clean.X.mean(axis=0)).max() > 1e-3
