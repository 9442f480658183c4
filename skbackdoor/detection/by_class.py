"""The rows of each class, for detectors that look at one class at a time."""

import numpy as np

from ..once import warn_once

#: Rows below which nothing is said of a class.
LEAST = 8


def rows_by_class(y, classes, detector):
    """The classes that have rows enough; one warning names the others.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Label indices.
    classes : ndarray of shape (n_classes,)
        The labels.
    detector : str
        Who asks, for the warning.

    Returns
    -------
    rows : dict of int to ndarray
        Label index to its rows, increasing.
    """
    rows = {label: np.flatnonzero(y == label) for label in range(len(classes))}
    small = [label for label in rows if len(rows[label]) < LEAST]
    if small:
        warn_once(
            f"small classes {detector}",
            f"{detector} says nothing of classes with fewer than {LEAST} rows:"
            f" {classes[small].tolist()}.",
            stacklevel=4,
        )
    return {label: rows[label] for label in rows if label not in small}
