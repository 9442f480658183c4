"""Hinge machines over all their binary problems: clean optimum, right derivative, whole path."""

import warnings
from functools import lru_cache, partial

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..progress import progress
from .dual import ActiveSet, active_copy, ends_of, violations
from .solutions import KernelSolution
from .threads import one_blas_thread
from .walk import Walk

#: Above this violation of the optimality conditions a point of a path is polished once more.
REPAIRED = 3e-10
#: Above this one the walk got lost, and the point is found from elsewhere.
LOST = 1e-8
#: A sum of signed duals that changes decision values by less than this is left as it is.
BALANCED = 1e-11
#: A poison weight this little short of a breakpoint counts as on it.
AT_BREAKPOINT = 1e-9


def warn_unless_optimal(residual):
    """Warn where a violation of the optimality conditions says that an optimum was not reached."""
    if residual > 1e-8:
        warnings.warn(
            "The SVM optimum was not reached: its optimality conditions are violated by"
            f" {residual:.1e}. Slope and path assume optimality; scale the features or lower C.",
            ConvergenceWarning,
            stacklevel=3,
        )


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
    held : ndarray of shape (n_rows, n_problems), default=None
        Signed duals of rows that are left out of the problems, since they stay where they are.
    whole : callable, default=None
        Where rows are left out: gives the same with all rows.
    """

    def __init__(self, kernel, problems, held=None, whole=None):
        self.kernel, self.problems, self._held, self._whole = kernel, problems, held, whole
        self.residual = max(active.residual for _, active, _ in problems)
        self._limits = self._test_rows = None

    def _right_limits(self):
        """For each problem at beta = 0+: active set, its rates, first breakpoint, jump of b."""
        if self._limits is None:
            self._limits = []
            for _, active, rate in self.problems:
                b_clean, active = active.b, active_copy(active)
                active.admit(np.flatnonzero(rate > 0), rate[rate > 0])
                with one_blas_thread():
                    step, a_rate, b_rate = Walk(active).look()
                active.b += active.intercept_room()
                self._limits.append((active, (a_rate, b_rate), step, active.b - b_clean))
        return self._limits

    @property
    def first_breakpoint(self):
        """Poison weight at which the first member changes sets, at most 1.

        None where rows are left out.
        """
        if self._whole is not None:
            return None
        return min(step for _, _, step, _ in self._right_limits())

    @property
    def intercept_jump(self):
        """Largest jump of an intercept at beta = 0+, in decision values (signed)."""
        return max((jump for _, _, _, jump in self._right_limits()), key=abs)

    def decision_values(self, X):
        """Decision values of the clean fit, shape (n_samples, n_problems)."""
        return self.right_limit(X)[0] - [jump for _, _, _, jump in self._right_limits()]

    def right_limit(self, X):
        """Decision values on X at beta = 0+ and their derivative in beta."""
        shape = (self.kernel.X.shape[0], len(self.problems))
        v, v_rate = np.zeros(shape) if self._held is None else self._held.copy(), np.zeros(shape)
        b, b_rate = np.zeros(shape[1]), np.zeros(shape[1])
        for k, (rows, _, _) in enumerate(self.problems):
            active, (a_rate, b_rate[k]), _, _ = self._right_limits()[k]
            v[rows, k], v_rate[rows, k], b[k] = active.y * active.a, active.y * a_rate, active.b
        used = np.flatnonzero(np.any(v != 0, axis=1) | np.any(v_rate != 0, axis=1))
        if self._test_rows is None or self._test_rows.X is not X:
            self._test_rows = self.kernel.at(X)
        K = self._test_rows(used).T
        return K @ v[used] + b, K @ v_rate[used] + b_rate

    def responses(self, X, samples):
        """Rates of the decision values on X as single training samples gain weight.

        A sample on the margin or beyond it answers to no weight of its own: its row is 0.

        Parameters
        ----------
        X : array of shape (n_test, n_features)
            Test samples.
        samples : {"poison", "all"}
            Whose weight grows: the poison rows, or the clean rows and then the poison rows.

        Returns
        -------
        dF : ndarray of shape (n_sources, n_test, n_outputs)
            d F / d w for each sample, w in units of its own weight; limits at beta = 0+.
        """
        n_rows = self.kernel.X.shape[0]
        dF = np.zeros((n_rows, X.shape[0], len(self.problems)))
        is_poison = np.zeros(n_rows, dtype=bool)
        for k, (rows, _, rate) in enumerate(self.problems):
            is_poison[rows] |= rate > 0
            active, _, _, _ = self._right_limits()[k]
            if active.margin.unbalanced:
                raise ValueError(
                    "The SVM has no free support vector, so no single sample's weight can change"
                    " alone and its influence is not defined; raise C."
                )
            pushing = np.flatnonzero(active.upper)
            charges = (active.y * np.where(rate > 0, rate, active.u))[pushing]
            members = active.margin.members
            answers = active.margin.answers(pushing)
            o = int(active.free_intercept)
            values = self.kernel(X, rows[pushing]) + self.kernel(X, rows[members]) @ answers[o:]
            if o:
                values = values + answers[0]
            dF[rows[pushing], :, k] = (values * charges).T
        return dF[is_poison] if samples == "poison" else dF

    def newton_step(self, X):
        """The optimum after one Newton step; None where the fit is exact to 1e-6 already."""
        if self.residual < 1e-6:
            return None
        moved = [(rows, active.newton_step(), rate) for rows, active, rate in self.problems]
        step = DualOptimum(self.kernel, moved, self._held, self._whole)
        step._test_rows = self._test_rows = self.kernel.at(X)  # for both, on the same samples
        return step

    def polish(self):
        """Follow every problem to its exact optimum.

        Warns
        -----
        ConvergenceWarning
            The optimality conditions stay violated by more than 1e-8.
        """
        problems = self.problems if self._whole is None else self._whole()
        with one_blas_thread():
            polished = [
                (used, active_copy(active).polish(), rate) for used, active, rate in problems
            ]
        best = DualOptimum(self.kernel, polished)
        warn_unless_optimal(best.residual)
        return best


class Trace:
    """One binary problem at every poison weight, exactly.

    Parameters
    ----------
    active : ActiveSet
        At the clean optimum; it moves along.
    rate : ndarray of shape (n,)
        Rates at which bounds grow with beta; 0 for clean rows.
    weights : ndarray of shape (n_weights,)
        Strictly increasing poison weights.
    offset : float
        How much a sum of signed duals other than 0 would change decision values by the kernel as
        the user has it, which may have been moved.
    guess : callable or None
        ``guess(weight)`` gives signed duals and an intercept near the optimum: a single weight is
        polished from there, without a walk.
    restart : callable
        The same from nearer by, for where walk or polish got lost.

    Attributes
    ----------
    v, v_rate : ndarrays of shape (n_weights, n)
        Signed dual coefficients and their right derivatives.
    b, b_rate : ndarrays of shape (n_weights,)
        Intercepts and their right derivatives.
    residuals : ndarray of shape (n_weights,)
        Largest violation of the optimality conditions.
    squared_norm, inner : ndarrays of shape (n_weights,)
        v^T K v, and v_0^T K v with v_0 at beta = 0.
    v_start : ndarray of shape (n,)
        v_0.
    start_squared_norm : float
        v_0^T K v_0.
    first_breakpoint : float
        Where the first row changes sets, at most 1.
    """

    def __init__(self, active, rate, weights, offset, guess, restart):
        y, shape = active.y, (len(weights), len(active.y))
        self.v, self.v_rate = np.zeros(shape), np.zeros(shape)
        self.b, self.b_rate = np.zeros(shape[0]), np.zeros(shape[0])
        self.v_start, b_start = y * active.a, active.b + active.intercept_room()
        poison = np.flatnonzero(rate > 0)
        active.admit(poison, rate[poison])
        walk = Walk(active)
        self.first_breakpoint, a_rate, b_rate = self._look(walk)
        if weights[0] == 0.0:
            self.v[0], self.b[0] = self.v_start, b_start
            self.v_rate[0], self.b_rate[0] = y * a_rate, b_rate
        bounds = np.where(rate > 0, weights[:, None] * rate, active.u)
        points = active, rate, bounds, offset, restart, weights
        above = np.flatnonzero(weights)
        if guess is not None and len(above) == 1:
            k = above[0]
            self.residuals = np.full(len(weights), np.inf)
            start = partial(guess, weights[k])
            self._repair(k, active, rate, bounds[k], offset, start, np.zeros(shape))
            self._check(*points)
            if self.residuals.max() <= LOST:
                return
        self._walk(walk, poison, rate[poison], offset, above, weights)
        self._check(*points)

    def _walk(self, walk, poison, rate, offset, above, weights):
        """Go from weight to weight, above 0."""
        active, y, beta = walk.active, walk.active.y, 0.0
        for k in progress(above, len(above), "dual path"):
            walk.go(weights[k] - beta)
            beta = weights[k]
            active.u[poison] = beta * rate  # without the drift of steps
            active.a[active.upper] = active.u[active.upper]
            active.balance(BALANCED / offset)
            walk.gather()
            self.v[k], self.b[k] = _signed(active)
            _, a_rate, self.b_rate[k] = self._look(walk)
            self.v_rate[k] = y * a_rate

    def _look(self, walk):
        step, a_rate, b_rate = walk.look()
        if step < AT_BREAKPOINT:  # the rates behind it are wanted
            beyond = Walk(active_copy(walk.active))
            beyond.go(2 * AT_BREAKPOINT)
            _, a_rate, b_rate = beyond.look()
        return step, a_rate, b_rate

    def _check(self, active, rate, bounds, offset, restart, weights):
        """Decision values at all weights in one product; residuals, norms, and repairs."""
        y, rows = active.y, active.rows
        F = rows.product(self.v)
        self.residuals = violations(y, self.v, self.b, F, bounds)
        if active.free_intercept:
            self.residuals = np.maximum(self.residuals, offset * np.abs(self.v.sum(axis=1)))
        for k in np.flatnonzero(self.residuals > REPAIRED):
            starts = [lambda k=k: (self.v[k], self.b[k]), partial(restart, weights[k])]
            for start in starts:
                self._repair(k, active, rate, bounds[k], offset, start, F)
                if self.residuals[k] <= LOST:
                    break
        self.squared_norm = np.sum(F * self.v, axis=1)
        self.inner = F @ self.v_start
        self.start_squared_norm = float(rows.product(self.v_start) @ self.v_start)

    def _repair(self, k, active, rate, bounds, offset, start, F):
        """Polish the point at weight k from somewhere, and take it if it is better."""
        y, rows = active.y, active.rows
        try:
            v, b = start()
            a = np.clip(y * v, 0.0, bounds)
            point = ActiveSet(rows, active.diagonal, y, bounds, a, b, active.free_intercept)
            point.polish()
        except (ValueError, RuntimeError):
            return
        residual = point.residual
        if active.free_intercept:
            residual = max(residual, offset * abs(float(y @ point.a)))
        if residual >= self.residuals[k]:
            return
        self.v[k], self.b[k] = _signed(point)
        self.residuals[k] = residual
        F[k] = rows.product(self.v[k])
        poison = np.flatnonzero(rate > 0)
        if np.any(bounds[poison] > 0):
            point.u_rate, point._push = np.where(rate > 0, rate, 0.0), None
        else:
            point.admit(poison, rate[poison])
        _, a_rate, self.b_rate[k] = self._look(Walk(point))
        self.v_rate[k] = y * a_rate


def _signed(active):
    """Signed duals within their bounds, and the intercept that libsvm has."""
    a = np.where(active.upper, active.u, np.clip(active.a, 0.0, active.u))
    room = active.intercept_room(reached=True)
    if room != 0.0:  # a member whose dual has just reached a bound is at it exactly
        lower, full = ends_of(active.a, active.u)
        a[active.inside & lower] = 0.0
        a[active.inside & full] = active.u[active.inside & full]
    return active.y * a, active.b + room


def path_solution(path, weights, kernel, problems, guess, restart):
    """Every binary problem followed through the weights, as one solution.

    ``guess(weight)`` (or None) and ``restart(weight)`` are as in :class:`Trace`, for all problems:
    signed duals (n_rows, n_outputs) and intercepts.
    """
    n_rows, n_outputs = kernel.X.shape[0], len(problems)
    shape = (len(weights), n_rows, n_outputs)
    v, v_rate, start = np.zeros(shape), np.zeros(shape), np.zeros(shape[1:])
    b, b_rate = np.zeros((len(weights), n_outputs)), np.zeros((len(weights), n_outputs))
    traces, restart = [], lru_cache(1)(restart)
    guess = None if guess is None else lru_cache(1)(guess)

    def _at_problem(start, k, used, weight):
        v, b = start(weight)
        return v[used, k], b[k]

    for k, (used, active, rate) in enumerate(progress(problems, n_outputs, "pairs of classes")):
        with one_blas_thread():
            offset = 1.0 + np.abs(kernel.offset).max()
            near = guess and partial(_at_problem, guess, k, used)
            nearer = partial(_at_problem, restart, k, used)
            trace = Trace(active, rate, weights, offset, near, nearer)
        v[:, used, k], v_rate[:, used, k] = trace.v, trace.v_rate
        start[used, k] = trace.v_start
        b[:, k], b_rate[:, k] = trace.b, trace.b_rate
        traces.append(trace)
    residuals = np.max([trace.residuals for trace in traces], axis=0)
    warn_unless_optimal(residuals.max())
    return KernelSolution(
        path,
        weights,
        "dual path",
        residuals,
        kernel=kernel,
        dual_coef=v,
        dual_coef_rate=v_rate,
        moved_intercept=b,
        moved_intercept_rate=b_rate,
        squared_norm=np.sum([trace.squared_norm for trace in traces], axis=0),
        inner=np.sum([trace.inner for trace in traces], axis=0),
        start_dual_coef=start,
        start_norm=np.sqrt(max(sum(trace.start_squared_norm for trace in traces), 0.0)),
        first_breakpoint=min(trace.first_breakpoint for trace in traces),
    )
