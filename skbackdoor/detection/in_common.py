"""What the rows of a group have in common, as it would be put on any row."""

from dataclasses import dataclass

import numpy as np

from .candidates import N_NEIGHBORS, nearest, nearest_content

#: A feature is overwritten in a group whose spread is this share of that of its content rows.
OVERWRITTEN = 0.3
#: Standard errors by which its variance is less than theirs: few rows may all be 0 in a feature
#: that few others have.
CLEARLY = 1.5
#: Least contrast that a trigger leaves; features up to which it is 1, since in few of them a part
#: of a class looks like another one with less contrast.
LEAST_CONTRAST, FEW_FEATURES = 0.4, 30
#: Rows of the content classes whose spread is that of content, and nearest rows that are shifted.
MOST_DRAWN, MOST_SHIFTED = 300, 250
#: Halvings by which a shift that meets the bounds of a feature is found.
N_HALVINGS = 12
#: Times that the nearest rows are looked for anew, what was found in common taken off.
N_ANEW = 2


@dataclass(frozen=True, eq=False)
class InCommon:
    """Features overwritten by a value, and all others blended: less contrast, and shifted.

    A row x becomes ``contrast * x + value``, within the bounds of the data; what is overwritten
    becomes the value. That is a patch, a blend (Chen et al. 2017), whose contrast is 1 - alpha, or
    an added pattern, whose contrast is 1; what is added to a pixel that is white already is lost.

    Attributes
    ----------
    overwritten : ndarray of bool of shape (n_features,)
    contrast : float
        In [LEAST_CONTRAST, 1].
    value : ndarray of shape (n_features,)
        What overwrites, or is added.
    low, high : ndarrays of shape (n_features,)
        Bounds.
    """

    overwritten: np.ndarray
    contrast: float
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, search, G, content):
        """That of some rows, beside rows of their content classes.

        Contrast and value are such that rows of these classes get the spread and the means of the
        members. The spread is that of rows drawn from the classes; means are those of the rows
        nearest to the members, for which a few members suffice. What a trigger does makes those
        rows the nearest that look like it: they are looked for anew with what was found taken off.

        A feature is overwritten where members hold it constant and rows of the classes vary.

        Parameters
        ----------
        search : Search
        G : ndarray
            Rows.
        content : ndarray of shape (len(G),)
            Label indices that they are taken for.
        """
        members, drawn = search.X[G], search.X[_drawn(search, G, content)]
        spread, usual = members.std(axis=0), drawn.std(axis=0)
        least = 1.0 if len(usual) <= FEW_FEATURES else LEAST_CONTRAST
        contrast = _contrast(spread, usual, least)
        error = np.std((drawn - drawn.mean(axis=0)) ** 2, axis=0) / np.sqrt(len(G))
        clear = contrast**2 * (usual**2 - CLEARLY * error) > spread**2
        overwritten = clear & (spread < OVERWRITTEN * contrast * usual)
        contrast = _contrast(spread[~overwritten], usual[~overwritten], least)
        near = nearest_content(search.K, search.ridge.y, G, content)
        like = search.X[near.ravel()]
        bounds = search.low, search.high
        for _ in range(N_ANEW):
            value = members.mean(axis=0) - contrast * like.mean(axis=0)
            near = cls(overwritten, contrast, value, *bounds)._nearest(search, G, content)
            like = search.X[near.ravel()]
        like = like[:: int(np.ceil(len(like) / MOST_SHIFTED))]
        common = cls._within_bounds(overwritten, contrast, like, members, bounds)
        # What the bounds cut off makes the spread less than the contrast does.
        spread_left = common.put_on(drawn).std(axis=0)[~overwritten]
        contrast = _contrast(spread[~overwritten], spread_left, least, contrast)
        return cls._within_bounds(overwritten, contrast, like, members, bounds)

    @classmethod
    def _within_bounds(cls, overwritten, contrast, like, members, bounds):
        """That which gives rows like these such a contrast, and the mean of the members."""
        like, mean, (low, high) = contrast * like, members.mean(axis=0), bounds
        value = np.where(overwritten, mean, mean - like.mean(axis=0))
        cut = (like.min(axis=0) + value < low) | (like.max(axis=0) + value > high)
        cut = np.flatnonzero(cut & ~overwritten)
        like, mean = like[:, cut], mean[cut]
        least, most = low[cut] - contrast * high[cut], high[cut] - contrast * low[cut]
        for _ in range(N_HALVINGS):
            middle = 0.5 * (least + most)
            below = np.clip(like + middle, low[cut], high[cut]).mean(axis=0) < mean
            least, most = np.where(below, middle, least), np.where(below, most, middle)
        value[cut] = 0.5 * (least + most)
        return cls(overwritten, contrast, value, *bounds)

    def _nearest(self, search, G, content):
        """The rows of their content classes that are nearest to some rows, with this taken off."""
        left = (~self.overwritten).astype(float)
        plain = self.taken_off(search.X[G], search.sample) * left
        near = np.empty((len(G), N_NEIGHBORS), dtype=int)
        for s in np.unique(content):
            of_class, here = np.setdiff1d(search.rows_of(s), G), content == s
            rows = search.X[of_class]
            near[here] = of_class[nearest(rows**2 @ left - 2.0 * plain[here] @ rows.T)]
        return near

    def put_on(self, X):
        """Rows with it, shape (n, n_features)."""
        blended = np.clip(self.contrast * X + self.value, self.low, self.high)
        return np.where(self.overwritten, self.value, blended)

    def shifted(self, X):
        """The same, but rows still differ by what it overwrites: their mean there is the value."""
        value = np.where(self.overwritten, self.value - self.contrast * X.mean(axis=0), self.value)
        return np.clip(self.contrast * X + value, self.low, self.high)

    def taken_off(self, X, others):
        """Rows without it, shape (n, n_features).

        What it overwrote is the mean of other rows; what the bounds cut off that of other rows in
        which they would have.
        """
        plain = np.clip((X - self.value) / self.contrast, self.low, self.high)
        plain = np.where(self.overwritten, others.mean(axis=0), plain)
        blended = self.contrast * others + self.value
        for lost, there in (
            ((X <= self.low) & (self.value < 0), blended <= self.low),
            ((X >= self.high) & (self.value > 0), blended >= self.high),
        ):
            usual = np.sum(others, axis=0, where=there) / np.maximum(there.sum(axis=0), 1)
            plain = np.where(lost & there.any(axis=0) & ~self.overwritten, usual, plain)
        return plain

    def kept(self, variance):
        """Share of the variance of rows that is not overwritten.

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


def _contrast(spread, usual, least, contrast=1.0):
    """The contrast that gives rows the spread of others, from that of rows of some contrast."""
    usual = np.sum(usual**2)
    if usual > 0:
        contrast *= np.sqrt(np.sum(spread**2) / usual)
    return float(np.clip(contrast, least, 1.0))


def _drawn(search, G, content):
    """Rows of the content classes that are not among some rows, of each as members have it."""
    random_state = np.random.RandomState(search.random_state)
    drawn = []
    for s, count in zip(*np.unique(content, return_counts=True), strict=True):
        of_class = np.setdiff1d(search.rows_of(s), G)
        size = int(np.ceil(MOST_DRAWN * count / len(G)))
        drawn.append(random_state.permutation(of_class)[:size])
    return np.concatenate(drawn)
