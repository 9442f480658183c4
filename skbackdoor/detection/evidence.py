"""What speaks for a group of rows being a backdoor."""

import numpy as np
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from .candidates import content_of


def flips(ridge, label, G):
    """By how much each row of G gets another label without G: best other score minus its own."""
    scores = ridge.without(G)
    own = scores[:, label].copy()
    scores[:, label] = -np.inf
    return scores.max(axis=1) - own


def cohesion(ridge, G):
    membership = ridge.membership(G)
    inside = np.zeros(len(membership), bool)
    inside[G] = True
    return float(np.median(membership[inside]) - np.median(membership[~inside]))


def coverage(Z, y, G, content, rng, k=5, draws=4):
    got, expected = 0.0, 1e-9
    for s in np.unique(content):
        members, C = G[content == s], np.setdiff1d(np.flatnonzero(y == s), G)
        if len(members) < 4 or len(C) < 2 * k + 2:
            continue
        tree = NearestNeighbors(n_neighbors=k + 1).fit(Z[C])
        radius = tree.kneighbors(Z[C])[0][:, k]
        near = tree.kneighbors(Z[members])[1][:, :k]
        moved = Z[members] - (Z[members] - Z[C][near].mean(1)).mean(0)
        got += len(members) * (pairwise_distances(Z[C], moved) < radius[:, None]).any(1).mean()
        for _ in range(draws):
            some = rng.choice(len(C), min(len(members), len(C) // 2), replace=False)
            rest = np.setdiff1d(np.arange(len(C)), some)
            hit = (
                (pairwise_distances(Z[C][rest], Z[C][some]) < radius[rest][:, None]).any(1).mean()
            )
            expected += len(members) * hit / draws
    return got / expected


def transfer(ridge, kernel, X, label, G, content, rng, most=300):
    """Share of rows of other classes that get the label once the group's mean shift is added."""
    shift = X[G] - content_of(X, ridge.y, G, content)
    out = np.setdiff1d(np.flatnonzero(np.isin(ridge.y, np.unique(content))), G)
    some = rng.choice(out, min(most, len(out)), replace=False)
    K = kernel(X[some] + shift.mean(0), X)
    before = (K @ ridge.coef_without(G)).argmax(1) == label
    after = (K @ ridge.coef).argmax(1) == label
    return float(after.mean()), float(before.mean())
