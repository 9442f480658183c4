"""A group of rows that is suspected, and what speaks for it."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class PoisonGroup:
    """Rows of one label that only their own kind supports.

    Attributes
    ----------
    label : label
        The label of its rows.
    indices : ndarray of shape (n_members,)
        Its rows, of the X of `fit`, increasing.
    flip : float
        Share of its rows to which a model without the group gives another label.
    cohesion : float
        How far its members count as members by the other members alone: the median over members
        minus that over all other rows, about 1 for rows that share something no other row has.
    typicality : float
        How ordinary its members are for the label that the model without the group gives them:
        the median of that score over the median score of all rows for their own label.
    coverage : float
        How far its members are spread over the classes they are taken for: the share of rows of
        these classes that have a member nearby, over the same share for random rows of these
        classes; about 1 where members were drawn from them at random.
    transfer : float
        Share of rows of these classes that get the label once what the members have in common is
        put on them, by the model with the group less that by the model without: about the success
        of the attack, where it is one.
    stay : float
        Share of the other rows of the label, of those that a model without them alone labels so,
        that keep it without the group as well.
    content_labels : ndarray of shape (n_members,)
        The label that the model without the group gives each row; None, and nan for the numbers
        above, where a detector asks no model.
    verdict : {"poison", "suspect"}
        "poison" where the evidence rules out a natural group, by the detector's assumption;
        "suspect" where it does not: to be looked at, never dropped by itself.
    score : float
        How sure, in [0, 1]: groups are ordered by it.
    rule : str or None
        What its rows share, in words, where the detector knows it: a value of a column, a word.
    """

    label: object
    indices: np.ndarray
    flip: float
    cohesion: float
    typicality: float
    coverage: float
    transfer: float
    stay: float
    content_labels: np.ndarray
    verdict: str
    score: float
    rule: str | None = None

    def of_rows(self, rows, classes):
        """The same group in other terms: positions are `rows`, label indices are `classes`."""
        return replace(
            self,
            label=classes[self.label],
            indices=rows[self.indices],
            content_labels=None if self.content_labels is None else classes[self.content_labels],
        )
