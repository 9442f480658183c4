"""Rows centred near their mean, which spares rounding errors where that is far from 0."""

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import row_norms


def far_mean(X):
    """Mean of the rows where it is far from 0 as their spread goes, else None; dense rows only.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Rows.

    Returns
    -------
    mean : ndarray of shape (n_features,) or None
        Of some 256 of the rows: any point will do, one near all of them does better.
    """
    if sp.issparse(X):
        return None
    some = X[:: max(1, len(X) // 256)]
    mean = some.mean(axis=0)
    square = np.mean(row_norms(some, squared=True))
    return mean if mean @ mean > 0.99 * square else None


class Centring:
    r"""Rows less a mean, and what that does to the parameters of a linear model.

    .. math:: X W^T + b = (X - m) W^T + (b + W m),

    so that only the intercept differs. It has to be free of any penalty.

    Parameters
    ----------
    mean : ndarray of shape (n_features,) or None
        The point m; None leaves rows and parameters as they are.
    """

    def __init__(self, mean):
        self.mean = mean

    def __call__(self, X):
        """Rows, centred."""
        return X if self.mean is None else X - self.mean

    def to_centred(self, W):
        """Parameters (..., n_parameters) for centred rows, from those for rows as they are."""
        return self._with_intercept(W, 1.0)

    def from_centred(self, W):
        """Parameters (..., n_parameters) for rows as they are, from those for centred rows."""
        return self._with_intercept(W, -1.0)

    def _with_intercept(self, W, sign):
        if self.mean is None:
            return W
        W = W.copy()
        W[..., -1] += sign * (W[..., :-1] @ self.mean)
        return W
