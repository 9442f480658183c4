"""Objectives minimised over the span of a few directions (Galerkin)."""

import numpy as np
from scipy.linalg import qr


class Subspace:
    """Orthonormal directions in parameter space, and objectives minimised over their span.

    Parameters
    ----------
    design : DesignMatrix
        Of the objectives.

    Attributes
    ----------
    basis : ndarray of shape (n_directions, n_outputs, n_parameters)
    images : ndarray of shape (n_directions, n_samples, n_outputs)
        Their decision values.
    """

    def __init__(self, design):
        self.design = design
        self.basis = self.images = None

    def __len__(self):
        return 0 if self.basis is None else len(self.basis)

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
        images = self.design.product(new)
        if self.basis is None:
            self.basis, self.images = new, images
        else:
            self.basis = np.concatenate([self.basis, new])
            self.images = np.concatenate([self.images, images])
        return len(new)

    def coordinates(self, W):
        """Of parameters in the span, shape (n_fits, n_directions)."""
        return W.reshape(len(W), -1) @ self.basis.reshape(len(self), -1).T

    def minimise(self, objective, scale, start, rtol):
        """Minimise each of the objectives over the span, by damped Newton steps.

        Parameters
        ----------
        objective : LinearObjective
            With weights of shape (n_fits, n_samples).
        scale : ndarray of shape (n_fits,)
            What gradient norms are relative to.
        start : ndarray of shape (n_fits, at most n_directions) or None
            Coordinates to start from; None is 0.
        rtol : float
            Relative gradient norm within the span to reach.

        Returns
        -------
        W : ndarray of shape (n_fits, n_outputs, n_parameters)
        F : ndarray of shape (n_fits, n_samples, n_outputs)
        coordinates : ndarray of shape (n_fits, n_directions)
        """
        size, n_fits, loss = len(self), len(objective.weight), objective.loss
        basis, images = self.basis.reshape(size, -1), self.images.reshape(size, -1)
        single = self.images.astype(np.float32)  # for Hessians, which need no more
        penalty = np.broadcast_to(objective.penalty, self.basis.shape[1:]).ravel()
        penalty = (basis * penalty) @ basis.T
        c = np.zeros((n_fits, size))
        if start is not None:
            c[:, : start.shape[1]] = start
        shape = (-1, *self.images.shape[1:])

        def value(c, F):
            return objective.data_term(F) + 0.5 * np.sum((c @ penalty) * c, axis=1)

        F = (c @ images).reshape(shape)
        inverses, before = None, np.inf
        for _ in range(50):
            G = objective.raw_gradient(F)
            gradient = G.reshape(n_fits, -1) @ images.T + c @ penalty
            left = (np.linalg.norm(gradient, axis=1) / scale).max()
            if left <= rtol:
                break
            if inverses is None or left > 0.2 * before:
                curvature = loss.curvature(F, objective.y).astype(np.float32)
                hessians = [
                    _hessian(loss, objective.weight[i], curvature[i], single)
                    for i in range(n_fits)
                ]
                inverses = _inverse(np.stack(hessians) + penalty)
            before = left
            step = -np.matmul(inverses, gradient[:, :, None])[:, :, 0]
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
        return (c @ basis).reshape(-1, *self.basis.shape[1:]), F, c


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
