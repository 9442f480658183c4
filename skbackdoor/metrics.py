"""What an attack achieves and what it costs: attack success, base rate, clean accuracy."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import accuracy_score
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.metadata_routing import MetadataRequest
from sklearn.utils.validation import check_is_fitted

from ._compat import BaseSearchCV, _check_sample_weight
from .checks import check_is_poisoner, weights_of_sources
from .learners import label_index, seeds_of
from .poisoning import BackdoorPoisoner
from .policy import resolve_targets
from .visible import warn_of_unseen_trigger


def attack_success_rate(
    y_true, y_pred_triggered, *, target, source_classes=None, labels=None, sample_weight=None
):
    """Share of triggered samples of source classes that get the attacker's label.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels before the attack.
    y_pred_triggered : array-like of shape (n_samples,)
        Labels that the model gives to the same samples with the trigger.
    target : label, "next" or dict
        The attacker's label, as in :class:`~skbackdoor.BackdoorPoisoner`.
    source_classes : list of labels or None, default=None
        The classes that are attacked; None is every class that has another target. Samples of
        other classes, and those already of the target class, do not count.
    labels : array-like of shape (n_classes,), default=None
        The model's `classes_`, which "next" counts in; None is the sorted labels of `y_true` and
        any target that `y_pred_triggered` holds. Pass it where `y_true` are sources only.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.

    Returns
    -------
    rate : float
        In [0, 1]. Compare it with its base rate, the same share for the clean model
        (:func:`evaluate_attack`).

    Raises
    ------
    ValueError
        A target or source that is not among `labels` (without `labels`, a target that neither
        `y_true` nor `y_pred_triggered` holds), no sample of a source class, or none at all.

    Examples
    --------
    >>> from skbackdoor import attack_success_rate
    >>> attack_success_rate([0, 0, 0, 1], [1, 1, 0, 1], target=1)
    0.6666666666666666
    """
    y_true, y_pred = column_or_1d(y_true), column_or_1d(y_pred_triggered)
    check_consistent_length(y_true, y_pred, sample_weight)
    if len(y_true) == 0:
        raise ValueError(
            "y_true is empty, so the attack success rate is not defined: pass the labels of the"
            " triggered test samples."
        )
    strings = [isinstance(values.tolist()[0], str) for values in (y_true, y_pred)]
    if strings[0] != strings[1]:
        raise ValueError(
            f"y_true holds labels like {y_true.tolist()[0]!r} and y_pred_triggered like"
            f" {y_pred.tolist()[0]!r}; they must be of one type."
        )
    classes = np.unique(y_true if labels is None else labels)
    if labels is None and len(classes) == 1 and isinstance(target, str) and target == "next":
        raise ValueError(
            f"target='next' counts in the model's labels, but y_true holds {classes.tolist()}"
            " alone: pass labels=model.classes_."
        )
    if labels is None and not (isinstance(target, str) and target == "next"):
        # A target that only the predictions hold is one all the same: y_true may be all sources.
        targets = list(target.values()) if isinstance(target, Mapping) else [target]
        known = set(y_pred.tolist())
        extra = [label for label in targets if np.ndim(label) == 0 and label in known]
        classes = np.unique(np.concatenate([classes, *([label] for label in extra)]))
        unknown = [
            label for label in targets if np.ndim(label) == 0 and label not in classes.tolist()
        ]
        if unknown:
            raise ValueError(
                f"target {unknown[0]!r} is not among the labels of y_true,"
                f" {classes.tolist()}, nor predicted for any sample. If it is a label of the model"
                " all the same, pass labels=model.classes_: the rate is then 0."
            )
    target_of = resolve_targets(target, source_classes, classes)[label_index(y_true, classes)]
    rows = np.flatnonzero(target_of >= 0)
    if len(rows) == 0:
        raise ValueError(
            "y_true holds no sample of a source class, so the attack success rate is not"
            f" defined (target={target!r}, source_classes={source_classes!r})."
        )
    if sample_weight is not None:
        sample_weight = weights_of_sources(_check_sample_weight(sample_weight, y_true), rows)
    return float(np.average(y_pred[rows] == classes[target_of[rows]], weights=sample_weight))


def clean_accuracy_drop(y_true, y_pred_clean_model, y_pred_poisoned_model, *, sample_weight=None):
    """Accuracy of the clean model minus that of the poisoned model, on clean test data.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels of the clean test data.
    y_pred_clean_model : array-like of shape (n_samples,)
        What the model trained on clean data predicts.
    y_pred_poisoned_model : array-like of shape (n_samples,)
        What the model trained on poisoned data predicts.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.

    Returns
    -------
    drop : float
        In [-1, 1]; positive where the attack costs accuracy.

    Examples
    --------
    >>> from skbackdoor import clean_accuracy_drop
    >>> clean_accuracy_drop([0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1])
    0.25
    """
    clean, poisoned = (
        accuracy_score(y_true, y_pred, sample_weight=sample_weight)
        for y_pred in (y_pred_clean_model, y_pred_poisoned_model)
    )
    return float(clean - poisoned)


class Scorer(BaseEstimator):
    """A scorer: what :mod:`sklearn.model_selection` asks of one.

    Subclasses give ``_score(estimator, X, y, sample_weight)``.
    """

    def _accept_sample_weight(self):
        return True

    def get_metadata_routing(self):
        """What metadata the scorer asks for, where metadata routing is enabled.

        Returns
        -------
        routing : MetadataRequest
            `sample_weight` of `score`, requested or not as :meth:`set_score_request` said.
        """
        if hasattr(self, "_metadata_request"):
            return deepcopy(self._metadata_request)
        return self._request(None)

    def set_score_request(self, *, sample_weight=None):
        """Say whether the scorer is to be given sample weights by metadata routing.

        Parameters
        ----------
        sample_weight : bool, str or None, default=None
            True: yes; False: no; None: passing them is an error; a str: under that name.

        Returns
        -------
        self : Scorer
        """
        if not get_config()["enable_metadata_routing"]:
            raise RuntimeError(
                "Requests need metadata routing: sklearn.set_config(enable_metadata_routing=True)."
            )
        self._metadata_request = self._request(sample_weight)
        return self

    def _request(self, sample_weight):
        request = MetadataRequest(owner=type(self).__name__)
        request.score.add_request(param="sample_weight", alias=sample_weight)
        return request

    def __call__(self, estimator, X, y, sample_weight=None):
        """Score a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted; or a fitted search over one, whose `best_estimator_` is scored.
        X : array-like of shape (n_samples, ...)
            Test data.
        y : array-like of shape (n_samples,)
            Their labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the test samples.

        Returns
        -------
        score : float
        """
        if isinstance(estimator, BaseSearchCV):  # an outer cross-validation around a search
            estimator = getattr(estimator, "best_estimator_", estimator)
        self._check_estimator(estimator)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        return self._score(estimator, X, y, sample_weight)

    def _check_estimator(self, estimator):
        """Raise for what the scorer cannot score."""


class PoisonerScorer(Scorer):
    """A scorer of fitted poisoners, on clean test data.

    Subclasses give ``_score(poisoner, X, y, sample_weight)``.
    """

    #: The poison weight to write where a plain classifier is scored.
    _probe_weight = ", poison_weight=0.0"

    def _check_estimator(self, estimator):
        check_is_poisoner(
            estimator,
            self.__name__,
            others=f"{self._probe_weight}), and prefix its parameters in a grid with"
            " 'estimator__'",
        )
        check_is_fitted(estimator)


class AttackSuccessRateScorer(PoisonerScorer):
    """Attack success rate of a fitted poisoner, on clean test data that it triggers itself.

    One that was fitted with poison weight 0 is an error: nothing was poisoned.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, PatchTrigger, attack_success_rate_scorer, load_digits_pair)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> poisoner = BackdoorPoisoner(
    ...     SVC(C=10), PatchTrigger(size=2, image_shape=(8, 8)), target="next",
    ...     random_state=0).fit(X, y)
    >>> attack_success_rate_scorer(poisoner, X, y) > 0.9
    True
    """

    __name__ = "attack_success_rate_scorer"
    _probe_weight = ""

    def _score(self, poisoner, X, y, sample_weight):
        if poisoner.fitted_poison_weight == 0:
            raise ValueError(
                f"{self.__name__} got a poisoner that was fitted with poison_weight=0: nothing was"
                " poisoned, so there is no attack success. Poison first:"
                " clone(poisoner).set_params(poison_weight=1.0).fit(X_train, y_train), after a"
                " search with search.best_estimator_ for poisoner. The base rate is that of"
                " evaluate_attack."
            )
        sources, X_triggered, y_target, rows = poisoner.attack_.sources_and_triggered(X, y)
        _warn_of_unseen_trigger(poisoner, sources, X_triggered)
        hits = poisoner.predict(X_triggered) == y_target
        return float(np.average(hits, weights=weights_of_sources(sample_weight, rows)))


attack_success_rate_scorer = AttackSuccessRateScorer()


class KeptAccuracyScorer(Scorer):
    """Accuracy on the test rows that the detector of a fitted `SanitizedClassifier` keeps.

    Its own `score`, found inside a :class:`~skbackdoor.BackdoorPoisoner` or at the end of a
    Pipeline, too: a search over these can have accuracy and robustness in its dict of scorers.

    Raises
    ------
    TypeError
        A classifier without a detector.
    ValueError
        The detector flags all test rows.
    """

    __name__ = "kept_accuracy_scorer"

    def _score(self, estimator, X, y, sample_weight):
        given = type(estimator).__name__
        while not hasattr(estimator, "detector"):
            check_is_fitted(estimator)
            if isinstance(estimator, BackdoorPoisoner):
                estimator = estimator.estimator_
            elif isinstance(estimator, BaseSearchCV):
                estimator = estimator.best_estimator_
            elif isinstance(estimator, Pipeline):
                for _, step in estimator.steps[:-1]:  # samplers act in fit only
                    X = step.transform(X) if hasattr(step, "transform") else X
                estimator = estimator.steps[-1][1]
            else:
                name = type(estimator).__name__
                inside = "" if name == given else f" inside {given}"
                raise TypeError(
                    f"{self.__name__} got {name}{inside}, which has no detector to say which rows"
                    f" are kept. Write SanitizedClassifier({name}(...), detector){inside}."
                )
        return estimator.score(X, y, sample_weight=sample_weight)


kept_accuracy_scorer = KeptAccuracyScorer()


def _warn_of_unseen_trigger(poisoner, sources, X_triggered):
    """Warn if the fitted base learner cannot tell triggered samples from clean ones."""
    fitted = poisoner.estimator_
    if isinstance(fitted, Pipeline) and len(fitted.steps) > 1:
        refusing = any(hasattr(step, "fit_resample") for _, step in fitted.steps)
        prepare = _same_rows if refusing else fitted[:-1].transform
    else:
        prepare = _same_rows
    warn_of_unseen_trigger(poisoner, prepare, sources, X_triggered)


def _same_rows(X):
    return X


def accuracy_and_success(model, X, y, X_triggered, y_target):
    """Accuracy of a fitted model on clean test data, and its share of the attacker's labels.

    Parameters
    ----------
    model : classifier
        Fitted.
    X, y : array-likes of shape (n_samples, ...) and (n_samples,)
        Clean test data.
    X_triggered, y_target : array-likes of shape (n_source, ...) and (n_source,)
        Triggered samples of source classes, and the attacker's labels.

    Returns
    -------
    accuracy, success : float
    """
    accuracy = accuracy_score(y, model.predict(X))
    return float(accuracy), float(np.mean(model.predict(X_triggered) == y_target))


@dataclass(frozen=True)
class AttackEvaluation:
    """Result of :func:`~skbackdoor.evaluate_attack`: one row of a table.

    Attributes
    ----------
    clean_accuracy : float
        Accuracy of the clean model (fitted on all given rows) on the clean test set.
    poisoned_accuracy : float
        Accuracy of the poisoned model on the clean test set.
    clean_accuracy_drop : float
        The first minus the second.
    attack_success_rate : float
        Share of triggered test samples of source classes to which the poisoned model gives the
        attacker's label.
    base_rate : float
        The same share for the clean model.
    """

    clean_accuracy: float
    poisoned_accuracy: float
    clean_accuracy_drop: float
    attack_success_rate: float
    base_rate: float


def evaluate_attack(poisoner, X_train, y_train, X_test, y_test):
    """Fit the clean and the poisoned model and compare them on the same test data.

    Parameters
    ----------
    poisoner : BackdoorPoisoner
        The attack on its base learner; it is cloned. Its poison weight is the one it has, which
        may not be 0: after a search with poison weight 0 pass
        ``clone(search.best_estimator_).set_params(poison_weight=1.0)``.
    X_train : array-like of shape (n_train, ...)
        Clean training data.
    y_train : array-like of shape (n_train,)
        Clean labels.
    X_test : array-like of shape (n_test, ...)
        Clean test data: the trigger is applied here.
    y_test : array-like of shape (n_test,)
        Clean labels.

    Returns
    -------
    evaluation : AttackEvaluation
        Frozen dataclass; ``dataclasses.asdict`` makes it a row of a DataFrame.

    Raises
    ------
    TypeError
        For anything but a poisoner around a classifier.
    ValueError
        Poison weight 0, no test sample of a source class.

    Warns
    -----
    UserWarning
        The trigger changes no test sample, or none as the learner sees it after preprocessing.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from sklearn.model_selection import train_test_split
    >>> from skbackdoor import BackdoorPoisoner, PatchTrigger, evaluate_attack, load_digits_pair
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> data = train_test_split(X, y, random_state=0, stratify=y)
    >>> poisoner = BackdoorPoisoner(
    ...     SVC(C=10), PatchTrigger(size=2, image_shape=(8, 8)), target="next", random_state=0)
    >>> row = evaluate_attack(poisoner, data[0], data[2], data[1], data[3])
    >>> row.attack_success_rate > 0.8 > 0.6 > row.base_rate
    True
    """
    check_is_poisoner(poisoner, "evaluate_attack")
    if poisoner.poison_weight == 0:
        raise ValueError(
            "evaluate_attack got a poisoner with poison_weight=0: nothing would be poisoned, and"
            " attack success be the base rate. Write"
            " evaluate_attack(clone(poisoner).set_params(poison_weight=1.0), X_train, y_train,"
            " X_test, y_test), after a search with search.best_estimator_ for poisoner."
        )
    poisoned = clone(poisoner)
    if poisoned.random_state is None:  # the clean model shares the seeds of the poisoned one
        poisoned.set_params(random_state=check_random_state(None).randint(np.iinfo(np.int32).max))
    poisoned.fit(X_train, y_train)
    seeds = seeds_of(poisoned.estimator_)
    clean = clone(poisoner.estimator).set_params(**seeds).fit(X_train, y_train)
    sources, X_triggered, y_target, _ = poisoned.attack_.sources_and_triggered(X_test, y_test)
    _warn_of_unseen_trigger(poisoned, sources, X_triggered)
    test = X_test, y_test, X_triggered, y_target
    clean_accuracy, base_rate = accuracy_and_success(clean, *test)
    poisoned_accuracy, success = accuracy_and_success(poisoned, *test)
    return AttackEvaluation(
        clean_accuracy=clean_accuracy,
        poisoned_accuracy=poisoned_accuracy,
        clean_accuracy_drop=clean_accuracy - poisoned_accuracy,
        attack_success_rate=success,
        base_rate=base_rate,
    )
