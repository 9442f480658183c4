"""Images of three classes, an attack on them, and what a display shows of them."""

import numpy as np

from skbackdoor import BackdoorPoisoner, PatchTrigger, make_backdoor_classification

SHAPE = (3, 4, 4)
X, Y = make_backdoor_classification(120, image_shape=SHAPE, n_classes=3, random_state=0)
X_TRAIN, Y_TRAIN, X_TEST, Y_TEST = X[:90], Y[:90], X[90:], Y[90:]


def attack(estimator, trigger=None, **parameters):
    trigger = PatchTrigger(2, image_shape=SHAPE) if trigger is None else trigger
    parameters = {"target": "next", "poisoning_rate": 0.2, "random_state": 0} | parameters
    return BackdoorPoisoner(estimator, trigger, **parameters)


def shown(axis):
    return np.asarray(axis.images[0].get_array())
