"""Solves with the Hessian of one fit."""

import numpy as np

from .hessian import FACTOR_PRODUCTS

#: Right-hand sides beyond which a factor in double precision is cheaper than one in single
#: precision and iterating: 49 and 44 ms for 16 of 785 unknowns, on 1,500 rows.
MANY_RIGHT_SIDES = 16


class HessianSolver:
    """H^-1 times blocks of right-hand sides, to a given accuracy.

    Up to `DENSE_UNKNOWNS` unknowns by conjugate gradients that a factor preconditions, or by a
    factor in double precision; beyond by conjugate gradients alone.

    Parameters
    ----------
    hessian : Hessian
        Of one fit.
    rtol : float, default=None
        Relative residual of conjugate gradients; None for as exact as can be.
    factor : CholeskyFactor, default=None
        Of a Hessian at other decision values, to precondition with while it serves.

    Attributes
    ----------
    factor : CholeskyFactor or None
        The last that served.
    exact : CholeskyFactor or None
        Of this very Hessian, in double precision; made once, where one is needed.
    """

    def __init__(self, hessian, rtol=None, factor=None):
        self.hessian, self.rtol, self.factor, self.exact = hessian, rtol, factor, None

    def __call__(self, right):
        """Solve for each block.

        Parameters
        ----------
        right : ndarray of shape (n_right, n_outputs, n_parameters)
            Right-hand sides, solved side by side.

        Returns
        -------
        solution : ndarray of shape (n_right, n_outputs, n_parameters)

        Raises
        ------
        ValueError
            The Hessian is singular or indefinite.
        """
        if not self.hessian.can_factorise:
            return self.hessian.cg_alone(right, self.rtol or 1e-12, max(1e-6, self.rtol or 0.0))
        if len(right) <= MANY_RIGHT_SIDES:
            rtol, accepted = (1e-13, 1e-12)
            if self.rtol is not None:
                rtol, accepted = self.rtol, max(self.rtol, 1e-6)
            given = [] if self.factor is None else [self.factor]
            for factor in (*given, None):  # then one of this very Hessian
                self.factor = self.hessian.factorise() if factor is None else factor
                solution, left = self.hessian.cg(right, rtol, FACTOR_PRODUCTS, self.factor)
                if np.all(left <= accepted):
                    return solution
        if self.exact is None:
            self.factor = self.exact = self.hessian.factorise(exact=True)
        return self.exact(right)
