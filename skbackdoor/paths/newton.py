"""Newton steps of linear models with a smooth loss, many fits side by side."""

import numpy as np

from ..progress import progress

#: Products of conjugate gradients before a Hessian is factorised anew.
STALE_PRODUCTS = 25
#: How far decision values may be from their optimum, by a neighbour's Hessian.
CLOSE = 2e-7


def newton(objective, W, factors, betas, tol, known=None, max_iter=100):
    """Damped Newton steps of fits side by side, until they are optimal or rounding stops them.

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
    known : tuple of ndarrays, default=None
        Decision values (n_fits, n_samples, n_outputs) and gradients there.
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
    if known is None:
        W = _centred(objective, W.copy())
        F = objective.decision(W)
        gradients = objective.gradient(W, F)
    else:
        W, (F, gradients) = W.copy(), known
    values, scale = objective.value(W, F), objective.gradient_scale(W.shape[1])
    residual = np.linalg.norm(gradients, axis=(1, 2)) / scale
    far = _distance(objective, gradients, factors, betas)
    if objective.loss.jumps:
        far[:] = np.inf  # only a step of its own tells
    active, patience = np.flatnonzero((residual > tol) | (far > CLOSE)), np.full(len(betas), 3)
    moved = np.zeros(len(betas), dtype=bool)
    for _ in progress(range(max_iter), None, "Newton steps of the path"):
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
        moved[active] = True
        way = np.abs(F_step).max(axis=(1, 2))
        if factors:  # a neighbour's Hessian may be larger than a fit's own, as the step tells
            factor = np.maximum(way / np.maximum(far[active], 1e-300), 1.0)
            ahead = factor * _distance(part, gradients[active], factors, betas[active])
            far[active] = np.maximum(ahead, rtol * way)
        else:
            far[active] = rtol * way
        active = active[~stalled & ((residual[active] > tol) | (far[active] > CLOSE))]
    stepped = np.flatnonzero(moved)
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
    far = objective.roughly(nearest(factors, betas)(gradients))
    return np.abs(far).max(axis=(1, 2))


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
    factors : dict of {float: callable}
        Solvers by their poison weight; new ones are added.
    betas : ndarray of shape (n_fits,)
        Poison weights.
    rtol : ndarray of shape (n_fits,)
        Relative residuals to aim at.
    accepted : float
        Relative residual up to which a neighbour's factor has served.

    Returns
    -------
    solution : ndarray of shape (n_fits, n_outputs, n_parameters)
    """
    curvature = objective.loss.curvature(F, objective.y)
    if not objective.can_factorise(right.shape[1]):
        limit = 20 * right.shape[2] + 200
        solution, left = objective.iterate(curvature, right, rtol, limit)
        if np.any(left > max(accepted, 1e-6)):
            raise not_converged(limit)
        return _centred(objective, solution)
    solution, left = np.zeros_like(right), np.full(len(right), np.inf)
    accepted = np.maximum(rtol, accepted)
    if factors:
        precondition = nearest(factors, betas)
        solution, left = objective.iterate(curvature, right, rtol, STALE_PRODUCTS, precondition)
    waiting = np.flatnonzero(left > accepted)
    while len(waiting):  # the middle one's own factor; the others try with that, too
        i = waiting[len(waiting) // 2]
        beta, own = float(betas[i]), objective.reweighted(objective.weight[i])
        factors[beta] = own.factorise(curvature[i])
        rest = objective.reweighted(objective.weight[waiting])
        precondition = nearest(factors, betas[waiting])
        solution[waiting], left = rest.iterate(
            curvature[waiting], right[waiting], rtol[waiting], STALE_PRODUCTS, precondition
        )
        waiting = waiting[left > accepted[waiting]]
        if i in waiting:
            factors[beta] = own.factorise(curvature[i], exact=True)
            solution[i] = factors[beta](right[i : i + 1])[0]
            waiting = waiting[waiting != i]
    return _centred(objective, solution)


def _centred(objective, W):
    """Of all equal softmax models the one whose parameters sum to 0 over the outputs."""
    return W if objective.loss.decouples else W - W.mean(axis=1, keepdims=True)


def not_converged(limit):
    """The error of conjugate gradients that did not converge."""
    return ValueError(
        "The Hessian of the training objective is singular or too ill-conditioned: conjugate"
        f" gradients did not converge in {limit} products. Use a stronger regularization or scale"
        " the features."
    )


def nearest(factors, betas):
    """A solver of blocks side by side, each by the factor whose weight is nearest in square roots.

    Parameters
    ----------
    factors : dict of {float: callable}
        Solvers by their poison weight.
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
