"""The optimum of one binary problem, followed from breakpoint to breakpoint.

One class, and a long one: every step updates the same duals, sides, intercept and margin set.
"""

from copy import copy
from typing import NamedTuple

import numpy as np

from .intercept import middle_rate, way_to_middle
from .margin_set import MarginSet
from .problem import ends_of
from .ratio_test import ratio_test

#: A row this close to its margin counts as on it.
ON_MARGIN = 1e-11
#: In place of a distance of 0, by which something is divided.
TINY = 1e-300
#: Breakpoints after which everything that was updated step by step is computed anew.
SETTLED = 1000
#: Times that the inverse may become inaccurate on one way; beyond, the way is lost.
MOST_INACCURATE = 100


class Rates(NamedTuple):
    """At what rates everything moves until the next breakpoint.

    With an empty margin set and a free intercept, `imbalance` is the sum of y a_rate that only a
    member could balance; else it is 0.
    """

    a: np.ndarray  # duals of the margin set, shape (n_members,)
    b: float  # the intercept
    f: np.ndarray  # decision values, shape (n,)
    imbalance: float


class ActiveSet:
    """The optimum of one binary problem, which moves as its margins and bounds do.

    These move at constant rates (:meth:`set_rates`); until the next row changes sets, so does
    everything else. Of what a breakpoint costs, passes over vectors are most for up to some
    thousand rows.

    Parameters
    ----------
    problem : Problem
        Rows with bound 0 are not in it until their bounds grow.
    a : ndarray of shape (n,)
        Dual coefficients in [0, u]: those of an approximate solution. Strictly inside is free.
    b : float
        Its intercept.

    Attributes
    ----------
    a, u, r : ndarrays of shape (n,)
        Dual coefficients, bounds, and margins, chosen so that the given point is exactly optimal.
    b : float
        The intercept.
    active : ndarray of bool of shape (n,)
        Rows with a bound above 0, or one that grows.
    margin : MarginSet
        The free rows, set S.
    side : ndarray of shape (n,)
        1 for rows beyond their margin, whose duals are 0 (R); -1 for rows short of it, whose
        duals are at their bounds (E); 0 in the margin set.
    distance : ndarray of shape (n,)
        How far a row is from its margin: side times h = y f - r; inf in the margin set. That of
        rows that are not active holds until the point moves.
    towards : ndarray of shape (n,)
        -side y: which sign of a change of the decision value brings an active row to its margin.
    residual : float
        Violation of the optimality conditions at margins 1, by :meth:`choose_margins`.

    Raises
    ------
    ValueError
        The kernel is indefinite on the rows that are free.
    """

    def __init__(self, problem, a, b):
        self.problem, self.rows, self.diagonal = problem, problem.rows, problem.diagonal
        self.y, self.free_intercept = problem.y, problem.free_intercept
        self.u, self.a, self.b = problem.u.astype(float), a.astype(float), b
        n, self.active = len(self.y), self.u > 0
        lower, upper = ends_of(self.a, self.u)
        upper &= self.active
        self.a[self.active & lower] = 0.0
        self.a[upper] = self.u[upper]
        self.side, self.distance = np.where(upper, -1.0, 1.0), np.full(n, TINY)
        self.scale = float(np.max(np.abs(self.diagonal), initial=0.0)) or 1.0
        self.margin = MarginSet(n, self.free_intercept)
        self.set_rates()
        free = np.flatnonzero(self.active & (self.a > 0) & ~upper)
        if len(free) and self.margin.set(free, self.rows(free)):
            self.side[free] = self.towards[free] = 0.0
        else:  # those that depend on others go to a bound
            for i in free:
                self.enter(i)
        self.choose_margins()

    def copy(self):
        """One that moves while this one stays."""
        new = copy(self)
        for name in ("u", "a", "r", "active", "side", "distance", "towards", "margin"):
            setattr(new, name, getattr(self, name).copy())
        new._rates = new.margin.rates = None
        return new

    def kept(self, mask, problem):
        """The same point of a problem on some of its rows, where the others are not active."""
        new = copy(self)
        new.problem, new.rows, new.diagonal, new.y = (
            problem,
            problem.rows,
            problem.diagonal,
            problem.y,
        )
        for name in ("u", "a", "r", "active", "side", "distance", "towards"):
            setattr(new, name, getattr(self, name)[mask])
        new.margin = self.margin.kept(mask)
        new.set_rates()
        return new

    @property
    def members(self):
        """Rows in the margin set, which are free."""
        return self.margin.members

    @property
    def upper(self):
        """Which active rows are at their bound."""
        return self.active & (self.side < 0)

    @property
    def unbalanced(self):
        """Whether no free row can balance the intercept."""
        return self.margin.unbalanced

    def sensitivity(self, rows):
        """:meth:`MarginSet.sensitivity` to signed duals on some rows."""
        return self.margin.sensitivity(rows)

    # -- where the point is --------------------------------------------------------------------

    def choose_margins(self):
        """Choose margins at which the point, as it is, is optimal; find its residual at 1."""
        F = self.problem.decision(self.y * self.a)
        self.residual = self.problem.violation(self.a, self.b, F)
        h = self.y * (F + self.b) - 1.0
        shift = np.where(self.side < 0, np.maximum(h, 0), np.minimum(h, 0))
        shift = np.where(self.side == 0, h, shift)
        shift[~self.active] = 0.0
        self.r = 1.0 + shift
        self._set_distances(h - shift)

    def _set_distances(self, h):
        absent = ~self.active
        self.side[absent] = np.where(h[absent] < 0, -1.0, 1.0)
        self.distance = np.maximum(self.side * h, TINY)
        self.distance[self.members] = np.inf

    def settle(self):
        """Compute anew what was updated step by step, and put members back on their margins."""
        self._at_bound = None
        self._fill_bounds()
        members, v = self.members, self.y * self.a
        if self.margin.inaccurate:
            self.margin.set(members, self.rows(members))
        h = self.y * (self.problem.decision(v) + self.b) - self.r
        if len(members):
            off = self.y[members] * h[members]
            a_step, b_step, f_step = self._correction(-off, v.sum() + self.problem.outside_sum)
            if np.abs(f_step).max() < 1e-6:  # rounding, no more
                self.a[members] += a_step
                self.b += b_step
                h = h + self.y * f_step
        self._set_distances(h)
        self._rates = None

    def _correction(self, f_members, total):
        """What changes the members' decision values so, and takes a total off the sum of duals."""
        members, self.margin.rates = self.members, None
        v, b, f = self.margin.solve_kkt(np.zeros(len(self.y)), f_members, total)
        self.margin.rates = None
        return self.y[members] * v, b, f

    def set_bounds(self, u, tol):
        """Put bounds where they should be but for rounding.

        Of the sum of signed duals what is above `tol` goes to the members.
        """
        self.u = u.copy()
        self._fill_bounds()
        self._rates = self.margin.rates = None
        total = float(self.y @ self.a) + self.problem.outside_sum
        if not self.free_intercept or self.unbalanced or abs(total) <= tol:
            return
        a_step, b_step, f_step = self._correction(np.zeros(self.margin.size), total)
        self.a[self.members] += a_step
        self.b += b_step
        self._approach(self.towards * f_step)

    def _fill_bounds(self):
        """Duals at their bounds go along with these."""
        np.copyto(self.a, self.u, where=self.side < 0)

    def _approach(self, change):
        """Bring rows nearer to their margins, none of them beyond."""
        self.distance -= change
        np.maximum(self.distance, TINY, out=self.distance)

    # -- the margin set ------------------------------------------------------------------------

    def enter(self, i):
        """Let row i, which is on its margin, into the margin set.

        Where it depends on the members it takes the place of one of them, or goes to its other
        bound.
        """
        missing = None
        if self.side[i] < 0:
            self.a[i] = self.u[i]
        if self._rates is not None:
            target = 0.0 if self.r_rate is None else self.y[i] * self.r_rate[i]
            missing = target - self._rates.f[i]
        while True:
            k = self.rows.row(i)
            border = self.margin.border(k)
            if self.margin.unbalanced:
                q, pivot = None, np.inf
            else:
                q = self.margin.solve(border) if len(border) else border
                pivot = self.diagonal[i] - border @ q
            if pivot > 1e-9 * self.scale:  # else row i depends on the members
                v_rate = self.y[i] * self.u_rate[i] if self.side[i] < 0 else 0.0
                self.margin.append(i, k, self.diagonal[i], border, q, pivot, v_rate, missing)
                self._put(i, 0.0)
                return
            if pivot < -1e-6 * self.scale:
                members = self.members
                if self.margin.pending and self.margin.set(members, self.rows(members)):
                    continue  # the inverse had become inaccurate
                raise ValueError(
                    "The kernel is indefinite on the margin vectors, so the SVM optimum is not"
                    " unique and its slope is not defined; use a positive semidefinite kernel"
                    " (linear, rbf, poly), scale the features or lower C; the slope also has"
                    " method='finite_difference'."
                )
            if self._slide(i, -q):
                return

    def _slide(self, i, null):
        """Move along a null direction of K until a member or row i itself reaches a bound.

        Decision values do not change. A member leaves; True where it is row i.
        """
        rows, sign = self.members, self.side[i]  # a_i falls from its bound, or rises
        rate = self.y[rows] * null[int(self.free_intercept) :] * (self.y[i] * sign)
        distance = np.where(rate < 0, self.a[rows], self.u[rows] - self.a[rows])
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.where(np.abs(rate) > 1e-12, np.maximum(distance, 0) / np.abs(rate), np.inf)
        own = self.a[i] if sign < 0 else self.u[i] - self.a[i]
        step = min(own, steps.min(initial=np.inf))
        self.a[rows] += step * rate
        self.a[i] += step * sign
        if self.free_intercept:
            self.b += step * self.y[i] * sign * null[0]
        if own <= step:
            self.a[i] = 0.0 if sign < 0 else self.u[i]
            self._put(i, -sign)
            return True
        self.margin.rates, j = None, steps.argmin()
        self.leave(j, to_upper=rate[j] > 0)
        return False

    def leave(self, position, to_upper):
        """Take a member out of the margin set, by its position, to its bound or to 0."""
        i = self.members[position]
        v_rate = self.y[i] * self.u_rate[i] if to_upper else 0.0
        self.margin.remove(position, v_rate)
        self._put(i, -1.0 if to_upper else 1.0)
        self.a[i] = self.u[i] if to_upper else 0.0

    def _put(self, i, side):
        """Put row i on a side of its margin."""
        if (self.side[i] < 0) != (side < 0) and self.u_rate[i] and self._at_bound is not None:
            v_rate = self.y[i] * self.u_rate[i] * (1.0 if side < 0 else -1.0)
            f_rate, total = self._at_bound
            self._at_bound = f_rate + v_rate * self.rows.row(i), total + v_rate
        self.side[i], self.towards[i] = side, -side * self.y[i]
        self.distance[i] = TINY if side else np.inf
        self._rates = None

    # -- the intercept where no row is free ----------------------------------------------------

    def way_to_middle(self, reached=False):
        """With no free row b is any of an interval: the way to its middle.

        With `reached` a member whose dual has just reached a bound does not count as free.
        """
        free, towards, distance = self.side == 0, self.towards, self.distance
        if reached:
            lower, upper = ends_of(self.a, self.u)
            towards = np.where(free, np.where(upper, self.y, -self.y), towards)
            distance = np.where(free, 0.0, distance)
            free &= ~lower & ~upper
        if not self.free_intercept or np.any(free):
            return 0.0
        return way_to_middle(towards, distance)

    def shift_intercept(self, step):
        """Move the intercept, where that leaves the point optimal."""
        self.b += step
        self._approach(self.towards * step)
        self._rates = None

    def _enter_by_intercept(self, sign):
        """Let the intercept run to the first row that can balance the sum of duals."""
        rows = np.flatnonzero(self.towards == sign)
        if len(rows) == 0:
            raise RuntimeError("The intercept is unbounded: one class has no training row.")
        i = rows[self.distance[rows].argmin()]
        self.shift_intercept(sign * self.distance[i])
        self.enter(i)

    # -- motion --------------------------------------------------------------------------------

    def set_rates(self, u_rate=None, r_rate=None):
        """At what rates bounds and margins move from now on.

        Rows whose bounds are to grow from 0 join the problem.

        Parameters
        ----------
        u_rate, r_rate : ndarrays of shape (n,), default=None
            Rates of bounds, >= 0, and of margins; None where they do not move.
        """
        self.u_rate = np.zeros_like(self.u) if u_rate is None else u_rate
        self.r_rate = r_rate
        self.fastest_bound = float(self.u_rate.max(initial=0.0))
        self.active |= self.u_rate > 0
        self.towards = np.where(self.active, -self.side * self.y, 0.0)
        self._at_bound = self._rates = self.margin.rates = None

    def at_bound_rates(self):
        """Rates of the decision values by rows at their bounds, and of the sum of their duals."""
        if self._at_bound is None:
            v_rate = self.y * self.u_rate * (self.side < 0)
            self._at_bound = self.rows.product(v_rate), float(v_rate.sum())
        return self._at_bound

    def rates(self):
        """:class:`Rates` until the next breakpoint."""
        if self._rates is None:
            f_outside, total = self.at_bound_rates()
            if self.margin.unbalanced:
                closing = self.closing(f_outside)
                b_rate = middle_rate(self.towards, self.distance, closing, ON_MARGIN)
                self._rates = Rates(np.zeros(0), b_rate, f_outside + b_rate, total)
            else:
                members = self.members
                y = self.y[members]
                target = 0.0 if self.r_rate is None else y * self.r_rate[members]
                v_rate, b_rate, f_rate = self.margin.solve_kkt(f_outside, target, total)
                self._rates = Rates(y * v_rate, b_rate, f_rate, 0.0)
        return self._rates

    def dual_rates(self):
        """Rates of all duals, shape (n,)."""
        a_rate = self.u_rate * (self.side < 0)
        a_rate[self.members] = self.rates().a
        return a_rate

    def closing(self, f_rate):
        """How fast rows outside near their margins as decision values move; 0 for members."""
        closing = self.towards * f_rate
        if self.r_rate is not None:
            closing += self.side * self.r_rate
        return closing

    def move(self, length, visit=None):
        """Go through every breakpoint over a length of time.

        ``visit(self, gone)`` is called where a step begins and where it ends, with the time that
        has gone by; duals at their bounds are not yet brought along.
        """
        self._move(length, first_only=False, visit=visit)

    def next_breakpoint(self):
        """Pass the breakpoints that are right here; how far is the next, at most 1."""
        return self._move(1.0, first_only=True)

    def _move(self, length, first_only, visit=None):
        left, passed, idle, inaccurate, n = length, 0, 0, 0, len(self.y)
        largest = float(self.a.max(initial=0.0))
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            while True:
                rates = self.rates()
                if abs(rates.imbalance) > 1e-12 * self.fastest_bound:
                    self._enter_by_intercept(np.sign(rates.imbalance))
                    continue
                closing = self.closing(rates.f)
                step, kind, at = self._next(closing, rates, left, 1e-13 * largest)
                if first_only and step > 0:
                    break
                if step > 0:
                    if visit is not None:
                        visit(self, length - left)
                    self._advance(step, rates, closing)
                    left -= step
                    if visit is not None:
                        visit(self, length - left)
                if kind is None:
                    break
                passed, idle = passed + 1, idle + 1 if step == 0 else 0
                lost = inaccurate > MOST_INACCURATE
                if lost or idle > 4 * n + 100 or passed > 100 * n + 1000:
                    raise RuntimeError(
                        "The SVM active set did not settle: too many exchanges without progress."
                        " Either C times the kernel is too large for floating point (scale the"
                        " features, or lower C), or the rows are too degenerate for this kernel"
                        " (remove duplicates)."
                    )
                if kind == "enter":
                    self.enter(at)
                else:
                    self.leave(at, to_upper=kind == "upper")
                if passed % SETTLED == 0 or self.margin.inaccurate:
                    inaccurate += self.margin.inaccurate
                    self.settle()
        self._fill_bounds()
        return step

    def _next(self, closing, rates, left, rounding):
        """The next breakpoint: (step, kind, row or position in the margin set).

        Duals this near to a bound, but for `rounding`, are at it.
        """
        best, kind = left, None
        step, at = ratio_test(self.distance, closing, ON_MARGIN, 1e-9, self._noise)
        if step < best:
            best, kind = step, "enter"
        if len(rates.a) == 0:
            return best, kind, at
        members = self.members
        a, fills = self.a[members], rates.a
        if self.fastest_bound > 0:
            fills = fills - self.u_rate[members]

        def noise():
            return 1e-13 * max(rates.a.max(), -rates.a.min(), self.fastest_bound)

        for end, distance, speed in ("lower", a, -rates.a), ("upper", self.u[members] - a, fills):
            distance = np.maximum(distance, TINY)
            step, j = ratio_test(distance, speed, rounding, 100 * rounding, noise)
            if step < best:
                best, kind, at = step, end, j
        return best, kind, at

    def _noise(self):
        """Rates of a distance up to which it stands still but for rounding."""
        fastest = max(self._rates.f.max(), -self._rates.f.min(), 1.0)
        if self.r_rate is not None:
            fastest = max(fastest, np.abs(self.side * self.r_rate).max())
        return max(1e-11 * fastest, 10 * self.margin.error)

    def _advance(self, step, rates, closing):
        self.b += step * rates.b
        self.a[self.members] += step * rates.a
        if self.fastest_bound > 0:
            self.u += step * self.u_rate
        if self.r_rate is not None:
            self.r += step * self.r_rate
        self._approach(step * closing)
