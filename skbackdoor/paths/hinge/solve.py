"""The optimum of one binary problem, from a point near it or from anywhere."""

import numpy as np

from .active_set import ActiveSet
from .face import FacePoint
from .interior_point import MOST_ROWS, interior_point

#: Violation of the optimality conditions above which an optimum counts as not reached.
REACHED = 1e-8
#: One above which a point is no optimum at all.
HOPELESS = 1e-3


def optimum(problem, a, b):
    """The exact optimum of a problem from a point near it.

    Where the way there gets lost, an interior point finds it from anywhere.

    Returns
    -------
    point : ActiveSet or FacePoint

    Raises
    ------
    ValueError, RuntimeError
        The first way fails, and the second finds nothing like an optimum.
    """
    points, cause = [], None
    ways = (
        lambda: ActiveSet(problem, a, b).polish(),
        lambda: FacePoint(problem, *inner_optimum(problem)),
        lambda: ActiveSet(problem, points[-1].a, points[-1].b).polish(),
    )
    for way in ways:
        try:
            points.append(way())
        except (ValueError, RuntimeError) as error:
            cause = cause or error
        best = min(points, key=lambda point: point.residual, default=None)
        if best is not None and best.residual <= REACHED:
            return best
    if cause is not None and best.residual > HOPELESS:
        raise cause
    return best


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
