"""The first poison weight at which enough samples have a label, by root finding on the path."""

import warnings
from dataclasses import replace

import numpy as np
from scipy.interpolate import CubicSpline
from sklearn.exceptions import ConvergenceWarning

from ..interpolation import Splines, interpolated_switches, to_u, to_weight
from ..switches import LabelSwitches, SignChanges, by_comparisons, margins
from ..threads import one_blas_thread
from .continuation import Continuation
from .residual import warn_unless_optimal

#: Weights that are looked at before any between them.
WEIGHTS = np.geomspace(2e-4, 1.0, 8)
#: Change of the weight that is sought, as a share of it, at which it is found, and most fits.
AIM, MOST_FITS = 1e-3, 20
#: How far decision values may be off at `WEIGHTS` and at those between them, in units of the
#: usual margin, and at 0.
ROUGH, CLOSE, SURE = 1e-2, 2e-5, 1e-5


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
    r"""What holds at the first weight at which `until` does, in one step.

    Fits at `WEIGHTS` tell between which two of them that is: up from the last before the weight
    that the tangent at 0 predicts, or down from there where it holds already. A spline through
    the decision values, in :math:`\log(1 + 10^4 \beta)`, tells where between them; the fit there
    tells it better, and so on, until that weight stays where it is. What holds only at weights
    below the first that is looked at, or only between two neighbours, is missed.

    Returns
    -------
    switches : LabelSwitches
        Samples whose label is another at that weight than at 0 change it there; none where
        `until` holds nowhere. Its `error` is the last change of that weight.
    """
    curve = _Curve(path, rows, y)
    none = LabelSwitches(curve.held(0), np.empty(0, int), np.empty(0), "continuation", 0.0)
    holds = [False]  # at each weight known; it is not asked at 0

    def look(weight, close=ROUGH):
        k = curve.solve(weight, close)
        holds.insert(k, until(none.held, curve.held(k)))
        return holds[k]

    predicted = _first(curve.predicted(), none.held, until)
    k = len(WEIGHTS) - 1
    if predicted is not None:
        k = max(int(np.searchsorted(WEIGHTS, predicted[0])) - 1, 0)
    if look(WEIGHTS[k]):
        while k > 0 and look(WEIGHTS[k - 1]):
            k -= 1
    else:
        while k < len(WEIGHTS) - 1 and not look(WEIGHTS[k + 1]):
            k += 1
    if not any(holds):
        return none
    before = np.inf
    while True:
        low = holds.index(True) - 1
        found = _first(curve.after(low), none.held, until)
        if found is None:  # but for rounding, at the next weight
            found = curve.weights[low + 1], curve.held(low + 1)
        weight, held = found
        error = 0.0 if weight in curve.weights else abs(weight - before) / weight
        if error <= AIM or len(holds) > MOST_FITS:
            break
        look(weight, CLOSE)
        before = weight
    rows = np.flatnonzero(held != none.held)
    return replace(none, rows=rows, weights=np.full(len(rows), weight), error=error)


def _first(switches, at_zero, until):
    """The first weight from which `until` holds, and which labels are held there, or None."""
    held = switches.held.copy()
    for k, (row, weight) in enumerate(zip(switches.rows, switches.weights, strict=True)):
        held[row] ^= True
        last = k + 1 == len(switches.weights) or switches.weights[k + 1] > weight
        if last and until(at_zero, held):
            return weight, held
    return None


class _Curve:
    """Margins of samples at some weights of a path, each fit found from those nearby."""

    def __init__(self, path, rows, y):
        with warnings.catch_warnings():  # only where the path starts
            warnings.simplefilter("ignore", ConvergenceWarning)
            start = path.optimum()
        self.path, self.test, self.y = Continuation(path, start), start.problem.design(rows), y
        self.weights = np.zeros(1)
        self.W, residual, self.tangent = self.path.clean_fit(tol=1e-6, close=SURE)
        if not np.max(residual) <= 1e-5:
            warn_unless_optimal(np.max(residual))
        F, rate = (margins(self._decision(part), y) for part in (self.W, self.tangent))
        self.owners = np.repeat(np.arange(len(y)), F.shape[2])
        self.G, self.rate = F.reshape(1, -1), rate.ravel()
        #: What an error of decision values is held against: how far labels are from changing.
        self.unit = min(np.median(np.abs(self.G)), 1.0)

    def _decision(self, W):
        return self.test.product(self.path.columns.expand(W))

    def held(self, k):
        """Whether samples have their label at a weight."""
        return np.all(self.G[k].reshape(len(self.y), -1) > 0, axis=1)

    def solve(self, weight, close):
        """Fit at one more weight, `close` in units of decision values; its place among them."""
        u, known = to_u(weight), to_u(self.weights)
        k = int(np.searchsorted(self.weights, weight))
        guesses = [self.W[k - 1]]
        if 1 < k < len(known):
            near = slice(max(k - 2, 0), k + 2)
            guesses.append(CubicSpline(known[near], self.W[near])(u))
        elif k > 1:
            rise = (self.W[-1] - self.W[-2]) / (known[-1] - known[-2])
            guesses.append(self.W[-1] + (u - known[-1]) * rise)
        elif len(known) == 1:
            guesses.append(self.W[0] + weight * self.tangent[0])
        else:
            guesses.append(self.W[0] + weight / self.weights[1] * (self.W[1] - self.W[0]))
        W = self.path.fit_near(weight, np.stack(guesses), close * self.unit)
        self.W = np.insert(self.W, k, W, axis=0)
        self.G = np.insert(self.G, k, margins(self._decision(W), self.y).ravel(), axis=0)
        self.weights = np.insert(self.weights, k, weight)
        return k

    def predicted(self):
        """When labels switch by the tangent at 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            at = -self.G[0] / self.rate
        functions = np.flatnonzero((at > 0) & (at <= 1))
        return self._of(self.G[0], functions, at[functions])

    def after(self, k):
        """When labels switch between a known weight and the next, by the fits so far."""
        piece, functions, u, _ = Splines(to_u(self.weights), self.G).zeros()
        here = piece == k
        return self._of(self.G[k], functions[here], to_weight(u[here]))

    def _of(self, G, functions, weights):
        order = np.argsort(weights, kind="stable")
        changes = SignChanges(G > 0, functions[order], weights[order])
        return by_comparisons(self.owners, changes, "continuation", 0.0)
