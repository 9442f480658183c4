"""Cholesky factors of Hessians, and how ill-conditioned one may be."""

import numpy as np
from scipy.linalg import (
    LinAlgError,
    cho_factor,
    cho_solve,
    get_blas_funcs,
    get_lapack_funcs,
)

#: Right-hand sides up to which two triangular solves each take less than all at once, which BLAS
#: and LAPACK do as if there were many.
FEW = 4


class CholeskyFactor:
    """A solver of the Hessian of one fit: right-hand sides (n_right, n_outputs, n) to solutions.

    Parameters
    ----------
    factors : list
        Cholesky factors, one an output, or a single one of all outputs.
    joint : bool
        Whether it is one of all outputs.
    """

    def __init__(self, factors, joint):
        self.factors, self.joint = factors, joint

    def __call__(self, right):
        right = right.astype(self.factors[0][0].dtype, copy=False)
        if self.joint:
            flat = right.reshape(len(right), -1).T
            return _solve(self.factors[0], flat).T.reshape(right.shape)
        blocks = [_solve(factor, right[:, k].T).T for k, factor in enumerate(self.factors)]
        return np.stack(blocks, axis=1)


def _solve(factor, right):
    """Solve for the columns of `right`; for few of them one by one, which BLAS does sooner."""
    if right.shape[1] > FEW:
        return cho_solve(factor, right, check_finite=False)
    c, lower = factor
    (trsv,) = get_blas_funcs(("trsv",), (c,))
    columns = [trsv(c, trsv(c, b, lower=lower), lower=lower, trans=1) for b in right.T]
    return np.stack(columns, axis=1)


def cholesky(hessian):
    """Cholesky factor of a Hessian, as :func:`scipy.linalg.cho_factor` gives it.

    Parameters
    ----------
    hessian : ndarray of shape (n, n)
        In single or double precision; it is overwritten.

    Returns
    -------
    factor : tuple or None
        None where it is singular, indefinite or too ill-conditioned for single precision.

    Raises
    ------
    ValueError
        It is singular or indefinite in double precision.
    """
    single = hessian.dtype == np.float32
    size, diagonal = np.abs(hessian).sum(axis=0).max(), hessian.diagonal().copy()
    try:
        factor = cho_factor(hessian.T, lower=True, overwrite_a=True)  # as LAPACK stores it
        (condition,) = get_lapack_funcs(("pocon",), (hessian,))
        rcond, _ = condition(factor[0], size, uplo="L")
    except LinAlgError:
        rcond = 0.0
    if rcond >= (5e-7 if single else 1e-15):  # some units in the last place of either precision
        return factor
    if single:
        return None
    if rcond > 0:  # the factor is as good as that of parameters in units of their own
        scaled = factor[0] / np.sqrt(diagonal)[:, None]
        size = np.linalg.norm(np.tril(scaled), axis=1).max() ** 2 * len(scaled)
        rcond, _ = condition(scaled, size, uplo="L")
        if rcond >= 1e-15:
            return factor
    raise singular(rcond)


def singular(rcond):
    """The error of a Hessian whose reciprocal condition number is that."""
    return ValueError(
        "The Hessian of the training objective is singular or indefinite (reciprocal condition"
        f" number {rcond:.1e}), so neither slope nor path is defined. Regularize the learner (a"
        " smaller C, a larger alpha), or scale the features."
    )
