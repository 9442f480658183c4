"""Triggers that no learner can see come with a warning."""

import warnings

import numpy as np
import pandas as pd
import pytest
from attacks import TRIGGER, attack, data
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from skbackdoor import (
    FeatureTrigger,
    FunctionTrigger,
    TokenTrigger,
    backdoor_learning_curve,
    backdoor_learning_slope,
    backdoor_slope_scorer,
)


def turned(X):
    """The first nine columns in another basis, with what rounding leaves of the tenth."""
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))[0]
    return (X @ Q) @ Q.T[:, :9]


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


@pytest.mark.parametrize("case", list(unseen()), ids=lambda case: case[0])
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
