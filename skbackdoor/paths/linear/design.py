"""The design matrix Z = [X, 1] of a linear model: its products, its Gram matrix, its norm."""

from functools import cached_property

import numpy as np
import scipy.sparse as sp


class DesignMatrix:
    """Z = [X, 1], or X where there is no intercept.

    Parameters W have the shape (..., n_outputs, n_parameters), the intercept last; leading axes
    are fits side by side, since one product with many columns costs little more than one with a
    few.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Rows, float.
    fit_intercept : bool
        Whether there is a column of ones.
    columns : ndarray of int, default=None
        The columns of X that have a part; None is all.

    Notes
    -----
    `X` (a copy, where only some columns have a part), `single` and `norm` each take a pass over
    the rows: they are made when first asked for, and kept.
    """

    def __init__(self, X, fit_intercept, columns=None):
        self._rows, self.fit_intercept, self.columns = X, fit_intercept, columns
        n_features = X.shape[1] if columns is None else len(columns)
        self.n_parameters = n_features + fit_intercept
        self.is_sparse = sp.issparse(X)

    def __len__(self):
        return self._rows.shape[0]

    def _take(self, X):
        return X if self.columns is None else np.take(X, self.columns, axis=1)

    @cached_property
    def X(self):
        """The columns that have a part."""
        return self._take(self._rows)

    @cached_property
    def single(self):
        """The same matrix in single precision; a sparse one as it is."""
        if self.is_sparse:
            return self
        single = np.empty((len(self), self.n_parameters - self.fit_intercept), np.float32)
        for start in range(0, len(single), 2048):
            block = slice(start, start + 2048)
            single[block] = self._take(self._rows[block])
        return DesignMatrix(single, self.fit_intercept)

    @cached_property
    def norm(self):
        """Frobenius norm of Z."""
        entries = self.X.data if self.is_sparse else self.X.ravel(order="K")
        return np.sqrt(np.dot(entries, entries) + self.fit_intercept * len(self))

    def product(self, W):
        """Z W^T: decision values (..., n_samples, n_outputs)."""
        flat = W.reshape(-1, W.shape[-1])
        coef = flat[:, :-1] if self.fit_intercept else flat
        if self.is_sparse:
            F = (self.X @ coef.T).T
        elif self.X.dtype == np.float32:  # a few columns in single precision: the faster way round
            F = np.ascontiguousarray((self.X @ coef.T).T)
        else:
            F = coef @ self.X.T
        if self.fit_intercept:
            F = F + flat[:, -1:]
        return np.swapaxes(F.reshape(*W.shape[:-1], -1), -1, -2)

    def adjoint(self, R):
        """R^T Z: from values (..., n_samples, n_outputs) to (..., n_outputs, n_parameters)."""
        R = np.swapaxes(R, -1, -2)
        flat = R.reshape(-1, R.shape[-1])
        back = np.asarray(self.X.T @ flat.T).T if self.is_sparse else flat @ self.X
        if self.fit_intercept:
            back = np.column_stack([back, flat.sum(axis=1)])
        return back.reshape(*R.shape[:-1], -1)

    def gram(self, row_weight):
        """Z^T diag(row_weight) Z, dense, of shape (n_parameters, n_parameters).

        Parameters
        ----------
        row_weight : ndarray of shape (n_samples,)
            Of any sign. Dense rows are taken some thousands at a time, so that no scaled copy of
            all of them exists.
        """
        if self.is_sparse:
            return self._sparse_gram(row_weight)
        gram = 0.0
        for start in range(0, len(self), 2048):
            X, weight = self.X[start : start + 2048], row_weight[start : start + 2048]
            if np.all(weight >= 0):
                Z = self._scaled(X, np.sqrt(weight))
                gram = Z.T @ Z + gram  # one argument: BLAS computes half
            else:
                Z = self._scaled(X, np.ones_like(weight))
                gram = Z.T @ (weight[:, None] * Z) + gram
        return gram

    def _sparse_gram(self, row_weight):
        X = self.X
        gram = (X.T @ X.multiply(row_weight[:, None]).tocsr()).toarray()
        if not self.fit_intercept:
            return gram
        border = np.asarray(X.T @ row_weight).ravel()
        return np.block([[gram, border[:, None]], [border[None, :], row_weight.sum()]])

    def _scaled(self, X, scale):
        """Rows of Z, each times a factor."""
        Z = np.empty((len(X), self.n_parameters), X.dtype)
        np.multiply(X, scale[:, None], out=Z[:, : X.shape[1]])
        if self.fit_intercept:
            Z[:, -1] = scale
        return Z

    def rows(self, some=slice(None)):
        """Some rows of Z, dense, of shape (n_rows, n_parameters)."""
        X = self.X[some].toarray() if self.is_sparse else self.X[some]
        return np.column_stack([X, np.ones(len(X))]) if self.fit_intercept else X
