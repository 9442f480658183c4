"""The optimum of one binary problem, followed while its margins and bounds move."""

from copy import copy

import numpy as np

from .face import FacePoint, RightLimit
from .margin_set import MarginSet
from .problem import ends_of
from .walk import ON_MARGIN, Walk

#: A pivot below this share of the kernel's diagonal counts as dependent on the margin set.
DEPENDENT = 1e-9
#: Violation of the optimality conditions at which a point is as good as rounding lets it be.
POLISHED = 1e-11
#: A poison weight this little short of a breakpoint may be on it.
AT_BREAKPOINT = 1e-9
#: Share of what pushes the margin set that may be left of it.
FOLLOWED = 1e-6
#: Share of the fastest rate up to which a rate is rounding.
STANDS_STILL = 1e-9


class ActiveSet:
    """The optimum of one binary problem, followed while its margins and bounds move.

    Parameters
    ----------
    problem : Problem
        Rows with bound 0 are spectators until :meth:`admit`.
    a : ndarray of shape (n,)
        Dual coefficients in [0, u]: those of an approximate solution. Strictly inside is free.
    b : float
        Its intercept.

    Attributes
    ----------
    h : ndarray of shape (n,)
        y f - r.
    r : ndarray of shape (n,)
        Margins, chosen so that the given point is exactly optimal; :meth:`polish` moves them to 1.
    residual : float
        How far the point (a, b), as it is, violates the optimality conditions at margins 1; known
        where it was made and after :meth:`polish`.

    Raises
    ------
    ValueError
        The kernel is indefinite on the rows that are free.
    """

    def __init__(self, problem, a, b):
        self.problem, self.rows, self.diagonal = problem, problem.rows, problem.diagonal
        self.y, self.free_intercept = problem.y, problem.free_intercept
        self.u, self.a, self.b = problem.u.astype(float), a.astype(float), b
        self.u_rate = np.zeros_like(self.u)
        self.playing = self.u > 0
        lower, upper = ends_of(self.a, self.u)
        self.a[self.playing & lower] = 0.0
        at_bound = self.playing & upper
        self.a[at_bound] = self.u[at_bound]
        self.upper = at_bound.copy()  # set E
        self.inside = np.zeros(len(self.y), dtype=bool)  # set S
        self.scale = float(np.max(np.abs(self.diagonal), initial=0.0)) or 1.0
        self.margin = MarginSet(len(self.y), self.free_intercept)
        self._push = None
        self._enter_all(np.flatnonzero(self.playing & (self.a > 0) & ~at_bound))
        self._certify()

    @property
    def members(self):
        """Rows in the margin set, which are free."""
        return self.margin.members

    @property
    def unbalanced(self):
        """Whether no free row can balance the intercept."""
        return self.margin.unbalanced

    def answers(self, rows):
        """:meth:`MarginSet.answers` to signed duals on some rows."""
        return self.margin.answers(rows)

    def _decision(self):
        return self.problem.decision(self.y * self.a)

    def _certify(self):
        """Find the residual of the point as it is, and margins at which it is optimal."""
        F = self._decision()
        self.residual = self.problem.violation(self.a, self.b, F)
        self.h = self.y * (F + self.b) - 1.0
        self._shift()

    def _margins(self):
        return self.y * (self._decision() + self.b)

    def _shift(self):
        """Choose the margins so that the point is optimal, where h is that of margins 1."""
        outside = np.where(self.upper, np.maximum(self.h, 0), np.minimum(self.h, 0))
        shift = np.where(self.inside, self.h, outside)
        shift[~self.playing] = 0.0
        self.r = 1.0 + shift
        self.h = self.h - shift

    # -- the margin set ----------------------------------------------------------------------

    def _enter_all(self, rows):
        """Make rows the margin set; dependent ones are moved to a bound along their null space."""
        if len(rows) == 0:
            return
        K = self.rows(rows)
        if self.margin.set(rows, K):
            self.inside[rows] = True
            return
        for i in rows:
            self.enter(i)

    def enter(self, i, held=None, missing=None):
        """Let row i, whose h is 0, into the margin set, or exchange it for a dependent member.

        `held` and `missing` are for :meth:`MarginSet.append`. Returns the rows that changed sets.
        """
        moved = [i]
        while True:
            k = self.rows.row(i)
            border = self.margin.border(k)
            if self.margin.unbalanced:
                q, pivot = None, np.inf
            else:
                q = self.margin.solve(border) if len(border) else border
                pivot = self.diagonal[i] - border @ q
            if pivot > DEPENDENT * self.scale:
                self.margin.append(i, k, self.diagonal[i], border, q, pivot, held, missing)
                self.inside[i] = True
                self._set_upper(i, False)
                return moved
            if pivot < -1e-6 * self.scale:
                members = self.margin.members
                if self.margin.pending and self.margin.set(members, self.rows(members)):
                    continue  # the inverse had lost its digits
                raise ValueError(
                    "The kernel is indefinite on the margin vectors, so the SVM optimum is not"
                    " unique and its slope is not defined; use a positive semidefinite kernel"
                    " (linear, rbf, poly), scale the features or lower C; the slope also has"
                    " method='finite_difference'."
                )
            left = self._slide(i, -q)
            if left is None:
                return moved
            moved.append(left)

    def _slide(self, i, null):
        """Move along a null direction of K until a member or i itself reaches a bound.

        Decision values do not change. Returns the member that left; None where i is at a bound.
        """
        rows = self.margin.members
        sign = -1.0 if self.upper[i] else 1.0  # a_i falls from its bound, or rises
        rate = self.y[rows] * null[self.free_intercept :] * (self.y[i] * sign)
        room = np.where(rate < 0, self.a[rows], self.u[rows] - self.a[rows])
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.where(np.abs(rate) > 1e-12, np.maximum(room, 0) / np.abs(rate), np.inf)
        own = self.a[i] if sign < 0 else self.u[i] - self.a[i]
        j = int(np.argmin(steps)) if len(steps) else -1
        step = min(own, steps[j] if j >= 0 else np.inf)
        self.a[rows] += step * rate
        self.a[i] += step * sign
        if self.free_intercept:
            self.b += step * self.y[i] * sign * null[0]
        if own <= step:
            self.a[i] = 0.0 if sign < 0 else self.u[i]
            self._set_upper(i, sign > 0)
            return None
        return self.leave(j, to_upper=rate[j] > 0)

    def leave(self, position, to_upper, held=None):
        """Take a member out of the margin set, to its upper bound or to 0; returns its row."""
        i = self.margin.remove(position, held)
        self.inside[i] = False
        self._set_upper(i, to_upper)
        self.a[i] = self.u[i] if to_upper else 0.0
        return i

    def _set_upper(self, i, to_upper):
        """Put row i at its upper bound, or take it from there."""
        if self.upper[i] == to_upper:
            return
        self.upper[i] = to_upper
        if self.u_rate[i] != 0 and self._push is not None:
            rate = self.y[i] * self.u_rate[i] * (1.0 if to_upper else -1.0)
            push, total = self._push
            self._push = push + rate * self.rows.row(i), total + rate

    def push(self):
        """What the decision values get from bounds that move, and the sum of those signed duals.

        Both are rates, of the rows at their upper bound.
        """
        if self._push is None:
            v_rate = self.y * self.u_rate * self.upper
            self._push = self.rows.product(v_rate), float(v_rate.sum())
        return self._push

    def settle(self):
        """Compute anew what was updated step by step, and put members back on their margins."""
        self._push = self.margin.rates = None
        members, v = self.margin.members, self.y * self.a
        if self.margin.inaccurate:
            self.margin.set(members, self.rows(members))
        h = self._margins() - self.r
        if len(members):
            off = self.y[members] * h[members]
            total = v.sum() + self.problem.outside_sum
            v_step, b_step, f_step = self.margin.respond(np.zeros(len(v)), -off, total)
            if np.abs(f_step).max() < 1e-6:  # rounding, no more
                self.a[members] += self.y[members] * v_step
                self.b += b_step
                h = h + self.y * f_step
        self.h = h

    def balance(self, tol):
        """Let the members take what rounding has left of the sum of signed duals."""
        total = float(self.y @ self.a) + self.problem.outside_sum
        if not self.free_intercept or self.margin.unbalanced or abs(total) <= tol:
            return
        members, self.margin.rates = self.margin.members, None
        nothing = np.zeros(len(self.y))
        v_step, b_step, f_step = self.margin.respond(nothing, np.zeros(len(members)), total)
        self.a[members] += self.y[members] * v_step
        self.b += b_step
        self.h += self.y * f_step

    def move_intercept(self, sign):
        """With no member to balance the sum of duals, b runs to the first row that can."""
        towards = self.playing & (self.y == np.where(self.upper, sign, -sign))
        rows = np.flatnonzero(towards)
        if len(rows) == 0:
            raise RuntimeError("The intercept is unbounded: one class has no training row.")
        distance = np.abs(self.h[rows])
        i = rows[distance.argmin()]
        self.b += sign * distance.min()
        self.h += self.y * sign * distance.min()
        self.h[i] = 0.0
        self.enter(i)

    # -- the two uses ------------------------------------------------------------------------

    def polish(self):
        """Move all margins to 1, so that the point is optimal to rounding."""
        for _ in range(3):
            Walk(self, 1.0 - self.r).go(1.0)
            self.r = np.ones_like(self.r)
            self.settle()
            self._return()
            self._certify()  # what rounding has left
            if self.residual < POLISHED:
                break
        lower, full = ends_of(self.a, self.u)
        if self.free_intercept and not np.any(self.inside & ~lower & ~full):
            for position in range(self.margin.size - 1, -1, -1):  # each at its bound by now
                self.leave(position, to_upper=full[self.margin.members[position]])
            self.h = self._margins() - self.r
            self.b += self.way_to_middle()
            self._certify()
        return self

    def _return(self):
        """Members that a correction has taken out of their box leave by that side."""
        for position in range(self.margin.size - 1, -1, -1):
            i = self.margin.members[position]
            if not 0.0 <= self.a[i] <= self.u[i]:
                self.leave(position, to_upper=self.a[i] > 0)

    def growing(self, rate):
        """A copy whose bounds are about to grow at `rate`; rows of bound 0 are let in."""
        new = active_copy(self)
        new.u_rate, new._push = np.where(new.playing, rate, 0.0), None
        rows = np.flatnonzero((rate > 0) & ~new.playing)
        new.admit(rows, rate[rows])
        return new

    def right_limit(self, rate, beyond=False):
        """The point, its right derivative and its first breakpoint as bounds grow at `rate`.

        With `beyond` a breakpoint right ahead counts as passed.

        Returns
        -------
        limit : RightLimit

        Raises
        ------
        RuntimeError
            It has none that could be found.
        """
        try:
            point = self.growing(rate)
            step, a_rate, b_rate, point, followed = look(Walk(point), beyond)
            if followed:
                return RightLimit(point, a_rate, b_rate, step)
        except (ValueError, RuntimeError):
            pass  # the inverse on the margin set has lost its digits
        return FacePoint(self.problem, self.a, self.b).right_limit(rate)

    def _ends(self):
        """Rows that b meets when it rises, and when it falls; it may not go past the nearest."""
        _, full = ends_of(self.a, self.u)
        upper = np.where(self.inside, full, self.upper)
        for sign in (1.0, -1.0):
            yield np.flatnonzero(self.playing & (self.y == np.where(upper, sign, -sign)))

    def way_to_middle(self, reached=False):
        """With no free row b is any of an interval: the way to its middle, as libsvm has it.

        With `reached` a member whose dual has just reached a bound does not count as free.
        """
        lower, upper = ends_of(self.a, self.u)
        free = self.inside & ~lower & ~upper if reached else self.inside
        if not self.free_intercept or np.any(free):
            return 0.0
        room = [np.abs(self.h[rows]) for rows in self._ends()]
        if not all(len(distances) for distances in room):
            return 0.0
        return (room[0].min() - room[1].min()) / 2.0

    def middle_rate(self, h_rate):
        """Rate of the middle of the interval of b, where decision values else move by `h_rate`."""
        rates = []
        for rows in self._ends():
            if len(rows) == 0:
                return 0.0
            distance = np.abs(self.h[rows])
            nearest = rows[distance <= distance.min() + ON_MARGIN]
            rates.append(np.where(self.upper, -h_rate, h_rate)[nearest].min())
        return float(rates[0] - rates[1]) / 2.0

    def admit(self, rows, rate):
        """Let poison rows in, whose bounds grow from 0 at `rate` > 0."""
        self.playing[rows] = True
        self.u_rate[rows] = rate
        self.upper[rows] = self.h[rows] < 0
        self._push = None

    def newton_step(self):
        """The point after moving all margins to 1 as if no member changed sets."""
        try:
            return self._newton_step()
        except (ValueError, RuntimeError):  # the inverse on the margin set has lost its digits
            return FacePoint(self.problem, self.a, self.b).newton_step()

    def _newton_step(self):
        a_rate, b_rate, h_rate = Walk(self, 1.0 - self.r).full_rates()
        new = active_copy(self)
        new.a, new.b, h = np.clip(self.a + a_rate, 0.0, self.u), self.b + b_rate, self.h + h_rate
        for position in range(self.margin.size - 1, -1, -1):  # from the last: none moves up
            i = new.margin.members[position]
            if new.a[i] in (0.0, self.u[i]):
                new.leave(position, to_upper=new.a[i] > 0)
        rest = self.playing & ~self.inside
        for i in np.flatnonzero(rest & np.where(self.upper, h > 0, h < 0)):
            new.enter(i)
        new._certify()
        return new


def look(walk, beyond):
    """What lies right ahead of a walk; with `beyond` behind a breakpoint that is right there.

    A margin set whose duals all stay at a bound (0, or a bound that grows) leaves the intercept
    as free as an empty one: it takes the middle of its interval.

    Returns
    -------
    step, a_rate, b_rate
        As :meth:`Walk.look` gives them.
    active : ActiveSet
        To which they belong; another one than that of the walk, if need be.
    followed : bool
        Whether the margin set stands still at these rates, as it must.
    """
    step, a_rate, b_rate = walk.look()
    if beyond and step < AT_BREAKPOINT:
        walk = Walk(active_copy(walk.active))
        walk.go(2 * AT_BREAKPOINT)
        step, a_rate, b_rate = walk.look()
    active = walk.active
    fastest = max(np.abs(active.u_rate).max(), np.abs(a_rate).max())
    if active.free_intercept and len(active.members):
        m = active.members
        lower, full = ends_of(active.a, active.u)
        stays = lower[m] & (np.abs(a_rate[m]) <= STANDS_STILL * fastest)
        grows = full[m] & (np.abs(a_rate - active.u_rate)[m] <= STANDS_STILL * fastest)
        if np.all(stays | grows):
            active = active_copy(active)
            for position in range(len(m) - 1, -1, -1):
                active.leave(position, to_upper=not stays[position])
    if active.unbalanced:
        shift = active.way_to_middle()
        active = active_copy(active)
        active.b += shift
        active.h += active.y * shift
        step, a_rate, b_rate = Walk(active).look()
    pushed, total = active.push()
    m = active.members
    off = active.rows(m) @ (active.y * a_rate) + b_rate
    unit = max(np.abs(pushed[m]).max(initial=0.0), abs(b_rate), abs(total), active.scale * fastest)
    return step, a_rate, b_rate, active, bool(np.all(np.abs(off) <= FOLLOWED * unit))


def active_copy(active):
    """An active set that can be followed while the given one stays."""
    new = copy(active)
    for name in ("u", "a", "u_rate", "playing", "upper", "inside", "h", "r", "margin"):
        setattr(new, name, getattr(active, name).copy())
    return new
