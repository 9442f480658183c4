"""How far from optimal a linear model is: gradient norms, relative to those at zero parameters."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning


class GradientScale:
    r"""The gradient norm at zero parameters, at any poison weight.

    It is the norm of :math:`g + \beta g_p`, with the gradients of clean and poison rows there.
    Where these cancel to rounding, it is :math:`10^{-7}` of the norms of what they are sums of.

    Parameters
    ----------
    clean, poison : LinearObjective
        The objective of the clean rows, and the losses of the poison rows at beta = 1.
    n_outputs : int
        Outputs of the model.
    """

    def __init__(self, clean, poison, n_outputs):
        self.gradients, floor = [], 0.0
        for part in (clean, poison):
            G = part.raw_gradient(np.zeros((len(part.y), n_outputs)))
            self.gradients.append(part.design.adjoint(G))
            floor += 1e-7 * part.design.norm * np.linalg.norm(G)
        self.floor = floor if floor > 0 else 1.0

    def __call__(self, betas):
        """Norms at poison weights betas, of shape (n_fits,)."""
        clean, poison = self.gradients
        norms = np.linalg.norm(clean + betas[:, None, None] * poison, axis=(1, 2))
        return np.maximum(norms, self.floor)


def warn_unless_optimal(residual):
    """Warn where a relative gradient norm, above 1e-8, says that an optimum was not reached."""
    if not residual <= 1e-8:
        warnings.warn(
            f"The optimum was not reached: relative gradient norm {residual:.1e}. Slope and path"
            " assume optimality; scale the features or regularize more.",
            ConvergenceWarning,
            stacklevel=3,
        )
