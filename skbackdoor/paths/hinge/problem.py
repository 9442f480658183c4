r"""One binary problem of a hinge machine, and how far a point is from its optimum.

Its dual, signs y of +-1 and signed dual coefficients v = y a, is

.. math:: \min_v \frac12 v^T K v - \sum_i r_i a_i, \quad 0 \le a_i \le u_i, \quad
          \sum_i v_i = 0 \text{ where the intercept is free,}

with margins r = 1, bounds u = C s and decision values f = K v + b. With h = y f - r the optimum
has h >= 0 where a = 0 (set R), h = 0 where a is free (S) and h <= 0 where a = u (E). While r and
u move at constant rates and the three sets stay, so do the rates of v, b and f:

.. math:: \begin{pmatrix} 0 & 1^T \\ 1 & K_{SS} \end{pmatrix}
          \begin{pmatrix} \dot b \\ \dot v_S \end{pmatrix} =
          \begin{pmatrix} -\sum_E y \dot u \\ y_S \dot r_S - K_{SE} (y \dot u)_E \end{pmatrix}

An :class:`~skbackdoor.paths.hinge.active_set.ActiveSet` follows them and exchanges members at each
breakpoint. Two uses: moving the margins of an approximate solver's fit to 1 (which polishes it to
rounding), and letting poison in, whose bounds grow as beta C s. The term K_{tE} (y u)_E of poison
rows in the error set acts on a test sample t directly, whatever the margin set does.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Problem:
    """One binary problem: its kernel, its signs and its bounds.

    Attributes
    ----------
    rows : KernelRows or GramRows
        ``rows(i)`` with an index array gives K[i], shape (len(i), n); ``rows.product(v)`` v K.
    diagonal : ndarray of shape (n,)
        K_ii.
    y : ndarray of shape (n,)
        Signs, +-1.
    u : ndarray of shape (n,)
        Bounds >= 0; a row with bound 0 has no part in it.
    free_intercept : bool
        Whether b is a variable; else it stays 0 and the kernel holds whatever intercept there is.
    unit_of_sum : float
        What a sum of signed duals of 1 changes in decision values, by the kernel as the user has
        it; without a free intercept it is of no account.
    outside : ndarray of shape (n,) or 0.0
        What rows that are left out, and stay where they are, add to the decision values.
    outside_sum : float
        The sum of their signed duals.
    """

    rows: object
    diagonal: np.ndarray
    y: np.ndarray
    u: np.ndarray
    free_intercept: bool
    unit_of_sum: float = 1.0
    outside: np.ndarray | float = 0.0
    outside_sum: float = 0.0

    def decision(self, v):
        """Decision values of signed duals, without the intercept."""
        return self.rows.product(v) + self.outside

    def violations(self, v, b, F, bounds):
        """Largest violation of all optimality conditions of each of some points, as given.

        Whatever an SVM gives is judged by this and nothing else: complementarity at margins 1,
        the box, and the sum of the signed duals, each by what it changes in decision values.

        Parameters
        ----------
        v, F, bounds : ndarrays of shape (n_points, n)
            Signed duals, their decision values without intercept, the bounds of y v.
        b : ndarray of shape (n_points,)
            Intercepts.

        Returns
        -------
        violations : ndarray of shape (n_points,)
        """
        h, a = self.y * (F + b[:, None]) - 1.0, self.y * v
        upper = a >= bounds * (1 - 1e-12)  # a solver multiplies C and weights in its own order
        wrong = np.where(upper, np.maximum(h, 0.0), np.abs(h))
        wrong = np.where(a <= 0, np.maximum(-h, 0.0), wrong)
        wrong = np.where(bounds > 0, wrong, 0.0)
        outside = np.maximum(np.maximum(-a, a - bounds * (1 + 1e-12)), 0.0)
        wrong = np.maximum(wrong, outside * np.maximum(np.abs(self.diagonal), 1.0))
        wrong = wrong.max(axis=1, initial=0.0)
        if not self.free_intercept:
            return wrong
        return np.maximum(wrong, self.unit_of_sum * np.abs(v.sum(axis=1) + self.outside_sum))

    def middle(self, a, b, F):
        """The intercept b; where no row is free, the middle of all that are optimal.

        As libsvm has it. F are the decision values of the duals a without intercept.
        """
        used, full = self.u > 0, a >= self.u * (1 - 1e-12)
        if not self.free_intercept or np.any(used & (a > 0) & ~full):
            return b
        at_least = used & (full == (self.y < 0))  # b may not be less than y - F there
        least, most = (self.y - F)[at_least], (self.y - F)[used & ~at_least]
        return (least.max() + most.min()) / 2.0 if len(least) and len(most) else b

    def violation(self, a, b, F=None):
        """:meth:`violations` of one point, by its duals."""
        v = self.y * a
        F = self.decision(v) if F is None else F
        return float(self.violations(v[None], np.array([b]), F[None], self.u[None])[0])


def ends_of(a, u):
    """Which duals are at 0, and which at their bound, but for rounding.

    They are compared with the largest of them, not with C: on separable data C is any number
    above it.
    """
    near = 1e-9 * np.minimum(u, a.max(initial=0.0))
    return a <= near, a >= u - near
