"""Photographs, compared by features of a frozen network, each computed once."""

from hashlib import blake2b

import numpy as np
from sklearn.preprocessing import normalize

from ..deep import DeepFeatures

#: Images whose features are kept: a few kB each.
KEPT = 20_000


class Features:
    """From images to features of a MobileNetV2, of length 1.

    An audit asks for those of the same images again and again: they are kept, and copies of this
    object (clones of an estimator hold some) share them.

    Parameters
    ----------
    weights : Path
        A state dict.
    side : int
        Of the network's input.
    """

    def __init__(self, weights, side):
        self.weights, self.side = weights, side
        self.network = DeepFeatures("mobilenet_v2", weights=weights, image_size=side, device="cpu")
        self.known = {}

    def fit(self, X):
        """Read the weights."""
        self.network.fit(X)
        return self

    def __call__(self, X):
        X = np.ascontiguousarray(X)
        keys = [blake2b(image, digest_size=16).digest() for image in X]
        new = {key: i for i, key in enumerate(keys) if key not in self.known}
        found = dict.fromkeys(new)
        if new:
            rows = normalize(self.network.transform(X[list(new.values())]))
            found = dict(zip(new, rows, strict=True))
            self.known.update(list(found.items())[: max(0, KEPT - len(self.known))])
        return np.stack([found[key] if key in found else self.known[key] for key in keys])

    def __deepcopy__(self, memo):
        return self

    def __repr__(self):
        return f"Features({self.weights.name!r}, {self.side})"
