"""Poisoners of weight 0, as a search scores them, and their data."""

import numpy as np
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import RidgeClassifier

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    make_backdoor_classification,
    neg_backdoor_slope_scorer,
)

X, Y = make_backdoor_classification(160, 10, class_sep=0.6, random_state=0)
TRAIN, TEST = (X[:100], Y[:100]), (X[100:], Y[100:])
WEIGHT = np.random.default_rng(0).uniform(0.2, 4, 100)
BOTH = {"accuracy": "accuracy", "robustness": neg_backdoor_slope_scorer}
ALPHAS = {"estimator__alpha": [0.1, 10.0, 1000.0]}


def probe(estimator=None, **parameters):
    estimator = RidgeClassifier() if estimator is None else estimator
    parameters = {
        "target": "next", "random_state": 0, "poisoning_rate": 0.15, "poison_weight": 0.0,
    } | parameters  # fmt: skip
    return BackdoorPoisoner(estimator, FeatureTrigger({9: 1.0}), **parameters)
