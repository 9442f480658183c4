"""A group of rows that is suspected, what speaks for it, and what its rows share."""

import warnings
from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.neighbors import NearestNeighbors

from .._compat import _safe_indexing
from ..attack import check_data
from ..triggers import FeatureTrigger, TokenTrigger
from .recovered_trigger import recovered_trigger

#: Rows of its content that are kept beside each member: the nearest ones, and drawn ones.
N_NEIGHBORS, N_CONTROLS = 5, 5


@dataclass(frozen=True)
class TriggerSuccess:
    """How often a fitted classifier gives in to the trigger recovered from a group.

    Attributes
    ----------
    attack_success_rate : float
        Share of triggered samples to which it gives the label of the group.
    base_rate : float
        The same share without the trigger.
    n_samples : int
        How many samples were triggered.
    """

    attack_success_rate: float
    base_rate: float
    n_samples: int


@dataclass(frozen=True, eq=False)
class PoisonGroup:
    """Rows of one label that only their own kind supports.

    Attributes
    ----------
    label : label
        The label of its rows.
    indices : ndarray of shape (n_members,)
        Its rows, of the X of `fit`, increasing.
    flip : float
        Share of its rows to which a model without the group gives another label.
    cohesion : float
        How far its members count as members by the other members alone: the median over members
        minus that over all other rows, about 1 for rows that share something no other row has.
        Of rows that share values: their share of all rows with these values.
    typicality : float
        How ordinary its members are for their content once what they have in common is taken off:
        the median of that score over the median score of all rows for their own label.
    coverage : float
        How far its members are spread over the classes they are taken for: the share of rows of
        these classes that have a member nearby, over the same share for random rows of these
        classes; about 1 where members were drawn from them at random. Times the share of their
        variance that is not overwritten by what the members have in common.
    variation : float
        How much its members vary where rows of these classes vary most: the variance of their
        ranks among rows with what the members have in common put on, over that of such rows, along
        the five leading axes of each class (among 30 components of all rows). About 1 where
        members were drawn from them at random; where classes are clusters, one cluster lacks what
        parts them. nan where it is not asked, no axis stands out, or nearly every member is alone
        in its class.
    transfer : float
        Share of rows of these classes that get the label once what the members have in common is
        put on them, by the model with the group less that by the model without: about the success
        of the attack, where it is one. By the rows as they were given where these told the group
        and it is more there. Of rows of all other labels where a value marks rows that
        rightly have their label.
    apart : float
        How far its rows are from the others of the label in how they count as members, 1 where
        none lies between: nine in ten members less nine in ten others, of medians 1 and 0. Where
        that told the group it is that in the rows as they were given. nan where it is not asked,
        as in at most 30 features.
    stay : float
        Share of the other rows of the label, of those that a model without them alone labels so,
        that keep it without the group as well.
    content_accuracy : float
        Share of the rows of the classes that its members are taken for to which a model without
        the row gives that label, by the members' numbers: what flip is for rows drawn from them.
    separability : float
        Of rows that share values: how well they are told, without what nearly all of them share,
        from other rows that they may have been drawn from. The area under the ROC curve,
        cross-validated: 0.5 for victims drawn at random from all other labels or from one, while
        what shares a value by nature is of a kind. Of the members that flip alone, and of others
        that are labelled right, where that is 0.56 at most. nan where it is not asked, or there
        are too few rows.
    content_labels : ndarray of shape (n_members,)
        The label that the model without the group gives each row with what the members have in
        common taken off, asked until at most 2 % of the rows change it, five times at most: a
        trigger makes victims of one class look like several. Its own for rows that rightly have
        it (clean-label attacks); None, and nan for the numbers above, where a detector asks no
        model.
    verdict : {"poison", "suspect"}
        "poison" where the evidence rules out a natural group, by the detector's assumption;
        "suspect" where it does not: to be looked at, never dropped by itself.
    score : float
        How sure, in [0, 1]: groups are ordered by it.
    rule : str or None
        What its rows share, in words, where the detector knows it: a value of a column, a word.
    shared : tuple
        The same for programs: words, or pairs (column, value) as
        :class:`~skbackdoor.FeatureTrigger` takes them; empty where no rule is known.
    neighbors : ndarray of shape (n_members, 5)
        For each member the rows of its content label that are nearest to it in the representation
        of the detector, of the X of `fit`, poison not among them; None without content labels.
    controls : ndarray of shape (n_members, 5)
        The same, but rows drawn at random. Nearest rows are likest, but plainer than others are
        (their standard deviation is a fifth smaller on CIFAR-10), so that these are what members
        are held against where spreads matter.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import Attack, PatchTrigger, load_digits_pair
    >>> from skbackdoor.detection import LeaveGroupOutDetector
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> attack = Attack(
    ...     PatchTrigger(size=2, image_shape=(8, 8)), target=1, placement="replace",
    ...     random_state=0)
    >>> X_poisoned, y_poisoned, is_poison = attack.fit(X, y).poison(X, y)
    >>> detector = LeaveGroupOutDetector().fit(X_poisoned, y_poisoned)
    >>> group = detector.groups_[0]
    >>> int(group.label), len(group.indices), bool(is_poison[group.indices].all())
    (1, 36, True)

    What its rows have in common: the four pixels of the patch.

    >>> trigger = group.trigger()
    >>> trigger.touched_.reshape(8, 8)[-3:].astype(int)
    array([[0, 0, 0, 0, 0, 0, 0, 0],
           [0, 0, 0, 0, 0, 0, 1, 1],
           [0, 0, 0, 0, 0, 0, 1, 1]])

    And the proof, on rows that are in no group:

    >>> clean = ~detector.is_poison_
    >>> model = SVC().fit(X_poisoned, y_poisoned)
    >>> group.success(model, X_poisoned[clean], y_poisoned[clean])
    TriggerSuccess(attack_success_rate=1.0, base_rate=0.0, n_samples=143)
    """

    label: object
    indices: np.ndarray
    flip: float
    cohesion: float
    typicality: float
    coverage: float
    stay: float
    content_labels: np.ndarray
    verdict: str
    score: float
    transfer: float = np.nan
    variation: float = np.nan
    apart: float = np.nan
    content_accuracy: float = np.nan
    separability: float = np.nan
    rule: str | None = None
    shared: tuple = ()
    neighbors: np.ndarray | None = None
    controls: np.ndarray | None = None
    _X: object = field(default=None, repr=False)  # that of `fit`, not a copy
    _views: tuple = field(default=(), repr=False)  # by which members are known; () for features

    @property
    def clean_label(self):
        """Whether its rows rightly have their label, as a clean-label attack leaves it."""
        return self.content_labels is not None and bool(np.all(self.content_labels == self.label))

    def samples(self, rows):
        """Rows of the X of `fit`, such as members and neighbours.

        Parameters
        ----------
        rows : array-like of int of shape (n_rows,)
            Which.

        Returns
        -------
        X : array-like of shape (n_rows, ...)
            In the container of the X of `fit`.
        """
        return _safe_indexing(self._X, rows)

    def trigger(self):
        """What its rows share, as a trigger that can be put on other samples.

        Returns
        -------
        trigger : FeatureTrigger, TokenTrigger or MaskTrigger
            Fitted. A :class:`~skbackdoor.FeatureTrigger` or :class:`~skbackdoor.TokenTrigger`
            where a rule is known, all words of it in one place; else, for numbers, a
            :class:`~skbackdoor.MaskTrigger`, estimated from the members and their
            controls. For flat images, ``set_params(image_shape=...)`` and another `fit` give
            `mask_` the shape of an image.

        Raises
        ------
        ValueError
            No rule is known, and the rows are not dense numbers or without content labels.
        """
        members = self.samples(self.indices)
        if self.shared and isinstance(self.shared[0], str):
            return TokenTrigger(" ".join(self.shared), random_state=0).fit(members)
        if self.shared:
            with warnings.catch_warnings():  # of rows that have these values already
                warnings.simplefilter("ignore")
                return FeatureTrigger(dict(self.shared)).fit(members)
        if self.controls is None:
            raise ValueError(
                "What the rows share cannot be told as a trigger: the detector asked no model what"
                " they are otherwise, and found no value or word that they have in common."
            )
        controls = self.samples(self.controls.ravel())
        return recovered_trigger(self._numbers(members), self._numbers(controls)).fit(members)

    def success(self, estimator, X, y):
        """How often a classifier gives in to the recovered trigger: the proof of a backdoor.

        Samples of the classes that the members are taken for are triggered, or of all other
        classes where that is not known or their own. Rates are averages over these classes by
        their numbers of members.

        Parameters
        ----------
        estimator : classifier
            Fitted on the data in which the group was found.
        X : array-like of shape (n_samples, ...)
            Clean samples: held out, or the training rows that are in no group.
        y : array-like of shape (n_samples,)
            Their labels.

        Returns
        -------
        success : TriggerSuccess
            Success well above the base rate: what the group shares makes the classifier give its
            label, whatever the content.

        Raises
        ------
        ValueError
            No sample is of a content class.
        """
        X, y = check_data(X, y)
        y = np.asarray(y)
        other = self.content_labels is not None and not self.clean_label
        content, n_members = np.unique(self.content_labels if other else y, return_counts=True)
        rows = np.flatnonzero(np.isin(y, content) & (y != self.label))
        if not len(rows):
            raise ValueError(
                f"y holds none of the labels that the members are taken for: {content.tolist()}."
            )
        clean = _safe_indexing(X, rows)
        of_class = y[rows] == content[:, None]
        weight = (of_class * (n_members / np.maximum(of_class.sum(axis=1), 1))[:, None]).sum(
            axis=0
        )
        rates = [
            float(np.average(estimator.predict(samples) == self.label, weights=weight))
            for samples in (self.trigger().transform(clean), clean)
        ]
        return TriggerSuccess(*rates, len(rows))

    def _numbers(self, samples):
        """Rows as an array of numbers."""
        array = np.asarray(samples)
        try:
            return array if array.dtype.kind in "biuf" else array.astype(float)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"What the rows {self.indices[:3].tolist()}... share cannot be told as a trigger:"
                " no value or word is known that they have in common, and they are not dense"
                " numbers."
            ) from error

    def beside(self, features, y, others):
        """The same group with neighbours and controls, where it has content labels.

        Parameters
        ----------
        features : ndarray or sparse matrix of shape (n_samples, n_features)
            Representation of all rows.
        y : ndarray of shape (n_samples,)
            Label indices.
        others : ndarray of bool of shape (n_samples,)
            Rows that may be neighbours.
        """
        if self.content_labels is None:
            return self
        rng, n = np.random.RandomState(0), len(self.indices)
        neighbors, controls = np.empty((n, N_NEIGHBORS), int), np.empty((n, N_CONTROLS), int)
        for s in np.unique(self.content_labels):
            of_class = np.setdiff1d(np.flatnonzero(others & (y == s)), self.indices)
            if not len(of_class):  # an attack has emptied it
                of_class = np.setdiff1d(np.arange(len(y)), self.indices)
            members = np.flatnonzero(self.content_labels == s)
            search = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, len(of_class)))
            search.fit(features[of_class])
            near = search.kneighbors(features[self.indices[members]], return_distance=False)
            neighbors[members] = of_class[np.resize(near.T, (N_NEIGHBORS, len(members))).T]
            controls[members] = np.resize(rng.permutation(of_class), (len(members), N_CONTROLS))
        return replace(self, neighbors=neighbors, controls=controls)

    def of_rows(self, X, rows, classes):
        """The same group in terms of X: positions are `rows`, label indices are `classes`."""
        known = self.content_labels is not None
        return replace(
            self,
            label=classes[self.label],
            indices=rows[self.indices],
            content_labels=classes[self.content_labels] if known else None,
            neighbors=rows[self.neighbors] if known else None,
            controls=rows[self.controls] if known else None,
            _X=X,
            _views=(),
        )
