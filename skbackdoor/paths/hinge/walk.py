"""The optimum of a hinge dual, followed from breakpoint to breakpoint."""

import numpy as np

#: A row this close to its margin counts as on it.
ON_MARGIN = 1e-11
#: Nearer than this, a row may seem to move by rounding only.
NEAR = 1e-9
#: In place of a distance of 0, by which something is divided.
TINY = 1e-300
#: Breakpoints after which everything that was updated step by step is computed anew.
SETTLED = 1000


class Walk:
    """Follows the optimum of an :class:`~skbackdoor.paths.hinge.active_set.ActiveSet` in place.

    Margins and bounds move at constant rates; until the next row changes sets, so does everything
    else. A breakpoint costs a product with the inverse and one with the rows of the margin set,
    and some twenty passes over vectors, which for up to some thousand rows is most of it: hence
    distances and members lie here as the loop wants them, and the active set is brought up to
    date at the end of each :meth:`go`.

    Parameters
    ----------
    active : ActiveSet
        Where to start; it moves along.
    r_rate : ndarray of shape (n,), default=None
        Rates of the margins; None is 0. Those of the bounds are ``active.u_rate``.
    """

    def __init__(self, active, r_rate=None):
        self.active, self.r_rate = active, r_rate
        self.fastest_bound = float(np.abs(active.u_rate).max(initial=0.0))
        self.largest = float(active.a.max(initial=0.0))
        self.gather()

    # -- between the loop and the active set --------------------------------------------------

    def gather(self):
        """Take over where the active set is."""
        active = self.active
        outside = active.playing & ~active.inside
        #: Side of its margin on which a row outside is: h = side * gap; else 0.
        self.side = np.where(outside, np.where(active.upper, -1.0, 1.0), 0.0)
        #: Minus side times y: how the gap answers to the decision value.
        self.sign = -self.side * active.y
        #: How far a row outside is from its margin; inf for all others.
        self.gap = np.where(outside, np.maximum(self.side * active.h, TINY), np.inf)
        self.drift = None if self.r_rate is None else self.side * self.r_rate
        self.t, self.b = 0.0, active.b
        active.margin.rates = None
        self._gather_members()

    def _gather_members(self):
        active, members = self.active, self.active.margin.members
        self.y, self.a, self.u = active.y[members], active.a[members], active.u[members]
        self.u_rate = active.u_rate[members]
        self.target = 0.0 if self.r_rate is None else self.y * self.r_rate[members]
        self._rates = None

    def scatter(self):
        """Bring the active set up to date."""
        active = self.active
        self._move_bounds()
        active.b, active.a[active.margin.members] = self.b, self.a
        active.a[active.upper] = active.u[active.upper]
        np.multiply(self.side, self.gap, out=active.h, where=self.side != 0)
        active.h[active.margin.members] = 0.0

    def _move_bounds(self):
        active = self.active
        if self.fastest_bound > 0:
            active.u += self.t * active.u_rate
        if self.r_rate is not None:
            active.r += self.t * self.r_rate
        self.t = 0.0

    # -- rates --------------------------------------------------------------------------------

    def rates(self):
        """Rates of the members' signed duals, of b and of the decision values, and a unbalanced.

        Returns
        -------
        v_rate : ndarray of shape (n_members,)
        b_rate : float
        f_rate : ndarray of shape (n,)
        unbalanced : float
            With an empty margin set and a free intercept, the sum of y a_rate that only a
            member could balance; else 0.
        """
        if self._rates is None:
            active = self.active
            pushed, total = active.push()
            if active.margin.unbalanced:
                self.scatter()
                h_rate = active.y * pushed - (0.0 if self.r_rate is None else self.r_rate)
                b_rate = active.middle_rate(h_rate)
                self._rates = np.zeros(0), b_rate, pushed + b_rate, total
            else:
                self._rates = *active.margin.respond(pushed, self.target, total), 0.0
        return self._rates

    def full_rates(self):
        """Rates of a, of b and of h, of all rows."""
        active = self.active
        v_rate, b_rate, f_rate, _ = self.rates()
        a_rate = active.u_rate * active.upper
        a_rate[active.margin.members] = self.y * v_rate
        h_rate = active.y * f_rate - (0.0 if self.r_rate is None else self.r_rate)
        h_rate[active.margin.members] = 0.0
        return a_rate, b_rate, h_rate

    # -- steps --------------------------------------------------------------------------------

    def look(self):
        """Pass the breakpoints that are right here.

        Returns
        -------
        step : float
            How far the next breakpoint is, at most 1.
        a_rate : ndarray of shape (n,)
            Rates of the duals up to there.
        b_rate : float
            Rate of the intercept.
        """
        step = self._go(1.0, first_only=True)
        return step, *self.full_rates()[:2]

    def go(self, length):
        """Go through every breakpoint over a length of t."""
        self._go(length, first_only=False)

    def _go(self, length, first_only):
        active, left, idle, since = self.active, length, 0, 0
        n = len(active.y)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            for _ in range(100 * n + 1000):
                v_rate, b_rate, f_rate, unbalanced = self.rates()
                if abs(unbalanced) > 1e-12 * self.fastest_bound:
                    active.move_intercept(np.sign(unbalanced))
                    self.gather()
                    continue
                step, kind, at = self._next(v_rate, f_rate, left)
                if first_only and step > 0:
                    break
                if step > 0:
                    self._advance(step, v_rate, b_rate)
                    left -= step
                if kind is None:
                    break
                idle = idle + 1 if step == 0 else 0
                if idle > 4 * n + 100:
                    raise _not_settled()
                self._exchange(kind, at)
                since += 1
                if since > SETTLED or active.margin.inaccurate:
                    self.scatter()
                    active.settle()
                    active.h[active.margin.members] = 0.0
                    self.gather()
                    since = 0
            else:
                raise _not_settled()
        self.scatter()
        return step

    def _next(self, v_rate, f_rate, left):
        """The next breakpoint: (step, kind, row or position in the margin set)."""
        best, kind, at = left, None, -1
        # Rows outside: how fast each comes nearer to its margin (members: 0).
        closing = self.closing = self.sign * f_rate
        if self.drift is not None:
            closing += self.drift
        i = (closing / self.gap).argmax()
        if self.gap[i] <= NEAR:
            i = self._nearest(self.gap, closing, self._noise(f_rate), ON_MARGIN)
        if i >= 0 and closing[i] > 0:
            gap = self.gap[i]
            step = 0.0 if gap <= ON_MARGIN else float(gap / closing[i])
            if step < best:
                best, kind, at = step, "enter", int(i)
        if len(v_rate):
            rate = self.y * v_rate
            for side, speed, room in (
                ("lower", np.negative(rate), self.a),
                ("upper", rate - self.u_rate, self.u - self.a),
            ):
                room = np.maximum(room, TINY)
                j = (speed / room).argmax()
                enough = 1e-13 * self.largest
                if room[j] <= 100 * enough:
                    noise = 1e-13 * max(rate.max(), -rate.min(), self.fastest_bound)
                    j = self._nearest(room, speed, noise, enough)
                if j >= 0 and speed[j] > 0:
                    step = 0.0 if room[j] <= enough else float(room[j] / speed[j])
                    if step < best:
                        best, kind, at = step, side, int(j)
        return best, kind, at

    def _noise(self, f_rate):
        """Rates of a gap up to which it stands still but for rounding."""
        fastest = max(f_rate.max(), -f_rate.min(), 1.0)
        if self.drift is not None:
            fastest = max(fastest, np.abs(self.drift).max())
        return max(1e-11 * fastest, 10 * self.active.margin.error)

    @staticmethod
    def _nearest(way, speed, noise, nothing):
        """Who arrives first; of those that are there already the fastest; -1 if none moves."""
        moving = speed > noise
        there = (moving & (way <= nothing)).nonzero()[0]
        if len(there):
            return there[speed[there].argmax()]
        i = np.where(moving, speed / way, 0.0).argmax()
        return i if moving[i] else -1

    def _advance(self, step, v_rate, b_rate):
        self.t += step
        self.b += step * b_rate
        self.a += step * (self.y * v_rate)
        self.u += step * self.u_rate
        self.gap -= step * self.closing
        np.maximum(self.gap, TINY, out=self.gap)

    def _exchange(self, kind, at):
        """Let a row enter the margin set, or a member leave it."""
        active = self.active
        self._move_bounds()
        active.b, active.a[active.margin.members] = self.b, self.a
        if kind == "enter":
            if active.upper[at]:
                active.a[at] = active.u[at]
            held = active.y[at] * active.u_rate[at] if active.upper[at] else 0.0
            target = 0.0 if self.r_rate is None else active.y[at] * self.r_rate[at]
            moved = active.enter(at, held, target - self._rates[2][at])
        else:
            held = self.y[at] * self.u_rate[at] if kind == "upper" else 0.0
            moved = [active.leave(at, kind == "upper", held)]
        for i in moved:
            side = 0.0 if active.inside[i] else -1.0 if active.upper[i] else 1.0
            self.side[i], self.sign[i] = side, -side * active.y[i]
            self.gap[i] = TINY if side else np.inf
            if self.drift is not None:
                self.drift[i] = side * self.r_rate[i]
        self.b = active.b
        self._gather_members()


def _not_settled():
    return RuntimeError(
        "The SVM active set did not settle: too many exchanges without progress. Either C times"
        " the kernel is too large for floating point (scale the features, or lower C), or the"
        " rows are too degenerate for this kernel (remove duplicates)."
    )
