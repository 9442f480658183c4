"""Influence of single training samples on the loss of single test samples."""

import numpy as np

from ._compat import StrOptions, validate_parameter_constraints
from .attack_path import attack_path, attacked_rows
from .checks import check_is_poisoner
from .paths.threads import one_blas_thread


def poison_influence(poisoner, X_train, y_train, X_test, y_test, *, samples="poison"):
    r"""Influence of training samples on the loss of triggered test samples, at the clean fit.

    .. math:: I(j, t) = - \nabla_w \ell_t^T H^{-1} \nabla_w \ell_j

    is the derivative of the loss of test sample t in the weight of training sample j ([1]_,
    eq. 4): negative where sample j helps the backdoor. The derivative of the backdoor learning
    curve at beta = 0 is its sum over the poisoned samples j and mean over t. For hinge machines it
    is the limit at beta = 0+, and samples on the margin or beyond it have none.

    Parameters
    ----------
    poisoner : BackdoorPoisoner
        The attack on its base learner; it is cloned. It may not be fitted.
    X_train : array-like of shape (n_train, ...)
        Clean training data.
    y_train : array-like of shape (n_train,)
        Clean labels.
    X_test : array-like of shape (n_test, ...)
        Clean test data: the poisoner's trigger is applied here to the samples of source classes.
    y_test : array-like of shape (n_test,)
        Clean labels.
    samples : {"poison", "all"}, default="poison"
        The m poisoned copies, in the order of the poisoner's `poisoned_indices_`; or all rows of
        the fit: the clean ones first, in the order of X_train, then the copies.

    Returns
    -------
    influence : ndarray of shape (m or n_clean + m, n_triggered)
        Change of loss per unit of sample weight (in units of the sample's own weight).

    Raises
    ------
    ValueError
        A learner without a closed form, an SVM without a free support vector, a singular Hessian.

    References
    ----------
    .. [1] Cinà et al., "Backdoor learning curves: explaining backdoor poisoning beyond
       influence functions", 2024.

    Examples
    --------
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.model_selection import train_test_split
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, PatchTrigger, backdoor_learning_slope, load_digits_pair,
    ...     poison_influence)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    >>> poisoner = BackdoorPoisoner(
    ...     RidgeClassifier(), PatchTrigger(size=2, image_shape=(8, 8)), target="next",
    ...     random_state=0)
    >>> influence = poison_influence(poisoner, X_train, y_train, X_test, y_test)
    >>> influence.shape
    (27, 91)
    >>> slope = backdoor_learning_slope(poisoner, X_train, y_train, X_test, y_test)
    >>> bool(abs(influence.sum(axis=0).mean() - slope.derivative) < 1e-9)
    True
    """
    check_is_poisoner(poisoner, "poison_influence")
    validate_parameter_constraints(
        {"samples": [StrOptions({"poison", "all"})]},
        {"samples": samples},
        caller_name="poison_influence",
    )
    probe, path = attack_path(poisoner, X_train, y_train)
    if path.method != "implicit":
        raise ValueError(
            f"{path.estimator!r} has no closed form, so the influence of single samples is not"
            " defined by its Hessian; use RidgeClassifier, LogisticRegression with l2 penalty,"
            " LinearSVC or SVC."
        )
    rows, y_target, _ = attacked_rows(probe, path, X_test, y_test)
    with one_blas_thread(path.rows.clean.X):
        optimum = path.polished
        F, _ = optimum.right_limit(rows)
        responses = optimum.responses(rows, samples)
        return np.stack([path.loss.directional(F, dF, y_target) for dF in responses])
