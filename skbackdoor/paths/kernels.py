"""Kernels between samples and training rows: cached columns, named and precomputed kernels."""

import numpy as np
import scipy.sparse as sp
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.utils.extmath import row_norms


class Columns:
    """Kernel columns K(X, rows[i]), each computed once while they fit into a cache.

    Parameters
    ----------
    function : callable
        ``function(A, B)`` gives shape (len(A), len(B)).
    X, rows : arrays of shape (n_samples, n_features) and (n_rows, n_features)
        Samples and training rows.
    cache_bytes : float
        Size of the cache.
    """

    def __init__(self, function, X, rows, cache_bytes):
        self.function, self.X, self.rows = function, X, rows
        self.room = int(cache_bytes // (8 * max(X.shape[0], 1)))
        self.place = np.full(rows.shape[0], -1)
        self.store = np.empty((X.shape[0], 0), order="F")
        self.used = 0

    def __call__(self, i):
        i = np.asarray(i, dtype=int)
        missing = i[self.place[i] < 0]
        if len(missing) == 0:
            return self.store[:, self.place[i]]
        new = np.asarray(self.function(self.X, self.rows[missing]), dtype=np.float64)
        if self.used + len(missing) > self.room:
            if len(missing) == len(i):
                return new
            columns = np.empty((self.X.shape[0], len(i)))
            known = self.place[i] >= 0
            columns[:, known], columns[:, ~known] = self.store[:, self.place[i[known]]], new
            return columns
        if self.used + len(missing) > self.store.shape[1]:
            width = min(self.room, max(2 * self.store.shape[1], self.used + len(missing)))
            grown = np.empty((self.X.shape[0], width), order="F")
            grown[:, : self.used] = self.store[:, : self.used]
            self.store = grown
        self.place[missing] = self.used + np.arange(len(missing))
        self.store[:, self.used : self.used + len(missing)] = new
        self.used += len(missing)
        return self.store[:, self.place[i]]


class Kernel:
    """Kernel values between samples and the training rows of a path.

    Parameters
    ----------
    function : callable
        ``function(A, B)`` gives shape (len(A), len(B)); where it has a method ``diagonal(A)``,
        that gives its values between each row and itself.
    X : array of shape (n_rows, n_features)
        Training rows, clean ones first.
    cache_megabytes : float
        Cache of each :class:`Columns`.
    """

    def __init__(self, function, X, cache_megabytes):
        self.function, self.X, self.cache_bytes = function, X, 1e6 * cache_megabytes
        self._last = None

    def __call__(self, X, rows):
        """Values between samples X and training rows, shape (n_samples, len(rows))."""
        last = self._last
        if last is None or last.X is not X:
            last = self._last = Columns(self.function, X, self.X, self.cache_bytes)
        return last(rows)

    def on(self, rows):
        """`columns` and `diagonal` of an :class:`ActiveSet` on some of the rows."""
        X = self.X[rows]
        columns = Columns(self.function, X, X, self.cache_bytes)
        if hasattr(self.function, "diagonal"):
            return columns, self.function.diagonal(X)
        diagonal = np.empty(len(rows))
        for start in range(0, len(rows), 32):
            block = X[start : start + 32]
            diagonal[start : start + 32] = np.diag(self.function(block, block))
        return columns, diagonal


class NamedKernel:
    """One of scikit-learn's kernels, with the parameters of an SVC whose gamma is a number."""

    def __init__(self, svc):
        self.metric = svc.kernel
        self.params = {"gamma": svc.gamma, "degree": svc.degree, "coef0": svc.coef0}

    def __call__(self, A, B):
        return pairwise_kernels(A, B, metric=self.metric, filter_params=True, **self.params)

    def diagonal(self, A):
        if self.metric == "rbf":
            return np.ones(A.shape[0])
        square = row_norms(A, squared=True)
        if self.metric == "linear":
            return square
        inner = self.params["gamma"] * square + self.params["coef0"]
        return inner ** self.params["degree"] if self.metric == "poly" else np.tanh(inner)


class AffineKernel:
    """x.x' + constant: the kernel of a linear model whose intercept is a penalised feature."""

    def __init__(self, constant):
        self.constant = constant

    def __call__(self, A, B):
        product = A @ B.T
        return (product.toarray() if sp.issparse(product) else product) + self.constant

    def diagonal(self, A):
        return row_norms(A, squared=True) + self.constant


def look_up(A, B):
    """A precomputed kernel as a function: column 0 is a row's number, the rest its kernel row."""
    return A[:, 1:][:, B[:, 0].astype(int)]


def number_rows(gram, numbers=None):
    """Rows that :func:`look_up` takes; rows that are no training rows have the number -1."""
    gram = np.asarray(gram, dtype=np.float64)
    return np.column_stack([np.full(len(gram), -1) if numbers is None else numbers, gram])


def product(columns, rows, v):
    """K[:, rows] @ v, in blocks of columns.

    Parameters
    ----------
    columns : callable
        ``columns(i)`` gives K[:, i].
    rows : ndarray of int
        Which columns.
    v : ndarray of shape (len(rows),)
        Their coefficients.

    Returns
    -------
    values : ndarray of shape (n_samples,)
        Zeros where there are no rows.
    """
    total = 0.0
    for start in range(0, max(len(rows), 1), 1024):
        part = rows[start : start + 1024]
        total = total + columns(part) @ v[start : start + 1024]
    return total
