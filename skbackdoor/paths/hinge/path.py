"""A hinge machine at every poison weight, each point judged by its optimality conditions."""

import warnings
from dataclasses import replace
from functools import partial

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ...progress import progress
from ..solutions import KernelSolution, LinearSolution
from ..threads import one_blas_thread
from .active_set import ActiveSet
from .derivative import growing, right_limit, tangent
from .problem import ends_of
from .solve import REACHED, as_it_is, inner_optimum, polished

#: Above this violation of the optimality conditions a point of a path is polished once more.
REPAIRED = 3e-10


def warn_unless_optimal(residual):
    """Warn where a violation of the optimality conditions says that an optimum was not reached."""
    if residual > REACHED:
        warnings.warn(
            "The SVM optimum was not reached: its optimality conditions are violated by"
            f" {residual:.1e}. Slope and path assume optimality; scale the features or lower C.",
            ConvergenceWarning,
            stacklevel=3,
        )


class Trace:
    """One binary problem at every poison weight, exactly.

    Parameters
    ----------
    start : ActiveSet or FacePoint
        The clean optimum.
    rate : ndarray of shape (n,)
        Rates at which bounds grow with beta; 0 for clean rows.
    weights : ndarray of shape (n_weights,)
        Strictly increasing poison weights.
    guess : tuple of (ndarray of shape (n,), float) or None
        Where only one weight is above 0: signed duals and an intercept near the optimum there. It
        is polished from there, without following the path.

    Attributes
    ----------
    v, v_rate : ndarrays of shape (n_weights, n)
        Signed dual coefficients and their right derivatives, nan where these were not found.
    b, b_rate : ndarrays of shape (n_weights,)
        Intercepts and their right derivatives.
    residuals : ndarray of shape (n_weights,)
        Largest violation of the optimality conditions by v and b as they are here.
    squared_norm, inner : ndarrays of shape (n_weights,)
        v^T K v, and v_0^T K v with v_0 at beta = 0.
    v_start : ndarray of shape (n,)
        v_0.
    start_squared_norm : float
        v_0^T K v_0.
    first_breakpoint : float
        Where the first row changes sets, at most 1; nan where the right derivative at 0, and
        so what comes first, was not found.
    """

    def __init__(self, start, rate, weights, guess):
        self.problem, self.rate, self.weights = start.problem, rate, weights
        y, shape = self.problem.y, (len(weights), len(start.a))
        self.bounds = np.where(rate > 0, weights[:, None] * rate, self.problem.u)
        self.v, self.v_rate = np.zeros(shape), np.full(shape, np.nan)
        self.b, self.b_rate = np.zeros(shape[0]), np.full(shape[0], np.nan)
        followed = isinstance(start, ActiveSet)
        b_start = start.b + (start.way_to_middle() if followed else 0.0)
        self.v_start, self.first_breakpoint = y * start.a, np.nan
        try:
            limit = right_limit(start, rate)
            self.first_breakpoint = limit.step
            if weights[0] == 0.0:
                self.v[0], self.b[0] = self.v_start, b_start
                self.v_rate[0], self.b_rate[0] = y * limit.a_rate, limit.b_rate
        except RuntimeError:
            followed = False
        above = np.flatnonzero(weights)
        if guess is not None:
            self.residuals, self.F = np.full(shape[0], np.inf), np.zeros(shape)
            self._improve(above[0], lambda: guess)
            self._check()
            if self.residuals.max() <= REACHED:
                return
        if followed:
            self._follow(growing(start, rate), above)
        self._check()

    def _follow(self, active, above):
        """Go from weight to weight, above 0, as far as that leads."""
        beta = 0.0
        for k in progress(above, len(above), "dual path"):
            try:
                active.move(self.weights[k] - beta)
                beta = self.weights[k]
                # A sum of duals that changes decision values by less than 1e-11 is left.
                active.set_bounds(self.bounds[k], 1e-11 / self.problem.unit_of_sum)
                self.v[k], self.b[k] = _signed(active)
                limit = tangent(active, beyond=True)
            except (ValueError, RuntimeError):
                return  # the points from here on are found one by one
            if limit is not None:
                self.v_rate[k], self.b_rate[k] = active.y * limit.a_rate, limit.b_rate

    def _check(self):
        """Decision values at all weights in one product; residuals, norms, and repairs."""
        rows = self.problem.rows
        self.F = self.problem.decision(self.v)
        self.residuals = self.problem.violations(self.v, self.b, self.F, self.bounds)
        for k in np.flatnonzero(self.residuals > REPAIRED):
            self._improve(k, lambda k=k: (self.v[k], self.b[k]))
            if self.residuals[k] > 1e-9:  # its derivative would be another's
                self._improve(k, lambda k=k: self._inner(k))
        for k in np.flatnonzero(np.isnan(self.b_rate)):
            self._differentiate(k)
        self.squared_norm = np.sum(self.F * self.v, axis=1)
        self.inner = self.F @ self.v_start
        self.start_squared_norm = float(rows.product(self.v_start) @ self.v_start)

    def _at(self, k):
        return replace(self.problem, u=self.bounds[k])

    def _inner(self, k):
        a, b = inner_optimum(self._at(k))
        return self.problem.y * a, b

    def _improve(self, k, start):
        """Take the point at weight k that starts from somewhere, or is polished from there."""
        try:
            v, b = start()
            self._take(k, v, b)
            if self.residuals[k] > REPAIRED:
                a = np.clip(self.problem.y * v, 0.0, self.bounds[k])
                self._take(k, *_signed(polished(self._at(k), a, b)))
        except (ValueError, RuntimeError):
            return  # judged by its residual all the same

    def _take(self, k, v, b):
        """Take a point at weight k if it is better."""
        F = self.problem.decision(v)
        b = self._at(k).middle(self.problem.y * v, b, F)
        residual = self.problem.violations(v[None], np.array([b]), F[None], self.bounds[[k]])[0]
        if residual < self.residuals[k]:
            self.v[k], self.b[k], self.F[k], self.residuals[k] = v, b, F, residual
            self.v_rate[k] = self.b_rate[k] = np.nan

    def _differentiate(self, k):
        """Right derivatives at weight k; they stay nan where they cannot be found."""
        y, rate = self.problem.y, np.where(self.rate > 0, self.rate, 0.0)
        point = as_it_is(self._at(k), np.clip(y * self.v[k], 0.0, self.bounds[k]), self.b[k])
        try:
            limit = right_limit(point, rate, beyond=self.weights[k] > 0)
        except RuntimeError:
            return
        self.v_rate[k], self.b_rate[k] = y * limit.a_rate, limit.b_rate


def _signed(active):
    """Signed duals within their bounds, and the intercept that libsvm has."""
    a = np.where(active.upper, active.u, np.clip(active.a, 0.0, active.u))
    way = active.way_to_middle(reached=True)
    if way != 0.0:  # a member whose dual has just reached a bound is at it exactly
        lower, full = (end & (active.side == 0) for end in ends_of(active.a, active.u))
        a[lower], a[full] = 0.0, active.u[full]
    return active.y * a, active.b + way


def path_solution(path, weights, kernel, problems, guess, coefficients):
    """Every binary problem followed through the weights, as one solution.

    `guess` is as in :class:`Trace`, for all problems: signed duals (n_rows, n_outputs) and
    intercepts. `coefficients`, where it is not None, makes those of a linear machine of duals.
    """
    n_rows, n_outputs = kernel.X.shape[0], len(problems)
    shape = (len(weights), n_rows, n_outputs)
    v, v_rate = np.zeros(shape), np.zeros(shape)
    b, b_rate = np.zeros((len(weights), n_outputs)), np.zeros((len(weights), n_outputs))
    starts, traces = np.zeros(shape[1:]), []
    for k, (used, start, rate) in enumerate(progress(problems, n_outputs, "pairs of classes")):
        with one_blas_thread():
            near = None if guess is None else (guess[0][used, k], guess[1][k])
            trace = Trace(start, rate, weights, near)
        v[:, used, k], v_rate[:, used, k] = trace.v, trace.v_rate
        starts[used, k] = trace.v_start
        b[:, k], b_rate[:, k] = trace.b, trace.b_rate
        traces.append(trace)
    residuals = np.max([trace.residuals for trace in traces], axis=0)
    warn_unless_optimal(residuals.max())
    first_breakpoint = float(np.min([trace.first_breakpoint for trace in traces]))
    given = path, weights, "dual path", residuals
    if coefficients is not None:
        rates = partial(coefficients, v_rate)
        return LinearSolution(
            *given, coefficients(v), coefficients(starts), rates, first_breakpoint
        )
    return KernelSolution(
        *given,
        kernel=kernel,
        dual_coef=v,
        dual_coef_rate=v_rate,
        centred_intercept=b,
        centred_intercept_rate=b_rate,
        squared_norm=np.sum([trace.squared_norm for trace in traces], axis=0),
        inner=np.sum([trace.inner for trace in traces], axis=0),
        start_dual_coef=starts,
        start_norm=np.sqrt(max(sum(trace.start_squared_norm for trace in traces), 0.0)),
        first_breakpoint=first_breakpoint,
    )
