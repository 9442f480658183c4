r"""The dual of a hinge support vector machine: its optimum, followed as the problem moves.

One binary problem, signs y of +-1 and signed dual coefficients v = y a, is

.. math:: \min_v \frac12 v^T K v - \sum_i r_i a_i, \quad 0 \le a_i \le u_i, \quad
          \sum_i v_i = 0 \text{ where the intercept is free,}

with margins r = 1, bounds u = C s and decision values f = K v + b. With h = y f - r the optimum
has h >= 0 where a = 0 (set R), h = 0 where a is free (S) and h <= 0 where a = u (E). While r and
u move at constant rates and the three sets stay, so do the rates of v, b and f:

.. math:: \begin{pmatrix} 0 & 1^T \\ 1 & K_{SS} \end{pmatrix}
          \begin{pmatrix} \dot b \\ \dot v_S \end{pmatrix} =
          \begin{pmatrix} -\sum_E y \dot u \\ y_S \dot r_S - K_{SE} (y \dot u)_E \end{pmatrix}

:class:`ActiveSet` follows them and exchanges members at each breakpoint. Two uses: moving the
margins of an approximate solver's fit to 1 (which polishes it to rounding), and letting poison in,
whose bounds grow as beta C s. The term K_{tE} (y u)_E of poison rows in the error set acts on a
test sample t directly, whatever the margin set does.
"""

import warnings
from copy import copy

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .kernels import product
from .threads import one_blas_thread

#: A pivot below this share of the kernel's diagonal counts as dependent on the margin set.
DEPENDENT = 1e-10
#: A row this close to its margin counts as on it.
ON_MARGIN = 1e-11


class ActiveSet:
    """The optimum of one binary problem, followed while its margins and bounds move.

    Parameters
    ----------
    columns : callable
        ``columns(i)`` with an index array gives K[:, i], shape (n, len(i)).
    diagonal : ndarray of shape (n,)
        K_ii.
    y : ndarray of shape (n,)
        Signs, +-1.
    u : ndarray of shape (n,)
        Bounds >= 0; rows with bound 0 are spectators until :meth:`admit`.
    a : ndarray of shape (n,)
        Dual coefficients in [0, u]: those of an approximate solution. Strictly inside is free.
    b : float
        Its intercept.
    free_intercept : bool
        Whether b is a variable; else it stays 0 and the kernel holds whatever intercept there is.

    Attributes
    ----------
    h : ndarray of shape (n,)
        y f - r.
    r : ndarray of shape (n,)
        Margins, chosen so that the given point is exactly optimal; :meth:`polish` moves them to 1.
    """

    def __init__(self, columns, diagonal, y, u, a, b, free_intercept):
        self.columns, self.diagonal, self.y = columns, diagonal, y
        self.u, self.a, self.b = u.astype(float), a.astype(float), b
        self.free_intercept = free_intercept
        self.u_rate = np.zeros_like(self.u)
        self.playing = u > 0
        # Duals are compared with the largest of them, not with C: on separable data C is any
        # number above it.
        near = 1e-10 * np.minimum(u, self.a.max(initial=0.0))
        self.a[self.playing & (self.a <= near)] = 0.0
        at_bound = self.playing & (self.a >= u - near)
        self.a[at_bound] = u[at_bound]
        self.upper = at_bound.copy()  # set E
        self.members = []  # set S
        self.K = np.empty((len(y), 0))  # K[:, S]
        self.inverse = None if free_intercept else np.empty((0, 0))
        self._last_push = None
        self.scale = float(np.max(np.abs(diagonal), initial=0.0)) or 1.0
        free = np.flatnonzero(self.playing & (self.a > 0) & ~at_bound)
        self._enter_all(free)
        self.h = self._margins() - 1.0
        inside = np.zeros(len(y), dtype=bool)
        inside[self.members] = True
        outside = np.where(self.upper, np.maximum(self.h, 0), np.minimum(self.h, 0))
        shift = np.where(inside, self.h, outside)
        shift[~self.playing] = 0.0
        self.r = 1.0 + shift
        self.h = self.h - shift

    def _margins(self):
        support = np.flatnonzero(self.a)
        f = product(self.columns, support, self.y[support] * self.a[support])
        return self.y * (f + self.b)

    @property
    def violation(self):
        """Largest violation of the optimality conditions at margins r."""
        inside = np.zeros(len(self.y), dtype=bool)
        inside[self.members] = True
        lower = self.playing & ~inside & ~self.upper
        parts = [
            np.abs(self.h[inside]).max(initial=0.0),
            np.maximum(-self.h[lower], 0).max(initial=0.0),
            np.maximum(self.h[self.upper & self.playing], 0).max(initial=0.0),
        ]
        return max(parts)

    @property
    def residual(self):
        """Largest violation of the optimality conditions at margins 1."""
        return max(self.violation, float(np.abs(self.r - 1.0).max(initial=0.0)))

    # -- the margin set ----------------------------------------------------------------------

    def _enter_all(self, rows):
        """Make rows the margin set; dependent ones are moved to a bound along their null space."""
        if len(rows) == 0:
            return
        K = self.columns(rows)
        square = K[rows]
        if self.free_intercept:
            ones = np.ones((1, len(rows)))
            square = np.block([[np.zeros((1, 1)), ones], [ones.T, square]])
        try:
            inverse = np.linalg.inv(square)
            error = np.abs(square @ inverse - np.eye(len(square))).max()
        except np.linalg.LinAlgError:
            error = np.inf
        if error < 1e-9:
            self.members, self.K, self.inverse = list(rows), K, inverse
            return
        for i in rows:
            self._enter(i)

    def _border(self, i):
        k = self.K[i]
        return np.concatenate([[1.0], k]) if self.free_intercept else k

    def _enter(self, i):
        """Let row i, whose h is 0, into the margin set, or exchange it for a dependent member."""
        while True:
            if self.inverse is None:  # free intercept, empty set
                self._append(i, np.array([[-self.diagonal[i], 1.0], [1.0, 0.0]]))
                return
            border = self._border(i)
            q = self.inverse @ border
            pivot = self.diagonal[i] - border @ q
            if pivot > DEPENDENT * self.scale:
                column = np.append(-q, 1.0)[:, None]
                grown = np.zeros((len(q) + 1, len(q) + 1))
                grown[:-1, :-1] = self.inverse
                self._append(i, grown + column @ column.T / pivot)
                return
            if pivot < -1e-6 * self.scale:
                raise ValueError(
                    "The kernel is indefinite on the margin vectors, so the SVM optimum is not"
                    " unique and its slope is not defined; use a positive semidefinite kernel"
                    " (linear, rbf, poly), or method='finite_difference'."
                )
            if not self._slide(i, -q):
                return

    def _append(self, i, inverse):
        self.inverse = inverse
        self.K = np.column_stack([self.K, self.columns(np.array([i]))])
        self.members.append(int(i))
        self.upper[i] = False

    def _slide(self, i, null):
        """Move along a null direction of K until a member or i itself reaches a bound.

        Decision values do not change. Returns whether i still has to enter.
        """
        rows = np.array(self.members)
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
            self.upper[i] = sign > 0
            return False
        self._leave(j, to_upper=rate[j] > 0)
        return True

    def _leave(self, position, to_upper):
        """Take a member out of the margin set, to its upper bound or to 0."""
        i = self.members.pop(position)
        p = position + self.free_intercept
        keep = np.delete(np.arange(len(self.inverse)), p)
        if self.free_intercept and len(self.members) == 0:
            self.inverse = None
        else:
            column = self.inverse[keep, p]
            rest = self.inverse[np.ix_(keep, keep)]
            self.inverse = rest - np.outer(column, column) / self.inverse[p, p]
        self.K = np.delete(self.K, position, axis=1)
        self.upper[i] = to_upper
        self.a[i] = self.u[i] if to_upper else 0.0

    # -- rates and steps ---------------------------------------------------------------------

    def rates(self, r_rate):
        """Rates of a, b and h while margins move at `r_rate` and bounds at `u_rate`.

        Returns
        -------
        a_rate : ndarray of shape (n,)
        b_rate : float
        h_rate : ndarray of shape (n,)
        charge : float
            With an empty margin set and a free intercept, the sum of y a_rate that only a
            member could balance; else 0.
        """
        a_rate = np.where(self.upper, self.u_rate, 0.0)
        moving = np.flatnonzero(a_rate)
        pushed = self._pushed(moving, self.y[moving] * a_rate[moving])
        b_rate, f_rate, charge = 0.0, pushed, 0.0
        rows = np.array(self.members, dtype=int)
        if self.inverse is None:
            charge = float(self.y[moving] @ a_rate[moving])
        elif len(rows):
            right = self.y[rows] * r_rate[rows] - pushed[rows]
            if self.free_intercept:
                right = np.concatenate([[-(self.y[moving] @ a_rate[moving])], right])
            solution = self._solve(right)
            v_rate = solution[self.free_intercept :]
            b_rate = float(solution[0]) if self.free_intercept else 0.0
            a_rate[rows] = self.y[rows] * v_rate
            f_rate = pushed + self.K @ v_rate + b_rate
        h_rate = self.y * f_rate - r_rate
        h_rate[rows] = 0.0
        return a_rate, b_rate, h_rate, charge

    def _solve(self, right):
        """inverse @ right with one step of iterative refinement."""
        solution = self.inverse @ right
        rows = self.members
        if self.free_intercept:
            v = solution[1:]
            back = np.concatenate([[v.sum()], self.K[rows] @ v + solution[0]])
        else:
            back = self.K[rows] @ solution
        return solution + self.inverse @ (right - back)

    def _pushed(self, moving, v_rate):
        """K[:, moving] @ v_rate, kept while the moving rows stay the same."""
        key = (moving.tobytes(), v_rate.tobytes())
        if self._last_push is None or self._last_push[0] != key:
            self._last_push = key, product(self.columns, moving, v_rate)
        return self._last_push[1]

    def follow(self, r_rate, length, first_only=False):
        """Follow the optimum over a length of t, through every breakpoint.

        Parameters
        ----------
        r_rate : ndarray of shape (n,)
            Rates of the margins; those of the bounds are `u_rate`.
        length : float
            How far to go.
        first_only : bool, default=False
            Stop before the first breakpoint at t > 0, once the rates there are known.

        Returns
        -------
        step : float
            Length of the last step: with `first_only` that up to the first breakpoint.
        rates : tuple
            As :meth:`rates` gives them, for that step.
        """
        with one_blas_thread():
            return self._follow(r_rate, length, first_only)

    def _follow(self, r_rate, length, first_only):
        done, idle, limit = 0.0, 0, 20 * len(self.y) + 1000
        for _ in range(100 * len(self.y) + 1000):
            rates = self.rates(r_rate)
            a_rate, b_rate, h_rate, charge = rates
            if abs(charge) > 1e-12 * float(np.abs(self.u_rate).max()):
                self._move_intercept(np.sign(charge))
                continue
            step, kind, at = self._next_event(a_rate, h_rate, length - done)
            if first_only and step > 0:
                return step, rates
            self._advance(step, rates, r_rate)
            done += step
            if kind is None:
                return step, rates
            idle = idle + 1 if step == 0 else 0
            if idle > limit:
                break
            if kind == "enter":
                self._enter(at)
            else:
                self._leave(at, to_upper=kind == "upper")
        raise RuntimeError(
            "The SVM active set did not settle: too many exchanges without progress. Either C"
            " times the kernel is too large for floating point (scale the features, or lower C),"
            " or the rows are too degenerate for this kernel (remove duplicates)."
        )

    def _next_event(self, a_rate, h_rate, left):
        """The next breakpoint: (step, kind, row or position in the margin set)."""
        best, kind, at = left, None, -1
        tol = 1e-11 * max(1.0, float(np.abs(h_rate).max(initial=0.0)))
        approaching = self.playing & np.where(self.upper, h_rate > tol, h_rate < -tol)
        approaching[self.members] = False
        rows = np.flatnonzero(approaching)
        if len(rows):
            distance = np.where(self.upper[rows], -self.h[rows], self.h[rows])
            steps = np.where(distance > ON_MARGIN, distance, 0.0) / np.abs(h_rate[rows])
            first = steps.min()
            if first < best:
                ties = rows[steps <= first * (1 + 1e-12)]
                at = int(ties[np.abs(h_rate[ties]).argmax()])
                best, kind = float(first), "enter"
        if self.members:
            rows = np.array(self.members)
            u_rate = self.u_rate[rows]
            noise = 1e-13 * max(np.abs(a_rate).max(), np.abs(self.u_rate).max())
            for name, room, speed in (
                ("lower", self.a[rows], -a_rate[rows]),
                ("upper", self.u[rows] - self.a[rows], a_rate[rows] - u_rate),
            ):
                leaving = np.flatnonzero(speed > noise)
                if len(leaving):
                    room, speed = room[leaving], speed[leaving]
                    steps = np.where(room > 1e-13 * self.a.max(), room, 0.0) / speed
                    if steps.min() < best:
                        best, kind = float(steps.min()), name
                        at = int(leaving[steps.argmin()])
        return best, kind, at

    def _advance(self, step, rates, r_rate):
        if step == 0:
            return
        a_rate, b_rate, h_rate, _ = rates
        self.u += step * self.u_rate
        self.a += step * a_rate
        self.b += step * b_rate
        self.h += step * h_rate
        self.r += step * r_rate

    def _move_intercept(self, sign):
        """With no member to balance a charge, b runs to the first row that can."""
        towards = self.playing & (self.y == np.where(self.upper, sign, -sign))
        rows = np.flatnonzero(towards)
        if len(rows) == 0:
            raise RuntimeError("The intercept is unbounded: one class has no training row.")
        distance = np.abs(self.h[rows])
        i = rows[distance.argmin()]
        self.b += sign * distance.min()
        self.h += self.y * sign * distance.min()
        self.h[i] = 0.0
        self._enter(i)

    # -- the two uses ------------------------------------------------------------------------

    def polish(self):
        """Move all margins to 1, so that the point is optimal to rounding."""
        for _ in range(3):
            self.follow(1.0 - self.r, 1.0)
            self.r = np.ones_like(self.r)
            # Recompute what was updated step by step; what rounding left is a new, tiny shift.
            fresh = ActiveSet(
                self.columns, self.diagonal, self.y, self.u, self.a, self.b, self.free_intercept
            )
            self.__dict__.update(fresh.__dict__)
            if self.residual < 1e-11:
                break
        if self.inverse is None:
            self._center_intercept()
        return self

    def _center_intercept(self):
        """With no free row b is any of an interval: take its middle, as libsvm does."""
        room = [
            np.abs(self.h[self.playing & (self.y == np.where(self.upper, sign, -sign))])
            for sign in (1.0, -1.0)
        ]
        if all(len(distances) for distances in room):
            shift = (room[0].min() - room[1].min()) / 2.0
            self.b += shift
            self.h += self.y * shift

    def admit(self, rows, rate):
        """Let poison rows in, whose bounds grow from 0 at `rate` > 0."""
        self.playing[rows] = True
        self.u_rate[rows] = rate
        self.upper[rows] = self.h[rows] < 0

    def newton_step(self):
        """The point after moving all margins to 1 as if no member changed sets."""
        a_rate, b_rate, h_rate, _ = self.rates(1.0 - self.r)
        a, h, b = self.a + a_rate, self.h + h_rate, self.b + b_rate
        inside = np.zeros(len(a), dtype=bool)
        inside[self.members] = True
        a = np.clip(a, 0.0, self.u)
        rest = self.playing & ~inside
        crossed = rest & np.where(self.upper, h > 0, h < 0)
        inch = 1e-8 * np.minimum(self.u, a.max(initial=0.0))  # enough to count as free
        a[crossed] = np.where(self.upper, self.u - inch, inch)[crossed]
        return ActiveSet(self.columns, self.diagonal, self.y, self.u, a, b, self.free_intercept)


class DualOptimum:
    """Clean optimum of a hinge SVM over all its binary problems, and its right derivative.

    Parameters
    ----------
    kernel : object
        ``kernel(X, rows)`` gives the kernel between samples X and training rows (clean rows
        first, then poison), shape (n_samples, len(rows)).
    problems : list of (rows, ActiveSet, poison_rate)
        For each binary problem the training rows in it, its active set, and the rates at which
        the bounds of these rows grow with beta (0 for clean rows).
    """

    def __init__(self, kernel, problems):
        self.kernel, self.problems = kernel, problems
        self.residual = max(active.residual for _, active, _ in problems)
        self._limits = None

    def _right_limits(self):
        """For each problem: a, b at beta = 0+, their rates, and the first breakpoint."""
        if self._limits is None:
            self._limits = []
            for _, active, rate in self.problems:
                active = active_copy(active)
                b_clean = active.b
                active.admit(np.flatnonzero(rate > 0), rate[rate > 0])
                step, (a_rate, b_rate, _, _) = active.follow(np.zeros_like(active.r), 1.0, True)
                self._limits.append((active.a, active.b, a_rate, b_rate, step, active.b - b_clean))
        return self._limits

    @property
    def first_breakpoint(self):
        """Poison weight at which the first member changes sets, at most 1."""
        return min(limit[4] for limit in self._right_limits())

    @property
    def intercept_jump(self):
        """Largest jump of an intercept at beta = 0+, in decision values (signed)."""
        return max((limit[5] for limit in self._right_limits()), key=abs)

    def right_limit(self, X):
        """Decision values on X at beta = 0+ and their derivative in beta."""
        n_rows = max(rows.max() for rows, _, _ in self.problems) + 1
        shape = (n_rows, len(self.problems))
        v, v_rate = np.zeros(shape), np.zeros(shape)
        b, b_rate = np.zeros(shape[1]), np.zeros(shape[1])
        for k, (rows, active, _) in enumerate(self.problems):
            a, b[k], a_rate, b_rate[k], _, _ = self._right_limits()[k]
            v[rows, k], v_rate[rows, k] = active.y * a, active.y * a_rate
        used = np.flatnonzero(np.any(v != 0, axis=1) | np.any(v_rate != 0, axis=1))
        K = self.kernel(X, used)
        return K @ v[used] + b, K @ v_rate[used] + b_rate

    def newton_step(self, X):
        """The optimum after one Newton step; None where the fit is exact to 1e-6 already."""
        if self.residual < 1e-6:
            return None
        return DualOptimum(
            self.kernel,
            [(rows, active.newton_step(), rate) for rows, active, rate in self.problems],
        )

    def polish(self):
        """Follow every problem to its exact optimum.

        Warns
        -----
        ConvergenceWarning
            The optimality conditions stay violated by more than 1e-8.
        """
        polished = [
            (rows, active_copy(active).polish(), rate) for rows, active, rate in self.problems
        ]
        best = DualOptimum(self.kernel, polished)
        if best.residual > 1e-8:
            warnings.warn(
                "The clean SVM optimum was not reached: its optimality conditions are violated"
                f" by {best.residual:.1e}. The slope assumes optimality.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return best


def active_copy(active):
    """An active set that can be followed while the given one stays."""
    new = copy(active)
    for name in ("u", "a", "u_rate", "playing", "upper", "h", "r"):
        setattr(new, name, getattr(active, name).copy())
    new.members = list(active.members)
    return new
