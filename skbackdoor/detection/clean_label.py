"""The search for clean-label attacks: rows that rightly have their label, but share a trigger.

Leave such a group out and its rows keep their label: nothing flips. Two things tell it still. Its
rows count each other as members, and hardly a row of the label lies between: a trigger is there or
it is not, while writing styles and kinds pass into one another. And its rows are spread over the
label like rows drawn from it, with what they have in common put on them: a kind is not.
"""

import numpy as np

from .candidates import LARGEST, N_NEIGHBORS, components, nearest, tree_nodes
from .group import PoisonGroup

#: Candidates of a label whose coverage is looked at: those most apart.
KEPT = 8
#: A row is held against the mean of this share of the rows of its label, the nearest.
NEAREST = 1 / 7
#: Rounds in which a group is made the rows that hold what it has in common.
MOST_ROUNDS = 3
#: Least share of the rows of a group that are distinct.
DISTINCT = 0.75
#: Least coverage and score, each lessened by its standard error, of a group that is poison: what
#: natural ones reach is in benchmarks/results/detection.md.
LEAST = (0.5, 0.35)


def clean_label_group(search, label):
    """The most suspicious group of rows that rightly have their label, if it is poison.

    Parameters
    ----------
    search : Search
    label : int
        Label index.

    Returns
    -------
    group : PoisonGroup or None
        None where it is not poison. In terms of positions and label indices; its score is the
        product of cohesion, of how far it is apart (see :meth:`Members.apart`) and of coverage,
        these two lessened by their standard errors.
    """
    members = search.members(label)
    sets = _most_apart(search, members)
    parts = (members.resized(np.searchsorted(members.rows, G)) for G in sets)
    sets += [members.rows[part] for part in parts if len(part) >= search.smallest]
    sets += [G for G in (_completed(search, members, G) for G in sets) if members.is_part(G)]
    sets = {G.tobytes(): G for G in sets}.values()  # most are complete
    groups = [_described(search, label, members, G) for G in sets]
    best = max((group for group in groups if group), key=lambda group: group.score, default=None)
    if best is not None:  # few poisoned rows left behind carry a backdoor on
        larger = np.union1d(best.indices, _completed(search, members, best.indices))
        larger = _described(search, label, members, larger) if members.is_part(larger) else None
        best = larger or best
    return best


def _most_apart(search, members):
    """The refined candidates that are most apart from the other rows of the label, as rows."""
    X, K, rows = search.X[members.rows], search.K, members.rows
    smallest, largest = search.smallest, LARGEST * len(rows)
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
        for node in tree_nodes(components(features, search.random_state), smallest, largest):
            part = members.refined(node)
            if smallest <= len(part) <= largest and part.tobytes() not in found:
                found[part.tobytes()] = np.prod(members.apart(part)), part
    parts = sorted(found.values(), key=lambda entry: -entry[0] * _certain(entry[1]))
    return [rows[part] for _, part in parts[:KEPT]]


def _completed(search, members, G):
    """The rows of the label that hold most of what a group has in common, until they are the same.

    That is their mean difference from the rows of the label nearest to them that are none of them,
    read along its linear discriminant within classes.
    """
    rows, X = members.rows, search.X[members.rows]
    for _ in range(MOST_ROUNDS):
        others, before = np.setdiff1d(rows, G), G
        if len(others) < N_NEIGHBORS:
            break
        near = search.K[np.ix_(rows, others)]
        near[rows[:, None] == others] = -np.inf
        beyond = X - search.X[others[nearest(-near)]].mean(axis=1)
        shift = beyond[np.isin(rows, G)].mean(axis=0)
        direction = search.within.solve(shift)
        G = rows[beyond @ direction > 0.5 * (shift @ direction)]
        if len(G) < search.smallest:
            return before
        if np.array_equal(G, before):
            break
    return G


def _certain(rows):
    """What is left of a number counted over some rows, less its standard error."""
    return 1.0 - 1.0 / np.sqrt(len(rows))


def _described(search, label, members, G):
    """A group that has its label's own content, with the evidence; None if it is not poison."""
    if len(np.unique(search.X[G], axis=0)) < DISTINCT * len(G):
        return None  # rows that stand twice count each other as members, whatever they hold
    ridge, content = search.ridge, np.full(len(G), label)
    others = np.setdiff1d(members.rows, G)
    spread = search.coverage(G, content)
    apart, cohesion = members.apart(np.searchsorted(members.rows, G))
    spread_surely = np.nan_to_num(spread) * _certain(G)
    sure = np.clip(cohesion, 0.0, 1.0) * apart * _certain(G) * min(spread_surely, 1.0)
    if spread_surely < LEAST[0] or sure < LEAST[1]:
        return None
    scores, right = ridge.without(G), search.right[others]
    kept = ridge.leave_one_out_without(others[right], G).argmax(axis=1) == label
    return PoisonGroup(
        label=label,
        indices=G,
        flip=float(np.mean(scores.argmax(axis=1) != label)),
        cohesion=cohesion,
        typicality=float(np.median(scores[:, label]) / search.typical),
        coverage=spread,
        apart=apart,
        stay=float(np.mean(kept)) if len(kept) else 0.0,
        content_accuracy=float(np.mean(right)),
        content_labels=content,
        verdict="poison",
        score=float(sure),
    )
