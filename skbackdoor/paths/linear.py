r"""Linear models with a smooth loss and an l2 penalty: optimum, Hessian solves, tangent.

Ridge, logistic regression and the squared-hinge SVM are all

.. math:: J(W, b) = \sum_i s_i\, \ell(F_i, y_i)
          + \frac{\alpha}{2} \left(\|W\|^2 + \gamma \|b\|^2\right), \quad F = X W^T + b

with sample weights s, penalty alpha > 0 and gamma = 0 where the intercept is free. With
G_i = s_i d loss / d F_i (n_samples, n_outputs) and Z = [X, 1]:

- gradient: G^T Z + alpha [W, gamma b], shape (n_outputs, n_parameters);
- Hessian product: R^T Z + alpha [V, gamma v_b], with R_i = s_i loss''(F_i) (Z V^T)_i.

If poison rows enter with weight beta, the optimum moves from beta = 0 at the rate
``dW = -H^{-1} G_p^T Z_p`` (implicit function theorem; Cinà et al. 2024, eq. 4).
"""

import warnings
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from scipy.linalg import LinAlgError, cho_factor, cho_solve, lapack
from scipy.sparse.linalg import LinearOperator, cg
from sklearn.exceptions import ConvergenceWarning

from .threads import one_blas_thread

#: Up to so many unknowns an exact solve factorises a dense Hessian; beyond, conjugate gradients.
DENSE_UNKNOWNS = 1200
#: Relative residual of conjugate gradients for a Newton direction.
NEWTON_RTOL = 1e-6


class LinearObjective:
    """The objective J of the module docstring, on given rows.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Rows, float.
    y : ndarray of shape (n_samples,)
        Label indices.
    weight : ndarray of shape (n_samples,)
        The weights s >= 0.
    loss : object
        A smooth loss of :mod:`skbackdoor.paths.losses`.
    alpha : float
        Penalty, > 0 (0 is allowed where the Hessian can be factorised).
    fit_intercept : bool
        Whether b is a parameter.
    intercept_penalty : float
        The factor gamma.
    """

    def __init__(self, X, y, weight, loss, alpha, fit_intercept, intercept_penalty=0.0):
        self.X, self.y, self.weight, self.loss = X, y, weight, loss
        self.alpha, self.fit_intercept = alpha, fit_intercept
        n_parameters = X.shape[1] + fit_intercept
        self.penalty = np.full(n_parameters, alpha)
        if fit_intercept:
            self.penalty[-1] = alpha * intercept_penalty
        self._factor = self._scale = None

    def decision(self, W, X=None):
        """F of shape (n_samples, n_outputs) at parameters W of shape (n_outputs, n_parameters)."""
        X = self.X if X is None else X
        if self.fit_intercept:
            return X @ W[:, :-1].T + W[:, -1]
        return X @ W.T

    def pull_back(self, R, X=None):
        """R^T Z: values for each sample and output back to parameter space."""
        X = self.X if X is None else X
        back = np.asarray((X.T @ R).T)
        return np.column_stack([back, R.sum(axis=0)]) if self.fit_intercept else back

    def value(self, W):
        losses = self.loss.value(self.decision(W), self.y)
        return self.weight @ losses + 0.5 * np.sum(self.penalty * W * W)

    def gradient(self, W, F=None):
        F = self.decision(W) if F is None else F
        G = self.weight[:, None] * self.loss.gradient(F, self.y)
        return self.pull_back(G) + self.penalty * W

    def gradient_scale(self, n_outputs):
        """Gradient norm at zero parameters, computed once; 1 where it is 0."""
        if self._scale is None:
            origin = np.zeros((n_outputs, len(self.penalty)))
            self._scale = np.linalg.norm(self.gradient(origin)) or 1.0
        return self._scale

    @cached_property
    def _live(self):
        """Parameters whose column of Z is not all zero, and those columns of X.

        A column of zeros (a pixel that is never lit) has the Hessian alpha on the diagonal and
        nothing else.
        """
        if sp.issparse(self.X):
            return slice(None), self.X
        suspect = np.flatnonzero(np.ones(len(self.X)) @ self.X == 0)  # cheap; sums can cancel
        dead = suspect[~self.X[:, suspect].any(axis=0)]
        if len(dead) == 0:
            return slice(None), self.X
        columns = np.delete(np.arange(self.X.shape[1]), dead)
        live = np.append(columns, self.X.shape[1]) if self.fit_intercept else columns
        return live, np.take(self.X, columns, axis=1)

    def solve(self, F, right, rtol):
        """H^-1 times each block of `right`, at decision values F.

        Parameters
        ----------
        F : ndarray of shape (n_samples, n_outputs)
            Decision values at which the Hessian is taken.
        right : ndarray of shape (n_right, n_outputs, n_parameters)
            Right-hand sides, solved side by side.
        rtol : float or None
            Relative residual of conjugate gradients; None for as exact as can be. Up to
            `DENSE_UNKNOWNS` the Hessian is factorised; with an `rtol`, a factor at other decision
            values that is there already serves as preconditioner instead.

        Returns
        -------
        solution : ndarray of shape (n_right, n_outputs, n_parameters)

        Raises
        ------
        ValueError
            The Hessian is singular or indefinite.
        """
        live, X = self._live
        curvature = self.loss.curvature(F, self.y)
        inner = right[:, :, live]
        joint = right.shape[1] > 1 and not self.loss.decouples
        n_unknowns = inner.shape[2] * (inner.shape[1] if joint else 1)
        dense = n_unknowns <= DENSE_UNKNOWNS or self.alpha == 0
        solved = None
        if dense and rtol is not None and self._factor is not None:
            solved = self._iterate(X, curvature, live, inner, rtol, 25)  # None: not in 25 products
        if dense and solved is None:
            factorise = self._factor_joint if joint else self._factor_by_output
            self._factor = factorise(X, curvature, live, right.shape[1])
            solved = self._factor(inner)
        elif not dense:
            limit = 20 * inner.shape[2] + 200
            solved = self._iterate(X, curvature, live, inner, rtol or 1e-12, limit)
            if solved is None:
                raise ValueError(
                    "The Hessian of the training objective is singular or too ill-conditioned:"
                    f" conjugate gradients did not converge in {limit} products. Use a stronger"
                    " regularization or scale the features."
                )
        if isinstance(live, slice):
            return solved
        if self.alpha == 0:
            raise _singular(0.0)
        solution = right / self.alpha
        solution[:, :, live] = solved
        return solution

    def _gram(self, X, row_weight):
        """Z^T diag(row_weight) Z, dense, for row weights >= 0 or of any sign."""
        if sp.issparse(X):
            gram = (X.T @ X.multiply(row_weight[:, None]).tocsr()).toarray()
        elif np.all(row_weight >= 0):
            scaled = np.sqrt(row_weight)[:, None] * X
            gram = scaled.T @ scaled  # one argument: BLAS computes half
        else:
            gram = X.T @ (row_weight[:, None] * X)
        if not self.fit_intercept:
            return gram
        border = np.asarray(X.T @ row_weight).ravel()
        return np.block([[gram, border[:, None]], [border[None, :], row_weight.sum()]])

    def _factor_by_output(self, X, curvature, live, n_outputs):
        """Solver of one Hessian an output (one-vs-rest, ridge)."""
        factors = []
        for k in range(n_outputs):
            if k > 0 and np.array_equal(curvature[:, k], curvature[:, 0]):
                factors.append(factors[0])  # ridge: the Hessian knows no labels
                continue
            hessian = self._gram(X, self.weight * curvature[:, k])
            hessian[np.diag_indices_from(hessian)] += self.penalty[live]
            factors.append(_cholesky(hessian))

        def solve(right):
            blocks = [cho_solve(factor, right[:, k].T).T for k, factor in enumerate(factors)]
            return np.stack(blocks, axis=1)

        return solve

    def _factor_joint(self, X, curvature, live, n_outputs):
        """Solver of the Hessian of all outputs at once (softmax)."""
        penalty = self.penalty[live]
        n_parameters = len(penalty)
        hessian = np.zeros((n_outputs, n_parameters, n_outputs, n_parameters))
        for k in range(n_outputs):
            unit = np.zeros_like(curvature)
            unit[:, k] = 1.0
            block = self.loss.hessian_product(curvature, unit)  # d^2 loss / dF_j dF_k
            for j in range(k + 1):
                gram = self._gram(X, self.weight * block[:, j])
                hessian[k, :, j, :] = hessian[j, :, k, :] = gram
            hessian[k, :, k, :] += np.diag(penalty)
        if self.fit_intercept and penalty[-1] == 0:
            # As in _iterate: a direction that no right-hand side has a part in gets curvature.
            hessian[:, -1, :, -1] += self.weight.sum() / n_outputs
        size = n_outputs * n_parameters
        factor = _cholesky(hessian.reshape(size, size))
        return lambda right: cho_solve(factor, right.reshape(-1, size).T).T.reshape(right.shape)

    def _iterate(self, X, curvature, live, right, rtol, maxiter):
        """Conjugate gradients on Hessian-vector products; right-hand sides share each pass.

        Returns None where the residual is not down to `rtol`, or to 1e-6, after `maxiter`.
        """
        n_right, n_outputs, n_parameters = right.shape
        weight, penalty = self.weight[:, None], self.penalty[live]

        # All intercepts plus one constant is the same softmax model: a direction of curvature 0
        # that no right-hand side has a part in; give it some, so that rounding stays out of it.
        shift = 0.0
        if self.fit_intercept and penalty[-1] == 0 and not self.loss.decouples:
            shift = self.weight.sum() / n_outputs

        def product(flat):
            V = flat.reshape(n_right * n_outputs, n_parameters)
            dF = self.decision(V, X)
            R = np.empty_like(dF)
            for r in range(n_right):
                block = slice(r * n_outputs, (r + 1) * n_outputs)
                R[:, block] = weight * self.loss.hessian_product(curvature, dF[:, block])
            back = (self.pull_back(R, X) + penalty * V).reshape(right.shape)
            if shift:
                intercepts = V.reshape(right.shape)[:, :, -1]
                back[:, :, -1] += shift * intercepts.sum(axis=1, keepdims=True)
            return back.ravel()

        # Each right-hand side is scaled to unit length, so that one tolerance serves all.
        norms = np.linalg.norm(right.reshape(n_right, -1), axis=1)[:, None, None]
        norms[norms == 0] = 1.0
        scaled = (right / norms).ravel()
        size = len(scaled)
        preconditioner = None
        if self._factor is not None:
            preconditioner = LinearOperator(
                (size, size),
                matvec=lambda flat: self._factor(flat.reshape(right.shape)).ravel(),
                dtype=float,
            )
        operator = LinearOperator((size, size), matvec=product, dtype=float)
        with one_blas_thread():
            solution, info = cg(
                operator, scaled, rtol=rtol, atol=0.0, maxiter=maxiter, M=preconditioner
            )
        if info != 0:
            reached = np.linalg.norm(product(solution) - scaled) / np.linalg.norm(scaled)
            if not reached < max(1e-6, rtol):
                return None
        return solution.reshape(right.shape) * norms


def _cholesky(hessian):
    """Cholesky factor of a Hessian, or an error if it is singular or indefinite."""
    size = np.abs(hessian).sum(axis=0).max()
    try:
        factor = cho_factor(hessian, lower=True)
    except LinAlgError:
        raise _singular(0.0) from None
    rcond, _ = lapack.dpocon(factor[0], size, uplo="L")
    if rcond < 1e-15:
        raise _singular(rcond)
    return factor


def _singular(rcond):
    return ValueError(
        "The Hessian of the training objective is singular or indefinite (reciprocal condition"
        f" number {rcond:.1e}), so the slope is not defined. Regularize the learner (a smaller C,"
        " a larger alpha)."
    )


class LinearOptimum:
    """An optimum of a :class:`LinearObjective` and the rate at which poison moves it.

    Parameters
    ----------
    objective : LinearObjective
        On the clean rows.
    W : ndarray of shape (n_outputs, n_parameters)
        Parameters: the fit as it is.
    poison : tuple of (X, y, weight)
        Poison rows, label indices, weights without the factor beta.
    rtol : float or None
        Accuracy of the Hessian solves, as in :meth:`LinearObjective.solve`.
    """

    first_breakpoint = None
    intercept_jump = 0.0

    def __init__(self, objective, W, poison, rtol=None):
        self.objective, self.W, self.poison, self.rtol = objective, W, poison, rtol
        self.F = objective.decision(W)
        self.gradient = objective.gradient(W, self.F)
        #: Gradient norm relative to that at zero parameters.
        self.residual = np.linalg.norm(self.gradient) / objective.gradient_scale(len(W))
        self._tangent = None

    def _poison_gradient(self):
        X, y, weight = self.poison
        G = weight[:, None] * self.objective.loss.gradient(self.objective.decision(self.W, X), y)
        return self.objective.pull_back(G, X)

    def tangent(self):
        """dW / d beta at beta = 0, shape (n_outputs, n_parameters)."""
        if self._tangent is None:
            right = -self._poison_gradient()[None]
            self._tangent = self.objective.solve(self.F, right, self.rtol)[0]
        return self._tangent

    def right_limit(self, X):
        """Decision values on X and their derivative in beta, both at beta = 0."""
        return self.objective.decision(self.W, X), self.objective.decision(self.tangent(), X)

    def newton_step(self, X):
        """The optimum after one Newton step; None where that moves no decision value of note.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Samples whose decision values matter.

        Returns
        -------
        optimum : LinearOptimum or None
            None where no decision value moves by more than 0.005.
        """
        if self.residual < 1e-9:
            return None
        right = np.stack([-self.gradient, -self._poison_gradient()])
        step, self._tangent = self.objective.solve(self.F, right, self.rtol)
        moved = [self.objective.decision(step, rows) for rows in (None, self.poison[0], X)]
        if max(np.abs(dF).max() for dF in moved) < 0.005:
            return None
        return LinearOptimum(self.objective, self.W + step, self.poison, self.rtol)

    def polish(self, tol=1e-12, max_iter=100):
        """Damped Newton steps until the relative gradient norm is `tol` or rounding stops them.

        Warns
        -----
        ConvergenceWarning
            The relative gradient norm stays above 1e-8.
        """
        best = self
        value = self.objective.value(best.W)
        for _ in range(max_iter):
            if best.residual <= tol:
                break
            step = self.objective.solve(best.F, -best.gradient[None], NEWTON_RTOL)[0]
            decrease = np.sum(best.gradient * step)
            size = 1.0
            while True:
                W = best.W + size * step
                new = self.objective.value(W)
                if new <= value + 1e-4 * size * decrease or size < 1e-6:
                    break
                size /= 2
            trial = LinearOptimum(self.objective, W, self.poison, self.rtol)
            stalled = trial.residual > 0.5 * best.residual and new >= value * (1 - 1e-12)
            if trial.residual < best.residual or not stalled:
                best, value = trial, new
            if stalled:
                break  # rounding: neither objective nor gradient gets smaller
        if best.residual > 1e-8:
            warnings.warn(
                f"The clean optimum was not reached: relative gradient norm {best.residual:.1e}."
                " The slope assumes optimality; scale the features or regularize more.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return best
