r"""Hinge support vector machines with any kernel, in the dual; squared hinge in the primal.

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
from dataclasses import replace
from itertools import combinations

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.extmath import row_norms

from .base import WeightPath, as_float64, stack
from .linear import LinearObjective, LinearOptimum
from .losses import Hinge, MarginLoss, SquaredHinge
from .ridge import linear_decision, parameters
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
        self.u, self.a, self.b, self.free_intercept = u.astype(float), a.astype(float), b, free_intercept
        self.u_rate = np.zeros_like(self.u)
        self.playing = u > 0
        near = 1e-10 * u
        self.a[self.playing & (self.a <= near)] = 0.0
        at_bound = self.playing & (self.a >= u - near)
        self.a[at_bound] = u[at_bound]
        self.upper = at_bound.copy()  # set E
        self.members = []  # set S
        self.K = np.empty((len(y), 0))  # K[:, S]
        self.inverse = None if free_intercept else np.empty((0, 0))
        self._last_push = None
        self.scale = max(1.0, float(np.max(np.abs(diagonal), initial=0.0)))
        free = np.flatnonzero(self.playing & (self.a > 0) & ~at_bound)
        self._enter_all(free)
        self.h = self._margins() - 1.0
        inside = np.zeros(len(y), dtype=bool)
        inside[self.members] = True
        shift = np.where(inside, self.h, np.where(self.upper, np.maximum(self.h, 0), np.minimum(self.h, 0)))
        shift[~self.playing] = 0.0
        self.r = 1.0 + shift
        self.h = self.h - shift

    def _margins(self):
        support = np.flatnonzero(self.a)
        f = _product(self.columns, support, self.y[support] * self.a[support])
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
            self._last_push = key, _product(self.columns, moving, v_rate) + np.zeros(len(self.y))
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
            if abs(charge) > 1e-12 * max(1.0, float(np.abs(self.u_rate).max())):
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
            "The SVM active set did not settle: too many exchanges without progress. The rows"
            " are too degenerate for this kernel; add a little noise or remove duplicates."
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
            for name, room, speed in (
                ("lower", self.a[rows], -a_rate[rows]),
                ("upper", self.u[rows] - self.a[rows], a_rate[rows] - u_rate),
            ):
                leaving = np.flatnonzero(speed > 1e-13 * (1.0 + np.abs(u_rate) + np.abs(a_rate[rows])))
                if len(leaving):
                    room, speed = room[leaving], speed[leaving]
                    steps = np.where(room > 1e-13 * self.u.max(), room, 0.0) / speed
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
        distance = np.maximum(np.abs(self.h[rows]), 0.0)
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
            if self.residual < 1e-11 * self.scale:
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
        """Let poison rows in, whose bounds grow from 0 at `rate`."""
        active = rate > 0
        self.playing[rows[active]] = True
        self.u_rate[rows] = rate
        self.upper[rows] = active & (self.h[rows] < 0)

    def newton_step(self):
        """The point after moving all margins to 1 as if no member changed sets."""
        a_rate, b_rate, h_rate, _ = self.rates(1.0 - self.r)
        a, h, b = self.a + a_rate, self.h + h_rate, self.b + b_rate
        inside = np.zeros(len(a), dtype=bool)
        inside[self.members] = True
        a = np.clip(a, 0.0, self.u)
        rest = self.playing & ~inside
        crossed = rest & np.where(self.upper, h > 0, h < 0)
        a[crossed] = np.where(self.upper, self.u * (1 - 1e-8), self.u * 1e-8)[crossed]
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
            for rows, active, rate in self.problems:
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
        polished = [(rows, active_copy(active).polish(), rate) for rows, active, rate in self.problems]
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


class Columns:
    """Kernel columns K(X, rows[i]), each computed once while they fit into a cache.

    Parameters
    ----------
    function : callable
        ``function(A, B)`` gives shape (len(A), len(B)).
    X, rows : arrays of shape (n_samples, n_features) and (n_rows, n_features)
        Samples and training rows.
    cache_bytes : float
        Size of the cache.
    """

    def __init__(self, function, X, rows, cache_bytes):
        self.function, self.X, self.rows = function, X, rows
        self.room = int(cache_bytes // (8 * max(X.shape[0], 1)))
        self.place = np.full(rows.shape[0], -1)
        self.store = np.empty((X.shape[0], 0), order="F")
        self.used = 0

    def __call__(self, i):
        i = np.asarray(i, dtype=int)
        missing = i[self.place[i] < 0]
        if len(missing) == 0:
            return self.store[:, self.place[i]]
        new = np.asarray(self.function(self.X, self.rows[missing]), dtype=np.float64)
        if self.used + len(missing) > self.room:
            if len(missing) == len(i):
                return new
            columns = np.empty((self.X.shape[0], len(i)))
            known = self.place[i] >= 0
            columns[:, known], columns[:, ~known] = self.store[:, self.place[i[known]]], new
            return columns
        if self.used + len(missing) > self.store.shape[1]:
            width = min(self.room, max(2 * self.store.shape[1], self.used + len(missing)))
            grown = np.empty((self.X.shape[0], width), order="F")
            grown[:, : self.used] = self.store[:, : self.used]
            self.store = grown
        self.place[missing] = self.used + np.arange(len(missing))
        self.store[:, self.used : self.used + len(missing)] = new
        self.used += len(missing)
        return self.store[:, self.place[i]]


class Kernel:
    """Kernel values between samples and the training rows of a path.

    Parameters
    ----------
    function : callable
        ``function(A, B)`` gives shape (len(A), len(B)); where it has a method ``diagonal(A)``,
        that gives its values between each row and itself.
    X : array of shape (n_rows, n_features)
        Training rows, clean ones first.
    cache_megabytes : float
        Cache of each :class:`Columns`.
    """

    def __init__(self, function, X, cache_megabytes):
        self.function, self.X, self.cache_bytes = function, X, 1e6 * cache_megabytes
        self._last = None

    def __call__(self, X, rows):
        """Values between samples X and training rows, shape (n_samples, len(rows))."""
        last = self._last
        if last is None or last.X is not X:
            last = self._last = Columns(self.function, X, self.X, self.cache_bytes)
        return last(rows)

    def on(self, rows):
        """`columns` and `diagonal` of an :class:`ActiveSet` on some of the rows."""
        X = self.X[rows]
        columns = Columns(self.function, X, X, self.cache_bytes)
        if hasattr(self.function, "diagonal"):
            return columns, self.function.diagonal(X)
        diagonal = np.empty(len(rows))
        for start in range(0, len(rows), 32):
            block = X[start : start + 32]
            diagonal[start : start + 32] = np.diag(self.function(block, block))
        return columns, diagonal


def look_up(A, B):
    """A precomputed kernel as a function: column 0 is a row's number, the rest its kernel row."""
    return A[:, 1:][:, B[:, 0].astype(int)]


def number_rows(gram, numbers=None):
    """Rows that :func:`look_up` takes; rows that are no training rows have the number -1."""
    gram = np.asarray(gram, dtype=np.float64)
    return np.column_stack([np.full(len(gram), -1) if numbers is None else numbers, gram])


def look_up_gram(estimator, X, y, X_poison):
    """A Pipeline that ends in a precomputed-kernel SVC, as one with a kernel function.

    The step before the SVC makes the Gram matrix, whose columns are its training rows; it is
    fitted on clean and poison rows, the steps before it on clean rows only.

    Parameters
    ----------
    estimator : Pipeline
        Ends in ``SVC(kernel="precomputed")``.
    X, X_poison : arrays of shape (n_clean, ...) and (n_poison, ...)
        Raw rows.
    y : ndarray of shape (n_clean,)
        Labels of the clean rows.

    Returns
    -------
    svc : SVC
        With :func:`look_up` for a kernel.
    X, X_poison : ndarrays
        Rows for it.
    prepare : callable
        From raw samples to such rows.
    """
    before = clone(estimator[:-2]).fit(X, y) if len(estimator.steps) > 2 else None

    def first(X):
        return X if before is None else before.transform(X)

    rows = stack(first(X), first(X_poison))
    gram = clone(estimator.steps[-2][1]).fit(rows)
    K, n_clean = np.asarray(gram.transform(rows)), len(y)
    if K.shape[0] != K.shape[1]:
        raise ValueError(
            "The step before SVC(kernel='precomputed') must give one column a training row, but"
            f" on {K.shape[0]} rows it gave {K.shape[1]} columns."
        )
    numbered = number_rows(K, np.arange(len(K)))
    svc = clone(estimator.steps[-1][1]).set_params(kernel=look_up)

    def prepare(X):
        return number_rows(gram.transform(first(X)))

    return svc, numbered[:n_clean], numbered[n_clean:], prepare


class SVCPath(WeightPath):
    """`SVC` with any kernel, one binary problem a pair of classes."""

    @staticmethod
    def handles(estimator):
        """Whether this family fits a learner: exact type, since a subclass may fit otherwise."""
        return type(estimator) is SVC

    def __init__(self, estimator, clean, poison, fitted=None):
        last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
        self._kernel = look_up if last.kernel == "precomputed" else last.kernel
        if last.kernel != "precomputed":
            super().__init__(estimator, clean, poison, fitted)
            return
        if last is estimator:
            raise ValueError(
                "SVC(kernel='precomputed') alone: a trigger acts on samples, not on kernel rows."
                " Put a transformer that computes the Gram matrix before it in a Pipeline, or"
                " give SVC a callable kernel."
            )
        svc, X, X_poison, prepare = look_up_gram(estimator, clean[0], clean[1], poison[0])
        super().__init__(svc, (X, *clean[1:]), (X_poison, *poison[1:]))
        self._prepare = prepare

    def _cast(self, X):
        return np.asarray(X) if callable(self._kernel) else as_float64(X)

    def _fixed(self, estimator):
        """Class weights are those of the rows; gamma="scale" and "auto" are clean-fit numbers."""
        estimator = super()._fixed(estimator)
        if isinstance(estimator.gamma, str):
            estimator.set_params(gamma=self.fitted._gamma)
        return estimator

    def _setup(self):
        rows = self.rows
        weight, weight_poison = self.training_weights()
        keep, keep_poison = weight > 0, weight_poison > 0
        self.rows = replace(
            rows,
            X=rows.X[keep],
            y=rows.y[keep],
            weight=rows.weight[keep],
            X_poison=rows.X_poison[keep_poison],
            y_poison=rows.y_poison[keep_poison],
            weight_poison=rows.weight_poison[keep_poison],
        )
        if not keep.all():
            # libsvm drops rows of weight 0, and support_ then does not index the rows given.
            self.fitted = self.fit(0.0)
        self.loss = MarginLoss.one_vs_one(Hinge(), len(rows.classes))
        if callable(self.estimator.kernel):
            function = self.estimator.kernel
        else:
            function = _NamedKernel(self.estimator)
        X = stack(self.rows.X, self.rows.X_poison)
        self.kernel = Kernel(function, X, self.estimator.cache_size)

    def decision_values(self, fitted, X):
        """One column a pair of classes."""
        pairwise = copy(fitted).set_params(decision_function_shape="ovo")
        return super().decision_values(pairwise, X)

    def _coefficients(self, fitted):
        """Signed dual coefficients of the support vectors, shape (n_support, n_pairs)."""
        n_classes = len(self.rows.classes)
        dual = fitted.dual_coef_.toarray() if sp.issparse(fitted.dual_coef_) else fitted.dual_coef_
        ends = np.concatenate([[0], np.cumsum(fitted.n_support_)])
        pairs = list(combinations(range(n_classes), 2))
        v = np.zeros((dual.shape[1], len(pairs)))
        for k, (i, j) in enumerate(pairs):
            v[ends[i] : ends[i + 1], k] = dual[j - 1, ends[i] : ends[i + 1]]
            v[ends[j] : ends[j + 1], k] = dual[i, ends[j] : ends[j + 1]]
        return v

    def has_weights(self, fitted):
        """A kernel machine always has: its norm is that of feature space."""
        return True

    def inner(self, first, second):
        """sum over pairs of v_1^T K v_2, the inner product in feature space."""
        K = self.kernel(self.kernel.X[first.support_], second.support_)
        return float(np.sum(self._coefficients(first) * (K @ self._coefficients(second))))

    def optimum(self, rtol=None):
        """The clean fit as it is, with the rate at which poison moves it (`rtol` is unused)."""
        rows, fitted = self.rows, self.fitted
        n_clean = len(rows.y)
        y = np.concatenate([rows.y, rows.y_poison])
        weight = fitted.C * np.concatenate(self.training_weights())
        v = np.zeros((len(y), self.loss.signs.shape[1]))
        v[fitted.support_] = self._coefficients(fitted)
        problems = []
        for k, signs in enumerate(self.loss.signs.T):
            used = np.flatnonzero(signs[y] != 0)
            sign, bound, clean = signs[y[used]], weight[used], used < n_clean
            u, rate = np.where(clean, bound, 0.0), np.where(clean, 0.0, bound)
            columns, diagonal = self.kernel.on(used)
            a = np.maximum(sign * v[used, k], 0.0)
            active = ActiveSet(columns, diagonal, sign, u, a, float(fitted.intercept_[k]), True)
            problems.append((used, active, rate))
        return DualOptimum(self.kernel, problems)


class _NamedKernel:
    """One of scikit-learn's kernels with the parameters of a fitted SVC."""

    def __init__(self, svc):
        self.metric = svc.kernel
        self.params = {"gamma": svc.gamma, "degree": svc.degree, "coef0": svc.coef0}

    def __call__(self, A, B):
        return pairwise_kernels(A, B, metric=self.metric, filter_params=True, **self.params)

    def diagonal(self, A):
        if self.metric == "rbf":
            return np.ones(A.shape[0])
        square = row_norms(A, squared=True)
        if self.metric == "linear":
            return square
        inner = self.params["gamma"] * square + self.params["coef0"]
        return inner ** self.params["degree"] if self.metric == "poly" else np.tanh(inner)


class LinearSVCPath(WeightPath):
    """`LinearSVC`, one problem a class; the penalty takes in the intercept."""

    @staticmethod
    def handles(estimator):
        """Whether this family fits a learner: exact type, since a subclass may fit otherwise."""
        return type(estimator) is LinearSVC and estimator.multi_class == "ovr"

    def _cast(self, X):
        return as_float64(X)

    def _setup(self):
        if self.estimator.penalty == "l1":
            self.method = "finite_difference"
        phi = Hinge() if self.estimator.loss == "hinge" else SquaredHinge()
        self.loss = MarginLoss.one_vs_rest(phi, len(self.rows.classes))

    def decision_values(self, fitted, X):
        return linear_decision(fitted, X)

    def optimum(self, rtol=None):
        """The clean fit as it is, with the rate at which poison moves it."""
        rows, fitted = self.rows, self.fitted
        weighted = self.loss.with_class_weight(self.class_weight)
        if fitted.loss == "squared_hinge":
            objective = LinearObjective(
                rows.X,
                rows.y,
                rows.weight,
                weighted,
                1.0 / fitted.C,
                fitted.fit_intercept,
                1.0 / fitted.intercept_scaling**2 if fitted.fit_intercept else 0.0,
            )
            poison = (rows.X_poison, rows.y_poison, rows.weight_poison)
            return LinearOptimum(objective, parameters(fitted), poison, rtol)
        constant = fitted.intercept_scaling**2 if fitted.fit_intercept else 0.0
        kernel = Kernel(_AffineKernel(constant), stack(rows.X, rows.X_poison), 200)
        n_clean = len(rows.y)
        used = np.arange(n_clean + len(rows.y_poison))
        columns, diagonal = kernel.on(used)
        y = np.concatenate([rows.y, rows.y_poison])
        weight = fitted.C * np.concatenate([rows.weight, rows.weight_poison])
        clean = used < n_clean
        F = self.decision_values(fitted, rows.X)
        problems = []
        for k, signs in enumerate(self.loss.signs.T):
            sign, bound = signs[y], weight * weighted.weight[y, k]
            u, rate = np.where(clean, bound, 0.0), np.where(clean, 0.0, bound)
            a = np.zeros(len(used))
            a[:n_clean] = _duals(columns, sign[:n_clean], u[:n_clean], F[:, k])
            problems.append((used, ActiveSet(columns, diagonal, sign, u, a, 0.0, False), rate))
        return DualOptimum(kernel, problems)


class _AffineKernel:
    """x.x' + constant: the kernel of a linear model whose intercept is a penalised feature."""

    def __init__(self, constant):
        self.constant = constant

    def __call__(self, A, B):
        product = A @ B.T
        return (product.toarray() if sp.issparse(product) else product) + self.constant

    def diagonal(self, A):
        return row_norms(A, squared=True) + self.constant


def _duals(columns, y, u, f):
    """Dual coefficients of a primal fit, which liblinear does not keep.

    Rows outside a band around the margin are at 0 or at their bound; those inside solve
    ``K_MM v_M = f_M - K_ME v_E`` by least squares, clipped to their box. The band that gives back
    the decision values best is taken.
    """
    n, h = len(y), y * f - 1.0
    best, best_error = None, np.inf
    for band in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1):
        v = np.where(h < -band, y * u, 0.0)
        inside = np.flatnonzero(np.abs(h) <= band)
        if len(inside) > 1000:
            break
        bound = np.flatnonzero(v)
        pushed = _product(columns, bound, v[bound])[:n]
        if len(inside):
            K = columns(inside)
            solution = np.linalg.lstsq(K[inside], f[inside] - pushed[inside], rcond=1e-12)[0]
            v[inside] = y[inside] * np.clip(y[inside] * solution, 0.0, u[inside])
            pushed = pushed + (K @ v[inside])[:n]
        error = np.abs(pushed - f).max()
        if error < best_error:
            best, best_error = v, error
    return y * best


def _product(columns, rows, v):
    """K[:, rows] @ v in blocks."""
    total = 0.0
    for start in range(0, max(len(rows), 1), 1024):
        part = rows[start : start + 1024]
        total = total + columns(part) @ v[start : start + 1024]
    return total
