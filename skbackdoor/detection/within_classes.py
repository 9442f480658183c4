"""How rows of one class differ anyway, and what stands out from that."""

import numpy as np
from scipy.linalg import eigh

#: Share of the largest variance below which there is none.
NONE = 1e-12


class WithinClasses:
    """Covariance of rows within their classes, shrunk towards a multiple of the identity.

    By as much as the oracle approximating shrinkage says, as in :class:`sklearn.covariance.OAS`;
    the matrix itself is not formed where there are more features than rows.

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
        centred = np.array(X, dtype=float)
        for label in np.unique(y):
            centred[y == label] -= X[y == label].mean(axis=0)
        n, d = centred.shape
        if d <= n:
            variance, axes = eigh(centred.T @ centred / n)
        else:
            variance, vectors = eigh(centred @ centred.T / n)
        kept = variance > NONE * variance[-1]
        variance = variance[kept]
        if d <= n:
            self._axes = axes[:, kept]
        else:
            self._axes = centred.T @ (vectors[:, kept] / np.sqrt(n * variance))
        mean, square = variance.sum() / d, np.sum(variance**2) / d**2
        apart = (n + 1) * (square - mean**2 / d)
        shrinkage = min((square + mean**2) / apart, 1.0) if apart > NONE * square else 1.0
        self._rest = shrinkage * mean if mean > 0.0 else 1.0
        self.variance = (1.0 - shrinkage) * variance + self._rest

    def along(self, X):
        """Rows along the principal axes, shape (n, n_axes)."""
        return X @ self._axes

    def solve(self, shift):
        """The covariance's inverse times a vector of shape (n_features,).

        The linear discriminant of two groups that differ by the shift. The vector itself where no
        row differs from others of its class.
        """
        along = self._axes.T @ shift
        beyond = shift - self._axes @ along
        return self._axes @ (along / self.variance) + beyond / self._rest
