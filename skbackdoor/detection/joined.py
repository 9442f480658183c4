"""Groups that several searches found, taken together where they are of one attack."""

from dataclasses import replace

import numpy as np

from .verdict import is_backdoor


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


def apart(groups):
    """The groups, most suspicious first, without those that share a row with an earlier one."""
    taken, kept = np.zeros(0, dtype=int), []
    for group in groups:
        if not np.isin(group.indices, taken).any():
            kept.append(group)
            taken = np.union1d(taken, group.indices)
    return kept


def beside(over_all, of_labels):
    """Groups of several labels, but for those that are mostly a surer group of one label."""
    return [
        group
        for group in over_all
        if not any(
            np.isin(group.indices, other.indices).mean() > 0.5 and other.score >= group.score
            for other in of_labels
        )
    ]
