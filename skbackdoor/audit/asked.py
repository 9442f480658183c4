"""Several models, asked about many changes: which does one obey that the others do not?"""

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC, NuSVC

from .._compat import LinearClassifierMixin, _safe_indexing
from ..gradients import input_gradient
from .changes import Change, carriers, donated, far_beyond, is_text
from .proposals import own
from .scores import changed_scores, margins, scores

#: Changes, and words, tried one by one on every model; of more, first-order estimates choose.
TRIED, WORDS = 240, 80
#: How many of the best ones are put together.
TOGETHER = (2, 4, 8)
#: An excess counts half for a change of 2 ** PARTS parts; while changes are sought, also for one
#: that 1 / NATURAL of the class's rows carry. How many are then looked at closely.
PARTS, NATURAL, FINALISTS = 4.0, 20.0, 6
#: Classes of each model for which changes are put together.
CLASSES = 3
#: Sorts of changes: a value or word, a patch, several together, and where clean rows never are.
ONE, PATCH, SEVERAL, HIDDEN = range(4)
#: The share of what a patch does that makes it natural, if rows of the class do as much.
NEARLY = 0.85
#: Strengths of a sort that are this large on average double what counts as usual.
SMALL = 0.1


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

    def search(self, changes, X, y_all, rows, y, unseen):
        """For every model and class the change that it obeys and the others do not.

        Parameters
        ----------
        changes : list of Change
            Tried for every class of every model.
        X, y_all : array-like, ndarray
            All clean rows.
        rows, y : array-like, ndarray
            Those on which changes are sought.
        unseen : list of (X, y)
            For each model the clean rows that it was not fitted on.

        Returns
        -------
        candidates : list of (int, int, int, Change)
            Model, class, sort and change: of each model and sort the strongest one; of the
            audited model, the first, one for every class as well.
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
        single = np.array([change.size == 1 for change in changes])
        held = [(X, y_all), *unseen[1:]]
        extra = [own(model, *clean) for model, clean in zip(self.models, held, strict=True)]
        for i, more in enumerate(extra):
            for t in sought[i]:  # not of patches: several of these are no small change
                more += _together(changes, np.where(single, telling[i, :, t], 0.0))
        every = list(dict.fromkeys(change for more in extra for change in more))
        place = {change: k for k, change in enumerate(every)}
        none = np.zeros((len(M), 0, len(self.classes)))
        second = self.success(every, rows, y)[0] if every else none
        more_weight = _weight(X, y_all, self.classes, every)
        best = {}
        for i, more in enumerate(extra):
            mine = sorted({place[change] for change in more})
            options = [*changes, *(every[k] for k in mine)]
            success = np.concatenate([first[:, 1:], second[:, mine]], axis=1)
            excess = excess_of(success, first[:, 0])[i]
            likely = excess * np.concatenate([weight, more_weight[mine]])
            sorts = sorts_of(options, X)
            for t in range(len(self.classes)) if i == 0 else sought[i]:
                for sort in np.unique(sorts):
                    of_sort = np.flatnonzero(sorts == sort)
                    order = np.argsort(-likely[of_sort, t], kind="stable")[:FINALISTS]
                    some = of_sort[order]
                    finalists = [options[k] for k in some]
                    strength = self.strength(
                        i,
                        t,
                        sort,
                        finalists,
                        excess[some, t],
                        success[i, some, t],
                        unseen,
                        rows,
                        y,
                    )
                    k = int(strength.argmax())
                    best[i, int(t), int(sort)] = float(strength[k]), finalists[k]
        return self._candidates(best)

    def _candidates(self, best):
        """Of what is best for a model, a class and a sort, what is to be judged."""
        strongest = {}
        for (i, t, sort), (strength, _) in best.items():
            if strength > strongest.get((i, sort), (-np.inf,))[0]:
                strongest[i, sort] = strength, t
        usual = usual_of(strongest, len(self.models))
        kept = {(i, t, sort) for (i, sort), (_, t) in strongest.items()}
        for t in range(len(self.classes)):
            kept.add(max(
                (key for key in best if key[:2] == (0, t)),
                key=lambda key: best[key][0] / usual[key[2]],
            ))  # fmt: skip
        return [(*key, best[key][1]) for key in sorted(kept)]

    def strength(self, i, t, sort, changes, excess, success, unseen, rows, y):
        """How much more a model obeys changes of one sort than it should.

        Excused is what it obeys of rows of the class in place of a value, a word, or several
        changes together; of a patch only where that is nearly all that the patch does, since a
        weaker form of a trigger works in part. Clean rows never have what is hidden.
        """
        if sort == HIDDEN:
            return excess
        natural = self.ordinary_success(i, t, changes, unseen[i], rows, y)
        held = np.minimum(excess, success - natural)
        if sort == PATCH:
            return np.where(natural >= NEARLY * success, held, excess)
        return held * factor_of(changes)

    def ordinary_success(self, i, t, changes, held_out, rows, y):
        """The most that a model obeys, in place of changes, of what rows of class t have there."""
        held = donated(*held_out, self.classes[t], changes)
        flat = list(dict.fromkeys(change for donors in held for change in donors))
        values = _ordered(margins(changed_scores(self.models[i], rows, flat)), self.columns[i])
        share = dict(zip(flat, _shares(values > 0, y, self.classes)[:, t], strict=True))
        return np.array([max(share[change] for change in donors) for donors in held])


def _weight(X, y, classes, changes):
    """How promising each change is for each class, shape (n_changes, n_classes).

    Less for many parts, and for what rows of the class have anyway.
    """
    if not changes:
        return np.ones((0, len(classes)))
    share = carriers(X, y, classes, changes)
    return 1 / (1 + NATURAL * share) * factor_of(changes)[:, None]


def factor_of(changes):
    """What the strength of each change is multiplied by: less for many parts."""
    return 1 / (1 + np.log2([max(1, change.n_parts) for change in changes]) / PARTS)


def sorts_of(changes, X):
    """The sort of each change."""
    return np.array([
        HIDDEN if change.hidden or beyond
        else SEVERAL if change.n_parts > 1
        else PATCH if change.size > 1
        else ONE
        for change, beyond in zip(changes, far_beyond(X, changes), strict=True)
    ])  # fmt: skip


def usual_of(strongest, n_models):
    """What strength of each sort is usual among models: a mean, and a little.

    Parameters
    ----------
    strongest : dict of (model, sort) to tuple
        Strength first.
    n_models : int

    Returns
    -------
    usual : ndarray of shape (4,)
    """
    usual = np.full(4, SMALL)
    for (_, sort), (strength, *_) in strongest.items():
        usual[sort] += max(strength, 0.0) / n_models
    return usual


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
