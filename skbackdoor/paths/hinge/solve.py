"""The optimum of one binary problem, from a point near it or from anywhere."""

import numpy as np

from .active_set import ActiveSet
from .face import FacePoint
from .interior_point import interior_point
from .problem import ends_of

#: Violation of the optimality conditions above which an optimum counts as not reached.
REACHED = 1e-8
#: Most rows of an interior point: three matrices of that size, and time as its cube.
MOST_ROWS = 6000


def optimum(problem, a, b):
    """The exact optimum of a problem from a point near it.

    Where following margins there fails, an interior point finds it from anywhere.

    Returns
    -------
    point : ActiveSet or FacePoint

    Raises
    ------
    ValueError, RuntimeError
        The first fails, and the second finds nothing like an optimum.
    """
    points, cause = [], None

    def ways():
        yield lambda: polished(problem, a, b)
        yield lambda: FacePoint(problem, *inner_optimum(problem))
        if points:
            yield lambda: polished(problem, points[-1].a, points[-1].b)

    for way in ways():
        try:
            points.append(way())
        except (ValueError, RuntimeError) as error:
            cause = cause or error
        best = min(points, key=lambda point: point.residual, default=None)
        if best is not None and best.residual <= 1e-9:  # its derivative is that of the optimum
            return best
    if best is None or (cause is not None and best.residual > 1e-3):  # nothing like an optimum
        raise cause
    return best


def polished(problem, a, b):
    """A point near the optimum moved there, to rounding, as its margins are moved to 1.

    Returns
    -------
    active : ActiveSet

    Raises
    ------
    ValueError, RuntimeError
        Following the margins fails.
    """
    active = ActiveSet(problem, a, b)
    for _ in range(3):
        active.set_rates(r_rate=1.0 - active.r)
        active.move(1.0)
        active.r = np.ones_like(active.r)
        active.settle()
        for position in range(active.margin.size - 1, -1, -1):
            i = active.members[position]
            if not 0.0 <= active.a[i] <= active.u[i]:  # the correction has taken it there
                active.leave(position, to_upper=active.a[i] > 0)
        active.choose_margins()  # from what rounding has left
        if active.residual < 1e-11:  # as good as rounding lets it be
            break
    active.set_rates()
    lower, upper = ends_of(active.a, active.u)
    if active.free_intercept and np.all((lower | upper)[active.members]):
        for position in range(active.margin.size - 1, -1, -1):
            active.leave(position, to_upper=upper[active.members[position]])
        active.settle()
        active.shift_intercept(active.way_to_middle())
        active.choose_margins()
    return active


def inner_optimum(problem):
    """Duals and intercept of an optimum, by an interior point.

    Raises
    ------
    RuntimeError
        The problem is too large for it.
    """
    used, a = np.flatnonzero(problem.u > 0), np.zeros(len(problem.y))
    if len(used) > MOST_ROWS:
        raise RuntimeError(
            f"The SVM optimum was not found, and {len(used)} rows are too many to start anew."
            " Scale the features, or lower C."
        )

    def violation(part, b):
        a[used] = part
        return problem.violation(a, b)

    K, y, u = problem.rows(used)[:, used], problem.y[used], problem.u[used]
    part, b = interior_point(K, y, u, problem.free_intercept, violation)
    a[used] = part
    return a, b


def as_it_is(problem, a, b):
    """A point that is not to be moved: an ActiveSet where it can be one, else a FacePoint."""
    try:
        return ActiveSet(problem, a, b)
    except ValueError:
        return FacePoint(problem, a, b)
