"""Fits at poison weights and losses of single samples, by hand."""

from itertools import combinations

import numpy as np
from attacks import poisoned
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC, LinearSVC

BETAS = [0.0, 0.05, 0.4, 1.0]


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


# -- Losses, as the objectives say ------------------------------------------------------------


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
