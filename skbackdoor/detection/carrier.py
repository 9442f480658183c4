"""Rows that were not searched, held against the groups that were found."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from .members import BETWEEN
from .search import LEAST_MEMBERSHIP
from .shared_values import rows_that_share

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
    coef: np.ndarray
    low: float
    high: float
    coef_without: np.ndarray
    shared: tuple
    clean_label: bool

    @classmethod
    def of(cls, fit, group):
        """That of a group of the fit's rows."""
        G, ridge = group.indices, fit.ridge
        inside = np.zeros(len(ridge.y), dtype=bool)
        inside[G] = True
        membership = ridge.membership(G)
        low, high = np.median(membership[~inside]), np.median(membership[inside])
        coef = ridge.inverse[:, G].sum(axis=1)
        labels, without = np.unique(ridge.y[G]), ridge.coef_without(G)
        told = group.shared, group.clean_label
        return cls(labels, fit.X, fit.kernel, coef, low, high, without, *told)

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
            K = self.kernel(rows, self.X)
            relative = (K @ self.coef - self.low) / (self.high - self.low)
            if self.clean_label:
                member[block] = relative > np.mean(BETWEEN)
                continue
            flips = (K @ self.coef_without).argmax(axis=1) != y[block]
            member[block] = flips & (relative > LEAST_MEMBERSHIP)
        return member
