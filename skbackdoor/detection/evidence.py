"""What speaks for a group of rows being a backdoor."""

import numpy as np
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from .candidates import content_of

#: Neighbours by which nearness is defined, and random draws against which coverage is held.
N_NEIGHBORS, N_DRAWS = 5, 4


def margins_of_flips(ridge, label, G):
    """By how much each row of G gets another label without G: above 0 it flips."""
    scores = ridge.without(G)
    own = scores[:, label].copy()
    scores[:, label] = -np.inf
    return scores.max(axis=1) - own


def relative_membership(ridge, G):
    """Membership of all rows, 0 for the median row outside of G and 1 for the median one inside.

    Returns
    -------
    relative : ndarray of shape (n,)
    gap : float
        The difference of the two medians: the cohesion of G.
    """
    membership = ridge.membership(G)
    inside = np.zeros(len(membership), dtype=bool)
    inside[G] = True
    low, high = np.median(membership[~inside]), np.median(membership[inside])
    return (membership - low) / (high - low + 1e-9), float(high - low)


def coverage(Z, y, G, content, random_state):
    """How far G is spread over the classes that its rows are taken for.

    Members of a content class s are moved by their mean difference from the rows of s nearest to
    them, which takes off a trigger. Then: the share of rows of s that have a member nearer than
    their own fifth neighbour, over the same share for random rows of s as many as the members;
    both averaged over the classes s by the numbers of members.

    Parameters
    ----------
    Z : ndarray of shape (n, n_components)
        Where distances are taken.
    y : ndarray of shape (n,)
        Label indices.
    G : ndarray
        Rows.
    content : ndarray of shape (len(G),)
        Label indices that the rows of G are taken for.
    random_state : RandomState
        For the draws.

    Returns
    -------
    coverage : float
        nan where no content class has four members, or rows enough.
    """
    got = expected = 0.0
    for s in np.unique(content):
        members = Z[G[content == s]]
        of_class = Z[np.setdiff1d(np.flatnonzero(y == s), G)]
        if len(members) < 4 or len(of_class) < 4 * N_NEIGHBORS:
            continue
        search = NearestNeighbors(n_neighbors=N_NEIGHBORS + 1).fit(of_class)
        radius = search.kneighbors(of_class)[0][:, -1]
        near = search.kneighbors(members)[1][:, :N_NEIGHBORS]
        moved = members - (members - of_class[near].mean(axis=1)).mean(axis=0)
        got += len(members) * _share_near(of_class, moved, radius)
        size = min(len(members), len(of_class) // 2)
        for _ in range(N_DRAWS):
            drawn = np.zeros(len(of_class), dtype=bool)
            drawn[random_state.choice(len(of_class), size, replace=False)] = True
            hit = _share_near(of_class[~drawn], of_class[drawn], radius[~drawn])
            expected += len(members) * hit / N_DRAWS
    return got / expected if expected else np.nan


def _share_near(rows, members, radius):
    """Share of rows with a member within their radius."""
    return np.mean(pairwise_distances(rows, members).min(axis=1) < radius)


def transfer(ridge, kernel, X, G, label, content, random_state, most=300):
    """Share of other rows that get the label once what G has in common is added to them.

    That is the mean difference between members and the rows of their content class that are
    nearest to them. Rows of the content classes outside of G are tried.

    Returns
    -------
    with_group, without_group : float
        By the fit, and by the fit without G.
    """
    shift = (X[G] - content_of(X, ridge.y, G, content)).mean(axis=0)
    others = (ridge.y != label) & np.isin(ridge.y, np.unique(content))
    if not others.any():  # content of the own label: all others
        others = ridge.y != label
    others[G] = False
    rows = np.flatnonzero(others)
    rows = random_state.choice(rows, min(most, len(rows)), replace=False)
    K = kernel(X[rows] + shift, X)
    with_group = (K @ ridge.coef).argmax(axis=1) == label
    without_group = (K @ ridge.coef_without(G)).argmax(axis=1) == label
    return float(with_group.mean()), float(without_group.mean())
