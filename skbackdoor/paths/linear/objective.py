r"""The training objective of a linear model with a smooth loss and an l2 penalty.

Ridge, logistic regression and the squared-hinge SVM are all

.. math:: J(W, b) = \sum_i s_i\, \ell(F_i, y_i)
          + \frac{\alpha}{2} \left(\|W\|^2 + \gamma \|b\|^2\right), \quad F = X W^T + b

with sample weights s, penalty alpha > 0 and gamma = 0 where the intercept is free. With
G_i = s_i d loss / d F_i (n_samples, n_outputs) and Z = [X, 1] its gradient is
G^T Z + alpha [W, gamma b], of shape (n_outputs, n_parameters).
"""

from copy import copy

import numpy as np


class LinearObjective:
    """The objective J of the module's docstring.

    Parameters
    ----------
    design : DesignMatrix
        Z, n_samples rows.
    y : ndarray of shape (n_samples,)
        Label indices.
    weight : ndarray of shape (..., n_samples)
        The weights s >= 0; leading axes are fits side by side.
    loss : object
        A smooth loss of :mod:`skbackdoor.paths.losses`.
    alpha : float
        Penalty, >= 0.
    intercept_penalty : float, default=0.0
        The factor gamma.

    Attributes
    ----------
    penalty : ndarray of shape (n_parameters,)
        alpha, for the intercept alpha gamma.
    """

    def __init__(self, design, y, weight, loss, alpha, intercept_penalty=0.0):
        self.design, self.y, self.weight, self.loss = design, y, weight, loss
        self.penalty = np.full(design.n_parameters, alpha)
        if design.fit_intercept:
            self.penalty[-1] = alpha * intercept_penalty

    def reweighted(self, weight):
        """The same objective with other sample weights."""
        other = copy(self)
        other.weight = weight
        return other

    def decision(self, W):
        """F (..., n_samples, n_outputs) at parameters W (..., n_outputs, n_parameters)."""
        return self.design.product(W)

    def data_term(self, F):
        """Sum of the weighted losses at decision values F, of shape (...)."""
        return np.sum(self.weight * self.loss.value(F, self.y), axis=-1)

    def raw_gradient(self, F):
        """G, the gradient of the data term in F, of the shape of F."""
        return self.weight[..., None] * self.loss.gradient(F, self.y)

    def value(self, W, F):
        """J at parameters W whose decision values are F, of shape (...)."""
        return self.data_term(F) + 0.5 * np.sum(self.penalty * W * W, axis=(-1, -2))

    def gradient(self, W, F):
        """Gradient of J at parameters W whose decision values are F, of the shape of W."""
        return self.design.adjoint(self.raw_gradient(F)) + self.penalty * W
