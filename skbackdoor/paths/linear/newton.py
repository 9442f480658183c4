"""Newton steps of linear models with a smooth loss, many fits side by side."""

import numpy as np

from ...progress import progress
from .hessian import FACTOR_PRODUCTS, Hessian

#: How far decision values may be from their optimum, by a neighbour's Hessian: a fifth of the six
#: digits that the tests ask of them.
CLOSE = 2e-7


def newton(objective, W, scale, factors, betas, tol, known=None, close=CLOSE):
    """Damped Newton steps of fits side by side, until they are optimal or rounding stops them.

    Directions are found by conjugate gradients, preconditioned by the factor of the Hessian of a
    neighbour; where that serves no more, a fit's own Hessian is factorised.

    Parameters
    ----------
    objective : LinearObjective
        With weights of shape (n_fits, n_samples).
    W : ndarray of shape (n_fits, n_outputs, n_parameters)
        Where to start.
    scale : ndarray of shape (n_fits,)
        What gradient norms are relative to, as :class:`GradientScale` gives it.
    factors : dict of {float: CholeskyFactor}
        By their poison weight; new ones are added.
    betas : ndarray of shape (n_fits,)
        Poison weights.
    tol : float
        Relative gradient norm to reach.
    known : tuple of ndarrays, default=None
        Decision values (n_fits, n_samples, n_outputs) and gradients there.
    close : float, default=2e-7
        How far decision values may be from their optimum, by a neighbour's Hessian.

    Returns
    -------
    W : ndarray of shape (n_fits, n_outputs, n_parameters)
    F : ndarray of shape (n_fits, n_samples, n_outputs)
        Decision values there.
    residual : ndarray of shape (n_fits,)
        Relative gradient norms.
    """
    if known is None:
        W = sum_to_zero(objective.loss, W.copy())
        F = objective.decision(W)
        gradients = objective.gradient(W, F)
    else:
        W, (F, gradients) = W.copy(), known
    values = objective.value(W, F)
    residual = np.linalg.norm(gradients, axis=(1, 2)) / scale
    distance = _distance(objective, gradients, factors, betas)
    if objective.loss.jumps:
        distance[:] = np.inf  # only a step of its own tells
    active = np.flatnonzero((residual > tol) | (distance > close))
    patience, stepped = np.full(len(betas), 3), np.zeros(len(betas), dtype=bool)
    for _ in progress(range(100), None, "Newton steps of the path"):
        if len(active) == 0:
            break
        part = objective.reweighted(objective.weight[active])
        gradient, F_old, W_old, old = gradients[active], F[active], W[active], values[active]
        # No more digits of a step than the next gradient can show: steps converge quadratically.
        now = np.maximum(residual[active], tol)
        rtol = np.clip(np.maximum(0.1 * tol / now, np.sqrt(now)), 1e-5, 1e-2)
        step = newton_directions(part, F_old, -gradient, factors, betas[active], rtol)
        F_step, decrease = part.decision(step), np.sum(gradient * step, axis=(1, 2))
        size = np.ones(len(active))
        while True:
            W_new = W_old + size[:, None, None] * step
            F_new = F_old + size[:, None, None] * F_step
            new = part.value(W_new, F_new)
            short = (new > old + 1e-4 * size * decrease) & (size >= 1e-6)
            # Near the optimum values differ by rounding only, and full steps are right.
            short &= np.abs(decrease) > 1e-13 * np.abs(old)
            if not short.any():
                break
            size[short] /= 2
        gradient = part.gradient(W_new, F_new)
        left = np.linalg.norm(gradient, axis=(1, 2)) / scale[active]
        # Rounding: neither objective nor gradient gets smaller.
        no_gain = (left > 0.5 * residual[active]) & (new >= old - 1e-12 * np.abs(old))
        patience[active[no_gain]] -= 1
        stalled = patience[active] == 0
        better = (left < residual[active]) | ~no_gain
        taken = active[better]
        W[taken], F[taken], values[taken] = W_new[better], F_new[better], new[better]
        gradients[taken], residual[taken] = gradient[better], left[better]
        stepped[active] = True
        length = np.abs(F_step).max(axis=(1, 2))
        if factors:  # a neighbour's Hessian may be larger than a fit's own, as the step tells
            ratio = np.maximum(length / np.maximum(distance[active], 1e-300), 1.0)
            ahead = ratio * _distance(part, gradients[active], factors, betas[active])
            distance[active] = np.maximum(ahead, rtol * length)
        else:
            distance[active] = rtol * length
        active = active[~stalled & ((residual[active] > tol) | (distance[active] > close))]
    stepped = np.flatnonzero(stepped)
    if len(stepped):  # without the drift of updates
        part = objective.reweighted(objective.weight[stepped])
        F[stepped] = part.decision(W[stepped])
        gradients = part.gradient(W[stepped], F[stepped])
        residual[stepped] = np.linalg.norm(gradients, axis=(1, 2)) / scale[stepped]
    return W, F, residual


def _distance(objective, gradients, factors, betas):
    """How far decision values are from their optimum, by the Hessians of neighbours; or inf."""
    if not factors:
        return np.full(len(betas), np.inf)
    step, single = nearest(factors, betas)(gradients), objective.design.single
    return np.abs(single.product(step.astype(single.X.dtype))).max(axis=(1, 2))


def newton_directions(objective, F, right, factors, betas, rtol, accepted=1e-2):
    """H^-1 right of fits side by side.

    Parameters
    ----------
    objective : LinearObjective
        With weights of shape (n_fits, n_samples).
    F : ndarray of shape (n_fits, n_samples, n_outputs)
        Decision values at which the Hessians are taken.
    right : ndarray of shape (n_fits, n_outputs, n_parameters)
        Right-hand sides.
    factors : dict of {float: CholeskyFactor}
        By their poison weight; new ones are added.
    betas : ndarray of shape (n_fits,)
        Poison weights.
    rtol : ndarray of shape (n_fits,)
        Relative residuals to aim at.
    accepted : float, default=1e-2
        Relative residual up to which a neighbour's factor has served.

    Returns
    -------
    solution : ndarray of shape (n_fits, n_outputs, n_parameters)
    """
    hessian = Hessian(objective, F)
    if not hessian.can_factorise:
        solution = hessian.cg_alone(right, rtol, max(accepted, 1e-6))
        return sum_to_zero(objective.loss, solution)
    solution, left = np.zeros_like(right), np.full(len(right), np.inf)
    accepted = np.maximum(rtol, accepted)
    if factors:
        solution, left = hessian.cg(right, rtol, FACTOR_PRODUCTS, nearest(factors, betas))
    waiting = np.flatnonzero(left > accepted)
    while len(waiting):  # the middle one's own factor; the others try with that, too
        i = waiting[len(waiting) // 2]
        beta, own = float(betas[i]), hessian.of(i)
        factors[beta] = own.factorise()
        solution[waiting], left = hessian.of(waiting).cg(
            right[waiting], rtol[waiting], FACTOR_PRODUCTS, nearest(factors, betas[waiting])
        )
        waiting = waiting[left > accepted[waiting]]
        if i in waiting:
            factors[beta] = own.factorise(exact=True)
            solution[i] = factors[beta](right[i : i + 1])[0]
            waiting = waiting[waiting != i]
    return sum_to_zero(objective.loss, solution)


def sum_to_zero(loss, W):
    """Of all equal softmax models the one whose parameters sum to 0 over the outputs."""
    return W if loss.decouples else W - W.mean(axis=-2, keepdims=True)


def nearest(factors, betas):
    """A solver of blocks side by side, each by the factor whose weight is nearest in square roots.

    Parameters
    ----------
    factors : dict of {float: CholeskyFactor}
        By their poison weight.
    betas : ndarray of shape (n_right,)
        Poison weights of the blocks.
    """
    at = np.array(list(factors))
    chosen = np.abs(np.sqrt(betas)[:, None] - np.sqrt(at)[None, :]).argmin(axis=1)
    groups = [(factors[at[i]], np.flatnonzero(chosen == i)) for i in np.unique(chosen)]

    def solve(right):
        if len(groups) == 1:
            return groups[0][0](right)
        solution = np.empty_like(right)
        for factor, blocks in groups:
            solution[blocks] = factor(right[blocks])
        return solution

    return solve
