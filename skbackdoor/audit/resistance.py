"""How much poison it would take: breakdown rates of a classifier and of others like it."""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC, LinearSVC

from .._compat import _safe_indexing
from ..breakdown import backdoor_breakdown
from ..poisoning import BackdoorPoisoner
from ..progress import progress
from ..triggers import Quantile, trigger_family
from .changes import value_range
from .report import Withstood

#: Rows that each poisoned model is fitted on, and triggers of the standard family that are tried.
ROWS, TRIGGERS = 500, 3
#: Where the learner is refitted with more and more poisoned rows instead: trees and neighbours
#: count rows, whatever these weigh, so that no path of weights says how many rows it takes.
REFIT_TRIGGERS = 1
#: Refits end where the rates on the two sides are within this factor.
CLOSE = 1.25
#: Share of poison that is looked at, at most; excess success at which a backdoor works, and loss
#: of accuracy at which a model has collapsed, as in :func:`backdoor_breakdown`.
MOST_POISON, LEVEL, DROP = 0.1, 0.5, 0.05
#: Learners whose path of poison weights is exact.
EXACT = SVC, LinearSVC, LogisticRegression, RidgeClassifier


def resistance(estimator, kind, X, y, rows, X_test, y_test, image_shape, n_jobs, rng, notes):
    """Breakdown rates for the standard family of triggers, beside other regularisations.

    Parameters
    ----------
    estimator : classifier
        Not fitted.
    kind : str
        What rows are.
    X, y : array-like of shape (n_samples, ...), ndarray of shape (n_samples,)
    rows : ndarray of int
        Rows in no group, which the models are fitted on.
    X_test, y_test : array-like, ndarray
        Clean rows that success is of.
    image_shape : tuple or None
        Of flat images.
    n_jobs : int or None
    rng : RandomState
    notes : list of str
        What could not be done is added.

    Returns
    -------
    withstood : tuple of Withstood
        One a setting and trigger.
    """
    learner = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    exact = type(learner) in EXACT
    rows = rng.permutation(rows)[:ROWS]
    some = np.arange(min(len(y_test), 400))
    X_test, y_test = _safe_indexing(X_test, some), np.asarray(y_test)[some]
    X_train, y_train = _safe_indexing(X, rows), y[rows]
    classes, counts = np.unique(y_train, return_counts=True)
    if len(classes) < len(np.unique(y)) or not np.isin(y_test, classes).all():
        notes.append("How much poison it would take was not measured: too few rows of a class.")
        return ()
    try:
        n_triggers = (2 if kind == "text" else TRIGGERS) if exact else REFIT_TRIGGERS
        triggers = _triggers(kind, X_train, image_shape)[:n_triggers]
        settings = _settings(estimator, learner) if exact else [(estimator, "as it is", True, ())]
        return tuple(
            _measured(setting, trigger, classes[np.argmin(counts)], n_jobs,
                      (X_train, y_train, X_test, y_test))
            for setting, trigger in progress(
                [(setting, trigger) for setting in settings for trigger in triggers],
                len(settings) * len(triggers),
                "breakdown rates",
            )
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        notes.append(f"How much poison it would take was not measured: {error}")
        return ()


def _triggers(kind, X, image_shape):
    if kind == "image":
        low, high = value_range(np.asarray(X))
        return trigger_family("image", image_shape=image_shape, value_range=(low, high))
    return trigger_family("text" if kind == "text" else "table", X)


def _settings(estimator, learner):
    """The classifier itself, and with a tenth and a hundredth of the C, or ten times the alpha."""
    name = "alpha" if isinstance(learner, RidgeClassifier) else "C"
    path = f"{estimator.steps[-1][0]}__{name}" if isinstance(estimator, Pipeline) else name
    own = getattr(learner, name)
    factors = (1, 10, 100) if name == "alpha" else (1, 0.1, 0.01)
    return [
        (
            clone(estimator).set_params(**{path: own * f}),
            f"{name} = {own * f:g}",
            f == 1,
            ((path, float(own * f)),),
        )
        for f in factors
    ]


def _measured(setting, trigger, target, n_jobs, data):
    estimator, name, chosen, parameters = setting
    exact = type(estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator) in EXACT
    poisoner = BackdoorPoisoner(
        estimator, trigger, target=target, poisoning_rate=MOST_POISON, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        if exact:
            found = backdoor_breakdown(poisoner, *data, n_jobs=n_jobs)
        else:
            found = _by_rows(poisoner, *data)
    return Withstood(
        setting=name,
        chosen=chosen,
        trigger=trigger_name(trigger),
        label=target,
        base_rate=float(found.base_rate),
        rate=float(found.rate),
        censored=bool(found.censored),
        collapse_rate=float(found.collapse_rate),
        collapse_censored=bool(found.collapse_censored),
        accuracy=float(found.clean_accuracy),
        parameters=parameters,
    )


@dataclass(frozen=True)
class _ByRows:
    """What :func:`backdoor_breakdown` says, by refits with so many poisoned rows."""

    rate: float
    censored: bool
    base_rate: float
    clean_accuracy: float
    collapse_rate: float
    collapse_censored: bool


def _by_rows(poisoner, X, y, X_test, y_test):
    """The least poisoned rows that give a working backdoor, by refits with whole ones.

    Success is taken to grow with them; the rate is that of the fewest that were tried and
    sufficed, at most 1.25 times or one row above the most that did not.
    """

    def outcome(k):
        share = {"poisoning_rate": k / len(y)} if k else {"poison_weight": 0.0}
        attack = clone(poisoner).set_params(**share).fit(X, y)
        triggered, labels, _ = attack.triggered_test(X_test, y_test)
        accuracy = np.mean(attack.estimator_.predict(X_test) == y_test)
        return float(np.mean(attack.predict(triggered) == labels)), float(accuracy)

    base, accuracy = outcome(0)
    low, high = 0, max(1, int(poisoner.poisoning_rate * len(y)))
    most, collapsed = high, []

    def works(k):
        success, left = outcome(k)
        if left < accuracy - DROP:
            collapsed.append(k)
        return success - base >= LEVEL * (1.0 - base)

    censored = base == 1.0 or not works(high)
    while not censored and high > max(CLOSE * low, low + 1):
        k = int(np.sqrt(max(low, 1) * high))
        k = min(max(k, low + 1), high - 1)
        low, high = (low, k) if works(k) else (k, high)
    return _ByRows(
        rate=high / len(y),
        censored=censored,
        base_rate=base,
        clean_accuracy=accuracy,
        collapse_rate=min(collapsed, default=most) / len(y),
        collapse_censored=not collapsed,
    )


def trigger_name(trigger):
    """A trigger that is not fitted, in a few words."""
    kind = type(trigger).__name__.removesuffix("Trigger").lower()
    if kind == "patch":
        return f"{trigger.position} patch, {trigger.size:.0%} of the side"
    if kind == "feature":
        return " and ".join(
            f"{name if isinstance(name, str) else f'column {name}'} = {_value_name(value)}"
            for name, value in trigger.features.items()
        )
    if kind == "token":
        return f"the word {trigger.token!r}"
    return kind


def _value_name(value):
    if not isinstance(value, Quantile):
        return str(value)
    ends = {0.0: "its smallest value", 1.0: "its largest value"}
    return ends.get(value.q, f"its {value.q:.0%} quantile")
