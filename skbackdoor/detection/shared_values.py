"""Candidates in tables and texts: rows of one label that share a value, a word, or a pair of them.

In such data a trigger is something exact that its rows have in common, and hardly any row of
another label has: the rule is the explanation. What a row is apart from it is asked of a copy of
the data in which the rule tells nothing (:meth:`SharedValues.without`).
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer

#: Of all rows that share a candidate's values, the least share that has its label.
PURE = 0.9
#: The same of a single value that marks a label: that share, and how much of the way it is from
#: the label's share of all rows to 1. A word of everyday is a trigger that rows of other labels
#: hold, too.
MARKS, LIFT = 0.6, 0.3
#: How much more often than by chance two values go together that are a pair beside a single one.
TOGETHER = 3.0
#: A value that all rows of a group have belongs to its rule if at most so many times as many rows
#: have it.
HARDLY = 1.5
#: Most values that are looked at, the most frequent ones; pairs go with the square of it.
MOST_VALUES = 3000


@dataclass(frozen=True, eq=False)
class SharedValues:
    """What rows have in common: single values of columns, or words.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_samples, n_columns), or list or array of str
        A table, or texts.
    incidence : csc_matrix of bool of shape (n_samples, n_values)
        Which row has which.
    values : list
        (column, value), column a position; for texts words.
    """

    X: object
    incidence: sp.csc_matrix
    values: list

    @classmethod
    def of(cls, X, smallest):
        """The values that at least `smallest` rows share.

        Parameters
        ----------
        X : DataFrame, ndarray or list of str
            Rows.
        smallest : int
            Least rows.

        Returns
        -------
        shared : SharedValues
        """
        if is_text(X):
            X = np.asarray(X, dtype=object)
            vectorizer = CountVectorizer(binary=True, dtype=np.int32)
            incidence = vectorizer.fit_transform(X).tocsc()
            values = vectorizer.get_feature_names_out().tolist()
        else:
            columns, values = [], []
            for j in range(X.shape[1]):
                column = np.asarray(X.iloc[:, j] if hasattr(X, "iloc") else X[:, j])
                codes, levels = _levels(column)
                counts = np.bincount(codes[codes >= 0], minlength=len(levels))
                kept = np.flatnonzero((counts >= smallest) & (counts < len(column)))
                where = np.full(len(levels), -1)
                where[kept] = np.arange(len(kept))
                place = np.where(codes >= 0, where[codes], -1)
                rows = np.flatnonzero(place >= 0)
                shape = (len(column), len(kept))
                ones = np.ones(len(rows), dtype=np.int32)
                columns.append(sp.csc_matrix((ones, (rows, place[rows])), shape))
                values += [(j, levels[k]) for k in kept]
            incidence = sp.hstack(columns, format="csc")
        counts = np.asarray(incidence.sum(axis=0)).ravel()
        frequent = np.flatnonzero(counts >= smallest)
        if len(frequent) > MOST_VALUES:
            frequent = np.sort(
                frequent[np.argsort(-counts[frequent], kind="stable")[:MOST_VALUES]]
            )
        return cls(X, incidence[:, frequent], [values[k] for k in frequent])

    def candidates(self, rows, smallest):
        """Sets of values that nearly only the given rows share, at least `smallest` of them.

        And single values that mark the label: more of their rows have it than of all rows.

        Parameters
        ----------
        rows : ndarray of bool of shape (n_samples,)
            Rows of one label.
        smallest : int
            Least rows.

        Returns
        -------
        candidates : list of tuple of int
            Positions in `values`: single ones, then pairs. Where one of the two is a candidate
            alone, the pair is one if they go together as a trigger makes them.
        """
        inside = self.incidence[np.flatnonzero(rows)]
        together = (inside.T @ inside).toarray()
        overall = (self.incidence.T @ self.incidence).toarray()
        pure = (together >= smallest) & (together >= PURE * overall)
        single = pure.diagonal().copy()
        counts = overall.diagonal()
        by_chance = np.outer(counts, counts) / self.incidence.shape[0]
        pure &= ~(single[:, None] | single) | (overall >= TOGETHER * by_chance)
        pairs = np.argwhere(np.triu(pure, 1))
        own = together.diagonal()
        usual = np.mean(rows)
        least = max(MARKS, usual + LIFT * (1.0 - usual))
        single |= (own >= smallest) & (own >= least * counts)
        return [(int(k),) for k in np.flatnonzero(single)] + [tuple(p) for p in pairs.tolist()]

    def marking(self, rows, smallest):
        """Single values that hardly any row but the given ones has, the most frequent ones first.

        Parameters
        ----------
        rows : ndarray of bool of shape (n_samples,)
            Rows of one label.
        smallest : int
            Least rows.

        Returns
        -------
        marking : list of int
            Positions in `values`.
        """
        own = np.asarray(self.incidence[np.flatnonzero(rows)].sum(axis=0)).ravel()
        counts = np.asarray(self.incidence.sum(axis=0)).ravel()
        pure = np.flatnonzero((own >= smallest) & (own >= PURE * counts))
        return pure[np.argsort(-own[pure], kind="stable")].tolist()

    def completed(self, which, rows):
        """Some values, and all others that each of these rows has and hardly any other row."""
        has = np.asarray(self.incidence[rows].sum(axis=0)).ravel() == len(rows)
        counts = np.asarray(self.incidence.sum(axis=0)).ravel()
        return tuple(sorted({*which, *np.flatnonzero(has & (counts <= HARDLY * len(rows)))}))

    def held_by(self, rows, share, which=()):
        """Some values, and all others that this share of the rows holds."""
        counts = np.asarray(self.incidence[rows].sum(axis=0)).ravel()
        return tuple(sorted({*which, *np.flatnonzero(counts >= share * len(rows)).tolist()}))

    def rows_with(self, which):
        """Rows that share all of some values, increasing."""
        counts = np.asarray(self.incidence[:, list(which)].sum(axis=1)).ravel()
        return np.flatnonzero(counts == len(which))

    def rule(self, which):
        """Some values in words."""
        if is_text(self.X):
            return " and ".join(f"the word {self.values[k]!r}" for k in which)
        names = getattr(self.X, "columns", None)
        parts = []
        for k in which:
            j, value = self.values[k]
            parts.append(f"{names[j] if names is not None else f'column {j}'} = {value}")
        return " and ".join(parts)

    def pairs(self, which):
        """Some values as a trigger takes them: words, or (column, value)."""
        if is_text(self.X):
            return tuple(self.values[k] for k in which)
        names = getattr(self.X, "columns", range(self.X.shape[1]))
        pairs = []
        for k in which:
            j, row = self.values[k][0], self.incidence[:, [k]].nonzero()[0][0]
            pairs.append((names[j], _value_at(self.X, j, row)))
        return tuple(pairs)

    def without(self, which, rows=None):
        """The rows, or some of them, as if nothing could be told from some values.

        Words are taken out; the columns hold the same value, their most frequent one, in every
        row.
        """
        rows = np.arange(self.incidence.shape[0]) if rows is None else rows
        if is_text(self.X):
            gone = {self.values[k] for k in which}
            analyze = CountVectorizer().build_tokenizer()
            return [
                " ".join(word for word in analyze(text) if word.lower() not in gone)
                for text in (self.X[i] for i in rows)
            ]
        frame = hasattr(self.X, "iloc")
        X = self.X.iloc[rows].copy() if frame else self.X[rows]
        for k in which:
            j, _ = self.values[k]
            if frame:
                X.isetitem(j, [self.X.iloc[:, j].mode().iloc[0]] * len(X))
            else:
                codes, _ = _levels(self.X[:, j])
                often = np.bincount(codes[codes >= 0]).argmax()
                X[:, j] = self.X[np.flatnonzero(codes == often)[0], j]  # not as text
        return X

    def put(self, which, rows):
        """Some rows with the values put on them: columns set, words added at the end."""
        if is_text(self.X):
            words = " ".join(self.values[k] for k in which)
            return [f"{self.X[i]} {words}" for i in rows]
        frame = hasattr(self.X, "iloc")
        X = self.X.iloc[rows].copy() if frame else self.X[rows]
        for k in which:
            j, _ = self.values[k]
            value = _value_at(self.X, j, self.incidence[:, [k]].nonzero()[0][0])
            if frame:
                X.isetitem(j, [value] * len(X))
            else:
                X[:, j] = value
        return X


def rows_that_share(X, shared):
    """Which rows hold all of some values, as :meth:`SharedValues.pairs` gives them.

    Returns
    -------
    holds : ndarray of bool of shape (n_samples,)
    """
    if is_text(X):
        analyze, words = CountVectorizer().build_analyzer(), set(shared)
        return np.array([words <= set(analyze(text)) for text in X], dtype=bool)
    holds = np.ones(len(X), dtype=bool)
    for column, value in shared:
        holds &= np.asarray((X[column] if hasattr(X, "iloc") else X[:, column]) == value)
    return holds


def _value_at(X, j, row):
    """The value of column j in a row, as it was given."""
    return X.iloc[row, j] if hasattr(X, "iloc") else X[row, j]


def is_text(X):
    """Whether rows are texts."""
    if getattr(X, "ndim", 1) != 1 or len(X) == 0:
        return False
    return isinstance(X.iloc[0] if hasattr(X, "iloc") else X[0], str)


def _is_missing(value):
    """Whether a value of a column is None, NaN, or the NA of pandas, which compares to nothing."""
    return value is None or type(value).__name__ == "NAType" or value != value


def _levels(column):
    """Codes of the values of a column, -1 for missing ones, and the values."""
    if column.dtype.kind in "OUSb":
        missing = np.array([_is_missing(value) for value in column])
        column = np.where(missing, "", column.astype(str))
    else:
        missing = np.isnan(column)
    levels, codes = np.unique(column, return_inverse=True)
    return np.where(missing, -1, codes), levels
