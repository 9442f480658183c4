"""A standard list of triggers for a kind of data, for those who do not know the attacker's."""

import re
from collections import Counter

import numpy as np
import scipy.sparse as sp

from .containers import is_frame
from .feature import FeatureTrigger, Quantile
from .patch import PatchTrigger
from .sinusoid import SinusoidTrigger
from .stripe import StripeTrigger
from .token import TokenTrigger

#: Columns of no more values than this have levels; of others the largest value is a rare one.
_LEVELS = 20


def trigger_family(kind, X=None, *, image_shape=None, value_range=(0, 1)):
    """A small standard list of triggers, for those who do not know the attacker's trigger.

    Parameters
    ----------
    kind : {"image", "table", "text"}
        "image": patches of several sizes, places and opacities, one at another place in every
        sample, one of random pixels, a random image blended with the whole, a sinusoid, stripes.
        "table": one, two or three columns set to values that are rare in them (of a column of up
        to 20 different values the rarest, else the largest), and three columns set to values
        that are common each but not together. "text": words that few of the texts hold, at the
        start, at the end or anywhere, once and several times, alone and as a phrase.
    X : array-like of shape (n_samples, ...), default=None
        Clean samples, of which "table" and "text" take values and words; "image" needs none.
    image_shape : tuple of int, default=None
        Of images, as in :class:`~skbackdoor.PatchTrigger`.
    value_range : tuple of two numbers, default=(0, 1)
        Of images, as there.

    Returns
    -------
    triggers : list of transformers
        Eight, fewer where a table has few columns; the same for the same data.

    Raises
    ------
    ValueError
        Another kind, "table" and "text" without `X`, a table in which no column varies, texts in
        which no word is in two of them.

    Notes
    -----
    It is a sample of what attackers do, no bound: a model that withstands all of these may fall
    to another trigger. Of a linear model :func:`~skbackdoor.worst_trigger` is the bound.

    Examples
    --------
    >>> from skbackdoor import BackdoorSlopeScorer, trigger_family
    >>> scorer = BackdoorSlopeScorer(triggers=trigger_family("image", image_shape=(8, 8)))
    >>> len(scorer.triggers)
    8
    """
    if kind == "image":
        return _of_images(image_shape, value_range)
    if kind not in ("table", "text"):
        raise ValueError(f"kind={kind!r} must be 'image', 'table' or 'text'.")
    if X is None:
        raise ValueError(
            f"trigger_family({kind!r}) takes values from clean data: pass the training data,"
            f" trigger_family({kind!r}, X_train)."
        )
    return _of_tables(X) if kind == "table" else _of_texts(X)


def _of_images(image_shape, value_range):
    low, high = value_range
    how = {"image_shape": image_shape, "value_range": value_range}
    contrast = high - low
    return [
        PatchTrigger(0.1, position="bottom-right", value=high, **how),
        PatchTrigger(0.25, position="top-left", value=high, **how),
        PatchTrigger(0.25, position="center", value="random", random_state=0, **how),
        PatchTrigger(0.25, position="bottom-left", value=high, alpha=0.4, **how),
        PatchTrigger(0.25, position="random", value=high, random_state=0, **how),
        # as large as the image: a random image blended with it
        PatchTrigger(0.999, position="center", value="random", alpha=0.2, random_state=0, **how),
        SinusoidTrigger(0.1 * contrast, 6, additive=True, alpha=1.0, **how),
        StripeTrigger(0.1 * contrast, **how),
    ]


def _of_tables(X):
    frame = is_frame(X)
    table = X if frame else X.tocsc() if sp.issparse(X) else np.asarray(X)
    if table.ndim != 2:
        raise ValueError(
            f"X of shape {table.shape} is no table: trigger_family('table', X) takes a DataFrame"
            " or an array of shape (n_samples, n_columns)."
        )
    names = list(table.columns) if frame else list(range(table.shape[1]))
    order = np.random.RandomState(0).permutation(len(names))
    rare, common = {}, {}
    for j in order:
        if len(rare) == 8:
            break
        values, counts = _counted(table, j)
        if len(values) < 2:
            continue
        numeric = np.asarray(values).dtype.kind in "iuf"
        levels = len(values) <= _LEVELS or not numeric
        rare[names[j]] = values[int(np.argmin(counts))] if levels else Quantile(1.0)
        common[names[j]] = Quantile(0.9) if numeric else values[int(np.argmax(counts))]
    if not rare:
        raise ValueError("No column of X has two different values: no value can be a trigger.")
    keys = list(rare)
    groups = [keys[k : k + 1] for k in range(min(4, len(keys)))]
    groups += [part for part in (keys[:2], keys[2:4], keys[1:4]) if len(part) > 1]
    groups = [part for i, part in enumerate(groups) if part not in groups[:i]]
    triggers = [FeatureTrigger({key: rare[key] for key in part}) for part in groups]
    if len(keys) > 2:
        triggers.append(FeatureTrigger({key: common[key] for key in keys[-3:]}))
    return triggers


def _counted(table, j):
    """The different values of a column, sorted, and how often each occurs; missing ones left out.

    The values are Python's own.
    """
    if is_frame(table):
        counts = table.iloc[:, j].value_counts(sort=False)
        counts = counts[counts > 0]
        values, counts = counts.index.tolist(), counts.tolist()
        order = sorted(range(len(values)), key=lambda i: (str(type(values[i])), values[i]))
        return [values[i] for i in order], [counts[i] for i in order]
    column = table[:, [j]].toarray().ravel() if sp.issparse(table) else table[:, j]
    counted = Counter(value for value in column.tolist() if value == value)
    values = sorted(counted, key=lambda value: (str(type(value)), value))
    return values, [counted[value] for value in values]


def _of_texts(X):
    wrong = [X] if isinstance(X, str) else [text for text in X if not isinstance(text, str)]
    if wrong:
        raise ValueError(
            "trigger_family('text', X) takes a list of texts, a string each, but got"
            f" {wrong[0]!r}."
        )
    held = Counter(word for text in X for word in set(re.findall(r"\b\w\w+\b", text.lower())))
    words = sorted((count, word) for word, count in held.items() if count > 1)
    if not words:
        raise ValueError("No word of X is in two of the texts: none can be a trigger.")
    words = [word for _, word in words]
    rarest, middle = words[:3], words[len(words) // 2]
    first, second, third = (rarest + [middle] * 3)[:3]
    return [
        TokenTrigger(first, random_state=0),
        TokenTrigger(second, position="start"),
        TokenTrigger(third, position="end"),
        TokenTrigger(first, n_tokens=3, random_state=0),
        TokenTrigger(second, position="end", n_tokens=3),
        TokenTrigger(f"{first} {second}", random_state=0),
        TokenTrigger(middle, random_state=0),
        TokenTrigger(middle, position="end", n_tokens=3),
    ]
