"""Random subsets of published data: their labels, their sizes, and how they are returned."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar


def check_labels(given, what, n_labels=None, n_known=10):
    """The labels asked for, sorted; of so many `what` in all."""
    known = f"{'different' if n_labels is None else n_labels} {what} from 0 to {n_known - 1}"
    problem = f"{what}={given!r} must be {known}, such as ({min(7, n_known - 1)}, 1)."
    if given is None and n_labels is None:
        return np.arange(n_known)
    try:
        labels = sorted(given)
    except TypeError as error:
        raise TypeError(problem) from error
    if not all(isinstance(label, Integral) and 0 <= label < n_known for label in labels):
        raise ValueError(problem)
    if not labels or len(set(labels)) < len(labels) or len(labels) != (n_labels or len(labels)):
        raise ValueError(problem)
    return np.array(labels)


def check_sizes(n_train, n_test):
    for name, n_samples in (("n_train", n_train), ("n_test", n_test)):
        if n_samples is not None:
            check_scalar(n_samples, name, Integral, min_val=1)


def draw_rows(target, labels, what, part, n_samples, rng):
    """Rows of some labels: all in their order, or `n_samples` of them at random."""
    rows = np.flatnonzero(np.isin(target, labels))
    if n_samples is None:
        return rows
    if n_samples > len(rows):
        raise ValueError(
            f"n_{part}={n_samples} is more than the {len(rows)} samples of {what}"
            f" {labels.tolist()} there are: ask for fewer, or pass None for all of them."
        )
    return rng.permutation(rows)[:n_samples]


def as_asked(bunch, return_X_y):
    if return_X_y:
        return bunch.X_train, bunch.y_train, bunch.X_test, bunch.y_test
    return bunch
