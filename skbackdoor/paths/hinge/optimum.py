"""A hinge machine over all its binary problems: its clean optimum, and how poison moves it."""

import numpy as np

from ..optimum import Optimum
from ..threads import one_blas_thread
from .active_set import ActiveSet
from .breakpoints import breakpoints
from .derivative import newton_step, right_limit
from .path import path_solution, warn_unless_optimal
from .problem import Problem, ends_of
from .solve import as_it_is, optimum


class HingeOptimum(Optimum):
    """Clean optimum of a hinge SVM over all its binary problems, and its right derivative.

    Parameters
    ----------
    kernel : object
        ``kernel(X, rows)`` gives the kernel between samples X and training rows (clean rows
        first, then poison), shape (n_samples, len(rows)).
    problems : list of (rows, point, poison_rate)
        For each binary problem the training rows in it, the point that is its optimum (an
        ActiveSet or a FacePoint), and the rates at which the bounds of these rows grow with beta
        (0 for clean rows).
    fixed : ndarray of shape (n_rows, n_problems), default=None
        Signed duals of rows that are left out of the problems, since they stay where they are.
    whole : callable, default=None
        Where rows are left out: gives the optimum with all rows.
    """

    def __init__(self, kernel, problems, fixed=None, whole=None):
        self.kernel, self.problems, self._fixed, self._whole = kernel, problems, fixed, whole
        self.residual = max(point.residual for _, point, _ in problems)
        self._limits = None

    def _right_limits(self):
        """For each problem its :class:`RightLimit` and the jump of its intercept."""
        if self._limits is None:
            with one_blas_thread():
                limits = [right_limit(point, rate) for _, point, rate in self.problems]
            self._limits = [
                (limit, limit.point.b - point.b)
                for limit, (_, point, _) in zip(limits, self.problems, strict=True)
            ]
        return self._limits

    @property
    def first_breakpoint(self):
        """Poison weight at which the first member changes sets, at most 1.

        None where rows are left out.
        """
        if self._whole is not None:
            return None
        return min(limit.step for limit, _ in self._right_limits())

    @property
    def intercept_jump(self):
        """Largest jump of an intercept at beta = 0+, in decision values (signed)."""
        return max((jump for _, jump in self._right_limits()), key=abs)

    def decision_values(self, X):
        """Decision values of the clean fit, shape (n_samples, n_problems)."""
        return self.right_limit(X)[0] - [jump for _, jump in self._right_limits()]

    def right_limit(self, X):
        """Decision values on X at beta = 0+ and their derivative in beta."""
        shape = (self.kernel.X.shape[0], len(self.problems))
        v, v_rate = np.zeros(shape) if self._fixed is None else self._fixed.copy(), np.zeros(shape)
        b, b_rate = np.zeros(shape[1]), np.zeros(shape[1])
        for k, (rows, start, _) in enumerate(self.problems):
            (point, a_rate, b_rate[k], _), _ = self._right_limits()[k]
            y = start.problem.y
            v[rows, k], v_rate[rows, k], b[k] = y * point.a, y * a_rate, point.b
        used = np.flatnonzero(np.any(v != 0, axis=1) | np.any(v_rate != 0, axis=1))
        both = self.kernel.product(X, used, np.concatenate([v[used], v_rate[used]], axis=1))
        return both[:, : shape[1]] + b, both[:, shape[1] :] + b_rate

    def responses(self, X, samples):
        """Rates of the decision values on X as single training samples gain weight.

        The weight of a sample on the margin or beyond it changes nothing: its row is 0.

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
        for k, (rows, start, rate) in enumerate(self.problems):
            is_poison[rows] |= rate > 0
            problem, (point, *_) = start.problem, self._right_limits()[k][0]
            if point.unbalanced:
                raise ValueError(
                    "The SVM has no free support vector, so no single sample's weight can change"
                    " alone and its influence is not defined; raise C."
                )
            at_bound = np.flatnonzero(point.upper)
            duals = (problem.y * np.where(rate > 0, rate, problem.u))[at_bound]
            sensitivity = point.sensitivity(at_bound)
            o = int(problem.free_intercept)
            members = self.kernel(X, rows[point.members])
            values = self.kernel(X, rows[at_bound]) + members @ sensitivity[o:]
            if o:
                values = values + sensitivity[0]
            dF[rows[at_bound], :, k] = (values * duals).T
        return dF[is_poison] if samples == "poison" else dF

    def _parts(self, groups, n_poison):
        first, parts = self.kernel.X.shape[0] - n_poison, []
        for group in groups:
            belongs = np.zeros(self.kernel.X.shape[0], dtype=bool)
            belongs[first + group] = True
            if self._fixed is None:  # a kernel row serves all groups
                problems = [
                    (rows, point, np.where(belongs[rows], rate, 0.0))
                    for rows, point, rate in self.problems
                ]
            else:  # kernel rows between groups would cost more than all the rest
                problems = [
                    self._kept(problem, (problem[0] < first) | belongs[problem[0]])
                    for problem in self.problems
                ]
            parts.append(HingeOptimum(self.kernel, problems, self._fixed, self._whole))
        return parts

    def _kept(self, problem, kept):
        """One of the `problems` on some of its rows; the duals of the others are 0."""
        rows, point, rate = problem
        rows, whole = rows[kept], point.problem
        outside = np.broadcast_to(whole.outside, len(kept))[kept], whole.outside_sum
        part = Problem(
            whole.rows.kept(kept),
            whole.diagonal[kept],
            whole.y[kept],
            whole.u[kept],
            whole.free_intercept,
            whole.unit_of_sum,
            *outside,
        )
        if isinstance(point, ActiveSet) and not np.any(point.active[~kept]):
            return rows, point.kept(kept, part), rate[kept]
        return rows, as_it_is(part, point.a[kept], point.b), rate[kept]

    def newton_step(self, *X):
        """The optimum after one Newton step; None where the fit is exact to 1e-6 already."""
        if self.residual < 1e-6:
            return None
        steps = [
            (rows, as_it_is(point.problem, *newton_step(point)), rate)
            for rows, point, rate in self.problems
        ]
        self.kernel.keep(*X)  # for both optima
        return HingeOptimum(self.kernel, steps, self._fixed, self._whole)

    def polish(self):
        """Follow every problem to its exact optimum.

        Warns
        -----
        ConvergenceWarning
            The optimality conditions stay violated by more than 1e-8.
        """
        if self._whole is not None:
            return self._whole().polish()
        with one_blas_thread():
            polished = [
                (used, optimum(point.problem, point.a, point.b), rate)
                for used, point, rate in self.problems
            ]
        best = HingeOptimum(self.kernel, polished)
        warn_unless_optimal(best.residual)
        return best

    def path(self, path, weights, guess=None, coefficients=None):
        """The machine at strictly increasing poison weights, from its polished optimum.

        `guess`, where only one weight is above 0, is a point near the optimum there, which is
        polished: signed duals (n_rows, n_problems) and intercepts. `coefficients`, for a linear
        machine, makes them of signed duals (..., n_rows, n_problems).

        Returns
        -------
        solution : KernelSolution, or LinearSolution where `coefficients` is given
        """
        return path_solution(path, weights, self.kernel, self.problems, guess, coefficients)

    def breakpoints(self, rows, until=None):
        """For each problem decision values on some samples at all breakpoints of its path.

        The optimum must be polished. ``until(F_zero, F)``, with decision values of shape
        (n_samples, n_problems) at weight 0 and at another, says whether to go no further.

        Returns
        -------
        breakpoints : iterator of Breakpoints
            One problem after the other is followed as it is asked for.
        """
        return breakpoints(self.problems, self.kernel, rows, until)

    #: Which duals are at 0, and which at their bound, but for rounding.
    ends_of = staticmethod(ends_of)

    # -- what stands before an optimum --------------------------------------------------------

    @staticmethod
    def part(kernel, rows, y, u, rate, a, b, *, free_intercept, whole=False, outside=(0.0, 0.0)):
        """One of the `problems`, at a point that is taken as it is.

        Parameters
        ----------
        kernel : Kernel
        rows : ndarray of shape (n,)
            Which of its rows are in the problem.
        y, u, rate, a : ndarrays of shape (n,)
            Signs, bounds at beta = 0, rates of the bounds, dual coefficients.
        b : float
            The intercept.
        free_intercept : bool
            Whether it is a variable.
        whole : bool, default=False
            Whether the whole kernel matrix is computed.
        outside : tuple of (ndarray of shape (n,), float)
            What rows that are left out add to the decision values, and the sum of their duals.
        """
        kernel_rows, diagonal = kernel.on(rows, whole)
        unit = kernel.unit_of_sum
        problem = Problem(kernel_rows, diagonal, y, u, free_intercept, unit, *outside)
        return rows, as_it_is(problem, a, b), rate

    @staticmethod
    def violations(kernel, rows, y, v, b, F, bounds):
        """:meth:`Problem.violations` of points that come from elsewhere, on some of the rows."""
        diagonal = kernel.gram().diagonal()[rows]
        problem = Problem(None, diagonal, y, bounds[-1], True, kernel.unit_of_sum)
        return problem.violations(v, b, F, bounds)
