"""How rows of one class differ anyway, and what stands out from that."""

import numpy as np
from scipy.linalg import eigh

#: Share of the largest variance below which there is none.
NONE = 1e-12
#: Features of which products are taken at a time.
BLOCK = 4096


class WithinClasses:
    """Covariance of rows within their classes, shrunk towards a multiple of the identity.

    By as much as the oracle approximating shrinkage says, as in :class:`sklearn.covariance.OAS`.
    Where there are more features than rows, neither that matrix nor a copy of the rows is formed,
    but products of rows alone: images have many features.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    y : ndarray of shape (n,)
        Label indices.

    Attributes
    ----------
    variance : ndarray of shape (n_axes,)
        Along each principal axis in which rows of one class differ at all, shrunk.
    """

    def __init__(self, X, y):
        n, d = X.shape
        self._rows, self._mean = None, X.mean(axis=0, dtype=float)
        if d <= n:
            centred = _centred(np.asarray(X, dtype=float), y)
            variance, axes = eigh(centred.T @ centred / n)
        else:
            inner = _centred(_centred(_products(X, X, self._mean, self._mean), y).T, y)
            variance, axes = eigh(inner / n)
            variance[: len(np.unique(y))] = 0.0  # of rows that say which class
        kept = variance > NONE * variance[-1]
        variance, self._axes = variance[kept], axes[:, kept]
        if d > n:  # the axes are combinations of rows
            self._rows, self._axes = X, self._axes / np.sqrt(n * variance)
        mean, square = variance.sum() / d, np.sum(variance**2) / d**2
        apart = (n + 1) * (square - mean**2 / d)
        shrinkage = min((square + mean**2) / apart, 1.0) if apart > NONE * square else 1.0
        self._rest = shrinkage * mean if mean > 0.0 else 1.0
        self.variance = (1.0 - shrinkage) * variance + self._rest

    def along(self, X):
        """Rows along the principal axes, shape (n, n_axes)."""
        if self._rows is not None:
            X = _products(X, self._rows, np.zeros_like(self._mean), self._mean)
        return X @ self._axes

    def half_whitened(self, X):
        """Rows along the axes, over the root of the standard deviation: shape (n, n_axes)."""
        return self.along(X) / self.variance**0.25

    def solve(self, shift):
        """The covariance's inverse times a vector of shape (n_features,).

        The linear discriminant of two groups that differ by the shift. The vector itself where no
        row differs from others of its class.
        """
        along = self.along(shift[np.newaxis])[0]
        return self._sum(along / self.variance) + (shift - self._sum(along)) / self._rest

    def _sum(self, along):
        """The vector that has these coordinates along the axes, and no others."""
        along = self._axes @ along
        if self._rows is not None:
            along = along @ self._rows - along.sum() * self._mean
        return along


def _centred(X, y):
    """Rows less the mean of their class."""
    centred = X.copy()
    for label in np.unique(y):
        centred[y == label] -= X[y == label].mean(axis=0)
    return centred


def _products(A, B, *means):
    """Inner products of two sets of rows of numbers, of any dtype, each less a mean."""
    products = np.zeros((len(A), len(B)))
    for start in range(0, A.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        first, second = (
            rows[:, block] - mean[block] for rows, mean in zip((A, B), means, strict=True)
        )
        products += first @ second.T
    return products
