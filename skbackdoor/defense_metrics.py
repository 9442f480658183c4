"""What a detector finds of an attack, and what a defence does to it."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_random_state

from .attack import Attack
from .learners import MAX_SEED, seed_missing
from .metrics import accuracy_and_success, evaluate_attack
from .poisoning import BackdoorPoisoner, attack_of


@dataclass(frozen=True, eq=False)
class DetectionEvaluation:
    """Result of :func:`~skbackdoor.evaluate_detection`: one row of a table.

    Attributes
    ----------
    true_positive_rate : float
        Share of the poisoned rows that the detector decides are poison.
    false_positive_rate : float
        Share of the clean rows that it decides are poison.
    auroc : float
        Area under the ROC curve of its scores: the share of pairs of a poisoned and a clean row
        in which the poisoned one is the more suspicious, ties counting half. Ranking alone: it
        says nothing of where the detector draws the line.
    """

    true_positive_rate: float
    false_positive_rate: float
    auroc: float


@dataclass(frozen=True, eq=False)
class DefenseEvaluation:
    """Result of :func:`~skbackdoor.evaluate_defense`: one row of a table.

    Attributes
    ----------
    accuracy_before, accuracy_after : float
        Accuracy on the clean test set, of the classifier and of the defended one, both fitted on
        the poisoned data.
    attack_success_before, attack_success_after : float
        Share of triggered test samples of source classes to which they give the attacker's label.
    base_rate : float
        The same share for the clean model, the classifier fitted on the clean data: what is left
        where a defence takes all of the backdoor out.
    """

    accuracy_before: float
    accuracy_after: float
    attack_success_before: float
    attack_success_after: float
    base_rate: float


def evaluate_detection(detector, attack, X, y):
    """Poison clean data, and see what a detector finds.

    Parameters
    ----------
    detector : PoisonDetector
        It is cloned.
    attack : Attack or BackdoorPoisoner
        It is cloned and fitted on the data; base learner and poison weight of a poisoner have no
        part.
    X : array-like of shape (n_samples, ...)
        Clean data.
    y : array-like of shape (n_samples,)
        Clean labels.

    Returns
    -------
    evaluation : DetectionEvaluation
        Frozen dataclass; ``dataclasses.asdict`` makes it a row of a DataFrame.

    Raises
    ------
    TypeError
        `attack` is none.
    ValueError
        An attack that leaves no clean row.

    Examples
    --------
    >>> from skbackdoor import Attack, PatchTrigger, evaluate_detection, load_digits_pair
    >>> from skbackdoor import LeaveGroupOutDetector
    >>> X, y = load_digits_pair((7, 1), return_X_y=True)
    >>> attack = Attack(PatchTrigger(size=2, image_shape=(8, 8)), target=1, random_state=0)
    >>> evaluate_detection(LeaveGroupOutDetector(), attack, X, y)
    DetectionEvaluation(true_positive_rate=1.0, false_positive_rate=0.0, auroc=1.0)
    """
    attack = _seeded_attack(attack, "evaluate_detection").fit(X, y)
    X_poisoned, y_poisoned, is_poison = attack.poison(X, y)
    if is_poison.all():
        raise ValueError(
            f"All {len(is_poison)} rows are poisoned, so false positives are not defined; lower"
            f" poisoning_rate={attack.poisoning_rate!r}."
        )
    detector = clone(detector).fit(X_poisoned, y_poisoned)
    return DetectionEvaluation(
        true_positive_rate=float(np.mean(detector.is_poison_[is_poison])),
        false_positive_rate=float(np.mean(detector.is_poison_[~is_poison])),
        auroc=float(roc_auc_score(is_poison, detector.scores_)),
    )


def evaluate_defense(estimator, defended, attack, X_train, y_train, X_test, y_test):
    """Fit a classifier and a defended one on the same poisoned data, and compare them.

    Parameters
    ----------
    estimator : classifier
        The one without defence; it is cloned.
    defended : classifier
        The same behind its defence, for example
        ``SanitizedClassifier(estimator, detector)``; it is cloned.
    attack : Attack or BackdoorPoisoner
        It is cloned and fitted on the training data; base learner and poison weight of a poisoner
        have no part.
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
    evaluation : DefenseEvaluation
        Frozen dataclass; ``dataclasses.asdict`` makes it a row of a DataFrame.

    Raises
    ------
    TypeError
        `attack` is none; an estimator that is no classifier, or carries an attack of its own.
    ValueError
        No test sample of a source class.

    Warns
    -----
    UserWarning
        The trigger changes no test sample, or none as `estimator` sees it after preprocessing.

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import (
    ...     Attack, PatchTrigger, SanitizedClassifier, evaluate_defense, load_digits_pair)
    >>> from skbackdoor import LeaveGroupOutDetector
    >>> X, y = load_digits_pair((7, 1), return_X_y=True)
    >>> data = train_test_split(X, y, random_state=0, stratify=y)
    >>> attack = Attack(PatchTrigger(size=2, image_shape=(8, 8)), target=1, random_state=0)
    >>> defended = SanitizedClassifier(SVC(C=10), LeaveGroupOutDetector())
    >>> row = evaluate_defense(
    ...     SVC(C=10), defended, attack, data[0], data[2], data[1], data[3])
    >>> row.attack_success_after < 0.1 < 0.9 < row.attack_success_before
    True
    """
    for each in (estimator, defended):
        if isinstance(each, BackdoorPoisoner):
            raise TypeError(
                "evaluate_defense got a BackdoorPoisoner for a classifier. Give it the plain"
                " classifiers, and the poisoner, or an Attack, as attack."
            )
    attack = _seeded_attack(attack, "evaluate_defense")
    poisoner = BackdoorPoisoner(estimator, **attack.get_params(deep=False))
    before = evaluate_attack(poisoner, X_train, y_train, X_test, y_test)
    attack.fit(X_train, y_train)
    X_poisoned, y_poisoned, _ = attack.poison(X_train, y_train)
    model = seed_missing(clone(defended), np.random.RandomState(attack.learner_seed_))
    model.fit(X_poisoned, y_poisoned)
    accuracy, success = accuracy_and_success(
        model, X_test, y_test, *attack.triggered(X_test, y_test)
    )
    return DefenseEvaluation(
        accuracy_before=before.poisoned_accuracy,
        accuracy_after=accuracy,
        attack_success_before=before.attack_success_rate,
        attack_success_after=success,
        base_rate=before.base_rate,
    )


def _seeded_attack(attack, caller):
    """A clone of an attack, or of that of a poisoner, whose draws are the same at each fit."""
    if not isinstance(attack, (Attack, BackdoorPoisoner)):
        raise TypeError(
            f"{caller} got {type(attack).__name__} for attack; give it an Attack or a"
            " BackdoorPoisoner."
        )
    attack = clone(attack if isinstance(attack, Attack) else attack_of(attack))
    seed = attack.random_state
    if not isinstance(seed, (int, np.integer)):
        attack.set_params(random_state=check_random_state(seed).randint(MAX_SEED))
    return attack
