"""Where labels change along a smooth path: zeros of its interpolant, to a measured error."""

import numpy as np

from .switches import SignChanges, by_comparisons, margins

#: Error of a weight, as a share of it, that is aimed at, and times that pieces are cut in two.
AIM, ROUNDS = 1e-5, 6
#: Points of a piece between which a sign is looked at.
STEPS = np.linspace(0.0, 1.0, 9)


def interpolated_switches(path, rows, y):
    r"""When samples get and lose labels, from fits at some weights and their right derivatives.

    Between two weights decision values are the cubic polynomials that have their values and right
    derivatives. Each piece is cut in two once, which measures how far the polynomial of the
    whole was off where it is off most, in the middle; halves are taken to be off by an eighth of
    that (a sixteenth where the path is smooth). Pieces with a zero whose weight is not known to
    1e-5 of it are cut again.

    Parameters
    ----------
    path : WeightPath
        Its solutions have tangents.
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
    curve = _Cubics(path, rows, y)
    curve.cut(np.arange(curve.n_pieces))
    for _ in range(ROUNDS):
        piece, functions, weights, errors = curve.zeros()
        wanted = np.unique(piece[errors > AIM * weights])
        if len(wanted) == 0:
            break
        curve.cut(wanted)
    else:
        piece, functions, weights, errors = curve.zeros()
    order = np.argsort(weights, kind="stable")
    changes = SignChanges(curve.G[0] > 0, functions[order], weights[order])
    owners = np.repeat(np.arange(len(y)), curve.n_comparisons)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = float(np.max(np.where(weights > 0, errors / weights, 0.0), initial=0.0))
    return by_comparisons(owners, changes, curve.method, error)


class _Cubics:
    """Margins of samples between weights at which they and their right derivatives are known."""

    def __init__(self, path, rows, y):
        self.path, self.rows, self.y = path, rows, y
        self.beta = np.linspace(0.0, 1.0, 13) ** 3
        self.G, self.D = self._solved(self.beta)
        #: How far each function may be off in each piece.
        self.off = np.full((self.n_pieces, self.G.shape[1]), np.inf)

    @property
    def n_pieces(self):
        return len(self.beta) - 1

    def _solved(self, weights):
        solution = self.path.solve(weights)
        self.method = solution.method
        values = solution.at_rows(self.rows), solution.tangent_at_rows(self.rows)
        G, D = (margins(F, self.y) for F in values)
        self.n_comparisons = G.shape[2]
        return G.reshape(len(weights), -1), D.reshape(len(weights), -1)

    def _at(self, k, functions, share):
        """Values and slopes of some functions, each at a share of the way through a piece."""
        h, t = self.beta[k + 1] - self.beta[k], share
        g, g_next = self.G[k, functions], self.G[k + 1, functions]
        d, d_next = h * self.D[k, functions], h * self.D[k + 1, functions]
        rise = g_next - g
        bend, twist = 3 * rise - 2 * d - d_next, d + d_next - 2 * rise
        return g + t * (d + t * (bend + t * twist)), (d + t * (2 * bend + 3 * t * twist)) / h

    def cut(self, pieces):
        """Cut pieces in two."""
        middle = (self.beta[pieces] + self.beta[pieces + 1]) / 2
        G, D = self._solved(middle)
        everything = np.arange(G.shape[1])
        expected, _ = self._at(pieces[:, None], everything, 0.5)
        self.off[pieces] = np.abs(G - expected) / 8
        self.beta = np.insert(self.beta, pieces + 1, middle)
        self.G, self.D = (
            np.insert(old, pieces + 1, new, axis=0) for old, new in ((self.G, G), (self.D, D))
        )
        self.off = np.insert(self.off, pieces + 1, self.off[pieces], axis=0)

    def zeros(self):
        """The zeros of all functions: their pieces, functions, weights, and errors of these."""
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
        length, share = self.beta[k + 1] - self.beta[k], (low + high) / 2
        slope = np.abs(self._at(k, f, share)[1])
        with np.errstate(divide="ignore", invalid="ignore"):
            errors = np.where(self.off[k, f] > 0, self.off[k, f] / slope, 0.0)
        return k, f, self.beta[k] + share * length, np.minimum(errors, length)
