"""What makes a group poison, and what leaves it a suspect."""

from dataclasses import replace

import numpy as np

from .evidence import relative_membership, score

#: Least share of a group's rows that flip, of what it is for rows of their content, and of the
#: label's other rows that stay, of a group that is poison: the same for all data.
FLIP, STAY = 0.8, 0.8
#: Its least coverage and score, these and flip lessened by their standard errors; least coverage,
#: score and transfer of one that has in common what poison of another label has.
ALONE, ALIKE = (0.5, 0.4, -1.0), (0.3, 0.15, 0.1)
#: Share of the score of a group that a larger one, which holds it, may have in its place.
NEARLY = 0.9
#: Size up to which a completed group holds few rows more, as a share of what it was.
MORE = 1.25


def judged_group(group, search=None, common=None, sets=()):
    """The group with its verdict; one that is poison is completed, if it is one then as well.

    With `common`, what poison of another label has in common, it is judged by having it too. So is
    what it is completed to, where few rows are added. Of `sets` of rows of its label the largest
    one stands for it that holds it, whose other rows count as members, and that is poison by
    nearly the same score: an attack that pulls its rows apart is found whole and in part, and the
    part has the higher score.
    """
    if not is_backdoor(group, ALONE if common is None else ALIKE):
        return group
    if search is not None:
        larger = [G for G in sets if _holds(G, group.indices, search)]
        for G in sorted(larger, key=len, reverse=True):
            whole = search.describe(G)
            if whole.score >= NEARLY * group.score and is_backdoor(whole):
                group = whole
                break
        labels = np.unique(search.ridge.y[group.indices])
        several = np.flatnonzero(search.n_rows >= search.smallest)
        rows = search.rows_of(labels if len(labels) == 1 else several)
        completed = search.trim(search.complete(group.indices, rows))
        if not search.is_part(completed):  # what counts as a member is all but the label itself
            return group
        larger = search.describe(completed, common)
        few = len(completed) <= MORE * len(group.indices)
        group = larger if is_backdoor(larger, ALIKE if few else ALONE) else group
    return replace(group, verdict="poison")


def _holds(larger, smaller, search):
    """Whether rows hold nearly all of some others, and as many more as count as members."""
    added = np.setdiff1d(larger, smaller)
    if not len(added) or np.isin(smaller, larger).mean() < NEARLY:
        return False
    relative, _ = relative_membership(search.ridge, larger)
    return np.mean(relative[added] > 0.5) >= NEARLY


def _lessened(group):
    """The group with flip and coverage lessened by one standard error each.

    Of small groups there are many to choose from, and what is counted over few rows is uncertain.
    """
    n = len(group.indices)
    flip = group.flip - np.sqrt(group.flip * (1.0 - group.flip) / n)
    spread = group.coverage * (1.0 - 1.0 / np.sqrt(n))
    sure = score(flip, group.content_accuracy, group.cohesion, spread)
    return replace(group, flip=flip, coverage=spread, score=sure)


def is_backdoor(group, least=ALONE):
    """Whether the evidence for a group is enough: at least `ALONE`, or `ALIKE`."""
    coverage, sure, transfer = least
    if least is ALONE:
        group = _lessened(group)
    return (
        group.flip >= FLIP * group.content_accuracy
        and group.stay >= STAY
        and group.coverage >= coverage
        and group.score >= sure
        and group.transfer >= transfer
    )


def rank(group):
    """By what groups are ordered: poison first, then by score."""
    return group.verdict == "poison", group.score
