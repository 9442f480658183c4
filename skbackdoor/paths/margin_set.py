"""The margin set of a dual, and the inverse of its kernel matrix as members come and go."""

import numpy as np


class MarginSet:
    """The set S, its kernel rows, and the inverse of its bordered kernel matrix.

    Rank-one changes of the inverse are collected and worked in together.

    Parameters
    ----------
    n : int
        Number of rows of the problem.
    free_intercept : bool
        Whether the matrix is [[0, 1^T], [1, K_SS]] or K_SS alone.
    """

    #: Changes that are collected.
    batch = 48

    def __init__(self, n, free_intercept):
        self.n, self.border_size = n, int(free_intercept)
        self.size = 0
        self._allocate(16)

    def _allocate(self, room):
        old = self.__dict__.copy()
        self._members = np.empty(room, dtype=int)
        self._rows = np.empty((room, self.n))
        self._base = np.zeros((room + 1, room + 1))
        self._changes = np.zeros((self.batch, room + 1))
        self._factors = np.zeros(self.batch)
        if self.size:
            s, p = self.size, self.size + self.border_size
            self._members[:s], self._rows[:s] = old["_members"][:s], old["_rows"][:s]
            self._base[:p, :p] = old["_base"][:p, :p]
            self._changes[:, :p] = old["_changes"][:, :p]
            self._factors[:] = old["_factors"]
        else:
            self.pending = 0

    def copy(self):
        """One that changes while this one stays."""
        new = MarginSet(self.n, bool(self.border_size))
        new.size, new.pending = self.size, self.pending
        for name in ("_members", "_rows", "_base", "_changes", "_factors"):
            setattr(new, name, getattr(self, name).copy())
        return new

    @property
    def members(self):
        """Rows in the set, in the order of the inverse."""
        return self._members[: self.size]

    @property
    def unbalanced(self):
        """No member, and a free intercept: nothing can balance a charge."""
        return self.size == 0 and self.border_size == 1

    def set(self, rows, K):
        """Start anew with these rows and their kernel rows; False where they are dependent."""
        s, o = len(rows), self.border_size
        square = np.ones((s + o, s + o))
        square[o:, o:] = K[:, rows]
        if o:
            square[0, 0] = 0.0
        try:
            inverse = np.linalg.inv(square)
            error = np.abs(square @ inverse - np.eye(len(square))).max()
        except np.linalg.LinAlgError:
            error = np.inf
        if not error < 1e-9:
            return False
        rows = np.array(rows)
        self.size = 0
        if len(self._members) < s:
            self._allocate(2 * s)
        self.size, self.pending = s, 0
        self._members[:s], self._rows[:s] = rows, K
        self._base[: s + o, : s + o] = inverse
        return True

    def border(self, k):
        """Column of the bordered matrix for a row with kernel row k."""
        values = k[self.members]
        return np.concatenate([[1.0], values]) if self.border_size else values

    def multiply(self, x):
        """inverse @ x."""
        p = len(x)
        result = self._base[:p, :p] @ x
        if self.pending:
            changes = self._changes[: self.pending, :p]
            result += (self._factors[: self.pending] * (changes @ x)) @ changes
        return result

    def refine(self, x, solution):
        """inverse @ x from a first solution, by its residuals."""
        o, rows = self.border_size, self._rows[: self.size]
        matrix = np.ones((len(x), len(x)))
        matrix[o:, o:] = rows[:, self.members]
        if o:
            matrix[0, 0] = 0.0
        for _ in range(2):
            solution = solution + self.multiply(x - matrix @ solution)
        return solution

    def _column(self, j):
        p = self.size + self.border_size
        column = self._base[:p, j].copy()
        if self.pending:
            changes = self._changes[: self.pending, :p]
            column += (self._factors[: self.pending] * changes[:, j]) @ changes
        return column

    def _change(self, vector, factor):
        """Add factor vector vector^T to the inverse, later."""
        if self.pending == self.batch:
            self._flush()
        self._changes[self.pending] = 0.0
        self._changes[self.pending, : len(vector)] = vector
        self._factors[self.pending] = factor
        self.pending += 1

    def _flush(self):
        p = self.size + self.border_size
        changes = self._changes[: self.pending, :p]
        self._base[:p, :p] += (changes.T * self._factors[: self.pending]) @ changes
        self.pending = 0

    def append(self, i, k, k_ii, q, pivot):
        """Add row i with kernel row k; q = inverse @ border, pivot = K_ii - border @ q."""
        if self.size == len(self._members):
            self._allocate(2 * self.size)
        s, o = self.size, self.border_size
        self._members[s], self._rows[s] = i, k
        if self.unbalanced:
            self._base[:2, :2] = [[-k_ii, 1.0], [1.0, 0.0]]
            self.size, self.pending = 1, 0
            return
        p = s + o
        self._base[p, : p + 1] = self._base[: p + 1, p] = 0.0
        self._changes[: self.pending, p] = 0.0
        self.size += 1
        self._change(np.append(-q, 1.0), 1.0 / pivot)

    def remove(self, position):
        """Take a member out by its position; the last one takes its place. Returns the row."""
        i, last, o = int(self._members[position]), self.size - 1, self.border_size
        if last == 0:
            self.size = self.pending = 0
            return i
        p, end = position + o, last + o
        column = self._column(p)
        self._change(column, -1.0 / column[p])
        for array in (self._base, self._base.T, self._changes.T):
            array[p] = array[end]
        self._base[p, p] = self._base[end, end]
        self._members[position], self._rows[position] = self._members[last], self._rows[last]
        self.size = last
        return i

    def answers(self, rows):
        """b and the signed duals of the members per unit of signed dual on each of some rows.

        Shape (border + size, len(rows)).
        """
        self._flush()
        p = self.size + self.border_size
        right = np.ones((p, len(rows)))
        right[self.border_size :] = self._rows[: self.size, rows]
        return -self._base[:p, :p] @ right

    def respond(self, pushed, target, total):
        """How duals and decision values answer to a push.

        Parameters
        ----------
        pushed : ndarray of shape (n,)
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
        right = target - pushed[self.members]
        if self.border_size:
            right = np.concatenate([[-total], right])
        rows = self._rows[: self.size]
        solution, f = np.zeros(len(right)), pushed
        for _ in range(3):  # one pass, and refinement where the inverse has lost digits
            step = self.multiply(right)
            solution += step
            v = step[self.border_size :]
            f = f + v @ rows
            if self.border_size:
                f += step[0]
            left = target - f[self.members]
            if self.border_size:
                left = np.concatenate([[-total - solution[1:].sum()], left])
            if np.abs(left).max() <= 1e-11 * max(1e-300, np.abs(f).max()):
                break
            right = left
        b = float(solution[0]) if self.border_size else 0.0
        return solution[self.border_size :], b, f
