"""What makes a group poison, and what leaves it a suspect."""

from dataclasses import replace

import numpy as np

from .evidence import lessened, relative_membership, score

#: Least share of a group's rows that flip, of what it is for rows of their content, and of the
#: label's other rows that stay, of a group that is poison: the same for all data.
FLIP, STAY = 0.8, 0.8
#: Its least coverage and score, these and flip lessened by their standard errors; least coverage,
#: score and transfer of one that has in common what poison of another label has.
ALONE, ALIKE = (0.5, 0.4, -1.0), (0.3, 0.15, 0.1)
#: Least coverage, least score times transfer, and least typicality of one that takes other rows
#: along: what natural groups reach is in benchmarks/results/detection.md, as for the next.
TAKES_ALONG = 0.35, 0.27, 0.88
#: Least coverage, least of how far it is apart, and least score times that, of one that is apart
#: from the others of its label where classes overlap; standard errors by which these are lessened.
APART, SURE_ERRORS = (0.35, 0.25, 0.08), 1.5
#: Least score times how far it is apart of one that is so in the rows as they were given, and
#: least coverage in these rows, where classes overlap; the same, and how far the former is above
#: the highest of the other labels, of one that stands out.
OVERLAPPING, ABOVE_OTHERS = (0.08, 0.6), (0.05, 0.35, 2.0)
#: Accuracy on the content below which classes overlap so much that one needs a score times how far
#: it is apart of the latter, where rows are compared by these same numbers.
HARDLY_TOLD = 0.8, 0.15
#: How far apart, coverage in these rows and transfer of one that is poison by them, whatever its
#: cohesion is: clusters of clean data reach the first, too, but what they have in common takes
#: fewer along.
FAR_APART = 0.7, 0.45, 0.75
#: Least transfer of all others that are apart: clusters are apart, too. Least typicality of those
#: and of groups that stand out by their score: of a label of many poisoned rows, the others flip
#: without each other, but are no ordinary rows of another class.
CARRIED, TYPICAL = 0.2, 0.75
#: Least typicality of those that stand apart in the features that they flip by, where clusters
#: reach nearly that, and of those far apart in them: the nines of one font reached 0.8.
ORDINARY, NEARLY_ORDINARY = 0.9, 0.85
#: Least variation, and standard errors by which that may be below: a cluster of a class of several
#: lacks what parts them.
VARIES = 0.75, 1.5
#: Least typicality, or how far it is apart, of one whose score is not sure: printed nines without
#: their kind are zeros, by up to 0.86 and 0.32. Its least transfer: what letters of a kind have in
#: common in the principal components of their pixels takes up to 0.26 of others along.
TOLD = 0.88, 0.5, 0.3
#: Least product of flips, coverage, typicality, transfer and how far apart it is, of a group that
#: is poison whatever its cohesion is: clusters reach 0.2.
CERTAIN = 0.4
#: The same of a group far apart in rows as they were given, where these are others than the
#: features that it flips by; by its coverage and how far it is apart there.
CERTAIN_AS_GIVEN = 0.3
#: Accuracy on the content below which classes overlap, and transfer or score that a group needs
#: there.
TOLD_APART, CARRIES, SURE = 0.9, 0.4, 0.55
#: Share of the transfer of poison of another label that what these have in common reaches as well.
AS_WELL = 0.4
#: Largest share of all rows that is taken for poison: a part of a class, such as all of it on one
#: side of a line, is natural.
MOST = 0.2
#: How far a group of one label is above what is usual for the others, where there are so many.
ABOVE, OTHERS = 1.3, 3
#: The same above the highest of the other labels, where there are fewer.
ABOVE_FEW = 1.5
#: Least score of one that stands out, and how far it is above the highest of the other labels.
STANDS_OUT = 0.3, 1.6
#: The same of the score times variation, and least typicality: natural groups hardly vary where
#: they are photographs.
VARIES_MORE = 0.2, 2.5, 0.7
#: Share of the score of a group that a larger one, which holds it, may have in its place.
NEARLY = 0.9
#: Size up to which a completed group holds few rows more, as a share of what it was.
MORE = 1.25


def judged_group(group, search=None, pattern=None, sets=(), others=()):
    """The group with its verdict; one that is poison is completed, if it is one then as well.

    With `pattern`, that of poison of another label, it is judged by having that too. So is
    what it is completed to, where few rows are added. Of `sets` of rows of its label the largest
    one stands for it that holds it, whose other rows count as members, and that is poison by
    nearly the same score: an attack that pulls its rows apart is found whole and in part, and the
    part has the higher score. `others` are the groups of the other labels, as :func:`of_others`
    gives them.
    """

    def is_poison(group, least):
        if search is not None and len(group.indices) > MOST * len(search.ridge.y):
            return False
        if pattern is None:  # else by what it shares with poison, of which it may be a part
            return is_enough(group, least) and varies(group, lambda: search and search.given)
        return is_enough(group, least)

    def is_enough(group, least):
        if pattern is None and (takes_along(group) or stands_apart(group) or is_certain(group)):
            return True
        if pattern is None and stands_out(group, others):
            return True
        if lessened_group(group).score < SURE:
            if group.content_accuracy < TOLD_APART and group.transfer < CARRIES:
                return False
            if pattern is None and least is not alike and not is_told(group):
                return False
        return is_backdoor(group, least)

    alone, alike, common = (ALONE[0], least_score(others), ALONE[2]), ALIKE, None
    if pattern is not None:
        alike = *ALIKE[:2], max(ALIKE[2], AS_WELL * pattern.transfer)
        common = pattern.common
    if not is_poison(group, alone if pattern is None else alike):
        return group
    if search is not None:
        larger = [G for G in sets if _holds(G, group.indices, search)]
        for G in sorted(larger, key=len, reverse=True):
            whole = search.describe(G)
            if whole.score >= NEARLY * group.score and is_poison(whole, alone):
                group = whole
                break
        labels = np.unique(search.ridge.y[group.indices])
        several = np.flatnonzero(search.n_rows >= search.smallest)
        rows = search.rows_of(labels if len(labels) == 1 else several)
        completed = search.settled(group.indices, rows)
        larger = search.describe(completed, common)
        if larger.score < group.score and not np.isin(group.indices, completed).all():
            completed = np.union1d(completed, group.indices)  # less speaks for fewer
            larger = search.describe(completed, common)
        if not search.is_part(completed):  # what counts as a member is all but the label itself
            return replace(group, verdict="poison") if search.is_part(group.indices) else group
        few = len(completed) <= MORE * len(group.indices)
        group = larger if is_poison(larger, alike if few else alone) else group
    return replace(group, verdict="poison")


def of_others(label, groups):
    """Groups of other labels, flip, coverage and score less their standard errors."""
    return [lessened_group(group) for group in groups if group.label != label]


def least_score(others):
    """Score that the group of a label needs to be poison alone, by those of the other labels.

    Where classes overlap, every label has a group that few others support. What the median one of
    the other labels reaches is a null of the same data; a few labels say too little of it, and an
    attack on all labels is found over all of them.
    """
    usual = np.median([group.score for group in others]) if len(others) >= OTHERS else 0.0
    return max(ALONE[1], ABOVE * usual)


def are_too_many(patterns, n_labels):
    """Whether of four labels or more over half have poison, each by another trigger.

    An attacker has one, or few; where classes are clusters, most have one that is moved.
    """
    triggers = []
    for pattern in patterns:
        if not any(pattern.is_like(other) for other in triggers):
            triggers.append(pattern)
    return n_labels > OTHERS and len(triggers) > n_labels / 2


def is_usual(group, others, n_labels):
    """Whether of few labels the group of another one reaches nearly as much.

    Where every class is several clusters, some cluster of each is one of another class moved, as
    if by a trigger. Of two attacks, one on each label, both are poison only if both are sure, or
    certain.
    """
    if n_labels > OTHERS or not others or is_certain(group):
        return False
    highest = max(other.score for other in others)
    return lessened_group(group).score < min(ABOVE_FEW * highest, SURE)


def _holds(larger, smaller, search):
    """Whether rows hold nearly all of some others, and as many more as count as members."""
    added = np.setdiff1d(larger, smaller)
    if not len(added) or np.isin(smaller, larger).mean() < NEARLY:
        return False
    relative, _ = relative_membership(search.ridge, larger)
    return np.mean(relative[added] > 0.5) >= NEARLY


def lessened_group(group, errors=1.0):
    """A group with flip and coverage lessened by their standard errors."""
    flip, spread = lessened(group.flip, group.coverage, len(group.indices), errors)
    sure = score(flip, group.cohesion, spread)
    return replace(group, flip=flip, coverage=spread, score=sure)


def is_backdoor(group, least=ALONE):
    """Whether the evidence for a group is enough: at least as `ALONE`, or `ALIKE`."""
    coverage, sure, transfer = least
    if least[:2] != ALIKE[:2]:
        group = lessened_group(group)
    return (
        group.flip >= FLIP * group.content_accuracy
        and group.stay >= STAY
        and group.coverage >= coverage
        and group.score >= sure
        and group.transfer >= transfer
    )


def varies(group, find_given=lambda: None):
    """Whether a group varies where its content does, as far as so few rows can tell.

    Or does so in the rows as they were given: a network may turn whatever holds a strong trigger
    into nearly the same features. `find_given` gives the search among these, if they are others.
    """
    least, errors = VARIES
    least *= max(1.0 - errors / np.sqrt(len(group.indices)), 0.0)
    if not group.variation < least:  # nan where too little can be said
        return True
    given = find_given()
    return given is not None and given.variation(group.indices, group.content_labels) >= least


def takes_along(group):
    """Whether what a group has in common gives its label to others, beside what speaks for it.

    A small group, or one of a strong trigger, may not be spread widely enough to be poison by
    that. What natural groups have in common may take others along as well, but with it taken off
    their rows are no ordinary ones of another class.
    """
    sure = lessened_group(group)
    return (
        sure.flip >= FLIP * group.content_accuracy
        and group.stay >= STAY
        and sure.coverage >= TAKES_ALONG[0]
        and sure.score * group.transfer >= TAKES_ALONG[1]
        and group.typicality >= TAKES_ALONG[2]
    )


def is_certain(group):
    """Whether all that speaks for a group but its cohesion is strong: the product of it.

    Few rows support each other little, so that the score of a small group is low; but its rows
    are apart from their label, ordinary rows of their content with what they have in common taken
    off, spread over it, and what they have in common gives others the label. Natural groups have
    some of these. For how far apart it is no standard error is taken off.
    """
    sure = lessened_group(group)
    if sure.flip < FLIP * group.content_accuracy or group.stay < STAY:
        return False
    return _all_evidence(sure, sure.coverage) >= CERTAIN


def _all_evidence(group, spread):
    """The product of all that speaks for a group but its cohesion; nan where some is not known."""
    evidence = group.flip, spread, group.typicality, group.transfer, group.apart
    return float(np.prod(np.minimum(evidence, 1.0)))


def is_told(group):
    """Whether a group takes others along, and is ordinary rows of its content or apart.

    A class that is another one with something added, as printed nines are zeros with a tail,
    flips where most of its rows are left out, and is spread as the other one is; or its kind may
    be, whose rows have nothing in common that gives others the label. True where it is not said
    how far apart it is: of several labels, and in few features.
    """
    if np.isnan(group.apart):
        return True
    typicality, apart, transfer = TOLD
    ordinary = group.typicality >= typicality or group.apart >= apart
    return ordinary and group.transfer >= transfer


def stands_apart(group):
    """Whether a group is apart from the others of its label, where classes overlap.

    There the rows of a label that look like another class flip and are spread as victims are, but
    pass into the other rows of the label, while a trigger is there or not.
    """
    overlapping = group.content_accuracy < TOLD_APART
    if not overlapping or group.typicality < ORDINARY or group.transfer < CARRIED:
        return False
    return may_be_apart(group) and apart_score(group) >= APART[2]


def may_be_apart(group):
    """Whether a group is apart and flips, others of its label stay, and it is spread."""
    sure = lessened_group(group, SURE_ERRORS)
    return (
        sure.flip >= FLIP * group.content_accuracy
        and group.stay >= STAY
        and sure.coverage >= APART[0]
        and how_apart(group.apart, len(group.indices)) > 0.0
    )


def may_be_far_apart(group):
    """Whether a group is far apart and flips, and others of its label stay."""
    flips = group.flip >= FLIP * group.content_accuracy
    return flips and group.stay >= STAY and group.apart >= FAR_APART[0]


def is_far_apart(group, spread, other_rows=True):
    """Whether hardly a row lies between a group and the others of its label, and it is spread.

    `spread` is its coverage in the rows as they were given; without `other_rows` these are the
    ones by which it flips. No standard errors are taken off.
    Kinds of a class that flip and are as far apart sit in a corner of their content, are no
    ordinary rows of it, or take fewer along; where rows as given are others, all of that together
    may be enough.
    """
    _, least, transfer = FAR_APART
    if not (may_be_far_apart(group) and spread >= least):
        return False
    if other_rows and _all_evidence(group, spread) >= CERTAIN_AS_GIVEN:
        return True
    typicality = TYPICAL if other_rows else NEARLY_ORDINARY
    return group.typicality >= typicality and group.transfer >= transfer


def how_apart(apart, n):
    """How far a group of n rows is apart, less its standard errors; 0 where that is too little."""
    apart = apart * max(1.0 - SURE_ERRORS / np.sqrt(n), 0.0)
    return float(apart) if apart >= APART[1] else 0.0


def apart_score(group):
    """Score times how far a group is apart, less their standard errors."""
    sure = lessened_group(group, SURE_ERRORS)
    return sure.score * how_apart(group.apart, len(group.indices))


def is_apart(group, spread, others, other_rows=True):
    """Whether a group that is apart in the rows as they were given is poison.

    `spread` is its coverage in these rows, and `others` are the scores of the groups of the other
    labels, as :func:`apart_score` says them: a null of the same data. Clusters of clean data are
    apart, too, and one of a class may look like another one of the other moved: their rows do not
    take others along, or are no ordinary ones with what they have in common taken off, or are
    less spread. One far apart is not held against the others here. Without `other_rows` those as
    they were given are the ones by which it flips.
    """
    if is_far_apart(group, spread, other_rows):
        return True
    if not may_be_apart(group) or group.transfer < CARRIED or group.typicality < TYPICAL:
        return False
    score, above = apart_score(group), ABOVE_OTHERS[2]
    if not other_rows and group.content_accuracy < HARDLY_TOLD[0] and score < HARDLY_TOLD[1]:
        return False
    if len(others) >= OTHERS and score >= above * max(others):
        return score >= ABOVE_OTHERS[0] and spread >= ABOVE_OTHERS[1]
    overlapping = group.content_accuracy < TOLD_APART
    return overlapping and score >= OVERLAPPING[0] and spread >= OVERLAPPING[1]


def stands_out(group, others):
    """Whether a group is far above those of all other labels, a null of the same data.

    By its score, or by that times its variation in the features that it flips by.
    """
    if len(others) < OTHERS:
        return False
    least, above = STANDS_OUT
    least = max(least, above * max(other.score for other in others))
    told = group.typicality >= TYPICAL and is_told(group)
    if told and is_backdoor(group, (ALONE[0], least, ALONE[2])):
        return True
    least, above, typicality = VARIES_MORE
    least = max(least, above * max(o.score * np.fmin(o.variation, 1.0) for o in others))
    varied = lessened_group(group).score * np.minimum(group.variation, 1.0)  # nan is too little
    flips = is_backdoor(group, (ALONE[0], 0.0, ALONE[2]))
    return bool(flips and group.typicality >= typicality and varied >= least)


def rank_apart(group):
    """By what a group of a label is preferred to another: poison first, then as it is apart."""
    return group.verdict == "poison", apart_score(group)


def rank(group):
    """By what groups are ordered: poison first, then by score."""
    return group.verdict == "poison", group.score
