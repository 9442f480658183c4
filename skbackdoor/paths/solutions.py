"""Fits at some poison weights: what a path gives when it is solved."""

from abc import ABC, abstractmethod
from copy import copy
from functools import cached_property, partial

import numpy as np

#: Poison weight between the two refits of a difference (Cinà et al. 2024, eq. 7).
DEFAULT_H = 0.1


class Solution(ABC):
    r"""A learner at each of some poison weights.

    Subclasses hold the parameters of their family and give decision values of prepared rows.

    Parameters
    ----------
    path : WeightPath
        Where it comes from.
    poison_weights : ndarray of shape (n_weights,)
        The weights beta.
    method : str
        How it was found: "closed form", "continuation", "dual path", "kernel refit" or "refit".
    residuals : ndarray of shape (n_weights,) or None
        How far each fit is from its optimum: relative gradient norm, for hinge machines the
        largest violation of the optimality conditions, in units of the margin; None for refits,
        which are as good as the learner's own tolerance.
    """

    #: Hinge machines: the poison weight at which the first row changes sets, nan where it was not
    #: found; else None.
    first_breakpoint = None

    def __init__(self, path, poison_weights, method, residuals):
        self.path, self.poison_weights = path, poison_weights
        self.method, self.residuals = method, residuals

    def decision_function(self, X):
        """Decision values of raw samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples as the estimator itself takes them, before any preprocessing.

        Returns
        -------
        F : ndarray of shape (n_weights, n_samples, n_outputs)
            One output for two classes, else one a class, or a pair of classes (`SVC`), or the
            probabilities of learners that give only those.
        """
        return self.at_rows(self.path.prepare(X))

    def tangent(self, X):
        """Right derivative of the decision values in the poison weight.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Raw samples.

        Returns
        -------
        dF : ndarray of shape (n_weights, n_samples, n_outputs)
            d F / d beta; for refits a difference over 0.1 of weight.
        """
        return self.tangent_at_rows(self.path.prepare(X))

    def predict(self, X):
        """Labels of raw samples, shape (n_weights, n_samples)."""
        rows = self.path.prepare(X)
        return self.labels(rows, self.at_rows(rows))

    def losses(self, X, y):
        """Loss of each raw sample, shape (n_weights, n_samples).

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Raw samples.
        y : array-like of shape (n_samples,)
            Their labels.
        """
        return self.path.losses(self.decision_function(X), y)

    def labels(self, rows, F):
        """Labels of prepared rows whose decision values are F, shape (n_weights, n_samples)."""
        return np.stack([self.path.labels(values) for values in F])

    # -- what a family says -------------------------------------------------------------------

    @abstractmethod
    def take(self, position):
        """The solution at some of its weights, by their positions, in this order."""

    @abstractmethod
    def at_rows(self, rows):
        """Decision values of prepared rows."""

    @abstractmethod
    def tangent_at_rows(self, rows):
        """Right derivative of the decision values of prepared rows."""

    #: Whether norm and cosine are defined.
    has_weights = True

    @property
    @abstractmethod
    def norm(self):
        """Norm of the weights without intercept, in the kernel's space for kernel machines."""

    @property
    @abstractmethod
    def cosine(self):
        """Cosine between these weights and those at beta = 0; nan where one of them is 0."""


def cosine(inner, norm, start_norm):
    """inner / (norm start_norm), clipped to [-1, 1]; nan where a norm is 0."""
    product = norm * start_norm
    known = product > 0
    return np.where(known, np.clip(inner / np.where(known, product, 1.0), -1.0, 1.0), np.nan)


class LinearSolution(Solution):
    """Linear models.

    Parameters
    ----------
    path, poison_weights, method, residuals
        As in :class:`Solution`.
    W : ndarray of shape (n_weights, n_outputs, n_parameters)
        Coefficients and, if there is one, intercept.
    start : ndarray of shape (n_outputs, n_parameters)
        The same at beta = 0.
    rates : callable
        Gives d W / d beta from the right, of the shape of W; called once, when asked.
    first_breakpoint : float or None
        Hinge machines: the poison weight at which the first row changes sets, at most 1.
    """

    def __init__(
        self, path, poison_weights, method, residuals, W, start, rates, first_breakpoint=None
    ):
        super().__init__(path, poison_weights, method, residuals)
        self.W, self.start, self._rates = W, start, rates
        self.first_breakpoint = first_breakpoint

    def take(self, position):
        """The solution at some of its weights, by their positions, in this order."""
        return LinearSolution(
            self.path,
            self.poison_weights[position],
            self.method,
            self.residuals[position],
            self.W[position],
            self.start,
            partial(_rates_at, self, position),
            self.first_breakpoint,
        )

    @cached_property
    def W_rate(self):
        """d W / d beta from the right, shape (n_weights, n_outputs, n_parameters)."""
        return self._rates()

    def _split(self, W):
        return _split(W, self.path.estimator.fit_intercept)

    @property
    def coef(self):
        """Coefficients, shape (n_weights, n_outputs, n_features)."""
        return self._split(self.W)[0]

    @property
    def intercept(self):
        """Intercepts, shape (n_weights, n_outputs)."""
        return self._split(self.W)[1]

    def at_rows(self, rows):
        return self._apply(self.W, rows)

    def tangent_at_rows(self, rows):
        return self._apply(self.W_rate, rows)

    def _apply(self, W, rows):
        return linear_values(W, rows, self.path.estimator.fit_intercept)

    @property
    def norm(self):
        return np.sqrt(np.sum(self.coef**2, axis=(1, 2)))

    @property
    def cosine(self):
        start = self._split(self.start)[0]
        inner = np.sum(self.coef * start, axis=(1, 2))
        return cosine(inner, self.norm, np.sqrt(np.sum(start**2)))


def _split(W, fit_intercept):
    return (W[..., :-1], W[..., -1]) if fit_intercept else (W, np.zeros(W.shape[:-1]))


def linear_values(W, rows, fit_intercept):
    """Decision values (n_weights, n_rows, n_outputs) of W (n_weights, n_outputs, n_parameters)."""
    coef, intercept = _split(W, fit_intercept)
    flat = coef.reshape(-1, coef.shape[-1])
    F = np.asarray(rows @ flat.T).T  # one product for all weights
    return (F.reshape(*coef.shape[:2], -1) + intercept[:, :, None]).transpose(0, 2, 1)


def _rates_at(solution, position):
    return solution.W_rate[position]


class KernelSolution(Solution):
    r"""Kernel machines, :math:`f(x) = \sum_i v_i K(x, x_i) + b` for each pair of classes.

    Parameters
    ----------
    path, poison_weights, method, residuals
        As in :class:`Solution`.
    kernel : Kernel
        Over all training rows of weight above 0, clean ones first, then poison.
    dual_coef, dual_coef_rate : ndarrays of shape (n_weights, n_rows, n_outputs)
        The signed dual coefficients v and their right derivatives.
    centred_intercept, centred_intercept_rate : ndarrays of shape (n_weights, n_outputs)
        The intercept that goes with the centred kernel, and its right derivative.
    squared_norm, inner : ndarrays of shape (n_weights,)
        v^T K v, and v_0^T K v with v_0 at beta = 0, summed over the outputs.
    start_dual_coef : ndarray of shape (n_rows, n_outputs)
        v_0.
    start_norm : float
        The norm at beta = 0.
    first_breakpoint : float or None
        The poison weight at which the first row changes sets, at most 1.
    """

    def __init__(
        self,
        path,
        poison_weights,
        method,
        residuals,
        *,
        kernel,
        dual_coef,
        dual_coef_rate,
        centred_intercept,
        centred_intercept_rate,
        squared_norm,
        inner,
        start_dual_coef,
        start_norm,
        first_breakpoint,
    ):
        super().__init__(path, poison_weights, method, residuals)
        self.kernel, self.dual_coef, self._centred = kernel, dual_coef, centred_intercept
        self._rates = dual_coef_rate, centred_intercept_rate
        self._squared_norm, self._inner = squared_norm, inner
        self.start_dual_coef, self._start_norm = start_dual_coef, start_norm
        self.first_breakpoint = first_breakpoint

    def take(self, position):
        """The solution at some of its weights, by their positions, in this order."""
        new = copy(self)
        for name in ("poison_weights", "residuals", "dual_coef", "_centred"):
            setattr(new, name, getattr(self, name)[position])
        new._rates = tuple(None if rate is None else rate[position] for rate in self._rates)
        new._squared_norm, new._inner = self._squared_norm[position], self._inner[position]
        return new

    @property
    def dual_coef_rate(self):
        """Right derivative of `dual_coef`; an error where it was not followed."""
        return self._followed()[0]

    @property
    def intercept(self):
        """b, shape (n_weights, n_outputs)."""
        return self._centred - np.tensordot(self.dual_coef, self.kernel.offset, axes=(1, 0))

    @property
    def intercept_rate(self):
        """Right derivative of `intercept`; an error where it was not followed."""
        v_rate, b_rate = self._followed()
        return b_rate - np.tensordot(v_rate, self.kernel.offset, axes=(1, 0))

    def _followed(self):
        if self._rates[0] is None:
            raise ValueError(
                f"No tangent: these fits are by {self.method!r}, which follows no derivative (see"
                " the notes of weight_path on when). Use fewer training rows, or take differences"
                " of decision_function."
            )
        unknown = np.isnan(self._rates[1]).any(axis=1)
        if np.any(unknown):
            raise ValueError(
                f"No tangent at poison weights {self.poison_weights[unknown].tolist()}: the SVM is"
                " degenerate there, and its right derivative was not found. Scale the features,"
                " lower C, or take differences of decision_function."
            )
        return self._rates

    def at_rows(self, rows):
        return self._apply(self.dual_coef, self._centred, rows)

    def tangent_at_rows(self, rows):
        return self._apply(*self._followed(), rows)

    def _apply(self, v, b, rows):
        used = np.flatnonzero(np.any(v != 0, axis=(0, 2)))
        K = self.kernel.at(rows)(used).T
        flat = v[:, used].transpose(1, 0, 2).reshape(len(used), len(v) * v.shape[2])
        F = (K @ flat).reshape(K.shape[0], *v.shape[::2]).transpose(1, 0, 2)
        return F + b[:, None, :]

    @property
    def norm(self):
        return np.sqrt(np.maximum(self._squared_norm, 0.0))

    @property
    def cosine(self):
        return cosine(self._inner, self.norm, self._start_norm)


class RefitSolution(Solution):
    """Any learner, fitted anew at each weight.

    Parameters
    ----------
    path, poison_weights
        As in :class:`Solution`.
    estimators : list of fitted estimators
        One a weight.
    """

    def __init__(self, path, poison_weights, estimators):
        super().__init__(path, poison_weights, "refit", None)
        self.estimators = estimators

    def take(self, position):
        """The solution at some of its weights, by their positions, in this order."""
        fits = [self.estimators[i] for i in position]
        return RefitSolution(self.path, self.poison_weights[position], fits)

    @property
    def start(self):
        """The fit at beta = 0."""
        return self.path.fitted

    def at_rows(self, rows):
        return np.stack([self.path.decision_values(fit, rows) for fit in self.estimators])

    def tangent_at_rows(self, rows):
        first = np.minimum(self.poison_weights, 1.0 - DEFAULT_H)
        sides = [
            self.path.refits(side, drop_poison=False).at_rows(rows)
            for side in (first, first + DEFAULT_H)
        ]
        return (sides[1] - sides[0]) / DEFAULT_H

    def labels(self, rows, F):
        return np.stack([self.path.predict(fit, rows) for fit in self.estimators])

    @property
    def has_weights(self):
        return self.path.has_weights(self.estimators[0])

    def _check_weights(self, name, known):
        """An AttributeError, as of any attribute that is not there, unless it is `known`."""
        if not known:
            raise AttributeError(
                f"Fits of {type(self.path.estimator).__name__} have no {name}: they are no linear"
                " functions of the features. The fits themselves are in `estimators`."
            )

    @property
    def coef(self):
        """Coefficients of linear learners, shape (n_weights, n_outputs, n_features)."""
        weights = [self.path.weights(fit) for fit in self.estimators]
        self._check_weights("coef", weights[0] is not None)
        return np.stack(weights)

    @property
    def intercept(self):
        """Intercepts of linear learners, shape (n_weights, n_outputs)."""
        self._check_weights("intercept", hasattr(self.estimators[0], "intercept_"))
        return np.stack([np.ravel(fit.intercept_) for fit in self.estimators])

    @cached_property
    def norm(self):
        self._check_weights("norm", self.has_weights)
        return np.sqrt([max(self.path.inner(fit, fit), 0.0) for fit in self.estimators])

    @property
    def cosine(self):
        self._check_weights("cosine", self.has_weights)
        inner = np.array([self.path.inner(self.start, fit) for fit in self.estimators])
        start_norm = np.sqrt(max(self.path.inner(self.start, self.start), 0.0))
        return cosine(inner, self.norm, start_norm)
