"""The margin set of a dual, and the inverse of its kernel matrix as members come and go."""

from math import sqrt

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri

#: Relative residual above which a solution with the inverse is refined.
REFINED = 1e-11
#: Members from which on a Cholesky factor is the faster way to the inverse.
LARGE = 100


class MarginSet:
    """The set S, its kernel rows, its bordered kernel matrix and the inverse of that.

    Rank-one changes of the inverse are collected and worked in together.

    Parameters
    ----------
    n : int
        Number of rows of the problem.
    free_intercept : bool
        Whether the matrix is [[0, 1^T], [1, K_SS]] or K_SS alone.

    Attributes
    ----------
    size : int
        Number of members.
    inaccurate : bool
        Whether the inverse is so inaccurate that it should be made anew.
    error : float
        What the last :meth:`solve_kkt` may be wrong by, at the members.
    rates : ndarray of shape (border + size,) or None
        The intercept and the signed duals of the last :meth:`solve_kkt`, brought along as members
        come and go; None where they do not hold any more.
    """

    #: Changes that are collected.
    batch = 48

    def __init__(self, n, free_intercept):
        self.n, self.border_size = n, int(free_intercept)
        self.size, self.pending, self.inaccurate = 0, 0, False
        self.inexact, self.error, self.rates = False, 0.0, None
        self._allocate(16)

    def _allocate(self, capacity):
        p, side = self.size + self.border_size, capacity + self.border_size
        old, s = self.__dict__.copy(), self.size
        self._members = np.empty(capacity, dtype=int)
        self._rows = np.empty((side, self.n))
        self._rows[: self.border_size] = 1.0
        self._matrix, self._base = np.zeros((side, side)), np.zeros((side, side))
        self._changes, self._factors = np.zeros((self.batch, side)), np.zeros(self.batch)
        if s:
            self._members[:s], self._rows[:p] = old["_members"][:s], old["_rows"][:p]
            self._matrix[:p, :p], self._base[:p, :p] = old["_matrix"][:p, :p], old["_base"][:p, :p]
            self._changes[:, :p], self._factors[:] = old["_changes"][:, :p], old["_factors"]

    def copy(self):
        """One that changes while this one stays."""
        new = MarginSet(self.n, bool(self.border_size))
        new.__dict__.update(self.__dict__)
        for name in ("_members", "_rows", "_matrix", "_base", "_changes", "_factors"):
            setattr(new, name, getattr(self, name).copy())
        return new

    def kept(self, mask):
        """The same set among some of the rows, which hold all members."""
        new = MarginSet(np.count_nonzero(mask), bool(self.border_size))
        for name, value in self.__dict__.items():
            if name not in ("n", "_rows", "_members"):
                setattr(new, name, value.copy() if isinstance(value, np.ndarray) else value)
        new._rows = self._rows[:, mask]
        new._members = self._members.copy()
        new._members[: self.size] = np.cumsum(mask)[self.members] - 1
        return new

    @property
    def members(self):
        """Rows in the set, in the order of the inverse."""
        return self._members[: self.size]

    @property
    def unbalanced(self):
        """No member, and a free intercept: nothing can balance the sum of duals."""
        return self.size == 0 and self.border_size == 1

    def set(self, rows, K):
        """Start anew with these rows and their kernel rows; False where they are dependent."""
        s, o = len(rows), self.border_size
        p = s + o
        matrix = np.ones((p, p))
        matrix[o:, o:] = K[:, rows]
        matrix[:o, :o] = 0.0
        inverse = _cholesky_inverse(matrix, o) if s >= LARGE else None
        if inverse is None or not _condition(matrix, inverse) < 1e6:
            try:
                inverse = np.linalg.inv(matrix)
            except np.linalg.LinAlgError:
                return False
            if not _condition(matrix, inverse) < 1e6:  # else it is accurate enough
                if not np.abs(matrix @ inverse - np.eye(p)).max() < 1e-9:
                    return False
        rows = np.array(rows)
        self.size = 0
        if len(self._members) < s:
            self._allocate(s + self.batch)
        self.size, self.pending, self.inaccurate, self.rates = s, 0, False, None
        self._members[:s], self._rows[o:p] = rows, K
        self._matrix[:p, :p], self._base[:p, :p] = matrix, inverse
        return True

    # -- the inverse --------------------------------------------------------------------------

    def _multiply(self, x):
        """inverse @ x, as it is."""
        p = len(x)
        result = self._base[:p, :p] @ x
        if self.pending:
            changes = self._changes[: self.pending, :p]
            result += (self._factors[: self.pending] * (changes @ x)) @ changes
        return result

    def solve(self, x):
        """inverse @ x, refined where the inverse is inexact."""
        solution = self._multiply(x)
        if self.inexact:
            solution = self._refine(x, solution)
        return solution

    def _refine(self, x, solution):
        p = len(x)
        matrix = self._matrix[:p, :p]
        size = sqrt(x @ x)
        for k in range(3):
            left = x - matrix @ solution
            self.error = sqrt(left @ left)
            if self.error <= REFINED * size:
                self.inexact = k > 0
                break
            self.inaccurate = self.inaccurate or self.error > 1e-7 * size
            solution += self._multiply(left)
        return solution

    def _column(self, j):
        p = self.size + self.border_size
        column = self._base[:p, j].copy()
        if self.pending:
            changes = self._changes[: self.pending, :p]
            column += (self._factors[: self.pending] * changes[:, j]) @ changes
        return column

    def _change(self, factor):
        """Where to put a vector; factor vector vector^T is added to the inverse, later."""
        if self.pending == self.batch:
            self._flush()
        self._factors[self.pending] = factor
        self.pending += 1
        return self._changes[self.pending - 1]

    def _flush(self):
        p = self.size + self.border_size
        changes = self._changes[: self.pending, :p]
        self._base[:p, :p] += (changes.T * self._factors[: self.pending]) @ changes
        self.pending = 0

    # -- members ------------------------------------------------------------------------------

    def border(self, k):
        """Column of the bordered matrix for a row with kernel row k."""
        o = self.border_size
        column = np.ones(self.size + o)
        column[o:] = k[self.members]
        return column

    def append(self, i, k, k_ii, border, q, pivot, v_rate, missing):
        """Add row i with kernel row k; q = inverse @ border, pivot = K_ii - border @ q.

        `rates` are brought along by the rate of its signed dual so far and by what its decision
        value's rate lacks to its target; None where that is not known.
        """
        if self.size == len(self._members):
            self._allocate(self.size + max(self.batch, self.size // 2))
        p = self.size + self.border_size
        self._members[self.size], self._rows[p] = i, k
        self._matrix[p, :p] = self._matrix[:p, p] = border
        self._matrix[p, p] = k_ii
        if self.unbalanced:
            self._matrix[0, 0] = 0.0
            self._base[:2, :2] = [[-k_ii, 1.0], [1.0, 0.0]]
            self.size, self.pending, self.rates = 1, 0, None
            return
        self._base[p, : p + 1] = self._base[: p + 1, p] = 0.0
        self._changes[: self.pending, p] = 0.0
        vector = self._change(1.0 / pivot)
        np.negative(q, out=vector[:p])
        vector[p], vector[p + 1 :] = 1.0, 0.0
        self.size += 1
        if self.rates is not None:
            more = None if missing is None else missing / pivot
            self.rates = None if more is None else np.append(self.rates - more * q, v_rate + more)

    def remove(self, position, v_rate):
        """Take a member out by its position; the last one takes its place.

        `rates` are brought along by the rate of its signed dual from now on.
        """
        last, o = self.size - 1, self.border_size
        if last == 0:
            self.size, self.pending, self.rates = 0, 0, None
            return
        p, end = position + o, last + o
        column = self._column(p)
        if self.rates is not None:
            rates = self.rates - column * ((self.rates[p] - v_rate) / column[p])
            rates[p] = rates[end]
            self.rates = rates[:end]
        vector = self._change(-1.0 / column[p])
        vector[: end + 1], vector[end + 1 :] = column, 0.0
        for array in (self._matrix, self._base):
            corner = array[end, end]
            array[p], array[:, p] = array[end], array[:, end]
            array[p, p] = corner
        self._changes[:, p] = self._changes[:, end]
        self._members[position], self._rows[p] = self._members[last], self._rows[end]
        self.size = last

    # -- solutions ----------------------------------------------------------------------------

    def sensitivity(self, rows):
        """b and the signed duals of the members per unit of signed dual on each of some rows.

        Shape (border + size, len(rows)).
        """
        self._flush()
        p = self.size + self.border_size
        right, base = self._rows[:p, rows], self._base[:p, :p]
        solution = base @ right
        return -(solution + base @ (right - self._matrix[:p, :p] @ solution))

    def solve_kkt(self, f_outside, target, total):
        """Duals and intercept that put the members' decision values on target.

        Parameters
        ----------
        f_outside : ndarray of shape (n,)
            What the decision values get from outside the set.
        target : ndarray of shape (size,)
            What they must be on the members.
        total : float
            Sum of signed duals that the members must balance, where the intercept is free.

        Returns
        -------
        v : ndarray of shape (size,)
            Signed duals of the members.
        b : float
            The intercept.
        f : ndarray of shape (n,)
            Decision values of all rows.
        """
        o, p, members = self.border_size, self.size + self.border_size, self.members
        right = np.empty(p)
        right[:o] = -total
        np.subtract(target, f_outside[members], out=right[o:])
        if self.rates is None:
            solution = self.solve(right) if p else right
        else:
            solution = self._refine(right, self.rates) if self.inexact else self.rates
        f = solution @ self._rows[:p]
        f += f_outside
        if p and not self.inexact:
            left = target - f[members]
            self.error = sqrt(left @ left)
            if self.error > REFINED * sqrt(right @ right):
                self.inexact = True
                better = self._refine(right, solution)
                f += (better - solution) @ self._rows[:p]
                solution = better
        self.rates = solution
        return solution[o:], float(solution[0]) if o else 0.0, f


def _condition(matrix, inverse):
    return np.abs(matrix).sum(axis=0).max() * np.abs(inverse).sum(axis=0).max()


def _cholesky_inverse(matrix, border_size):
    """Inverse of [[0, 1^T], [1, K]] or K by a Cholesky factor of K; None where it has none."""
    factor, failed = dpotrf(matrix[border_size:, border_size:], lower=True)
    if failed:
        return None
    half, _ = dpotri(factor, lower=True)
    inner = np.tril(half) + np.tril(half, -1).T
    if not border_size:
        return inner
    answer = inner.sum(axis=1)
    total = answer.sum()
    inverse = np.empty_like(matrix)
    inverse[0, 0], inverse[0, 1:] = -1.0 / total, answer / total
    inverse[1:, 0] = inverse[0, 1:]
    np.subtract(inner, np.outer(answer, inverse[0, 1:]), out=inverse[1:, 1:])
    return inverse
