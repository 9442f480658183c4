r"""Kernel ridge regression on one-hot labels, and what it says without a group of its rows.

With the kernel matrix K of all n rows, weights w, penalty lambda, one-hot labels Y and

.. math:: A = (K + \lambda\, \mathrm{diag}(1/w))^{-1}

the fit is F = K A Y. What a fit without some rows says of them needs no other inverse than A:

- without row j: ``Y_j - (A Y)_j / A_jj``;
- without the rows G: ``Y_G - A_GG^{-1} (A Y)_G``;
- without G, each row j of R left out as well: A Y and diag A of what remains are
  ``(A Y)_R - A_RG A_GG^{-1} (A Y)_G`` and ``A_jj - A_jG A_GG^{-1} A_Gj``;
- how far row j counts as one of G by the other members of G, no labels used: with u the indicator
  of G, ``u_j - (A u)_j / A_jj``.

The first two are textbook identities of penalised least squares (for groups: block inverse of
K + lambda). Fits are without an intercept: no row gives all classes a score of about 0.
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.lapack import dposv, dpotrf, dpotri

from ..paths.linear.conjugate_gradients import conjugate_gradients

#: So many rows cost a factorisation as much as one product with all rows in both kernel matrices.
PRODUCTS = 100
_SINGULAR = (
    "The kernel matrix plus penalty={:g} is singular or indefinite, so no row can be left out:"
    " raise the penalty, or use a positive semidefinite kernel."
)


class LeaveGroupOutRidge:
    """Kernel ridge regression on one-hot labels with its leave-group-out predictions.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Kernel matrix, positive semidefinite.
    y : ndarray of shape (n,)
        Label indices.
    penalty : float
        lambda > 0.
    n_classes : int, default=None
        Number of classes; None is the largest label index plus 1.
    weight : ndarray of shape (n,), default=None
        Weights w > 0; None is 1.

    Attributes
    ----------
    ridge : ndarray of shape (n,)
        lambda / w.
    inverse : ndarray of shape (n, n)
        A.
    coef : ndarray of shape (n, n_classes)
        A Y: a new sample with kernel row k has scores ``k @ coef``.

    Raises
    ------
    ValueError
        K + lambda diag(1/w) is singular or indefinite.
    """

    def __init__(self, K, y, penalty, n_classes=None, weight=None):
        n = len(y)
        self.y, self.penalty = y, penalty
        self.Y = np.eye(n_classes or int(y.max()) + 1)[y]
        self.ridge = np.full(n, penalty) if weight is None else penalty / weight
        matrix = np.array(K, dtype=float)
        matrix[np.diag_indices(n)] += self.ridge
        factor, failed = dpotrf(matrix, lower=True, overwrite_a=True)
        if not failed:
            inverse, failed = dpotri(factor, lower=True, overwrite_c=True)
        if failed or not np.all(np.isfinite(inverse.diagonal())):
            raise ValueError(_SINGULAR.format(penalty))
        upper = np.triu_indices(n, 1)
        inverse[upper] = inverse.T[upper]
        self.inverse, self.diagonal = inverse, inverse.diagonal()
        self.coef = inverse @ self.Y

    def leave_one_out(self):
        """Scores of every row by the fit without it, shape (n, n_classes)."""
        return self.Y - self.coef / self.diagonal[:, None]

    def without(self, G):
        """Scores of the rows G by the fit without all of them, shape (len(G), n_classes)."""
        return self.Y[G] - _solve(self.inverse[np.ix_(G, G)], self.coef[G])

    def without_on(self, K, G, rtol=1e-8):
        """Scores of the rows G by the fit without all of them on another kernel matrix.

        By conjugate gradients, preconditioned by the inverse of this fit: a few products where
        the kernels are alike, as those of rows with and without a column mostly are. Where they
        would take longer than a Cholesky factorisation, by that.

        Parameters
        ----------
        K : ndarray of shape (n, n)
            The other kernel matrix of all rows.
        G : ndarray
            Rows.
        rtol : float, default=1e-8
            Relative residual at which iterations end.

        Returns
        -------
        scores : ndarray of shape (len(G), n_classes)

        Raises
        ------
        ValueError
            The other kernel matrix is indefinite, or singular with its penalty.
        """
        outside = np.ones(len(self.y))
        outside[G] = 0.0
        A_G, A_GG = self.inverse[G], cho_factor(self.inverse[np.ix_(G, G)], lower=True)

        def product(v):
            v = v[:, 0]
            return (outside * (v @ K + self.ridge * v))[:, None]

        def precondition(v):
            solution = v[:, 0] @ self.inverse
            return (outside * (solution - cho_solve(A_GG, solution[:, G].T).T @ A_G))[:, None]

        right = (outside * self.Y.T)[:, None]
        size = np.linalg.norm(right, axis=2, keepdims=True)
        size[size == 0.0] = 1.0
        solution, left = conjugate_gradients(
            product, right / size, rtol, max(10, len(self.y) // PRODUCTS), precondition
        )
        if left.max() > rtol:
            return self._factorised_without_on(K, G)
        return ((solution * size)[:, 0] @ K[:, G]).T

    def _factorised_without_on(self, K, G):
        """The same scores by a Cholesky factorisation."""
        rest = np.delete(np.arange(len(self.y)), G)
        matrix = K[np.ix_(rest, rest)].astype(float)
        matrix[np.diag_indices(len(rest))] += self.ridge[rest]
        *_, solution, failed = dposv(matrix, self.Y[rest], lower=True, overwrite_a=True)
        if failed or not np.all(np.isfinite(solution)):
            raise ValueError(_SINGULAR.format(self.penalty))
        return K[np.ix_(G, rest)] @ solution

    def leave_one_out_without(self, R, G):
        """Scores of each row of R by the fit without it and without G, (len(R), n_classes)."""
        A_GR = self.inverse[np.ix_(G, R)]
        solved = _solve(self.inverse[np.ix_(G, G)], np.column_stack([self.coef[G], A_GR]))
        k = self.Y.shape[1]
        diagonal = self.diagonal[R] - np.sum(A_GR * solved[:, k:], axis=0)
        return self.Y[R] - (self.coef[R] - A_GR.T @ solved[:, :k]) / diagonal[:, None]

    def coef_without(self, G):
        """`coef` of the fit without the rows G, whose own coefficients are 0."""
        coef = self.coef - self.inverse[:, G] @ _solve(self.inverse[np.ix_(G, G)], self.coef[G])
        coef[G] = 0.0
        return coef

    def membership(self, G):
        """How far each row counts as one of G by the other rows: about 1 for one of them, else 0.

        Returns
        -------
        membership : ndarray of shape (n,)
        """
        u = np.zeros(len(self.y))
        u[G] = 1.0
        return u - self.inverse[:, G].sum(axis=1) / self.diagonal


def _solve(matrix, right):
    """Solve with a principal block of A, which is positive definite as A is."""
    _, solution, failed = dposv(matrix, right, lower=True)
    if failed:
        raise ValueError(
            "A group of rows cannot be left out: its block of the inverse is singular. Raise the"
            " penalty."
        )
    return solution
