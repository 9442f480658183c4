"""Parameters and decision values of a fitted linear learner of scikit-learn."""

import numpy as np


def parameters(fitted):
    """Coefficients and, if there is one, intercept: shape (n_outputs, n_parameters)."""
    coef = np.atleast_2d(np.asarray(fitted.coef_, dtype=np.float64))
    if not fitted.fit_intercept:
        return coef
    intercept = np.ravel(np.asarray(fitted.intercept_, dtype=np.float64))
    return np.column_stack([coef, intercept])


def linear_decision(fitted, X):
    """X W^T + b, shape (n_samples, n_outputs)."""
    W = parameters(fitted)
    F = np.asarray(X @ W[:, : X.shape[1]].T)
    return F + W[:, -1] if fitted.fit_intercept else F
