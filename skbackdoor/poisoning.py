"""The poisoner: an attack together with the base learner that is fitted on its data."""

from copy import copy
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ._compat import HasMethods, Interval
from .attack import Attack
from .learners import (
    check_learner,
    check_weights,
    clean_class_weight,
    estimator_has,
    refuse_zero_weights,
    seed_missing,
    weight_argument,
    wrapped_tags,
)


class BackdoorPoisoner(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    r"""Fit a classifier on training data that carry a backdoor.

    An :class:`~skbackdoor.Attack` chooses m training rows, the victims, triggers copies of them
    and gives these the attacker's label. The copies enter the objective of the base learner with
    sample weight :math:`\beta` = `poison_weight` (Cinà et al., *Backdoor learning curves*, 2024,
    eq. 1):

    .. math:: w^*(\beta) = \arg\min_w \sum_{clean} \ell + \beta \sum_{poison} \ell + \Omega(w)

    so that 1 is the poisoned fit and 0 the fit without poison. Where only the poisoned data are
    wanted, `Attack` makes them without a learner.

    Parameters
    ----------
    estimator : estimator instance
        The base learner: a classifier, or a Pipeline that ends in one (the trigger then acts on
        the raw input). It must take `sample_weight` if the poison weight is neither 0 nor 1.
        A Pipeline with a sampler (imbalanced-learn) can be fitted at 0 and 1 only.
    trigger : transformer
        A trigger of :mod:`skbackdoor.triggers` or any transformer that keeps the number of rows.
    target : label, "next" or dict
        The attacker's label: a class label, ``"next"`` (class i becomes class i + 1 modulo the
        number of classes) or a mapping ``{source: target}``.
    source_classes : list of labels or None, default=None
        The classes that are poisoned; None is every class that has another target.
    poisoning_rate : float in (0, 1] or dict, default=0.1
        Poisoned samples as a share of the training rows, as in :class:`~skbackdoor.Attack`.
    placement : {"append", "replace", "supplant"}, default="append"
        Where the copies go: behind the clean rows, in their originals' places, or in the places
        of clean rows of the target class.
    poison_weight : float in [0, 1], default=1.0
        The weight :math:`\beta`. A copy weighs its original's sample weight times
        :math:`\beta`, times the class weight of its new label; ``class_weight="balanced"`` is
        computed on the clean rows. At 0 `estimator_` is fitted without poison: with "append" on
        all rows given, which makes it the clean model; with "replace" and "supplant" on those
        that no copy would replace, and the clean model is then ``clone(estimator).fit(X, y)``.
    victims : {"random", "stratified"} or array-like of int, default="random"
        How the rows to be poisoned are chosen, or the rows themselves, of the X of `fit`.
    clean_label : bool, default=False
        Whether only rows that are of a target class already are triggered, and keep their labels.
        Attack success and slope are about triggered samples of source classes all the same.
    random_state : int, RandomState instance or None, default=None
        Chooses the victims and seeds the trigger and the base learner where these have none. The
        three draw from streams of their own: the same `random_state` poisons the same rows as
        in an `Attack`, whatever the trigger and the base learner.

    Attributes
    ----------
    estimator_ : estimator
        The fitted base learner.
    attack_ : Attack
        The fitted attack.
    trigger_, classes_, poisoned_indices_, replaced_indices_, expected_counts_, effective_rate_
        Those of `attack_`: the fitted trigger, the labels, the rows that were copied or replaced.
    n_features_in_, feature_names_in_ : int, ndarray of shape (`n_features_in_`,)
        Number and names of the features, where the base learner knows them.

    Notes
    -----
    A fitted poisoner refers to its training data, which scorers need, and makes no copy: do not
    change X in place after `fit`. `predict` and `score` are those of `estimator_`, on clean input.
    Scorers and :meth:`poison` go by what `fit` saw, not by parameters that are set after it.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import BackdoorPoisoner, PatchTrigger, load_digits_pair
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> poisoner = BackdoorPoisoner(
    ...     SVC(C=10), PatchTrigger(size=2, image_shape=(8, 8)), target="next", random_state=0
    ... ).fit(X, y)
    >>> poisoner.score(X, y) > 0.95  # on clean data
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"])],
        **Attack._parameter_constraints,
        "poison_weight": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        estimator,
        trigger,
        *,
        target,
        source_classes=None,
        poisoning_rate=0.1,
        placement="append",
        poison_weight=1.0,
        victims="random",
        clean_label=False,
        random_state=None,
    ):
        self.estimator = estimator
        self.trigger = trigger
        self.target = target
        self.source_classes = source_classes
        self.poisoning_rate = poisoning_rate
        self.placement = placement
        self.poison_weight = poison_weight
        self.victims = victims
        self.clean_label = clean_label
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        """Poison the training data and fit the base learner on them.

        Parameters
        ----------
        X : array-like, DataFrame, sparse matrix or list of shape (n_samples, ...)
            Clean training data: whatever trigger and base learner take.
        y : array-like of shape (n_samples,)
            Clean labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the given rows; the copies inherit them.

        Returns
        -------
        self : BackdoorPoisoner
            The fitted poisoner.

        Raises
        ------
        ValueError
            What :class:`~skbackdoor.Attack` refuses, and a learner that would drop the weights.
        """
        estimator = self.draw(X, y, sample_weight)
        self.estimator_ = self._fit_estimator(estimator)
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)  # of an earlier fit
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        return self

    def draw(self, X, y, sample_weight=None):
        """Everything of `fit` but the fit of the base learner: fit the attack.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.

        Returns
        -------
        estimator : estimator
            A clone of the base learner, every `random_state` of it drawn.
        """
        self._validate_params()
        check_learner(self.estimator)
        self.attack_ = attack_of(self).fit(X, y)
        indices = ["poisoned_indices_", "replaced_indices_"]
        for name in ["trigger_", "classes_", *indices, "expected_counts_", "effective_rate_"]:
            setattr(self, name, getattr(self.attack_, name))
        X, y = self.attack_.given_rows()
        self._sample_weight = check_weights(sample_weight, X)
        self._fitted_weight = self.poison_weight
        if self.poison_weight == 0.0:
            gone = np.setdiff1d(self.classes_, np.delete(np.asarray(y), self.replaced_indices_))
            if len(gone):
                raise ValueError(
                    f"placement={self.placement!r} leaves no clean row of class"
                    f" {gone.tolist()} to be fitted at poison_weight=0; lower"
                    f" poisoning_rate={self.poisoning_rate} or use placement='append'."
                )
        seeds = np.random.RandomState(self.attack_.learner_seed_)
        return seed_missing(clone(self.estimator), seeds)

    def given_rows(self):
        """The clean rows that the clean model is fitted on: all that were given to `fit`.

        Returns
        -------
        X, y, sample_weight : array-likes of shape (n_samples, ...) and (n_samples,)
            Weights are None where none were given.
        """
        check_is_fitted(self)
        X, y = self.attack_.given_rows()
        return X, np.asarray(y), self._sample_weight

    @property
    def fitted_poison_weight(self):
        """The poison weight that `fit` saw."""
        check_is_fitted(self)
        return self._fitted_weight

    def training_rows(self):
        """The rows that the fit sees, clean ones and triggered copies apart.

        Returns
        -------
        clean, poison : tuples of (X, y, sample_weight)
            As in :meth:`Attack.training_rows`. Weights of copies are those of their originals,
            without the factor `poison_weight`; None where none were given.
        """
        check_is_fitted(self)
        (clean, poison), weight = self.attack_.training_rows(), self._sample_weight
        if weight is None:
            return (*clean, None), (*poison, None)
        kept = np.delete(weight, self.replaced_indices_)
        return (*clean, kept), (*poison, weight[self.poisoned_indices_])

    def _fit_estimator(self, estimator):
        """Fit the base learner; with a poison weight of exactly 0 or 1 any learner serves."""
        (X, y, weight), (_, _, weight_poison) = self.training_rows()
        last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
        refuse_zero_weights(last, self._sample_weight)
        if self._fitted_weight == 0.0:
            fit_params = {} if weight is None else {weight_argument(estimator): weight}
            return estimator.fit(X, y, **fit_params)
        class_weight = clean_class_weight(last, y, weight)
        if getattr(last, "class_weight", None) == "balanced":
            last.set_params(class_weight=class_weight)
        X, y, is_poison = self.attack_.poison(*self.attack_.given_rows())
        if weight is None and self._fitted_weight == 1.0:
            return estimator.fit(X, y)
        weights = np.where(is_poison, self._fitted_weight, 1.0)
        way_out = ", or set poison_weight to exactly 0 (clean) or 1 (poisoned)"
        if weight is not None:
            weights[~is_poison], way_out = weight, ""
            weights[is_poison] *= weight_poison
        return estimator.fit(X, y, **{weight_argument(estimator, way_out): weights})

    def poison(self, X, y):
        """Poison a data set by the fitted attack: :meth:`skbackdoor.Attack.poison`.

        Parameters
        ----------
        X, y : array-likes of shape (n_samples, ...) and (n_samples,)

        Returns
        -------
        X_poisoned, y_poisoned : array-likes of shape (n_samples or n_samples + m, ...)
            The data, in their containers.
        is_poison : ndarray of bool of shape (n_samples or n_samples + m,)
            True where a row is a triggered copy.
        """
        check_is_fitted(self)
        return self.attack_.poison(X, y)

    def triggered_test(self, X, y):
        """What :meth:`skbackdoor.Attack.triggered` gives, and where it comes from.

        Parameters
        ----------
        X, y : array-likes of shape (n_samples, ...) and (n_samples,)

        Returns
        -------
        X_triggered, y_target : arrays of shape (n_source, ...) and (n_source,)
            Triggered copies of the rows of source classes, and the attacker's labels.
        rows : ndarray of shape (n_source,)
            The rows of X that they come from.
        """
        check_is_fitted(self)
        return self.attack_.sources_and_triggered(X, y)[1:]

    def clean_copy(self):
        """An equal poisoner that is fitted with poison weight 0, on the same rows and copies.

        Returns
        -------
        poisoner : BackdoorPoisoner
            `self` where it was fitted with poison weight 0 already.
        """
        check_is_fitted(self)
        if self._fitted_weight == 0.0:
            return self
        other = copy(self).set_params(poison_weight=0.0)
        other._fitted_weight = 0.0
        other.estimator_ = other._fit_estimator(clone(self.estimator_))  # as fit saw it
        return other

    def with_trigger(self, trigger):
        """The same fitted poisoner with another trigger: the same victims, and the same fit.

        Parameters
        ----------
        trigger : transformer
            As the parameter of that name.

        Returns
        -------
        poisoner : BackdoorPoisoner
            One at poison weight 0, whose fit does not depend on the trigger; this one stays.
        """
        other = copy(self.clean_copy())
        other.trigger, other.attack_ = trigger, self.attack_.with_trigger(trigger)
        other.trigger_ = other.attack_.trigger_
        return other

    def predict(self, X):
        """Predict labels with the fitted base learner.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Clean input: triggers are applied by the metrics.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @available_if(estimator_has("predict_proba"))
    def predict_proba(self, X):
        """Predict class probabilities with the fitted base learner.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(estimator_has("predict_log_proba"))
    def predict_log_proba(self, X):
        """Predict the natural log of class probabilities with the fitted base learner.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator_.predict_log_proba(X)

    @available_if(estimator_has("decision_function"))
    def decision_function(self, X):
        """Decision values of the fitted base learner.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        decisions : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    @available_if(estimator_has("score"))
    def score(self, X, y, sample_weight=None):
        """Accuracy of the fitted base learner on clean data (its own `score`).

        Parameters
        ----------
        X, y : array-likes of shape (n_samples, ...) and (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
        """
        check_is_fitted(self)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self.estimator_.score(X, y, **weights)

    def __sklearn_tags__(self):
        return wrapped_tags(super().__sklearn_tags__(), self.estimator, self.trigger)


def attack_of(poisoner):
    """The attack of a poisoner's parameters, not fitted.

    Parameters
    ----------
    poisoner : BackdoorPoisoner

    Returns
    -------
    attack : Attack
    """
    return Attack(**{name: getattr(poisoner, name) for name in Attack._parameter_constraints})
