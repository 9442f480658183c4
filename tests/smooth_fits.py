"""Fits of linear learners with a smooth loss, to rounding: normal equations and damped Newton."""

import numpy as np
from scipy.special import expit

LONG = np.longdouble


def augmented(X, intercept):
    """[X, b-column] and the penalty of each coefficient.

    ``intercept`` is None (none), "free" (unpenalised), or the positive scale of a constant feature
    whose coefficient is penalised like the others.
    """
    n, d = X.shape
    if intercept is None:
        return X, np.ones(d)
    scale, penalty = (1.0, 0.0) if intercept == "free" else (float(intercept), 1.0)
    return np.column_stack([X, np.full(n, scale)]), np.append(np.ones(d), penalty)


def norm(vector):
    """Euclidean norm in extended precision."""
    return np.sqrt(np.sum(np.square(vector, dtype=LONG)))


def newton(state, w, *, rounds=200):
    """Minimise by damped Newton; ``state(w)`` gives value, gradient, Hessian, gradient scale.

    Ends at a gradient of 1e-12 of its scale (the sum of the sizes of its terms), and then takes
    the full steps that still shrink it. Values, gradients and w are in extended precision.
    """
    w = w.astype(LONG)
    value, gradient, hessian, scale = state(w)
    for _ in range(rounds):
        step = np.linalg.solve(hessian, gradient.astype(float))
        size, slope = 1.0, gradient @ step
        while True:
            new = state(w - size * step)
            close = norm(gradient) <= 1e-8 * scale
            if new[0] <= value - 1e-4 * size * slope or close or size < 1e-12:
                break
            size /= 2
        before = norm(gradient)
        if before <= 1e-12 * scale and norm(new[1]) >= before / 2:
            return w
        w = w - size * step
        value, gradient, hessian, scale = new
    raise AssertionError(f"Newton: gradient {before:.1e} of scale {scale:.1e}, no end")


def fit_ridge(X, T, S, C, intercept):
    """argmin C sum_i s_i (t_i - f_i)^2 + ||w||^2 / 2 by its normal equations, per column of T."""
    A, penalty = augmented(X, intercept)
    W = [
        np.linalg.solve(2 * C * A.T @ (s[:, None] * A) + np.diag(penalty), 2 * C * A.T @ (s * t))
        for t, s in zip(T.T, S.T)
    ]
    return np.column_stack(W)


def margin_state(A, t, s, C, penalty, loss):
    """State function of C sum_i s_i l(t_i a_i.w) + sum_j penalty_j w_j^2 / 2."""
    A_long, A_size = A.astype(LONG), np.abs(A)

    def state(w):
        value, first, second = loss(t * (A_long @ w))
        residual = C * s * t * first
        gradient = residual @ A_long + penalty * w
        scale = norm(np.abs(residual).astype(float) @ A_size) + norm(penalty * w)
        curvature = (C * s * second).astype(float)
        hessian = A.T @ (curvature[:, None] * A) + np.diag(penalty)
        return C * s @ value + penalty @ w**2 / 2, gradient, hessian, scale

    return state


def logistic_loss(z):
    """log(1 + exp(-z)) with two derivatives."""
    p = expit(-z)
    return np.logaddexp(0, -z), -p, p * expit(z)


def squared_loss(z):
    """(1 - z)^2 with two derivatives."""
    return (1 - z) ** 2, -2 * (1 - z), 2.0 + 0.0 * z


def squared_hinge_loss(z):
    """max(0, 1 - z)^2 with its derivative and a generalised second one."""
    gap = np.maximum(0, 1 - z)
    return gap**2, -2 * gap, 2.0 * (gap > 0)


def fit_margin_loss(X, T, S, C, intercept, loss, start=None):
    """argmin C sum_i s_i l(t_i f_i) + ||w||^2 / 2 by Newton, per column of T."""
    A, penalty = augmented(X, intercept)
    start = np.zeros((A.shape[1], T.shape[1])) if start is None else start
    return np.column_stack(
        [newton(margin_state(A, t, s, C, penalty, loss), w) for t, s, w in zip(T.T, S.T, start.T)]
    )


def fit_softmax(X, Y, s, C, intercept, start=None):
    """argmin C sum_i s_i (log sum_k exp f_ik - f_i,label) + ||W||^2 / 2 by Newton.

    Adding one number to all intercepts changes nothing: that direction gets a unit of curvature.
    """
    A, penalty = augmented(X, intercept)
    p, K = A.shape[1], Y.shape[1]
    null = np.zeros((p, K))
    if intercept is not None:
        null[-1] = 1
    A_long, A_size = A.astype(LONG), np.abs(A)

    def state(w):
        W = w.reshape(p, K)
        F = A_long @ W
        log_P = F - F.max(axis=1, keepdims=True)
        log_P = log_P - np.log(np.sum(np.exp(log_P), axis=1, keepdims=True))
        residual = C * s[:, None] * (np.exp(log_P) - Y)
        gradient = A_long.T @ residual + penalty[:, None] * W
        scale = norm(A_size.T @ np.abs(residual).astype(float)) + norm(penalty[:, None] * W)
        P, hessian = np.exp(log_P).astype(float), np.zeros((p, K, p, K))
        for j in range(K):
            for k in range(K):
                curvature = C * s * P[:, j] * ((j == k) - P[:, k])
                hessian[:, j, :, k] = A.T @ (curvature[:, None] * A)
            hessian[:, j, :, j] += np.diag(penalty)
        hessian = hessian.reshape(p * K, p * K) + np.outer(null, null)
        value = np.sum(penalty @ W**2) / 2 - C * s @ np.sum(Y * log_P, axis=1)
        return value, gradient.ravel(), hessian, scale

    start = np.zeros(p * K) if start is None else start.ravel()
    return newton(state, start).reshape(p, K)
