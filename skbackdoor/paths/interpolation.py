"""Where labels change along a smooth path: zeros of a spline, to a measured error."""

import numpy as np
from scipy.interpolate import CubicSpline

from .switches import SignChanges, by_comparisons, margins

#: Error of a weight, as a share of it, that is aimed at, and times that pieces are cut in two.
AIM, ROUNDS = 1e-4, 4
#: Pieces at first, and the weight below which they are of equal length in the weight itself.
PIECES, SMALL = 64, 1e-4
#: Points of a piece between which a sign is looked at.
STEPS = np.linspace(0.0, 1.0, 9)


def interpolated_switches(path, rows, y):
    r"""When samples get and lose labels, from fits at some weights.

    Decision values are cubic splines in :math:`u = \log(1 + 10^4 \beta)` through their values at
    65 weights. A spline through every other of these tells, at the others, how far it is off
    where it is off most; the one through all of them is taken to be off by an eighth of that (a
    sixteenth where the path is smooth). Pieces with a zero whose weight is not known to 1e-4 of
    it are cut in two, with their neighbours.

    Parameters
    ----------
    path : WeightPath
        A smooth one.
    rows : array of shape (n_samples, n_features)
        Samples as the learner sees them.
    y : ndarray of int of shape (n_samples,)
        Index of the label that each of them is asked about.

    Returns
    -------
    switches : LabelSwitches
        Its `error` is the largest that is left. A label that is held for less than an eighth of
        a piece, between two weights at which it is not, may be missed.
    """
    path.polished  # noqa: B018 - where every solve starts

    def solved(u):
        solution = path.solve(to_weight(u))
        G = margins(solution.at_rows(rows), y)
        return G.reshape(len(u), -1), G.shape[2], solution.method

    u = np.linspace(0.0, np.log1p(1.0 / SMALL), PIECES + 1)
    G, n_comparisons, method = solved(u)
    coarse = CubicSpline(u[::2], G[::2])
    curve = Splines(u, G, np.repeat(np.abs(coarse(u[1::2]) - G[1::2]) / 8, 2, axis=0))
    for rounds_left in reversed(range(ROUNDS + 1)):
        piece, functions, u, errors = curve.zeros()
        weights = to_weight(u)
        wanted = np.unique(piece[errors > AIM * weights])
        if len(wanted) == 0 or rounds_left == 0:
            break
        beside = np.concatenate([wanted - 1, wanted, wanted + 1])
        pieces = np.unique(np.clip(beside, 0, len(curve.u) - 2))
        curve.cut(pieces, solved(curve.middles(pieces))[0])
    order = np.argsort(weights, kind="stable")
    changes = SignChanges(curve.G[0] > 0, functions[order], weights[order])
    owners = np.repeat(np.arange(len(y)), n_comparisons)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = float(np.max(np.where(weights > 0, errors / weights, 0.0), initial=0.0))
    return by_comparisons(owners, changes, method, error)


def to_weight(u):
    """The poison weight at u."""
    return np.minimum(SMALL * np.expm1(u), 1.0)


def to_u(weight):
    """u at a poison weight."""
    return np.log1p(weight / SMALL)


class Splines:
    """Margins of samples as functions of u, known at some u.

    Parameters
    ----------
    u : ndarray of shape (n_nodes,)
        Increasing.
    G : ndarray of shape (n_nodes, n_functions)
        Margins there.
    off : ndarray of shape (n_nodes - 1, n_functions), default=None
        How far each may be off in each piece; None where that is not known.
    """

    def __init__(self, u, G, off=None):
        self.u, self.G, self.off = u, G, off
        self._draw()

    def _draw(self):
        self.D = CubicSpline(self.u, self.G)(self.u, 1)

    def _at(self, k, functions, share):
        """Values and slopes of some functions, each at a share of the way through a piece."""
        h, t = self.u[k + 1] - self.u[k], share
        g, rise = self.G[k, functions], self.G[k + 1, functions] - self.G[k, functions]
        d, d_next = h * self.D[k, functions], h * self.D[k + 1, functions]
        bend, twist = 3 * rise - 2 * d - d_next, d + d_next - 2 * rise
        return g + t * (d + t * (bend + t * twist)), (d + t * (2 * bend + 3 * t * twist)) / h

    def middles(self, pieces):
        """u in the middle of pieces."""
        return (self.u[pieces] + self.u[pieces + 1]) / 2

    def cut(self, pieces, G):
        """Cut pieces in two, by the margins in their middles."""
        middle = self.middles(pieces)
        expected, _ = self._at(pieces[:, None], np.arange(G.shape[1]), 0.5)
        self.off[pieces] = np.abs(G - expected) / 8
        self.u = np.insert(self.u, pieces + 1, middle)
        self.G = np.insert(self.G, pieces + 1, G, axis=0)
        self.off = np.insert(self.off, pieces + 1, self.off[pieces], axis=0)
        self._draw()

    def zeros(self):
        """All zeros: their pieces, functions, u, and errors of their weights (0 if not known)."""
        pieces, functions, low, high = [], [], [], []
        everything = np.arange(self.G.shape[1])
        for k in range(len(self.u) - 1):
            above = self._at(k, everything, STEPS[:, None])[0] > 0
            step, f = np.nonzero(above[1:] != above[:-1])
            pieces.append(np.full(len(f), k))
            functions.append(f)
            low.append(STEPS[step])
            high.append(STEPS[step + 1])
        k, f, low, high = map(np.concatenate, (pieces, functions, low, high))
        below = self._at(k, f, low)[0] > 0
        for _ in range(45):
            middle = (low + high) / 2
            same = (self._at(k, f, middle)[0] > 0) == below
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        share = (low + high) / 2
        u, slope = self.u[k] + share * (self.u[k + 1] - self.u[k]), self._at(k, f, share)[1]
        off = np.zeros(len(k)) if self.off is None else self.off[k, f]
        with np.errstate(divide="ignore", invalid="ignore"):
            errors = np.where(off > 0, off / np.abs(slope), 0.0)
        errors = np.minimum(errors, self.u[k + 1] - self.u[k])
        return k, f, u, errors * (SMALL + to_weight(u))  # d weight / d u
