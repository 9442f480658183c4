"""The groups of a detector, proven: what their rows share, put on held-out rows."""

import warnings
from functools import cached_property

import numpy as np
from scipy.stats import beta
from sklearn.base import clone

from .._compat import _safe_indexing
from ..triggers import MaskTrigger
from .report import AuditGroup

#: A group is poison if the lower end of its success is so far above the base rate.
CLEAR = 0.3
#: So much of the mean distance of two rows may a trigger move a row, to be one.
MOVED = 0.6
#: Suspects that are shown, and their least score: below it natural groups are common.
MOST_SUSPECTS, SCORE = 8, 0.45


def fitted_on(estimator, X, y, rows):
    """A clone fitted on some rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of iterations: what it learned is measured
        return clone(estimator).fit(_safe_indexing(X, rows), y[rows])


class Prover:
    """A learner that takes in backdoors easily, fitted when it is first asked.

    A classifier that does not obey what a group shares says nothing of the data.

    Parameters
    ----------
    estimator : classifier
        Not fitted.
    X, y : array-like, ndarray
    rows : ndarray of int
        Rows to fit it on.
    """

    def __init__(self, estimator, X, y, rows):
        self.estimator, self.data = estimator, (X, y, rows)

    @cached_property
    def model(self):
        """The fitted learner."""
        return fitted_on(self.estimator, *self.data)


def shown_groups(detector):
    """The groups of a detector that an audit shows: poison, and the surer suspects."""
    suspects = [g for g in detector.groups_ if g.verdict != "poison" and g.score >= SCORE]
    return [g for g in detector.groups_ if g.verdict == "poison"] + suspects[:MOST_SUSPECTS]


def proven_groups(detector, flagged, model, prover, y, X_clean, y_clean, notes):
    """The detector's groups with what their triggers do to the classifier."""
    found, strong = [], shown_groups(detector)
    if weaker := len(detector.groups_) - len(strong):
        notes.append(
            f"{weaker} weaker groups are not shown, and their rows count as clean: clean data have"
            " such."
        )
    for group in strong:
        trigger, success, why = None, None, ""
        try:
            trigger = group.trigger()
            success = group.success(model, X_clean, y_clean)
        except ValueError as error:
            why = str(error)
        interval, verdict = (np.nan, np.nan), "suspect"
        if success is not None:
            interval = confidence_interval(success.attack_success_rate, success.n_samples)
            works = interval[0] >= success.base_rate + CLEAR
            verdict = "poison" if works and group.verdict == "poison" else "suspect"
            share = (
                f"What its rows share sends {success.attack_success_rate:.0%} of"
                f" {success.n_samples} held-out rows of other classes to"
                f" {group.label!s} ({success.base_rate:.0%} without it)"
            )
            if replaces_content(trigger, X_clean):
                verdict = "suspect"
                why = f"{share}, but it changes them nearly as much as another row would."
            elif verdict == "poison":
                why = (
                    f"{share}. Its rows rightly have their label: a clean-label attack."
                    if group.clean_label
                    else f"{share}, and without it {group.flip:.0%} of its rows lose the label."
                )
            elif group.verdict == "poison":
                proof = group.success(prover.model, X_clean, y_clean)
                ends = confidence_interval(proof.attack_success_rate, proof.n_samples)
                name = type(prover.model.steps[-1][1]).__name__
                why = (
                    f"{share}: this classifier hardly obeys it. With a {name} it is"
                    f" {proof.attack_success_rate:.0%} ({proof.base_rate:.0%} without it)."
                )
                if ends[0] >= proof.base_rate + CLEAR:
                    verdict = "poison"
            else:
                why = f"{share}; the group may be natural."
        found.append((group, trigger, success, interval, verdict, why))
    poison = [row for row in found if row[4] == "poison"]
    suspects = [row for row in found if row[4] == "suspect"]
    made = []
    taken = np.concatenate([row[0].indices for row in found]) if found else np.zeros(0, int)
    more = np.setdiff1d(np.flatnonzero(flagged), taken)
    labels = [row[0].label for row in poison]
    for number, (group, trigger, success, interval, verdict, why) in enumerate(
        poison + suspects, start=1
    ):
        indices = group.indices
        if verdict == "poison" and labels.count(group.label) == 1:
            indices = np.union1d(indices, more[y[more] == group.label])
        made.append(
            AuditGroup(
                number=number,
                label=group.label,
                indices=np.sort(indices),
                verdict=verdict,
                reason=why,
                rule=group.rule,
                trigger=trigger,
                success=np.nan if success is None else success.attack_success_rate,
                interval=interval,
                base_rate=np.nan if success is None else success.base_rate,
                n_samples=0 if success is None else success.n_samples,
                group=group,
            )
        )
    return tuple(made)


def replaces_content(trigger, X):
    """Whether a trigger moves rows so far that they are hardly the same rows.

    Parameters
    ----------
    trigger : fitted transformer
    X : array-like of shape (n_samples, ...)
        Rows without it.

    Returns
    -------
    replaces : bool
        False for rules of tables and texts, which change a column or some words.
    """
    if not isinstance(trigger, MaskTrigger):
        return False
    rows = np.asarray(X, dtype=float).reshape(len(X), -1)
    changed = np.asarray(trigger.transform(X), dtype=float).reshape(rows.shape)
    other = np.roll(np.random.RandomState(0).permutation(len(rows)), 1)
    between = np.abs(rows[other] - rows[np.roll(other, 1)]).mean()
    return bool(np.abs(changed - rows).mean() > MOVED * between)


def confidence_interval(share, n, level=0.95):
    """Interval of Clopper and Pearson for a share of n samples.

    Parameters
    ----------
    share : float
    n : int
    level : float, default=0.95

    Returns
    -------
    low, high : float
    """
    k, tail = round(share * n), (1 - level) / 2
    low = 0.0 if k == 0 else float(beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(1 - tail, k + 1, n - k))
    return low, high
