"""The path of linear models with a smooth loss: predicted in a subspace, corrected by Newton."""

from functools import partial

import numpy as np
from scipy.interpolate import CubicSpline

from ..rows import stack
from ..solutions import LinearSolution
from ..threads import one_blas_thread
from .design import DesignMatrix
from .hessian import Hessian
from .newton import CLOSE, nearest, newton, newton_directions, sum_to_zero
from .nonzero_columns import NonzeroColumns
from .optimum import POLISHED
from .residual import warn_unless_optimal
from .subspace import Subspace

#: Relative gradient norm, at least, of a fit that only labels are asked of.
NEAR = 1e-3


class Continuation:
    r"""The optimum at many poison weights: predicted in a subspace, corrected by Newton steps.

    The fits of a path lie close to a subspace of few dimensions. It starts with the clean fit and
    its tangent; the objective is minimised in it at every weight (Galerkin), and Newton directions
    at some of the weights that are not yet optimal are added, until all are or it helps no more.
    Full Newton steps then correct what is left. A direction found for one weight serves all.

    All of it is on the columns that are nonzero in some clean or poison row.

    Parameters
    ----------
    path : WeightPath
        Whose solution this is.
    start : LinearOptimum
        The fit at beta = 0, or somewhere near.
    """

    #: Relative gradient norm that is aimed at.
    tol = 1e-9
    #: Weights at which directions are looked for, and how many of them a round.
    n_probes, n_directions = 24, 6
    #: Solved neighbours that a weight between them is found from.
    n_near = 14
    #: Most dimensions of the subspace.
    max_size = 240

    def __init__(self, path, start):
        self.path, self.start, problem = path, start, start.problem
        clean, poison = problem.clean, problem.poison
        self.columns = NonzeroColumns(problem.fit_intercept, clean.design.X, poison.design.X)
        parts = [self.columns.take(part.design.X) for part in (clean, poison)]
        self.clean_weight, self.poison_weight = clean.weight, poison.weight
        self.objective = problem.objective(
            DesignMatrix(stack(*parts), problem.fit_intercept),
            np.concatenate([clean.y, poison.y]),
            None,
        )
        self.factors = {}

    def _at(self, betas):
        """The objectives at some weights, side by side, and the scale of their gradients."""
        clean = np.broadcast_to(self.clean_weight, (len(betas), len(self.clean_weight)))
        weight = np.concatenate([clean, betas[:, None] * self.poison_weight], axis=1)
        return self.objective.reweighted(weight), self.start.scale(betas)

    def solution(self, weights):
        """The solution at strictly increasing weights."""
        fits, residuals, clean = self._solve(weights)
        warn_unless_optimal(residuals.max())
        return LinearSolution(
            self.path,
            weights,
            "continuation",
            residuals,
            self._full(fits),
            self._full(clean),
            partial(self._rates, weights, fits),
        )

    def _solve(self, weights):
        """Fits and residuals at all weights, and the clean fit."""
        n_zeros = int(weights[0] == 0.0)
        above = len(weights) > n_zeros
        clean, residual, tangent = self.clean_fit(above)
        fits = np.repeat(clean, len(weights), axis=0)
        residuals = np.full(len(weights), residual)
        if above:
            fits[n_zeros:], residuals[n_zeros:] = self._follow(clean, tangent, weights[n_zeros:])
        return fits, residuals, clean[0]

    def clean_fit(self, moves=True, tol=None, close=CLOSE):
        """The clean optimum, its residual, and how it moves with beta where that is asked.

        Parameters
        ----------
        moves : bool, default=True
            Whether it is asked.
        tol : float, default=None
            Relative gradient norm to reach; None is :attr:`tol`.
        close : float, default=2e-7
            As in :func:`newton`.

        Returns
        -------
        W : ndarray of shape (1, n_outputs, n_parameters)
        residual : float or ndarray of shape (1,)
        tangent : ndarray of shape (1, n_outputs, n_parameters) or None
            To two digits where the start was not the optimum.
        """
        zero = np.zeros(1)
        W, residual = self.columns.reduce(self.start.W[None]), self.start.residual
        if residual <= POLISHED:
            tangent = self.columns.reduce(self.start.tangent[None]) if moves else None
            return W, residual, tangent
        objective, scale = self._at(zero)
        tol = tol or self.tol
        W, F, residual = newton(objective, W, scale, self.factors, zero, tol, close=close)
        return W, residual, self._tangents(zero, F, 1e-2) if moves else None

    def fit_near(self, weight, guesses, close):
        """The fit at one weight from the best of some guesses.

        Parameters
        ----------
        weight : float
        guesses : ndarray of shape (n_guesses, n_outputs, n_parameters)
        close : float
            How far decision values may be from their optimum.

        Returns
        -------
        W : ndarray of shape (1, n_outputs, n_parameters)

        Warns
        -----
        ConvergenceWarning
            It was not found from there, and not along the path either.
        """
        betas = np.array([weight])
        objective, scale = self._at(betas)
        values = objective.value(guesses, objective.decision(guesses))
        best = int(np.argmin(np.where(np.isfinite(values), values, np.inf)))
        try:
            W, _, residual = newton(
                objective, guesses[[best]], scale, self.factors, betas, NEAR, close=close
            )
        except ValueError:  # at a guess so far off that there is no curvature left
            residual = np.inf
        if not np.max(residual) <= NEAR:
            W, residual, _ = self._solve(betas)
            warn_unless_optimal(residual.max())
        return sum_to_zero(objective.loss, W)

    def _follow(self, clean, tangent, weights):
        """Fits and residuals at weights above 0."""
        probes = np.arange(len(weights))
        if len(weights) > self.n_probes:  # more of them where paths are steep
            probes = np.linspace(0, 1, self.n_probes) ** 1.5 * (len(weights) - 1)
            probes = np.unique(probes.round().astype(int))
        betas, subspace = weights[probes], Subspace(self.objective.design)
        guesses = self._span(subspace, np.concatenate([clean, tangent]), betas)
        all_probed = len(betas) == len(weights)
        tol = self.tol if all_probed else 0.1 * self.tol
        objective, scale = self._at(betas)
        solved, _, left = newton(objective, guesses, scale, self.factors, betas, tol)
        if all_probed:
            return solved, left
        fits, residuals = np.empty((len(weights), *clean.shape[1:])), np.empty(len(weights))
        fits[probes], residuals[probes] = solved, left
        known = np.append(0.0, betas), np.concatenate([clean, solved])
        rest = np.setdiff1d(np.arange(len(weights)), probes)
        for chunk in np.array_split(rest, -(-len(rest) // self.n_probes)):
            while len(chunk):
                some, fits[chunk[some]], residuals[chunk[some]] = self._between(
                    *known, weights[chunk]
                )
                now, chunk = chunk[some], np.delete(chunk, some)
                known = np.append(known[0], weights[now]), np.concatenate([known[1], fits[now]])
        return fits, residuals

    def _between(self, at, known, betas):
        """Fits at some of these neighbouring weights, or at all, from those known near them.

        Returns
        -------
        some : ndarray of int
            Positions of those that are solved now, so that the others can be found from them.
        fits, residuals : ndarrays
            There.
        """
        roots, wanted = np.sqrt(at), np.sqrt(betas)
        near = np.abs(roots - wanted[:, None]).min(axis=0).argsort()[: self.n_near]
        near = near[roots[near].argsort()]
        subspace, (objective, scale) = Subspace(self.objective.design), self._at(betas)
        subspace.add(known[near])
        start = CubicSpline(roots[near], subspace.coordinates(known[near]))(wanted)
        W, F, _ = subspace.minimise(objective, scale, start, 0.1 * self.tol)
        W = sum_to_zero(objective.loss, W)  # where steps keep it; F is the same to the softmax
        gradients, tol = objective.gradient(W, F), 5 * self.tol
        some = np.flatnonzero(np.linalg.norm(gradients, axis=(1, 2)) / scale > tol)
        if len(some) > 2 * self.n_directions:
            some = some[np.linspace(0, len(some) - 1, self.n_directions).round().astype(int)]
            objective, scale = self._at(betas[some])
        else:
            some = np.arange(len(betas))
        known = F[some], gradients[some]
        fits, _, residuals = newton(
            objective, W[some], scale, self.factors, betas[some], tol, known
        )
        return some, fits, residuals

    def _span(self, subspace, directions, betas):
        """Fits at these weights in a subspace that grows until it holds them or helps no more."""
        (objective, scale), coordinates, before = self._at(betas), None, 1.0
        W = np.zeros((len(betas), *directions.shape[1:]))
        while subspace.add(directions):
            rtol = max(0.1 * before, 0.1 * self.tol)
            W, F, coordinates = subspace.minimise(objective, scale, coordinates, rtol)
            gradients = objective.gradient(W, F)
            residuals = np.linalg.norm(gradients, axis=(1, 2)) / scale
            left = np.flatnonzero(residuals > self.tol)
            slow = residuals.max() > 0.3 * before
            full = len(subspace) + self.n_directions > self.max_size
            if len(left) == 0 or full or (slow and len(self.factors) > 2):
                return W
            if slow or len(self.factors) < 2:
                worst = int(residuals.argmax())
                self._factorise(_hessian(objective, F, worst), float(betas[worst]))
            before = residuals.max()
            chosen = np.linspace(0, len(left) - 1, min(self.n_directions, len(left)))
            chosen = left[chosen.round().astype(int)]
            if self.factors:  # Newton directions to a digit
                directions = nearest(self.factors, betas[chosen])(gradients[chosen])
            else:
                hessians = _hessian(objective, F, chosen)
                directions, _ = hessians.cg(gradients[chosen], 0.1, 50)
        return W

    def _factorise(self, hessian, beta):
        if beta not in self.factors and hessian.can_factorise:
            self.factors[beta] = hessian.factorise()

    def _tangents(self, betas, F, rtol):
        """d W / d beta at fits whose decision values are F, to a relative residual."""
        objective, n_clean = self._at(betas)[0], len(self.clean_weight)
        G = objective.loss.gradient(F[:, n_clean:], objective.y[n_clean:])
        poison = DesignMatrix(objective.design.X[n_clean:], objective.design.fit_intercept)
        right = -poison.adjoint(self.poison_weight[:, None] * G)
        aims = np.full(len(betas), rtol)
        return newton_directions(objective, F, right, self.factors, betas, aims, 10 * rtol)

    def _rates(self, weights, fits):
        """d W / d beta, exactly, asked for by the solution."""
        with one_blas_thread(self.objective.design.X):
            return self._full(self._tangents(weights, self.objective.decision(fits), 1e-10))

    def _full(self, W):
        """Parameters of all columns, for rows as the learner sees them."""
        W = self.columns.expand(sum_to_zero(self.objective.loss, W))
        return self.start.problem.centring.from_centred(W)


def _hessian(objective, F, fits):
    """The Hessian of one of the fits, or of some of them."""
    return Hessian(objective.reweighted(objective.weight[fits]), F[fits])
