"""When, along a path, samples get a label and lose it: from the zeros of decision values."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np


@dataclass(frozen=True, eq=False)
class SignChanges:
    """Where functions of the poison weight, one a sample, go from one side of 0 to the other.

    Attributes
    ----------
    above : ndarray of bool of shape (n_samples,)
        Whether they are above 0 at beta = 0.
    rows : ndarray of int of shape (n_changes,)
        Of which sample each change is.
    weights : ndarray of shape (n_changes,)
        The poison weight at which it comes; increasing within a sample.
    """

    above: np.ndarray
    rows: np.ndarray
    weights: np.ndarray

    @classmethod
    def between(cls, beta, F):
        """Those of functions that are linear between some weights.

        Parameters
        ----------
        beta : ndarray of shape (n_weights,)
            Weights, none smaller than the one before.
        F : ndarray of shape (n_weights, n_samples)
            Values there.

        Returns
        -------
        changes : SignChanges
        """
        above = F > 0
        k, f = np.nonzero(above[1:] != above[:-1])
        low, high = F[k, f], F[k + 1, f]
        return cls(above[0], f, beta[k] + low / (low - high) * (beta[k + 1] - beta[k]))

    def rises(self):
        """Whether each change goes above 0; they alternate, from what was at beta = 0 on."""
        order = np.lexsort((self.weights, self.rows))
        own, rises = self.rows[order], np.empty(len(order), bool)
        turn = np.arange(len(own)) - np.searchsorted(own, own)
        rises[order] = self.above[own] == (turn % 2 == 1)
        return rises


@dataclass(frozen=True, eq=False)
class LabelSwitches:
    """At which poison weights samples get and lose a label.

    Attributes
    ----------
    held : ndarray of bool of shape (n_samples,)
        Whether they have it at beta = 0.
    rows : ndarray of int of shape (n_switches,)
        Of which sample a switch is: from then on it has the label if it had not, and has not if
        it had.
    weights : ndarray of shape (n_switches,)
        When, in increasing order.
    method : str
        How the path was followed, as in :class:`Solution`.
    error : float
        How far a weight may be off, as a share of it.
    """

    held: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    method: str
    error: float

    def take(self, some):
        """Those of some samples, a slice."""
        start, stop, _ = some.indices(len(self.held))
        inside = (self.rows >= start) & (self.rows < stop)
        return LabelSwitches(
            self.held[some],
            self.rows[inside] - start,
            self.weights[inside],
            self.method,
            self.error,
        )

    def first(self):
        """The smallest weight at which each sample has the label; inf where it never has."""
        first = np.where(self.held, 0.0, np.inf)
        for row, weight in zip(self.rows[::-1], self.weights[::-1], strict=True):
            if not self.held[row]:
                first[row] = weight  # the earliest comes last
        return first

    def shares(self, sample_weight=None):
        """The share of samples that have the label, as a step function of the weight.

        Returns
        -------
        weights : ndarray of shape (n_steps,)
            0, and where it changes; increasing.
        shares : ndarray of shape (n_steps,)
            From each of these on.
        """
        weight = np.ones(len(self.held)) if sample_weight is None else sample_weight
        state, steps = self.held.copy(), np.empty(len(self.rows))
        for i, row in enumerate(self.rows):
            state[row] ^= True
            steps[i] = weight[row] if state[row] else -weight[row]
        shares = np.cumsum(np.append(weight[self.held].sum(), steps)) / weight.sum()
        weights = np.append(0.0, self.weights)
        last = np.append(weights[1:] > weights[:-1], True)  # of those at the same weight
        return weights[last], shares[last]


def margins(F, y):
    """By how much samples have their labels, where the largest decision value gives it.

    Parameters
    ----------
    F : ndarray of shape (..., n_samples, n_outputs)
        Decision values; one output for two classes.
    y : ndarray of int of shape (n_samples,)
        Index of each sample's label.

    Returns
    -------
    G : ndarray of shape (..., n_samples, n_comparisons)
        A sample has its label while all of its row is above 0. It is linear in F.
    """
    if F.shape[-1] == 1:
        return F * np.where(y == 1, 1.0, -1.0)[:, None]
    others = np.array([np.delete(np.arange(F.shape[-1]), k) for k in range(F.shape[-1])])[y]
    own = np.take_along_axis(F, np.broadcast_to(y[:, None], (*F.shape[:-1], 1)), axis=-1)
    others = np.broadcast_to(others, (*F.shape[:-1], F.shape[-1] - 1))
    return own - np.take_along_axis(F, others, axis=-1)


def by_comparisons(owners, changes, method, error):
    """Samples have their label while every comparison of theirs is above 0.

    Parameters
    ----------
    owners : ndarray of int of shape (n_comparisons,)
        The sample that each comparison belongs to; every sample has one.
    changes : SignChanges
        Of the comparisons.
    method, error
        As in :class:`LabelSwitches`.

    Returns
    -------
    switches : LabelSwitches
    """
    below = np.bincount(owners, ~changes.above, minlength=owners.max() + 1).astype(int)
    held, kept = below == 0, []
    rows, rises = owners[changes.rows], changes.rises()
    for i in np.argsort(changes.weights, kind="stable"):
        row = rows[i]
        before = below[row]
        below[row] += -1 if rises[i] else 1
        if (before == 0) != (below[row] == 0):
            kept.append(i)
    kept = np.array(kept, int)
    return _without_moments(held, rows[kept], changes.weights[kept], method, error)


def by_votes(labels, comparisons, n_classes, method, error):
    """Samples have their label while it wins the votes of all pairs of classes, as in `SVC`.

    Parameters
    ----------
    labels : ndarray of int of shape (n_samples,)
        Index of each sample's label.
    comparisons : iterable of SignChanges
        Of each pair of classes, in the order of :func:`itertools.combinations`; above 0 is a
        vote for the first.
    n_classes : int
    method, error
        As in :class:`LabelSwitches`.

    Returns
    -------
    switches : LabelSwitches
    """
    n_samples = len(labels)
    votes, everyone = np.zeros((n_samples, n_classes), int), np.arange(n_samples)
    rows, weights, winners, losers = [], [], [], []
    for (i, j), changes in zip(combinations(range(n_classes), 2), comparisons, strict=True):
        votes[everyone, np.where(changes.above, i, j)] += 1
        rises = changes.rises()
        rows.append(changes.rows)
        weights.append(changes.weights)
        winners.append(np.where(rises, i, j))
        losers.append(np.where(rises, j, i))
    rows, weights, winners, losers = map(np.concatenate, (rows, weights, winners, losers))
    held = votes.argmax(axis=1) == labels
    state, kept = held.copy(), []
    for i in np.argsort(weights, kind="stable"):
        row = rows[i]
        votes[row, winners[i]] += 1
        votes[row, losers[i]] -= 1
        if state[row] != (votes[row].argmax() == labels[row]):
            state[row] ^= True
            kept.append(i)
    kept = np.array(kept, int)
    return _without_moments(held, rows[kept], weights[kept], method, error)


def _without_moments(held, rows, weights, method, error):
    """A label that is got and lost, or lost and got, at one and the same weight was never."""
    last, gone = {}, np.zeros(len(rows), bool)
    for i, (row, weight) in enumerate(zip(rows.tolist(), weights.tolist(), strict=True)):
        before = last.pop(row, None)
        if before is not None and weights[before] == weight:
            gone[[before, i]] = True
        else:
            last[row] = i
    return LabelSwitches(held, rows[~gone], weights[~gone], method, error)
