r"""The Hessian of a linear model's training objective at given decision values.

With :math:`R_i = s_i \ell''(F_i) (Z V^T)_i` of shape (n_samples, n_outputs) its product with
parameters V is

.. math:: H V = R^T Z + \alpha [V, \gamma v_b].

A softmax model is the same if one constant is added to all of its intercepts. Where these are free
that direction has no curvature; no right-hand side has a part in it. H is given the curvature
:math:`\sum_i s_i / n_{outputs}` there, so that it has an inverse and rounding stays out of it.
"""

from copy import copy

import numpy as np

from ..threads import one_blas_thread
from .cholesky import CholeskyFactor, cholesky
from .conjugate_gradients import conjugate_gradients

#: Up to so many unknowns a dense Hessian is factorised. On 1,500 rows a factor and the iterations
#: that it preconditions take a tenth of conjugate gradients alone at 1,200, as long at 2,400.
DENSE_UNKNOWNS = 1200
#: Relative residual that conjugate gradients reach in single precision, whose rounding is 6e-8.
SINGLE_RTOL = 1e-5
#: Products that conjugate gradients take by one factor, before another is made: that costs as much
#: as 6 to 18 of them, on 1,500 or 6,000 rows and up to 1,200 unknowns.
FACTOR_PRODUCTS = 25


class Hessian:
    """The Hessian of an objective, of one fit or of several side by side.

    Parameters
    ----------
    objective : LinearObjective
        With weights of shape (n_samples,), or (n_fits, n_samples).
    F : ndarray of shape (n_samples, n_outputs) or (n_fits, n_samples, n_outputs)
        The decision values at which it is taken.
    """

    def __init__(self, objective, F):
        self.loss, self.design = objective.loss, objective.design
        self.weight, self.penalty = objective.weight, objective.penalty
        self.curvature = self.loss.curvature(F, objective.y)
        self.n_outputs = F.shape[-1]
        #: Whether all outputs have one Hessian (softmax); else each has its own.
        self.joint = self.n_outputs > 1 and not self.loss.decouples
        free = self.design.fit_intercept and self.penalty[-1] == 0
        #: Whether all intercepts plus one constant is the same model.
        self.shifts = free and not self.loss.decouples

    def of(self, fits):
        """The Hessian of one of the fits, or of some of them."""
        other = copy(self)
        other.weight, other.curvature = self.weight[fits], self.curvature[fits]
        return other

    @property
    def single(self):
        """The same in single precision; dense designs only."""
        other = copy(self)
        other.design = self.design.single
        for name in ("weight", "penalty", "curvature"):
            setattr(other, name, getattr(self, name).astype(np.float32))
        return other

    def product(self, V):
        """H V for blocks V of shape (n_right, n_outputs, n_parameters)."""
        R = self.weight[..., None] * self.loss.hessian_product(
            self.curvature, self.design.product(V)
        )
        back = self.design.adjoint(R) + self.penalty * V
        if self.shifts:
            # in double precision: a single-precision factor hands over directions of its own kind
            shift = self._shift_curvature * V[:, :, -1].sum(axis=1, dtype=np.float64)
            back[:, :, -1] += np.expand_dims(shift, 1)
        return back

    @property
    def _shift_curvature(self):
        return self.weight.sum(axis=-1, dtype=np.float64) / self.n_outputs

    # -- factors ------------------------------------------------------------------------------

    @property
    def can_factorise(self):
        """Whether it is small enough to be formed, or has no penalty, which leaves no choice."""
        n_unknowns = len(self.penalty) * (self.n_outputs if self.joint else 1)
        return n_unknowns <= DENSE_UNKNOWNS or not self.penalty.any()

    def factorise(self, exact=False):
        """A solver of the Hessian of one fit.

        Parameters
        ----------
        exact : bool, default=False
            Whether in double precision. Else it is in single precision, which is faster, where
            the Hessian's condition allows: good enough to precondition.

        Returns
        -------
        factor : CholeskyFactor

        Raises
        ------
        ValueError
            The Hessian is singular or indefinite.
        """
        if not exact and not self.design.is_sparse:
            factors = self.single._factors()
            if None not in factors:
                return CholeskyFactor(factors, self.joint)
        return CholeskyFactor(self._factors(), self.joint)

    def _factors(self):
        if self.joint:
            return [cholesky(self._of_all_outputs())]
        factors, curvature = [], self.curvature
        for k in range(self.n_outputs):
            if k > 0 and np.array_equal(curvature[:, k], curvature[:, 0]):
                factors.append(factors[0])  # ridge: the Hessian knows no labels
            else:
                factors.append(cholesky(self._of_output(k)))
        return factors

    def _of_output(self, k):
        """Matrix of one output, shape (n_parameters, n_parameters)."""
        hessian = self.design.gram(self.weight * self.curvature[:, k])
        hessian[np.diag_indices_from(hessian)] += self.penalty
        return hessian

    def _of_all_outputs(self):
        """Matrix of all outputs at once, of n_outputs * n_parameters rows and columns."""
        n_outputs, n_parameters = self.n_outputs, len(self.penalty)
        hessian = np.zeros((n_outputs, n_parameters, n_outputs, n_parameters), self.penalty.dtype)
        for k in range(n_outputs):
            unit = np.zeros_like(self.curvature)
            unit[:, k] = 1.0
            block = self.loss.hessian_product(self.curvature, unit)  # d^2 loss / dF_j dF_k
            for j in range(k + 1):
                gram = self.design.gram(self.weight * block[:, j])
                hessian[k, :, j, :] = hessian[j, :, k, :] = gram
            hessian[k, :, k, :] += np.diag(self.penalty)
        if self.shifts:
            hessian[:, -1, :, -1] += self._shift_curvature
        size = n_outputs * n_parameters
        return hessian.reshape(size, size)

    # -- conjugate gradients ------------------------------------------------------------------

    def cg(self, right, rtol, max_iter, precondition=None):
        """Conjugate gradients on Hessian-vector products.

        Parameters
        ----------
        right : ndarray of shape (n_right, n_outputs, n_parameters)
            Right-hand sides, of one fit or one of each; they share each pass over the rows.
        rtol : float or ndarray of shape (n_right,)
            Relative residuals at which to stop.
        max_iter : int
            Most products.
        precondition : callable, default=None
            An approximate solver, as :meth:`factorise` gives it. With one, residuals of
            `SINGLE_RTOL` and more are reached in single precision.

        Returns
        -------
        solution : ndarray of shape (n_right, n_outputs, n_parameters)
        left : ndarray of shape (n_right,)
            The relative residuals reached.
        """
        norms = np.linalg.norm(right, axis=(1, 2))[:, None, None]
        norms[norms == 0] = 1.0
        right, hessian = right / norms, self
        single = precondition is not None and np.min(rtol) >= SINGLE_RTOL
        if single and not self.design.is_sparse:
            right, hessian = right.astype(np.float32), self.single
        with one_blas_thread(hessian.design.X):
            solution, left = conjugate_gradients(
                hessian.product, right, rtol, max_iter, precondition
            )
        return solution * norms, left

    def cg_alone(self, right, rtol, accepted):
        """Conjugate gradients without a preconditioner, to a relative residual that is accepted.

        Raises
        ------
        ValueError
            They do not get there.
        """
        limit = 20 * right.shape[2] + 200
        solution, left = self.cg(right, rtol, limit)
        if not np.all(left <= accepted):
            raise ValueError(
                "The Hessian of the training objective is singular or too ill-conditioned:"
                f" conjugate gradients did not converge in {limit} products. Use a stronger"
                " regularization or scale the features."
            )
        return solution
