"""Choosing parameters of a learner by accuracy and by how hard it is to backdoor."""

import warnings
from functools import partial
from numbers import Real

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score

from ._compat import Interval, StrOptions, validate_parameter_constraints
from .curves import slope_of_fit
from .metrics import PoisonerScorer

#: The scorer warns where one Newton step on the fit would move theta by more than this.
THETA_TOLERANCE = 0.02


class BackdoorSlopeScorer(PoisonerScorer):
    r"""Score a poisoner by ``accuracy_weight * accuracy - theta``: the larger, the better.

    Accuracy is that of the model without poison on the test fold, theta the backdoor learning
    slope (:func:`~skbackdoor.backdoor_learning_slope`) of the attack on the training fold,
    measured on the triggered samples of the test fold. theta lies in [-1, 1] and positive theta
    is vulnerable, so with ``accuracy_weight=1`` one point of accuracy trades for 0.01 of theta.

    Parameters
    ----------
    accuracy_weight : float, default=1.0
        Worth of accuracy against theta; 0 scores by robustness alone.
    scale : {"per_sample", "total"}, default="per_sample"
        As in :func:`~skbackdoor.backdoor_learning_slope`.

    Warns
    -----
    ConvergenceWarning
        The fit is taken as it is, at the learner's own tolerance. If one Newton step would move
        theta by more than 0.02, lower the learner's `tol`.

    Notes
    -----
    A scorer sees only the test fold: it reads the training fold from the fitted poisoner. Give
    the poisoner ``poison_weight=0.0``; one fitted with another weight is refitted at 0, which
    doubles the cost. A learner without a closed form (a forest, say) is refitted twice to be
    scored. `sample_weight` weighs the test samples in accuracy and slope.

    Examples
    --------
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, PatchTrigger, backdoor_slope_scorer, load_digits_pair)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> probe = BackdoorPoisoner(
    ...     RidgeClassifier(), PatchTrigger(size=2, image_shape=(8, 8)), target="next",
    ...     poison_weight=0.0, random_state=0)
    >>> search = GridSearchCV(
    ...     probe, {"estimator__alpha": [0.1, 1000.0]}, scoring=backdoor_slope_scorer)
    >>> search.fit(X, y).best_params_
    {'estimator__alpha': 1000.0}
    """

    def __init__(self, accuracy_weight=1.0, scale="per_sample"):
        self.accuracy_weight = accuracy_weight
        self.scale = scale

    @property
    def __name__(self):
        return "neg_backdoor_slope" if self.accuracy_weight == 0 else "backdoor_slope"

    def _score(self, poisoner, X, y, sample_weight):
        validate_parameter_constraints(
            {
                "accuracy_weight": [Interval(Real, 0, None, closed="left")],
                "scale": [StrOptions({"per_sample", "total"})],
            },
            self.get_params(),
            caller_name="BackdoorSlopeScorer",
        )
        clean = poisoner.clean_copy()
        slope, after_newton = slope_of_fit(clean, X, y, sample_weight, self.scale)
        if after_newton is not None and abs(after_newton - slope.theta) > THETA_TOLERANCE:
            warnings.warn(
                f"theta={slope.theta:.3f} is that of a fit that is not at its optimum: one Newton"
                f" step would make it {after_newton:.3f}. Lower the tol of"
                f" {type(poisoner.estimator).__name__} (or raise max_iter).",
                ConvergenceWarning,
                stacklevel=2,
            )
        if self.accuracy_weight == 0:
            return -slope.theta
        accuracy = accuracy_score(y, clean.predict(X), sample_weight=sample_weight)
        return float(self.accuracy_weight * accuracy - slope.theta)


backdoor_slope_scorer = BackdoorSlopeScorer()
neg_backdoor_slope_scorer = BackdoorSlopeScorer(accuracy_weight=0.0)


def most_robust(max_accuracy_drop=0.01, *, accuracy="accuracy", robustness="robustness"):
    """The most robust candidate whose accuracy is within a tolerance of the best: a `refit`.

    Of the candidates whose mean test accuracy is at least the best minus `max_accuracy_drop`, the
    one with the largest mean robustness (= -theta) is taken; ties go to higher accuracy, then to
    the first.

    Parameters
    ----------
    max_accuracy_drop : float in [0, 1], default=0.01
        Accuracy that one is ready to give up.
    accuracy, robustness : str, default="accuracy", "robustness"
        Keys of the `scoring` dict.

    Returns
    -------
    refit : callable
        ``refit(cv_results) -> best_index``, picklable, for `GridSearchCV` and its kin.

    Notes
    -----
    With a callable `refit` a search has no `best_score_`, and with several metrics
    ``search.score`` fails: call ``search.best_estimator_.score(X, y)`` and look up
    ``search.cv_results_["mean_test_accuracy"][search.best_index_]``.

    Where the data may be poisoned already, cross-validated accuracy rewards learning that
    backdoor, by up to the poisoning rate. Validate on a small trusted set
    (:class:`~sklearn.model_selection.PredefinedSplit`) or let the tolerance allow for the rate
    that you fear.

    Examples
    --------
    >>> from skbackdoor import most_robust
    >>> choose = most_robust(max_accuracy_drop=0.02)
    >>> choose({"mean_test_accuracy": [0.98, 0.97, 0.90],
    ...         "mean_test_robustness": [-0.9, -0.1, 0.3]})
    1
    """
    validate_parameter_constraints(
        {
            "max_accuracy_drop": [Interval(Real, 0, 1, closed="both")],
            "accuracy": [str],
            "robustness": [str],
        },
        {
            "max_accuracy_drop": max_accuracy_drop,
            "accuracy": accuracy,
            "robustness": robustness,
        },
        caller_name="most_robust",
    )
    return partial(
        _most_robust_index, max_drop=max_accuracy_drop, accuracy=accuracy, robustness=robustness
    )


def _most_robust_index(cv_results, *, max_drop, accuracy, robustness):
    columns = []
    for name in (accuracy, robustness):
        key = f"mean_test_{name}"
        if key not in cv_results:
            known = [k[len("mean_test_") :] for k in cv_results if k.startswith("mean_test_")]
            raise ValueError(
                f"most_robust looks for the metric {name!r}, but the search has {known}. Give"
                f" scoring={{{accuracy!r}: 'accuracy', {robustness!r}:"
                " neg_backdoor_slope_scorer}}."
            )
        columns.append(np.asarray(cv_results[key], dtype=float))
    accuracies, robustnesses = columns
    valid = np.isfinite(accuracies) & np.isfinite(robustnesses)
    if not valid.any():
        raise ValueError(
            "Every candidate has a score that is not a number: all fits or scores failed; run the"
            " search with error_score='raise' to see why."
        )
    near = valid & (accuracies >= accuracies[valid].max() - max_drop - 1e-12)
    rank = sorted(np.flatnonzero(near), key=lambda i: (-robustnesses[i], -accuracies[i], i))
    return int(rank[0])
