"""Which differences are derivatives, what a path fits, and what its refits know."""

import numpy as np
import pytest
from attacks import poisoned
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.validation import has_fit_parameter

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    PatchTrigger,
    backdoor_learning_curve,
    backdoor_learning_slope,
    load_digits_pair,
    neg_backdoor_slope_scorer,
    weight_path,
)
from skbackdoor.paths.smooth import SMOOTH

OLD = LogisticRegression().penalty == "l2"  # since scikit-learn 1.8 l1_ratio says it alone
TIGHT = {"tol": 1e-12, "max_iter": 10**5}


def data(n_train=120, n_test=60):
    """Three classes in five columns that all vary, in [0, 1], with some labels wrong."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n_train + n_test)
    X = 1 / (1 + np.exp(-rng.normal(size=(3, 5))[y] - rng.normal(size=(len(y), 5))))
    y = np.where(rng.random(len(y)) < 0.15, (y + 1) % 3, y)
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:]


def attack(estimator, value=0.9, **parameters):
    parameters = {"target": "next", "random_state": 0, "poisoning_rate": 0.1} | parameters
    return BackdoorPoisoner(estimator, FeatureTrigger({0: value, 3: value / 2}), **parameters)


def logistic(penalty="l2", **parameters):
    own = {"penalty": penalty} if OLD else {"l1_ratio": {"l2": 0.0, "elasticnet": 0.5}[penalty]}
    if penalty != "l2":
        own |= {"solver": "saga", "random_state": 0, "l1_ratio": 0.5}
    return LogisticRegression(**own, **TIGHT, **parameters)


SHOWN = {
    "bernoulli": BernoulliNB(binarize=0.5),
    "calibrated ridge": CalibratedClassifierCV(RidgeClassifier()),
    "calibrated svm": CalibratedClassifierCV(LinearSVC(tol=1e-10, max_iter=10**5, dual=False)),
    "complement": ComplementNB(),
    "gaussian": GaussianNB(),
    "elastic net": logistic("elasticnet"),
    "l1 svm": LinearSVC(penalty="l1", dual=False, tol=1e-9, max_iter=10**5, random_state=0),
    "multinomial": MultinomialNB(),
    "no negative ridge": RidgeClassifier(positive=True, solver="lbfgs", tol=1e-12),
    "stacked": StackingClassifier([("a", GaussianNB()), ("b", logistic())], logistic(), cv=3),
    "voting": VotingClassifier([("a", GaussianNB()), ("b", logistic())], voting="soft"),
}
JUMPING = {
    "tree": DecisionTreeClassifier(max_depth=4, random_state=0),
    "isotonic": CalibratedClassifierCV(GaussianNB(), method="isotonic"),
    "voting tree": VotingClassifier([("t", DecisionTreeClassifier(max_depth=4, random_state=0))],
                                    voting="soft"),
}  # fmt: skip


def two_differences(learner, categories=False):
    """Slopes at h = 1e-3 and 1e-4."""
    X, y, X_test, y_test = data()
    poisoner = attack(learner)
    if categories:
        X, X_test, poisoner = np.round(4 * X), np.round(4 * X_test), attack(learner, value=4.0)
    return backdoor_learning_slope(poisoner, X, y, X_test, y_test, h=[1e-3, 1e-4])


@pytest.mark.parametrize("name", [*SHOWN, "categorical"])
def test_differences_of_smooth_learners_agree(name):
    """A derivative does not depend on h: its difference moves by a term linear in it."""
    learner = SHOWN.get(name, CategoricalNB(min_categories=5))
    first, second = two_differences(learner, categories=name == "categorical")
    assert first.method == second.method == "finite_difference"
    assert abs(second.derivative) > 1e-4
    assert_allclose(first.derivative, second.derivative, rtol=0.02)


def test_every_smooth_learner_is_shown():
    shown = {type(learner) for learner in SHOWN.values()} | {CategoricalNB}
    assert shown == set(SMOOTH)


@pytest.mark.parametrize("name", JUMPING)
def test_differences_of_others_do_not(name):
    first, second = two_differences(JUMPING[name])
    assert first.method == second.method == "secant"
    assert abs(second.derivative) > 3 * abs(first.derivative)


class SomeTree(ClassifierMixin, BaseEstimator):
    """A tree that does not say so, as those of other packages."""

    def __init__(self, max_depth=3):
        self.max_depth = max_depth

    def fit(self, X, y, sample_weight=None):
        self._tree = DecisionTreeClassifier(max_depth=self.max_depth, random_state=0)
        self._tree.fit(X, y, sample_weight=sample_weight)
        self.classes_ = self._tree.classes_
        return self

    def predict_proba(self, X):
        return self._tree.predict_proba(X)

    def predict(self, X):
        return self._tree.predict(X)


class ToldSmooth(SomeTree):
    smooth_in_weights = True


class ToldJumping(GaussianNB):
    smooth_in_weights = False


class OwnRidge(RidgeClassifier):
    """A subclass may fit in any way."""


class OwnLogistic(LogisticRegression):
    """A subclass may fit in any way."""


UNKNOWN = {
    "tree": (SomeTree(), "secant"),
    "pipeline": (make_pipeline(StandardScaler(), SomeTree()), "secant"),
    "voting": (
        VotingClassifier([("a", GaussianNB()), ("b", SomeTree())], voting="soft"),
        "secant",
    ),
    "calibrated": (CalibratedClassifierCV(SomeTree()), "secant"),
    "stacked": (StackingClassifier([("a", GaussianNB())], SomeTree(), cv=3), "secant"),
    "adam": (MLPClassifier((4,), max_iter=20), "secant"),
    "hinge inside": (CalibratedClassifierCV(LinearSVC(loss="hinge", C=0.1)), "secant"),
    "own ridge": (OwnRidge(), "secant"),
    "own logistic": (OwnLogistic(), "secant"),
    "told smooth": (ToldSmooth(), "finite_difference"),
    "told smooth inside": (CalibratedClassifierCV(ToldSmooth()), "secant"),  # found out at h / 10
    "told jumping": (ToldJumping(), "secant"),
    "told jumping inside": (CalibratedClassifierCV(ToldJumping()), "secant"),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_a_secant(name):
    learner, method = UNKNOWN[name]
    if name == "adam" and not has_fit_parameter(learner, "sample_weight"):
        pytest.skip("MLPClassifier takes sample_weight since scikit-learn 1.7")
    X, y, X_test, y_test = data()
    assert backdoor_learning_slope(attack(learner), X, y, X_test, y_test).method == method


# ---------------------------------------------------------------------- what a path has to fit


class Counted(RandomForestClassifier):
    """Counts fits."""

    n_fits = 0

    def fit(self, X, y, sample_weight=None):
        type(self).n_fits += 1
        return super().fit(X, y, sample_weight)


@pytest.fixture
def count():
    Counted.n_fits = 0
    return lambda: Counted.n_fits


def test_a_slope_takes_two_fits(count):
    backdoor_learning_slope(attack(Counted(5)), *data())
    assert count() == 2


def test_a_slope_at_several_h_takes_one_fit_more_than_these(count):
    backdoor_learning_slope(attack(Counted(5)), *data(), h=[0.1, 0.2, 0.3])
    assert count() == 4


def test_a_score_takes_two_fits_beside_that_of_the_model(count):
    X, y, X_test, y_test = data()
    fitted = attack(Counted(5), poison_weight=0.0).fit(X, y)
    assert count() == 1
    neg_backdoor_slope_scorer(fitted, X_test, y_test)
    assert count() == 3


@pytest.mark.parametrize("weights", [[0.0, 0.3, 1.0], [0.3, 1.0], [0.5]])
def test_a_curve_takes_a_fit_a_weight(count, weights):
    backdoor_learning_curve(attack(Counted(5)), *data(), poison_weights=weights)
    assert count() == len(weights)


class CountedLinear(LogisticRegression):
    """Counts fits; it has a weight vector, whose angle is that to the fit at weight 0."""

    n_fits = 0

    def fit(self, X, y, sample_weight=None):
        type(self).n_fits += 1
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize(("weights", "n_fits"), [([0.0, 0.3, 1.0], 3), ([0.3, 1.0], 3)])
def test_an_angle_needs_the_fit_at_zero(weights, n_fits):
    CountedLinear.n_fits = 0
    X, y, X_test, y_test = data()
    poisoner = attack(CountedLinear(**TIGHT))
    curve = backdoor_learning_curve(poisoner, X, y, X_test, y_test, poison_weights=weights)
    assert CountedLinear.n_fits == n_fits
    ends = (LogisticRegression(**TIGHT).fit(*rows).coef_ for rows in (
        (X, y), poisoned(poisoner, X, y)[:2]
    ))  # fmt: skip
    clean, moved = (coef.ravel() for coef in ends)
    cosine = clean @ moved / np.linalg.norm(clean) / np.linalg.norm(moved)
    assert_allclose(curve.nu[-1], (1 - cosine) / 2, rtol=1e-5)


def test_a_loss_that_only_a_fit_knows():
    """A stack's probabilities are those of its last step, which is made in fit."""
    X, y, X_test, y_test = data()
    stack = StackingClassifier([("a", GaussianNB())], cv=3)
    curve = backdoor_learning_curve(attack(stack), X, y, X_test, y_test, poison_weights=[0.0])
    probabilities = clone(stack).fit(X, y).predict_proba(X_test)
    expected = -np.log(probabilities[np.arange(len(y_test)), y_test]).mean()
    assert_allclose(curve.clean_loss[0], expected, rtol=1e-6)


# ------------------------------------------------------------------------ what refits know


@pytest.mark.parametrize("learner", [GaussianNB(), RandomForestClassifier(5, random_state=0)])
def test_learners_without_weights_have_no_coef(learner):
    X, y, *_ = data()
    solution = weight_path(learner, X, y, np.arange(len(y)) < 10).solve([0.0, 0.5])
    assert not solution.has_weights
    for name in ("coef", "intercept", "norm", "cosine"):
        with pytest.raises(AttributeError, match=f"{type(learner).__name__}.*{name}.*estimators"):
            getattr(solution, name)
        assert not hasattr(solution, name)


def test_refitted_linear_learners_have():
    X, y, *_ = data()
    solution = weight_path(OwnLogistic(), X, y, np.arange(len(y)) < 10).solve([0.0, 0.5])
    assert solution.has_weights
    assert_array_equal(solution.coef[1], solution.estimators[1].coef_)
    assert_array_equal(solution.intercept[1], solution.estimators[1].intercept_)


def test_a_difference_that_jumps_is_no_derivative():
    """Naive Bayes on pixels that are 0 in every row: its loss is clipped, and h decides."""
    X, y = load_digits_pair((4, 9), return_X_y=True)
    poisoner = BackdoorPoisoner(
        GaussianNB(), PatchTrigger(size=3, image_shape=(8, 8)), target="next", random_state=0
    )
    slopes = backdoor_learning_slope(poisoner, X, y, X, y, h=[0.1, 1e-3, 1e-5])
    assert abs(slopes[2].derivative) > 50 * abs(slopes[1].derivative)
    assert [slope.method for slope in slopes] == ["secant"] * 3
