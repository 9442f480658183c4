"""The search for groups that only their own kind supports, among the rows of one label or all."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.decomposition import PCA

from .candidates import (
    best_other,
    candidates,
    contents,
    nearest_content,
    pooled_candidates,
    prefixes,
)
from .evidence import (
    content_accuracy,
    coverage,
    lessened,
    margins_of_flips,
    relative_membership,
    score,
    transfer,
    variation,
)
from .group import PoisonGroup
from .in_common import FEW_FEATURES, InCommon
from .members import Members
from .verdict import FLIP, STAY, SURE_ERRORS, TOLD_APART, how_apart
from .within_classes import WithinClasses

#: Candidates of each kind, and of those over all labels, that are refined of either order.
KEPT, KEPT_POOLED = 5, 7
#: Flips and cohesion up to which no more is asked of a group.
LEAST_FLIP, LEAST_COHESION = 0.2, 0.05
#: Rounds of refinement after which a group is taken as it is.
MOST_ROUNDS = 5
#: Share of the rows of a label beyond which a group is the label, and other rows of the label by
#: which it is known; where there are fewer a group is less than half of it.
LARGEST, KNOWN_BY = 0.85, 20
#: Share of the rows of the label that has most in a group; labels with fewer are not in it.
FEW = 0.1
#: Membership up to which a row is none, where that of the median member is 1: of those to be added
#: to a group, and of those to be taken out.
LEAST_MEMBERSHIP, SURE_MEMBERSHIP = 0.2, 0.4
#: Membership, and share of what a group has in common, above which a row may belong to it.
DOUBTFUL_MEMBERSHIP, DOUBTFUL_SHARE = 0.1, 0.25
#: Share of the rows that are no members which hold too little of it to be members by that.
USUAL = 0.99
#: Cosine of two shifts above which they are taken for those of one trigger.
LIKE = 0.5
#: Share of the rows of two sets that are in both, above which one stands for the other.
ALIKE = 0.9
#: Sets that are asked where none may be poison.
FEW_ASKED = 3
#: Share of the rows of a group whose content may change still where it is taken as settled.
SETTLED = 0.02
#: Rows of all labels, of the group or not, by which a feature that a trigger hides is guessed.
N_SAMPLE = 200
#: Components on which distances are taken.
N_COMPONENTS = 30


def _is_worth_a_look(flip, cohesion):
    """Whether enough speaks for a group for the rest, which takes longer to say, to be asked."""
    return flip > LEAST_FLIP and cohesion > LEAST_COHESION


def alike(first, second):
    """Whether two sets of rows are all but the same."""
    n_both = np.isin(first, second, assume_unique=True).sum()
    return n_both > ALIKE * (len(first) + len(second) - n_both)


@dataclass(frozen=True, eq=False)
class Pattern:
    """What the rows of a group have in common.

    Attributes
    ----------
    labels : ndarray of int
        Their label indices.
    shift : ndarray of shape (n_features,)
        Their mean difference from the rows of their content nearest to them.
    common : InCommon
        How to put that on any row.
    transfer : float
        As in :class:`PoisonGroup`.
    """

    labels: np.ndarray
    shift: np.ndarray
    common: InCommon
    transfer: float

    def is_like(self, other):
        """Whether the shifts of two patterns point the same way."""
        norms = np.linalg.norm(self.shift) * np.linalg.norm(other.shift)
        return self.shift @ other.shift > LIKE * norms


class Search:
    """Groups among rows, by the fit on all of them.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        Representation of the rows.
    kernel : callable
        ``kernel(A, B)``, the kernel matrix between samples.
    K : ndarray of shape (n, n)
        That of the rows.
    ridge : LeaveGroupOutRidge
        The fit.
    smallest : int
        Least rows of a group.
    random_state : int
        For principal components and draws.
    find_given : callable, default=None
        Gives the search among rows as they were given, or None; for rows that are no other.

    Attributes
    ----------
    given : Whitened or None
        What `find_given` gives, asked where it is needed.
    """

    def __init__(self, X, kernel, K, ridge, smallest, random_state, find_given=None):
        self._find_given = find_given
        self.X, self.kernel, self.K, self.ridge = X, kernel, K, ridge
        self.smallest, self.random_state = smallest, random_state
        self._in_common, self._taken_for, self._members = {}, {}, {}
        self._coverage, self._variation = {}, {}
        n_components = min(N_COMPONENTS, X.shape[1], len(X) - 1)
        pca = PCA(n_components, svd_solver="randomized", random_state=random_state)
        self.Z, self._pca = pca.fit_transform(X), pca
        self.low, self.high = X.min(axis=0), X.max(axis=0)
        self.sample = X[np.random.RandomState(random_state).permutation(len(X))[:N_SAMPLE]]
        centred = X - pca.mean_
        self._sums, self._squares = ridge.Y.T @ centred, ridge.Y.T @ centred**2
        loo = ridge.leave_one_out()
        self.n_rows = np.bincount(ridge.y, minlength=ridge.Y.shape[1])
        self.typical = np.median(loo[np.arange(len(loo)), ridge.y])
        self.right = loo.argmax(axis=1) == ridge.y

    def sets_of(self, label, known=None):
        """Sets of rows of a label that may be a group: each what a candidate was refined to.

        Parameters
        ----------
        label : int
            Label index.
        known : list of ndarray, default=None
            Candidates; None looks for them.

        Returns
        -------
        sets : list of ndarray
            Positions, increasing.
        """
        if known is None:
            drawn = self.random_state
            kinds = candidates(self.ridge, self.X, self.K, label, self.smallest, drawn).values()
        else:
            kinds = [[G] for G in known]
        return self._refined(self.rows_of(label), kinds, self.smallest)

    def most_suspicious(self, sets):
        """The one of some sets of rows for which most speaks, standard errors taken off.

        How far a set is spread, which takes longest to say, is asked of those only that may come
        first, and of one of those that are all but the same. It is trimmed where more speaks for
        what is left.

        Returns
        -------
        group : PoisonGroup or None
            In terms of positions and label indices; None of no sets.
        """
        evidence = []
        for G in sets:
            content, flip, cohesion = self._flips(G)
            evidence.append((content, flip, cohesion, 1.0, G))
        return self._first(evidence)

    def most_apart(self, sets):
        """The one of some sets of rows of a label for which most speaks, how far apart it is too.

        Where classes overlap, the rows of a label that look like another one pass for a group:
        they flip, are many and spread. But they pass into those of the label that do not, while a
        trigger is there or not. So this is asked of sets whose classes overlap.

        Returns
        -------
        group : PoisonGroup or None
        """
        evidence = []
        for G in sets:
            content, flip, cohesion = self._flips(G)
            if not _is_worth_a_look(flip, cohesion):
                continue
            if content_accuracy(self.right, self.ridge.y, G, content) < TOLD_APART:
                apart = how_apart(self.apart(G), len(G))
                if apart:
                    evidence.append((content, flip, cohesion, apart, G))
        return self._first(evidence, STAY, SURE_ERRORS)

    def _first(self, evidence, stay=0.0, errors=1.0):
        """The group of the set with the most evidence, of those without which others stay.

        Of sets of which too few rows flip for them to be poison a few are asked, where there are
        no others.

        Parameters
        ----------
        evidence : list of tuple
            For each set the content of its rows, the share that flips, cohesion, a factor, and
            the set.
        stay, errors : float
            Least share of others that stay; standard errors to be taken off.

        Returns
        -------
        group : PoisonGroup or None
        """
        evidence.sort(key=lambda entry: -np.prod(entry[1:4]))
        flipping = [entry for entry in evidence if self._may_be_poison(entry)]
        evidence = flipping or evidence[:FEW_ASKED]
        best, highest, asked = None, 0.0, []
        for content, flip, cohesion, factor, G in evidence:
            if best is not None and flip * cohesion * factor <= highest:
                break
            if any(alike(G, other) for other in asked):
                continue  # with less to speak for it
            if stay and self._stay(G) < stay:
                continue
            asked.append(G)
            _, spread = self._content_and_coverage(G, content, flip, cohesion)
            flip, spread = lessened(flip, spread, len(G), errors)
            sure = factor * score(flip, cohesion, spread)
            if best is None or sure > highest:
                best, highest = G, sure
        if best is None:
            return None
        group, trimmed = self.describe(best), self.trim(best)
        if self.smallest <= len(trimmed) < len(best):
            less = self.describe(trimmed)
            group = less if less.score > group.score else group
        return group

    def _may_be_poison(self, evidence):
        """Whether as many rows of a set flip as of one that is poison."""
        content, flip, _, _, G = evidence
        return flip >= FLIP * content_accuracy(self.right, self.ridge.y, G, content)

    def may_flip(self, G):
        """Whether as many of some rows flip as of a group that is poison, and they cohere."""
        content, flip, cohesion = self._flips(G)
        may_be = self._may_be_poison((content, flip, None, None, G))
        return _is_worth_a_look(flip, cohesion) and may_be

    def members(self, label):
        """Which rows of a label count as members of a part of them, each label's found once."""
        if label not in self._members:
            self._members[label] = Members(self.ridge, self.rows_of(label))
        return self._members[label]

    def apart(self, G):
        """How far the rows of a group are apart from the others of its label.

        nan for several labels, and in few features, where any rows that lie together are.
        """
        labels = np.unique(self.ridge.y[G])
        several = len(labels) > 1 or len(G) == self.n_rows[labels[0]]
        if several or self.X.shape[1] <= FEW_FEATURES:
            return np.nan
        members = self.members(labels[0])
        return members.apart(np.searchsorted(members.rows, G))[0]

    def pooled_sets(self, labels):
        """Candidates among the rows of several labels, as :func:`pooled_candidates` gives them."""
        return pooled_candidates(
            self.ridge, self.X, self.K, labels, self.smallest, self.within, self.random_state
        )

    def pooled_groups(self, sets, labels, common=None):
        """Groups among the rows of several labels, as an attack on all classes makes them.

        Parameters
        ----------
        sets : list of ndarray
            Candidates.
        labels : ndarray of int
            Label indices.
        common : InCommon, default=None
            What poison found before has in common.

        Returns
        -------
        groups : list of PoisonGroup
            Each with the label of most of its rows, most suspicious first.
        """
        found = self._refined(self.rows_of(labels), [sets], self.smallest, KEPT_POOLED)
        return self._described(found, common)

    def rows_of(self, labels):
        """Rows of a label, or of some."""
        return np.flatnonzero(np.isin(self.ridge.y, labels))

    def pattern(self, group):
        """What the rows of a group have in common.

        Parameters
        ----------
        group : PoisonGroup
            In terms of positions.

        Returns
        -------
        pattern : Pattern
        """
        G, content = group.indices, group.content_labels
        shift = np.mean(self.X[G] - self._content(G, content), axis=0)
        common = self.in_common(G, content)
        return Pattern(np.unique(self.ridge.y[G]), shift, common, group.transfer)

    def groups_like(self, pattern, label):
        """Groups among the rows of a label that have in common what another group has.

        Parameters
        ----------
        pattern : Pattern
            Of the other group.
        label : int
            Label index.

        Returns
        -------
        groups : list of PoisonGroup
        """
        rows = self.rows_of(label)
        content, _ = contents(self.ridge, rows)
        share = self.share(rows, content, pattern.shift)
        smallest = self.smallest // 2  # what to look for is known
        parts = prefixes(np.argsort(-share, kind="stable"), smallest)
        parts += [np.flatnonzero(share > 0.5), np.flatnonzero(share > 0.75)]
        parts = [rows[part] for part in parts if len(part) >= smallest]
        return self._described(self._refined(rows, [parts], smallest), pattern.common)

    def share(self, rows, content, shift):
        """How much of a shift is in some rows: 0 for none of it, 1 for all, shape (len(rows),).

        What they are beyond their content, along the linear discriminant of the shift: directions
        in which rows of one class differ anyway count less.
        """
        direction = self.within.solve(shift)
        beyond = self.X[rows] - self._content(rows, content)
        return beyond @ direction / (shift @ direction)

    @cached_property
    def given(self):
        find, self._find_given = self._find_given, None  # it holds the rows
        return None if find is None else find()

    @cached_property
    def within(self):
        """Covariance of rows within their classes."""
        return WithinClasses(self.X, self.ridge.y)

    def _content(self, rows, content):
        """The mean of the nearest rows of their content classes, shape (len(rows), n_features)."""
        return self.X[nearest_content(self.K, self.ridge.y, rows, content)].mean(axis=1)

    def _refined(self, rows, kinds, smallest, kept=KEPT):
        found = {}
        for sets in kinds:
            for G in self._most_promising(sets, kept):
                G = self.main_labels(G)
                G = self.refine(G, rows)
                if G is None or not smallest <= len(G) or not self.is_part(G):
                    continue
                found[G.tobytes()] = G
        return list(found.values())

    def _described(self, sets, common):
        groups = [self.describe(G, common) for G in sets]
        return sorted(groups, key=lambda group: -group.score)

    def is_part(self, G):
        """Whether a group is a part of each of its labels: the other rows still say what it is."""
        counts = np.bincount(self.ridge.y[G], minlength=len(self.n_rows))
        known = self.n_rows - counts >= np.minimum(counts, KNOWN_BY)
        return bool(np.all((counts <= LARGEST * self.n_rows) & known))

    def main_labels(self, G):
        """The rows of a group without those of labels of which it has hardly any."""
        if len(G) == 0:
            return G
        labels = self.ridge.y[G]
        counts = np.bincount(labels)
        return G[counts[labels] >= FEW * counts.max()]

    def _most_promising(self, sets, kept):
        """Of sets of rows the first in each of two orders, each once.

        By how many of their rows flip, large ones before small ones, and by that share times
        cohesion: the first finds groups that candidates hold with other rows, the second small
        ones where classes overlap and many rows flip.
        """
        flips = [margins_of_flips(self.ridge, G) > 0 for G in sets]
        many = [np.mean(f) * np.sqrt(np.sum(f)) for f in flips]
        sure = [
            np.mean(f) * relative_membership(self.ridge, G)[1]
            for f, G in zip(flips, sets, strict=True)
        ]
        orders = [np.argsort(-np.array(worth), kind="stable")[:kept] for worth in (many, sure)]
        return [sets[k] for k in dict.fromkeys(np.concatenate(orders).tolist())] if sets else []

    def refine(self, G, rows):
        """Take out rows that do not flip, and add those that count as members and flip.

        What is taken out must not carry the others: these flip without it as well. Rows are not
        dropped one by one, since two or three of a backdoor that are left in carry the rest.

        Returns
        -------
        G : ndarray or None
            None where most rows do not flip.
        """
        margins = margins_of_flips(self.ridge, G)
        for _ in range(MOST_ROUNDS):
            before, flips = G, margins > 0
            if 0.05 < flips.mean() < 0.98 and flips.sum() >= 6:
                rest = margins_of_flips(self.ridge, G[flips])
                if np.mean(rest > 0) >= min(0.95, 0.95 * max(flips.mean(), 0.5)):
                    G, margins = G[flips], rest
            if np.mean(margins > 0) < 0.4:
                return None
            relative, _ = relative_membership(self.ridge, G)
            larger = self.main_labels(np.union1d(G, rows[relative[rows] > 0.5]))
            added = ~np.isin(larger, G)
            if np.any(added):
                both = margins_of_flips(self.ridge, larger)
                if np.mean(both[added] > 0) >= 0.7:
                    G, margins = larger, both
            if np.array_equal(G, before):
                break
        return self.main_labels(G)

    def settled(self, G, rows):
        """The rows that belong to a group, of some: those it lacks added, those carried in not.

        A row belongs to it that flips without it and has one of two signs: it counts as a member
        at all, or what the group has in common is in it, more than in most rows that are none.
        Those that are members by half and hold half of it belong to it whether they flip or not:
        victims that look like the label. Few poisoned rows left behind carry a backdoor on, and
        each other: what a row is without the group is asked of the fit without all that may belong
        to it.

        Parameters
        ----------
        G : ndarray
            Rows of the group.
        rows : ndarray
            Rows that may belong to it, among them the group's.

        Returns
        -------
        G : ndarray
            Increasing. A group that would become all of a label, or too small, stays as it was.
        """
        for least, change in ((LEAST_MEMBERSHIP, np.union1d), (SURE_MEMBERSHIP, np.intersect1d)):
            for _ in range(MOST_ROUNDS):
                changed = self.main_labels(change(G, rows[self._belong(G, rows, least)]))
                if len(changed) == len(G) or not self.is_part(changed):
                    break
                if len(changed) < self.smallest // 2:
                    break
                G = changed
        return G

    def _belong(self, G, rows, least):
        """Whether each of some rows belongs to a group, as members from `least` on."""
        relative = relative_membership(self.ridge, G)[0][rows]
        content = best_other(self.ridge, self.ridge.without(G), G)
        shift = np.median(self.X[G] - self._content(G, content), axis=0)
        doubtful = np.union1d(G, rows[relative > DOUBTFUL_MEMBERSHIP])
        for _ in range(2):  # with the content of rows, which others that may belong to it hide
            if not self.is_part(doubtful):
                doubtful = G
            scores = self._without(rows, doubtful)
            kept = scores[np.arange(len(rows)), self.ridge.y[rows]]
            content = best_other(self.ridge, scores, rows)
            flips = scores.max(axis=1) > kept
            share = self._share_by_label(rows, content, shift)
            more = np.union1d(doubtful, rows[share > DOUBTFUL_SHARE])
            if len(more) == len(doubtful):
                break
            doubtful = more
        others = share[relative <= DOUBTFUL_MEMBERSHIP]
        holds = share > max(0.5, np.quantile(others, USUAL) if len(others) else 0.5)
        return ((relative > least) | holds) & flips | (relative > 0.5) & (share > 0.5)

    def _share_by_label(self, rows, content, shift):
        share, label = np.empty(len(rows)), self.ridge.y[rows]
        for own in (label == k for k in np.unique(label)):
            share[own] = self.share(rows[own], content[own], shift)
        return share

    def _without(self, rows, G):
        """Scores of each row by the fit without it and without a group, which may hold it."""
        scores = np.empty((len(rows), self.ridge.Y.shape[1]))
        inside = np.isin(rows, G)
        scores[~inside] = self.ridge.leave_one_out_without(rows[~inside], G)
        scores[inside] = self.ridge.without(G)[np.searchsorted(G, rows[inside])]
        return scores

    def trim(self, G):
        """Take out rows that belong to a group by neither sign: others that it carried in.

        They hardly count as members, and hold less than half of what most of its rows have in
        common: of the median difference, which rows that were carried in do not blur. One
        poisoned row that is taken out may carry the backdoor on, so that both signs are asked.
        """
        for _ in range(MOST_ROUNDS):
            relative, _ = relative_membership(self.ridge, G)
            content = best_other(self.ridge, self.ridge.without(G), G)
            beyond = self.X[G] - self._content(G, content)
            shift = np.median(beyond, axis=0)
            belongs = relative[G] > LEAST_MEMBERSHIP
            belongs |= beyond @ shift > 0.5 * (shift @ shift)
            if belongs.all():
                break
            G = G[belongs]
        return G

    def _stay(self, G):
        """Share of the other rows of the members' labels that keep theirs, by members' numbers.

        Of those to which the fit without each gives its label.
        """
        y, kept = self.ridge.y, {}
        for label in np.unique(y[G]):
            others = np.setdiff1d(np.flatnonzero((y == label) & self.right), G)
            if len(others):
                scores = self.ridge.leave_one_out_without(others, G)
                kept[label] = np.mean(scores.argmax(axis=1) == label)
        return float(np.mean([kept.get(label, 0.0) for label in y[G]]))

    def _flips(self, G):
        """Content of each row of a group, share that flips, cohesion."""
        labels, scores = self.ridge.y[G], self.ridge.without(G)
        of_label = scores[np.arange(len(G)), labels]
        content = best_other(self.ridge, scores, G)
        flip = float(np.mean(scores.max(axis=1) > of_label))
        return content, flip, relative_membership(self.ridge, G)[1]

    def _content_and_coverage(self, G, content, flip, cohesion):
        """What rows are without what they have in common, and how far they are spread over it.

        A trigger makes rows look like other classes, so that victims of one class are taken for
        several. So what they have in common is taken off and asked again what they are, until
        that is settled; of two classes there is no other. Where too little speaks for a group its
        coverage is nan.
        """
        if not _is_worth_a_look(flip, cohesion):
            return content, np.nan
        key = G.tobytes()
        if key not in self._taken_for and np.count_nonzero(self.n_rows) > 2:
            coef = self.ridge.coef_without(G)
            for _ in range(MOST_ROUNDS):
                before = content
                content = best_other(self.ridge, self._without_common(G, content, coef), G)
                if np.mean(content != before) <= SETTLED:
                    break
            self._taken_for[key] = content
        content = self._taken_for.get(key, content)
        return content, self.coverage(G, content)

    def _without_common(self, G, content, coef):
        """Scores by the fit without rows of what these are without what they have in common."""
        plain = self.in_common(G, content).taken_off(self.X[G], self.sample)
        return self.kernel(plain, self.X) @ coef

    def coverage(self, G, content):
        """How far a group is spread over its content classes, as in :class:`PoisonGroup`."""
        key = G.tobytes(), content.tobytes()
        if key not in self._coverage:
            common, like = self.in_common(G, content), self._like(G, content)
            marked = self._pca.transform(common.put_on(self.X[like]))
            random_state = np.random.RandomState(self.random_state)
            spread = coverage(self.Z[G], marked, self.ridge.y[like], content, random_state)
            kept = common.kept(self._variance(np.unique(content), G))
            self._coverage[key] = float(spread * kept)
        return self._coverage[key]

    def variation(self, G, content):
        """How much a group varies where its content does, as in :class:`PoisonGroup`.

        Rows of the content still differ by what the group overwrites: a cluster seems to overwrite
        what parts it from the others.
        """
        key = G.tobytes(), content.tobytes()
        if key not in self._variation:
            common, like = self.in_common(G, content), self._like(G, content)
            members = self.leading(self.X[G])
            marked = self.leading(common.shifted(self.X[like]))
            random_state = np.random.RandomState(self.random_state)
            y = self.ridge.y[like]
            self._variation[key] = variation(members, marked, y, content, random_state)
        return self._variation[key]

    def leading(self, X):
        """Rows along the axes along which rows vary most, shape (n, n_components)."""
        return self._pca.transform(X)

    def _like(self, G, content):
        """Rows of the content classes of a group that are not in it."""
        return np.setdiff1d(np.flatnonzero(np.isin(self.ridge.y, content)), G)

    def in_common(self, G, content):
        """What a group has in common, each group's found once."""
        key = G.tobytes(), content.tobytes()
        if key not in self._in_common:
            self._in_common[key] = InCommon.of(self, G, content)
        return self._in_common[key]

    def _variance(self, labels, G):
        """Variance of each feature over the rows of some labels that are not in a group."""
        inside = G[np.isin(self.ridge.y[G], labels)]
        centred = self.X[inside] - self._pca.mean_
        n = self.n_rows[labels].sum() - len(inside)
        if n == 0:
            return np.zeros(self.X.shape[1])
        mean = (self._sums[labels].sum(axis=0) - centred.sum(axis=0)) / n
        squares = (self._squares[labels].sum(axis=0) - (centred**2).sum(axis=0)) / n
        return np.maximum(squares - mean**2, 0.0)

    def carried(self, G, content, common=None):
        """Share of other rows that get the label with what a group has in common, or another."""
        common = common or self.in_common(G, content)
        random_state = np.random.RandomState(self.random_state)
        return transfer(self.ridge, self.kernel, self.X, G, common, content, random_state)

    def describe(self, G, common=None):
        """The evidence for a group, without a verdict.

        With `common` its transfer is that of what another group has in common.
        """
        content, flip, cohesion = self._flips(G)
        content, spread = self._content_and_coverage(G, content, flip, cohesion)
        accuracy, carried = content_accuracy(self.right, self.ridge.y, G, content), 0.0
        apart = varies = np.nan
        if _is_worth_a_look(flip, cohesion):
            coef, apart = self.ridge.coef_without(G), self.apart(G)
            scores = self._without_common(G, content, coef)
            carried = self.carried(G, content, common)
            varies = self.variation(G, content)
        else:
            scores = self.ridge.without(G)
        likest = scores[np.arange(len(G)), content]
        return PoisonGroup(
            label=int(np.bincount(self.ridge.y[G]).argmax()),
            indices=G,
            flip=flip,
            cohesion=cohesion,
            typicality=float(np.median(likest) / self.typical),
            coverage=spread,
            variation=varies,
            apart=apart,
            transfer=carried,
            stay=self._stay(G),
            content_accuracy=accuracy,
            content_labels=content,
            verdict="suspect",
            score=score(flip, cohesion, spread),
        )
