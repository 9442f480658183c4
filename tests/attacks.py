"""Attacks for tests."""

from skbackdoor import Attack


def attack_of(poisoner):
    """The attack of a poisoner's parameters, without its learner."""
    parameters = poisoner.get_params(deep=False)
    del parameters["estimator"], parameters["poison_weight"]
    return Attack(**parameters)


def poisoned(poisoner, X, y):
    """The poisoned training data of a poisoner: X, y and which rows are poison."""
    return attack_of(poisoner).fit(X, y).poison(X, y)
