"""Every breakpoint of a hinge machine's dual path: between them its decision values are linear."""

import numpy as np

from ..switches import SignChanges
from ..threads import one_blas_thread
from .active_set import ActiveSet
from .derivative import growing
from .problem import ends_of
from .solve import REACHED

#: Breakpoints whose decision values are computed in one product.
BLOCK = 256
#: Weights at which bounds are put where they should be but for rounding, and where a search for
#: a first weight may end.
ENDS = np.append(2.0 ** np.arange(-14, -4), np.arange(1, 17) / 16)


class Breakpoints:
    """Decision values of some samples at all breakpoints of one binary problem.

    Parameters
    ----------
    problem : tuple of (rows, point, poison_rate)
        As in :class:`HingeOptimum`, at its optimum.
    K : ndarray of shape (n_samples, n)
        The kernel between the samples and the rows of the problem.

    Raises
    ------
    RuntimeError
        Here and later: the path cannot be followed, is not optimal somewhere on it, or has no free
        row somewhere, so that the intercept is the middle of an interval, which bends between
        breakpoints.
    """

    def __init__(self, problem, K):
        _, start, self.rate = problem
        if not isinstance(start, ActiveSet):
            raise RuntimeError("The optimum is degenerate: its breakpoints cannot be followed.")
        self.problem, self.K = start.problem, K
        self._beta, self._v, self._b, self._done = [], [], [], []
        self._record(0.0, start.problem.y * start.a, start.b + start.way_to_middle())
        self.active, self.end = growing(start, self.rate), 0.0

    def advance(self, end):
        """Follow the path to a poison weight.

        Returns
        -------
        F : ndarray of shape (n_samples,)
            Decision values there.
        """
        with one_blas_thread():
            self.active.move(end - self.end, self._visit)
            self.end = end
            self.active.set_bounds(self._bounds(end), 1e-11 / self.problem.unit_of_sum)
            self._flush()
        return self._done[-1][1][-1]

    @property
    def first(self):
        """Decision values at weight 0, shape (n_samples,)."""
        return self._done[0][1][0]

    @property
    def beta(self):
        """Poison weights, shape (n_breakpoints,); one comes twice where the intercept jumps."""
        return np.concatenate([beta for beta, _ in self._done])

    @property
    def F(self):
        """Decision values there, shape (n_breakpoints, n_samples)."""
        return np.concatenate([F for _, F in self._done])

    def _bounds(self, beta):
        return np.where(self.rate > 0, beta * self.rate, self.problem.u)

    def _visit(self, active, gone):
        """Record where a piece begins, if the intercept has jumped, and where it ends."""
        beta, free = self.end + gone, active.members
        if active.free_intercept:
            rates = active.rates().a
            moving = np.any(np.abs(rates) > 1e-12 * active.fastest_bound)
            if not moving:
                lower, upper = ends_of(active.a, active.u)
                if np.all((lower | upper)[free]):
                    raise RuntimeError("No row is free: the intercept is any of an interval.")
        last = self._beta[-1] if self._beta else -1.0
        if beta == last and abs(active.b - self._b[-1]) <= 1e-12 * (1.0 + abs(active.b)):
            return
        bounds = self._bounds(beta)
        a = np.where(active.side < 0, bounds, np.clip(active.a, 0.0, bounds))
        self._record(beta, active.y * a, active.b)

    def _record(self, beta, v, b):
        self._beta.append(beta)
        self._v.append(v)
        self._b.append(b)
        if len(self._b) > BLOCK:
            self._flush()

    def _flush(self):
        """Check the points that are there and compute their decision values; keep the last."""
        if len(self._beta) < 2 and self._done:
            return
        beta, v, b = (np.array(part) for part in (self._beta, self._v, self._b))
        bounds = np.where(self.rate > 0, beta[:, None] * self.rate, self.problem.u)
        at_rows = self.problem.decision(v)
        wrong = self.problem.violations(v, b, at_rows, bounds).max()
        if wrong > REACHED:
            raise RuntimeError(f"The optimality conditions are violated by {wrong:.1e}.")
        used = np.flatnonzero(np.any(v != 0, axis=0))
        new = slice(1, None) if self._done else slice(None)
        F = (self.K[:, used] @ v[:, used].T).T + b[:, None]
        self._done.append((beta[new], F[new]))
        self._beta, self._v, self._b = [beta[-1]], [v[-1]], [b[-1]]

    def at(self, beta, samples):
        """Decision values of some samples at some weights, where no intercept jumps."""
        own = self.beta
        k = np.clip(np.searchsorted(own, beta, side="right") - 1, 0, len(own) - 2)
        length = own[k + 1] - own[k]
        share = np.where(length > 0, (beta - own[k]) / np.where(length > 0, length, 1), 1.0)
        F = self.F[:, samples]
        return F[k] + share[:, None] * (F[k + 1] - F[k])

    def sign_changes(self):
        """Where decision values change sign.

        Returns
        -------
        changes : SignChanges
        """
        return SignChanges.between(self.beta, self.F)


def breakpoints(problems, kernel, rows, until=None):
    """The :class:`Breakpoints` of each of the problems, one after the other.

    Parameters
    ----------
    problems : list of (rows, point, poison_rate)
        As in :class:`HingeOptimum`.
    kernel : Kernel
        Over all training rows.
    rows : array of shape (n_samples, n_features)
        Samples.
    until : callable, default=None
        ``until(F_zero, F)`` with decision values of shape (n_samples, n_problems) at weight 0 and
        at another says whether to go no further. All problems are then followed side by side.

    Yields
    ------
    breakpoints : Breakpoints
    """
    kernel_rows = kernel.at(rows)
    found = (Breakpoints(problem, kernel_rows(problem[0]).T) for problem in problems)
    if until is None:
        for one in found:
            for end in ENDS:
                one.advance(end)
            yield one
        return
    found = list(found)
    for end in ENDS:
        F = np.column_stack([one.advance(end) for one in found])
        if until(np.column_stack([one.first for one in found]), F):
            break
    yield from found
