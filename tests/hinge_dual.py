"""The dual of the hinge, exactly: an active set, started by a general QP solver."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from smooth_fits import LONG


@dataclass(frozen=True)
class DualFit:
    """Solution of the hinge dual: alpha, intercept, and its sets free and at_bound (masks)."""

    alpha: np.ndarray
    intercept: float
    free: np.ndarray
    at_bound: np.ndarray


def dual_start(K, t, u, equality):
    """argmin alpha'Q alpha / 2 - sum alpha, 0 <= alpha <= u (t'alpha = 0): interior point."""
    import clarabel

    keep = u > 0
    n, scale = keep.sum(), u[keep].max()
    box, ones = u[keep] / scale, np.ones(keep.sum())
    Q = scale * np.outer(t[keep], t[keep]) * K[np.ix_(keep, keep)]
    rows = [sparse.csc_matrix(t[keep][None])] if equality else []
    rows += [-sparse.identity(n), sparse.identity(n)]
    bounds = np.concatenate([np.zeros(int(equality)), np.zeros(n), box])
    cones = [clarabel.ZeroConeT(1)] if equality else []
    cones.append(clarabel.NonnegativeConeT(2 * n))
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    upper = sparse.csc_matrix(np.triu(Q))
    constraints = sparse.vstack(rows, format="csc")
    solver = clarabel.DefaultSolver(upper, -ones, constraints, bounds, cones, settings)
    z = np.asarray(solver.solve().x)
    alpha = np.zeros(len(u))
    alpha[keep] = np.where(z < 1e-7 * box, 0, np.where(z > (1 - 1e-7) * box, box, z)) * scale
    return np.where(alpha > (1 - 1e-7) * u, u, alpha)


def solve_system(matrix, right):
    """Solution of a symmetric system, refined in extended precision; least squares if singular."""
    eigenvalues, vectors = np.linalg.eigh(matrix)
    keep = np.abs(eigenvalues) > 1e-13 * np.abs(eigenvalues).max()
    vectors, eigenvalues = vectors[:, keep], eigenvalues[keep]
    matrix, solution = matrix.astype(LONG), np.zeros(len(right), LONG)
    for _ in range(6):
        rest = (right - matrix @ solution).astype(float)
        solution = solution + vectors @ (vectors.T @ rest / eigenvalues)
    return solution


def solve_on_sets(K, t, u, free, at_bound, equality, used):
    """alpha and b with alpha = u at the bound, 0 outside, and t_i f_i = 1 on the free rows.

    Without a free row the rows in use allow an interval of b: its middle (libsvm's choice).
    """
    alpha = np.where(at_bound, u, 0).astype(LONG)
    f = K.astype(LONG) @ (t * alpha)
    if free.any():
        tS, size = t[free], free.sum()
        matrix = np.zeros((size + equality, size + equality))
        matrix[:size, :size] = K[np.ix_(free, free)]
        right = (tS - f[free]).astype(LONG)
        if equality:
            matrix[size, :size] = matrix[:size, size] = 1
            right = np.append(right, -(t @ alpha))
        solution = solve_system(matrix, right)
        alpha[free] = tS * solution[:size]
        return alpha, solution[size] if equality else LONG(0)
    if not equality:
        return alpha, LONG(0)
    low, high = intercept_interval(f, t, used & ~at_bound, used & at_bound)
    return alpha, (low + high) / 2


def intercept_interval(f, t, rise, fall):
    """Largest lower and smallest upper limit of b; low > high when alpha is not optimal.

    A row whose alpha may rise wants t (f + b) >= 1, one that may fall wants t (f + b) <= 1.
    """
    need = t - f
    lower, upper = ((t > 0) & rise) | ((t < 0) & fall), ((t > 0) & fall) | ((t < 0) & rise)
    return np.max(need[lower], initial=-np.inf), np.min(need[upper], initial=np.inf)


def row_violations(K, t, u, fit):
    """How far each row is from the optimality conditions (negative: kept with slack).

    Free rows: |1 - t f|, and alpha outside [0, u] in units of the kernel's response to it; rows at
    the bound: t f - 1; rows outside: 1 - t f. Rows with u = 0 ask for nothing.
    """
    f = K.astype(LONG) @ (t * fit.alpha) + fit.intercept
    gap = 1 - t * f
    outside = np.maximum(-fit.alpha, fit.alpha - u) * np.diag(K)
    slack = np.where(fit.at_bound, -gap, gap)
    return np.where(fit.free, np.maximum(np.abs(gap), outside), np.where(u > 0, slack, -np.inf))


def fit_hinge(K, t, u, equality, start=None, rounds=5000):
    """Exact minimum of the hinge dual by a primal active-set method.

        min_alpha  sum_ij alpha_i t_i K_ij t_j alpha_j / 2 - sum_i alpha_i,
        0 <= alpha_i <= u_i,   t'alpha = 0 (only with ``equality``)

    Each round solves the equations of the free rows, walks there until a bound blocks (a blocked
    row leaves the free set), and at a full step frees the row (without free rows: the pair) that
    violates most. Where the free kernel rows are dependent it walks along the null direction. Ends
    with all signs right; asserts a violation below 1e-10 of a margin.
    """
    K_long = K.astype(LONG)
    alpha = np.array(dual_start(K, t, u, equality) if start is None else start, LONG)
    alpha = np.clip(alpha, 0, u)
    free = (alpha > 0) & (alpha < u)
    tolerance = 1e-12
    for _ in range(rounds):
        f = K_long @ (t * alpha)
        blocked, b = False, LONG(0)
        if free.any():
            step, b = free_step(K, t, f, alpha, free, equality)
            reach, blocker = walk(alpha[free], u[free], step)
            alpha[free] = alpha[free] + reach * step
            if blocker is not None:
                blocked = True
                row = np.flatnonzero(free)[blocker]
                alpha[row] = u[row] if step[blocker] > 0 else 0
                free[row] = False
        if blocked:
            continue
        f = K_long @ (t * alpha)
        if free.any() or not equality:
            gap = 1 - t * (f + b)
            violation = np.where(alpha <= 0, gap, -gap)
            violation[free | (u <= 0)] = -np.inf
            if violation.max(initial=-np.inf) <= tolerance:
                break
            free[np.argmax(violation)] = True
        else:
            low, high = intercept_interval(f, t, alpha < u, alpha > 0)
            if low <= high + tolerance:
                break
            free |= ((t - f == low) | (t - f == high)) & (u > 0)
    else:
        raise AssertionError("active set: no end")
    free &= (alpha > 1e-14 * u) & (u - alpha > 1e-14 * u)
    at_bound = ~free & (alpha > u / 2)
    alpha, b = solve_on_sets(K, t, u, free, at_bound, equality, u > 0)
    fit = DualFit(alpha, b, free, at_bound)
    violation = row_violations(K, t, u, fit).max()
    assert violation <= 1e-10, f"KKT violation {float(violation):.1e}"
    if equality:
        assert abs(t @ alpha) <= 1e-12 * u.sum()
    return fit


def free_step(K, t, f, alpha, free, equality):
    """Step of the free alphas to the minimum over them, and the intercept there.

    Along directions without curvature (dependent kernel rows) the objective is linear: if it falls
    along one, the step is a long walk that way.
    """
    tS, size = t[free], int(free.sum())
    Z = np.eye(size)
    step = np.zeros(size, LONG)
    gradient = (tS * f[free] - 1).astype(LONG)
    Q = np.outer(tS, tS) * K[np.ix_(free, free)]
    if equality:
        unit = tS / np.sqrt(size)
        step = -unit * (t @ alpha) / np.sqrt(LONG(size))
        Z = np.linalg.svd(unit[None])[2][1:].T
    eigenvalues, vectors = np.linalg.eigh(Z.T @ Q @ Z) if Z.shape[1] else (np.zeros(0), Z.T @ Z)
    curved = eigenvalues > 1e-12 * np.trace(Q)
    directions = Z @ vectors
    for _ in range(3):
        rest = directions.T @ (gradient + Q.astype(LONG) @ step)
        step = step - directions[:, curved] @ (rest[curved] / eigenvalues[curved])
    flat = directions[:, ~curved] @ rest[~curved]
    if np.linalg.norm(flat.astype(float)) > 1e-9 * (1 + np.abs(gradient).max()):
        return -1e12 * flat / np.linalg.norm(flat.astype(float)), LONG(0)
    b = np.mean(tS * (1 - tS * (f[free] + K[np.ix_(free, free)] @ (tS * step))))
    return step, b if equality else LONG(0)


def walk(alpha, u, step):
    """How much of the step keeps 0 <= alpha <= u, and the row that blocks it (None: all of it)."""
    slack = np.where(step > 0, u - alpha, alpha)
    move = np.abs(step)
    reach = np.full(len(step), np.inf, LONG)
    np.divide(np.maximum(slack, 0), move, out=reach, where=move > 0)
    blocker = int(np.argmin(reach))
    return (LONG(1), None) if reach[blocker] >= 1 else (reach[blocker], blocker)
