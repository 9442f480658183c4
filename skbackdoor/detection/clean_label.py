"""Clean-label attacks: rows that rightly have their label, but share a trigger.

Leave such a group out and its rows keep their label: nothing flips. Two things tell it still. Its
rows count each other as members, and hardly a row of the label lies between: a trigger is there or
it is not, while writing styles and kinds pass into one another. And its rows are spread over the
label like rows drawn from it, with what they have in common put on them: a kind is not. Seen in
features and in the rows as they were given, a kind hardly ever is the same rows; a trigger is.
"""

from dataclasses import dataclass, replace

import numpy as np

from .apart_sets import certain, completed
from .group import PoisonGroup
from .verdict import ABOVE, ABOVE_FEW, OTHERS

#: Least share of the rows of a group that are distinct.
DISTINCT = 0.75
#: Largest share of the rows of a label: what most of them hold is what the label is.
MOST_OF_LABEL = 0.6
#: Least coverage and score, each lessened by its standard error, of a group that is poison: what
#: natural ones reach is in benchmarks/results/detection.md, as for the next.
LEAST = (0.5, 0.35)
#: Least coverage of one that is apart in the rows as they were given, in these.
WIDELY = 0.85
#: Score, but for coverage, from which on groups of other labels count as a null.
NULL = 0.1
#: Least score of one that stands out, and how far it is above the highest of the other labels.
STANDS_OUT = 0.3, 2.0
#: The same of one that is seen in features and in the rows as they were given, the geometric mean.
SEEN_TWICE = 0.15, 2.5
#: Share of the rows of a group that a larger one holds which may stand for it, and of its score.
HOLDS, NEARLY = 0.9, 0.8


def clean_label_groups(search, views, sets, seen_twice=False):
    """The most suspicious group of rows of each label that rightly have it, where it is poison.

    Parameters
    ----------
    search : Search
        By which rows are spread, and keep their label.
    views : list of Search or Whitened
        By which rows count as members: the search, and that in the rows as they were given if
        there is one.
    sets : dict of int to list of ndarray
        Of each label index, what :func:`apart_sets` found in the views.
    seen_twice : bool
        Whether the views are two, of features and of the rows that these were made of.

    Returns
    -------
    groups : list of PoisonGroup
        In terms of positions and label indices; their score is the product of cohesion, of how
        far they are apart (see :meth:`Members.apart`) and of coverage, these two lessened by their
        standard errors, in the view that tells them, or the geometric mean of both: that of the
        surest part, where rows were added to it.
    """
    seen = {}
    for label, found in sets.items():
        groups = [_seen(search, views, label, G) for G in found]
        seen[label] = [group for group in groups if group is not None]
    ways = [(k,) for k in range(len(views))] + [(0, 1)] * seen_twice
    poison = {}
    for way in ways:
        reached = {k: max((g.score(way) for g in groups), default=0) for k, groups in seen.items()}
        for label in seen:
            groups = [g for g in seen[label] if _is_part(search, label, g.indices)]
            if not groups:
                continue
            group = max(groups, key=lambda g: g.score(way))
            least = _least(way, [score for k, score in reached.items() if k != label])
            if group.score(way) < least:
                continue
            if label not in poison or group.score(way) > poison[label][0]:
                poison[label] = group.score(way), least, way, group
    found = []
    for label, (score, least, way, group) in poison.items():
        whole = _whole(search, views, label, group, way, least, seen[label])
        group = _described(search, label, whole, way, views[way[-1]])
        found.append(replace(group, score=float(max(score, whole.score(way)))))
    return found


def _least(way, others):
    """Score that a group needs, by the highest ones of the other labels.

    Where every class is several clusters, most labels have a group that is as sure as a trigger.
    """
    highest = max(others, default=0.0)
    if len(others) < OTHERS:
        return max(LEAST[1], ABOVE_FEW * highest) if len(way) == 1 else np.inf
    least, above = STANDS_OUT if len(way) == 1 else SEEN_TWICE
    return max(min(max(least, above * highest), LEAST[1]), ABOVE * np.median(others))


@dataclass(frozen=True, eq=False)
class _Seen:
    """A group that has its label's own content, as the views see it.

    Attributes
    ----------
    indices : ndarray
    coverage : float
    by_view : list of (apart, cohesion, score, counts)
        The latter is whether the view alone may tell the group.
    """

    indices: np.ndarray
    coverage: float
    by_view: list

    def score(self, way):
        """Its score in a view, or the geometric mean of two."""
        if len(way) == 1:
            *_, score, counts = self.by_view[way[0]]
            return score if counts else 0.0
        return float(np.sqrt(np.prod([self.by_view[k][2] for k in way])))


def _seen(search, views, label, G):
    """The group as the views see it; None where that is too little."""
    if len(np.unique(search.X[G], axis=0)) < DISTINCT * len(G):
        return None  # rows that stand twice count each other as members, whatever they hold
    sure, by_view, content = [], [], np.full(len(G), label)
    for view in views:
        members = view.members(label)
        apart, cohesion = members.apart(np.searchsorted(members.rows, G))
        sure.append((apart, cohesion, np.clip(cohesion, 0.0, 1.0) * apart * certain(G)))
    if not any(score >= NULL for *_, score in sure):
        return None
    spread = search.coverage(G, content)
    spread_surely = np.nan_to_num(spread) * certain(G)
    if spread_surely < LEAST[0]:
        return None
    for view, (apart, cohesion, score) in zip(views, sure, strict=True):
        counts = score >= NULL and (view is search or view.coverage(G, content) >= WIDELY)
        by_view.append((apart, cohesion, score * min(spread_surely, 1.0), counts))
    return _Seen(G, spread, by_view)


def _whole(search, views, label, group, way, least, groups):
    """The group, with rows of its label that hold most of what it has in common.

    Few poisoned rows left behind carry a backdoor on. Of the groups that were looked at it is the
    largest one that holds it and is nearly as sure as any of these in a view that tells them. Then
    rows are added where it is poison with them, or nearly as sure as without in such a view.
    """
    groups = [g for g in groups if _is_part(search, label, g.indices)]
    holds = [g for g in groups if np.isin(group.indices, g.indices).mean() >= HOLDS]

    def nearly(larger, others, k):
        highest = max(g.by_view[k][2] for g in others)
        return larger.by_view[k][2] >= max(NEARLY * highest, NULL)

    sure = [g for g in holds if any(nearly(g, holds, k) for k in range(len(views)))]
    group = max([group, *sure], key=lambda g: len(g.indices))
    for k, view in enumerate(views):
        members = view.members(label)
        G = np.union1d(group.indices, completed(view, members, group.indices))
        larger = _seen(search, views, label, G) if _is_part(search, label, G) else None
        if larger and (larger.score(way) >= least or nearly(larger, [group], k)):
            group = larger
    return group


def _is_part(search, label, G):
    return len(G) <= MOST_OF_LABEL * search.n_rows[label]


def _described(search, label, group, way, view):
    """The group with its evidence."""
    ridge, G = search.ridge, group.indices
    rows = np.flatnonzero(ridge.y == label)
    others = np.setdiff1d(rows, G)
    scores, right = ridge.without(G), search.right[others]
    kept = ridge.leave_one_out_without(others[right], G).argmax(axis=1) == label
    apart, cohesion, *_ = group.by_view[way[-1]]
    return PoisonGroup(
        label=label,
        indices=G,
        flip=float(np.mean(scores.argmax(axis=1) != label)),
        cohesion=cohesion,
        typicality=float(np.median(scores[:, label]) / search.typical),
        coverage=group.coverage,
        apart=apart,
        stay=float(np.mean(kept)) if len(kept) else 0.0,
        content_accuracy=float(np.mean(right)),
        content_labels=np.full(len(G), label),
        verdict="poison",
        score=group.score(way),
        _views=(view,),
    )
