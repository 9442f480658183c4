"""Conjugate gradients for several right-hand sides that share each product."""

import numpy as np


def conjugate_gradients(product, right, rtol, max_iter, precondition=None):
    """Solve product(x_r) = right_r for each block r, each with its own step sizes.

    Parameters
    ----------
    product : callable
        A symmetric positive definite operator, from (n_right, n_outputs, n_parameters) to the same
        shape; it may be another one for each block.
    right : ndarray of shape (n_right, n_outputs, n_parameters)
        Right-hand sides, each of norm 1 or 0.
    rtol : float or ndarray of shape (n_right,)
        Relative residuals at which to stop.
    max_iter : int
        Most products.
    precondition : callable, default=None
        An approximate inverse, of the same shapes.

    Returns
    -------
    solution : ndarray of shape (n_right, n_outputs, n_parameters)
    left : ndarray of shape (n_right,)
        The relative residuals reached.
    """

    def dot(a, b):
        return np.sum(a * b, axis=(1, 2))[:, None, None]

    def steps(numerator, denominator):
        return np.divide(
            numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0
        )

    limit = np.broadcast_to(rtol, len(right))[:, None, None]
    x, r = np.zeros_like(right), right
    left = np.sqrt(dot(r, r))
    p, old = None, None
    for _ in range(max_iter):
        going = left > limit
        if not going.any():
            break
        z = r if precondition is None else precondition(r)
        new = dot(r, z)
        p = z if p is None else z + steps(new, old) * p
        q = product(p)
        size = np.where(going, steps(new, dot(p, q)), 0.0)
        x, r, old = x + size * p, r - size * q, new
        left = np.where(going, np.sqrt(dot(r, r)), left)
    return x, left.ravel()
