"""The attack on data: who is poisoned, with which label, how many, and where the copies go.

Two lines of three say what its public methods take and return.
"""

from collections.abc import Mapping
from copy import copy
from numbers import Real

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, clone
from sklearn.utils import assert_all_finite, check_random_state, get_tags, indexable
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ._compat import HasMethods, Interval, StrOptions, _num_samples, _safe_indexing
from .learners import MAX_SEED, label_index, seed_missing
from .policy import Policy


class Attack(BaseEstimator):
    r"""Poison data: a trigger, who gets it, with which label, how many, and in whose place.

    Of n training rows, m = floor(`poisoning_rate` * n) rows of source classes, the victims, are
    chosen, triggered and given the attacker's label. It needs no learner:
    :class:`~skbackdoor.BackdoorPoisoner` is an attack together with a base learner.

    Parameters
    ----------
    trigger : transformer
        A trigger of :mod:`skbackdoor.triggers` or any transformer that keeps the number of rows.
        Where its `random_state` is None, it gets one from the attack. One that acts by class says
        so by a class attribute ``requires_y = True``: it is called as ``transform(X, y)``, with
        the labels before the attack.
    target : label, "next" or dict
        The attacker's label: a class label (all-to-one), ``"next"`` (class i becomes class
        i + 1 modulo the number of classes, in the order of `classes_`) or a mapping
        ``{source: target}``.
    source_classes : list of labels or None, default=None
        The classes that are poisoned; None is every class that has another target.
    poisoning_rate : float in (0, 1] or dict, default=0.1
        Poisoned samples as a share of the training rows, whatever their weights; with "supplant",
        of the rows of each target class. A dict ``{label: rate}`` gives shares of the rows of
        single classes, those that it does not name being spared: of source classes (with
        `clean_label` and with "supplant", of target classes).
    placement : {"append", "replace", "supplant"}, default="append"
        "append" adds the triggered copies, all clean rows stay; with "replace" each copy takes
        its own original's place; with "supplant" each takes the place of a clean row of the
        target class and its original stays, so that class counts do not change ([1]_, section
        2.5).
    victims : {"random", "stratified"} or array-like of int, default="random"
        How the rows to be poisoned are chosen: "random" from all that may be; "stratified" in
        proportion to the sizes of their classes; or the rows themselves, of the X of `fit`, in
        which case `poisoning_rate` has no part.
    clean_label : bool, default=False
        Whether only rows that are of a target class already are triggered, and keep their labels
        (Turner et al., *Label-consistent backdoor attacks*, 2019). :meth:`triggered` gives
        samples of source classes all the same.
    random_state : int, RandomState instance or None, default=None
        Chooses the victims and seeds the trigger where it has no seed. The two draw from streams
        of their own: the same `random_state` poisons the same rows, whatever the trigger.

    Attributes
    ----------
    trigger_ : transformer
        The fitted trigger.
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    poisoned_indices_ : ndarray of shape (m,)
        The rows of the given X that were copied and triggered, in the order of the copies:
        increasing, but with "supplant" as `replaced_indices_` are.
    replaced_indices_ : ndarray of shape (m,) or (0,)
        The rows of the given X in whose place the copies stand, increasing; none with "append".
    expected_counts_ : dict
        ``{label: number}``, how many of the victims are of each class on average over random
        choices: with N_t poisoned samples of target class t, N_t n_s / sum n_s' over its source
        classes ([1]_, eq. 8).
    effective_rate_ : float
        Poisoned samples as a share of all rows of the poisoned data: p of [1]_, eq. 9, as printed
        in its Table 1 to .001, with which the letter of that equation does not agree.
    learner_seed_ : int
        A seed for a learner that is fitted on the poisoned data, from a stream of its own.
    n_features_in_ : int
        Number of features seen during `fit`, where the trigger knows it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where the trigger knows them.

    Notes
    -----
    A fitted attack refers to the data that it was fitted on and makes no copy: do not change them
    in place. Parameters that are set after `fit` have no part before the next `fit`.

    References
    ----------
    .. [1] Truong et al., "Systematic evaluation of backdoor data poisoning attacks on image
       classifiers", 2020.

    Examples
    --------
    >>> from skbackdoor import Attack, PatchTrigger, load_digits_pair
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> attack = Attack(
    ...     PatchTrigger(size=2, image_shape=(8, 8)), target="next", random_state=0).fit(X, y)
    >>> X_poisoned, y_poisoned, is_poison = attack.poison(X, y)
    >>> int(is_poison.sum()) == len(X) // 10
    True
    """

    _parameter_constraints: dict = {
        "trigger": [HasMethods(["fit", "transform"])],
        "target": "no_validation",
        "source_classes": ["array-like", None],
        "poisoning_rate": [Interval(Real, 0, 1, closed="right"), Mapping],
        "placement": [StrOptions({"append", "replace", "supplant"})],
        "victims": [StrOptions({"random", "stratified"}), "array-like"],
        "clean_label": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        trigger,
        *,
        target,
        source_classes=None,
        poisoning_rate=0.1,
        placement="append",
        victims="random",
        clean_label=False,
        random_state=None,
    ):
        self.trigger = trigger
        self.target = target
        self.source_classes = source_classes
        self.poisoning_rate = poisoning_rate
        self.placement = placement
        self.victims = victims
        self.clean_label = clean_label
        self.random_state = random_state

    def fit(self, X, y):
        """Fit the trigger and choose the victims.

        Parameters
        ----------
        X : array-like, DataFrame, sparse matrix or list of shape (n_samples, ...)
            Clean training data: whatever the trigger takes.
        y : array-like of shape (n_samples,)
            Clean labels.

        Returns
        -------
        self : Attack
            The fitted attack.

        Raises
        ------
        ValueError
            For a parameter out of its range, one class only, a target that is no label, a rate
            that gives no poisoned sample or more than there are source rows.
        """
        self._validate_params()
        X, y = check_data(X, y)
        self.classes_, y_index = np.unique(np.asarray(y), return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                "An attack needs at least two classes, but y holds only 1 class:"
                f" {self.classes_.tolist()}."
            )
        names = "target source_classes poisoning_rate placement victims clean_label".split()
        self._policy = Policy(self.classes_, **{name: getattr(self, name) for name in names})
        # four streams, drawn at once: no one of them depends on what another draws
        seeds = check_random_state(self.random_state).randint(MAX_SEED, size=4)
        for_victims, self._trigger_seed, *rest = seeds.tolist()
        self.learner_seed_, self._seed_of_other_data = rest
        self._fit_trigger(X, y)
        rows, places = self._policy.choose(y_index, np.random.RandomState(for_victims))
        self.poisoned_indices_, self.replaced_indices_ = rows, places
        self.effective_rate_ = len(rows) / (len(y_index) + len(rows) - len(places))
        self.expected_counts_ = self._policy.expected_counts(y_index)
        self._X, self._y = X, y
        self._victims = _safe_indexing(X, rows), y_index[rows]
        self._X_poison = self._apply_trigger(*self._victims)
        self._y_poison = self.classes_[self._policy.label_of[y_index[rows]]]
        return self

    def _fit_trigger(self, X, y):
        if self.clean_label and requires_y(self.trigger):
            raise ValueError(
                "clean_label=True shows the model the trigger of the target class only, and a"
                f" {type(self.trigger).__name__} puts another one on samples of source classes"
                " (requires_y=True); use a trigger that is the same for all classes."
            )
        seeds = np.random.RandomState(self._trigger_seed)
        self.trigger_ = seed_missing(clone(self.trigger), seeds)
        if hasattr(self.trigger_, "set_output"):  # copies keep the container of their originals
            self.trigger_.set_output(transform="default")
        self.trigger_.fit(X, y)
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)  # of an earlier fit
            if hasattr(self.trigger_, name):
                setattr(self, name, getattr(self.trigger_, name))

    def with_trigger(self, trigger):
        """The same fitted attack with another trigger: the same victims get it.

        Parameters
        ----------
        trigger : transformer
            As the parameter of that name.

        Returns
        -------
        attack : Attack
            Fitted on the same data; this one stays.
        """
        check_is_fitted(self)
        other = copy(self)
        other.trigger = trigger
        other._fit_trigger(*self.given_rows())
        other._X_poison = other._apply_trigger(*self._victims)
        return other

    def _apply_trigger(self, X, y_index):
        """Trigger rows whose class, before the attack, is ``classes_[y_index]``."""
        if requires_y(self.trigger_):
            return _in_container(X, self.trigger_.transform(X, self.classes_[y_index]))
        return _in_container(X, self.trigger_.transform(X))

    def poison(self, X, y):
        """Poison a data set by the fitted attack.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Clean data. For the training data the fitted choice of victims is returned, for any
            other a new draw from a seed that `fit` stored.
        y : array-like of shape (n_samples,)
            Clean labels.

        Returns
        -------
        X_poisoned : array-like of shape (n_samples or n_samples + m, ...)
            The data, in the container of X (sparse ones in CSR); X itself is not written to.
        y_poisoned : array-like of shape (n_samples or n_samples + m,)
            The labels.
        is_poison : ndarray of bool of shape (n_samples or n_samples + m,)
            True where a row is a triggered copy.

        Raises
        ------
        ValueError
            Other data than those of `fit`, where `victims` are rows of these.
        """
        check_is_fitted(self)
        X, y = check_data(X, y)
        y_index = label_index(y, self.classes_)
        known = _same(X, self._X) and np.array_equal(np.asarray(y), np.asarray(self._y))
        if known:
            rows, places = self.poisoned_indices_, self.replaced_indices_
        elif isinstance(self._policy.victims, str):
            random_state = np.random.RandomState(self._seed_of_other_data)
            rows, places = self._policy.choose(y_index, random_state)
        else:
            raise ValueError(
                "victims are rows of the training data, so other data cannot be poisoned by them;"
                " use victims='random' or 'stratified'."
            )
        like = getattr(X, "dtype", None) == getattr(self._X, "dtype", None)
        if known and like and type(X) is type(self._X):
            X_poison = self._X_poison
        else:
            X_poison = self._apply_trigger(_safe_indexing(X, rows), y_index[rows])
        y_poison = self.classes_[self._policy.label_of[y_index[rows]]]
        if hasattr(y, "iloc"):
            y_poison = type(y)(y_poison, index=y.index[rows], name=y.name).astype(y.dtype)
        n_samples = len(y_index)
        if len(places):
            is_poison = np.zeros(n_samples, dtype=bool)
            is_poison[places] = True
            return _put_rows(X, places, X_poison), _put_rows(y, places, y_poison), is_poison
        is_poison = np.arange(n_samples + len(rows)) >= n_samples
        return stack_samples(X, X_poison), stack_samples(y, y_poison), is_poison

    def triggered(self, X, y):
        """The triggered samples of source classes, P_ts: what attack success is measured on.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Clean test data.
        y : array-like of shape (n_samples,)
            Clean labels.

        Returns
        -------
        X_triggered : array-like of shape (n_source, ...)
            Triggered copies of the rows of source classes, in their order.
        y_target : ndarray of shape (n_source,)
            The attacker's labels.

        Raises
        ------
        ValueError
            No row is of a source class.
        """
        return self.sources_and_triggered(X, y)[1:3]

    def sources_and_triggered(self, X, y):
        """What :meth:`triggered` gives, behind the clean rows that it was made of.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Clean test data.
        y : array-like of shape (n_samples,)
            Clean labels.

        Returns
        -------
        X_source : array-like of shape (n_source, ...)
            The rows of source classes, clean.
        X_triggered, y_target : arrays of shape (n_source, ...) and (n_source,)
            As there.
        rows : ndarray of shape (n_source,)
            The rows of X that they come from.
        """
        X_source, y_index, rows = self.sources(X, y)
        return X_source, *self.triggered_sources(X_source, y_index), rows

    def sources(self, X, y):
        """The rows of source classes, clean, for :meth:`triggered_sources`.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Clean test data.
        y : array-like of shape (n_samples,)
            Clean labels.

        Returns
        -------
        X_source : array-like of shape (n_source, ...)
            The same for attacks that differ by their triggers only.
        y_index : ndarray of int of shape (n_source,)
            Their labels, as indices into `classes_`.
        rows : ndarray of shape (n_source,)
            The rows of X that they are.
        """
        check_is_fitted(self)
        X, y = check_data(X, y)
        y_index = label_index(y, self.classes_)
        rows = np.flatnonzero(self._policy.target_of[y_index] >= 0)
        if len(rows) == 0:
            raise ValueError(
                "The test data hold no sample of a source class"
                f" {self.classes_[self._policy.target_of >= 0].tolist()}, so attack success and"
                " slope are not defined on them; use stratified folds or a larger test set."
            )
        X_source = X if len(rows) == len(y_index) else _safe_indexing(X, rows)
        return X_source, y_index[rows], rows

    def triggered_sources(self, X_source, y_index):
        """Rows that :meth:`sources` gave, triggered, and the attacker's labels."""
        y_target = self.classes_[self._policy.target_of[y_index]]
        return self._apply_trigger(X_source, y_index), y_target

    def given_rows(self):
        """The clean data that `fit` saw.

        Returns
        -------
        X, y : array-likes of shape (n_samples, ...) and (n_samples,)
        """
        check_is_fitted(self)
        return self._X, self._y

    def training_rows(self):
        """The rows of the poisoned training data, clean ones and triggered copies apart.

        Returns
        -------
        clean : tuple of (X, y)
            With "append" all given rows, else those that no copy replaced.
        poison : tuple of (X, y)
            The m triggered copies with the attacker's labels.
        """
        X, y = self.given_rows()
        y = np.asarray(y)
        if len(self.replaced_indices_):
            kept = np.delete(np.arange(len(y)), self.replaced_indices_)
            X, y = _safe_indexing(X, kept), y[kept]
        return (X, y), (self._X_poison, self._y_poison)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.trigger).input_tags
        tags.target_tags.required = True
        return tags


def check_data(X, y):
    """Data as an attack takes them: X any container of rows, y labels, one a row."""
    if y is None:
        raise ValueError("This requires y to be passed, but the target y is None.")
    if not (sp.issparse(X) or hasattr(X, "iloc") or hasattr(X, "shape")):
        strings = isinstance(X, list) and len(X) > 0 and isinstance(X[0], str)
        X = X if strings else np.asarray(X)
    elif not (sp.issparse(X) or hasattr(X, "iloc") or isinstance(X, np.ndarray)):
        X = np.asarray(X)
    X = X.tocsr() if sp.issparse(X) else X
    if not hasattr(y, "iloc") or getattr(y, "ndim", 1) != 1:
        y = column_or_1d(y, warn=True)
    if np.asarray(y).dtype.kind in "fc":
        assert_all_finite(np.asarray(y), input_name="y")
    check_classification_targets(y)
    return tuple(indexable(X, y))


def requires_y(trigger):
    """Whether a trigger acts by class: ``transform(X, y)``."""
    return getattr(trigger, "requires_y", False)


def stack_samples(first, *others):
    """Rows of `first`, then rows of the others, in the container of `first`."""
    if sp.issparse(first):
        return sp.vstack([first, *others], format=first.format)
    if hasattr(first, "iloc"):
        import pandas as pd

        return pd.concat([first, *others])
    if isinstance(first, list):
        return sum(map(list, others), first)
    return np.concatenate([first, *others])


def _put_rows(X, rows, new):
    """A copy of X in which `new` stands in the given rows."""
    order = np.arange(_num_samples(X))
    order[rows] = _num_samples(X) + np.arange(len(rows))
    stacked = _safe_indexing(stack_samples(X, new), order)
    if hasattr(X, "iloc"):
        stacked.index = X.index
    return stacked


def _in_container(X, out):
    """What a trigger of one's own made of pandas rows X, as pandas again."""
    if not hasattr(X, "iloc") or hasattr(out, "iloc"):
        return out
    names = {"name": X.name} if X.ndim == 1 else {"columns": X.columns}
    return type(X)(out, index=X.index, **names)


def _same(a, b):
    """Whether two containers hold the same training data."""
    if a is b:
        return True
    if sp.issparse(a) != sp.issparse(b) or _num_samples(a) != _num_samples(b):
        return False
    if sp.issparse(a):
        return a.shape == b.shape and (a != b).nnz == 0
    if hasattr(a, "equals") and type(a) is type(b):
        return a.equals(b)
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return False
    same = np.asarray(a == b)
    return bool(np.all(same | ((a != a) & (b != b))))  # nan is the same as nan
