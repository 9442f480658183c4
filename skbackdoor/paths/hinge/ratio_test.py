"""Which of many distances, each shrinking at its own speed, is the first to vanish."""

import numpy as np


def ratio_test(distance, speed, none, near, noise):
    """The first of some distances to vanish, as in the simplex method.

    Parameters
    ----------
    distance, speed : ndarrays of shape (n,)
        Distances above 0, and how fast they shrink.
    none : float
        Distances up to this one are 0 but for rounding. Of several of these the fastest is taken.
    near : float
        Distances up to this one may seem to shrink by rounding only: where one of them comes
        first, speeds up to the noise do not count.
    noise : callable
        ``noise()`` gives the speed up to which a distance stands still but for rounding.

    Returns
    -------
    step : float
        After what time it vanishes; inf where none does.
    i : int
        Which one it is.
    """
    i = (speed / distance).argmax()
    if distance[i] <= near:
        moving = speed > noise()
        there = (moving & (distance <= none)).nonzero()[0]
        if len(there):
            return 0.0, int(there[speed[there].argmax()])
        i = np.where(moving, speed / distance, 0.0).argmax()
        if not moving[i]:
            return np.inf, -1
    if not speed[i] > 0:
        return np.inf, -1
    return 0.0 if distance[i] <= none else float(distance[i] / speed[i]), int(i)
