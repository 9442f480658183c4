"""Rows that were not searched, held against the groups that were found."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from .._compat import _safe_indexing
from .members import BETWEEN
from .search import LEAST_MEMBERSHIP
from .shared_values import rows_that_share
from .whitened import Whitened, numbers

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
        What makes of rows as they were given those by which members are known; None for features.
    members : ndarray of shape (n, n_axes)
        The rows of the fit, so.
    member_kernel : callable
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
    members: np.ndarray
    member_kernel: object
    coef: np.ndarray
    low: float
    high: float
    coef_without: np.ndarray
    shared: tuple
    clean_label: bool

    @classmethod
    def of(cls, fit, group):
        """That of a group of the fit's rows."""
        G, view = group.indices, group._view or fit
        ridge = view.ridge
        inside = np.zeros(len(ridge.y), dtype=bool)
        inside[G] = True
        membership = ridge.membership(G)
        low, high = np.median(membership[~inside]), np.median(membership[inside])
        coef = ridge.inverse[:, G].sum(axis=1)
        whitening = view.within if isinstance(view, Whitened) else None
        known = whitening, view.X, view.kernel, coef, low, high
        labels, without = np.unique(ridge.y[G]), fit.ridge.coef_without(G)
        told = group.shared, group.clean_label
        return cls(labels, fit.X, fit.kernel, *known, without, *told)

    def has(self, X, features, y):
        """Whether rows of its labels belong to it, shape (n_samples,).

        By the rows as they were given where the group shares values, else by their features and
        label indices.
        """
        if self.shared:
            return rows_that_share(X, self.shared)
        member = np.zeros(features.shape[0], dtype=bool)
        for start in range(0, features.shape[0], BLOCK):
            block = slice(start, start + BLOCK)
            rows = features[block].toarray() if sp.issparse(features) else features[block]
            K = near = self.kernel(rows, self.X)
            if self.whitening is not None:
                given = numbers(_safe_indexing(X, np.arange(len(y))[block]), rows)
                near = self.member_kernel(self.whitening.transform(given), self.members)
            relative = (near @ self.coef - self.low) / (self.high - self.low)
            if self.clean_label or self.whitening is not None:
                member[block] = relative > np.mean(BETWEEN)
            else:
                member[block] = relative > LEAST_MEMBERSHIP
            if not self.clean_label:
                member[block] &= (K @ self.coef_without).argmax(axis=1) != y[block]
        return member
