"""Training rows for tests of paths, the weights and learners these are looked at with."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import sklearn
from attacks import data
from numpy.testing import assert_allclose
from reference import Refit
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC, LinearSVC

from skbackdoor import Attack, FeatureTrigger, weight_path

#: Refits may stop early, and say so; what is under test may not.
CONVERGED = pytest.mark.filterwarnings(
    "error::sklearn.exceptions.ConvergenceWarning",
    "ignore:(lbfgs|Liblinear|newton-cg|The max_iter)",
    "ignore::FutureWarning",
)
SIX_DECADES = [1e-3, 0.03, 1.0, 30.0, 1e3]
WEIGHTS = np.array([0.0, 1e-6, 1e-3, 0.03, 0.1, 0.37, 0.5, 0.9, 1.0])
BETWEEN = np.array([0.0, 1e-3, 0.23, 1.0])
SKLEARN = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
EVERY = {
    "ridge": RidgeClassifier(),
    "logistic": LogisticRegression(),
    "liblinear": LogisticRegression(solver="liblinear"),
    "hinge": LinearSVC(loss="hinge"),
    "squared hinge": LinearSVC(),
    "svc": SVC(gamma=0.1),
    "svc linear": SVC(kernel="linear"),
    "refit": GaussianNB(),
}


@dataclass(frozen=True)
class Rows:
    """Training rows, clean and poison in one another's midst, and test rows."""

    X: np.ndarray
    y: np.ndarray
    is_poison: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    def path(self, estimator, **options):
        return weight_path(estimator, self.X, self.y, self.is_poison, **options)

    def reference(self, estimator, sample_weight=None):
        return Refit(estimator, self.X, self.y, self.is_poison, sample_weight)

    @property
    def order(self):
        """Clean rows, then poison: the order of dual coefficients."""
        return clean_first(self.is_poison)


def clean_first(is_poison):
    return np.argsort(is_poison, kind="stable")


@cache
def digits(*labels, n_clean=100, n_poison=12, n_test=30):
    """Some digits, 64 features in [0, 1] of which some are 0 everywhere; a corner of poison rows
    is white and their label is the next one."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(len(labels))
    rows = rng.permutation(np.flatnonzero(np.isin(y, labels)))[: n_clean + n_poison + n_test]
    X, y = X[rows] / 16, y[rows]
    n_train = n_clean + n_poison
    is_poison = np.zeros(n_train, bool)
    is_poison[rng.permutation(n_train)[:n_poison]] = True
    poison = np.flatnonzero(is_poison)
    X[np.ix_(poison, [54, 55, 62, 63])] = 1.0
    y[poison] = np.take(labels, (np.searchsorted(labels, y[poison]) + 1) % len(labels))
    return Rows(X[:n_train], y[:n_train], is_poison, X[n_train:], y[n_train:])


@cache
def ten():
    return digits(*range(10), n_clean=250, n_poison=25)


@cache
def numbers(n_classes=2, n_clean=60, n_poison=8, d=6):
    """Overlapping normal clouds."""
    rng = np.random.default_rng(7)
    n = n_clean + n_poison
    y = rng.integers(n_classes, size=n + 25)
    X = rng.normal(size=(n + 25, d)) + 0.8 * rng.normal(size=(n_classes, d))[y]
    is_poison = np.zeros(n, bool)
    is_poison[rng.permutation(n)[:n_poison]] = True
    X[:n][is_poison, 0] += 3.0
    y[:n][is_poison] = 1
    return Rows(X[:n], y[:n], is_poison, X[n:], y[n:])


def skewed_weights(rows, zeros=False):
    values = [0.0, 0.3, 1.0, 2.5] if zeros else [0.3, 1.0, 2.5]
    return np.random.default_rng(3).choice(values, len(rows.y))


def assert_close(actual, expected, rtol):
    """To `rtol` of the largest expected number."""
    expected = np.asarray(expected, float)
    assert_allclose(actual, expected, rtol=0, atol=rtol * np.abs(expected).max())


POISON = Attack(FeatureTrigger({9: 1.0}), target="next", poisoning_rate=0.15, random_state=0)


def poisoned(n_classes=2):
    """Rows in any order, some of them poison."""
    X, y, *_ = data(n_classes)
    X_all, y_all, is_poison = POISON.fit(X, y).poison(X, y)
    order = np.random.default_rng(0).permutation(len(y_all))
    return X_all[order], y_all[order], is_poison[order]
