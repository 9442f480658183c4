"""Which rows of one label count as members of a part of them, and how far that part is apart."""

import numpy as np

from .candidates import LARGEST

#: Relative membership between which the widest gap parts members from the others.
BETWEEN = (0.25, 0.75)
#: Rounds in which a group is made the rows that count as its members.
MOST_ROUNDS = 6
#: Sizes of groups that are tried in the place of one, as shares of its size.
SIZES = (0.7, 1.5)


class Members:
    """Which rows of one label count as members of a part of them, by the fit on all rows.

    Parameters
    ----------
    ridge : LeaveGroupOutRidge
    rows : ndarray of shape (n_rows,)
        Those of the label. Parts are positions among them.
    """

    def __init__(self, ridge, rows):
        self.rows = rows
        self._inverse = ridge.inverse[np.ix_(rows, rows)]

    def is_part(self, G):
        """Whether rows are not too many to be a part of the label."""
        return len(G) <= LARGEST * len(self.rows)

    def relative(self, part):
        """Membership of each row, 0 for the median row outside, 1 for that inside; the gap."""
        inside = np.zeros(len(self.rows), dtype=bool)
        inside[part] = True
        membership = inside - self._inverse[:, part].sum(axis=1) / self._inverse.diagonal()
        low, high = np.median(membership[~inside]), np.median(membership[inside])
        return (membership - low) / (high - low + 1e-9), float(high - low)

    def refined(self, part):
        """The rows above the widest gap in membership, until these are the part itself."""
        for _ in range(MOST_ROUNDS):
            relative, _ = self.relative(part)
            between = np.sort(relative[(relative >= BETWEEN[0]) & (relative <= BETWEEN[1])])
            steps = np.concatenate([BETWEEN[:1], between, BETWEEN[1:]])
            widest = np.argmax(np.diff(steps))
            larger = np.flatnonzero(relative > steps[widest : widest + 2].mean())
            if len(larger) < 4 or np.array_equal(larger, part):
                break
            part = larger
        return part

    def apart(self, part):
        """How far a part is from the other rows, about 1 where no row lies between; cohesion.

        The relative membership of nine in ten members less that of nine in ten others.
        """
        relative, cohesion = self.relative(part)
        others = np.delete(relative, part)
        apart = np.quantile(relative[part], 0.1) - np.quantile(others, 0.9)
        return float(np.clip(apart, 0.0, 1.0)), cohesion

    def resized(self, part):
        """As many of the rows that count as members most as are apart most, and cohere.

        Each row less of a group, or more, makes the others count less or more.
        """
        for _ in range(MOST_ROUNDS):
            relative, _ = self.relative(part)
            order, n = np.argsort(-relative, kind="stable"), len(part)
            least = max(int(SIZES[0] * n), 4)
            most = min(int(SIZES[1] * n), len(order) // 2)
            if least > most:
                break
            sums = np.cumsum(self._inverse[:, order[:most]], axis=1)[:, least - 1 :]
            inside = np.arange(least, most + 1) > np.argsort(order)[:, np.newaxis]
            membership = inside - sums / self._inverse.diagonal()[:, np.newaxis]
            sure = []
            for k, size in enumerate(range(least, most + 1)):
                members, others = membership[order[:size], k], membership[order[size:], k]
                low, high = np.median(others), np.median(members)
                apart = np.quantile(members, 0.1) - np.quantile(others, 0.9)
                sure.append(np.clip(apart, 0.0, high - low) * (1.0 - size**-0.5))
            resized = np.sort(order[: least + int(np.argmax(sure))])
            if np.array_equal(resized, part):
                break
            part = resized
        return part
