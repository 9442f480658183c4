r"""Ridge: :math:`\sum_i s_i (f_i - y_i)^2 + \alpha \|w\|^2` with a free intercept."""

from functools import cached_property, partial

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_solve, solve_triangular
from sklearn.linear_model import Ridge, RidgeClassifier

from .base import WeightPath
from .continuation import Continuation
from .linear import (
    LinearObjective,
    LinearOptimum,
    cholesky,
    far_mean,
    warn_unless_optimal,
    weighted_gram,
)
from .losses import MarginLoss, Squared, SquaredError
from .rows import as_float64
from .smooth import difference
from .solutions import LinearSolution
from .threads import one_blas_thread

#: The closed form factorises the smaller side of X, if it is no larger.
LARGEST_FACTOR = 5000


class RidgePath(WeightPath):
    """`RidgeClassifier` (targets +-1, one output a class) and `Ridge` on numeric labels."""

    @staticmethod
    def handles(estimator):
        """Whether this family knows the loss of a learner."""
        return isinstance(estimator, (Ridge, RidgeClassifier))

    @staticmethod
    def cast(estimator, X):
        return as_float64(X)

    def _setup(self):
        rows = self.rows
        exact = type(self.estimator) in (Ridge, RidgeClassifier)  # a subclass may fit otherwise
        if not exact or self.estimator.positive or np.ndim(self.estimator.alpha) > 0:
            self.method = difference(self.estimator)
        if isinstance(self.estimator, Ridge):
            if rows.classes.dtype.kind not in "iufb":
                raise ValueError(
                    f"Ridge regresses on numbers, but the labels are {rows.classes.tolist()};"
                    " use RidgeClassifier, which fits the same loss on targets of +-1."
                )
            self.loss = SquaredError(rows.classes)
        else:
            self.loss = MarginLoss.one_vs_rest(Squared(), len(rows.classes))

    def decision_values(self, fitted, X):
        return linear_decision(fitted, X)

    def predict(self, fitted, X):
        """For `Ridge` the label nearest to the predicted number."""
        return self.labels(self.decision_values(fitted, X))

    def labels(self, F):
        """For `Ridge` the label nearest to the predicted number."""
        if not isinstance(self.estimator, Ridge):
            return super().labels(F)
        classes = self.rows.classes
        return classes[np.abs(F - classes).argmin(axis=1)]

    def optimum(self, rtol=None):
        """The clean fit as it is, with the rate at which poison moves it."""
        rows, estimator = self.rows, self.estimator
        weight, weight_poison = self.rows.weights
        X, y, _ = rows.clean
        objective = LinearObjective(
            X, y, weight, self.loss, 2.0 * estimator.alpha, estimator.fit_intercept
        )
        poison = (rows.poison.X, rows.poison.y, weight_poison)
        if self.known_fit is not None or min(rows.clean.X.shape) > LARGEST_FACTOR:
            W = objective.to_own(parameters(self.fitted))
            return LinearOptimum(objective, W, poison, rtol)
        solution = self._solve(np.zeros(1))
        W, tangent = (objective.to_own(part[0]) for part in (solution.W, solution.W_rate))
        return LinearOptimum(objective, W, poison, rtol, tangent)

    def _solve(self, weights, n_jobs=None):
        with one_blas_thread(self.rows.clean.X):
            if min(self.rows.clean.X.shape) > LARGEST_FACTOR:
                return Continuation(self, self.optimum()).solution(weights)
            return self._closed_form.solution(weights)

    @cached_property
    def _closed_form(self):
        return ClosedForm(self)


class ClosedForm:
    r"""Ridge at every poison weight from one factorisation.

    With Z = [X, 1], targets T and no penalty on the intercept, the clean rows give
    :math:`A = Z^T S Z + \alpha I_0` and :math:`w_0 = A^{-1} Z^T S T`. Poison rows enter as
    :math:`A + \beta Z_p^T S_p Z_p`, and with :math:`E = Z_p^T S_p^{1/2}`,
    :math:`r = S_p^{1/2} (T_p - Z_p w_0)` and the eigenvectors Q and eigenvalues :math:`\lambda` of
    :math:`E^T A^{-1} E` the Woodbury identity gives

    .. math:: w(\beta) = w_0 + A^{-1} E Q \,
              \mathrm{diag}\left(\frac{\beta}{1 + \beta \lambda}\right) Q^T r,
              \qquad
              \frac{d w}{d \beta} = A^{-1} E Q \,
              \mathrm{diag}\left(\frac{1}{(1 + \beta \lambda)^2}\right) Q^T r.

    With more poison rows than features the eigenvectors are taken on the other side. With fewer
    clean rows than features the same comes from the dual, w = X^T v with
    :math:`(X X^T + \alpha S^{-1}) v + b = T` and :math:`1^T v = 0` where the intercept is free.

    Parameters
    ----------
    path : RidgePath
        Products of its rows, Z^T S Z or X X^T, are shared with paths of other alphas.
    """

    def __init__(self, path):
        self.path, rows = path, path.rows
        self.free, self.alpha = path.estimator.fit_intercept, path.estimator.alpha
        self.weight, self.weight_poison = path.rows.weights
        targets = path.loss.signs if isinstance(path.loss, MarginLoss) else path.loss.targets
        targets = targets.reshape(len(rows.classes), -1)
        self.T, self.T_poison = targets[rows.clean.y], targets[rows.poison.y]
        found = path.shared.get("nonzero columns", self.free, self._nonzero_columns)
        self.columns, self.mean, self.X, self.X_poison = found
        wide = self.X.shape[0] < self.X.shape[1] and self.alpha > 0
        side = self._dual if wide else self._primal
        #: w(beta) = start + basis (gain(beta) charge), with an intercept last where it is free.
        self.start, self.basis, self.lam, self.charge = side()

    def _nonzero_columns(self):
        """Clean and poison rows without the columns that are zero in all of them, centred."""
        X, X_poison = self.path.rows.clean.X, self.path.rows.poison.X
        if sp.issparse(X):
            return None, None, X, X_poison
        nonzero = X.any(axis=0) | X_poison.any(axis=0)
        columns = None if nonzero.all() else np.flatnonzero(nonzero)
        if columns is not None:
            X, X_poison = np.take(X, columns, axis=1), np.take(X_poison, columns, axis=1)
        mean = far_mean(X) if self.free else None
        if mean is not None:
            X, X_poison = X - mean, X_poison - mean
        return columns, mean, X, X_poison

    def _primal(self):
        name = self.free, self.weight.tobytes()
        gram = self.path.shared.get(
            "gram", name, lambda: weighted_gram(self.X, self.weight, self.free)
        )
        A = gram.copy()
        A[np.diag_indices(self.X.shape[1])] += self.alpha
        factor = cholesky(A)
        start = cho_solve(factor, self._pull(self.X, self.weight[:, None] * self.T))
        root = np.sqrt(self.weight_poison)
        E = self.X_poison.toarray() if sp.issparse(self.X_poison) else self.X_poison
        E = np.column_stack([E, np.ones(len(E))]) if self.free else E
        E = root[:, None] * E
        r = root[:, None] * self.T_poison - E @ start
        half = solve_triangular(factor[0], E.T, lower=True, check_finite=False)
        if half.shape[1] > half.shape[0]:  # the same in the space of the parameters
            lam, U = np.linalg.eigh(half @ half.T)
            directions, charge = U, U.T @ (half @ r)
        else:
            lam, Q = np.linalg.eigh(half.T @ half)
            directions, charge = half @ Q, Q.T @ r
        basis = solve_triangular(factor[0], directions, lower=True, trans="T", check_finite=False)
        return start, basis, np.maximum(lam, 0.0), charge

    def _dual(self):
        K, K_poison, K_both = self.path.shared.get("kernels", self.free, self._kernels)
        used = np.flatnonzero(self.weight > 0)  # a row of weight 0 has no dual coefficient
        A, right = K[np.ix_(used, used)], self.T[used]
        A[np.diag_indices(len(used))] += self.alpha / self.weight[used]
        factor = cholesky(A)
        root = np.sqrt(self.weight_poison)

        def solve(right, total):
            """v and b of [[A, 1], [1^T, 0]] [v; b] = [right; total]."""
            v = cho_solve(factor, right)
            if not self.free:
                return v, np.zeros((1, right.shape[1]))
            ones = cho_solve(factor, np.ones((len(used), 1)))
            b = (v.sum(axis=0, keepdims=True) - total) / ones.sum()
            return v - ones * b, b

        v, b = solve(right, 0.0)
        # A unit of dual coefficient on a poison row moves those of the clean ones by -V, b by -B.
        V, B = solve(K_both[used], 1.0)
        M = K_poison - K_both[used].T @ V - B
        r = root[:, None] * (self.T_poison - K_both[used].T @ v - b)
        lam, Q = np.linalg.eigh(root[:, None] * (M + M.T) / 2 * root)
        lam = np.maximum(lam, 0.0) / self.alpha
        move = root[:, None] * Q / self.alpha
        start = np.asarray(self.X[used].T @ v)
        basis = np.asarray(self.X_poison.T @ move) - np.asarray(self.X[used].T @ (V @ move))
        if self.free:
            start, basis = np.vstack([start, b]), np.vstack([basis, -B @ move])
        return start, basis, lam, Q.T @ r

    def _kernels(self):
        """X X^T of clean rows, of poison rows, and between them."""
        products = ((self.X, self.X), (self.X_poison, self.X_poison), (self.X, self.X_poison))
        kernels = (A @ B.T for A, B in products)
        return [K.toarray() if sp.issparse(K) else K for K in kernels]

    def _pull(self, X, R):
        """Z^T R."""
        back = np.asarray(X.T @ R)
        return np.vstack([back, R.sum(axis=0)]) if self.free else back

    def _combine(self, gain):
        """basis (gain charge) at each weight: (n_weights, n_outputs, n_parameters)."""
        scaled = gain[:, :, None] * self.charge  # (n_weights, n_directions, n_outputs)
        flat = scaled.transpose(0, 2, 1).reshape(-1, len(self.lam))
        return (flat @ self.basis.T).reshape(len(gain), -1, len(self.basis))

    def _full(self, W):
        """Parameters of all columns: those that are zero in every row have coefficient 0."""
        if self.mean is not None:  # the intercept of rows that are not centred
            W = W.copy()
            W[..., -1] -= W[..., :-1] @ self.mean
        if self.columns is None:
            return W
        n_features = self.path.rows.clean.X.shape[1]
        full = np.zeros((*W.shape[:-1], n_features + self.free))
        full[..., self.columns] = W[..., : len(self.columns)]
        if self.free:
            full[..., -1] = W[..., -1]
        return full

    def solution(self, weights):
        """The solution at strictly increasing weights."""
        beta = weights[:, None]
        W = self.start.T + self._combine(beta / (1.0 + beta * self.lam))
        return LinearSolution(
            self.path,
            weights,
            "closed form",
            self._residuals(weights, W),
            self._full(W),
            self._full(self.start.T),
            partial(self._rates, beta),
        )

    def _rates(self, beta):
        return self._full(self._combine(1.0 / (1.0 + beta * self.lam) ** 2))

    def _residuals(self, weights, W):
        """Gradient norms relative to those at zero parameters."""
        n_weights, n_outputs, _ = W.shape
        coef = W[:, :, :-1] if self.free else W
        intercept = W[:, :, -1] if self.free else 0.0
        gradient, origin = self.alpha * W, np.zeros_like(W)
        if self.free:
            gradient[:, :, -1] = 0.0
        floor = 0.0  # what a scale counts as where its terms cancel to rounding
        for X, T, weight, factor in (
            (self.X, self.T, self.weight, np.ones(n_weights)),
            (self.X_poison, self.T_poison, self.weight_poison, weights),
        ):
            F = np.asarray(X @ coef.reshape(n_weights * n_outputs, -1).T).T
            F = F.reshape(n_weights, n_outputs, -1) + np.expand_dims(intercept, -1)
            R = ((F - T.T) * weight).reshape(n_weights * n_outputs, -1)
            back = self._pull(X, R.T).T.reshape(W.shape)
            gradient += factor[:, None, None] * back
            origin += factor[:, None, None] * self._pull(X, weight[:, None] * T).T
            entries = X.data if sp.issparse(X) else X.ravel(order="K")
            size = np.sqrt(np.dot(entries, entries) + self.free * len(T))
            floor += 1e-7 * size * np.linalg.norm(weight[:, None] * T)
        scale = np.maximum(np.linalg.norm(origin, axis=(1, 2)), floor if floor > 0 else 1.0)
        residuals = np.linalg.norm(gradient, axis=(1, 2)) / scale
        warn_unless_optimal(residuals.max())
        return residuals


def linear_decision(fitted, X):
    """X W^T + b of a fitted linear learner, shape (n_samples, n_outputs)."""
    W = parameters(fitted)
    F = np.asarray(X @ W[:, : X.shape[1]].T)
    return F + W[:, -1] if fitted.fit_intercept else F


def parameters(fitted):
    """Coefficients and, if there is one, intercept: shape (n_outputs, n_parameters)."""
    coef = np.atleast_2d(np.asarray(fitted.coef_, dtype=np.float64))
    if not fitted.fit_intercept:
        return coef
    intercept = np.ravel(np.asarray(fitted.intercept_, dtype=np.float64))
    return np.column_stack([coef, intercept])
