"""What the rows of a group have in common, as it would be put on any row."""

from dataclasses import dataclass

import numpy as np

from .candidates import N_NEIGHBORS, nearest, nearest_content

#: A feature is overwritten in a group whose spread is this share of that of its content rows.
OVERWRITTEN = 0.3
#: Halvings by which a shift that meets the bounds of a feature is found.
N_HALVINGS = 12
#: Times that the nearest rows are looked for anew, what was found in common taken off.
N_ANEW = 2


@dataclass(frozen=True, eq=False)
class InCommon:
    """Features overwritten by a value, and all others shifted, within the bounds of the data.

    That is a patch, and about what a blend or an added pattern does; what is added to a pixel that
    is white already is lost.

    Attributes
    ----------
    overwritten : ndarray of bool of shape (n_features,)
    value : ndarray of shape (n_features,)
        What overwrites, or is added.
    low, high : ndarrays of shape (n_features,)
        Bounds.
    """

    overwritten: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, search, G, content):
        """That of some rows, beside the rows of their content classes nearest to them.

        What a trigger adds makes those rows the nearest that look like it, and the difference
        too small. So the nearest are looked for anew with what was found taken off.

        A feature is overwritten where they hold it constant and these rows vary. What is added to
        others, with what the bounds cut off, makes the mean of these rows that of the group; where
        the means differ by less than their standard error, nothing is.

        Parameters
        ----------
        search : Search
        G : ndarray
            Rows.
        content : ndarray of shape (len(G),)
            Label indices that they are taken for.
        """
        near = nearest_content(search.K, search.ridge.y, G, content)
        for _ in range(N_ANEW):
            near = cls._beyond(search, G, near)._nearest(search, G, content)
        return cls._beyond(search, G, near)._bounded(search.X[near.ravel()], search.X[G])

    @classmethod
    def _beyond(cls, search, G, near):
        """What some rows have in common beyond others, shape (len(G), n_neighbors)."""
        X, low, high = search.X, search.low, search.high
        like = X[near.ravel()]
        mean, spread, usual = X[G].mean(axis=0), X[G].std(axis=0), like.std(axis=0)
        overwritten = spread < OVERWRITTEN * usual
        value = np.where(overwritten, mean, mean - like.mean(axis=0))
        chance = np.abs(value) * np.sqrt(len(G)) < np.hypot(spread, usual)
        value[chance & ~overwritten] = 0.0
        return cls(overwritten, value, low, high)

    def _bounded(self, like, members):
        """The same, with more added where the bounds cut it off: to the mean of the members."""
        value, low, high = self.value.copy(), self.low, self.high
        cut = (like.min(axis=0) + value < low) | (like.max(axis=0) + value > high)
        cut = np.flatnonzero(cut & ~self.overwritten & (value != 0.0))
        like, mean = like[:, cut], members[:, cut].mean(axis=0)
        least, most = low[cut] - high[cut], high[cut] - low[cut]
        for _ in range(N_HALVINGS):
            middle = 0.5 * (least + most)
            below = np.clip(like + middle, low[cut], high[cut]).mean(axis=0) < mean
            least, most = np.where(below, middle, least), np.where(below, most, middle)
        value[cut] = 0.5 * (least + most)
        return InCommon(self.overwritten, value, low, high)

    def _nearest(self, search, G, content):
        """The rows of their content classes that are nearest to some rows, with this taken off."""
        left = (~self.overwritten).astype(float)
        plain = (search.X[G] - self.value) * left
        near = np.empty((len(G), N_NEIGHBORS), dtype=int)
        for s in np.unique(content):
            of_class, here = np.setdiff1d(search.rows_of(s), G), content == s
            rows = search.X[of_class]
            near[here] = of_class[nearest(rows**2 @ left - 2.0 * plain[here] @ rows.T)]
        return near

    def put_on(self, X):
        """Rows with it, shape (n, n_features)."""
        return np.where(self.overwritten, self.value, np.clip(X + self.value, self.low, self.high))

    def kept(self, variance):
        """Share of the variance of rows that is left with it put on them.

        A trigger leaves the content to be seen. Where the members of a compact natural class are
        held against rows of others, nearly every feature is the same in all of them: what they
        have in common is then the class, and puts it in the place of any content.

        Parameters
        ----------
        variance : ndarray of shape (n_features,)
            Of the rows.
        """
        total = variance.sum()
        return float(variance[~self.overwritten].sum() / total) if total > 0 else 0.0
