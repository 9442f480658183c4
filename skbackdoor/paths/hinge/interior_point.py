"""The dual of a hinge machine by an interior point, where following it failed."""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

#: Most free duals that are corrected by least squares.
MOST_FREE = 1000


def interior_point(K, y, u, free_intercept, violation):
    r"""An optimum of the dual of :mod:`~skbackdoor.paths.hinge.problem`.

    By Mehrotra's predictor-corrector method: with z and w the multipliers of a >= 0 and a <= u, a
    step solves

    .. math:: \left(Q + \frac{z}{a} + \frac{w}{u - a}\right) da + y\, db = \ldots,
              \qquad Q = y y^T K

    (Nocedal and Wright, *Numerical optimization*, 2006, section 16.6). Unlike an active set it
    needs no inverse on the margin set, so that kernels of hardly any rank cost it no accuracy. It
    takes some twenty Cholesky factors and ends in the middle of the optimal face.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Kernel matrix.
    y : ndarray of shape (n,)
        Signs, +-1; with a free intercept both are there.
    u : ndarray of shape (n,)
        Bounds, > 0.
    free_intercept : bool
        Whether b is a variable; else it is 0.
    violation : callable
        ``violation(a, b)``: how far a point is from the optimality conditions.

    Returns
    -------
    a : ndarray of shape (n,)
        Dual coefficients in [0, u].
    b : float
        The intercept.
    """
    Q = K * y[:, None] * y
    # Curvature along null directions of the kernel. The optimum does not move, since each step is
    # taken from where the last one ended.
    ridge = 1e-14 * (np.abs(K.diagonal()).max() or 1.0)
    a, b = _start(y, u, free_intercept), 0.0
    slack = u - a  # carried along: near a bound the difference would be rounding
    z, w = np.ones(len(y)), np.ones(len(y))
    best, least, smallest, since = (a, b), np.inf, np.inf, 0
    enough = 1e-26 * (z @ a + w @ slack)  # of the complementarity: as good as none
    with np.errstate(all="ignore"):  # what comes of it is looked at
        for _ in range(60):  # some twenty are enough
            gradient, total = Q @ a + b * y - 1.0, float(y @ a) if free_intercept else 0.0
            left = np.abs(a - np.clip(a - gradient * u, 0.0, u)) / u  # 0 at the optimum only
            left = left.max() + abs(total) / u.max()
            if left < least:
                best, least = (a, b), left
            last = a, b
            now = z @ a + w @ slack
            since = 0 if now < smallest else since + 1
            smallest = min(now, smallest)
            if since > 4 or now < enough:  # no smaller in four steps
                break
            if not np.all((a > 0) & (slack > 0)):
                break
            try:
                direction = _Direction(
                    Q, y, a, slack, z, w, gradient, total, ridge, free_intercept
                )
            except (LinAlgError, ValueError):
                break
            da, _, dz, dw = direction(-z * a, -w * slack)
            length = _length((a, da), (slack, -da), (z, dz), (w, dw))
            ahead = (z + length * dz) @ (a + length * da)
            ahead += (w + length * dw) @ (slack - length * da)
            aim = (ahead / now) ** 3 * now / (2 * len(y))
            da, db, dz, dw = direction(aim - z * a - da * dz, aim - w * slack + da * dw)
            length = 0.995 * _length((a, da), (slack, -da), (z, dz), (w, dw))
            a, slack, b = a + length * da, slack - length * da, b + length * db
            z, w = z + length * dz, w + length * dw
    ends = [_settled(K, y, u, *point, free_intercept, violation) for point in (best, last)]
    return min(ends, key=lambda end: violation(*end))


class _Direction:
    """Newton directions of the optimality conditions from one point, each refined once."""

    def __init__(self, Q, y, a, slack, z, w, gradient, total, ridge, free_intercept):
        self.Q, self.y, self.a, self.slack, self.z, self.w = Q, y, a, slack, z, w
        self.left, self.total, self.diagonal = z - w - gradient, total, z / a + w / slack
        matrix = Q.copy()
        matrix[np.diag_indices(len(y))] += self.diagonal + ridge
        self.factor = cho_factor(matrix, lower=True, overwrite_a=True)
        self.answer = cho_solve(self.factor, y) if free_intercept else None

    def __call__(self, to_z, to_w):
        """Steps (da, db, dz, dw) that move z a by `to_z` and w (u - a) by `to_w`."""
        right = self.left + to_z / self.a - to_w / self.slack
        da, db = self._solve(right, -self.total)
        wrong = right - self.Q @ da - self.diagonal * da - self.y * db
        more, more_b = self._solve(wrong, -self.total - self.y @ da)
        da, db = da + more, db + more_b
        return da, db, (to_z - self.z * da) / self.a, (to_w + self.w * da) / self.slack

    def _solve(self, right, total):
        x = cho_solve(self.factor, right, check_finite=False)
        if self.answer is None:
            return x, 0.0
        db = (self.y @ x - total) / (self.y @ self.answer)
        return x - db * self.answer, db


def _start(y, u, free_intercept):
    """A point well inside the box whose signed duals sum to 0."""
    if not free_intercept:
        return u / 2
    sums = u[y > 0].sum(), u[y < 0].sum()
    return u * np.where(y > 0, min(sums) / sums[0], min(sums) / sums[1]) / 2


def _length(*moves):
    """The longest step in [0, 1] that leaves every x of pairs ``(x, dx)`` at 0 or more."""
    return min((-x[dx < 0] / dx[dx < 0]).min(initial=1.0) for x, dx in moves)


def _settled(K, y, u, a, b, free_intercept, violation):
    """The point with duals at their bounds where they belong, the free ones by least squares."""
    found, least = (a, b), violation(a, b)
    for share in (0.0, 1e-12, 1e-10, 1e-8, 1e-6):  # of its bound: as good as at one
        near = np.where(a <= share * u, 0.0, np.where(a >= u * (1 - share), u, a)), b
        for _ in range(3):
            now = violation(*near)
            if now < least:
                found, least = near, now
            inside = np.flatnonzero((near[0] > 0) & (near[0] < u))
            if not 0 < len(inside) <= MOST_FREE:
                break
            near = _corrected(K, y, u, *near, inside, free_intercept)
    return found


def _corrected(K, y, u, a, b, inside, free_intercept):
    """The point after the smallest change of its free duals that puts these on their margins."""
    v = y * a
    matrix, right = K[np.ix_(inside, inside)], y[inside] - K[inside] @ v - b
    if free_intercept:
        matrix = np.pad(matrix, (0, 1), constant_values=1.0)
        matrix[-1, -1] = 0.0
        right = np.append(right, -v.sum())
    step = np.linalg.lstsq(matrix, right, rcond=1e-14)[0]
    v[inside] += step[: len(inside)]
    return np.clip(y * v, 0.0, u), b + step[-1] if free_intercept else b
