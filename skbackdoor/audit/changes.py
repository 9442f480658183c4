"""Small universal changes of rows: columns set to values, words added to texts."""

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer

from .._compat import _num_samples, _safe_indexing
from ..detection.shared_values import is_text
from ..triggers import FeatureTrigger, MaskTrigger, TokenTrigger

#: What this share of a class's rows have, and at least so many, is ordinary.
ORDINARY, DONORS = 0.01, 3


@dataclass(frozen=True)
class Change:
    """The same small change of every row.

    Attributes
    ----------
    values : tuple of (int, value)
        Positions of columns (of pixels in the flattened image) and what they are set to.
    words : tuple of str
        Words put at the end of texts.
    n_parts : int
        Of how many simplest changes it is made: a patch is one.
    hidden : bool
        Whether it leads where a tree was taught something that clean rows do not come to.
    """

    values: tuple = ()
    words: tuple = ()
    n_parts: int = 1
    hidden: bool = False

    @property
    def size(self):
        """How many columns, pixels or words it takes."""
        return len(self.values) + len(self.words)

    def __add__(self, other):
        """Both changes; where they set one column the first decides."""
        mine = dict(self.values)
        more = tuple((j, value) for j, value in other.values if j not in mine)
        words = tuple(word for word in other.words if word not in self.words)
        n_parts = (self.n_parts if self.size else 0) + (other.n_parts if other.size else 0)
        return Change(self.values + more, self.words + words, n_parts)


def changed_rows(X, changes):
    """All rows with each of some changes, one block of rows a change.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        Rows: an array, a DataFrame, a sparse matrix or texts.
    changes : list of Change

    Returns
    -------
    X_changed : array-like of shape (n_changes * n_samples, ...)
        In the container of `X`; texts as a list.
    """
    n, m = _num_samples(X), len(changes)
    if is_text(X):
        ends = [" ".join(change.words) for change in changes]
        return [f"{text} {end}" for end in ends for text in X]
    out = _safe_indexing(X, np.tile(np.arange(n), m))
    if hasattr(out, "iloc"):
        out = out.reset_index(drop=True)
        for j in sorted({j for change in changes for j, _ in change.values}):
            column = out.iloc[:, j].copy()
            for block, change in enumerate(changes):
                for k, value in change.values:
                    if k == j:
                        column.iloc[block * n : (block + 1) * n] = value
            out.isetitem(j, column)
        return out
    sparse = sp.issparse(out)
    out = out.toarray() if sparse else out
    flat = out.reshape(n * m, -1)
    for block, change in enumerate(changes):
        if change.values:
            columns, values = zip(*change.values, strict=True)
            flat[block * n : (block + 1) * n, list(columns)] = values
    out = flat.reshape(out.shape)
    return sp.csr_matrix(out) if sparse else out


def carriers(X, y, classes, changes):
    """How many rows of each class have what a change puts there: how natural it is.

    A number is there where a row's is at least half-way from the median to it, a level or a word
    where it is the same. Of several columns all must be there; shares of words are averaged.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
    y : ndarray of shape (n_samples,)
    classes : ndarray of shape (n_classes,)
    changes : list of Change

    Returns
    -------
    shares : ndarray of shape (n_changes, n_classes)
    """
    of_class = y[:, None] == classes
    of_class = of_class / np.maximum(of_class.sum(axis=0), 1)
    if is_text(X):
        vectorizer = CountVectorizer(binary=True)
        have = (vectorizer.fit_transform(X).T @ of_class, vectorizer.vocabulary_)
        none = np.zeros(len(classes))
        share = {
            word: have[0][have[1][word]] if word in have[1] else none
            for change in changes
            for word in change.words
        }
        return np.array([np.mean([share[w] for w in change.words], axis=0) for change in changes])
    columns, has = {}, {}
    for key in {value for change in changes for value in change.values}:
        j, value = key
        if j not in columns:
            columns[j] = _column(X, j)
        values, median = columns[j]
        if median is None:
            near = values == value
        else:
            near = np.abs(values - value) <= abs(value - median) / 2
            near |= value == median
        has[key] = near
    together = [np.all([has[key] for key in change.values], axis=0) for change in changes]
    return np.array(together, dtype=float) @ of_class


def donated(X, y, label, changes):
    """Changes to what rows of a class have in their place: those that come nearest to each.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
    y : ndarray of shape (n_samples,)
    label : label
    changes : list of Change

    Returns
    -------
    donated : list of list of Change
        For each change the values of as many rows of the class, all values of one row together.
        Near are numbers that differ by little of their range, levels that are the same, texts
        that have most of the words; words that such a text has not are left out.
    """
    rows = np.flatnonzero(y == label)
    if not len(rows):
        return [[Change()] for _ in changes]
    n_donors = min(len(rows), max(DONORS, int(np.ceil(ORDINARY * len(rows)))))
    if is_text(X):
        have = [set(CountVectorizer().build_analyzer()(X[i])) for i in rows]
        made = []
        for change in changes:
            kept = [tuple(word for word in change.words if word in words) for words in have]
            kept.sort(key=len, reverse=True)
            made.append([Change(words=words) for words in kept[:n_donors]])
        return made
    columns = {j: _column(X, j) for j in {j for change in changes for j, _ in change.values}}
    made = []
    for change in changes:
        distance = np.zeros(len(rows))
        for j, value in change.values:
            column, median = columns[j]
            if median is None:
                distance += column[rows] != value
            else:
                extent = np.nanmax(column) - np.nanmin(column)
                off = np.abs(column[rows] - value) / (extent or 1.0)
                distance += np.where(np.isnan(off), np.inf, off)
        nearest = rows[np.argsort(distance, kind="stable")[:n_donors]]
        made.append([
            Change(tuple((j, _as(value, columns[j][0][i])) for j, value in change.values))
            for i in nearest
        ])  # fmt: skip
    return made


def _as(value, other):
    """A value of a column in the type of another one."""
    other = other.item() if hasattr(other, "item") else other
    return other if isinstance(other, str) or other != other else type(value)(other)


def far_beyond(X, changes):
    """Which changes put nothing but numbers two ranges of the rows or more beyond that range.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
    changes : list of Change

    Returns
    -------
    far : ndarray of bool of shape (n_changes,)
    """
    ends = {}
    for j in {j for change in changes for j, _ in change.values}:
        column, median = _column(X, j)
        if median is not None:
            low, high = np.nanmin(column), np.nanmax(column)
            ends[j] = low - 2 * (high - low), high + 2 * (high - low)
    return np.array([
        bool(change.values)
        and all(j in ends and not ends[j][0] <= value <= ends[j][1] for j, value in change.values)
        for change in changes
    ], dtype=bool)  # fmt: skip


def _column(X, j):
    """A column, and its median where it is one of numbers."""
    if hasattr(X, "iloc"):
        column = np.asarray(X.iloc[:, j])
    elif sp.issparse(X):
        column = X[:, [j]].toarray().ravel()
    else:
        column = np.asarray(X).reshape(len(X), -1)[:, j]
    if column.dtype.kind not in "biuf":
        return column, None
    return column.astype(float), float(np.nanmedian(column.astype(float)))


def trigger_of(change, X, image_shape=None):
    """A change as a trigger, fitted on some rows.

    Parameters
    ----------
    change : Change
    X : array-like of shape (n_samples, ...)
        Rows.
    image_shape : tuple, default=None
        As :class:`~skbackdoor.MaskTrigger` takes it, of flat images.

    Returns
    -------
    trigger : FeatureTrigger, MaskTrigger or TokenTrigger
        Columns of tables, pixels of images, words of texts.
    """
    if is_text(X):
        return TokenTrigger(" ".join(change.words), position="end", random_state=0).fit(X)
    if image_shape is None and getattr(X, "ndim", 2) == 2:
        names = list(X.columns) if hasattr(X, "columns") else range(X.shape[1])
        return _quietly_fitted(FeatureTrigger({names[j]: v for j, v in change.values}), X)
    numbers = np.asarray(X)
    shape = tuple(image_shape) if image_shape is not None else numbers.shape[1:]
    mask, shift = np.zeros(int(np.prod(shape))), np.zeros(int(np.prod(shape)))
    for j, value in change.values:
        mask[j], shift[j] = 1.0, value
    low, high = value_range(numbers)
    trigger = MaskTrigger(
        mask.reshape(shape),
        shift.reshape(shape),
        image_shape=image_shape,
        value_range=(min(low, shift.min()), max(high, shift.max())),
    )
    return trigger.fit(X)


def value_range(numbers):
    """That of small unsigned integers, [0, 1] where it holds all values, or from least to most."""
    if numbers.dtype.kind == "u" and numbers.dtype.itemsize <= 2:
        return 0, int(np.iinfo(numbers.dtype).max)
    low, high = float(np.min(numbers)), float(np.max(numbers))
    return (0, 1) if low >= 0 and high <= 1 else (low, high)


def _quietly_fitted(trigger, X):
    with warnings.catch_warnings():  # of rows that have these values already
        warnings.simplefilter("ignore")
        return trigger.fit(X)
