"""What makes a group of rows that share values poison, and what leaves it a suspect.

A table holds thousands of values, some of which mark rows of one label by nature.
"""

from dataclasses import replace

import numpy as np

from .evidence import lessened, relative_flip, score
from .verdict import ALONE, FLIP, STAY

#: Least rows of one that is poison: thousands of values are rarer, and some few rows of one label
#: that have another's content share one by chance. Largest share of all rows: values of most rows
#: are natural.
LEAST_ROWS, MOST = 15, 0.15
#: Least share of the rows with the values that have the label.
HELD = 0.75
#: Standard errors by which evidence is lessened, since there are so many values.
ERRORS = 1.5
#: Separability above which, by a standard error, members are of a kind; that error times the root
#: of their number, which the draws of folds and of rows make as large.
DRAWN, ERROR = 0.6, 0.5
#: Least rows of a group whose separability speaks for it, and then: least share of the rows with
#: the values that have the label, least flips and transfer, as shares of the accuracy on its
#: content, least coverage and least score.
DRAWN_ROWS, DRAWN_LEAST = 30, (0.6, 0.4, 0.4, 0.5, 0.2)
#: The same of a clean-label group, whose rows do not flip: most separability from the label's
#: other rows, and least share of the rows with the values, coverage, and transfer.
CLEAN_LABEL = 0.56, (0.95, 0.5, 0.3)
#: Separability up to which members that flip, as many as `DRAWN_ROWS`, look drawn at random from
#: others that are right, and stand for a group.
DRAWN_FLIPS = 0.56
#: Share of the rows of a group, and of its score, from which on another value of its column that
#: marks rows of the same label makes it natural.
OTHER_VALUE = 0.5


def judged_values(group, n):
    """The group with its verdict, of n rows in all."""
    if not LEAST_ROWS <= len(group.indices) <= MOST * n:
        return group
    if group.clean_label:
        is_poison = _is_clean_label_poison(group)
    else:
        is_poison = not is_kind(group) and (_is_sure(group) or _is_drawn_and_carries(group))
    return replace(group, verdict="poison") if is_poison else group


def lessened_values(group):
    """A group of rows that share values, flip and coverage lessened by standard errors."""
    flip, spread = lessened(group.flip, group.coverage, len(group.indices), ERRORS)
    sure = score(relative_flip(flip, group.content_accuracy), group.cohesion, spread)
    return replace(group, flip=flip, coverage=spread, score=sure)


def is_kind(group):
    """Whether rows that share values are of a kind: told from others without these."""
    return bool(group.separability > DRAWN + ERROR / np.sqrt(len(group.indices)))


def _is_sure(group):
    """Whether nearly all rows with the values have the label, flip, and are spread."""
    sure, (spread, least, _) = lessened_values(group), ALONE
    return (
        group.cohesion >= HELD
        and sure.flip >= FLIP * group.content_accuracy
        and group.stay >= STAY
        and sure.coverage >= spread
        and sure.score >= least
    )


def _is_drawn_and_carries(group):
    """Whether members look drawn at random, and the values give others the label.

    An attacker who sets a value that is not rare has rows among his that had it by nature: of
    other labels, so that not all have his, and of his own, which do not flip.
    """
    held, flip, transfer, spread, least = DRAWN_LEAST
    sure = lessened_values(group)
    return (
        len(group.indices) >= DRAWN_ROWS
        and not np.isnan(group.separability)
        and group.transfer >= transfer * group.content_accuracy
        and group.cohesion >= held
        and sure.flip >= flip * group.content_accuracy
        and group.stay >= STAY
        and sure.coverage >= spread
        and sure.score >= least
    )


def _is_clean_label_poison(group):
    separability, (held, spread, transfer) = CLEAN_LABEL
    return (
        len(group.indices) >= DRAWN_ROWS
        and group.separability <= separability
        and group.cohesion >= held
        and 1.0 - group.flip >= STAY * group.content_accuracy
        and lessened_values(group).coverage >= spread
        and group.transfer >= transfer
    )


def are_like(shared, n, group):
    """Whether n rows that share values are as many as matter and hold others in its columns."""
    values, own = dict(shared), dict(group.shared)
    return (
        n >= OTHER_VALUE * len(group.indices)
        and values.keys() <= own.keys()
        and all(values[column] != own[column] for column in values)
    )


def unlike_others(groups, null=()):
    """Groups, those as suspects that other values of their columns have their like of.

    A column whose values say where rows are from marks rows of one label with many of them; what
    the others reach is a null of the same data.

    Parameters
    ----------
    groups : list of PoisonGroup
    null : list of PoisonGroup
        Others that they are held against, beside each other.

    Returns
    -------
    groups : list of PoisonGroup
    """

    def is_like(other, group):
        return (
            other.label == group.label
            and are_like(other.shared, len(other.indices), group)
            and other.score >= OTHER_VALUE * group.score
        )

    both = [*groups, *null]
    tables = [group for group in both if group.shared and not isinstance(group.shared[0], str)]
    return [
        replace(group, verdict="suspect")
        if group.verdict == "poison" and any(is_like(other, group) for other in tables)
        else group
        for group in groups
    ]
