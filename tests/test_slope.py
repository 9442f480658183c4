"""How the slope is found, its options, and what has none."""

import numpy as np
import pytest
from attacks import attack, data, poisoned
from by_hand import LEARNERS, triggered
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.validation import has_fit_parameter

from skbackdoor import FeatureTrigger, PerClassTrigger, backdoor_learning_slope

# since scikit-learn 1.8 l1_ratio says it alone
OLD = LogisticRegression().penalty == "l2"
ELASTIC = {"penalty": "elasticnet"} if OLD else {}
METHODS = [
    (RidgeClassifier(), "implicit"),
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
