"""Ridge at every poison weight, in closed form."""

from functools import partial

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_solve, solve_triangular

from ..centring import Centring, far_mean
from ..losses import MarginLoss
from ..solutions import LinearSolution, linear_values
from ..switches import SignChanges, by_comparisons, margins
from .cholesky import cholesky
from .design import DesignMatrix
from .nonzero_columns import NonzeroColumns
from .objective import LinearObjective
from .rational import FractionSums
from .residual import GradientScale, warn_unless_optimal


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
        self.fit_intercept, self.alpha = path.estimator.fit_intercept, path.estimator.alpha
        self.weight, self.poison_weight = path.rows.weights
        targets = path.loss.signs if isinstance(path.loss, MarginLoss) else path.loss.targets
        targets = targets.reshape(len(rows.classes), -1)
        self.T, self.T_poison = targets[rows.clean.y], targets[rows.poison.y]
        found = path.shared.get("nonzero columns", self.fit_intercept, self._nonzero_columns)
        self.columns, self.centring, self.clean, self.poison = found
        n_samples, n_features = self.clean.X.shape
        side = self._dual if n_samples < n_features and self.alpha > 0 else self._primal
        #: w(beta) = start + basis (gain(beta) coordinates), the intercept last where there is one;
        #: the gain of an eigenvalue is beta / (1 + beta eigenvalue).
        self.start, self.basis, self.eigenvalues, self.coordinates = side()

    def _nonzero_columns(self):
        """Clean and poison rows without the columns that are zero in all of them, centred."""
        parts = self.path.rows.clean.X, self.path.rows.poison.X
        columns = NonzeroColumns(self.fit_intercept, *parts)
        X, X_poison = (columns.take(X) for X in parts)
        centring = Centring(far_mean(X) if self.fit_intercept else None)
        designs = (DesignMatrix(centring(part), self.fit_intercept) for part in (X, X_poison))
        return columns, centring, *designs

    def _primal(self):
        name = self.fit_intercept, self.weight.tobytes()
        gram = self.path.shared.get("gram", name, lambda: self.clean.gram(self.weight))
        A = gram.copy()
        A[np.diag_indices(self.clean.X.shape[1])] += self.alpha
        factor = cholesky(A)
        start = cho_solve(factor, self.clean.adjoint(self.weight[:, None] * self.T).T)
        root = np.sqrt(self.poison_weight)
        E = root[:, None] * self.poison.rows()
        r = root[:, None] * self.T_poison - E @ start
        half = solve_triangular(factor[0], E.T, lower=True, check_finite=False)
        if half.shape[1] > half.shape[0]:  # the same in the space of the parameters
            lam, U = np.linalg.eigh(half @ half.T)
            directions, coordinates = U, U.T @ (half @ r)
        else:
            lam, Q = np.linalg.eigh(half.T @ half)
            directions, coordinates = half @ Q, Q.T @ r
        basis = solve_triangular(factor[0], directions, lower=True, trans="T", check_finite=False)
        return start, basis, np.maximum(lam, 0.0), coordinates

    def _dual(self):
        K, K_poison, K_both = self.path.shared.get("kernels", self.fit_intercept, self._kernels)
        used = np.flatnonzero(self.weight > 0)  # a row of weight 0 has no dual coefficient
        A, right = K[np.ix_(used, used)], self.T[used]
        A[np.diag_indices(len(used))] += self.alpha / self.weight[used]
        factor = cholesky(A)
        root = np.sqrt(self.poison_weight)

        def solve(right, total):
            """v and b of [[A, 1], [1^T, 0]] [v; b] = [right; total]."""
            v = cho_solve(factor, right)
            if not self.fit_intercept:
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
        X, X_poison = self.clean.X[used], self.poison.X
        start = np.asarray(X.T @ v)
        basis = np.asarray(X_poison.T @ move) - np.asarray(X.T @ (V @ move))
        if self.fit_intercept:
            start, basis = np.vstack([start, b]), np.vstack([basis, -B @ move])
        return start, basis, lam, Q.T @ r

    def _kernels(self):
        """X X^T of clean rows, of poison rows, and between them."""
        X, X_poison = self.clean.X, self.poison.X
        kernels = (A @ B.T for A, B in ((X, X), (X_poison, X_poison), (X, X_poison)))
        return [K.toarray() if sp.issparse(K) else K for K in kernels]

    def _combine(self, gain):
        """basis (gain coordinates) at each weight: (n_weights, n_outputs, n_parameters)."""
        scaled = gain[:, :, None] * self.coordinates  # (n_weights, n_directions, n_outputs)
        flat = scaled.transpose(0, 2, 1).reshape(-1, len(self.eigenvalues))
        return (flat @ self.basis.T).reshape(len(gain), -1, len(self.basis))

    def _full(self, W):
        """Parameters of all columns, for rows as the learner sees them."""
        return self.columns.expand(self.centring.from_centred(W))

    def solution(self, weights):
        """The solution at strictly increasing weights."""
        beta = weights[:, None]
        W = self.start.T + self._combine(beta / (1.0 + beta * self.eigenvalues))
        return LinearSolution(
            self.path,
            weights,
            "closed form",
            self._residuals(weights, W),
            self._full(W),
            self._full(self.start.T),
            partial(self._rates, beta),
        )

    def label_switches(self, rows, y):
        """When samples get and lose labels: :meth:`WeightPath.label_switches`."""
        start, directions = (  # (n_rows, n_outputs), (n_directions, n_rows, 1)
            linear_values(self._full(W), rows, self.fit_intercept)
            for W in (self.start.T[None], self.basis.T[:, None])
        )
        start = start[0]
        lam, parts = self.eigenvalues, []
        size = max(1, 20_000_000 // (len(lam) * start.shape[1]))
        for part in (slice(i, i + size) for i in range(0, len(y), size)):
            c = margins(directions[:, part] * self.coordinates[:, None], y[part])
            g = margins(start[part], y[part])
            functions = FractionSums(g.ravel(), c.reshape(len(lam), -1).T, lam)
            changes, offset = functions.sign_changes(), part.start * g.shape[1]
            parts.append((changes.above, changes.rows + offset, changes.weights))
        changes = SignChanges(*map(np.concatenate, zip(*parts, strict=True)))
        owners = np.repeat(np.arange(len(y)), g.shape[1])
        return by_comparisons(owners, changes, "closed form", 0.0)

    def _rates(self, beta):
        return self._full(self._combine(1.0 / (1.0 + beta * self.eigenvalues) ** 2))

    def _residuals(self, weights, W):
        """Gradient norms relative to those at zero parameters."""
        rows, loss = self.path.rows, self.path.loss
        clean = LinearObjective(self.clean, rows.clean.y, self.weight, loss, 2.0 * self.alpha)
        poison = LinearObjective(self.poison, rows.poison.y, self.poison_weight, loss, 0.0)
        at_zero, at_one = (part.gradient(W, part.decision(W)) for part in (clean, poison))
        gradients = at_zero + weights[:, None, None] * at_one
        scale = GradientScale(clean, poison, W.shape[1])(weights)
        residuals = np.linalg.norm(gradients, axis=(1, 2)) / scale
        warn_unless_optimal(residuals.max())
        return residuals
