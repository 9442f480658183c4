"""Attacks for tests."""

from skbackdoor import Attack, BackdoorPoisoner, FeatureTrigger, make_backdoor_classification

TRIGGER = FeatureTrigger({9: 1.0})


def data(n_classes=2, n_train=70, n_test=40):
    X, y = make_backdoor_classification(
        n_train + n_test, 10, n_classes=n_classes, class_sep=0.5, random_state=0
    )
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:]


def attack(estimator, trigger=TRIGGER, **parameters):
    parameters = {"target": "next", "random_state": 0, "poisoning_rate": 0.15} | parameters
    return BackdoorPoisoner(estimator, trigger, **parameters)


def attack_of(poisoner):
    """The attack of a poisoner's parameters, without its learner."""
    parameters = poisoner.get_params(deep=False)
    del parameters["estimator"], parameters["poison_weight"]
    return Attack(**parameters)


def poisoned(poisoner, X, y):
    """The poisoned training data of a poisoner: X, y and which rows are poison."""
    return attack_of(poisoner).fit(X, y).poison(X, y)
