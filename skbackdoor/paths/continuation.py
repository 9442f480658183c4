"""The path of linear models with a smooth loss: predicted in a subspace, corrected by Newton."""

from functools import partial

import numpy as np
import scipy.sparse as sp
from scipy.interpolate import CubicSpline
from scipy.linalg import qr

from .linear import on_live, warn_unless_optimal
from .newton import nearest, newton, newton_directions
from .solutions import LinearSolution
from .threads import one_blas_thread

#: Relative gradient norm up to which a clean fit is taken for the optimum.
POLISHED = 1e-12


class Continuation:
    r"""The optimum at many poison weights: predicted in a subspace, corrected by Newton steps.

    The fits of a path lie close to a subspace of few dimensions. It starts with the clean fit and
    its tangent; the objective is minimised in it at every weight (Galerkin), and Newton directions
    at some of the weights that are not yet optimal are added, until all are or it helps no more.
    Full Newton steps then correct what is left. A direction found for one weight serves all.

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
        self.path, self.start = path, start
        objective, (X_poison, y_poison, self.weight_poison) = start.objective, start.poison
        rows, live = (objective.X, objective.rows(X_poison)), objective.live
        if sp.issparse(rows[0]):
            stacked = sp.vstack(rows, format="csr")
        elif isinstance(live, slice):
            stacked = np.concatenate(rows)
        else:
            lit = rows[0].any(axis=0) | rows[1].any(axis=0)
            columns, n_clean = np.flatnonzero(lit), len(rows[0])
            live = np.append(columns, len(lit)) if objective.fit_intercept else columns
            stacked = np.empty((n_clean + len(rows[1]), len(columns)))
            np.take(rows[0], columns, axis=1, out=stacked[:n_clean])
            np.take(rows[1], columns, axis=1, out=stacked[n_clean:])
        self.live = live
        self.clean_weight = objective.weight
        y = np.concatenate([objective.y, y_poison])
        self.objective = on_live(objective, stacked, y, None)
        self.factors = {}
        origin = np.zeros((2, *start.W[:, live].shape))
        ends = self.objective.reweighted(self._weights(np.array([0.0, 1.0])))
        #: Gradients at zero parameters, which are linear in the weight: at 0, and what 1 adds.
        self.origin = np.diff(ends.gradient(origin), axis=0, prepend=0.0)
        self.floor = self.objective.floor(ends.weight[1], origin.shape[1])

    def _weights(self, betas):
        weight = np.empty((len(betas), len(self.objective.y)))
        n_clean = len(self.clean_weight)
        weight[:, :n_clean] = self.clean_weight
        weight[:, n_clean:] = betas[:, None] * self.weight_poison
        return weight

    def _at(self, betas):
        """The objectives at some weights, side by side."""
        origin = self.origin[0] + betas[:, None, None] * self.origin[1]
        scale = np.maximum(np.linalg.norm(origin, axis=(1, 2)), self.floor)
        return self.objective.reweighted(self._weights(betas), scale)

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
        zero, n_zeros = np.zeros(1), int(weights[0] == 0.0)
        clean, residual = self.start.W[None][:, :, self.live], self.start.residual
        polished = residual <= POLISHED
        if not polished:
            clean, F, residual = newton(self._at(zero), clean, self.factors, zero, self.tol)
        fits = np.repeat(clean, len(weights), axis=0)
        residuals = np.full(len(weights), residual)
        if len(weights) > n_zeros:
            if polished:
                tangent = self.start.tangent()[None][:, :, self.live]
            else:
                tangent = self._tangents(zero, F, 1e-2)
            fits[n_zeros:], residuals[n_zeros:] = self._follow(clean, tangent, weights[n_zeros:])
        return fits, residuals, clean[0]

    def _follow(self, clean, tangent, weights):
        """Fits and residuals at weights above 0."""
        probes = np.arange(len(weights))
        if len(weights) > self.n_probes:  # more of them where paths are steep
            probes = np.linspace(0, 1, self.n_probes) ** 1.5 * (len(weights) - 1)
            probes = np.unique(probes.round().astype(int))
        betas = weights[probes]
        guesses = self._span(Subspace(self.objective), np.concatenate([clean, tangent]), betas)
        all_probed = len(betas) == len(weights)
        tol = self.tol if all_probed else 0.1 * self.tol
        solved, _, left = newton(self._at(betas), guesses, self.factors, betas, tol)
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
        subspace, objective = Subspace(self.objective), self._at(betas)
        subspace.add(known[near])
        start = CubicSpline(roots[near], subspace.coordinates(known[near]))(wanted)
        W, F, _ = subspace.minimise(objective, start, 0.1 * self.tol)
        gradients, tol = objective.gradient(W, F), 5 * self.tol
        residuals = np.linalg.norm(gradients, axis=(1, 2)) / objective.gradient_scale(W.shape[1])
        some = np.flatnonzero(residuals > tol)
        if len(some) > 2 * self.n_directions:
            some = some[np.linspace(0, len(some) - 1, self.n_directions).round().astype(int)]
            objective = self._at(betas[some])
        else:
            some = np.arange(len(betas))
        fits, _, residuals = newton(
            objective, W[some], self.factors, betas[some], tol, (F[some], gradients[some])
        )
        return some, fits, residuals

    def _span(self, subspace, directions, betas):
        """Fits at these weights in a subspace that grows until it holds them or helps no more."""
        objective, coordinates, before = self._at(betas), None, 1.0
        scale = objective.gradient_scale(directions.shape[1])
        W = np.zeros((len(betas), *directions.shape[1:]))
        while subspace.add(directions):
            rtol = max(0.1 * before, 0.1 * self.tol)
            W, F, coordinates = subspace.minimise(objective, coordinates, rtol)
            gradients = objective.gradient(W, F)
            residuals = np.linalg.norm(gradients, axis=(1, 2)) / scale
            left = np.flatnonzero(residuals > self.tol)
            slow = residuals.max() > 0.3 * before
            full = len(subspace) + self.n_directions > self.max_size
            if len(left) == 0 or full or (slow and len(self.factors) > 2):
                return W
            if slow or len(self.factors) < 2:
                self._factorise(objective, F, betas, int(residuals.argmax()))
            before = residuals.max()
            chosen = np.linspace(0, len(left) - 1, min(self.n_directions, len(left)))
            chosen = left[chosen.round().astype(int)]
            directions = self._direct(objective, F, gradients, betas, chosen)
        return W

    def _factorise(self, objective, F, betas, i):
        if float(betas[i]) not in self.factors and objective.can_factorise(F.shape[2]):
            own = objective.reweighted(objective.weight[i])
            self.factors[float(betas[i])] = own.factorise(own.loss.curvature(F[i], own.y))

    def _direct(self, objective, F, gradients, betas, chosen):
        """Newton directions at some of the weights, roughly."""
        if self.factors:
            return nearest(self.factors, betas[chosen])(gradients[chosen])
        part = objective.reweighted(objective.weight[chosen])
        curvature = objective.loss.curvature(F[chosen], objective.y)
        return part.iterate(curvature, gradients[chosen], 0.1, 50)[0]

    def _tangents(self, betas, F, rtol):
        """d W / d beta at fits whose decision values are F, to a relative residual."""
        n_clean, objective = len(self.clean_weight), self._at(betas)
        y_poison, X_poison = objective.y[n_clean:], objective.X[n_clean:]
        G = objective.loss.gradient(F[:, n_clean:], y_poison)
        right = -objective.pull_back(self.weight_poison[:, None] * G, X_poison)
        aims = np.full(len(betas), rtol)
        return newton_directions(objective, F, right, self.factors, betas, aims, 10 * rtol)

    def _rates(self, weights, fits):
        """d W / d beta, exactly, asked for by the solution."""
        with one_blas_thread(self.objective.X):
            return self._full(self._tangents(weights, self.objective.decision(fits), 1e-10))

    def _full(self, W):
        """Parameters of all columns: those that are zero in every row have coefficient 0."""
        objective = self.start.objective
        if not objective.loss.decouples:  # of all equal softmax models the one that sums to 0
            W = W - W.mean(axis=-2, keepdims=True)
        if not isinstance(self.live, slice):
            full = np.zeros((*W.shape[:-1], len(objective.penalty)))
            full[..., self.live] = W
            W = full
        return objective.from_own(W)


class Subspace:
    """Directions in parameter space, and the objective minimised over their span.

    Parameters
    ----------
    objective : LinearObjective
        All of its columns live.
    """

    def __init__(self, objective):
        self.objective = objective
        self.basis = self.images = None

    def __len__(self):
        return 0 if self.basis is None else len(self.basis)

    @property
    def shape(self):
        """Shape of the parameters, (n_outputs, n_parameters)."""
        return self.basis.shape[1:]

    def add(self, directions):
        """Add directions (n, n_outputs, n_parameters); returns how many were independent."""
        flat = directions.reshape(len(directions), -1)
        flat = flat[np.linalg.norm(flat, axis=1) > 0]
        flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        if self.basis is not None:
            known = self.basis.reshape(len(self.basis), -1)
            for _ in range(2):  # twice is enough
                flat = flat - (flat @ known.T) @ known
        flat = flat[np.linalg.norm(flat, axis=1) > 1e-7]
        if len(flat) == 0:
            return 0
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        Q, R, _ = qr(flat.T, mode="economic", pivoting=True, check_finite=False)
        new = Q.T[np.abs(np.diag(R)) > 1e-9].reshape(-1, *directions.shape[1:])
        images = self.objective.decision(new)
        if self.basis is None:
            self.basis, self.images = new, images
        else:
            self.basis = np.concatenate([self.basis, new])
            self.images = np.concatenate([self.images, images])
        return len(new)

    def coordinates(self, W):
        """Of parameters in the span, shape (n_fits, len(self))."""
        return W.reshape(len(W), -1) @ self.basis.reshape(len(self), -1).T

    def minimise(self, objective, start=None, rtol=1e-11):
        """Minimise each of the objectives over the span, by damped Newton steps.

        Parameters
        ----------
        objective : LinearObjective
            With weights of shape (n_fits, n_samples).
        start : ndarray of shape (n_fits, at most len(self)), default=None
            Coordinates to start from.
        rtol : float
            Gradient norm within the span to reach, relative to that at zero parameters.

        Returns
        -------
        W : ndarray of shape (n_fits, n_outputs, n_parameters)
        F : ndarray of shape (n_fits, n_samples, n_outputs)
        coordinates : ndarray of shape (n_fits, len(self))
        """
        size, n_fits = len(self), len(objective.weight)
        basis, images = self.basis.reshape(size, -1), self.images.reshape(size, -1)
        single = self.images.astype(np.float32)  # for Hessians, which need no more
        penalty = np.broadcast_to(objective.penalty, self.shape).ravel()
        penalty = (basis * penalty) @ basis.T
        c = np.zeros((n_fits, size))
        if start is not None:
            c[:, : start.shape[1]] = start
        shape = (-1, *self.images.shape[1:])

        def value(c, F):
            losses = np.sum(objective.weight * objective.loss.value(F, objective.y), axis=1)
            return losses + 0.5 * np.sum((c @ penalty) * c, axis=1)

        F = (c @ images).reshape(shape)
        scale = objective.gradient_scale(self.shape[0])
        hessians, before = None, np.inf
        for _ in range(50):
            G = objective.weight[:, :, None] * objective.loss.gradient(F, objective.y)
            gradient = G.reshape(n_fits, -1) @ images.T + c @ penalty
            left = (np.linalg.norm(gradient, axis=1) / scale).max()
            if left <= rtol:
                break
            if hessians is None or left > 0.2 * before:
                curvature = objective.loss.curvature(F, objective.y)
                curvature = curvature.astype(np.float32)
                hessians = [
                    _hessian(objective.loss, objective.weight[i], curvature[i], single)
                    for i in range(n_fits)
                ]
                hessians = _inverse(np.stack(hessians) + penalty)
            before = left
            step = -np.matmul(hessians, gradient[:, :, None])[:, :, 0]
            F_step = (step @ images).reshape(shape)
            old, decrease = value(c, F), np.sum(gradient * step, axis=1)
            reach = np.ones(n_fits)
            while True:
                new = value(c + reach[:, None] * step, F + reach[:, None, None] * F_step)
                short = new > old + 1e-4 * reach * decrease + 1e-12 * np.abs(old)
                short &= reach >= 1e-6
                if not short.any():
                    break
                reach[short] /= 2
            c, F = c + reach[:, None] * step, F + reach[:, None, None] * F_step
        return (c @ basis).reshape(-1, *self.shape), F, c


def _hessian(loss, weight, curvature, images):
    """Of one fit within a span whose directions have these decision values."""
    bent = weight.astype(np.float32)[:, None] * loss.hessian_product(curvature, images)
    return bent.reshape(len(images), -1) @ images.reshape(len(images), -1).T


def _inverse(hessians):
    """Inverses of small matrices; of the singular ones what inverts them on their range."""
    try:
        return np.linalg.inv(hessians)
    except np.linalg.LinAlgError:  # flat to rounding: Newton steps in full space correct it
        return np.linalg.pinv(hessians, hermitian=True)
