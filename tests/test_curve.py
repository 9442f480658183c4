"""Learning curves against fits and losses by hand."""

import numpy as np
import pytest
from attacks import attack, data, poisoned
from by_hand import BETAS, LEARNERS, cross_entropy, fits, triggered
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skbackdoor import backdoor_learning_curve, backdoor_learning_slope, evaluate_attack


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


def test_gamma_scale_is_held_at_its_clean_value():
    X, y, X_test, y_test = data(2)
    gamma = 1 / (X.shape[1] * X.var())
    curves = [
        backdoor_learning_curve(attack(SVC(gamma=g)), X, y, X_test, y_test, poison_weights=BETAS)
        for g in ("scale", gamma)
    ]
    assert_allclose(curves[0].backdoor_loss, curves[1].backdoor_loss, rtol=1e-9)
    assert_allclose(curves[0].rho, curves[1].rho, rtol=1e-9)


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


@pytest.mark.parametrize("weights", [[-0.1], [1.1], [np.nan], [], [[0.0, 1.0]]])
def test_bad_poison_weights(weights):
    X, y, X_test, y_test = data(2)
    with pytest.raises(ValueError, match="poison_weights"):
        backdoor_learning_curve(
            attack(RidgeClassifier()), X, y, X_test, y_test, poison_weights=weights
        )
