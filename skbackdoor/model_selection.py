"""Choosing parameters of a learner by accuracy and by how hard it is to backdoor; splits."""

from dataclasses import dataclass
from functools import partial
from numbers import Real

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, column_or_1d, indexable

from ._compat import Interval, StrOptions, _safe_indexing, validate_parameter_constraints
from .breakdown import breakdown_of_fit, check_level
from .metrics import PoisonerScorer
from .once import warn_once
from .policy import resolve_targets
from .slope import worst_slope_of_fit


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
    triggers : list of transformers, default=None
        Triggers in place of the poisoner's own: theta is then the worst, the largest, over them.
        All are put on the same victims, and the clean fit serves all of them, so that eight cost
        little more than one. :func:`~skbackdoor.trigger_family` gives a list for a kind of data,
        for those who do not know the attacker's trigger.

    Warns
    -----
    ConvergenceWarning
        The fit is taken as it is, at the learner's own tolerance. If one Newton step would move
        theta by more than 0.02, lower the learner's `tol`. Given once for a search.
    UserWarning
        The trigger changes no test sample, or none as the learner sees it after preprocessing.

    Notes
    -----
    A scorer sees only the test fold: it reads the training fold from the fitted poisoner. Give
    the poisoner ``poison_weight=0.0``; one fitted with another weight is refitted at 0, which
    doubles the cost. A learner without a closed form (a forest, say) is refitted twice to be
    scored, and a Pipeline is fitted once more with steps such as `TargetEncoder` or `PCA`, whose
    `fit_transform` gives other rows than `transform` after `fit`. `sample_weight` weighs the test
    samples in accuracy and slope.

    With placement "append" the model that is scored, and `estimator_` of the best poisoner of a
    search, is the clean model, fitted on all rows given. With "replace" and "supplant" it lacks
    the rows that copies would replace: to deploy a model, fit it anew on all of them,
    ``clone(search.best_estimator_.estimator).fit(X, y)``.

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

    def __init__(self, accuracy_weight=1.0, scale="per_sample", triggers=None):
        self.accuracy_weight = accuracy_weight
        self.scale = scale
        self.triggers = triggers

    @property
    def __name__(self):
        return "neg_backdoor_slope" if self.accuracy_weight == 0 else "backdoor_slope"

    def _score(self, poisoner, X, y, sample_weight):
        validate_parameter_constraints(
            {
                "accuracy_weight": [Interval(Real, 0, None, closed="left")],
                "scale": [StrOptions({"per_sample", "total"})],
                "triggers": [list, tuple, None],
            },
            self.get_params(deep=False),
            caller_name="BackdoorSlopeScorer",
        )
        clean = poisoner.clean_copy()
        if self.triggers is not None and len(self.triggers) == 0:
            raise ValueError("triggers=[] names no trigger; None is the poisoner's own.")
        for trigger in self.triggers or ():
            if not (hasattr(trigger, "fit") and hasattr(trigger, "transform")):
                raise ValueError(
                    f"triggers holds {trigger!r}, which is no trigger: a transformer such as"
                    " PatchTrigger(size=2), or those of trigger_family."
                )
        probes = [clean]
        if self.triggers is not None:
            probes = [clean.with_trigger(trigger) for trigger in self.triggers]
        slope, after_newton = worst_slope_of_fit(probes, X, y, sample_weight, self.scale)
        if after_newton is not None and abs(after_newton - slope.theta) > 0.02:
            fitted, name = clean.estimator_, ""
            while isinstance(fitted, Pipeline):
                name, fitted = f"{name}{fitted.steps[-1][0]}__", fitted.steps[-1][1]
            learner = type(fitted).__name__
            warn_once(
                f"{learner} {clean.classes_.tolist()} {np.shape(X)[1:]} {clean.trigger!r}",
                f"theta={slope.theta:.3f} is that of a fit that is not at its optimum: one Newton"
                f" step would make it {after_newton:.3f}. Lower {name}tol of {learner} (or raise"
                f" {name}max_iter). Other fits of the same search may be as far off.",
                ConvergenceWarning,
                stacklevel=2,
            )
        if self.accuracy_weight == 0:
            return -slope.theta
        accuracy = accuracy_score(y, clean.predict(X), sample_weight=sample_weight)
        return float(self.accuracy_weight * accuracy - slope.theta)


backdoor_slope_scorer = BackdoorSlopeScorer()
neg_backdoor_slope_scorer = BackdoorSlopeScorer(accuracy_weight=0.0)


class BackdoorBreakdownScorer(PoisonerScorer):
    r"""Score a poisoner by its breakdown rate: how much poison the model withstands.

    That of the attack on the training fold (:func:`~skbackdoor.backdoor_breakdown`), measured on
    the triggered samples of the test fold. Where it is censored, since the attack's m of n rows
    do not break the model, the score is m / n and a little more, by theta:
    :math:`\frac mn (1 + 0.01 \frac{1 - \theta}{2})`, so that models which all withstand the
    attack are in the order of their slopes. The poisoner's `poisoning_rate` is therefore the share
    of poison that one fears, or somewhat more.

    Parameters
    ----------
    level : float in (0, 1], default=0.5
        Excess success from which on the backdoor counts as working.

    Notes
    -----
    As with :class:`BackdoorSlopeScorer` the poisoner's `poison_weight` should be 0. The rate is
    that of the exact optimum, where the learner has a path; a learner without one is refitted
    some twenty times to be scored. The path is followed as far as the rate, no farther; that of a
    smooth linear model is found by root finding to 1e-3 of it: up or down through eight weights
    (2e-4 to 1) from where the tangent at 0 puts it, then between two of them. A success that
    comes and goes below the weights looked at, or between two of them, is missed. A theta in
    place of the rate is that of the fit after one Newton step.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import (
    ...     BackdoorBreakdownScorer, BackdoorPoisoner, PatchTrigger, load_digits_pair,
    ...     most_robust)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> probe = BackdoorPoisoner(
    ...     SVC(), PatchTrigger(size=2, image_shape=(8, 8)), target="next", poisoning_rate=0.05,
    ...     poison_weight=0.0, random_state=0)
    >>> search = GridSearchCV(
    ...     probe, {"estimator__C": [0.1, 1.0, 10.0]}, cv=3,
    ...     scoring={"accuracy": "accuracy", "breakdown": BackdoorBreakdownScorer()},
    ...     refit=most_robust(max_accuracy_drop=0.05, robustness="breakdown"))
    >>> search.fit(X, y).best_params_
    {'estimator__C': 0.1}
    """

    __name__ = "backdoor_breakdown"

    def __init__(self, level=0.5):
        self.level = level

    def _score(self, poisoner, X, y, sample_weight):
        check_level(self.level, "BackdoorBreakdownScorer")
        rate, theta = breakdown_of_fit(poisoner.clean_copy(), X, y, sample_weight, self.level)
        return rate if theta is None else rate * (1.0 + 0.005 * (1.0 - theta))


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
    that you fear, and take a trigger that is not in the data: of a backdoor that the model has
    learned already theta is small.

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


@dataclass(frozen=True, eq=False)
class AttackSplit:
    """Result of :func:`~skbackdoor.attack_split`.

    Attributes
    ----------
    X_poison, y_poison : array-likes
        The poison-set: training data, for the poisoner to poison and fit on.
    X_clean, y_clean : array-likes
        The clean-set, of all classes: for clean accuracy, or for retraining.
    X_adversarial, y_adversarial : array-likes
        The adversarial test set with its true labels, of source classes only.
    """

    X_poison: object
    y_poison: object
    X_clean: object
    y_clean: object
    X_adversarial: object
    y_adversarial: object


def attack_split(
    X,
    y,
    *,
    target,
    source_classes=None,
    clean_size=0.19,
    adversarial_size=0.05,
    random_state=None,
):
    """Split data in three: poison-set, clean-set and adversarial test set.

    It is the split of Truong et al., *Systematic evaluation of backdoor data poisoning attacks on
    image classifiers* (2020), section 3: 76 % are poisoned and trained on, 19 % stay clean, and
    5 %, none of them of the target class, are to be triggered, all of them. Classes are in
    proportion to what there is, but where a part or a class is too small for that.

    Parameters
    ----------
    X : array-like, DataFrame, sparse matrix or list of shape (n_samples, ...)
        Clean data.
    y : array-like of shape (n_samples,)
        Their labels.
    target : label, "next" or dict
        The attacker's label, as in :class:`~skbackdoor.BackdoorPoisoner`.
    source_classes : list of labels or None, default=None
        The classes that are attacked, as there: the adversarial test set holds no other.
    clean_size, adversarial_size : float in (0, 1), default=0.19, 0.05
        Shares of all samples.
    random_state : int, RandomState instance or None, default=None
        Draws the parts.

    Returns
    -------
    split : AttackSplit
        Nothing in it is triggered: the poisoner does that where it fits and where it is scored.

    Raises
    ------
    ValueError
        For shares that leave nothing to train on, fewer samples of source classes than the
        adversarial test set needs.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, PatchTrigger, attack_split, attack_success_rate_scorer,
    ...     load_digits_pair)
    >>> X, y = load_digits_pair((4, 9), return_X_y=True)
    >>> split = attack_split(X, y, target=9, random_state=0)
    >>> [len(part) for part in (split.X_poison, split.X_clean, split.X_adversarial)]
    [274, 69, 18]
    >>> poisoner = BackdoorPoisoner(
    ...     SVC(C=10), PatchTrigger(size=2, image_shape=(8, 8)), target=9, placement="supplant",
    ...     random_state=0).fit(split.X_poison, split.y_poison)
    >>> poisoner.score(split.X_clean, split.y_clean) > 0.95
    True
    >>> attack_success_rate_scorer(poisoner, split.X_adversarial, split.y_adversarial) > 0.9
    True
    """
    X, y = indexable(X, y)
    labels = column_or_1d(y, warn=True)
    n_samples = len(labels)
    for name, size in (("clean_size", clean_size), ("adversarial_size", adversarial_size)):
        if not (isinstance(size, Real) and 0 < size < 1):
            raise ValueError(f"{name}={size!r} must be a share between 0 and 1.")
    if clean_size + adversarial_size >= 1:
        raise ValueError(
            f"clean_size={clean_size} and adversarial_size={adversarial_size} leave no sample to"
            " train on; their sum must be below 1."
        )
    classes, y_index = np.unique(labels, return_inverse=True)
    target_of = resolve_targets(target, source_classes, classes)
    sources = np.flatnonzero(target_of[y_index] >= 0)
    n_adversarial, n_clean = (
        max(1, round(size * n_samples)) for size in (adversarial_size, clean_size)
    )
    if n_adversarial >= len(sources):
        raise ValueError(
            f"adversarial_size={adversarial_size} of {n_samples} samples is {n_adversarial}, but"
            f" only {len(sources)} are of a source class {classes[target_of >= 0].tolist()}; give"
            " a smaller one."
        )
    rng = check_random_state(random_state)
    left, adversarial = _stratified_split(sources, y_index, n_adversarial, rng)
    rest = np.sort(np.concatenate([left, np.setdiff1d(np.arange(n_samples), sources)]))
    poison, clean = _stratified_split(rest, y_index, n_clean, rng)
    parts = [
        _safe_indexing(data, rows) for rows in (poison, clean, adversarial) for data in (X, y)
    ]
    return AttackSplit(*parts)


def _stratified_split(rows, y_index, test_size, random_state):
    """Split rows in two, in proportion to classes; where one is too rare for that, at random."""
    classes, counts = np.unique(y_index[rows], return_counts=True)
    possible = counts.min() > 1 and len(classes) <= min(test_size, len(rows) - test_size)
    stratify = y_index[rows] if possible else None
    first, second = train_test_split(
        rows, test_size=test_size, stratify=stratify, random_state=random_state
    )
    return np.sort(first), np.sort(second)
