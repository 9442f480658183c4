"""Decision values of any fitted classifier, of rows and of rows that were changed."""

import numpy as np
import scipy.sparse as sp

from .._compat import LinearClassifierMixin, _num_samples
from .changes import changed_rows, is_text

#: Rows that are predicted at a time.
BLOCK = 20_000


def scores(model, X):
    """One number a class, the largest that of the predicted class.

    Parameters
    ----------
    model : fitted classifier
    X : array-like of shape (n_samples, ...)

    Returns
    -------
    scores : ndarray of shape (n_samples, n_classes)
        Decision values, else probabilities, else 1 for the predicted class.
    """
    n_classes = len(model.classes_)
    for method in ("decision_function", "predict_proba"):
        if hasattr(model, method):
            values = np.asarray(getattr(model, method)(X), dtype=float)
            values = np.column_stack([-values, values]) if values.ndim == 1 else values
            if values.shape[1] == n_classes:  # else one-vs-one
                return values
    return (np.asarray(model.predict(X))[:, None] == model.classes_).astype(float)


def changed_scores(model, X, changes):
    """Scores of all rows under each of some changes.

    Of a linear model on dense numbers in closed form, F + W (v - x); of all others by prediction.

    Parameters
    ----------
    model : fitted classifier
    X : array-like of shape (n_samples, ...)
    changes : list of Change

    Returns
    -------
    scores : ndarray of shape (n_changes, n_samples, n_classes)
    """
    n, n_classes = _num_samples(X), len(model.classes_)
    out = np.empty((len(changes), n, n_classes))
    if isinstance(model, LinearClassifierMixin) and not (is_text(X) or sp.issparse(X)):
        out[:] = scores(model, X)
        W = np.atleast_2d(model.coef_)
        W = np.vstack([-W, W]) if len(W) == 1 else W
        numbers = np.asarray(X, dtype=float).reshape(n, -1)
        for change, values in zip(changes, out, strict=True):
            columns, new = [j for j, _ in change.values], [value for _, value in change.values]
            values += (np.array(new, dtype=float) - numbers[:, columns]) @ W[:, columns].T
        return out
    size = max(1, BLOCK // n)
    for start in range(0, len(changes), size):
        part = changes[start : start + size]
        values = scores(model, changed_rows(X, part))
        out[start : start + size] = values.reshape(len(part), n, n_classes)
    return out


def margins(values):
    """By how much each class leads the best other one, in the last axis.

    Parameters
    ----------
    values : ndarray of shape (..., n_classes)

    Returns
    -------
    margins : ndarray of shape (..., n_classes)
        Positive for the predicted class.
    """
    two = np.sort(values, axis=-1)[..., -2:]
    best = np.where(values == two[..., 1:], two[..., :1], two[..., 1:])
    return values - best
