"""The interval of an intercept that no free row determines: its middle, as libsvm takes it.

``towards`` is the sign of a change of the intercept that brings a row to its margin, 0 for rows
that have no part in it; the interval ends where the nearest row of either sign is on its margin.
"""

import numpy as np


def way_to_middle(towards, distance):
    """How far the middle of the interval is; 0 where it has an end only on one side.

    `distance` is that of each row from its margin, shape (n,).
    """
    up, down = distance[towards > 0], distance[towards < 0]
    return (up.min() - down.min()) / 2.0 if len(up) and len(down) else 0.0


def middle_rate(towards, distance, closing, equal):
    """Rate of the middle where distances shrink at the speeds `closing`, the intercept apart.

    Of rows that are as near to their margin, but for `equal`, the fastest counts.
    """
    rates = []
    for rows in (np.flatnonzero(towards > 0), np.flatnonzero(towards < 0)):
        if len(rows) == 0:
            return 0.0
        nearest = rows[distance[rows] <= distance[rows].min() + equal]
        rates.append(closing[nearest].max())
    return float(rates[1] - rates[0]) / 2.0
