"""What is asked of a poisoner, and of test weights, before anything is measured on them."""

import numpy as np
from sklearn.pipeline import Pipeline

from ._compat import BaseSearchCV
from .poisoning import BackdoorPoisoner


def check_is_poisoner(estimator, caller, *, others=""):
    """Raise unless an estimator is a poisoner, and say how to make it one.

    Parameters
    ----------
    estimator : object
        What was passed.
    caller : str
        To which function.
    others : str, default=""
        What else to write where the estimator is a plain classifier: more parameters, advice.
    """
    if isinstance(estimator, BackdoorPoisoner):
        return
    name = (estimator if isinstance(estimator, type) else type(estimator)).__name__
    if isinstance(estimator, Pipeline):
        if isinstance(estimator.steps[-1][1], BackdoorPoisoner):
            raise TypeError(
                f"{caller} got a Pipeline around a BackdoorPoisoner: the trigger would act on"
                " preprocessed samples. Turn it inside out:"
                " BackdoorPoisoner(make_pipeline(..., classifier), trigger, target=...)."
            )
    elif isinstance(estimator, BaseSearchCV):
        if isinstance(estimator.estimator, BackdoorPoisoner):
            raise TypeError(
                f"{caller} got a {name} around a BackdoorPoisoner, and takes the poisoner alone:"
                " pass the best_estimator_ of the fitted search, or the poisoner before it."
            )
        inner = type(estimator.estimator).__name__
        raise TypeError(
            f"{caller} got a {name}, which carries no attack. Put a poisoner into the search,"
            f" {name}(BackdoorPoisoner({inner}(...), trigger, target=...), ...), and pass its"
            " best_estimator_."
        )
    what = "make_pipeline" if isinstance(estimator, Pipeline) else name
    raise TypeError(
        f"{caller} got {name}, which carries no attack. Wrap it:"
        f" BackdoorPoisoner({what}(...), trigger, target=...{others or ')'}."
    )


def weights_of_sources(sample_weight, rows):
    """Weights of the rows of source classes, or None where there are none; not all may be 0."""
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight)[rows]
    if np.any(weights < 0):
        raise ValueError(f"sample_weight must be 0 or more, but {weights.min()} is among them.")
    if not np.any(weights > 0):
        raise ValueError(
            "sample_weight is 0 for every sample of a source class, so attack success and slope"
            " are not defined."
        )
    return weights
