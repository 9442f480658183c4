"""Rows that were not searched, held against the groups that were found."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from .._compat import _safe_indexing
from .members import BETWEEN
from .search import LEAST_MEMBERSHIP
from .shared_values import rows_that_share
from .whitened import Whitened

#: Rows whose kernel is computed at a time.
BLOCK = 4096


@dataclass(eq=False)
class Carrier:
    """By what a row that was not searched is known to belong to a group.

    Attributes
    ----------
    labels : ndarray of int
        The group's label indices.
    X : ndarray of shape (n, n_features)
        The rows of the fit.
    kernel : callable
    whitening : Whitening or None
        Makes rows what members are compared by; None for features.
    as_given : bool
        Whether it is of rows as they were given, or of their features.
    compared : ndarray of shape (n, n_axes)
        The rows of the fit as members are compared by them.
    member_kernel : callable
        The kernel between such rows.
    coef : ndarray of shape (n,)
        Gives membership, which is `low` for rows outside and `high` for members (medians).
    low, high : float
    coef_without : ndarray of shape (n, n_classes)
        Gives scores without the group.
    shared : tuple
        Values or words that tell it alone, where these are known; as in PoisonGroup.
    clean_label : bool
        Whether its rows rightly have their label: then none flips, and membership alone tells.
    """

    labels: np.ndarray
    X: np.ndarray
    kernel: object
    whitening: object
    as_given: bool
    compared: np.ndarray
    member_kernel: object
    coef: np.ndarray
    low: float
    high: float
    coef_without: np.ndarray
    shared: tuple
    clean_label: bool

    @classmethod
    def of(cls, fit, group, view):
        """That of a group of the fit's rows, as a view (or the fit) knows members."""
        G = group.indices
        ridge = view.ridge
        inside = np.zeros(len(ridge.y), dtype=bool)
        inside[G] = True
        membership = ridge.membership(G)
        low, high = np.median(membership[~inside]), np.median(membership[inside])
        coef = ridge.inverse[:, G].sum(axis=1)
        by = (view.within, view.as_given) if isinstance(view, Whitened) else (None, False)
        known = *by, view.X, view.kernel, coef, low, high
        labels, without = np.unique(ridge.y[G]), fit.ridge.coef_without(G)
        told = group.shared, group.clean_label
        return cls(labels, fit.X, fit.kernel, *known, without, *told)

    def has(self, X, features, y):
        """Whether rows of its labels belong to it, shape (n_samples,).

        By the rows as they were given where the group shares values or was found in these, else
        by their features; and by label indices.
        """
        if self.shared:
            return rows_that_share(X, self.shared)
        member = np.zeros(features.shape[0], dtype=bool)
        for start in range(0, features.shape[0], BLOCK):
            block = np.arange(start, min(start + BLOCK, len(member)))
            rows = features[block].toarray() if sp.issparse(features) else features[block]
            given = _safe_indexing(X, block) if self.as_given else rows
            relative = self._relative_membership(given)
            told = self.clean_label or self.whitening is not None
            member[block] = relative > (np.mean(BETWEEN) if told else LEAST_MEMBERSHIP)
            if not self.clean_label:
                without = self.kernel(rows, self.X) @ self.coef_without
                member[block] &= without.argmax(axis=1) != y[block]
        return member

    def _relative_membership(self, rows):
        """How far rows count as members, 0 and 1 for the median other and member."""
        rows = np.asarray(rows)
        if rows.dtype.kind not in "biuf":
            rows = rows.astype(float)
        finite = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
        rows = rows if finite.all() else np.nan_to_num(rows)
        rows = rows if self.whitening is None else self.whitening.transform(rows)
        membership = self.member_kernel(rows, self.compared) @ self.coef
        relative = (membership - self.low) / (self.high - self.low)
        return np.where(finite, relative, -np.inf)  # what is not finite is no member
