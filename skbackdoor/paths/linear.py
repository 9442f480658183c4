r"""Linear models with a smooth loss and an l2 penalty: optimum, Hessian solves, tangent, path.

Ridge, logistic regression and the squared-hinge SVM are all

.. math:: J(W, b) = \sum_i s_i\, \ell(F_i, y_i)
          + \frac{\alpha}{2} \left(\|W\|^2 + \gamma \|b\|^2\right), \quad F = X W^T + b

with sample weights s, penalty alpha > 0 and gamma = 0 where the intercept is free. With
G_i = s_i d loss / d F_i (n_samples, n_outputs) and Z = [X, 1]:

- gradient: G^T Z + alpha [W, gamma b], shape (n_outputs, n_parameters);
- Hessian product: R^T Z + alpha [V, gamma v_b], with R_i = s_i loss''(F_i) (Z V^T)_i.

If poison rows enter with weight beta, the optimum moves at the rate
``dW / d beta = -H^{-1} G_p^T Z_p`` (implicit function theorem; Cinà et al. 2024, eq. 4), with H the
Hessian at beta. Fits at many weights are worked on side by side, since one product with many
columns costs little more than one with a few.
"""

import warnings
from copy import copy
from functools import cached_property, partial

import numpy as np
import scipy.sparse as sp
from scipy.interpolate import CubicSpline
from scipy.linalg import LinAlgError, cho_factor, cho_solve, lapack
from sklearn.exceptions import ConvergenceWarning

from .solutions import LinearSolution
from .threads import one_blas_thread

#: Up to so many unknowns an exact solve factorises a dense Hessian; beyond, conjugate gradients.
DENSE_UNKNOWNS = 1200
#: Products of conjugate gradients before a Hessian is factorised anew.
STALE_PRODUCTS = 25
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
    """

    def __init__(self, X, y, weight, loss, alpha, fit_intercept, intercept_penalty=0.0):
        self.X, self.y, self.weight, self.loss = X, y, weight, loss
        self.alpha, self.fit_intercept = alpha, fit_intercept
        n_parameters = X.shape[1] + fit_intercept
        self.penalty = np.full(n_parameters, alpha)
        if fit_intercept:
            self.penalty[-1] = alpha * intercept_penalty
        self._factor = self._scale = None

    def reweighted(self, weight):
        """The same objective with other sample weights."""
        other = copy(self)
        other.weight, other._scale = weight, None
        return other

    def decision(self, W, X=None):
        """F (..., n_samples, n_outputs) at parameters W (..., n_outputs, n_parameters)."""
        X = self.X if X is None else X
        flat = W.reshape(-1, W.shape[-1])
        coef = flat[:, :-1] if self.fit_intercept else flat
        F = (X @ coef.T).T if sp.issparse(X) else coef @ X.T
        if self.fit_intercept:
            F = F + flat[:, -1:]
        return np.swapaxes(F.reshape(*W.shape[:-1], -1), -1, -2)

    def pull_back(self, R, X=None):
        """R^T Z: values for each sample and output back to parameter space."""
        X = self.X if X is None else X
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
        """Gradient norm at zero parameters, computed once; 1 where it is 0."""
        if self._scale is None:
            origin = np.zeros((*self.weight.shape[:-1], n_outputs, len(self.penalty)))
            scale = np.linalg.norm(self.gradient(origin), axis=(-1, -2))
            self._scale = np.where(scale == 0, 1.0, scale)
        return self._scale

    @cached_property
    def live(self):
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

    def can_factorise(self, n_outputs):
        """Whether the Hessian is small enough to be formed."""
        joint = n_outputs > 1 and not self.loss.decouples
        n_unknowns = len(self.penalty[self.live[0]]) * (n_outputs if joint else 1)
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
        live, _ = self.live
        inner = right[:, :, live]
        curvature = self.loss.curvature(F, self.y)
        solved = None
        if self.can_factorise(right.shape[1]):
            if rtol is not None and self._factor is not None:
                solved, left = self.iterate(curvature, inner, rtol, STALE_PRODUCTS, self._factor)
                solved = solved if np.all(left <= max(1e-6, rtol)) else None
            if solved is None:
                self._factor = self.factorise(curvature)
                solved = self._factor(inner)
        else:
            limit = 20 * inner.shape[2] + 200
            solved, left = self.iterate(curvature, inner, rtol or 1e-12, limit)
            if not np.all(left <= max(1e-6, rtol or 0.0)):
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

    def factorise(self, curvature):
        """A solver of the Hessian of one fit, on live parameters.

        Parameters
        ----------
        curvature : ndarray of shape (n_samples, n_outputs)
            As the loss gives it.

        Returns
        -------
        solve : callable
            From right-hand sides of shape (n_right, n_outputs, n_live) to solutions.
        """
        if curvature.shape[1] > 1 and not self.loss.decouples:
            return self._factor_joint(curvature)
        live, X = self.live
        factors = []
        for k in range(curvature.shape[1]):
            if k > 0 and np.array_equal(curvature[:, k], curvature[:, 0]):
                factors.append(factors[0])  # ridge: the Hessian knows no labels
                continue
            hessian = weighted_gram(X, self.weight * curvature[:, k], self.fit_intercept)
            hessian[np.diag_indices_from(hessian)] += self.penalty[live]
            factors.append(cholesky(hessian))

        def solve(right):
            blocks = [
                cho_solve(factor, right[:, k].T, check_finite=False).T
                for k, factor in enumerate(factors)
            ]
            return np.stack(blocks, axis=1)

        return solve

    def _factor_joint(self, curvature):
        """Solver of the Hessian of all outputs at once (softmax)."""
        live, X = self.live
        penalty, n_outputs = self.penalty[live], curvature.shape[1]
        n_parameters = len(penalty)
        hessian = np.zeros((n_outputs, n_parameters, n_outputs, n_parameters))
        for k in range(n_outputs):
            unit = np.zeros_like(curvature)
            unit[:, k] = 1.0
            block = self.loss.hessian_product(curvature, unit)  # d^2 loss / dF_j dF_k
            for j in range(k + 1):
                gram = weighted_gram(X, self.weight * block[:, j], self.fit_intercept)
                hessian[k, :, j, :] = hessian[j, :, k, :] = gram
            hessian[k, :, k, :] += np.diag(penalty)
        if self.fit_intercept and penalty[-1] == 0:
            # As in iterate: a direction that no right-hand side has a part in gets curvature.
            hessian[:, -1, :, -1] += self.weight.sum() / n_outputs
        size = n_outputs * n_parameters
        factor = cholesky(hessian.reshape(size, size))

        def solve(right):
            flat = right.reshape(-1, size).T
            return cho_solve(factor, flat, check_finite=False).T.reshape(right.shape)

        return solve

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
            An approximate solver, as :meth:`factorise` gives it.

        Returns
        -------
        solution : ndarray of shape (n_right, n_outputs, n_live)
        left : ndarray of shape (n_right,)
            The relative residuals reached.
        """
        live, X = self.live
        penalty, weight = self.penalty[live], self.weight[..., None]
        # All intercepts plus one constant is the same softmax model: a direction of curvature 0
        # that no right-hand side has a part in; give it some, so that rounding stays out of it.
        shift = 0.0
        if self.fit_intercept and penalty[-1] == 0 and not self.loss.decouples:
            shift = self.weight.sum(axis=-1) / right.shape[1]

        def product(V):
            R = weight * self.loss.hessian_product(curvature, self.decision(V, X))
            back = self.pull_back(R, X) + penalty * V
            if np.any(shift):
                back[:, :, -1] += np.expand_dims(shift * V[:, :, -1].sum(axis=1), 1)
            return back

        with one_blas_thread():
            return _conjugate_gradients(product, right, rtol, max_iter, precondition)


def _conjugate_gradients(product, right, rtol, max_iter, precondition):
    """Solve product(x_r) = right_r for each block r side by side, each with its own step sizes."""

    def dot(a, b):
        return np.sum(a * b, axis=(1, 2))[:, None, None]

    def steps(numerator, denominator):
        return np.divide(
            numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0
        )

    norms = np.sqrt(dot(right, right))
    norms[norms == 0] = 1.0
    limit = np.broadcast_to(rtol, len(right))[:, None, None]
    x, r = np.zeros_like(right), right / norms
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
    return x * norms, left.ravel()


def weighted_gram(X, row_weight, fit_intercept):
    """Z^T diag(row_weight) Z, dense, with Z = [X, 1] or X; row weights of any sign.

    Dense rows are taken some thousands at a time, so that no scaled copy of X exists.
    """
    if sp.issparse(X):
        gram = (X.T @ X.multiply(row_weight[:, None]).tocsr()).toarray()
    else:
        gram = 0.0
        for start in range(0, len(X), 2048):
            block, weight = X[start : start + 2048], row_weight[start : start + 2048]
            if np.all(weight == 1.0):
                gram = block.T @ block + gram
            elif np.all(weight >= 0):
                block = np.sqrt(weight)[:, None] * block
                gram = block.T @ block + gram  # one argument: BLAS computes half
            else:
                gram = block.T @ (weight[:, None] * block) + gram
    if not fit_intercept:
        return gram
    border = np.asarray(X.T @ row_weight).ravel()
    return np.block([[gram, border[:, None]], [border[None, :], row_weight.sum()]])


def cholesky(hessian):
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


def newton(objective, W, factors, betas, tol, max_iter=100):
    """Damped Newton steps of fits side by side, until each gradient is small or rounding stops it.

    Directions are found by conjugate gradients, preconditioned by the factor of the Hessian of a
    neighbour; where that serves no more, a fit's own Hessian is factorised.

    Parameters
    ----------
    objective : LinearObjective
        With weights of shape (n_fits, n_samples), all of its columns live.
    W : ndarray of shape (n_fits, n_outputs, n_parameters)
        Where to start.
    factors : dict of {float: callable}
        Solvers by their poison weight; new ones are added.
    betas : ndarray of shape (n_fits,)
        Poison weights.
    tol : float
        Relative gradient norm to reach.
    max_iter : int, default=100
        Most steps.

    Returns
    -------
    W : ndarray of shape (n_fits, n_outputs, n_parameters)
    F : ndarray of shape (n_fits, n_samples, n_outputs)
        Decision values there.
    residual : ndarray of shape (n_fits,)
        Relative gradient norms.
    """
    W, F = W.copy(), objective.decision(W)
    values, scale = objective.value(W, F), objective.gradient_scale(W.shape[1])
    gradients = objective.gradient(W, F)
    residual = np.linalg.norm(gradients, axis=(1, 2)) / scale
    active = np.flatnonzero(residual > tol)
    for _ in range(max_iter):
        if len(active) == 0:
            break
        part = objective.reweighted(objective.weight[active])
        gradient, F_old, W_old, old = gradients[active], F[active], W[active], values[active]
        rtol = np.clip(0.1 * tol / residual[active], 1e-6, 1e-2)
        step = _direction(part, F_old, -gradient, factors, betas[active], rtol)
        F_step, decrease = part.decision(step), np.sum(gradient * step, axis=(1, 2))
        size = np.ones(len(active))
        while True:
            W_new = W_old + size[:, None, None] * step
            F_new = F_old + size[:, None, None] * F_step
            new = part.value(W_new, F_new)
            short = (new > old + 1e-4 * size * decrease) & (size >= 1e-6)
            if not short.any():
                break
            size[short] /= 2
        gradient = part.gradient(W_new, F_new)
        left = np.linalg.norm(gradient, axis=(1, 2)) / scale[active]
        # Rounding: neither objective nor gradient gets smaller.
        stalled = (left > 0.5 * residual[active]) & (new >= old - 1e-12 * np.abs(old))
        better = (left < residual[active]) | ~stalled
        taken = active[better]
        W[taken], F[taken], values[taken] = W_new[better], F_new[better], new[better]
        gradients[taken], residual[taken] = gradient[better], left[better]
        active = active[~stalled & (residual[active] > tol)]
    F = objective.decision(W)  # without the drift of updates
    residual = np.linalg.norm(objective.gradient(W, F), axis=(1, 2)) / scale
    return W, F, residual


def _direction(objective, F, right, factors, betas, rtol):
    """H^-1 right of fits side by side, each to its own relative residual."""
    curvature = objective.loss.curvature(F, objective.y)
    if not objective.can_factorise(right.shape[1]):
        return objective.iterate(curvature, right, rtol, 20 * right.shape[2] + 200)[0]
    solution, left = np.zeros_like(right), np.full(len(right), np.inf)
    if factors:
        precondition = partial(_nearest, factors, betas)
        solution, left = objective.iterate(curvature, right, rtol, STALE_PRODUCTS, precondition)
    waiting = list(np.flatnonzero(left > np.maximum(rtol, 1e-2)))
    while waiting:  # the middle one's own factor; the others try with that
        i = waiting.pop(len(waiting) // 2)
        own = objective.reweighted(objective.weight[i]).factorise(curvature[i])
        factors[float(betas[i])] = own
        solution[i] = own(right[i : i + 1])[0]
        if waiting:
            rest = objective.reweighted(objective.weight[waiting])
            precondition = partial(_nearest, factors, betas[waiting])
            solution[waiting], left = rest.iterate(
                curvature[waiting], right[waiting], rtol[waiting], STALE_PRODUCTS, precondition
            )
            waiting = [j for j, l in zip(waiting, left, strict=True) if l > max(rtol[j], 1e-2)]
    return solution


def _nearest(factors, betas, right):
    """Each block by the factor whose poison weight is nearest (as square roots: curves bend near 0)."""
    at = np.array(list(factors))
    nearest = np.abs(np.sqrt(betas)[:, None] - np.sqrt(at)[None, :]).argmin(axis=1)
    solution = np.empty_like(right)
    for i in np.unique(nearest):
        solution[nearest == i] = factors[at[i]](right[nearest == i])
    return solution


def warn_unless_optimal(residual):
    """Warn where a relative gradient norm says that an optimum was not reached."""
    if residual > REACHED:
        warnings.warn(
            f"The optimum was not reached: relative gradient norm {residual:.1e}. Slope and path"
            " assume optimality; scale the features or regularize more.",
            ConvergenceWarning,
            stacklevel=3,
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

    def polish(self, tol=1e-12):
        """Damped Newton steps until the relative gradient norm is `tol` or rounding stops them.

        Warns
        -----
        ConvergenceWarning
            The relative gradient norm stays above 1e-8.
        """
        if self.residual <= tol:
            return self
        live, X = self.objective.live
        reduced = _on_live(self.objective, X, self.objective.y, self.objective.weight[None])
        W = np.zeros_like(self.W)  # a column of zeros has no coefficient at the optimum
        W[:, live] = newton(reduced, self.W[None][:, :, live], {}, np.zeros(1), tol)[0][0]
        best = LinearOptimum(self.objective, W, self.poison, self.rtol)
        warn_unless_optimal(best.residual)
        return best


def _on_live(objective, X, y, weight):
    """The objective on rows X all of whose columns are live."""
    reduced = LinearObjective(
        X, y, weight, objective.loss, objective.alpha, objective.fit_intercept
    )
    if objective.fit_intercept:
        reduced.penalty[-1] = objective.penalty[-1]
    reduced.live = slice(None), X
    return reduced


class Continuation:
    r"""The optimum at many poison weights: predicted in a subspace, corrected by Newton steps.

    The fits of a path lie close to a subspace of few dimensions. It starts with the clean fit and
    its tangent; the objective is minimised in it at every weight (Galerkin), and Newton directions
    at some of the weights that are not yet optimal are added, until all are or it helps no more.
    Full Newton steps then correct what is left. A direction found for one weight serves all.

    Parameters
    ----------
    path : WeightPath
        Whose solution this is.
    start : LinearOptimum
        The fit at beta = 0, or somewhere near.
    """

    #: Relative gradient norm that is aimed at.
    tol = 1e-9
    #: Weights at which directions are looked for, and how many of them a round.
    n_probes, n_directions = 24, 6
    #: Most dimensions of the subspace.
    max_size = 240

    def __init__(self, path, start):
        self.path, self.start = path, start
        objective, (X_poison, y_poison, self.weight_poison) = start.objective, start.poison
        live, X = objective.live
        rows = [objective.X, X_poison]
        if isinstance(live, slice):
            stacked = sp.vstack(rows, format="csr") if sp.issparse(X) else np.concatenate(rows)
        else:
            lit = X_poison.any(axis=0)
            lit[live[live < len(lit)]] = True
            columns = np.flatnonzero(lit)
            live = np.append(columns, len(lit)) if objective.fit_intercept else columns
            stacked = np.concatenate([np.take(part, columns, axis=1) for part in rows])
        self.live = live
        self.clean_weight = objective.weight
        y = np.concatenate([objective.y, y_poison])
        self.objective = _on_live(objective, stacked, y, None)
        self.factors = {}

    def _at(self, betas):
        """The objectives at some weights, side by side."""
        weight = np.empty((len(betas), len(self.objective.y)))
        n_clean = len(self.clean_weight)
        weight[:, :n_clean] = self.clean_weight
        weight[:, n_clean:] = betas[:, None] * self.weight_poison
        return self.objective.reweighted(weight)

    def solution(self, weights):
        """The solution at strictly increasing weights."""
        with one_blas_thread():
            fits, residuals, clean = self._solve(weights)
        warn_unless_optimal(residuals.max())
        return LinearSolution(
            self.path,
            weights,
            "continuation",
            residuals,
            self._full(fits),
            self._full(clean),
            partial(self._rates, weights, fits),
        )

    def _solve(self, weights):
        """Fits and residuals at all weights, and the clean fit."""
        zero = np.zeros(1)
        clean, F, residual = newton(
            self._at(zero), self.start.W[None][:, :, self.live], self.factors, zero, self.tol
        )
        n_zeros = int(weights[0] == 0.0)
        fits = np.repeat(clean, len(weights), axis=0)
        residuals = np.repeat(residual, len(weights))
        if len(weights) > n_zeros:
            tangent = self._tangents(zero, F, 1e-2)
            fits[n_zeros:], residuals[n_zeros:] = self._follow(clean, tangent, weights[n_zeros:])
        return fits, residuals, clean[0]

    def _follow(self, clean, tangent, weights):
        """Fits and residuals at weights above 0."""
        probes = np.linspace(0, len(weights) - 1, min(self.n_probes, len(weights)))
        betas = weights[probes.round().astype(int)]
        fits = self._span(np.concatenate([clean, tangent]), betas)
        all_probed = len(betas) == len(weights)
        tol = self.tol if all_probed else 0.03 * self.tol
        fits, _, residuals = newton(self._at(betas), fits, self.factors, betas, tol)
        if all_probed:
            return fits, residuals
        # All others lie very close to the span of these.
        fits, roots = np.concatenate([clean, fits]), np.sqrt(np.append(0.0, betas))
        subspace = Subspace(self.objective)
        subspace.add(fits)
        coordinates = fits.reshape(len(fits), -1) @ subspace.basis.reshape(len(subspace), -1).T
        start = CubicSpline(roots, coordinates)(np.sqrt(weights))
        objective = self._at(weights)
        fits, _, _ = subspace.minimise(objective, start, 0.1 * self.tol)
        fits, _, residuals = newton(objective, fits, self.factors, weights, self.tol)
        return fits, residuals

    def _span(self, directions, betas):
        """Fits at these weights in a subspace that grows until it holds them or helps no more."""
        subspace = Subspace(self.objective)
        objective, coordinates, before = self._at(betas), None, 1.0
        scale = objective.gradient_scale(directions.shape[1])
        while True:
            if not subspace.add(directions):
                return W
            rtol = max(0.1 * before, 0.1 * self.tol)
            W, F, coordinates = subspace.minimise(objective, coordinates, rtol)
            gradients = objective.gradient(W, F)
            residuals = np.linalg.norm(gradients, axis=(1, 2)) / scale
            left = np.flatnonzero(residuals > self.tol)
            slow = residuals.max() > 0.3 * before
            full = len(subspace) + self.n_directions > self.max_size
            if len(left) == 0 or full or (slow and len(self.factors) > 2):
                return W
            if slow or len(self.factors) == 1:
                self._factorise(objective, F, betas, int(residuals.argmax()))
            before = residuals.max()
            chosen = np.linspace(0, len(left) - 1, min(self.n_directions, len(left)))
            chosen = left[chosen.round().astype(int)]
            directions = self._direct(objective, F, gradients, betas, chosen)

    def _factorise(self, objective, F, betas, i):
        if float(betas[i]) not in self.factors and objective.can_factorise(F.shape[2]):
            own = objective.reweighted(objective.weight[i])
            self.factors[float(betas[i])] = own.factorise(own.loss.curvature(F[i], own.y))

    def _direct(self, objective, F, gradients, betas, chosen):
        """Newton directions at some of the weights, roughly."""
        if self.factors:
            return _nearest(self.factors, betas[chosen], gradients[chosen])
        part = objective.reweighted(objective.weight[chosen])
        curvature = objective.loss.curvature(F[chosen], objective.y)
        return part.iterate(curvature, gradients[chosen], 0.1, 50)[0]

    def _tangents(self, betas, F, rtol):
        """d W / d beta at fits whose decision values are F."""
        n_clean, objective = len(self.clean_weight), self._at(betas)
        y_poison, X_poison = objective.y[n_clean:], objective.X[n_clean:]
        G = objective.loss.gradient(F[:, n_clean:], y_poison)
        right = -objective.pull_back(self.weight_poison[:, None] * G, X_poison)
        return _direction(objective, F, right, self.factors, betas, np.full(len(betas), rtol))

    def _rates(self, weights, fits):
        """d W / d beta, exactly, asked for by the solution."""
        with one_blas_thread():
            return self._full(self._tangents(weights, self.objective.decision(fits), 1e-10))

    def _full(self, W):
        """Parameters of all columns: those that are zero in every row have coefficient 0."""
        if isinstance(self.live, slice):
            return W
        full = np.zeros((*W.shape[:-1], len(self.start.objective.penalty)))
        full[..., self.live] = W
        return full


class Subspace:
    """Directions in parameter space, and the objective minimised over their span.

    Parameters
    ----------
    objective : LinearObjective
        All of its columns live.
    """

    def __init__(self, objective):
        self.objective = objective
        self.basis = self.images = None

    def __len__(self):
        return 0 if self.basis is None else len(self.basis)

    @property
    def shape(self):
        """Shape of the parameters, (n_outputs, n_parameters)."""
        return self.basis.shape[1:]

    def add(self, directions):
        """Add directions (n, n_outputs, n_parameters); returns how many were independent."""
        flat = directions.reshape(len(directions), -1)
        flat = flat[np.linalg.norm(flat, axis=1) > 0]
        flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        if self.basis is not None:
            known = self.basis.reshape(len(self.basis), -1)
            for _ in range(2):  # twice is enough
                flat = flat - (flat @ known.T) @ known
        flat = flat[np.linalg.norm(flat, axis=1) > 1e-7]
        if len(flat) == 0:
            return 0
        Q, R = np.linalg.qr((flat / np.linalg.norm(flat, axis=1, keepdims=True)).T)
        new = Q.T[np.abs(np.diag(R)) > 1e-7].reshape(-1, *directions.shape[1:])
        images = self.objective.decision(new)
        if self.basis is None:
            self.basis, self.images = new, images
        else:
            self.basis = np.concatenate([self.basis, new])
            self.images = np.concatenate([self.images, images])
        return len(new)

    def minimise(self, objective, start=None, rtol=1e-11):
        """Minimise each of the objectives over the span, by damped Newton steps.

        Parameters
        ----------
        objective : LinearObjective
            With weights of shape (n_fits, n_samples).
        start : ndarray of shape (n_fits, at most len(self)), default=None
            Coordinates to start from.
        rtol : float
            Gradient norm within the span to reach, relative to that at zero parameters.

        Returns
        -------
        W : ndarray of shape (n_fits, n_outputs, n_parameters)
        F : ndarray of shape (n_fits, n_samples, n_outputs)
        coordinates : ndarray of shape (n_fits, len(self))
        """
        size, n_fits = len(self), len(objective.weight)
        basis, images = self.basis.reshape(size, -1), self.images.reshape(size, -1)
        penalty = np.broadcast_to(objective.penalty, self.shape).ravel()
        penalty = (basis * penalty) @ basis.T
        c = np.zeros((n_fits, size))
        if start is not None:
            c[:, : start.shape[1]] = start
        shape = (-1, *self.images.shape[1:])

        def value(c, F):
            losses = np.sum(objective.weight * objective.loss.value(F, objective.y), axis=1)
            return losses + 0.5 * np.sum((c @ penalty) * c, axis=1)

        F = (c @ images).reshape(shape)
        scale = objective.gradient_scale(self.shape[0])
        hessians, before = None, np.inf
        for _ in range(50):
            G = objective.weight[:, :, None] * objective.loss.gradient(F, objective.y)
            gradient = G.reshape(n_fits, -1) @ images.T + c @ penalty
            left = (np.linalg.norm(gradient, axis=1) / scale).max()
            if left <= rtol:
                break
            if hessians is None or left > 0.2 * before:
                curvature = objective.loss.curvature(F, objective.y)
                hessians = np.stack(
                    [self._hessian(objective, curvature[i], i) for i in range(n_fits)]
                )
                hessians = np.linalg.inv(hessians + penalty)
            before = left
            step = -np.matmul(hessians, gradient[:, :, None])[:, :, 0]
            F_step = (step @ images).reshape(shape)
            old, decrease = value(c, F), np.sum(gradient * step, axis=1)
            reach = np.ones(n_fits)
            while True:
                new = value(c + reach[:, None] * step, F + reach[:, None, None] * F_step)
                short = new > old + 1e-4 * reach * decrease + 1e-12 * np.abs(old)
                short &= reach >= 1e-6
                if not short.any():
                    break
                reach[short] /= 2
            c, F = c + reach[:, None] * step, F + reach[:, None, None] * F_step
        return (c @ basis).reshape(-1, *self.shape), F, c

    def _hessian(self, objective, curvature, i):
        weight = objective.weight[i][:, None]
        bent = weight * objective.loss.hessian_product(curvature, self.images)
        size = len(self)
        return bent.reshape(size, -1) @ self.images.reshape(size, -1).T
