r"""Linear models with a smooth loss and an l2 penalty: optimum, Hessian solves, tangent, path.

Ridge, logistic regression and the squared-hinge SVM are all

.. math:: J(W, b) = \sum_i s_i\, \ell(F_i, y_i)
          + \frac{\alpha}{2} \left(\|W\|^2 + \gamma \|b\|^2\right), \quad F = X W^T + b

with sample weights s, penalty alpha > 0 and gamma = 0 where the intercept is free. With
G_i = s_i d loss / d F_i (n_samples, n_outputs) and Z = [X, 1]:

- gradient: G^T Z + alpha [W, gamma b], shape (n_outputs, n_parameters);
- Hessian product: R^T Z + alpha [V, gamma v_b], with R_i = s_i loss''(F_i) (Z V^T)_i.

If poison rows enter with weight beta, the optimum moves at the rate
``dW / d beta = -H^{-1} G_p^T Z_p`` (implicit function theorem; Cinà et al. 2024, eq. 4), with H
the Hessian at beta. Fits at many weights are worked on side by side, since one product with many
columns costs little more than one with a few.
"""

import warnings
from copy import copy
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from scipy.linalg import LinAlgError, cho_factor, cho_solve, get_lapack_funcs
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.extmath import row_norms

from .base import Optimum
from .newton import STALE_PRODUCTS, newton, not_converged
from .threads import one_blas_thread

#: Up to so many unknowns an exact solve factorises a dense Hessian; beyond, conjugate gradients.
DENSE_UNKNOWNS = 1200
#: Right-hand sides beyond which a factor in double precision is cheaper than iterating.
MANY = 16
#: Relative residual that conjugate gradients reach in single precision.
SINGLE_RTOL = 1e-5
#: After a Newton step that moves decision values by more, a factor made before it is not used: it
#: takes ten products where they move by 10, twice as many by 13; a new factor costs about fifteen.
OUTGROWN = 10.0
#: Relative residual of the solve after a Newton step, which only tells how far theta moves: enough
#: for four digits of it, where a scorer asks for two.
CHECK_RTOL = 1e-3
#: Relative gradient norm above which an optimum is reported as not reached.
REACHED = 1e-8


class LinearObjective:
    """The objective J of the module docstring, on given rows.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Rows, float.
    y : ndarray of shape (n_samples,)
        Label indices.
    weight : ndarray of shape (..., n_samples)
        The weights s >= 0; leading axes are fits side by side.
    loss : object
        A smooth loss of :mod:`skbackdoor.paths.losses`.
    alpha : float
        Penalty, > 0 (0 is allowed where the Hessian can be factorised).
    fit_intercept : bool
        Whether b is a parameter.
    intercept_penalty : float
        The factor gamma.

    Notes
    -----
    Where the intercept is free and the features' means are far from 0 as their spread goes, the
    rows are moved to their mean (`origin`), which spares rounding errors and changes the intercept
    only. Parameters here are those of moved rows; :meth:`to_own` and :meth:`from_own` convert.
    """

    def __init__(self, X, y, weight, loss, alpha, fit_intercept, intercept_penalty=0.0):
        self.origin = None
        if fit_intercept and intercept_penalty == 0:
            self.origin = far_mean(X)
        self.X = X if self.origin is None else X - self.origin
        self.y, self.weight, self.loss = y, weight, loss
        self.alpha, self.fit_intercept = alpha, fit_intercept
        n_parameters = X.shape[1] + fit_intercept
        self.penalty = np.full(n_parameters, alpha)
        if fit_intercept:
            self.penalty[-1] = alpha * intercept_penalty
        self._factor = self._scale = self._norm = None
        self._single = []

    def reweighted(self, weight, scale=None):
        """The same objective with other sample weights; its :meth:`gradient_scale`, if known."""
        other = copy(self)
        other.weight = weight
        other._scale = scale
        return other

    def to_own(self, W):
        """Parameters for moved rows, from those for rows as they are."""
        return self._move_intercept(W, 1.0)

    def from_own(self, W):
        """Parameters for rows as they are, from those for moved rows."""
        return self._move_intercept(W, -1.0)

    def _move_intercept(self, W, sign):
        if self.origin is None:
            return W
        W = W.copy()
        W[..., -1] += sign * (W[..., :-1] @ self.origin)
        return W

    def rows(self, X):
        """Rows as the objective has them, moved where its own are."""
        return X if self.origin is None else X - self.origin

    def decision(self, W, X=None):
        """F (..., n_samples, n_outputs) at parameters W (..., n_outputs, n_parameters)."""
        return self._forward(W, self.X if X is None else self.rows(X))

    def roughly(self, W):
        """Decision values of live parameters W, in single precision where rows are dense."""
        if sp.issparse(self.X):
            return self._forward(W, self.X)
        return self._forward(W.astype(np.float32), self._single_rows())

    def pull_back(self, R, X=None):
        """R^T Z: values for each sample and output back to parameter space."""
        return self._back(R, self.X if X is None else self.rows(X))

    def _forward(self, W, X):
        flat = W.reshape(-1, W.shape[-1])
        coef = flat[:, :-1] if self.fit_intercept else flat
        if sp.issparse(X):
            F = (X @ coef.T).T
        elif X.dtype == np.float32:  # some columns in single precision: the faster way round
            F = np.ascontiguousarray((X @ coef.T).T)
        else:
            F = coef @ X.T
        if self.fit_intercept:
            F = F + flat[:, -1:]
        return np.swapaxes(F.reshape(*W.shape[:-1], -1), -1, -2)

    def _back(self, R, X):
        R = np.swapaxes(R, -1, -2)
        flat = R.reshape(-1, R.shape[-1])
        back = np.asarray(X.T @ flat.T).T if sp.issparse(X) else flat @ X
        if self.fit_intercept:
            back = np.column_stack([back, flat.sum(axis=1)])
        return back.reshape(*R.shape[:-1], -1)

    def value(self, W, F=None):
        F = self.decision(W) if F is None else F
        losses = np.sum(self.weight * self.loss.value(F, self.y), axis=-1)
        return losses + 0.5 * np.sum(self.penalty * W * W, axis=(-1, -2))

    def gradient(self, W, F=None):
        F = self.decision(W) if F is None else F
        G = self.weight[..., None] * self.loss.gradient(F, self.y)
        return self.pull_back(G) + self.penalty * W

    def gradient_scale(self, n_outputs):
        """Gradient norm at zero parameters, computed once; at least its :meth:`floor`."""
        if self._scale is None:
            F = np.zeros((*self.weight.shape[:-1], len(self.y), n_outputs))
            G = self.weight[..., None] * self.loss.gradient(F, self.y)
            scale = np.linalg.norm(self.pull_back(G), axis=(-1, -2))
            self._scale = np.maximum(scale, self.floor(self.weight, n_outputs))
        return self._scale

    def floor(self, weight, n_outputs):
        """What a gradient norm at zero parameters counts as where its terms cancel to rounding."""
        if self._norm is None:
            entries = self.X.data if sp.issparse(self.X) else self.X.ravel(order="K")
            self._norm = np.sqrt(np.dot(entries, entries) + self.fit_intercept * len(self.y))
        F = np.zeros((len(self.y), n_outputs))
        G = np.linalg.norm(self.loss.gradient(F, self.y), axis=-1)
        size = 1e-7 * self._norm * np.linalg.norm(weight * G, axis=-1)
        return np.where(size > 0, size, 1.0)

    @cached_property
    def live(self):
        """Parameters whose column of Z is not all zero: a slice of all, or an index array.

        A column of zeros (a pixel that is never lit) has the Hessian alpha on the diagonal and
        nothing else.
        """
        if sp.issparse(self.X):
            return slice(None)
        lit = self.X.any(axis=0)
        if lit.all():
            return slice(None)
        columns = np.flatnonzero(lit)
        return np.append(columns, len(lit)) if self.fit_intercept else columns

    @cached_property
    def live_rows(self):
        """Those columns of X."""
        return self._live_columns(self.X)

    def _live_columns(self, X):
        if isinstance(self.live, slice):
            return X
        return np.take(X, self.live[: len(self.live) - self.fit_intercept], axis=1)

    def _single_rows(self):
        """Live columns in single precision, shared by all weightings of the rows."""
        if not self._single:
            n_live = len(self.penalty[self.live]) - self.fit_intercept
            single = np.empty((len(self.X), n_live), np.float32)
            for start in range(0, len(single), 2048):
                block = slice(start, start + 2048)
                single[block] = self._live_columns(self.X[block])
            self._single.append(single)
        return self._single[0]

    def can_factorise(self, n_outputs):
        """Whether the Hessian is small enough to be formed."""
        joint = n_outputs > 1 and not self.loss.decouples
        n_unknowns = len(self.penalty[self.live]) * (n_outputs if joint else 1)
        return n_unknowns <= DENSE_UNKNOWNS or self.alpha == 0

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
            `DENSE_UNKNOWNS` they are preconditioned by a factor of the Hessian, one at other
            decision values if that is there already.

        Returns
        -------
        solution : ndarray of shape (n_right, n_outputs, n_parameters)

        Raises
        ------
        ValueError
            The Hessian is singular or indefinite.
        """
        inner = right[:, :, self.live]
        curvature = self.loss.curvature(F, self.y)
        if self.can_factorise(right.shape[1]):
            solved = self._solve_by_factor(curvature, inner, rtol)
        else:
            limit = 20 * inner.shape[2] + 200
            solved, left = self.iterate(curvature, inner, rtol or 1e-12, limit)
            if not np.all(left <= max(1e-6, rtol or 0.0)):
                raise not_converged(limit)
        if isinstance(self.live, slice):
            return solved
        if self.alpha == 0:
            raise _singular(0.0)
        solution = right / self.alpha
        solution[:, :, self.live] = solved
        return solution

    def _solve_by_factor(self, curvature, right, rtol):
        goal = 1e-13 if rtol is None else rtol
        if len(right) <= MANY:
            fresh = self._factor is None
            for _ in range(2):
                if self._factor is None:
                    self._factor = self.factorise(curvature)
                solved, left = self.iterate(curvature, right, goal, STALE_PRODUCTS, self._factor)
                if np.all(left <= (1e-12 if rtol is None else max(rtol, 1e-6))):
                    return solved
                self._factor = None
                if fresh:
                    break
                fresh = True
        self._factor = self.factorise(curvature, exact=True)
        return self._factor(right)

    def factorise(self, curvature, exact=False):
        """A solver of the Hessian of one fit, on live parameters.

        Parameters
        ----------
        curvature : ndarray of shape (n_samples, n_outputs)
            As the loss gives it.
        exact : bool, default=False
            Whether in double precision. Else it is in single precision, which is faster, where
            the Hessian's condition allows: good enough to precondition.

        Returns
        -------
        solve : callable
            From right-hand sides of shape (n_right, n_outputs, n_live) to solutions.
        """
        joint = curvature.shape[1] > 1 and not self.loss.decouples
        factorise = self._factor_joint if joint else self._factor_apart
        if not exact and not sp.issparse(self.X):
            factors = factorise(curvature.astype(np.float32), self._single_rows())
            if None not in factors:
                return Factor(factors, joint)
        return Factor(factorise(curvature, self.live_rows), joint)

    def _factor_apart(self, curvature, X):
        """Factors of the Hessians of one output each."""
        penalty, weight = (part.astype(X.dtype) for part in (self.penalty, self.weight))
        factors = []
        for k in range(curvature.shape[1]):
            if k > 0 and np.array_equal(curvature[:, k], curvature[:, 0]):
                factors.append(factors[0])  # ridge: the Hessian knows no labels
                continue
            hessian = weighted_gram(X, weight * curvature[:, k], self.fit_intercept)
            hessian[np.diag_indices_from(hessian)] += penalty[self.live]
            factors.append(cholesky(hessian))
        return factors

    def _factor_joint(self, curvature, X):
        """Factor of the Hessian of all outputs at once (softmax)."""
        penalty, weight = (part.astype(X.dtype) for part in (self.penalty, self.weight))
        penalty, n_outputs = penalty[self.live], curvature.shape[1]
        n_parameters = len(penalty)
        hessian = np.zeros((n_outputs, n_parameters, n_outputs, n_parameters), X.dtype)
        for k in range(n_outputs):
            unit = np.zeros_like(curvature)
            unit[:, k] = 1.0
            block = self.loss.hessian_product(curvature, unit)  # d^2 loss / dF_j dF_k
            for j in range(k + 1):
                gram = weighted_gram(X, weight * block[:, j], self.fit_intercept)
                hessian[k, :, j, :] = hessian[j, :, k, :] = gram
            hessian[k, :, k, :] += np.diag(penalty)
        if self.fit_intercept and penalty[-1] == 0:
            # As in iterate: a direction that no right-hand side has a part in gets curvature.
            hessian[:, -1, :, -1] += weight.sum() / n_outputs
        size = n_outputs * n_parameters
        return [cholesky(hessian.reshape(size, size))]

    def iterate(self, curvature, right, rtol, max_iter, precondition=None):
        """Conjugate gradients on Hessian-vector products, on live parameters.

        Parameters
        ----------
        curvature : ndarray of shape (..., n_samples, n_outputs)
            As the loss gives it, of one fit or of each.
        right : ndarray of shape (n_right, n_outputs, n_live)
            Right-hand sides; they share each pass over the rows.
        rtol : float or ndarray of shape (n_right,)
            Relative residuals at which to stop.
        max_iter : int
            Most products.
        precondition : callable, default=None
            An approximate solver, as :meth:`factorise` gives it. With one, residuals of
            `SINGLE_RTOL` and more are reached in single precision.

        Returns
        -------
        solution : ndarray of shape (n_right, n_outputs, n_live)
        left : ndarray of shape (n_right,)
            The relative residuals reached.
        """
        penalty, weight = self.penalty[self.live], self.weight[..., None]
        norms = np.linalg.norm(right, axis=(1, 2))[:, None, None]
        norms[norms == 0] = 1.0
        right = right / norms
        sparse = sp.issparse(self.X)
        if precondition is not None and np.min(rtol) >= SINGLE_RTOL and not sparse:
            X = self._single_rows()
            penalty, weight, curvature, right = (
                part.astype(np.float32) for part in (penalty, weight, curvature, right)
            )
        else:
            X = self.live_rows
        # All intercepts plus one constant is the same softmax model: a direction of curvature 0
        # that no right-hand side has a part in; give it some, so that rounding stays out of it.
        shift = 0.0
        if self.fit_intercept and penalty[-1] == 0 and not self.loss.decouples:
            shift = self.weight.sum(axis=-1) / right.shape[1]

        def product(V):
            R = weight * self.loss.hessian_product(curvature, self._forward(V, X))
            back = self._back(R, X) + penalty * V
            if np.any(shift):
                back[:, :, -1] += np.expand_dims(shift * V[:, :, -1].sum(axis=1), 1)
            return back

        with one_blas_thread(X):
            solution, left = _conjugate_gradients(product, right, rtol, max_iter, precondition)
        return solution * norms, left


class Factor:
    """A solver of the Hessian of one fit: right-hand sides (n_right, n_outputs, n) to solutions.

    Parameters
    ----------
    factors : list
        Cholesky factors, one an output, or a single one of all outputs.
    joint : bool, default=False
        Whether it is one of all outputs.
    """

    def __init__(self, factors, joint=False):
        self.factors, self.joint = factors, joint

    def __call__(self, right):
        right = right.astype(self.factors[0][0].dtype, copy=False)
        if self.joint:
            flat = right.reshape(len(right), -1).T
            return cho_solve(self.factors[0], flat, check_finite=False).T.reshape(right.shape)
        blocks = [
            cho_solve(factor, right[:, k].T, check_finite=False).T
            for k, factor in enumerate(self.factors)
        ]
        return np.stack(blocks, axis=1)


def far_mean(X):
    """Mean of the rows where it is far from 0 as their spread goes, else None; dense rows only."""
    if sp.issparse(X):
        return None
    some = X[:: max(1, len(X) // 256)]  # any origin is right; a near one is better
    mean = some.mean(axis=0)
    square = np.mean(row_norms(some, squared=True))
    return mean if mean @ mean > 0.99 * square else None


def _conjugate_gradients(product, right, rtol, max_iter, precondition):
    """Solve product(x_r) = right_r for each block r of norm 1, each with its own step sizes."""

    def dot(a, b):
        return np.sum(a * b, axis=(1, 2))[:, None, None]

    def steps(numerator, denominator):
        return np.divide(
            numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0
        )

    limit = np.broadcast_to(rtol, len(right))[:, None, None]
    x, r = np.zeros_like(right), right
    left = np.sqrt(dot(r, r))
    p, old = None, None
    for _ in range(max_iter):
        going = left > limit
        if not going.any():
            break
        z = r if precondition is None else precondition(r)
        new = dot(r, z)
        p = z if p is None else z + steps(new, old) * p
        q = product(p)
        size = np.where(going, steps(new, dot(p, q)), 0.0)
        x, r, old = x + size * p, r - size * q, new
        left = np.where(going, np.sqrt(dot(r, r)), left)
    return x, left.ravel()


def weighted_gram(X, row_weight, fit_intercept):
    """Z^T diag(row_weight) Z, dense, with Z = [X, 1] or X; row weights of any sign.

    Dense rows are taken some thousands at a time, so that no scaled copy of X exists.
    """
    if sp.issparse(X):
        gram = (X.T @ X.multiply(row_weight[:, None]).tocsr()).toarray()
        if not fit_intercept:
            return gram
        border = np.asarray(X.T @ row_weight).ravel()
        return np.block([[gram, border[:, None]], [border[None, :], row_weight.sum()]])
    gram = 0.0
    for start in range(0, len(X), 2048):
        block, weight = X[start : start + 2048], row_weight[start : start + 2048]
        if np.all(weight >= 0):
            block = _scaled(block, np.sqrt(weight), fit_intercept)
            gram = block.T @ block + gram  # one argument: BLAS computes half
        else:
            block = _scaled(block, np.ones_like(weight), fit_intercept)
            gram = block.T @ (weight[:, None] * block) + gram
    return gram


def _scaled(X, scale, fit_intercept):
    """Rows of Z, each times a factor."""
    Z = np.empty((len(X), X.shape[1] + fit_intercept), X.dtype)
    np.multiply(X, scale[:, None], out=Z[:, : X.shape[1]])
    if fit_intercept:
        Z[:, -1] = scale
    return Z


def cholesky(hessian):
    """Cholesky factor of a Hessian.

    Where it is singular or indefinite: an error in double precision; in single precision, where
    it may be only too ill-conditioned, None.
    """
    single = hessian.dtype == np.float32
    size, diagonal = np.abs(hessian).sum(axis=0).max(), hessian.diagonal().copy()
    try:
        factor = cho_factor(hessian.T, lower=True, overwrite_a=True)  # as LAPACK stores it
        (condition,) = get_lapack_funcs(("pocon",), (hessian,))
        rcond, _ = condition(factor[0], size, uplo="L")
    except LinAlgError:
        rcond = 0.0
    if rcond >= (5e-7 if single else 1e-15):
        return factor
    if single:
        return None
    if rcond > 0:  # the factor is as good as that of parameters in units of their own
        scaled = factor[0] / np.sqrt(diagonal)[:, None]
        size = np.linalg.norm(np.tril(scaled), axis=1).max() ** 2 * len(scaled)
        rcond, _ = condition(scaled, size, uplo="L")
        if rcond >= 1e-15:
            return factor
    raise _singular(rcond)


def _singular(rcond):
    return ValueError(
        "The Hessian of the training objective is singular or indefinite (reciprocal condition"
        f" number {rcond:.1e}), so neither slope nor path is defined. Regularize the learner (a"
        " smaller C, a larger alpha), or scale the features."
    )


def warn_unless_optimal(residual):
    """Warn where a relative gradient norm says that an optimum was not reached."""
    if not residual <= REACHED:
        warnings.warn(
            f"The optimum was not reached: relative gradient norm {residual:.1e}. Slope and path"
            " assume optimality; scale the features or regularize more.",
            ConvergenceWarning,
            stacklevel=3,
        )


class LinearOptimum(Optimum):
    """An optimum of a :class:`LinearObjective` and the rate at which poison moves it.

    Parameters
    ----------
    objective : LinearObjective
        On the clean rows.
    W : ndarray of shape (n_outputs, n_parameters)
        Parameters: the fit as it is (``objective.to_own`` of a learner's).
    poison : tuple of (X, y, weight)
        Poison rows, label indices, weights without the factor beta.
    rtol : float or None
        Accuracy of the Hessian solves, as in :meth:`LinearObjective.solve`.
    tangent : ndarray of shape (n_outputs, n_parameters), default=None
        dW / d beta at beta = 0, where it is known.
    """

    def __init__(self, objective, W, poison, rtol=None, tangent=None):
        self.objective, self.W, self.poison, self.rtol = objective, W, poison, rtol
        self.F = objective.decision(W)
        self._tangent = tangent

    @cached_property
    def gradient(self):
        """Gradient of the objective, shape (n_outputs, n_parameters)."""
        return self.objective.gradient(self.W, self.F)

    @cached_property
    def residual(self):
        """Gradient norm relative to that at zero parameters."""
        return np.linalg.norm(self.gradient) / self.objective.gradient_scale(len(self.W))

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

    def decision_values(self, X):
        """Decision values of the clean fit, shape (n_samples, n_outputs)."""
        return self.objective.decision(self.W, X)

    def right_limit(self, X):
        """Decision values on X and their derivative in beta, both at beta = 0."""
        return self.objective.decision(self.W, X), self.objective.decision(self.tangent(), X)

    def responses(self, X, samples):
        """Rates of the decision values on X as single training samples gain weight.

        Parameters
        ----------
        X : array of shape (n_test, n_features)
            Test samples.
        samples : {"poison", "all"}
            Whose weight grows: the poison rows, or the clean rows and then the poison rows.

        Returns
        -------
        dF : ndarray of shape (n_sources, n_test, n_outputs)
            d F / d w for each sample, w in units of its own weight.
        """
        objective = self.objective
        sources = [self.poison]
        if samples == "all":
            X_own = objective.X if objective.origin is None else objective.X + objective.origin
            sources.insert(0, (X_own, objective.y, objective.weight))
        parts = [self._responses(X, *source) for source in sources]
        return np.concatenate(parts)

    def _responses(self, X, X_source, y, weight):
        objective = self.objective
        n_outputs, n_parameters = self.W.shape
        G = weight[:, None] * objective.loss.gradient(objective.decision(self.W, X_source), y)
        dF = np.empty((len(y), X.shape[0], n_outputs))
        # H^-1 is applied to the smaller side; every output has its own where the loss decouples.
        if objective.loss.decouples and X.shape[0] < len(y):
            for part in _chunks(X.shape[0]):
                right = np.repeat(
                    _bordered(objective.rows(X[part]), objective)[:, None], n_outputs, axis=1
                )
                solved = objective.decision(self._solve(right), X_source)
                dF[:, part] = -G[:, None, :] * solved.transpose(1, 0, 2)
            return dF
        for part in _chunks(len(y)):
            right = (
                G[part, :, None] * _bordered(objective.rows(X_source[part]), objective)[:, None]
            )
            dF[part] = -objective.decision(self._solve(right), X)
        return dF

    def _solve(self, right):
        return self.objective.solve(self.F, right, self.rtol)

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
        farthest = max(np.abs(dF).max() for dF in moved)
        if farthest < 0.005:
            return None
        if farthest > OUTGROWN:
            self.objective._factor = None
        return LinearOptimum(self.objective, self.W + step, self.poison, CHECK_RTOL)

    def polish(self, tol=1e-12):
        """Damped Newton steps until the relative gradient norm is `tol` or rounding stops them.

        Warns
        -----
        ConvergenceWarning
            The relative gradient norm stays above 1e-8.
        """
        if self.residual <= tol:
            return self
        objective, live = self.objective, self.objective.live
        reduced = on_live(objective, objective.live_rows, objective.y, objective.weight[None])
        W = np.zeros_like(self.W)  # a column of zeros has no coefficient at the optimum
        factors = {}
        W[:, live] = newton(reduced, self.W[None][:, :, live], factors, np.zeros(1), tol)[0][0]
        objective._factor = factors.get(0.0)  # near enough to precondition the tangent's solve
        best = LinearOptimum(self.objective, W, self.poison, self.rtol)
        warn_unless_optimal(best.residual)
        return best


def _chunks(n):
    return [slice(start, start + 256) for start in range(0, n, 256)]


def _bordered(X, objective):
    """Rows of Z, dense, shape (n_samples, n_parameters)."""
    Z = X.toarray() if sp.issparse(X) else X
    return np.column_stack([Z, np.ones(len(Z))]) if objective.fit_intercept else Z


def on_live(objective, X, y, weight):
    """The objective on rows X all of whose columns are live."""
    reduced = copy(objective)
    reduced.X, reduced.y, reduced.weight, reduced.origin = X, y, weight, None  # moved already
    reduced.penalty = np.full(X.shape[1] + objective.fit_intercept, objective.alpha)
    if objective.fit_intercept:
        reduced.penalty[-1] = objective.penalty[-1]
    reduced._factor = reduced._scale = None
    reduced._single = []
    reduced.live, reduced.live_rows = slice(None), X
    return reduced
