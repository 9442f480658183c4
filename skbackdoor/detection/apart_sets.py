"""Where groups are sought that are apart from the other rows of their label.

Writing styles and kinds pass into one another, while a trigger is there or it is not: hardly a row
of the label counts half as a member of those that hold it. That asks no labels but the one.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from .candidates import LARGEST, N_NEIGHBORS, components, nearest, tree_nodes
from .verdict import (
    MOST,
    NEARLY,
    STAY,
    apart_score,
    how_apart,
    is_apart,
    is_far_apart,
    may_be_apart,
    may_be_far_apart,
    varies,
)

#: Candidates of a label that are looked at: those most apart.
KEPT = 8
#: A row is held against the mean of this share of the rows of its label, the nearest.
NEAREST = 1 / 7
#: Share of the rows of a group that a set holds which may stand for it.
HELD = 0.9
#: Coverage of such a set in the rows as they were given.
SPREAD = 0.6
#: Rounds in which a group is made the rows that hold what it has in common.
MOST_ROUNDS = 3


def apart_sets(view, label):
    """Sets of rows of a label that are most apart from its other rows.

    Parameters
    ----------
    view : Search or Whitened
        The rows, and the fit by which they count as members.
    label : int
        Label index.

    Returns
    -------
    sets : list of ndarray
        Row indices, increasing.
    """
    members = view.members(label)
    sets = _most_apart(view, members)
    parts = (members.resized(np.searchsorted(members.rows, G)) for G in sets)
    sets += [members.rows[part] for part in parts if len(part) >= view.smallest]
    sets += [G for G in (completed(view, members, G) for G in sets) if members.is_part(G)]
    return list({G.tobytes(): G for G in sets}.values())  # most are complete


def _most_apart(view, members):
    """The refined candidates that are most apart from the other rows of the label, as rows."""
    X, K, rows = view.X[members.rows], view.K, members.rows
    smallest, largest = view.smallest, LARGEST * len(rows)
    if len(rows) < 2 * smallest:
        return []
    near = K[np.ix_(rows, rows)]
    np.fill_diagonal(near, -np.inf)
    n_near = max(int(NEAREST * len(rows)), 5)
    near = np.argpartition(-near, n_near - 1, axis=1)[:, :n_near]
    share = np.zeros((len(rows), len(rows)))
    np.put_along_axis(share, near, 1.0 / n_near, axis=1)
    residual = X - share @ X
    found = {}
    for features in (residual, X):
        for node in tree_nodes(components(features, view.random_state), smallest, largest):
            part = members.refined(node)
            if smallest <= len(part) <= largest and part.tobytes() not in found:
                found[part.tobytes()] = np.prod(members.apart(part)), part
    parts = sorted(found.values(), key=lambda entry: -entry[0] * certain(entry[1]))
    return [rows[part] for _, part in parts[:KEPT]]


def completed(view, members, G):
    """The rows of the label that hold most of what a group has in common, until they are the same.

    That is their mean difference from the rows of the label nearest to them that are none of them,
    read along its linear discriminant within classes.
    """
    rows, X = members.rows, view.X[members.rows]
    for _ in range(MOST_ROUNDS):
        others, before = np.setdiff1d(rows, G), G
        if len(others) < N_NEIGHBORS:
            break
        near = view.K[np.ix_(rows, others)]
        near[rows[:, None] == others] = -np.inf
        beyond = X - view.X[others[nearest(-near)]].mean(axis=1)
        shift = beyond[np.isin(rows, G)].mean(axis=0)
        direction = view.within.solve(shift)
        G = rows[beyond @ direction > 0.5 * (shift @ direction)]
        if len(G) < view.smallest:
            return before
        if np.array_equal(G, before):
            break
    return G


def completed_in(view, search, group):
    """A group that is poison, with rows added that belong to it as they were given.

    A network may hardly see the trigger in some of them, and few that are left behind carry a
    backdoor on. It is the largest of the sets that are apart there and hold it, where as many of
    its rows flip, others stay, and it is spread there: to the features its rows may be two groups.

    Parameters
    ----------
    view : Whitened
        The rows as they were given.
    search : Search
        By which rows flip and are spread.
    group : PoisonGroup
        Of one label.

    Returns
    -------
    group : PoisonGroup
        The same, where there is no such set; its score is that of the surest part.
    """
    members, most = view.members(group.label), MOST * len(search.ridge.y)
    sets = apart_sets(view, group.label)
    sets = [G for G in sets if np.isin(group.indices, G).mean() >= HELD]
    sets = [np.union1d(group.indices, G) for G in sets]
    for G in sorted(sets, key=len, reverse=True):
        if not len(group.indices) < len(G) <= most or not search.is_part(G):
            continue
        apart, _ = members.apart(np.searchsorted(members.rows, G))
        if how_apart(apart, len(G)) == 0.0 or not search.may_flip(G):
            continue
        larger = search.describe(G)
        spread = view.coverage(G, larger.content_labels)
        if larger.flip >= NEARLY * group.flip and larger.stay >= STAY and spread >= SPREAD:
            sure = max(larger.score, group.score)
            return replace(larger, verdict="poison", score=sure, _views=(search, view))
    return group


def groups_apart(search, view, sets):
    """Groups whose rows flip and that are apart from the rest of their label, where poison.

    Parameters
    ----------
    search : Search
        By which rows flip and are spread.
    view : Whitened
        By which rows count as members.
    sets : dict of int to list of ndarray
        Of each label index, what :func:`apart_sets` found in the view, and what is known beside.

    Returns
    -------
    groups : list of PoisonGroup
        At most one of a label; their `apart` is that in the view.
    """
    found = {}
    for label, some in sets.items():
        some = {G.tobytes(): G for G in some}.values()
        groups = [_described(search, view, label, G) for G in some]
        found[label] = [group for group in groups if group is not None]
    reached = {
        label: max((apart_score(g) for g in groups if may_be_apart(g)), default=0.0)
        for label, groups in found.items()
    }
    poison = []
    for label, groups in found.items():
        if not groups:
            continue
        group = max(groups, key=partial(_rank, view))
        others = [score for k, score in reached.items() if k != label]
        if not _is_apart(view, group, others):
            continue
        members = view.members(label)  # few poisoned rows left behind carry a backdoor on
        larger = np.union1d(group.indices, completed(view, members, group.indices))
        larger = _described(search, view, label, larger) if members.is_part(larger) else None
        poison.append(larger if larger and _is_apart(view, larger, others) else group)
    return [replace(group, verdict="poison") for group in poison]


def _rank(view, group):
    """By what a group of a label is preferred to another."""
    may_be = may_be_apart(group) and _varies(view, group)
    return _is_far(view, group), may_be, apart_score(group)


def _is_far(view, group):
    """Whether a group is far apart in the rows as they were given, and poison by that alone."""
    may_be = may_be_far_apart(group) and _varies(view, group)
    return may_be and is_far_apart(group, _spread(view, group), view.as_given)


def _described(search, view, label, G):
    """A group with its evidence; None where hardly anything speaks for it."""
    if len(G) > MOST * len(search.ridge.y):
        return None
    members = view.members(label)
    apart, _ = members.apart(np.searchsorted(members.rows, G))
    if how_apart(apart, len(G)) == 0.0 or not search.may_flip(G):
        return None
    group = replace(search.describe(G), apart=apart, _views=(view,))
    if not may_be_apart(group) and not may_be_far_apart(group):
        return None
    if not view.as_given and not may_be_far_apart(group):
        return group
    carried = view.carried(G, group.content_labels)  # features may hardly show what they share
    raised = replace(group, transfer=max(group.transfer, carried))
    return raised if view.as_given or _is_far(view, raised) else group


def _is_apart(view, group, others):
    return _varies(view, group) and is_apart(group, _spread(view, group), others, view.as_given)


def _varies(view, group):
    return varies(group, lambda: view if view.as_given else None)


def _spread(view, group):
    return view.coverage(group.indices, group.content_labels)


def certain(rows):
    """What is left of a number counted over some rows, less its standard error."""
    return 1.0 - 1.0 / np.sqrt(len(rows))
