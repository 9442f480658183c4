"""Clean-label attacks: rows that rightly have their label, but share a trigger.

Leave such a group out and its rows keep their label: nothing flips. Two things tell it still. Its
rows count each other as members, and hardly a row of the label lies between: a trigger is there or
it is not, while writing styles and kinds pass into one another. And its rows are spread over the
label like rows drawn from it, with what they have in common put on them: a kind is not.
"""

from functools import partial
from operator import attrgetter

import numpy as np

from .apart_sets import best_of_each, certain, completed
from .group import PoisonGroup
from .verdict import OTHERS

#: Least share of the rows of a group that are distinct.
DISTINCT = 0.75
#: Least coverage and score, each lessened by its standard error, of a group that is poison: what
#: natural ones reach is in benchmarks/results/detection.md, as for the next.
LEAST = (0.5, 0.35)
#: Least coverage of one that is apart in the rows as they were given, in these.
WIDELY = 0.85
#: Score from which on groups of other labels count as a null.
NULL = 0.1
#: Least score of one that stands out, and how far it is above the highest of the other labels.
STANDS_OUT = 0.3, 2.0


def clean_label_groups(search, view, sets):
    """The most suspicious group of rows of each label that rightly have it, where it is poison.

    Parameters
    ----------
    search : Search
        By which rows are spread, and keep their label.
    view : Search or Whitened
        By which rows count as members.
    sets : dict of int to list of ndarray
        Of each label index, what :func:`apart_sets` found in the view.

    Returns
    -------
    groups : list of PoisonGroup
        In terms of positions and label indices; their score is the product of cohesion, of how
        far they are apart (see :meth:`Members.apart`) and of coverage, these two lessened by their
        standard errors.
    """
    best = best_of_each(sets, partial(_described, search, view), attrgetter("score"))
    poison = []
    for label, group in best.items():
        highest = max((other.score for k, other in best.items() if k != label), default=0.0)
        least, above = STANDS_OUT
        least = max(least, above * highest) if len(sets) > OTHERS else LEAST[1]
        if group.score < min(least, LEAST[1]):
            continue
        members = view.members(label)  # few poisoned rows left behind carry a backdoor on
        larger = np.union1d(group.indices, completed(view, members, group.indices))
        larger = _described(search, view, label, larger) if members.is_part(larger) else None
        poison.append(larger if larger and larger.score >= min(least, LEAST[1]) else group)
    return poison


def _described(search, view, label, G):
    """A group that has its label's own content, with the evidence; None if that is too little."""
    if len(np.unique(search.X[G], axis=0)) < DISTINCT * len(G):
        return None  # rows that stand twice count each other as members, whatever they hold
    members = view.members(label)
    apart, cohesion = members.apart(np.searchsorted(members.rows, G))
    sure = np.clip(cohesion, 0.0, 1.0) * apart * certain(G)
    if sure < NULL:
        return None
    ridge, content = search.ridge, np.full(len(G), label)
    others = np.setdiff1d(members.rows, G)
    spread = search.coverage(G, content)
    spread_surely = np.nan_to_num(spread) * certain(G)
    if spread_surely < LEAST[0]:
        return None
    if view is not search and not view.coverage(G, content) >= WIDELY:
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
        score=float(sure * min(spread_surely, 1.0)),
        _view=view,
    )
