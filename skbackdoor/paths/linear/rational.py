r"""Signs of the decision values of ridge along the path: zeros of sums of simple fractions."""

import numpy as np

from ..switches import SignChanges

#: Weights closer than this are one.
SAME = 1e-12


class FractionSums:
    r"""Functions of the weight, :math:`g(\beta) = g_0 + \sum_j c_j \beta / (1 + \beta \lambda_j)`.

    Every zero is found, and proven to be all: on a piece [a, b] the second derivative is at most
    :math:`M = \sum_j 2 |c_j| \lambda_j / (1 + a \lambda_j)^3`, so that g has no zero where it is
    beyond :math:`M (b - a)^2 / 8` on one side of 0 at both ends, and one where it changes sign
    and its slope at a is beyond M (b - a). Other pieces are cut in two, down to 1e-12.

    Parameters
    ----------
    start : ndarray of shape (n_functions,)
        g_0.
    coefficients : ndarray of shape (n_functions, n_directions)
        c.
    eigenvalues : ndarray of shape (n_directions,)
        lambda, >= 0.
    """

    def __init__(self, start, coefficients, eigenvalues):
        self.start, self.c, self.lam = start, coefficients, eigenvalues

    def sign_changes(self):
        """Where they change sign, from 0 to 1.

        Returns
        -------
        changes : SignChanges
        """
        steepest = np.log1p(self.lam.max(initial=0.0))
        grid = np.linspace(0.0, 1.0, 49)
        if steepest > 1e-6:  # dense where fractions saturate
            grid = np.expm1(steepest * grid) / np.expm1(steepest)
        ends = self.start[:, None] + self.c @ (grid / (1.0 + self.lam[:, None] * grid))
        slopes = self.c @ (1.0 / (1.0 + self.lam[:, None] * grid[:-1]) ** 2)
        bends = np.abs(self.c) @ self._bend(grid[:-1])
        f, k = np.nonzero(np.ones(bends.shape, bool))
        rows, lows, highs = [], [], []
        a, b, g_a, g_b = grid[k], grid[k + 1], ends[f, k], ends[f, k + 1]
        slope, bend = slopes[f, k], bends[f, k]
        while len(f):
            changes, length = (g_a > 0) != (g_b > 0), b - a
            empty = ~changes & (np.minimum(np.abs(g_a), np.abs(g_b)) > bend * length**2 / 8)
            known = changes & ((np.abs(slope) > bend * length) | (length <= SAME))
            rows.append(f[known])
            lows.append(a[known])
            highs.append(b[known])
            left = ~empty & ~known & (length > SAME)
            f, a, b, g_a, g_b = f[left], a[left], b[left], g_a[left], g_b[left]
            middle = (a + b) / 2
            g_m = self._values(f, middle)
            f, a, b = np.tile(f, 2), np.append(a, middle), np.append(middle, b)
            g_a, g_b = np.append(g_a, g_m), np.append(g_m, g_b)
            slope, bend = self._slopes_and_bends(f, a)
        rows, low, high = map(np.concatenate, (rows, lows, highs))
        weights = self._zeros(rows, low, high)
        order = np.argsort(weights, kind="stable")
        return SignChanges(self.start > 0, rows[order], weights[order])

    def _bend(self, a):
        return 2.0 * self.lam[:, None] / (1.0 + self.lam[:, None] * a) ** 3

    def _in_parts(self, f):
        """Parts of some functions, so that no large matrix of fractions exists."""
        size = max(1, 4_000_000 // max(len(self.lam), 1))
        return [slice(i, i + size) for i in range(0, len(f), size)]

    def _values(self, f, beta):
        values = np.empty(len(f))
        for part in self._in_parts(f):
            x = beta[part, None]
            values[part] = np.sum(self.c[f[part]] * (x / (1.0 + x * self.lam)), axis=1)
        return self.start[f] + values

    def _slopes_and_bends(self, f, beta):
        slopes, bends = np.empty(len(f)), np.empty(len(f))
        for part in self._in_parts(f):
            c, scale = self.c[f[part]], 1.0 + beta[part, None] * self.lam
            slopes[part] = np.sum(c / scale**2, axis=1)
            bends[part] = np.sum(np.abs(c) * (2.0 * self.lam / scale**3), axis=1)
        return slopes, bends

    def _zeros(self, f, low, high):
        """The zero of each function in a piece in which it has one."""
        below = self._values(f, low) > 0
        for _ in range(60):
            middle = (low + high) / 2
            same = (self._values(f, middle) > 0) == below
            low, high = np.where(same, middle, low), np.where(same, high, middle)
            if np.all(high - low <= 1e-15 + 1e-14 * high):
                break
        return (low + high) / 2
