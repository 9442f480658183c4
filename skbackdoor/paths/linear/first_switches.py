"""The first poison weight at which enough samples have a label, by root finding on the path."""

import warnings

import numpy as np
from scipy.interpolate import CubicSpline
from sklearn.exceptions import ConvergenceWarning

from ..interpolation import Splines, interpolated_switches, to_u, to_weight
from ..switches import SignChanges, by_comparisons, margins
from ..threads import one_blas_thread
from .continuation import Continuation

#: Weights that are looked at before any between them.
WEIGHTS = np.geomspace(2e-4, 1.0, 8)
#: Change of the weight that is sought, as a share of it, at which it is found, and most fits.
AIM, MOST_FITS = 1e-3, 20
#: How far decision values may be off at `WEIGHTS`, at those between them, and at 0.
ROUGH, CLOSE, SURE = 1e-2, 2e-4, 1e-5


def smooth_switches(path, rows, y, until=None):
    """When samples get and lose labels on the path of a linear model with a smooth loss.

    Parameters
    ----------
    path : WeightPath
    rows, y, until
        As in :meth:`WeightPath.label_switches`.

    Returns
    -------
    switches : LabelSwitches
    """
    if until is None:
        return interpolated_switches(path, rows, y)
    with one_blas_thread(path.rows.clean.X):
        return first_switches(path, rows, y, until)


def first_switches(path, rows, y, until):
    r"""Those up to the first weight at which `until` holds.

    Fits at `WEIGHTS` tell between which two of them it is; which is looked at first, the tangent
    at 0 says. A spline through the decision values, in :math:`\log(1 + 10^4 \beta)`, tells where
    between them; the fit there tells it better, and so on, until that weight stays where it is.
    What holds only between two weights that were looked at may be missed.

    Returns
    -------
    switches : LabelSwitches
        Its `error` is the last change of that weight. After it labels are not known well.
    """
    curve = _Curve(path, rows, y)
    holds = [False]  # at each weight known; it is not asked at 0

    def look(weight, close=ROUGH):
        k = curve.solve(weight, close)
        holds.insert(k, until(curve.held[0], curve.held[k]))
        return holds[k]

    predicted = _first(curve.predicted(), 0.0, until)
    k = max(int(np.searchsorted(WEIGHTS, predicted)) - 1, 0)
    if look(WEIGHTS[k]):
        while k > 0 and look(WEIGHTS[k - 1]):
            k -= 1
    else:
        while k < len(WEIGHTS) - 1 and not look(WEIGHTS[k + 1]):
            k += 1
    switches, error, before = curve.switches(), 0.0, np.inf
    while any(holds):
        low = curve.weights[holds.index(True) - 1]
        weight = _first(switches, low, until)
        error = 0.0 if weight in curve.weights else abs(weight - before) / weight
        if error <= AIM or len(holds) > MOST_FITS:
            break
        look(weight, CLOSE)
        switches, before = curve.switches(), weight
    return switches if error == 0.0 else curve.switches(error)


def _first(switches, low, until):
    """The first weight above `low` from which `until` holds; 1 where none is."""
    held = switches.held.copy()
    for row, weight in zip(switches.rows, switches.weights, strict=True):
        held[row] ^= True
        if weight > low and until(switches.held, held):
            return weight
    return 1.0


class _Curve:
    """Margins of samples at some weights of a path, each fit found from those nearby."""

    def __init__(self, path, rows, y):
        with warnings.catch_warnings():  # only where the path starts
            warnings.simplefilter("ignore", ConvergenceWarning)
            start = path.optimum()
        self.path, self.test, self.y = Continuation(path, start), start.problem.design(rows), y
        self.weights = np.zeros(1)
        self.W, _, self.tangent = self.path.clean_fit(tol=1e-6, close=SURE)
        F, rate = (margins(self._decision(part), y) for part in (self.W, self.tangent))
        self.owners = np.repeat(np.arange(len(y)), F.shape[2])
        self.G, self.rate = F.reshape(1, -1), rate.ravel()

    def _decision(self, W):
        return self.test.product(self.path.columns.expand(W))

    @property
    def held(self):
        """Whether samples have their label at each weight."""
        return np.all(self.G.reshape(len(self.weights), len(self.y), -1) > 0, axis=2)

    def solve(self, weight, close):
        """Fit at one more weight, `close` in decision values; its place among them."""
        u, known = to_u(weight), to_u(self.weights)
        k = int(np.searchsorted(self.weights, weight))
        if 1 < k < len(known):
            near = slice(max(k - 2, 0), k + 2)
            guess = CubicSpline(known[near], self.W[near])(u)
        elif k > 1:
            rise = (self.W[-1] - self.W[-2]) / (known[-1] - known[-2])
            guess = self.W[-1] + (u - known[-1]) * rise
        elif len(known) == 1:
            guess = self.W[0] + weight * self.tangent[0]
        else:
            guess = self.W[0] + weight / self.weights[1] * (self.W[1] - self.W[0])
        W = self.path.fit_near(weight, guess[None], close)
        self.W = np.insert(self.W, k, W, axis=0)
        self.G = np.insert(self.G, k, margins(self._decision(W), self.y).ravel(), axis=0)
        self.weights = np.insert(self.weights, k, weight)
        return k

    def predicted(self):
        """When labels switch by the tangent at 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            at = -self.G[0] / self.rate
        functions = np.flatnonzero((at > 0) & (at <= 1))
        return self._of(functions, at[functions], np.inf)

    def switches(self, error=0.0):
        """When labels switch, by the fits so far."""
        _, functions, u, _ = Splines(to_u(self.weights), self.G).zeros()
        return self._of(functions, to_weight(u), error)

    def _of(self, functions, weights, error):
        order = np.argsort(weights, kind="stable")
        changes = SignChanges(self.G[0] > 0, functions[order], weights[order])
        return by_comparisons(self.owners, changes, "continuation", error)
