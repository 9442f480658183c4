"""How the optimum of one binary problem moves as bounds grow, and its Newton step."""

import numpy as np

from .active_set import ActiveSet
from .face import FacePoint, RightLimit
from .problem import ends_of


def growing(active, rate):
    """A copy of an :class:`ActiveSet` whose bounds are about to grow at `rate`."""
    new = active.copy()
    new.set_rates(u_rate=rate)
    return new


def right_limit(point, rate, beyond=False):
    """A point, its right derivative and its first breakpoint as bounds grow at `rate`.

    Parameters
    ----------
    point : ActiveSet or FacePoint
        An optimum; it stays.
    rate : ndarray of shape (n,)
        Rates of the bounds, >= 0.
    beyond : bool, default=False
        Whether a breakpoint right ahead counts as passed.

    Returns
    -------
    limit : RightLimit

    Raises
    ------
    RuntimeError
        It has none that could be found.
    """
    if isinstance(point, ActiveSet):
        try:
            limit = tangent(growing(point, rate), beyond)
            if limit is not None:
                return limit
        except (ValueError, RuntimeError):
            pass  # the inverse on the margin set is inaccurate
        point = FacePoint(point.problem, point.a, point.b)
    return point.refined().right_limit(rate)


def tangent(active, beyond):
    """What lies right ahead of a moving point, which passes the breakpoints that are right there.

    With `beyond` it is what lies behind a breakpoint that comes next to at once. A margin set
    whose duals all stay at a bound (0, or a bound that grows) leaves the intercept as free as an
    empty one: it takes the middle of its interval.

    Returns
    -------
    limit : RightLimit or None
        Its point is another ActiveSet than the given one, if need be. None where the margin set
        does not stand still at these rates, as it must.
    """
    step = active.next_breakpoint()
    if beyond and step < 1e-9:  # the breakpoint itself, but for rounding
        active = active.copy()
        active.move(2e-9)
        step = active.next_breakpoint()
    a_rate, m = active.dual_rates(), active.members
    fastest = max(active.fastest_bound, np.abs(a_rate).max())
    if active.free_intercept and len(m):
        lower, full = ends_of(active.a, active.u)
        still = 1e-9 * fastest  # up to which a rate is rounding
        stays = lower[m] & (np.abs(a_rate[m]) <= still)
        grows = full[m] & (np.abs(a_rate - active.u_rate)[m] <= still)
        if np.all(stays | grows):
            active = active.copy()
            for position in range(len(m) - 1, -1, -1):
                active.leave(position, to_upper=not stays[position])
    if active.unbalanced:
        active = active.copy()
        active.shift_intercept(active.way_to_middle())
        step, a_rate, m = active.next_breakpoint(), active.dual_rates(), active.members
    rates, (f_outside, total) = active.rates(), active.at_bound_rates()
    unit = np.abs(f_outside[m]).max(initial=0.0)
    unit = max(unit, abs(rates.b), abs(total), active.scale * fastest)
    if not np.all(np.abs(rates.f[m]) <= 1e-6 * unit):  # members leave their margins
        return None
    return RightLimit(active, a_rate, rates.b, step)


def newton_step(point):
    """Duals and intercept after moving all margins to 1 as if no free row came to a bound."""
    if isinstance(point, ActiveSet):
        try:
            return _newton_step(point.copy())
        except (ValueError, RuntimeError):  # the inverse on the margin set is inaccurate
            point = FacePoint(point.problem, point.a, point.b)
    return point.newton_step()


def _newton_step(active):
    active.set_rates(r_rate=1.0 - active.r)
    a_rate, b_rate = active.dual_rates(), active.rates().b
    passed = np.flatnonzero(active.distance < active.closing(active.rates().f))
    active.a, active.b = np.clip(active.a + a_rate, 0.0, active.u), active.b + b_rate
    active.set_rates()
    for position in range(active.margin.size - 1, -1, -1):  # from the last: none moves up
        i = active.members[position]
        if active.a[i] in (0.0, active.u[i]):
            active.leave(position, to_upper=active.a[i] > 0)
    for i in passed:
        active.enter(i)
    return active.a, active.b
