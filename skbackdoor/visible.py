"""Whether a learner, behind its preprocessing, can see a trigger at all."""

import numpy as np
import scipy.sparse as sp
from sklearn.pipeline import Pipeline

from ._compat import _num_samples, _safe_indexing
from .once import warn_once


def warn_of_unseen_trigger(poisoner, prepare, X, X_triggered, prepared=None):
    """Warn if triggered samples reach the learner as the clean ones that they come from.

    Parameters
    ----------
    poisoner : BackdoorPoisoner
        Whose trigger it is.
    prepare : callable
        From raw samples to what the learner sees.
    X, X_triggered : array-likes of shape (n_samples, ...)
        The samples without and with the trigger.
    prepared : array-like of shape (n_samples, ...), default=None
        ``prepare(X_triggered)``, where it is there already.
    """
    n_samples = _num_samples(X_triggered)
    # Four samples first: where the trigger shows on one of them, that is the end of it.
    for rows in (np.arange(min(4, n_samples)), np.arange(n_samples)):
        clean = prepare(_safe_indexing(X, rows))
        if prepared is None:
            shown = prepare(_safe_indexing(X_triggered, rows))
        else:
            shown = _safe_indexing(prepared, rows)
        if not _alike(clean, shown):
            return
    trigger = poisoner.trigger
    if isinstance(poisoner.estimator, Pipeline) and len(poisoner.estimator.steps) > 1:
        steps = ", ".join(repr(step) for step, _ in poisoner.estimator.steps[:-1])
        why = (
            f"cannot be seen behind the preprocessing (steps {steps}): triggered test samples"
            " come out of it as the clean ones do. Give a trigger that it keeps, such as a token"
            " that is in its vocabulary or values of a column that it does not drop, or change"
            " the preprocessing"
        )
    else:
        why = (
            "changes none of the test samples: they have its values already, or it does nothing."
            " Give it other values, another place or more opacity"
        )
    warn_once(
        f"{trigger!r} {why}",
        f"The trigger {trigger!r} {why}. As it is, the poisoned rows differ by their labels only,"
        " and slope, curve and attack success say nothing about the trigger.",
        stacklevel=3,
    )


def _alike(first, second):
    """Whether two sets of samples are the same but for rounding (of products of other sizes)."""
    if sp.issparse(first) and sp.issparse(second):
        if first.shape != second.shape:
            return False
        difference = abs(first - second)
        return difference.nnz == 0 or difference.max() <= _rounding(first)
    if sp.issparse(first) or sp.issparse(second):
        return False
    if hasattr(first, "iloc") and hasattr(second, "iloc"):
        first, second = first.to_numpy(), second.to_numpy()
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape:
        return False
    if first.dtype.kind in "fiub" and second.dtype.kind in "fiub":
        return np.allclose(first, second, rtol=0, atol=_rounding(first), equal_nan=True)
    same = first == second
    return bool(np.all(same | ((first != first) & (second != second))))


def _rounding(X):
    """The size of rounding errors in X."""
    if X.dtype.kind != "f" or 0 in X.shape:
        return 0.0
    largest = abs(X).max() if sp.issparse(X) else np.nanmax(np.abs(X), initial=0.0)
    return float(largest) * np.finfo(X.dtype).eps ** 0.75
