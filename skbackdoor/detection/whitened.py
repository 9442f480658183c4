"""Rows as they were given, directions in which rows of one class differ anyway made small.

A representation that tells classes apart hardly shows some triggers, and where classes overlap
many rows of a label look like another one. In the numbers that were given a trigger is the same in
all rows that hold it, and content is not. Along its principal axes within classes, divided by the
root of its standard deviation there, content no longer hides that: rows with a trigger count as
members of each other, and hardly a row of the label lies between.
"""

from functools import partial

import numpy as np
import scipy.sparse as sp
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

from .kernel_ridge import LeaveGroupOutRidge
from .search import Search
from .within_classes import WithinClasses

#: Features, drawn from more, and ridge penalty.
MOST_FEATURES, PENALTY = 30_000, 0.1
#: Axes along which it is asked how much a group varies.
N_LEADING = 30


class Whitening:
    """Half whitening of rows within their classes, for these rows and others.

    Along each principal axis within classes a row is divided by the fourth root of the variance.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
        Numbers of any dtype.
    y : ndarray of shape (n,)
        Label indices.
    random_state : int
        For features that are drawn.

    Attributes
    ----------
    n_axes : int
        In which rows of one class differ.
    """

    def __init__(self, X, y, random_state):
        n_features = np.prod(X.shape[1:], dtype=int)
        self._features = None
        if n_features > MOST_FEATURES:
            drawn = np.random.RandomState(random_state).permutation(n_features)
            self._features = np.sort(drawn[:MOST_FEATURES])
        self._within = WithinClasses(self._flat(X), y)
        self.n_axes = len(self._within.variance)

    def transform(self, X):
        """Rows, whitened: shape (n, n_axes)."""
        return self._within.half_whitened(self._flat(X))

    def leading(self, rows):
        """Whitened rows along the axes of most variance, not whitened: shape (n, n_leading)."""
        variance = self._within.variance[-N_LEADING:]  # of increasing ones
        return rows[:, -N_LEADING:] * variance**0.25

    def solve(self, shift):
        """The same as of :class:`WithinClasses`, for whitened rows."""
        return shift / np.sqrt(self._within.variance)

    def _flat(self, X):
        X = X.reshape(len(X), -1)
        return X if self._features is None else X[:, self._features]


class Whitened(Search):
    """The search among rows that are half whitened within their classes.

    Parameters
    ----------
    whitening : Whitening
    as_given : bool
        Whether it is of rows that were given, and not of the features that they are compared by.
    X : ndarray of shape (n, ...)
        Numbers of any dtype.
    y : ndarray of shape (n,)
        Label indices.
    weight : ndarray of shape (n,) or None
        Weights of the rows.
    smallest : int
        Least rows of a group.
    random_state : int
        For principal components and draws.
    """

    def __init__(self, whitening, as_given, X, y, weight, smallest, random_state):
        self.within, self.as_given = whitening, as_given
        rows = whitening.transform(X)
        distances = euclidean_distances(rows, squared=True)
        median = np.median(distances) or 1.0
        kernel = partial(rbf_kernel, gamma=1.0 / median)
        distances /= -median
        K = np.exp(distances, out=distances)
        ridge = LeaveGroupOutRidge(K, y, PENALTY, weight=weight)
        super().__init__(rows, kernel, K, ridge, smallest, random_state)

    def leading(self, X):
        """Rows along the axes along which rows of a class vary most, before these are made small.

        Clusters of a class part along these.
        """
        return self.within.leading(X)


def numbers(X, features):
    """Rows as they were given, where these are dense and finite numbers, else their features."""
    if sp.issparse(X) or hasattr(X, "iloc"):
        return features
    given = np.asarray(X)
    finite = given.dtype.kind in "biu" or (given.dtype.kind == "f" and np.isfinite(given).all())
    return given if finite else features
