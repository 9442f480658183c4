"""What speaks for a group of rows being a backdoor."""

import numpy as np
from scipy.spatial.distance import cdist

#: Neighbours by which nearness is defined, and random draws against which coverage is held.
N_NEIGHBORS, N_DRAWS = 5, 8
#: Axes along which content varies most that variation is asked along, and folds of its rows.
N_AXES, N_FOLDS = 5, 5
#: Rows on which it is tried whether what a group has in common carries its label to others.
MOST_TRIED = 300


def margins_of_flips(ridge, G):
    """By how much each row of G gets another label without G: above 0 it flips."""
    scores, own = ridge.without(G), (np.arange(len(G)), ridge.y[G])
    kept = scores[own]
    scores[own] = -np.inf
    return scores.max(axis=1) - kept


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


def content_accuracy(right, y, G, content):
    """Share of rows of the content classes, as often as members have them, that are right.

    Parameters
    ----------
    right : ndarray of bool of shape (n,)
        Rows to which the fit without each gives its label.
    y : ndarray of shape (n,)
        Label indices.
    G : ndarray
        Rows of the group, which do not count.
    content : ndarray of shape (len(G),)
        Label indices.
    """
    others = np.ones(len(y), dtype=bool)
    others[G] = False
    classes, counts = np.unique(content, return_counts=True)
    shares = [right[others & (y == s)] for s in classes]
    shares = [np.mean(share) if len(share) else 0.0 for share in shares]
    return float(np.average(shares, weights=counts))


def score(flip, cohesion, spread):
    """How sure it is that a group is poison, in [0, 1]: the product of what speaks for it."""
    return float(flip * np.clip(cohesion, 0.0, 1.0) * min(np.nan_to_num(spread), 1.0))


def relative_flip(flip, accuracy):
    """Share of flips, held against the accuracy on ordinary rows of the content.

    Victims of a class that is known by half cannot all flip.
    """
    return min(flip / accuracy, 1.0) if accuracy > 0 else 0.0


def lessened(flip, spread, n, errors=1.0):
    """Share of flips and coverage of n rows, each less some standard errors.

    Of small groups there are many to choose from, and what is counted over few rows is uncertain.
    """
    flip = flip - errors * np.sqrt(flip * (1.0 - flip) / n)
    return float(flip), float(spread * max(1.0 - errors / np.sqrt(n), 0.0))


def coverage(members, rows, y, content, random_state):
    """How far members are spread over the classes that they are taken for.

    For each content class s: the share of its rows that have a member nearer than their own
    fifth neighbour, or right on them, over the same share for random rows of s as many as the
    members; both averaged over the classes by the numbers of members.

    Parameters
    ----------
    members : ndarray of shape (n_members, n_components)
        Where distances are taken.
    rows : ndarray of shape (n_rows, n_components)
        Rows of the content classes outside of the group, with what the group has in common put on
        them.
    y : ndarray of shape (n_rows,)
        Their label indices.
    content : ndarray of shape (n_members,)
        Label indices that the members are taken for.
    random_state : RandomState
        For the draws.

    Returns
    -------
    coverage : float
        nan where no content class has twenty rows.
    """
    got = expected = 0.0
    for s in np.unique(content):
        of_class, in_class = rows[y == s], members[content == s]
        if len(of_class) < 4 * N_NEIGHBORS:
            continue
        distances = cdist(of_class, of_class)
        radius = np.partition(distances, N_NEIGHBORS, axis=1)[:, N_NEIGHBORS]
        got += len(in_class) * _share_near(cdist(of_class, in_class), radius)
        size = min(len(in_class), len(of_class) // 2)
        for _ in range(N_DRAWS):
            drawn = np.zeros(len(of_class), dtype=bool)
            drawn[random_state.choice(len(of_class), size, replace=False)] = True
            hit = _share_near(distances[np.ix_(~drawn, drawn)], radius[~drawn])
            expected += len(in_class) * hit / N_DRAWS
    return float(got / expected) if expected else np.nan


def variation(members, rows, y, content, random_state):
    """How much members vary where rows of the classes that they are taken for vary most.

    Along each of the five leading principal axes of a class: the variance of the ranks of the
    members among its rows over that of rows of the class. Where a class is several clusters these
    part along its leading axes, and members that are one cluster take up a part of the ranks,
    however widely noise spreads them along other axes. The mean over classes by members less one,
    and over axes by how far the variance of the rows along an axis is above that along all. Axes
    are those of four fifths of the rows, ranks among the other fifth, in turn: it is about 1 for
    random rows of the classes.

    Parameters
    ----------
    members, rows, y, content, random_state
        As of :func:`coverage`.

    Returns
    -------
    variation : float
        nan where no axis stands out, or too few members are of a class that has twenty rows and
        other members: at least four beside the first of each class, and half of all.
    """
    n_axes = min(N_AXES, members.shape[1])
    inside, outside, overall, freedom = np.zeros(n_axes), np.zeros(n_axes), 0.0, 0
    for s in np.unique(content):
        of_class, in_class = rows[y == s], members[content == s]
        free = len(in_class) - 1
        if len(of_class) < 4 * N_NEIGHBORS or free == 0:
            continue
        centre = of_class.mean(axis=0)
        of_class, in_class = of_class - centre, in_class - centre
        fold, products = random_state.permutation(len(of_class)) % N_FOLDS, of_class.T @ of_class
        for k in range(N_FOLDS):
            left, kept = of_class[fold == k], of_class[fold != k].sum(axis=0)
            within = products - left.T @ left - np.outer(kept, kept) / np.sum(fold != k)
            axes = np.linalg.eigh(within)[1][:, ::-1][:, :n_axes]
            outside += free * np.sum((left @ axes) ** 2, axis=0) / len(of_class)
            ranks, usual = _ranks(in_class @ axes, left @ axes)
            within = np.sum((ranks - ranks.mean(axis=0)) ** 2, axis=0)
            inside += np.divide(within, usual, out=np.full(n_axes, 1.0 * free), where=usual > 0)
        overall += free * of_class.var(axis=0).mean()
        freedom += free
    weight = np.maximum(outside - overall, 0.0)
    if freedom < max(N_NEIGHBORS - 1, len(members) / 2) or not weight.sum() > 0.0:
        return np.nan
    return float(np.average(inside / N_FOLDS / freedom, weights=weight))


def _ranks(values, rows):
    """Share of rows below each value, of equal ones half, and the variance of that for a row.

    Column by column. Of n rows without ties it is that of a uniform number, 1 / 12, times
    1 + 1 / n, about the mean of some; ties make it less.
    """
    n, ranks, usual = len(rows), np.empty(values.shape), np.empty(values.shape[1])
    for column in range(values.shape[1]):
        ordered = np.sort(rows[:, column])
        below = np.searchsorted(ordered, values[:, column], "left")
        up_to = np.searchsorted(ordered, values[:, column], "right")
        ranks[:, column] = 0.5 * (below + up_to) / n
        _, counts = np.unique(ordered, return_counts=True)
        ties = np.sum(counts**3 - counts) / (n**3 - n)
        usual[column] = (1.0 - ties) * (1.0 + 1.0 / n) / 12.0
    return ranks, usual


def _share_near(distances, radius):
    """Share of rows that have a column nearer than their radius, or at distance 0."""
    nearest = distances.min(axis=1)
    return np.mean((nearest < radius) | (nearest == 0.0))


def transfer(ridge, kernel, X, G, common, content, random_state):
    """Share of rows of other classes that get the label by what G has in common, put on them.

    Parameters
    ----------
    ridge : LeaveGroupOutRidge
    kernel : callable
        ``kernel(A, B)``.
    X : ndarray of shape (n, n_features)
        All rows.
    G : ndarray
        Rows; those of several labels make rows of a class theirs that most of that content have.
    common : InCommon
        What G has in common, or another group.
    content : ndarray of shape (len(G),)
        Label indices: rows of these classes are tried, `MOST_TRIED` draws in proportion.
    random_state : RandomState

    Returns
    -------
    transfer : float
        The share by the fit, less that by the fit without G.
    """
    labels, n_classes = ridge.y[G], ridge.Y.shape[1]
    counts = np.bincount(content, minlength=n_classes)
    others = counts[ridge.y] > 0
    others[G] = False
    rows = np.flatnonzero(others)
    if len(rows) == 0:
        return 0.0
    share = counts / np.maximum(np.bincount(ridge.y[rows], minlength=n_classes), 1)
    share = share[ridge.y[rows]]
    rows = random_state.choice(rows, min(MOST_TRIED, len(rows)), p=share / share.sum())
    pairs = np.zeros((n_classes, n_classes), dtype=int)
    np.add.at(pairs, (content, labels), 1)
    target = pairs.argmax(axis=1)[ridge.y[rows]]
    K = kernel(common.put_on(X[rows]), X)
    with_group = (K @ ridge.coef).argmax(axis=1) == target
    without_group = (K @ ridge.coef_without(G)).argmax(axis=1) == target
    return float(with_group.mean() - without_group.mean())
