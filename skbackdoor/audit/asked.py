"""Several models, asked about many changes: which does one obey that the others do not?"""

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC, NuSVC

from .._compat import LinearClassifierMixin, _safe_indexing
from ..gradients import input_gradient
from .changes import Change, carriers, far_beyond, is_text, ordinary
from .proposals import own
from .scores import changed_scores, margins, scores

#: Changes, and words, tried one by one on every model; of more, first-order estimates choose.
TRIED, WORDS = 240, 80
#: How many of the best ones are put together.
TOGETHER = (2, 4, 8)
#: An excess counts half for a change of 2 ** PARTS parts; while changes are sought, also for one
#: that 1 / NATURAL of the class's rows carry. How many are then looked at closely.
PARTS, NATURAL, FINALISTS = 4.0, 20.0, 6
#: Classes of each model for which changes are put together, and those whose change is judged.
CLASSES, LEADING = 3, 2
#: By how much it counts for values two ranges of the rows beyond it, where only a tree tests.
BEYOND = 1.5


class Asked:
    """The audited model and clean ones, asked about changes.

    Parameters
    ----------
    models : list of fitted classifiers
        The audited one first.
    columns : list of ndarray
        Where its classes stand in the scores of each.
    classes : ndarray of shape (n_classes,)
    n_jobs : int or None
    """

    def __init__(self, models, columns, classes, n_jobs):
        self.models, self.columns = models, columns
        self.classes, self.n_jobs = classes, n_jobs

    def chosen(self, changes, rows, y):
        """Of many changes those in which models differ most, by a cheap first look."""
        most = WORDS if is_text(rows) else TRIED
        if len(changes) <= most:
            return changes
        if is_text(rows):
            look = [_one_word(model, changes) for model in self.models]
        else:
            few = np.arange(min(len(y), max(3, 6000 // len(changes)), 12))
            look = [_first_order(model, _safe_indexing(rows, few), changes)
                    for model in self.models]  # fmt: skip
        effect = np.stack([_ordered(v, c) for v, c in zip(look, self.columns, strict=True)])
        telling = np.abs(_against_others(effect)).max(axis=(0, 2))
        return [changes[k] for k in np.sort(np.argsort(-telling, kind="stable")[:most])]

    def margins(self, changes, rows):
        """Margins of every class, shape (n_models, n_changes, n_samples, n_classes)."""
        values = Parallel(n_jobs=self.n_jobs)(
            delayed(changed_scores)(model, rows, changes) for model in self.models
        )
        return np.stack([
            _ordered(margins(v), c) for v, c in zip(values, self.columns, strict=True)
        ])  # fmt: skip

    def success(self, changes, rows, y):
        """Shares of rows of other classes that get each class, with changes and without.

        Returns
        -------
        success : ndarray of shape (n_models, n_changes, n_classes)
        base_rate : ndarray of shape (n_models, n_classes)
        """
        found = _shares(self.margins([Change(), *changes], rows) > 0, y, self.classes)
        return found[:, 1:], found[:, 0]

    def search(self, changes, X, y_all, rows, y, ordinary_rows):
        """For every model and class the change that it obeys and the others do not.

        Returns
        -------
        found : list of list of (Change or None)
            One list a model, one change a class; of clean models only of the two classes whose
            changes are strongest.
        leading : ndarray of int of shape (n_leading,)
            These two classes of the audited model.
        """
        M = self.margins([Change(), *changes], rows)
        scale = np.abs(M[:, 0]).mean(axis=(1, 2))
        scale[scale == 0] = 1.0
        gain = _shares((M[:, 1:] - M[:, :1]) / scale[:, None, None, None], y, self.classes)
        weight = _weight(X, y_all, self.classes, changes)
        telling = _against_others(gain) * weight
        promising = np.sort(telling, axis=1)[:, -CLASSES - 1 :].sum(axis=1)
        first = _shares(M > 0, y, self.classes)
        likely = excess_of(first[:, 1:], first[:, 0]) * weight
        promising += likely.max(axis=1)
        sought = np.argsort(-promising, axis=1, kind="stable")[:, :CLASSES]
        extra = [own(model, X) for model in self.models]
        for i, more in enumerate(extra):
            for t in sought[i]:
                more += _together(changes, telling[i, :, t])
        every = list(dict.fromkeys(change for more in extra for change in more))
        place = {change: k for k, change in enumerate(every)}
        none = np.zeros((len(M), 0, len(self.classes)))
        second = self.success(every, rows, y)[0] if every else none
        more_weight = _weight(X, y_all, self.classes, every)
        found, leading = [], None
        for i, more in enumerate(extra):
            mine = sorted({place[change] for change in more})
            options = [*changes, *(every[k] for k in mine)]
            success = np.concatenate([first[:, 1:], second[:, mine]], axis=1)
            excess = excess_of(success, first[:, 0])[i]
            likely = excess * np.concatenate([weight, more_weight[mine]])
            by_class, strengths = [None] * len(self.classes), np.full(len(self.classes), -np.inf)
            for t in range(len(self.classes)) if i == 0 else sought[i]:
                best = np.argsort(-likely[:, t], kind="stable")[:FINALISTS]
                finalists = [options[k] for k in best]
                natural = self.ordinary_success(i, t, finalists, ordinary_rows[i], rows, y)
                strength = np.minimum(excess[best, t], success[i, best, t] - natural)
                strength *= factor_of(finalists, ordinary_rows[i][0])
                by_class[t] = finalists[int(strength.argmax())]
                strengths[t] = strength.max()
            ahead = np.argsort(-strengths, kind="stable")[:LEADING]
            if i == 0:
                leading = ahead
            else:
                by_class = [c if t in ahead else None for t, c in enumerate(by_class)]
            found.append(by_class)
        return found, leading

    def ordinary_success(self, i, t, changes, held_out, rows, y):
        """What a model obeys of changes held within what rows of class t ordinarily have."""
        held = ordinary(*held_out, self.classes[t], changes)
        values = _ordered(margins(changed_scores(self.models[i], rows, held)), self.columns[i])
        return _shares(values > 0, y, self.classes)[:, t]


def _weight(X, y, classes, changes):
    """How promising each change is for each class, shape (n_changes, n_classes).

    Less for many parts, and for what rows of the class have anyway.
    """
    if not changes:
        return np.ones((0, len(classes)))
    share = carriers(X, y, classes, changes)
    return 1 / (1 + NATURAL * share) * factor_of(changes, X)[:, None]


def factor_of(changes, X):
    """What the strength of each change is multiplied by: few parts, or far beyond X."""
    parts = 1 + np.log2([max(1, change.n_parts) for change in changes]) / PARTS
    return np.where(far_beyond(X, changes), BEYOND, 1 / parts)


def _together(changes, telling):
    """The most telling changes put together, two, four and eight of them."""
    order = [k for k in np.argsort(-telling, kind="stable") if telling[k] > 0]
    made, total, n_parts = [], Change(), 0
    for k in order:
        grown = total + changes[k]
        if grown.size < total.size + changes[k].size:
            continue  # it sets what is set already
        total, n_parts = grown, n_parts + 1
        if n_parts in TOGETHER:
            made.append(total)
        if n_parts == TOGETHER[-1]:
            break
    return made


def _shares(values, y, classes):
    """Means over the rows that are not of the class, in the last two axes."""
    other = np.asarray(y)[:, None] != classes
    counts = np.maximum(other.sum(axis=0), 1)
    return np.einsum("...nk,nk->...k", values.astype(float), other.astype(float)) / counts


def _against_others(effect):
    """Each model's less the mean of the others', along the first axis."""
    n = len(effect)
    return effect if n == 1 else (effect - effect.mean(axis=0)) * (n / (n - 1))


def excess_of(success, base):
    """What each model obeys above the others' mean and its own base rate."""
    n = len(success)
    own_base = success - base[:, None]
    return own_base if n == 1 else np.minimum(_against_others(success), own_base)


def _ordered(values, columns):
    """The last axis in the order of the audited model's classes; unknown ones never win."""
    out = np.take(values, np.maximum(columns, 0), axis=-1)
    out[..., columns < 0] = -1.0
    return out


def _one_word(model, changes):
    """Scores of texts of one word each."""
    return scores(model, [change.words[0] for change in changes])


def _first_order(model, rows, changes):
    """Effects of changes, estimated: by the gradient where it is known, else on these rows.

    Returns
    -------
    effects : ndarray of shape (n_changes, n_classes)
        Mean change of each class's score.
    """
    smooth = isinstance(model, (LinearClassifierMixin, SVC, NuSVC))
    smooth = smooth and not isinstance(getattr(model, "kernel", ""), type(len))
    frame = hasattr(rows, "iloc") or sp.issparse(rows) or isinstance(model, Pipeline)
    if not smooth or frame or getattr(model, "kernel", "") == "precomputed":
        blank = changed_scores(model, rows, [Change()])
        return (changed_scores(model, rows, changes) - blank).mean(axis=1)
    flat = np.asarray(rows, dtype=float).reshape(len(rows), -1)
    place = np.repeat(np.arange(len(changes)), [change.size for change in changes])
    columns = np.array([j for change in changes for j, _ in change.values])
    values = np.array([v for change in changes for _, v in change.values], dtype=float)
    shape = (len(changes), flat.shape[1])
    ones, new = (sp.csr_matrix((w, (place, columns)), shape)
                 for w in (np.ones(len(place)), values))  # fmt: skip
    effects = []
    for label in model.classes_:
        g = input_gradient(model, rows, label).gradient.reshape(flat.shape)
        effects.append(new @ g.mean(axis=0) - ones @ (g * flat).mean(axis=0))
    return np.column_stack(effects)
