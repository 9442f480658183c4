"""Independent references for the backdoor learning slope.

Nothing here is imported from the package under test: every learner is refitted from its documented
objective

    C * sum_i s_i * l_i + ||w||^2 / 2,      s_i = beta * (...) for poisoned rows,

on dense arrays, to rounding error, at a few small poison weights beta, and the slope is a
difference of those refits. Smooth learners: damped Newton with the full Hessian, forward
differences and Richardson extrapolation. Hinge: an exact active-set solution of the dual (started
by a general QP solver), and a difference between two weights that are certified to lie in the
first linear segment.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import sparse
from scipy.special import expit, log_softmax
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

LONG = np.longdouble


@dataclass(frozen=True)
class SlopeReference:
    """dL/dbeta and L, both from the right at beta = 0.

    ``step`` is the (largest) weight at which a refit was made. ``breakpoint`` (hinge only, and
    only where the intercept is determined) is where the sets of the first linear segment end.
    """

    derivative: float
    loss: float
    step: float
    piecewise_linear: bool = False
    breakpoint: float | None = None


# -- Linear learners with a smooth loss -------------------------------------------------------


def augmented(X, intercept):
    """[X, b-column] and the penalty of each coefficient.

    ``intercept`` is None (none), "free" (unpenalised), or the positive scale of a constant feature
    whose coefficient is penalised like the others.
    """
    n, d = X.shape
    if intercept is None:
        return X, np.ones(d)
    scale, penalty = (1.0, 0.0) if intercept == "free" else (float(intercept), 1.0)
    return np.column_stack([X, np.full(n, scale)]), np.append(np.ones(d), penalty)


def norm(vector):
    """Euclidean norm in extended precision."""
    return np.sqrt(np.sum(np.square(vector, dtype=LONG)))


def newton(state, w, *, rounds=200):
    """Minimise by damped Newton; ``state(w)`` gives value, gradient, Hessian, gradient scale.

    Ends at a gradient of 1e-12 of its scale (the sum of the sizes of its terms), and then takes
    the full steps that still shrink it. Values, gradients and w are in extended precision.
    """
    w = w.astype(LONG)
    value, gradient, hessian, scale = state(w)
    for _ in range(rounds):
        step = np.linalg.solve(hessian, gradient.astype(float))
        size, slope = 1.0, gradient @ step
        while True:
            new = state(w - size * step)
            close = norm(gradient) <= 1e-8 * scale
            if new[0] <= value - 1e-4 * size * slope or close or size < 1e-12:
                break
            size /= 2
        before = norm(gradient)
        if before <= 1e-12 * scale and norm(new[1]) >= before / 2:
            return w
        w = w - size * step
        value, gradient, hessian, scale = new
    raise AssertionError(f"Newton: gradient {before:.1e} of scale {scale:.1e}, no end")


def fit_ridge(X, T, S, C, intercept):
    """argmin C sum_i s_i (t_i - f_i)^2 + ||w||^2 / 2 by its normal equations, per column of T."""
    A, penalty = augmented(X, intercept)
    W = [
        np.linalg.solve(2 * C * A.T @ (s[:, None] * A) + np.diag(penalty), 2 * C * A.T @ (s * t))
        for t, s in zip(T.T, S.T)
    ]
    return np.column_stack(W)


def margin_state(A, t, s, C, penalty, loss):
    """State function of C sum_i s_i l(t_i a_i.w) + sum_j penalty_j w_j^2 / 2."""
    A_long, A_size = A.astype(LONG), np.abs(A)

    def state(w):
        value, first, second = loss(t * (A_long @ w))
        residual = C * s * t * first
        gradient = residual @ A_long + penalty * w
        scale = norm(np.abs(residual).astype(float) @ A_size) + norm(penalty * w)
        curvature = (C * s * second).astype(float)
        hessian = A.T @ (curvature[:, None] * A) + np.diag(penalty)
        return C * s @ value + penalty @ w**2 / 2, gradient, hessian, scale

    return state


def logistic_loss(z):
    """log(1 + exp(-z)) with two derivatives."""
    p = expit(-z)
    return np.logaddexp(0, -z), -p, p * expit(z)


def squared_loss(z):
    """(1 - z)^2 with two derivatives."""
    return (1 - z) ** 2, -2 * (1 - z), 2.0 + 0.0 * z


def squared_hinge_loss(z):
    """max(0, 1 - z)^2 with its derivative and a generalised second one."""
    gap = np.maximum(0, 1 - z)
    return gap**2, -2 * gap, 2.0 * (gap > 0)


def fit_margin_loss(X, T, S, C, intercept, loss, start=None):
    """argmin C sum_i s_i l(t_i f_i) + ||w||^2 / 2 by Newton, per column of T."""
    A, penalty = augmented(X, intercept)
    start = np.zeros((A.shape[1], T.shape[1])) if start is None else start
    return np.column_stack(
        [newton(margin_state(A, t, s, C, penalty, loss), w) for t, s, w in zip(T.T, S.T, start.T)]
    )


def fit_softmax(X, Y, s, C, intercept, start=None):
    """argmin C sum_i s_i (log sum_k exp f_ik - f_i,label) + ||W||^2 / 2 by Newton.

    Adding one number to all intercepts changes nothing: that direction gets a unit of curvature.
    """
    A, penalty = augmented(X, intercept)
    p, K = A.shape[1], Y.shape[1]
    null = np.zeros((p, K))
    if intercept is not None:
        null[-1] = 1
    A_long, A_size = A.astype(LONG), np.abs(A)

    def state(w):
        W = w.reshape(p, K)
        F = A_long @ W
        log_P = F - F.max(axis=1, keepdims=True)
        log_P = log_P - np.log(np.sum(np.exp(log_P), axis=1, keepdims=True))
        residual = C * s[:, None] * (np.exp(log_P) - Y)
        gradient = A_long.T @ residual + penalty[:, None] * W
        scale = norm(A_size.T @ np.abs(residual).astype(float)) + norm(penalty[:, None] * W)
        P, hessian = np.exp(log_P).astype(float), np.zeros((p, K, p, K))
        for j in range(K):
            for k in range(K):
                curvature = C * s * P[:, j] * ((j == k) - P[:, k])
                hessian[:, j, :, k] = A.T @ (curvature[:, None] * A)
            hessian[:, j, :, j] += np.diag(penalty)
        hessian = hessian.reshape(p * K, p * K) + np.outer(null, null)
        value = np.sum(penalty @ W**2) / 2 - C * s @ np.sum(Y * log_P, axis=1)
        return value, gradient.ravel(), hessian, scale

    start = np.zeros(p * K) if start is None else start.ravel()
    return newton(state, start).reshape(p, K)


# -- The dual of the hinge --------------------------------------------------------------------


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
    """How far each row is from the optimality conditions (negative: kept with room).

    Free rows: |1 - t f|, and alpha outside [0, u] in units of the kernel's response to it; rows at
    the bound: t f - 1; rows outside: 1 - t f. Rows with u = 0 ask for nothing.
    """
    f = K.astype(LONG) @ (t * fit.alpha) + fit.intercept
    gap = 1 - t * f
    outside = np.maximum(-fit.alpha, fit.alpha - u) * np.diag(K)
    room = np.where(fit.at_bound, -gap, gap)
    return np.where(fit.free, np.maximum(np.abs(gap), outside), np.where(u > 0, room, -np.inf))


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
    room = np.where(step > 0, u - alpha, alpha)
    move = np.abs(step)
    reach = np.full(len(step), np.inf, LONG)
    np.divide(np.maximum(room, 0), move, out=reach, where=move > 0)
    blocker = int(np.argmin(reach))
    return (LONG(1), None) if reach[blocker] >= 1 else (reach[blocker], blocker)


# -- Labels, weights and losses ---------------------------------------------------------------


def signs(y, classes, scheme):
    """+1, -1 or 0 (takes no part) of each row in each binary problem.

    "ovr": one column for two classes (+1 is the second), else one per class. "ovo": one column per
    pair i < j with +1 for i; for two classes +1 is the second, as in the public decision function.
    """
    index = np.searchsorted(classes, y)
    if len(classes) == 2:
        return np.where(index == 1, 1.0, -1.0)[:, None]
    if scheme == "ovr":
        return np.where(index[:, None] == np.arange(len(classes)), 1.0, -1.0)
    pairs = combinations(range(len(classes)), 2)
    return np.column_stack([1.0 * (index == i) - 1.0 * (index == j) for i, j in pairs])


def class_factors(estimator, y, classes, y_clean, sample_weight_clean):
    """Class weight of each row in each binary problem.

    "balanced" is taken from the clean rows: n / (K * count), with counts weighted by the sample
    weights for the learners that do so. In the one-vs-rest problems of LinearSVC only the positive
    class has its weight; the rest counts 1, as liblinear does it.
    """
    linear_svc = isinstance(estimator, LinearSVC)
    if estimator.class_weight is None:
        per_class = np.ones(len(classes))
    elif estimator.class_weight == "balanced":
        counted = isinstance(estimator, LogisticRegression) or linear_svc
        s = sample_weight_clean if counted else np.ones(len(y_clean))
        counts = np.array([s[y_clean == c].sum() for c in classes])
        per_class = counts.sum() / (len(classes) * counts)
    else:
        per_class = np.array([estimator.class_weight.get(c, 1.0) for c in classes])
    factors = per_class[np.searchsorted(classes, y)][:, None]
    if linear_svc and len(classes) > 2:
        T = signs(y, classes, "ovr")
        return np.where(T > 0, per_class, 1.0)
    return factors


def mean_loss(F, y, classes, kind):
    """Mean over the samples of the training loss, summed over the binary problems."""
    if kind == "softmax":
        return -np.mean(log_softmax(F, axis=1)[np.arange(len(y)), np.searchsorted(classes, y)])
    T = signs(y, classes, "ovo" if kind == "ovo_hinge" else "ovr")
    if kind == "squared":
        return np.mean(np.sum((T - F) ** 2, axis=1))
    if kind == "logistic":
        return np.mean(np.sum(np.logaddexp(0, -T * F), axis=1))
    gap = np.where(T == 0, 0, np.maximum(0, 1 - T * F))
    return np.mean(np.sum(gap**2 if kind == "squared_hinge" else gap, axis=1))


def loss_kind(estimator, n_classes):
    """Which of the losses of :func:`mean_loss` an estimator is trained with."""
    if isinstance(estimator, RidgeClassifier):
        return "squared"
    if isinstance(estimator, LogisticRegression):
        return "logistic" if n_classes == 2 else "softmax"
    if isinstance(estimator, LinearSVC):
        return estimator.loss
    return "ovo_hinge"


def intercept_of(estimator):
    """None, "free", or the scale of a penalised intercept (liblinear)."""
    if not estimator.fit_intercept:
        return None
    liblinear = isinstance(estimator, LinearSVC) or (
        isinstance(estimator, LogisticRegression) and estimator.solver == "liblinear"
    )
    return estimator.intercept_scaling if liblinear else "free"


def kernel_of(estimator, X_clean):
    """Kernel function (A, B) -> matrix; gamma="scale" is taken from the clean rows."""
    if isinstance(estimator, LinearSVC):
        scale = estimator.intercept_scaling if estimator.fit_intercept else 0.0
        return lambda A, B: A @ B.T + scale**2
    if callable(estimator.kernel):
        return estimator.kernel
    gamma = estimator.gamma
    if gamma == "scale":
        gamma = 1 / (X_clean.shape[1] * X_clean.var())
    elif gamma == "auto":
        gamma = 1 / X_clean.shape[1]
    if estimator.kernel == "linear":
        return lambda A, B: A @ B.T
    if estimator.kernel == "poly":
        return lambda A, B: (gamma * A @ B.T + estimator.coef0) ** estimator.degree
    assert estimator.kernel == "rbf"

    def rbf(A, B):
        squares = np.sum(A**2, 1)[:, None] + np.sum(B**2, 1) - 2 * A @ B.T
        return np.exp(-gamma * np.maximum(squares, 0))

    return rbf


# -- Fits at any poison weight ----------------------------------------------------------------


class Refit:
    """An estimator's exact fit on clean and poisoned rows at any poison weight.

    The arrays are dense; ``estimator`` is an unfitted plain learner. ``decision(fit, X)`` gives
    one column per binary problem (per class for softmax).
    """

    def __init__(self, estimator, X, y, is_poison, sample_weight=None):
        self.estimator, self.X, self.y = estimator, np.asarray(X, float), np.asarray(y)
        self.is_poison = np.asarray(is_poison)
        self.classes = np.unique(y)
        self.kind = loss_kind(estimator, len(self.classes))
        s = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, float)
        clean = ~self.is_poison
        factors = class_factors(estimator, self.y, self.classes, self.y[clean], s[clean])
        self.T = signs(self.y, self.classes, "ovo" if self.kind == "ovo_hinge" else "ovr")
        self.weights = np.broadcast_to(s[:, None] * factors, self.T.shape)
        self.C = 1 / (2 * estimator.alpha) if self.kind == "squared" else estimator.C
        self.hinge = self.kind in ("hinge", "ovo_hinge")
        if self.hinge:
            self.equality = self.kind == "ovo_hinge"
            self.kernel = kernel_of(estimator, self.X[clean])
            self.rows = [np.flatnonzero(t) for t in self.T.T]
            self.grams = [self.kernel(self.X[r], self.X[r]) for r in self.rows]
        else:
            self.intercept = intercept_of(estimator)
            wide = self.X.shape[1] > len(self.X)
            self.basis = np.linalg.qr(self.X.T)[0] if wide else np.eye(self.X.shape[1])
            self.Z = self.X @ self.basis

    def loss(self, F, y):
        return mean_loss(F, y, self.classes, self.kind)

    def row_weights(self, beta):
        return self.weights * np.where(self.is_poison, beta, 1.0)[:, None]

    def coefficients(self, beta, start=None, held=None):
        """Coefficients of a linear learner with a smooth loss, in its own basis.

        With `held` (rows x problems) the squared hinge is (1 - z)^2 on those rows and 0 on others.
        """
        S = self.row_weights(beta)
        if held is not None:
            return fit_margin_loss(
                self.Z, self.T, S * held, self.C, self.intercept, squared_loss, start
            )
        if self.kind == "squared":
            return fit_ridge(self.Z, self.T, S, self.C, self.intercept)
        if self.kind == "softmax":
            onehot = 1.0 * (self.y[:, None] == self.classes)
            return fit_softmax(self.Z, onehot, S[:, 0], self.C, self.intercept, start)
        loss = logistic_loss if self.kind == "logistic" else squared_hinge_loss
        return fit_margin_loss(self.Z, self.T, S, self.C, self.intercept, loss, start)

    def problems(self, beta):
        """Kernel matrix, signs and upper bounds of each hinge dual."""
        U = self.C * self.row_weights(beta)
        for k, (rows, K) in enumerate(zip(self.rows, self.grams)):
            yield K, self.T[rows, k], U[rows, k]

    def duals(self, beta, clean=None):
        """Exact dual solution of each hinge problem.

        ``clean`` (the solutions at 0) serves as start.
        """
        starts = [None] * len(self.rows) if clean is None else [dual.alpha for dual in clean]
        return [
            fit_hinge(*problem, self.equality, start)
            for problem, start in zip(self.problems(beta), starts)
        ]

    def decision(self, fit, X):
        X = np.asarray(X, float)
        if not self.hinge:
            return augmented(X @ self.basis, self.intercept)[0] @ fit
        columns = []
        for k, (rows, dual) in enumerate(zip(self.rows, fit)):
            v = self.T[rows, k] * dual.alpha
            columns.append(self.kernel(X, self.X[rows]).astype(LONG) @ v + dual.intercept)
        return np.column_stack(columns)

    def fit(self, beta):
        return self.duals(beta) if self.hinge else self.coefficients(beta)


# -- The slope --------------------------------------------------------------------------------


def extrapolated(steps, values, limit):
    """Limit of (values - limit) / steps at step 0 (Neville's table, halved steps), and error."""
    table = [[(value - limit) / step] for step, value in zip(steps, values)]
    for k in range(1, len(table)):
        for j in range(1, k + 1):
            gain = (table[k][j - 1] - table[k - 1][j - 1]) / (2**j - 1)
            table[k].append(table[k][j - 1] + gain)
    best = table[-1][-1]
    return best, max(abs(best - table[-2][-1]), abs(best - table[-1][-2]))


def smooth_slope(refit, X_test, y_test, precision=1e-6):
    """Richardson-extrapolated forward differences; the step shrinks until they agree.

    For the squared hinge the rows inside the hinge are held at those of the clean fit: no row is
    on its edge, so they are the same at 0+, and the curve with them held has the same derivative
    at 0 but is smooth beyond the tiny step at which a first row would cross.
    """
    clean = refit.coefficients(0.0)
    loss = refit.loss(refit.decision(clean, X_test), y_test)
    held = None
    if refit.kind == "squared_hinge":
        margins = refit.T * refit.decision(clean, refit.X)
        assert np.abs(margins - 1).min() > 1e-10
        held = margins < 1

    for largest in 0.25 * 0.1 ** np.arange(10):
        steps = largest / 2 ** np.arange(6)
        fits = [refit.coefficients(h, clean, held) for h in steps]
        losses = [refit.loss(refit.decision(fit, X_test), y_test) for fit in fits]
        derivative, error = extrapolated(steps, losses, loss)
        if error <= precision * abs(derivative):
            return SlopeReference(float(derivative), float(loss), largest)
    raise AssertionError("no step small enough")


def carried(refit, duals, beta):
    """The duals' sets held while the bounds move to another poison weight.

    At beta = 0 the poisoned rows keep their sets, and their say in the intercept: it is the limit
    from the right.
    """
    moved, ever = [], [u > 0 for _, _, u in refit.problems(1.0)]
    for (K, t, u), dual, used in zip(refit.problems(beta), duals, ever):
        sets = dual.free, dual.at_bound
        alpha, b = solve_on_sets(K, t, u, *sets, refit.equality, used)
        moved.append(DualFit(alpha, b, dual.free, dual.at_bound))
    return moved


def condition_rooms(refit, duals, beta):
    """Room of every condition at ``beta`` (negative: broken): gaps, and bounds of free rows."""
    rooms, ever = [], [u > 0 for _, _, u in refit.problems(1.0)]
    for (K, t, u), dual, used in zip(refit.problems(beta), duals, ever):
        gap = 1 - t * (K.astype(LONG) @ (t * dual.alpha) + dual.intercept)
        rooms.append(np.where(dual.at_bound, gap, -gap)[used & ~dual.free])
        rooms.append(dual.alpha[dual.free])
        rooms.append((u - dual.alpha)[dual.free])
    return np.concatenate(rooms)


def hinge_slope(refit, X_test, y_test):
    """(L(h) - L(h/2)) / (h/2) with h certified to lie in the first linear segment.

    On fixed sets alpha and b are affine in beta, and the optimality conditions are linear: if the
    sets of the solution at h also solve the problem at 0+, they do so in between, and the loss is
    linear up to h once no test sample crosses its own hinge. The loss is the limit from the right,
    2 L(h/2) - L(h): at 0 itself the intercept may be undetermined. Where it stays so for beta > 0
    (no free row, clean and poisoned numbers of both classes in balance), it is the middle of its
    interval, as in libsvm's refits.
    """
    clean = refit.duals(0.0)

    def loss(fit):
        return refit.loss(refit.decision(fit, X_test), y_test)

    def hinges(fit):
        T = signs(y_test, refit.classes, "ovo" if refit.equality else "ovr")
        return T * refit.decision(fit, X_test) < 1

    for h in 0.1 ** np.arange(2, 14):
        duals = refit.duals(h, clean)
        limit = carried(refit, duals, 0.0)
        room = condition_rooms(refit, limit, 0.0)
        if room.min() < -1e-10 or (hinges(limit) != hinges(duals)).any():
            continue
        half = refit.duals(h / 2, clean)
        at_h, at_half = loss(duals), loss(half)
        derivative = (at_h - at_half) / (h / 2)
        right = 2 * at_half - at_h
        again = (at_half - loss(limit)) / (h / 2)
        if abs(derivative - again) > 1e-6 * abs(derivative):
            continue
        shrink = room - condition_rooms(refit, duals, h)
        falls = shrink > 1e-12 * np.abs(shrink).max()
        end = float(h * np.min(np.maximum(room, 0)[falls] / shrink[falls], initial=np.inf))
        held = not refit.equality or all(dual.free.any() for dual in duals)
        return SlopeReference(float(derivative), float(right), h, True, end if held else None)
    raise AssertionError("no first segment found")


def slope_reference(estimator, X, y, is_poison, X_test, y_test, sample_weight=None):
    """Right derivative and limit of the mean test loss at beta = 0, from refits.

    X, y and sample_weight hold clean and poisoned rows (what a poisoned fit sees, before the
    poison weight); X_test, y_test the triggered test samples with the attacker's labels. The
    preprocessing steps of a Pipeline are fitted on the clean rows and held.
    """
    X, X_test = (Z.toarray() if sparse.issparse(Z) else np.asarray(Z) for Z in (X, X_test))
    y, y_test, is_poison = np.asarray(y), np.asarray(y_test), np.asarray(is_poison)
    if isinstance(estimator, Pipeline):
        preprocessing = clone(estimator[:-1]).fit(X[~is_poison], y[~is_poison])
        X, X_test = preprocessing.transform(X), preprocessing.transform(X_test)
        estimator = estimator[-1]
    refit = Refit(estimator, X, y, is_poison, sample_weight)
    slope = hinge_slope if refit.hinge else smooth_slope
    return slope(refit, X_test, y_test)
