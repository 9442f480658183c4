"""Groups that several searches found, taken together where they are of one attack."""

from dataclasses import replace

import numpy as np

from .verdict import ALONE, is_backdoor

#: Least coverage, score and transfer of what is left of a group of several labels without rows of
#: surer groups of one label.
REST = (ALONE[0], 0.3, ALONE[2])


def joined(groups, search):
    """Groups that have alike in common as one, since each search misses some rows of an attack.

    Two attacks at once stay two. What is no poison taken together stays what it was.
    """
    alike = []
    for group in groups:
        pattern = search.pattern(group)
        for patterns, members in alike:
            if any(pattern.is_like(other) for other in patterns):
                patterns.append(pattern)
                members.append(group)
                break
        else:
            alike.append(([pattern], [group]))
    found = []
    for _, members in alike:
        if len(members) == 1:
            found += members
            continue
        G = np.unique(np.concatenate([group.indices for group in members]))
        labels = np.flatnonzero(search.n_rows >= search.smallest)
        whole = search.describe(search.settled(G, search.rows_of(labels)))
        found += [replace(whole, verdict="poison")] if is_backdoor(whole) else members
    return _without_shared_rows(found)


def _without_shared_rows(groups):
    """The groups, each without the rows of those before it."""
    taken, kept = np.zeros(0, dtype=int), []
    for group in groups:
        own = ~np.isin(group.indices, taken)
        if own.any():
            content = group.content_labels[own]
            kept.append(replace(group, indices=group.indices[own], content_labels=content))
            taken = np.union1d(taken, group.indices)
    return kept


def disjoint(groups):
    """The groups, most suspicious first, without those that share a row with an earlier one."""
    taken, kept = np.zeros(0, dtype=int), []
    for group in groups:
        if not np.isin(group.indices, taken).any():
            kept.append(group)
            taken = np.union1d(taken, group.indices)
    return kept


def beside(over_all, of_labels, search):
    """Groups of several labels, but for those that are poison by rows of surer groups alone.

    A group of one label, with rows that lie where classes meet, passes for one of several labels:
    what is left of it without the former is no poison.
    """
    kept = []
    for group in over_all:
        surer = [other.indices for other in of_labels if other.score >= group.score]
        rest = np.setdiff1d(group.indices, np.concatenate([[], *surer]))
        alone = len(rest) == len(group.indices)
        if alone or (len(rest) >= search.smallest and is_backdoor(search.describe(rest), REST)):
            kept.append(group)
    return kept
