"""A base learner under its attack: its weight path, and test samples as the learner sees them."""

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone

from .attack import stack_samples
from .learners import label_index, refuse_samplers
from .paths import path_of
from .visible import warn_of_unseen_trigger


def drawn_attack(poisoner, X_train, y_train):
    """A clone of the poisoner whose attack is drawn, and its base learner, not fitted."""
    probe = clone(poisoner).set_params(poison_weight=0.0)
    return probe, probe.draw(X_train, y_train)


def attack_path(poisoner, X_train, y_train):
    """A clone of the poisoner whose attack is drawn, and the path of its base learner.

    Parameters
    ----------
    poisoner : BackdoorPoisoner
        The attack on its base learner.
    X_train, y_train : array-likes of shape (n_train, ...) and (n_train,)
        Clean training data.

    Returns
    -------
    probe : BackdoorPoisoner
        With everything that its attack needs; its base learner is not fitted.
    path : WeightPath
    """
    probe, estimator = drawn_attack(poisoner, X_train, y_train)
    refuse_samplers(estimator)
    path = path_of(estimator, *probe.training_rows())
    _check_size(path, path.rows.clean.X, path.rows.poison.X)
    return probe, path


def clean_path(probe, *others):
    """The path of a poisoner that was fitted with poison weight 0, from that fit as it is.

    Its poison rows are followed by those of others that differ by their triggers.
    """
    refuse_samplers(probe.estimator_)
    clean, poison = probe.training_rows()
    if others:
        copies = [poison, *(other.training_rows()[1] for other in others)]
        X, y, weight = zip(*copies, strict=True)
        weight = None if weight[0] is None else np.concatenate(weight)
        poison = stack_samples(*X), np.concatenate(y), weight
    path = path_of(probe.estimator_, clean, poison, probe.estimator_)
    _check_size(path, path.rows.clean.X, path.rows.poison.X)
    return path


def attacked_rows(probe, path, X_test, y_test):
    """Triggered test samples as the learner sees them, label indices, and their rows of X_test."""
    sources, y_index, rows = probe.attack_.sources(X_test, y_test)
    return *triggered_rows(probe, path, sources, y_index), rows


def triggered_rows(probe, path, sources, y_index):
    """The first two of :func:`attacked_rows`, of what :meth:`Attack.sources` gives."""
    X_triggered, y_target = probe.attack_.triggered_sources(sources, y_index)
    prepared = path.prepare(X_triggered)
    _check_size(path, prepared)
    warn_of_unseen_trigger(probe, path.prepare, sources, X_triggered, prepared)
    return prepared, label_index(y_target, path.rows.classes)


def _check_size(path, *prepared):
    """Raise where features are so large that what is computed of them is not finite."""
    if path.method != "implicit":
        return
    for X in prepared:
        values = X.data if sp.issparse(X) else np.asarray(X)
        if values.dtype.kind != "f" or values.size == 0:
            continue
        values = values.ravel()
        with np.errstate(over="ignore"):  # not by BLAS, whose threads take longer to begin
            size = np.sqrt(np.einsum("i,i", values, values))
        if not size <= 1e18:  # its square is a Hessian's, in single precision up to 3e38
            raise ValueError(
                f"The features that {type(path.estimator).__name__} gets reach"
                f" {np.abs(values).max():.3g}: their products go beyond floating point. Scale"
                " them, for example by a StandardScaler in a Pipeline before the classifier."
            )
