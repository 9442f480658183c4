"""A point of a dual that no active set can hold, and its right derivative by least squares."""

from copy import copy
from typing import NamedTuple

import numpy as np


class RightLimit(NamedTuple):
    """An optimum as bounds begin to grow.

    Attributes
    ----------
    point : ActiveSet or FacePoint
        The optimum at beta = 0+: its duals `a` and its intercept `b`.
    a_rate : ndarray of shape (n,)
        Right derivatives of its duals.
    b_rate : float
        That of its intercept.
    step : float
        How far the next breakpoint is, at most 1.
    """

    point: object
    a_rate: np.ndarray
    b_rate: float
    step: float


class FacePoint:
    r"""A point of a :class:`~skbackdoor.paths.hinge.problem.Problem` as it is.

    An active set keeps the inverse of the kernel of its free rows, so that these must be
    independent. Here they need not be: with sets S, E and R as in
    :mod:`skbackdoor.paths.hinge.problem` the rates of S are the smallest that satisfy

    .. math:: K_{SS} \dot v_S + \dot b = - K_{SE} (y \dot u)_E, \quad
              \sum_S \dot v = -\sum_E y \dot u,

    and rows that are on their margin as well as at a bound join S, or leave it, until none moves
    to the wrong side.

    Parameters
    ----------
    problem : Problem
        Rows with bound 0 are not in it.
    a : ndarray of shape (n,)
        Duals.
    b : float
        Intercept.

    Attributes
    ----------
    residual : float
        How far the point violates the optimality conditions.
    members : ndarray of int
        Rows that are free.
    upper : ndarray of bool of shape (n,)
        Rows at their bound.
    """

    def __init__(self, problem, a, b):
        self.problem, self.a, self.b = problem, a, b
        self.residual = problem.violation(a, b)
        u = problem.u
        self.members = np.flatnonzero((a > 0) & (a < u * (1 - 1e-12)))
        self.upper = (u > 0) & (a > 0)
        self.upper[self.members] = False

    @property
    def unbalanced(self):
        """Whether no free row can balance the intercept."""
        return len(self.members) == 0 and self.problem.free_intercept

    def sensitivity(self, rows):
        """b (if it is free) and the signed duals of the members per unit of signed dual on rows.

        Shape (border + n_members, len(rows)).
        """
        return -self._least_squares(self.members, self.problem.rows(self.members)[:, rows], 1.0)

    def newton_step(self):
        """Duals and intercept after the free rows are put on their margins."""
        problem, a = self.problem, self.a.copy()
        v = problem.y * a
        left = problem.decision(v)[self.members] + self.b - problem.y[self.members]
        step = -self._least_squares(self.members, left[:, None], v.sum() + problem.outside_sum)
        o = int(problem.free_intercept)
        a[self.members] += problem.y[self.members] * step[o:, 0]
        b = self.b + step[0, 0] if o else self.b
        return np.clip(a, 0.0, problem.u), b

    def refined(self):
        """The point after Newton steps, while these make it better."""
        point = self
        for _ in range(5):
            new = FacePoint(self.problem, *point.newton_step())
            if not new.residual < point.residual:
                break
            point = new
        return point

    def right_limit(self, rate):
        """The point, its right derivative and its first breakpoint as bounds grow at `rate`.

        Rows as near to their margin as rounding and the residual tell are on it. No others are:
        one that is 1e-9 away and comes nearer at a rate of 1e-6 joins at a later breakpoint.

        Raises
        ------
        RuntimeError
            No set of free rows has rates that satisfy all conditions.
        """
        problem, y, n = self.problem, self.problem.y, len(self.a)
        active = (problem.u > 0) | (rate > 0)
        h = y * (problem.decision(y * self.a) + self.b) - 1.0
        near = np.abs(h) <= max(self._rounding(), 10 * self.residual)  # on its margin
        free, upper = np.zeros(n, dtype=bool), self.upper.copy()
        free[self.members] = True
        upper |= (problem.u == 0) & (rate > 0) & (h < 0) & ~near
        loose = active & near & ~free  # on the margin and at a bound
        from_upper = upper.copy()
        for _ in range(4 * int(loose.sum()) + 4):
            a_rate, b_rate, h_rate = self._rates(np.flatnonzero(free), upper, rate)
            still = 1e-8 * max(np.abs(h_rate).max(), np.abs(rate).max())  # rounding
            wrong = np.zeros(n)
            wrong[loose & ~free] = np.where(upper, h_rate, -h_rate)[loose & ~free]
            joined = loose & free
            beyond = np.where(from_upper, a_rate - rate, -a_rate)
            past = np.where(from_upper, -np.inf, a_rate - rate)  # a copy that fills its new bound
            past[problem.u > 0] = -np.inf
            wrong[joined] = np.maximum(beyond, past)[joined]
            i = int(np.argmax(wrong))
            if wrong[i] <= still:
                step = self._first_breakpoint(h, a_rate, h_rate, rate, free, upper, loose, still)
                point = copy(self)
                point.members, point.upper = np.flatnonzero(free), upper
                return RightLimit(point, a_rate, b_rate, step)
            upper[i] = upper[i] if not free[i] else bool(past[i] > beyond[i]) or from_upper[i]
            free[i] = not free[i]
            upper[i] &= not free[i]
        raise RuntimeError(
            "The SVM optimum has no right derivative that could be found: too many rows lie on the"
            " margin. Scale the features, lower C, or use method='finite_difference'."
        )

    def _rounding(self):
        """What rounding may do to a decision value: a bound by Cauchy and Schwarz."""
        root = np.sqrt(np.abs(self.problem.diagonal))
        return 16 * np.finfo(float).eps * max(1.0, root.max() * (root @ self.a))

    def _rates(self, free, upper, rate):
        """Rates of a, b and h with these rows free and those at their growing bounds."""
        problem, y = self.problem, self.problem.y
        v_rate = np.where(upper, y * rate, 0.0)
        f_outside, total = problem.rows.product(v_rate), float(v_rate.sum())
        o, b_rate = int(problem.free_intercept), 0.0
        if len(free) == 0 and o and total != 0.0:
            raise RuntimeError(
                "The SVM has no free support vector, and no row on the margin can balance the"
                " poison; raise C, or use method='finite_difference'."
            )
        if len(free):
            step = -self._least_squares(free, f_outside[free, None], total)[:, 0]
            v_rate[free] = step[o:]
            b_rate = float(step[0]) if o else 0.0
        f_rate = problem.rows.product(v_rate) + b_rate
        return y * v_rate, b_rate, y * f_rate

    def _least_squares(self, rows, right, total):
        """Smallest (b and) v with K_SS v + b = right, sum v = total; right of shape (s, k)."""
        K = self.problem.rows(rows)[:, rows]
        if self.problem.free_intercept:
            K = np.pad(K, ((1, 0), (1, 0)), constant_values=1.0)
            K[0, 0] = 0.0
            right = np.concatenate([np.full((1, right.shape[1]), total), right])
        return np.linalg.lstsq(K, right, rcond=1e-14)[0]

    def _first_breakpoint(self, h, a_rate, h_rate, rate, free, upper, loose, still):
        """How far these rates hold: until a dual meets a bound or a row its margin, at most 1."""
        a, u = self.a, self.problem.u
        falls, fills = free & (a_rate < -still), free & (a_rate - rate > still)
        outside = ~free & ~loose
        comes = outside & ~upper & (u + rate > 0) & (h_rate < -still)
        goes = outside & upper & (h_rate > still)
        steps = [
            a[falls] / -a_rate[falls],
            (u - a)[fills] / (a_rate - rate)[fills],
            h[comes] / -h_rate[comes],
            -h[goes] / h_rate[goes],
        ]
        return float(np.clip(np.concatenate(steps).min(initial=1.0), 0.0, 1.0))
