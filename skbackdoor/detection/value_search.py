"""The search in tables and texts: groups whose rows share a value, a word, or a pair of them."""

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from .candidates import best_other
from .evidence import content_accuracy, coverage, relative_flip, score
from .group import PoisonGroup
from .separability import separability
from .shared_values import is_text
from .value_verdict import (
    CLEAN_LABEL,
    DRAWN_FLIPS,
    DRAWN_ROWS,
    LEAST_ROWS,
    MOST,
    OTHER_VALUE,
    are_like,
    is_kind,
    lessened_values,
)

#: Candidates of a label whose content is looked at, the largest ones whose rows flip most: of so
#: many at most, those of which at least this share flips with their values taken out.
KEPT, LOOKED_AT, LEAST_FLIP = 12, 60, 0.1
#: Values of a label that are put on other rows, the most frequent ones that hardly any other row
#: has, and rows that they are put on.
MARKING, TRIED = 60, 300
#: Share of the rows of a group that hold a value which tells nothing when it is asked whether they
#: are drawn at random: a trigger may set several values, of which some are common.
SHARED_BY = 0.8
#: A value that so many candidates of a label share with another one is looked at alone.
OFTEN = 2
#: Share of the score of a group, standard errors taken off, that another one of rows that share
#: one of its values may have in its place, and how many times as many rows that one has.
NEARLY, LARGER = 0.65, 1.25
#: Components on which distances are taken.
N_COMPONENTS = 30
#: Rows nearer than this share of the usual distance to a fifth neighbour count as one.
SAME = 0.3


class ValueSearch:
    """Groups among rows by what they share, judged as if it told nothing.

    A candidate is the rows of one label that share values which hardly any other row has, or one
    that marks the label, as a word of everyday may. Their
    content, and how far they are spread over it, is asked of a fit on rows in which these values
    are taken out (:meth:`SharedValues.without`): with them, the nearest rows would be found where
    the trigger puts them.

    Parameters
    ----------
    shared : SharedValues
        Of the rows.
    represent : callable
        From rows as they were given to their features, shape (n, n_features).
    X : ndarray of shape (n, n_features)
        The features of the rows as they are.
    kernel : callable
        ``kernel(A, B=None)``.
    K : ndarray of shape (n, n)
        That of the rows.
    ridge : LeaveGroupOutRidge
        The fit on all rows, as they are.
    smallest : int
        Least rows of a group, near-duplicates counted once.
    random_state : int
        For principal components and draws.
    """

    def __init__(self, shared, represent, X, kernel, K, ridge, smallest, random_state):
        self.shared, self.represent, self.X = shared, represent, X
        self.kernel, self.K, self.ridge = kernel, K, ridge
        n_components = min(N_COMPONENTS, X.shape[1], len(X) - 1)
        pca = PCA(n_components, svd_solver="randomized", random_state=random_state)
        self.pca = pca.fit(X)
        self.smallest, self.random_state = smallest, random_state
        loo = ridge.leave_one_out()
        self.typical = np.median(loo[np.arange(len(loo)), ridge.y])
        self.right = loo.argmax(axis=1) == ridge.y

    def groups_of(self, label):
        """Groups among the rows of a label, most suspicious first.

        Parameters
        ----------
        label : int
            Label index.

        Returns
        -------
        groups : list of PoisonGroup
            In terms of positions and label indices.
        """
        of_label = self.ridge.y == label
        worth = []
        for which in self.shared.candidates(of_label, self.smallest):
            rows = self.shared.rows_with(which)
            G = rows[of_label[rows]]
            scores = self.ridge.without(G)
            flips = scores.argmax(axis=1) != label
            rare = len(G) <= MOST * len(of_label)
            worth.append((rare, flips.mean() * np.sqrt(len(G)), which, G))
        worth.sort(key=lambda entry: entry[:2], reverse=True)
        chosen = self._that_flip_without(label, [entry[2:] for entry in worth])
        values, counts = np.unique([k for which in chosen for k in which], return_counts=True)
        for k in values[counts >= OFTEN].tolist():
            rows = self.shared.rows_with((k,))
            G = rows[of_label[rows]]
            if 0.5 * len(rows) < len(G) <= MOST * len(of_label):
                chosen.setdefault((k,), G)
        chosen = {self.shared.completed(which, G): G for which, G in chosen.items()}
        groups = [(which, self.describe(label, G, which)) for which, G in chosen.items()]
        return _whole_first([(which, group) for which, group in groups if group is not None])

    def _that_flip_without(self, label, candidates):
        """The first of these (values, rows) whose rows flip where their values are taken out."""
        chosen, seen = {}, set()
        for which, G in candidates[:LOOKED_AT]:
            whole = self.shared.completed(which, G)
            if whole in seen:
                continue  # its rows share other values that say the same
            seen.add(whole)
            K = self.kernel(self.represent(self.shared.without(whole, G)), self.X)
            flips = (K @ self.ridge.coef_without(G)).argmax(axis=1) != label
            if flips.mean() >= LEAST_FLIP:
                chosen[which] = G
            if len(chosen) == KEPT:
                break
        return chosen

    def null_of(self, group, known):
        """Groups of other values of the columns of a group, where these mark its label as well.

        They have half as many rows of it, and are above its share of all rows by half as much.

        Parameters
        ----------
        group : PoisonGroup
            In terms of positions and label indices.
        known : list of PoisonGroup
            Whose rules are not looked at again.

        Returns
        -------
        groups : list of PoisonGroup
        """
        if is_text(self.shared.X):
            return []
        of_label, groups = self.ridge.y == group.label, []
        rules = {other.rule for other in known if other.label == group.label}
        usual = of_label.mean()
        least = usual + OTHER_VALUE * (group.cohesion - usual)
        names = getattr(self.shared.X, "columns", range(self.shared.X.shape[1]))
        columns = {column for column, _ in group.shared}
        for k, (j, _) in enumerate(self.shared.values):
            if names[j] not in columns:
                continue
            rows = self.shared.rows_with((k,))
            G = rows[of_label[rows]]
            if len(G) < least * len(rows) or self.shared.rule((k,)) in rules:
                continue
            if are_like(self.shared.pairs((k,)), len(G), group):
                groups.append(self.describe(group.label, G, (k,)))
        return [other for other in groups if other is not None]

    def clean_label_groups_of(self, label):
        """Groups among the rows of a label that rightly have it, by values that carry others.

        No row of these flips: the values give rows of other labels the label, and nothing else
        tells the rows with them from the label's other rows.

        Parameters
        ----------
        label : int
            Label index.

        Returns
        -------
        groups : list of PoisonGroup
            In terms of positions and label indices; their score is cohesion * coverage * transfer.
        """
        y, groups = self.ridge.y, {}
        for k in self.shared.marking(y == label, LEAST_ROWS)[:MARKING]:
            rows = self.shared.rows_with((k,))
            G = rows[y[rows] == label]
            which = self.shared.completed((k,), G)
            if which not in groups and len(G) < np.sum(y == label):
                groups[which] = self._clean_label(label, G, which)
        groups = [group for group in groups.values() if group is not None]
        return sorted(groups, key=lambda group: -group.score)

    def _clean_label(self, label, G, which):
        """The evidence for a group that has its label's own content; None where that is little."""
        random_state = np.random.RandomState(self.random_state)
        y, content = self.ridge.y, np.full(len(G), label)
        carried = self._transfer(label, G, which, np.unique(y[y != label]), random_state)
        if carried < OTHER_VALUE * CLEAN_LABEL[1][2]:  # nor is it a null of others
            return None
        X = self.represent(self.shared.without(which))
        others = np.setdiff1d(np.flatnonzero(y == label), G)
        Z = self.pca.transform(X)
        if n_distinct(Z, G, random_state) < self.smallest:
            return None
        scores = self.ridge.without(G)
        spread = coverage(Z[G], Z[others], y[others], content, random_state)
        cohesion = len(G) / len(self.shared.rows_with(which))
        return PoisonGroup(
            label=label,
            indices=G,
            flip=float(np.mean(scores.argmax(axis=1) != label)),
            cohesion=cohesion,
            typicality=float(np.median(scores[:, label]) / self.typical),
            coverage=spread,
            transfer=carried,
            separability=self._separability(which, X, G, others, content),
            stay=self._stay(label, G),
            content_accuracy=content_accuracy(self.right, y, G, content),
            content_labels=content,
            verdict="suspect",
            score=score(carried, cohesion, spread),
            rule=self.shared.rule(which),
            shared=self.shared.pairs(which),
        )

    def describe(self, label, G, which):
        """The evidence for a group that shares some values; None where too few rows differ."""
        y, random_state = self.ridge.y, np.random.RandomState(self.random_state)
        X = self.represent(self.shared.without(which))
        Z = self.pca.transform(X)
        if n_distinct(Z, G, random_state) < self.smallest:
            return None
        scores = self.ridge.without_on(self._kernel_of(X), G, rtol=1e-5)
        own = scores[:, label].copy()
        content = best_other(self.ridge, scores, G)
        best = scores.max(axis=1)
        flip = float(np.mean(best > own))
        like = np.setdiff1d(np.flatnonzero(np.isin(y, content)), G)
        spread = coverage(Z[G], Z[like], y[like], content, random_state)
        rest = np.setdiff1d(np.flatnonzero(y != label), self.shared.rows_with(which))
        cohesion = len(G) / len(self.shared.rows_with(which))
        accuracy = content_accuracy(self.right, y, G, content)
        carried = self._transfer(label, G, which, content, random_state)
        return PoisonGroup(
            label=label,
            indices=G,
            flip=flip,
            cohesion=cohesion,
            typicality=float(np.median(best) / self.typical),
            coverage=spread,
            transfer=carried,
            separability=self._separability(which, X, G, rest, content, best > own),
            stay=self._stay(label, G),
            content_accuracy=accuracy,
            content_labels=content,
            verdict="suspect",
            score=score(relative_flip(flip, accuracy), cohesion, spread),
            rule=self.shared.rule(which),
            shared=self.shared.pairs(which),
        )

    def _separability(self, which, X, G, others, content, flips=None):
        """How well a group is told from others by what it does not share; X is without `which`.

        Members that had the values by nature do not flip, and are of a kind. Where those that
        flip, if they are not few, look drawn at random from the others that are right, it is by
        them.
        """
        all_shared = self.shared.held_by(G, SHARED_BY, which)
        if all_shared != which:
            X = self.represent(self.shared.without(all_shared))
        y, random_state = self.ridge.y, self.random_state
        area = separability(X, G, others, y, content, random_state)
        if flips is None or flips.all() or flips.sum() < DRAWN_ROWS:
            return area
        right = others[self.right[others]]
        of_flips = separability(X, G[flips], right, y, content[flips], random_state)
        return of_flips if of_flips <= DRAWN_FLIPS else area

    def _stay(self, label, G):
        """Share of the other rows of the label, of those that are right, that keep it."""
        of_label = (self.ridge.y == label) & self.right
        others = np.setdiff1d(np.flatnonzero(of_label), G)
        kept = self.ridge.leave_one_out_without(others, G).argmax(axis=1)
        return float(np.mean(kept == label)) if len(others) else 0.0

    def _kernel_of(self, X):
        """Kernel matrix of rows of which some are as they were."""
        changed = np.flatnonzero(np.any(X != self.X, axis=1))
        K = self.K.copy()
        K[changed] = self.kernel(X[changed], X)
        K[:, changed] = K[changed].T
        return K

    def _transfer(self, label, G, which, content, random_state):
        """Share of rows of the content classes that get the label by the values."""
        rows = np.setdiff1d(np.flatnonzero(np.isin(self.ridge.y, content)), G)
        if len(rows) == 0:
            return 0.0
        rows = random_state.choice(rows, min(TRIED, len(rows)), replace=False)
        marked = self.represent(self.shared.put(which, rows))
        K = self.kernel(marked, self.X)
        with_group = (K @ self.ridge.coef).argmax(axis=1) == label
        without_group = (K @ self.ridge.coef_without(G)).argmax(axis=1) == label
        return float(with_group.mean() - without_group.mean())


def _whole_first(groups):
    """Groups by score, but a larger one of rows that share a value ahead of its parts.

    A part that a second value cuts out of a group is purer by chance. The larger one stands ahead
    where nearly as much speaks for it, standard errors taken off; not where its rows are of a
    kind and those of the part are not: rows with one value of a trigger are told by the other.

    Parameters
    ----------
    groups : list of (tuple of int, PoisonGroup)
        The values that each shares.

    Returns
    -------
    groups : list of PoisonGroup
    """
    sure = [lessened_values(group).score for _, group in groups]
    first = sorted(range(len(groups)), key=lambda k: -groups[k][1].score)
    ordered = []
    for k in first:
        which, part = groups[k]
        larger = [
            j
            for j, (values, group) in enumerate(groups)
            if set(values) & set(which)
            and len(group.indices) > LARGER * len(part.indices)
            and sure[j] >= NEARLY * sure[k]
            and (is_kind(part) or not is_kind(group))
        ]
        larger.sort(key=lambda j: -len(groups[j][1].indices))
        ordered += [j for j in (*larger, k) if j not in ordered]
    return [groups[j][1] for j in ordered]


def n_distinct(Z, G, random_state):
    """Number of rows of G of which no two are near-duplicates."""
    some = random_state.permutation(len(Z))[:300]
    usual = np.median(np.partition(cdist(Z[some], Z), 5, axis=1)[:, 5])
    near = cdist(Z[G], Z[G]) <= SAME * usual
    left, count = np.ones(len(G), dtype=bool), 0
    for k in range(len(G)):
        if left[k]:
            count += 1
            left &= ~near[k]
    return count
