r"""The clean optimum of a linear model, and the rate at which poison moves it.

If poison rows enter with weight beta, the optimum moves at the rate
:math:`dW / d\beta = -H^{-1} \nabla P` (implicit function theorem; Cinà et al. 2024, eq. 4), with H
the Hessian at beta and P the losses of the poison rows.

Kept on an optimum, since each takes a pass over the rows or a solve: `gradient`, `scale`,
`residual`, `solver` (whose factor serves an optimum nearby), and `tangent`, which a Newton step
finds on the way.
"""

from copy import copy
from functools import cached_property

import numpy as np

from ..optimum import Optimum
from .cholesky import singular
from .hessian import Hessian
from .newton import newton
from .residual import GradientScale, warn_unless_optimal
from .solver import HessianSolver

#: Relative gradient norm up to which a fit is taken for the optimum; rounding leaves some 1e-14.
POLISHED = 1e-12


class LinearOptimum(Optimum):
    """An optimum of a :class:`LinearProblem` at beta = 0, or a fit as it is.

    Parameters
    ----------
    problem : LinearProblem
        Clean and poison rows.
    W : ndarray of shape (n_outputs, n_parameters)
        Parameters for centred rows (``problem.centring.to_centred`` of a learner's).
    rtol : float, default=None
        Accuracy of the Hessian solves, as in :class:`HessianSolver`.
    tangent : ndarray of shape (n_outputs, n_parameters), default=None
        dW / d beta at beta = 0, where it is known.
    factor : CholeskyFactor, default=None
        Of the Hessian at an optimum nearby.
    """

    def __init__(self, problem, W, rtol=None, tangent=None, factor=None):
        self.problem, self.W, self.rtol = problem, W, rtol
        self.F = problem.clean.decision(W)
        self._factor = factor
        if tangent is not None:
            self.tangent = tangent

    @cached_property
    def gradient(self):
        """Gradient of the objective, shape (n_outputs, n_parameters)."""
        return self.problem.clean.gradient(self.W, self.F)

    @cached_property
    def scale(self):
        """The gradient norm at zero parameters, at any poison weight."""
        return GradientScale(self.problem.clean, self.problem.poison, len(self.W))

    @cached_property
    def residual(self):
        """Gradient norm relative to that at zero parameters."""
        return np.linalg.norm(self.gradient) / self.scale(np.zeros(1))[0]

    @cached_property
    def solver(self):
        """Solver of the Hessian on the nonzero columns."""
        return HessianSolver(Hessian(self.problem.reduced, self.F), self.rtol, self._factor)

    def solve(self, right):
        """H^-1 times blocks of shape (n_right, n_outputs, n_parameters)."""
        columns, alpha = self.problem.columns, self.problem.alpha
        solved = self.solver(columns.reduce(right))
        if columns.indices is None:
            return solved
        if alpha == 0:
            raise singular(0.0)
        solution = right / alpha  # of a column of zeros the penalty is all there is
        solution[..., columns.parameters] = solved
        return solution

    def _poison_gradient(self):
        poison = self.problem.poison
        return poison.gradient(self.W, poison.decision(self.W))

    @cached_property
    def tangent(self):
        """dW / d beta at beta = 0, shape (n_outputs, n_parameters)."""
        return self.solve(-self._poison_gradient()[None])[0]

    def decision_values(self, X):
        """Decision values of the clean fit, shape (n_samples, n_outputs)."""
        return self.problem.design(X).product(self.W)

    def right_limit(self, X):
        """Decision values on X and their derivative in beta, both at beta = 0."""
        design = self.problem.design(X)
        return design.product(self.W), design.product(self.tangent)

    def responses(self, X, samples):
        """Rates of the decision values on X as single training samples gain weight.

        Parameters
        ----------
        X : array of shape (n_test, n_features)
            Test samples.
        samples : {"poison", "all"}
            Whose weight grows: the poison rows, or the clean rows and then the poison rows.

        Returns
        -------
        dF : ndarray of shape (n_sources, n_test, n_outputs)
            d F / d w for each sample, w in units of its own weight.
        """
        test, sources = self.problem.design(X), [self.problem.poison]
        if samples == "all":
            sources.insert(0, self.problem.clean)
        return np.concatenate([self._responses(test, source) for source in sources])

    def _responses(self, test, source):
        """Those to the rows of one objective; `test` is the design matrix of the test samples.

        H^-1 is applied to the smaller side; every output has its own where the loss decouples.
        """
        G = source.raw_gradient(source.decision(self.W))
        n_sources, n_outputs = G.shape
        dF = np.empty((n_sources, len(test), n_outputs))
        if source.loss.decouples and len(test) < n_sources:
            for part in _chunks(len(test)):
                right = np.repeat(test.rows(part)[:, None], n_outputs, axis=1)
                solved = source.decision(self.solve(right))
                dF[:, part] = -G[:, None, :] * solved.transpose(1, 0, 2)
            return dF
        for part in _chunks(n_sources):
            right = G[part, :, None] * source.design.rows(part)[:, None]
            dF[part] = -test.product(self.solve(right))
        return dF

    def _parts(self, groups):
        poison = self.problem.poison
        G, each = poison.raw_gradient(poison.decision(self.W)), []
        for rows in groups:
            own = np.zeros_like(G)
            own[rows] = G[rows]
            each.append(own)
        parts = []
        for tangent in self.solve(-poison.design.adjoint(np.stack(each))):
            part = copy(self)
            part.tangent = tangent
            parts.append(part)
        return parts

    def newton_step(self, *X):
        """The optimum after one Newton step; None where that moves no decision value of note.

        Parameters
        ----------
        *X : arrays of shape (n_samples, n_features)
            Samples whose decision values matter.

        Returns
        -------
        optimum : LinearOptimum or None
            None where no decision value moves by more than 0.005. Its tangent is good for four
            digits, where a scorer, which only asks how far theta moves, needs two.
        """
        if self.residual < 1e-9:
            return None
        problem = self.problem
        step, self.tangent = self.solve(np.stack([-self.gradient, -self._poison_gradient()]))
        designs = problem.clean.design, problem.poison.design, *map(problem.design, X)
        farthest = max(np.abs(design.product(step)).max() for design in designs)
        if farthest < 0.005:
            return None
        # A factor takes ten products after decision values moved by 10, twice as many after 13.
        factor = self.solver.factor if farthest <= 10 else None
        return LinearOptimum(problem, self.W + step, 1e-3, factor=factor)

    def polish(self):
        """The optimum to rounding, by damped Newton steps from here.

        Warns
        -----
        ConvergenceWarning
            The relative gradient norm stays above 1e-8.
        """
        if self.residual <= POLISHED:
            return self
        problem, zero, factors = self.problem, np.zeros(1), {}
        reduced = problem.reduced.reweighted(problem.reduced.weight[None])
        W = problem.columns.reduce(self.W[None])  # of a column of zeros the optimum makes no use
        W, _, _ = newton(reduced, W, self.scale(zero), factors, zero, POLISHED)
        W = problem.columns.expand(W[0])
        best = LinearOptimum(problem, W, self.rtol, factor=factors.get(0.0))
        warn_unless_optimal(best.residual)
        return best


def _chunks(n):
    return [slice(start, start + 256) for start in range(0, n, 256)]
