"""Where labels change along a smooth path: zeros of a spline, to a measured error."""

import numpy as np
from scipy.interpolate import CubicSpline

from .switches import SignChanges, by_comparisons, margins

#: Error of a weight, as a share of it, that is aimed at, and times that pieces are cut in two.
AIM, ROUNDS = 1e-4, 4
#: Pieces at first, and the weight below which they are of equal length in the weight itself.
PIECES, SMALL = 64, 1e-4
#: Pieces that a search for a first weight begins with.
FEW = 8
#: Points of a piece between which a sign is looked at.
STEPS = np.linspace(0.0, 1.0, 9)


def interpolated_switches(path, rows, y, until=None):
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
    until : callable, default=None
        As in :meth:`WeightPath.label_switches`. Of nine weights the first at which it holds is
        then the last that is looked at, and the two pieces before it become eight; weights that
        lie before these are rough, and an error of 1e-3 is aimed at.

    Returns
    -------
    switches : LabelSwitches
        Its `error` is the largest that is left. A label that is held for less than an eighth of
        a piece, between two weights at which it is not, may be missed.
    """
    path.polished  # noqa: B018 - where every solve starts
    curve, aim = _Splines(path, rows, y, until), AIM if until is None else 10 * AIM
    for rounds_left in reversed(range(ROUNDS + 1)):
        piece, functions, u, errors = curve.zeros()
        weights = _weight(u)
        wanted = np.unique(piece[errors > aim * weights])
        if len(wanted) == 0 or rounds_left == 0:
            break
        beside = np.concatenate([wanted - 1, wanted, wanted + 1])
        curve.cut(np.unique(np.clip(beside, 0, curve.n_pieces - 1)))
    order = np.argsort(weights, kind="stable")
    changes = SignChanges(curve.G[0] > 0, functions[order], weights[order])
    owners = np.repeat(np.arange(len(y)), curve.n_comparisons)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = float(np.max(np.where(weights > 0, errors / weights, 0.0), initial=0.0))
    return by_comparisons(owners, changes, curve.method, error)


def _weight(u):
    """The poison weight at u."""
    return np.minimum(SMALL * np.expm1(u), 1.0)


class _Splines:
    """Margins of samples as functions of u, known at some u."""

    def __init__(self, path, rows, y, until=None):
        self.path, self.rows, self.y = path, rows, y
        self.u = np.linspace(0.0, np.log1p(1.0 / SMALL), PIECES + 1 if until is None else FEW + 1)
        self.G = self._solved(self.u)
        fine = 0  # from this node on
        if until is not None:
            fine = self._find(until)
        coarse = CubicSpline(self.u[fine::2], self.G[fine::2])
        measured = np.abs(coarse(self.u[fine + 1 :: 2]) - self.G[fine + 1 :: 2]) / 8
        #: How far each function may be off in each piece.
        self.off = np.concatenate(
            [np.zeros((fine, self.G.shape[1])), np.repeat(measured, 2, axis=0)]
        )
        self._draw()

    def _find(self, until):
        """Leave out what comes after enough, and have eight pieces in place of the last two.

        Returns
        -------
        fine : int
            The node from which on pieces are so.
        """
        held = np.all(self.G.reshape(len(self.u), len(self.y), -1) > 0, axis=2)
        found = (k for k in range(2, len(self.u)) if until(held[0], held[k]))
        last = next(found, len(self.u) - 1)
        first, middle, end = last - 2, last - 1, last
        u = np.linspace(self.u[first], self.u[end], 9)
        new = np.delete(u, [0, 4, 8])
        G = self._solved(new)
        known = self.G[[first, middle, end]]
        self.G = np.concatenate([self.G[:first], known[:1], G[:3], known[1:2], G[3:], known[2:]])
        self.u = np.concatenate([self.u[:first], u])
        return first

    @property
    def n_pieces(self):
        return len(self.u) - 1

    def _draw(self):
        self.D = CubicSpline(self.u, self.G)(self.u, 1)

    def _solved(self, u):
        solution = self.path.solve(_weight(u))
        self.method = solution.method
        G = margins(solution.at_rows(self.rows), self.y)
        self.n_comparisons = G.shape[2]
        return G.reshape(len(u), -1)

    def _at(self, k, functions, share):
        """Values and slopes of some functions, each at a share of the way through a piece."""
        h, t = self.u[k + 1] - self.u[k], share
        g, rise = self.G[k, functions], self.G[k + 1, functions] - self.G[k, functions]
        d, d_next = h * self.D[k, functions], h * self.D[k + 1, functions]
        bend, twist = 3 * rise - 2 * d - d_next, d + d_next - 2 * rise
        return g + t * (d + t * (bend + t * twist)), (d + t * (2 * bend + 3 * t * twist)) / h

    def cut(self, pieces):
        """Cut pieces in two."""
        middle = (self.u[pieces] + self.u[pieces + 1]) / 2
        G = self._solved(middle)
        expected, _ = self._at(pieces[:, None], np.arange(G.shape[1]), 0.5)
        self.off[pieces] = np.abs(G - expected) / 8
        self.u = np.insert(self.u, pieces + 1, middle)
        self.G = np.insert(self.G, pieces + 1, G, axis=0)
        self.off = np.insert(self.off, pieces + 1, self.off[pieces], axis=0)
        self._draw()

    def zeros(self):
        """All zeros: their pieces, functions, u, and errors of their weights."""
        pieces, functions, low, high = [], [], [], []
        everything = np.arange(self.G.shape[1])
        for k in range(self.n_pieces):
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
        off = self.off[k, f]
        with np.errstate(divide="ignore", invalid="ignore"):
            errors = np.where(off > 0, off / np.abs(slope), 0.0)
        errors = np.minimum(errors, self.u[k + 1] - self.u[k])
        return k, f, u, errors * (SMALL + _weight(u))  # d weight / d u
