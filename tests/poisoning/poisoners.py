"""Data and poisoners for tests of BackdoorPoisoner."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from skbackdoor import BackdoorPoisoner, FeatureTrigger, make_backdoor_classification

TRIGGER = FeatureTrigger({0: 5.0})
X3, Y3 = make_backdoor_classification(60, 8, n_classes=3, random_state=0)
X2, Y2 = make_backdoor_classification(60, 8, n_classes=2, class_sep=0.4, random_state=1)
WEIGHT = np.random.default_rng(0).uniform(0.2, 3.0, 60)
PATCH = {"image_shape": (2, 4)}


class Recorder(ClassifierMixin, BaseEstimator):
    """Keeps what it is fitted on; predicts the first class."""

    def __init__(self, class_weight=None):
        self.class_weight = class_weight

    def fit(self, X, y, sample_weight=None):
        self.seen_ = X, np.asarray(y), sample_weight
        self.class_weight_ = self.class_weight
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def attack(estimator=None, trigger=TRIGGER, **parameters):
    parameters = {"target": "next", "random_state": 0} | parameters
    return BackdoorPoisoner(Recorder() if estimator is None else estimator, trigger, **parameters)
