"""Kernels between samples and training rows: cached rows, named and precomputed kernels."""

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.utils.extmath import row_norms

from .centring import far_mean

#: Squared lengths, in units of the rbf kernel, from which on its exponents are taken from the
#: differences of rows: their expansion a.a - 2 a.b + b.b has lost too many digits.
FAR = 1e5
#: Most rows that are multiplied with themselves as such.
LARGEST_SYRK = 8000
#: In place of its number for a sample that is no training row, where the kernel is precomputed.
NO_NUMBER = -1


class KernelRows:
    """Kernel rows K(rows[i], X), each computed once while they fit into a cache.

    Parameters
    ----------
    function : callable
        ``function(A, B)`` gives shape (len(A), len(B)).
    rows, X : arrays of shape (n_rows, n_features) and (n_samples, n_features)
        Training rows and samples.
    cache_bytes : float
        Size of the cache.
    """

    def __init__(self, function, rows, X, cache_bytes):
        self.function, self.rows, self.X, self.cache_bytes = function, rows, X, cache_bytes
        self.most_rows = int(cache_bytes // (8 * max(X.shape[0], 1)))
        self.place = np.full(rows.shape[0], -1)
        self.store = np.empty((0, X.shape[0]))
        self.used = 0

    def __len__(self):
        return self.rows.shape[0]

    def __call__(self, i):
        """Kernel rows of training rows i, shape (len(i), n_samples)."""
        i = np.asarray(i, dtype=int)
        missing = i[self.place[i] < 0]
        if len(missing) == 0:
            return self.store[self.place[i]]
        # Training rows second: a kernel that is looked up knows only these by number.
        new = np.asarray(self.function(self.X, self.rows[missing]), dtype=np.float64).T
        if self.used + len(missing) > self.most_rows:
            if len(missing) == len(i):
                return new
            values = np.empty((len(i), self.X.shape[0]))
            known = self.place[i] >= 0
            values[known], values[~known] = self.store[self.place[i[known]]], new
            return values
        if self.used + len(missing) > len(self.store):
            height = min(self.most_rows, max(2 * len(self.store), self.used + len(missing)))
            grown = np.empty((height, self.X.shape[0]))
            grown[: self.used] = self.store[: self.used]
            self.store = grown
        self.place[missing] = self.used + np.arange(len(missing))
        self.store[self.used : self.used + len(missing)] = new
        self.used += len(missing)
        return self.store[self.place[i]]

    def row(self, i):
        """Kernel row of one training row, shape (n_samples,)."""
        return self(np.array([i]))[0]

    def kept(self, mask):
        """The same of training rows among themselves, for some of them; what is known is kept."""
        rows = self.rows[mask]
        new = KernelRows(self.function, rows, rows, self.cache_bytes)
        known = np.flatnonzero(self.place[mask] >= 0)
        new.store = self.store[np.ix_(self.place[mask][known], np.flatnonzero(mask))]
        new.place[known] = np.arange(len(known))
        new.used = len(known)
        return new

    def product(self, v):
        """v K over the training rows whose v is not 0, in blocks of rows, shape (n_samples,).

        Rows of a linear kernel that are not known yet give it by their weights.
        """
        rows, total = np.flatnonzero(v), np.zeros(self.X.shape[0])
        if getattr(self.function, "is_linear", False):
            missing = rows[self.place[rows] < 0]
            if len(missing):
                total = self.function.product(self.X, self.rows[missing], v[missing])
                rows = rows[self.place[rows] >= 0]
        for start in range(0, len(rows), 1024):
            part = rows[start : start + 1024]
            total = total + v[part] @ self(part)
        return total


class GramRows:
    """Kernel rows of a whole kernel matrix that is there already."""

    def __init__(self, K):
        self.K = K

    def __len__(self):
        return len(self.K)

    def __call__(self, i):
        return self.K[i]

    row = __call__

    def kept(self, mask):
        """The same for some of the rows."""
        return GramRows(self.K[np.ix_(mask, mask)])

    def product(self, v):
        """v K, for one v or a stack of them."""
        used = np.flatnonzero(v) if v.ndim == 1 else ()
        if v.ndim == 1 and len(used) < len(v) / 4:  # less to read than all of K
            return v[used] @ self.K[used]
        return v @ self.K


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
        Cache of each :class:`KernelRows`.
    """

    def __init__(self, function, X, cache_megabytes):
        self.function, self.X, self.cache_bytes = function, X, 1e6 * cache_megabytes
        self._gram, self._kept = None, ()
        self._on = {}
        #: Whether a linear machine has weights, so that no values are needed for what v gives.
        self.is_linear = getattr(function, "is_linear", False)
        centred = hasattr(function, "offset")
        #: What dual coefficients v lack in decision values where the kernel is centred: v offset.
        self.offset = function.offset(X) if centred else np.zeros(X.shape[0])
        #: What a sum of duals other than 0 changes in decision values, per unit.
        self.unit_of_sum = 1.0 + np.abs(self.offset).max(initial=0.0)

    def __call__(self, X, rows):
        """Values between samples X and training rows, shape (n_samples, len(rows))."""
        if len(rows) == 0:
            return np.zeros((X.shape[0], 0))
        return np.asarray(self.function(X, self.X[rows]), dtype=np.float64)

    def at(self, X):
        """Kernel rows of the training rows at samples X, each computed once."""
        for kernel_rows in self._kept:
            if kernel_rows.X is X:
                return kernel_rows
        return KernelRows(self.function, self.X, X, self.cache_bytes)

    def product(self, X, rows, v):
        """Values between samples X and training rows, times v, a vector or some side by side."""
        if self.is_linear:
            return self.function.product(X, self.X[rows], v)
        return self.at(X)(rows).T @ v

    def keep(self, *samples):
        """Keep the kernel rows at some samples, which do not change from now on."""
        self._kept = [self.at(X) for X in samples]

    def gram(self):
        """The whole kernel matrix of the training rows, computed once."""
        if self._gram is None:
            gram = np.asarray(self.function(self.X, self.X), dtype=np.float64)
            self._gram = np.ascontiguousarray(gram)
        return self._gram

    def on(self, rows, whole=False):
        """Kernel rows and diagonal for an :class:`ActiveSet` on some of the rows.

        Parameters
        ----------
        rows : ndarray of int
            Training rows of the problem.
        whole : bool, default=False
            Compute the whole kernel matrix, where it is not there already.
        """
        if whole or self._gram is not None:
            K = self.gram()
            K = K if len(rows) == len(K) else K[np.ix_(rows, rows)]
            return GramRows(K), K.diagonal()
        if rows.tobytes() not in self._on:
            X = self.X if len(rows) == self.X.shape[0] else self.X[rows]
            self._on[rows.tobytes()] = KernelRows(self.function, X, X, self.cache_bytes)
        kernel_rows = self._on[rows.tobytes()]
        X = kernel_rows.X
        if hasattr(self.function, "diagonal"):
            return kernel_rows, self.function.diagonal(X)
        diagonal = np.empty(len(rows))
        for start in range(0, len(rows), 32):
            block = X[start : start + 32]
            diagonal[start : start + 32] = np.diag(self.function(block, block))
        return kernel_rows, diagonal


class NamedKernel:
    r"""One of scikit-learn's kernels, centred at a point z where that spares rounding errors.

    With a free intercept the dual coefficients sum to 0, so that
    :math:`K(x, x') - K(x, z) - K(z, x') + K(z, z)` is as good a kernel as K: only the intercept
    differs, by :math:`\sum_i v_i (K(x_i, z) - K(z, z) / 2)`. Linear and rbf kernels are centred;
    rbf by way of :math:`K - 1`, which keeps all digits where gamma is small. z is 0, or the mean
    of some rows where that is far from 0 as their spread goes.

    Parameters
    ----------
    svc : SVC
        Its gamma is a number.
    X : ndarray or sparse matrix of shape (n_rows, n_features)
        Training rows.
    """

    def __init__(self, svc, X):
        self.metric = svc.kernel
        self.params = {"gamma": svc.gamma, "degree": svc.degree, "coef0": svc.coef0}
        self.centred = self.metric in ("linear", "rbf")
        self.is_linear = self.metric == "linear"
        self.mean = far_mean(X) if self.centred else None

    def _centre(self, A):
        return A if self.mean is None else A - self.mean

    def _to_mean(self, A):
        """K(a, z) - 1 of an rbf kernel, for rows that are centred."""
        return np.expm1(-self.params["gamma"] * row_norms(A, squared=True))

    def __call__(self, A, B):
        if 0 in (A.shape[0], B.shape[0]):
            return np.zeros((A.shape[0], B.shape[0]))
        whole = A is B  # one argument: BLAS computes half of the products
        if not self.centred:
            B = _second(A) if whole else B
            return pairwise_kernels(A, B, metric=self.metric, filter_params=True, **self.params)
        A = self._centre(A)
        B = A if whole else self._centre(B)
        if whole:
            A = B = _nonzero_columns(A)
        if self.metric == "rbf":  # so that a.b and |a - b|^2 / 2 come in units of 1 / (2 gamma)
            A = A * np.sqrt(2.0 * self.params["gamma"])
            B = A if whole else B * np.sqrt(2.0 * self.params["gamma"])
        K = A @ (_second(A) if whole else B).T
        K = K.toarray() if sp.issparse(K) else K
        if self.metric == "linear":
            return K
        half_A, half_B = row_norms(A, squared=True) / 2, row_norms(B, squared=True) / 2
        from_A, from_B = np.expm1(-half_A), np.expm1(-half_B)
        far = half_A.max() + half_B.max() > FAR
        if far and not sp.issparse(A):
            K = cdist(A, B, "sqeuclidean")
            K *= -0.5
        for start in range(0, len(K), 64):  # blocks that stay in the processor's cache
            block, right = slice(start, start + 64), slice(start if whole else 0, None)
            part = K[block, right]
            if not far or sp.issparse(A):
                part -= half_A[block, None]
                part -= half_B[right]
            if far and sp.issparse(A):
                _measure(A[block], B[right], part)
            np.minimum(part, 0.0, out=part)
            if whole:
                np.fill_diagonal(part, 0.0)
            np.expm1(part, out=part)
            part -= from_A[block, None]
            part -= from_B[right]
            if whole:
                K[right, block] = part.T
        return K

    def product(self, A, B, v):
        """A linear kernel's values times v, by the weights that v gives."""
        return self._centre(A) @ (self._centre(B).T @ v)

    def offset(self, A):
        """What the kernel of duals v on rows A lacks in decision values: v offset, (n_rows,)."""
        if self.metric == "rbf":
            return self._to_mean(self._centre(A))
        if self.metric == "linear" and self.mean is not None:
            return A @ self.mean
        return np.zeros(A.shape[0])

    def diagonal(self, A):
        if self.metric == "rbf":
            return -2.0 * self._to_mean(self._centre(A))
        if self.metric == "linear":
            return row_norms(self._centre(A), squared=True)
        inner = self.params["gamma"] * row_norms(A, squared=True) + self.params["coef0"]
        return inner ** self.params["degree"] if self.metric == "poly" else np.tanh(inner)


def _measure(A, B, exponents):
    """Make ``-|a - b|^2 / 2`` exact for sparse rows that may be near one another, in place."""
    rounding = 1e-14 * np.abs(exponents).max()
    rows, columns = np.nonzero(exponents > -(60.0 + rounding))  # exp(-60) is 0 beside 1
    for start in range(0, len(rows), 4096):
        i, j = rows[start : start + 4096], columns[start : start + 4096]
        exponents[i, j] = -0.5 * row_norms(A[i] - B[j], squared=True)


def _second(A):
    """The second argument of a product of rows with themselves.

    OpenBLAS crashes in such products of too many rows on some threads (numpy issue 19685); a copy
    makes it another product.
    """
    return A.copy() if A.shape[0] > LARGEST_SYRK else A


def _nonzero_columns(X):
    """Dense rows without the columns that are zero in all of them; sparse ones as they are."""
    if sp.issparse(X):
        return X
    nonzero = X.any(axis=0)
    return X if nonzero.all() else np.take(X, np.flatnonzero(nonzero), axis=1)


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
    """A precomputed kernel as a function: column 0 is a row's number, the rest its kernel row.

    A are any samples, B training rows: only these have a number, which is their column.
    """
    numbers = B[:, 0].astype(int)
    if np.any(numbers == NO_NUMBER):
        raise ValueError("Of a precomputed kernel only values with training rows are known.")
    return A[:, 1:][:, numbers]


def number_rows(gram, numbers=NO_NUMBER):
    """Rows that :func:`look_up` takes: those of training rows with their numbers."""
    gram = np.asarray(gram, dtype=np.float64)
    return np.column_stack([np.full(len(gram), numbers), gram])
