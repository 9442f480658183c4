"""Poison found by leaving groups of rows out."""

import os
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._compat import Interval, StrOptions, _safe_indexing
from ..attack import check_data
from ..learners import MAX_SEED
from ..paths.threads import LARGE, one_blas_thread
from ..progress import progress
from .apart_sets import apart_sets, completed_in, groups_apart
from .base import Findings, PoisonDetector
from .carrier import Carrier
from .clean_label import clean_label_groups
from .in_common import FEW_FEATURES
from .joined import beside, disjoint, joined
from .kernel_ridge import LeaveGroupOutRidge
from .search import Search
from .shared_values import SharedValues, is_text
from .value_search import ValueSearch
from .value_verdict import judged_values, unlike_others
from .verdict import (
    TOLD_APART,
    are_too_many,
    is_usual,
    judged_group,
    of_others,
    rank,
    rank_apart,
)
from .whitened import Whitened, Whitening, numbers

#: Least score of a group that is reported as suspect.
SUSPECT = 0.2
#: Groups whose common part is looked for among the rows of other labels.
N_SHARED = 2
#: Kernel widths that are tried, in units of 1 / median squared distance, and penalties.
GAMMAS, PENALTIES = (0.5, 1.0, 2.0, 4.0), (1e-3, 1e-2, 0.1, 1.0)
#: Rows on which they are chosen.
N_CHOOSING = 1500


class LeaveGroupOutDetector(PoisonDetector):
    r"""Find poison as groups of rows that only their own kind supports.

    Leave all poisoned rows out of training, and the model gives them another label: that of their
    content. Leave a single one out and its label stays, since the others carry the trigger.
    Ordinary rows do the opposite: leave any group of them out, and the rest of the class still
    vouches for it. For kernel ridge regression both predictions are closed forms
    (stated in `kernel_ridge.py`), so that thousands of groups are tried for the price
    of one matrix inverse. The model to be protected may be any other.

    No clean data, no poisoning rate and no target are needed. What a verdict takes is the same for
    all data (Notes); these numbers were chosen on attacks on digits and photographs.

    Parameters
    ----------
    representation : None, transformer or callable, default=None
        As in :class:`PoisonDetector`. Kernel ridge regression should be good on it: see
        `leave_one_out_accuracy_`. Give images with a representation rather than features alone:
        a trigger shows in pixels that a network hardly sees.
    candidates : {"auto", "clusters", "values"}, default="auto"
        Where groups are sought. "clusters": among rows that lie together (images, features of
        networks, any numbers). "values": rows that share a value of a column, a word, or a pair
        of them (tables, texts). "auto" is "values" for texts, DataFrames and arrays of at most 30
        columns, where one cluster of a class is another one moved, as if by a trigger; else
        "clusters".
    gamma : float or None, default=None
        Width of the kernel ``exp(-gamma |x - x'|^2)``; None is the one of 1/2, 1, 2 and 4 over the
        median squared distance with the best leave-one-out accuracy.
    penalty : float or None, default=None
        Ridge penalty; None is the best one of 0.001, 0.01, 0.1 and 1.
    smallest_group : int, default=8
        Least rows of a group. Classes with fewer rows are skipped, with a warning.
    max_rounds : int, default=5
        Groups that are poison are taken out and what is left is searched again, so often at most.
    max_samples : int, default=6000
        Rows that are searched. Of more, so many are drawn, with each class's share, and the
        other rows are held against the groups found. Memory is about ten square matrices of
        that size, time goes with the cube.
    random_state : int, RandomState instance or None, default=0
        Draws rows, principal components, and rows that are tried.

    Attributes
    ----------
    scores_ : ndarray of shape (n_samples,)
        1 for poison, else the score of the most suspicious group that a row is in.
    is_poison_ : ndarray of bool of shape (n_samples,)
        Rows of groups whose verdict is "poison".
    groups_ : list of PoisonGroup
        Those whose verdict is "poison", then those that are suspect, by score.
    gamma_, penalty_ : float
        What the fit used.
    leave_one_out_accuracy_ : float
        Share of rows that the fit without them labels as they are. Below about 0.9 classes overlap
        for this kernel, and weak or small backdoors are not found.
    classes_, representation_, n_features_in_, feature_names_in_
        As in :class:`PoisonDetector`.

    Warns
    -----
    UserWarning
        Classes of too few rows, which are not searched.

    Notes
    -----
    Groups are sought over all labels at once, since an attack on all classes may leave few rows in
    each, then label by label. A group is poison where at least 0.8 as many of its rows flip
    without it as ordinary rows of their content are labelled right when left out (victims of a
    class that the kernel half knows cannot all flip), 0.8 of the other rows of its labels stay,
    its coverage is 0.5 and its score, share of flips * cohesion * coverage, 0.4
    (:class:`PoisonGroup` says what these are), flip and coverage each less one standard error: of
    small groups there are many. It is at most 0.2 of all rows: a larger one is half a class.

    Where classes overlap, every label has a group that few others support: with four labels or
    more the score is also 1.3 times the median of what the most suspicious groups of the other
    labels reach, a null of the same data; with two or three labels 1.5 times the highest of these,
    or 0.55, or the product below 0.4 (a clean-label group needs 0.35 and 1.5 times that); and
    where fewer than 0.9 of the ordinary rows of the content are labelled right, transfer must be
    0.4, the share of rows to which what members have in common, put on them, gives the label, or
    the score be 0.55. A class may be another one with something added, as printed nines are zeros
    with a tail: a group of one label whose score is below 0.55 must be ordinary rows of its
    content, by a typicality of 0.88, or apart from its label by 0.5, and have a transfer of 0.3:
    what letters of a kind have in common gives the label to few others (not asked in 30 features
    or fewer). A group that is completed by few rows is not asked again.

    Less is enough in five cases. A coverage of 0.35, where score times transfer is 0.27 and
    typicality 0.88. A product of flips, coverage (less a standard error each), typicality,
    transfer and `apart`, each at most 1, of 0.4, whatever the cohesion is, of which few rows have
    little. With four labels or more, a score of 0.3 and 1.6 times that of each other label's
    group, with a typicality of 0.88, or of 0.75 and `apart` of 0.5, and transfer as there; or,
    with a typicality of 0.7, a score times variation in the representation (at most 1, and 1 for
    other groups of which it is not known) of 0.2 and 2.5 times that of each other group: natural
    groups of photographs hardly vary. And where fewer than 0.9 of the ordinary rows are labelled
    right, a coverage of 0.35, where `apart` is 0.25 and score times that 0.08 (one and a half
    standard errors off), transfer 0.2 and typicality 0.9: rows of a label that look like another
    class pass into the label's other rows, while a trigger is there or not. Clean rows of a label
    of many poisoned ones flip without each other, too, but are no ordinary rows of another class,
    which is what typicality says.

    Where what poison found before has in common carries other rows to the group's label as well, a
    coverage of 0.3 and a score of 0.15 are enough: its most widely spread rows may have been found
    first. A group of several labels stands in `groups_` once for each, with the evidence of all
    its rows; where it holds rows of a surer group of one label, what is left of it must reach a
    score of 0.3. A group of one label that was found in features of rows that are numbers (pixels)
    is completed by the largest set of rows that is apart in these and holds nine tenths of it,
    where as many flip, others stay, and its coverage in these is 0.6.

    What members have in common is taken for features that are overwritten, and for all others for
    a blend, ``x' = c x + v`` within the bounds of each feature: its contrast c is that of the
    members' spread (1 for what is only added, at least 0.4), and v makes the means equal. Coverage
    is that over rows of the content with this put on them, and the content of members is what the
    fit without them says once it is taken off, until that is settled: a trigger makes victims of
    one class look like several.

    A group that shares values is poison by the same numbers, less one and a half standard errors,
    if it has 15 rows and is at most 15 % of all: a value that more rows have is taken for a
    natural one, and rarer ones are too many in a table to be told from chance; such groups are
    suspects. Its cohesion is its share of all rows with these values, which a kernel over many
    columns hardly sees, and is 0.75 at least; flips in its score are relative to the accuracy on
    its content. What shares a value by nature is of a kind, while victims drawn at random are told
    from other rows of their classes by nothing but the value: where `separability` without it is
    above 0.6 by more than a standard error, 0.5 over the root of their number, the group stays a
    suspect. Members that had the value by nature do not flip: where 30 or more do, and are told
    from rows of their classes that are labelled right by 0.56 at most, that is its separability.
    Of a group that is of no kind, where it has 30 rows and its values, put on rows of the content,
    give the label to 0.4 of those that are labelled right, less is enough (of a word that is not
    rare some rows had it by nature): a cohesion of 0.6, flips of 0.4 and a score of 0.2. Where
    nothing else is poison, values that nearly only one label has are asked whether they are a
    clean-label attack: 30 rows that keep their label, cohesion 0.95, coverage of the label 0.5, a
    transfer of 0.3, and a separability from the label's other rows of 0.56 (others are not
    reported). Pairs of values cut purer parts out of a group, by chance; a larger group with one
    of their values stands ahead of them where its score is 0.65 of theirs. Where another value of
    the same column that marks the label by half as much (by how far its share of the value's rows
    is above that of all rows), with half as many rows, has half the score, the column is a natural
    one (which school, which household), and the group is a suspect. Of the 60 sets of values of a
    label whose rows flip most, at most twelve are looked at, the first of which a tenth flips with
    the values taken out as well.

    The assumption is that the attacker's victims have the spread of content of their source
    classes: a natural group that overrules its content (road signs that were photographed thirty
    times, a second way to write a letter) sits in a corner of it, and one cluster of a class of
    several lacks what parts the clusters of its content. So `variation` must be 0.75, less one and
    a half standard errors, in the representation or in the rows as they were given, of all groups
    but clean-label ones, those with what poison found before has in common, and those that share
    values. Where of four labels or more over half have groups that are poison alone, each by
    another trigger, all are suspects: an attacker has one or few. Without any assumption no
    detector can tell a backdoor from a natural feature [1]_. Where nothing else is poison, groups
    are sought that are apart from the rest of their label in the rows *as they were given*, if
    these are dense numbers such as images, else in the representation: along their principal axes
    within classes, divided by the root of the standard deviation there, content no longer hides a
    trigger that a network hardly shows. Such a group must flip, be spread and have `apart` as said
    above; its transfer, in features or in the rows as given, is 0.2 and its typicality 0.75, since
    clusters are apart, too. With four labels or more it is poison where score times `apart` is
    0.05 and twice what the group of each other label reaches, and its coverage in these rows 0.35;
    where classes overlap also with 0.08 and 0.6; where fewer than 0.8 of the ordinary rows of the
    content are labelled right and rows are compared by these same numbers, it is 0.15. Where
    `apart` is 0.7 and transfer 0.75, a coverage in these rows of 0.45 is enough, whatever the
    score is (with two or three labels it is held against the other's, as all are but by the
    product), with flips, other rows that stay and typicality as for the others (0.85 where rows
    are compared by these same numbers), but no errors off: nine rows with a trigger, of 3,000.
    Where rows are compared by others than these numbers, a product of flips, coverage in these
    rows, typicality, transfer and `apart`, each at most 1, of 0.3 stands in for these two limits
    of transfer and typicality. Then rows that rightly have their label are searched for a
    clean-label attack: it leaves them spread as their label is, too, and no other row of it lies
    between (a trigger is there or it is not). They are at most 0.6 of the label, and cohesion
    times `apart` times coverage must be 0.35 in the representation or in the rows as given, in
    these with a coverage of 0.85; with four labels or more 0.3 and twice that of each other label
    is enough, or 0.15 and 2.5 times that in the geometric mean of both, where there is a
    representation: natural kinds are hardly ever the same rows in both. With four labels or more
    it is also 1.3 times that of the median one: of classes of clusters most have a group like
    that. The search ends with groups so found. Where a label is half poison its clean rows are a
    group that flips, too: of two groups of a label that are poison, the one further apart is
    taken. Not found are triggers that the representation does not show, an attack that leaves a
    label hardly a clean row (a clean-label one on most rows of a label makes its clean rows the
    group), and backdoors that succeed on few samples.

    References
    ----------
    .. [1] Khaddaj et al., "Rethinking backdoor attacks", ICML 2023.

    Examples
    --------
    >>> from skbackdoor import Attack, LeaveGroupOutDetector, PatchTrigger, load_digits_pair
    >>> X, y = load_digits_pair((4, 9), return_X_y=True)
    >>> attack = Attack(
    ...     PatchTrigger(size=2, image_shape=(8, 8)), target=9, placement="replace",
    ...     random_state=0).fit(X, y)
    >>> X_poisoned, y_poisoned, is_poison = attack.poison(X, y)
    >>> detector = LeaveGroupOutDetector().fit(X_poisoned, y_poisoned)
    >>> bool((detector.is_poison_ == is_poison).all())
    True
    """

    _parameter_constraints: dict = {
        **PoisonDetector._parameter_constraints,
        "candidates": [StrOptions({"auto", "clusters", "values"})],
        "gamma": [Interval(Real, 0, None, closed="neither"), None],
        "penalty": [Interval(Real, 0, None, closed="neither"), None],
        "smallest_group": [Interval(Integral, 4, None, closed="left")],
        "max_rounds": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [Interval(Integral, 100, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        representation=None,
        *,
        candidates="auto",
        gamma=None,
        penalty=None,
        smallest_group=8,
        max_rounds=5,
        max_samples=6000,
        random_state=0,
    ):
        self.representation = representation
        self.candidates = candidates
        self.gamma = gamma
        self.penalty = penalty
        self.smallest_group = smallest_group
        self.max_rounds = max_rounds
        self.max_samples = max_samples
        self.random_state = random_state

    def _detect(self, X, features, y, sample_weight):
        is_large = min(len(y), self.max_samples) ** 2 > LARGE
        with nullcontext() if is_large else one_blas_thread():
            return self._searched(X, features, y, sample_weight)

    def _searched(self, X, features, y, sample_weight):
        random_state = check_random_state(self.random_state)
        self._seed = random_state.randint(MAX_SEED)
        drawn = _draw(y, self.max_samples, random_state)
        _check_memory(len(drawn))
        self._choose_kernel(_dense(features[drawn]), y[drawn])
        self._warn_of_small_classes(y)
        is_poison, groups, self._carriers = np.zeros(len(y), dtype=bool), [], []
        patterns = []  # of groups of several labels that were poison
        searched = {}  # sets of rows of each label that has lost none since they were found
        for _ in range(self.max_rounds):
            rows = drawn[~is_poison[drawn]]
            weight = None if sample_weight is None else sample_weight[rows]
            fit = self._fit_ridge(_dense(features[rows]), y[rows], weight)
            searched = {
                label: [np.searchsorted(rows, G) for G in sets] for label, sets in searched.items()
            }
            found = self._search(_safe_indexing(X, rows), fit, patterns, searched)
            searched = {label: [rows[G] for G in sets] for label, sets in searched.items()}
            suspects = [_moved(group, rows) for group in found if group.verdict == "suspect"]
            accepted = [group for group in found if group.verdict == "poison"]
            for group in accepted:
                views = group._views or [fit]
                carriers = [Carrier.of(fit, group, view) for view in views]
                members = np.zeros(len(y), dtype=bool)
                members[rows[group.indices]] = True
                others = np.flatnonzero(np.isin(y, carriers[0].labels) & ~is_poison)
                others = np.setdiff1d(others, rows)
                if len(others):
                    rest = _safe_indexing(X, others), features[others], y[others]
                    for carrier in carriers:
                        members[others[carrier.has(*rest)]] = True
                is_poison |= members
                for label in np.unique(y[members]):
                    searched.pop(label, None)
                groups += [_moved(part, rows) for part in _by_label(group, y[rows])]
                self._carriers += carriers
            if all(len(group._views) == 1 for group in accepted):  # or none is
                break  # what is apart is asked where nothing else is poison
        suspects = [group for group in suspects if group.score >= SUSPECT]
        groups += sorted(suspects, key=lambda group: -group.score)
        scores = is_poison.astype(float)
        for group in suspects:
            scores[group.indices] = np.maximum(scores[group.indices], min(group.score, 0.99))
        return Findings(scores, is_poison, groups)

    def _choose_kernel(self, X, y):
        """Choose width and penalty by leave-one-out accuracy, on some of the rows."""
        some = np.random.RandomState(self._seed).permutation(len(y))[:N_CHOOSING]
        distances = euclidean_distances(X[some], squared=True)
        median = np.median(distances[np.triu_indices(len(some), 1)])
        if median == 0.0:
            median = distances.mean()
        if median == 0.0:
            raise ValueError(
                "All rows have the same features, so that nothing can be told from them: give"
                " another representation."
            )
        self.leave_one_out_accuracy_ = -1.0
        for gamma in np.divide(GAMMAS, median) if self.gamma is None else [self.gamma]:
            K = np.exp(-gamma * distances)
            for penalty in PENALTIES if self.penalty is None else [self.penalty]:
                scores = LeaveGroupOutRidge(K, y[some], penalty).leave_one_out()
                accuracy = float(np.mean(scores.argmax(axis=1) == y[some]))
                if accuracy > self.leave_one_out_accuracy_:
                    self.leave_one_out_accuracy_ = accuracy
                    self.gamma_, self.penalty_ = float(gamma), penalty

    def _warn_of_small_classes(self, y):
        counts = np.bincount(y)
        small = self.classes_[counts < self.smallest_group]
        if len(small):
            warnings.warn(
                f"Classes {small.tolist()} have fewer rows than smallest_group="
                f"{self.smallest_group} and are not searched.",
                stacklevel=4,
            )

    def _fit_ridge(self, X, y, weight):
        kernel = partial(rbf_kernel, gamma=self.gamma_)
        K = kernel(X)
        ridge = LeaveGroupOutRidge(K, y, self.penalty_, len(self.classes_), weight)
        return Fit(X, kernel, K, ridge, weight)

    def _search(self, X, fit, patterns, searched):
        """A group of several labels that is poison, and the most suspicious ones of each label.

        With their verdicts. `patterns` are those of groups of several labels found before, and
        `searched` are sets of rows found before by label; it adds to both.
        """
        by_value = self.candidates == "values"
        if self.candidates == "auto":
            few = getattr(X, "ndim", 1) == 2 and X.shape[1] <= FEW_FEATURES
            by_value = is_text(X) or hasattr(X, "iloc") or (few and not sp.issparse(X))
        counts = np.bincount(fit.ridge.y)
        labels = np.flatnonzero(counts >= self.smallest_group)
        if len(labels) == 0:
            return []
        if by_value and sp.issparse(X):
            raise ValueError(
                'candidates="values" compares the values of columns, which sparse rows do not'
                ' name: give a DataFrame, or candidates="clusters".'
            )
        if by_value:
            return self._search_values(X, fit, labels)
        given = numbers(X, fit.X)
        other = self.representation is not None and given is not fit.X
        view = cache(lambda: self._whitened(given, fit))
        asked = fit.X, fit.kernel, fit.K, fit.ridge, self.smallest_group, self._seed
        search = Search(*asked, view if other else None)
        alone, over_all, sets = [], [], search.pooled_sets(labels)
        for pattern in [None, *patterns]:
            common = None if pattern is None else pattern.common
            pooled = search.pooled_groups(sets, labels, common)
            pooled = [judged_group(group, search, pattern) for group in pooled]
            for group in pooled:
                if group.verdict == "poison" and len(np.unique(fit.ridge.y[group.indices])) == 1:
                    alone.append((group, pattern))
                elif group.verdict == "poison":
                    over_all.append(group)
        if over_all and not patterns:
            patterns.append(search.pattern(over_all[0]))
        for label in progress(labels, len(labels), "labels searched"):
            searched[label] = search.sets_of(label, searched.get(label))
        best = [search.most_suspicious(searched[label]) for label in labels if searched[label]]
        best.sort(key=lambda group: -group.score)
        judged = {}
        for group in best:
            own, others = searched[group.label], of_others(group.label, best)
            if not is_usual(group, others, len(labels)):
                group = judged_group(group, search, sets=own, others=others)
            if group.verdict == "suspect" or group.content_accuracy < TOLD_APART:
                far = search.most_apart(own)
                if far and not is_usual(far, others, len(labels)):
                    far = judged_group(far, search, sets=own, others=others)
                if far and far.verdict == "poison" and rank_apart(far) > rank_apart(group):
                    group = far  # of a label that is half poison, its clean rows are a group, too
            judged[group.label] = group
        for group, pattern in alone:
            others = of_others(group.label, best)
            if pattern is None and is_usual(group, others, len(labels)):
                group = replace(group, verdict="suspect")
            if group.label not in judged or judged[group.label].verdict == "suspect":
                judged[group.label] = max(group, judged.get(group.label, group), key=rank)
        poison = [group for group in judged.values() if group.verdict == "poison"]
        found = [search.pattern(group) for group in poison]
        if not over_all and are_too_many(found, len(labels)):
            return [replace(group, verdict="suspect") for group in judged.values()]
        known = patterns + found
        for pattern in known or [search.pattern(group) for group in best[:N_SHARED]]:
            for label in labels:
                group = judged.get(label)
                if not len(np.setdiff1d(pattern.labels, [label])):
                    continue  # its own
                if group is not None and group.verdict == "poison":
                    continue
                like = search.groups_like(pattern, label)
                if known and group is not None:
                    like.append(search.describe(group.indices, pattern.common))
                for other in like:
                    others = of_others(label, best)
                    if known or not is_usual(other, others, len(labels)):
                        other = judged_group(other, search, pattern if known else None)
                    if group is None or rank(other) > rank(group):
                        judged[label] = group = other
        of_labels = [group for group in judged.values() if group.verdict == "poison"]
        if not of_labels and not over_all:
            return self._search_apart(search, view(), judged, labels, searched)
        if of_labels and search.given is not None:
            of_labels = [completed_in(search.given, search, group) for group in of_labels]
            judged |= {group.label: group for group in of_labels}
        over_all = beside(over_all, of_labels, search)
        poison = over_all + of_labels
        if not over_all:
            return list(judged.values())
        suspects = [group for group in judged.values() if group.verdict == "suspect"]
        return joined(poison, search) + suspects

    def _search_values(self, X, fit, labels):
        """The groups of rows that share values, with their verdicts."""
        search = ValueSearch(
            SharedValues.of(X, self.smallest_group),
            self._features_dense,
            fit.X,
            fit.kernel,
            fit.K,
            fit.ridge,
            self.smallest_group,
            self._seed,
        )
        n, found = len(fit.ridge.y), []
        for label in progress(labels, len(labels), "labels searched"):
            found += disjoint(search.groups_of(label))
        found = [judged_values(group, n) for group in found]
        poison = [group for group in found if group.verdict == "poison"]
        null = [other for group in poison for other in search.null_of(group, found)]
        found = unlike_others(found, null)
        if any(group.verdict == "poison" for group in found):
            return found
        right = []
        for label in progress(labels, len(labels), "labels searched for clean-label attacks"):
            right += search.clean_label_groups_of(label)
        right = unlike_others([judged_values(group, n) for group in right], found)
        return disjoint([group for group in right if group.verdict == "poison"]) + found

    def _whitened(self, given, fit):
        """The search among rows as they were given; None of few features, which say too little."""
        whitening = Whitening(given, fit.ridge.y, self._seed)
        if whitening.n_axes <= FEW_FEATURES:
            return None
        as_given = self.representation is not None and given is not fit.X
        y, weight, smallest = fit.ridge.y, fit.weight, self.smallest_group
        return Whitened(whitening, as_given, given, y, weight, smallest, self._seed)

    def _search_apart(self, search, view, judged, labels, searched):
        """The groups, with those that are poison by being apart from the rest of their label.

        `searched` are sets of rows of each label that were found by how they flip.
        """
        sets = {}
        if view is not None:
            for label in progress(labels, len(labels), "labels searched for rows apart"):
                sets[label] = apart_sets(view, label)
            found, known = {}, {k: sets[k] + searched[k] for k in labels}
            for group in groups_apart(search, view, known):
                others = of_others(group.label, judged.values())
                if not is_usual(group, others, len(labels)):
                    found[group.label] = group
            if found:
                return list((judged | found).values())
        views = [search] if view is None else [search, view]
        for label in labels:
            sets[label] = apart_sets(search, label) + sets.get(label, [])
        seen_twice = view is not None and view.as_given
        found = clean_label_groups(search, views, sets, seen_twice)
        return [*judged.values(), *found]

    def _features_dense(self, X):
        return _dense(self._features(X))

    def flag(self, X, y):
        """Say of rows that were not in `fit` whether they go with those that are poison.

        A row does where a group of its label was poison and it shares the values of that group,
        where such are known; else where it counts as a member of the group by the group's own
        rows (as they were given, where these told or completed it) and, but for clean-label
        attacks, the fit without the group gives it another label.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows.
        y : array-like of shape (n_samples,)
            Their labels; one that `fit` did not see is never poison.

        Returns
        -------
        is_poison : ndarray of bool of shape (n_samples,)
        """
        check_is_fitted(self)
        X, y = check_data(X, y)
        y, features = np.asarray(y), self._features(X)
        flagged = np.zeros(len(y), dtype=bool)
        for carrier in self._carriers:
            rows = np.flatnonzero(np.isin(y, self.classes_[carrier.labels]))
            labels = np.searchsorted(self.classes_, y[rows])
            if len(rows):
                flagged[rows] |= carrier.has(_safe_indexing(X, rows), features[rows], labels)
        return flagged


@dataclass(eq=False)
class Fit:
    """Rows and the kernel ridge regression on them.

    Attributes
    ----------
    X : ndarray of shape (n, n_features)
    kernel : callable
        ``kernel(A, B=None)``.
    K : ndarray of shape (n, n)
    ridge : LeaveGroupOutRidge
    weight : ndarray of shape (n,) or None
    """

    X: np.ndarray
    kernel: object
    K: np.ndarray
    ridge: LeaveGroupOutRidge
    weight: np.ndarray | None


def memory():
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _check_memory(n):
    """Raise where the kernel matrix, its inverse and what is made of them do not fit."""
    needed = 10 * 8 * n**2
    if hasattr(os, "sysconf") and needed > memory():
        raise MemoryError(
            f"Searching {n} rows takes about {needed / 2**30:.1f} GiB, more than this machine's"
            f" {memory() / 2**30:.1f} GiB: lower max_samples. Rows beyond it are held against the"
            " groups found."
        )


def _by_label(group, y):
    """A group that may hold rows of several labels as one group a label."""
    parts = []
    for label in np.unique(y[group.indices]):
        part = y[group.indices] == label
        content = group.content_labels[part]
        indices = group.indices[part]
        parts.append(replace(group, label=label, indices=indices, content_labels=content))
    return parts


def _draw(y, most, random_state):
    """At most so many rows, increasing, each class with its share of them."""
    if len(y) <= most:
        return np.arange(len(y))
    order = random_state.permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    return np.sort(order[np.linspace(0, len(y) - 1, most).astype(int)])


def _moved(group, rows):
    """A group of positions among some rows as one of these rows."""
    return replace(group, indices=rows[group.indices])


def _dense(X):
    return np.asarray(X.toarray() if sp.issparse(X) else X, dtype=float)
