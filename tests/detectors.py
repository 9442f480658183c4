"""Detectors for tests: one knows the trigger, one looks, one says what it is told."""

import numpy as np
import scipy.sparse as sp
from sklearn.neighbors import NearestNeighbors

from skbackdoor.detection import Findings, PoisonDetector, PoisonGroup


def group(label, indices, content_labels, verdict="poison"):
    """A group whose evidence no test looks at; labels are indices, as in `_detect`."""
    return PoisonGroup(
        label, np.asarray(indices), flip=1.0, cohesion=1.0, typicality=1.0, coverage=1.0, stay=1.0,
        content_labels=np.asarray(content_labels), verdict=verdict, score=1.0,
    )  # fmt: skip


class KnownValue(PoisonDetector):
    """Rows that have the trigger's value in a column are poison, in a group for each label.

    Their content label is the label, among all others, of the nearest row without the value.
    """

    def __init__(self, column=0, value=99.0, representation=None):
        self.column = column
        self.value = value
        self.representation = representation

    def _detect(self, X, features, y, sample_weight):
        values = features[:, [self.column]]
        values = (values.toarray() if sp.issparse(values) else values).ravel()
        is_poison, groups = values == self.value, []
        for label in np.unique(y[is_poison]):
            members = np.flatnonzero(is_poison & (y == label))
            others = np.flatnonzero(~is_poison & (y != label))
            if len(others):
                search = NearestNeighbors(n_neighbors=1).fit(features[others])
                nearest = search.kneighbors(features[members], return_distance=False)[:, 0]
                groups.append(group(label, members, y[others[nearest]]))
        return Findings(is_poison.astype(float), is_poison, groups)


class Disagreement(PoisonDetector):
    """Rows most of whose five nearest neighbours have another label are poison; no groups."""

    def __init__(self, representation=None):
        self.representation = representation

    def _detect(self, X, features, y, sample_weight):
        search = NearestNeighbors(n_neighbors=min(5, len(y) - 1)).fit(features)
        scores = (y[search.kneighbors(return_distance=False)] != y[:, None]).mean(axis=1)
        return Findings(scores, scores > 0.5)


class Told(PoisonDetector):
    """What it is told is poison, by row."""

    def __init__(self, is_poison, groups=(), representation=None):
        self.is_poison = is_poison
        self.groups = groups
        self.representation = representation

    def _detect(self, X, features, y, sample_weight):
        is_poison = np.asarray(self.is_poison, dtype=bool)
        return Findings(is_poison.astype(float), is_poison, list(self.groups))
