"""Leading principal directions of rows, dense or sparse, with weights."""

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, svds

#: Share of the norm of the rows below which a singular value is rounding.
ROUNDING = 1e-12


def principal_directions(X, n_directions, sample_weight):
    r"""Leading right singular vectors of rows without their mean.

    They are those of the rows :math:`\sqrt{w_i} (x_i - \bar x)`, with the weighted mean
    :math:`\bar x`. Sparse rows stay sparse.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Rows.
    n_directions : int
        How many, at most: there are no more than the rank of the rows without their mean.
    sample_weight : ndarray of shape (n_samples,)
        w > 0.

    Returns
    -------
    mean : ndarray of shape (n_features,)
    directions : ndarray of shape (n_found, n_features)
        Orthonormal rows, strongest first.
    singular_values : ndarray of shape (n_found,)
    """
    root, n_found = np.sqrt(sample_weight), min(n_directions, *X.shape)
    mean = np.asarray(sample_weight @ X, dtype=float) / sample_weight.sum()
    squares = X.multiply(X) if sp.issparse(X) else np.square(X, dtype=float)
    norm = np.sqrt(sample_weight @ np.asarray(squares.sum(axis=1)).ravel())
    few = 5 * n_found < min(X.shape)
    if sp.issparse(X) and few:
        Z = LinearOperator(
            X.shape,
            matvec=lambda v: root * (X @ v.ravel() - mean @ v.ravel()),
            rmatvec=lambda u: X.T @ (root * u.ravel()) - mean * (root @ u.ravel()),
            dtype=float,
        )
    else:
        Z = root[:, None] * ((X.toarray() if sp.issparse(X) else X) - mean)
    start = np.random.RandomState(0).uniform(-1, 1, max(X.shape))
    if np.linalg.norm(Z @ start[: X.shape[1]]) <= ROUNDING * norm:  # all rows are the same
        return mean, np.empty((0, X.shape[1])), np.empty(0)
    if few:
        _, values, directions = svds(Z, k=n_found, v0=start[: min(X.shape)])
    else:
        _, values, directions = np.linalg.svd(Z, full_matrices=False)
    strongest = np.argsort(-values)[:n_found]
    strongest = strongest[values[strongest] > ROUNDING * norm]
    return mean, directions[strongest], values[strongest]


def coordinates(X, mean, directions):
    """Coordinates of rows along directions, from the mean: shape (n_samples, n_directions)."""
    return np.asarray(X @ directions.T) - mean @ directions.T
