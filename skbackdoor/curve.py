"""Backdoor learning curves, and how far poison moves the parameters: what lies along a path."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import accuracy_score

from .attack_path import attack_path, attacked_rows
from .checks import check_is_poisoner
from .learners import label_index, weight_argument
from .paths.base import check_poison_weights


@dataclass(frozen=True, eq=False)
class BackdoorCurve:
    """Result of :func:`~skbackdoor.backdoor_learning_curve`.

    Attributes
    ----------
    poison_weights : ndarray of shape (n_weights,)
        The weights beta.
    clean_loss, backdoor_loss : ndarrays of shape (n_weights,)
        Mean loss on the clean test set, and on the triggered samples of source classes with the
        attacker's labels.
    clean_accuracy, attack_success_rate : ndarrays of shape (n_weights,)
        Shares in [0, 1]. With "append" the attack success rate at beta = 0 is its base rate;
        with "replace" and "supplant" the model at 0 lacks the rows that copies would replace,
        and the base rate is that of the clean model, fitted on all rows
        (:func:`~skbackdoor.evaluate_attack`).
    rho, nu : ndarrays of shape (n_weights,) or None
        Norm of the weights, and (1 - cosine to those at beta = 0) / 2; None for learners that
        have no weight vector.
    method : str
        How the fits were found, a word of :mod:`skbackdoor.curves`: "closed form",
        "continuation", "dual path", "kernel refit" or "refit".
    residuals : ndarray of shape (n_weights,) or None
        How far each fit is from its optimum; None for refits.
    """

    poison_weights: np.ndarray
    clean_loss: np.ndarray
    backdoor_loss: np.ndarray
    clean_accuracy: np.ndarray
    attack_success_rate: np.ndarray
    rho: np.ndarray | None
    nu: np.ndarray | None
    method: str
    residuals: np.ndarray | None


def backdoor_learning_curve(
    poisoner, X_train, y_train, X_test, y_test, *, poison_weights=None, n_jobs=None
):
    r"""Loss, accuracy and attack success as functions of the poison weight.

    Found along the weight path (:func:`~skbackdoor.weight_path`) of
    :math:`w^*(\beta) = \arg\min_w \sum_{clean} \ell + \beta \sum_{poison} \ell + \Omega(w)`
    ([1]_, eq. 1), its preprocessing, `gamma="scale"` and "balanced" class weights held at the
    clean fit. A sample's loss is its term in the training objective, without the regularizer:
    hinge, squared hinge, logistic (natural logarithm), squared on targets of +-1, cross-entropy
    (of probabilities clipped at 1e-15 for learners that give only those); one-vs-rest and ridge
    summed over the problems, one-vs-one over the pairs that hold the label.

    Parameters
    ----------
    poisoner : BackdoorPoisoner
        The attack on its base learner; it is cloned, whatever its poison weight.
    X_train : array-like of shape (n_train, ...)
        Clean training data.
    y_train : array-like of shape (n_train,)
        Clean labels.
    X_test : array-like of shape (n_test, ...)
        Clean test data: the poisoner's trigger is applied here.
    y_test : array-like of shape (n_test,)
        Clean labels.
    poison_weights : array-like of shape (n_weights,), default=None
        Weights in [0, 1]; None is 15 of them, dense near 0. A learner without `sample_weight`
        can only be asked for 0 and 1.
    n_jobs : int, default=None
        Parallel refits, through joblib, of learners whose path is refits.

    Returns
    -------
    curve : BackdoorCurve
        Frozen dataclass of arrays of shape (n_weights,): `poison_weights`, `clean_loss`,
        `backdoor_loss`, `clean_accuracy`, `attack_success_rate`, `rho`, `nu`.

    Raises
    ------
    ValueError
        A weight outside [0, 1], a learner that would drop weights, no source sample in the test
        data.

    References
    ----------
    .. [1] Cinà et al., "Backdoor learning curves: explaining backdoor poisoning beyond
       influence functions", 2024.

    Examples
    --------
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.model_selection import train_test_split
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, PatchTrigger, backdoor_learning_curve, load_digits_pair)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> data = train_test_split(X, y, random_state=0, stratify=y)
    >>> poisoner = BackdoorPoisoner(
    ...     RidgeClassifier(), PatchTrigger(size=2, image_shape=(8, 8)), target="next",
    ...     random_state=0)
    >>> curve = backdoor_learning_curve(
    ...     poisoner, data[0], data[2], data[1], data[3], poison_weights=[0, 1])
    >>> bool(curve.backdoor_loss[1] < curve.backdoor_loss[0])
    True
    """
    check_is_poisoner(poisoner, "backdoor_learning_curve")
    weights = _grid(poisoner, poison_weights)
    probe, path = attack_path(poisoner, X_train, y_train)
    classes = path.rows.classes
    tests = (
        (path.prepare(X_test), label_index(y_test, classes)),
        attacked_rows(probe, path, X_test, y_test)[:2],
    )
    solution = _solve(path, weights, n_jobs)
    means, shares = [], []
    for rows, labels in tests:
        F = solution.at_rows(rows)
        means.append(np.array([path.loss.value(values, labels).mean() for values in F]))
        predicted = solution.labels(rows, F)
        shares.append(np.array([accuracy_score(classes[labels], guess) for guess in predicted]))
    known = solution.has_weights
    return BackdoorCurve(
        weights,
        *means,
        *shares,
        solution.norm if known else None,
        _nu(solution) if known else None,
        solution.method,
        solution.residuals,
    )


@dataclass(frozen=True, eq=False)
class ParameterDeviation:
    """Result of :func:`~skbackdoor.parameter_deviation`.

    Attributes
    ----------
    poison_weights, rho, nu : ndarrays of shape (n_weights,)
        As in :class:`BackdoorCurve`.
    """

    poison_weights: np.ndarray
    rho: np.ndarray
    nu: np.ndarray


def parameter_deviation(poisoner, X_train, y_train, *, poison_weights=None, n_jobs=None):
    r"""How far poison moves the weights of a learner.

    :math:`\rho(\beta) = \|w_\beta\|` and
    :math:`\nu(\beta) = \frac12 (1 - \cos(w_0, w_\beta))`, the intercept left out; for kernel
    machines in the feature space of the kernel, for several problems over all of them together.

    Parameters
    ----------
    poisoner : BackdoorPoisoner
        The attack on its base learner; it is cloned, whatever its poison weight.
    X_train : array-like of shape (n_train, ...)
        Clean training data.
    y_train : array-like of shape (n_train,)
        Clean labels.
    poison_weights : array-like of shape (n_weights,), default=None
        Weights in [0, 1]; None is 15 of them, dense near 0.
    n_jobs : int, default=None
        Parallel refits, through joblib, of learners whose path is refits.

    Returns
    -------
    deviation : ParameterDeviation
        Frozen dataclass of arrays of shape (n_weights,): `poison_weights`, `rho`, `nu`. `nu` is
        nan where one of the two weight vectors is zero.

    Raises
    ------
    ValueError
        The learner has no weight vector.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, PatchTrigger, load_digits_pair, parameter_deviation)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> poisoner = BackdoorPoisoner(
    ...     SVC(), PatchTrigger(size=2, image_shape=(8, 8)), target="next", random_state=0)
    >>> deviation = parameter_deviation(poisoner, X, y, poison_weights=[0, 0.5, 1])
    >>> bool(abs(deviation.nu[0]) < 1e-12 < deviation.nu[1] < deviation.nu[2])
    True
    """
    check_is_poisoner(poisoner, "parameter_deviation")
    weights = _grid(poisoner, poison_weights)
    _, path = attack_path(poisoner, X_train, y_train)
    solution = _solve(path, weights, n_jobs)
    if not solution.has_weights:
        raise ValueError(
            f"{type(path.estimator).__name__} has no weight vector: rho and nu are defined for"
            " linear learners and kernel machines."
        )
    return ParameterDeviation(weights, solution.norm, _nu(solution))


def _grid(poisoner, poison_weights):
    """The poison weights of a curve, or an error if the learner would drop one of them."""
    if poison_weights is None:
        poison_weights = np.linspace(0.0, 1.0, 15) ** 2  # dense near 0, where curves are steep
    weights = check_poison_weights(poison_weights)
    if np.any((weights > 0) & (weights < 1)):
        weight_argument(poisoner.estimator, ", or pass poison_weights=[0, 1]")
    return weights


def _solve(path, weights, n_jobs):
    """The path at some weights; by refits where its family refuses one."""
    if path.refusal is not None:
        return path.refits(weights, n_jobs=n_jobs)
    return path.solve(weights, n_jobs=n_jobs)


def _nu(solution):
    """(1 - cosine to the weights at beta = 0) / 2."""
    return (1.0 - solution.cosine) / 2.0
