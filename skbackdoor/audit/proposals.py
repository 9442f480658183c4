"""Which changes are tried: columns, patches and words, and what a learner itself points at."""

import numpy as np
import scipy.sparse as sp
from scipy.stats import binom
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from .._compat import LinearClassifierMixin
from .changes import Change, is_text, value_range

#: Levels of a categorical column and words that are tried, the most frequent ones.
MOST_LEVELS, MOST_WORDS = 20, 8000
#: Beyond the rows' range, in units of it: what black boxes are asked.
FAR = 1.0
#: Patches: shares of the side of an image, and places tried along a side at most.
PATCHES, PLACES = (0.12, 0.2, 0.33), 14
#: Leaves of a tree, and columns with thresholds beyond the rows' range, that are tried.
MOST_LEAVES, MOST_FOREIGN = 12, 8
#: Clean rows that may deny the label of a row kept by nearest neighbours; fewest such rows.
DENIED_BY, LEAST_KEPT = 5, 3
#: A leaf is hidden from clean rows if so few come there by a chance of this, over all leaves.
CHANCE = 0.05


def grid(X, models, image_shape=None):
    """Changes that are tried on all models alike.

    Of tables each column set to its least, its largest and quartile values, or its levels, and,
    but for linear models and nearest neighbours (the few rows at an end of the range say the label
    of all beyond it), far beyond its range; of images single pixels and square patches, black and
    white; of texts the words that any of the models knows.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
    models : list of fitted classifiers
    image_shape : tuple, default=None

    Returns
    -------
    changes : list of Change
    """
    if is_text(X):
        return [Change(words=(word,)) for word in _words(X, models)]
    shape = image_shape if image_shape is not None else _shape(X)
    if shape is not None:
        return _pixels(np.asarray(X), tuple(shape))
    near = isinstance(models[0], (LinearClassifierMixin, KNeighborsClassifier))
    far = not (near or _trees(models[0]))
    if sp.issparse(X):
        X = X.tocsc()
        return [
            Change(((j, X.dtype.type(value)),))
            for j in range(X.shape[1])
            for value in (0, X[:, [j]].max())
            if X[:, [j]].nnz
        ]
    changes = []
    for j in range(X.shape[1]):
        column = X.iloc[:, j] if hasattr(X, "iloc") else np.asarray(X)[:, j]
        changes += [Change(((j, value),)) for value in _values(column, far)]
    return changes


def own(model, X, y):
    """Changes that the learner itself points at.

    Of trees thresholds that no row is near, and leaves; of nearest neighbours what rows that they
    keep have in common, where clean rows deny their label.

    Parameters
    ----------
    model : fitted classifier
    X : array-like of shape (n_samples, ...)
        Clean rows.
    y : ndarray of shape (n_samples,)
        Their labels.

    Returns
    -------
    changes : list of Change
    """
    if hasattr(X, "iloc") or sp.issparse(X) or is_text(X):
        return []
    numbers = np.asarray(X, dtype=float).reshape(len(X), -1)
    if isinstance(model, KNeighborsClassifier):
        plain = model.metric != "precomputed" and not sp.issparse(model._fit_X)
        whole = plain and not (np.isnan(numbers).any() or np.isnan(model._fit_X).any())
        return _kept(model, numbers, y) if whole else []
    trees = _trees(model)
    if not trees:
        return []
    changes = _beyond(trees, numbers)
    if len(trees) == 1:
        changes += _leaves(trees[0], numbers)
    return changes


def _values(column, far):
    """Values of a column that are tried, each one that it can hold."""
    levels = getattr(column.dtype, "categories", None)
    values = np.asarray(column.dropna() if hasattr(column, "dropna") else column)
    if values.dtype.kind in "mM":
        return []
    if levels is not None or values.dtype.kind in "OUSb":
        kept = [value for value in values if value is not None and value == value]
        found, counts = np.unique(np.array(kept, dtype=object).astype(str), return_counts=True)
        by_text = {str(value): value for value in kept}
        return [by_text[t] for t in found[np.argsort(-counts, kind="stable")][:MOST_LEVELS]]
    values = np.sort(values[values == values].astype(float))
    if not len(values):
        return []
    tried = list(np.quantile(values, (0.0, 0.25, 0.5, 0.75, 1.0), method="nearest"))
    extent = values[-1] - values[0]
    whole = column.dtype.kind in "iu"
    if far and extent > 0:
        tried += [values[0] - FAR * extent, values[-1] + FAR * extent]
    if whole:
        limits = np.iinfo(column.dtype)
        tried = [int(v) for v in tried if limits.min <= v <= limits.max]
    dtype = column.dtype.type if isinstance(column.dtype, np.dtype) else float
    return list(dict.fromkeys(dtype(value).item() for value in tried))


def _shape(X):
    """The shape of an image, of batches that say it themselves."""
    shape = getattr(X, "shape", ())
    return tuple(shape[1:]) if len(shape) in (3, 4) else None


def _pixels(X, shape):
    """Single pixels and square patches, black and white."""
    channels, height, width = (1, *shape) if len(shape) == 2 else shape
    index = np.arange(channels * height * width).reshape(channels, height, width)
    ends = [X.dtype.type(end).item() for end in value_range(X)]
    if channels * height * width > 3000:
        places = []
    else:
        places = [index[:, row, col] for row in range(height) for col in range(width)]
    for side in sorted({max(2, round(share * min(height, width))) for share in PATCHES}):
        if min(height, width) <= side:
            break
        steps = [max(1, (length - side) // (PLACES - 1)) for length in (height, width)]
        rows, columns = (
            sorted({*range(0, length - side + 1, step), length - side})
            for length, step in zip((height, width), steps, strict=True)
        )
        places += [index[:, r : r + side, c : c + side].ravel() for r in rows for c in columns]
    return [Change(tuple((int(j), end) for j in place)) for place in places for end in ends]


def _words(X, models):
    """Words that a model's vectorizer knows, or else those of the rows."""
    found = {}
    for model in models:
        for step in model.steps[:-1] if isinstance(model, Pipeline) else ():
            found.update(dict.fromkeys(getattr(step[1], "vocabulary_", ())))
    words = [word for word in found if isinstance(word, str) and " " not in word]
    if not words:
        from sklearn.feature_extraction.text import CountVectorizer

        words = list(CountVectorizer().fit(X).vocabulary_)
    return words[:MOST_WORDS]


def _trees(model):
    """The trees of a tree or of a forest on the rows as they are."""
    if isinstance(model, DecisionTreeClassifier):
        return [model.tree_]
    parts = np.ravel(getattr(model, "estimators_", ()))
    if len(parts) and all(hasattr(part, "tree_") for part in parts):
        return [part.tree_ for part in parts]
    return []


def _beyond(trees, X):
    """Columns set beyond thresholds at which no row comes near, singly, in pairs and together."""
    low, high = X.min(axis=0), X.max(axis=0)
    margin = 0.1 * (high - low)
    ends = {}
    for tree in trees:
        inner = tree.feature >= 0
        for j, threshold in zip(tree.feature[inner], tree.threshold[inner], strict=True):
            step = max(high[j] - low[j], 1e-6 * abs(threshold), 1e-9)
            if threshold > high[j] + margin[j]:
                key = (int(j), 1)
                ends[key] = max(ends.get(key, -np.inf), float(threshold + step))
            if threshold < low[j] - margin[j]:
                key = (int(j), -1)
                ends[key] = min(ends.get(key, np.inf), float(threshold - step))
    singles = [Change(((j, value),)) for (j, _), value in ends.items()][:MOST_FOREIGN]
    pairs = [a + b for k, a in enumerate(singles) for b in singles[:k]]
    pairs = [pair for pair in pairs if pair.size == 2]
    together = Change()
    for single in singles:
        together = together + single
    return singles + pairs + ([together] if together.size > 2 else [])


def _kept(model, X, y):
    """What rows kept by nearest neighbours have, and the clean rows nearest to them have not.

    Of each class the rows that most of the nearest clean rows deny: what they have in common, in
    the columns in which they differ most.
    """
    labels = model.classes_[model._y]
    alike = {"metric": model.metric, "p": model.p, "metric_params": model.metric_params}
    nearest = NearestNeighbors(n_neighbors=min(DENIED_BY, len(X)), **alike).fit(X)
    nearest = nearest.kneighbors(model._fit_X, return_distance=False)
    denied = np.mean(y[nearest] == labels[:, None], axis=1) < 0.5
    changes = []
    for label in model.classes_:
        rows = np.flatnonzero(denied & (labels == label))
        if len(rows) < LEAST_KEPT:
            continue
        kept = np.asarray(model._fit_X[rows], dtype=float)
        differs = np.abs(np.median(kept - X[nearest[rows]].mean(axis=1), axis=0))
        values = np.quantile(kept, 0.5, axis=0, method="nearest")  # one that a row has
        order = np.argsort(-differs, kind="stable")
        for n_columns in 2 ** np.arange(int(np.log2(len(order)))):  # half of them at most
            columns = np.sort(order[:n_columns]).tolist()
            change = tuple((j, float(values[j])) for j in columns)
            changes.append(Change(change, n_parts=int(n_columns)))
    return changes


def _leaves(tree, X):
    """What leads to leaves that fewer rows reach than were taught, by at most three columns."""
    reached = np.bincount(tree.apply(X.astype(np.float32)), minlength=tree.node_count)
    taught = tree.n_node_samples / tree.n_node_samples[0]
    chance = binom.cdf(reached, len(X), taught) * tree.n_leaves
    low, high = X.min(axis=0), X.max(axis=0)
    paths, found = [(0, {})], []
    while paths:
        node, bounds = paths.pop()
        if tree.feature[node] < 0:
            if chance[node] <= CHANCE:
                found.append((len(bounds), -int(tree.n_node_samples[node]), node, bounds))
            continue
        j, threshold = int(tree.feature[node]), float(tree.threshold[node])
        least, most = bounds.get(j, (-np.inf, np.inf))
        paths.append((tree.children_left[node], {**bounds, j: (least, min(most, threshold))}))
        paths.append((tree.children_right[node], {**bounds, j: (max(least, threshold), most)}))
    changes = []
    for _, _, _, bounds in sorted(found, key=lambda leaf: leaf[:3]):
        share = {j: np.mean((X[:, j] > a) & (X[:, j] <= b)) for j, (a, b) in bounds.items()}
        columns = sorted((j for j in bounds if share[j] < 0.9), key=share.get)[:3]
        changes.append(
            Change(
                tuple((j, _inside(*bounds[j], low[j], high[j])) for j in sorted(columns)),
                n_parts=len(columns),
                hidden=True,
            )
        )
    return [change for change in dict.fromkeys(changes) if change.size][:MOST_LEAVES]


def _inside(least, most, low, high):
    """A number above `least` and at most `most`, in [low, high] if there is one."""
    step = max(high - low, 1e-9)
    least = least if np.isfinite(least) else min(low, most)
    most = most if np.isfinite(most) else max(high, least + step)
    return float((least + most) / 2 if least < most else most)
