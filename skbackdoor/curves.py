"""Backdoor learning curves and their slope, and how far poison moves the parameters."""

from dataclasses import dataclass
from numbers import Real

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.metrics import accuracy_score

from ._compat import Interval, StrOptions, validate_parameter_constraints
from .paths import path_of
from .paths.base import check_poison_weights
from .paths.solutions import DEFAULT_H
from .paths.threads import one_blas_thread
from .poisoning import (
    check_is_poisoner,
    label_index,
    refuse_samplers,
    weight_argument,
    weights_of_sources,
)
from .progress import progress
from .visible import warn_of_unseen_trigger

#: Root sum of squares of features beyond which Hessians leave single precision.
LARGEST_FEATURES = 1e18
#: Relative residual of conjugate gradients in a scorer.
SCORER_RTOL = 1e-5


@dataclass(frozen=True)
class BackdoorSlope:
    """Result of :func:`~skbackdoor.backdoor_learning_slope`.

    Attributes
    ----------
    theta : float
        -(2 / pi) arctan(derivative / s), in [-1, 1]; the larger, the easier to backdoor.
    derivative : float
        The right derivative dL / d beta at beta = 0, loss per unit of poison weight.
    loss : float
        L at beta = 0, as the limit from the right: mean loss on the triggered test samples.
    method : {"implicit", "finite_difference", "secant"}
        How the derivative was found; a secant is not a derivative.
    n_poison : int
        Poisoned training samples m.
    residual : float or None
        How far the clean fit was from its optimum when the derivative was taken: relative
        gradient norm, for hinge machines the largest violation of the optimality conditions;
        None for differences of refits.
    first_breakpoint : float or None
        Hinge machines: the poison weight up to which the derivative of the decision values is
        constant; a difference taken beyond it is another number. Else None.
    intercept_jump : float
        Hinge machines without a free support vector: the jump of the intercept at beta = 0+, in
        decision values. Else 0.
    """

    theta: float
    derivative: float
    loss: float
    method: str
    n_poison: int
    residual: float | None
    first_breakpoint: float | None
    intercept_jump: float


@dataclass(frozen=True)
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
        How the fits were found: "closed form", "continuation", "dual path", "kernel refit" or
        "refit".
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


@dataclass(frozen=True)
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


def angle(derivative, scale):
    """theta = -(2 / pi) arctan(derivative / scale), in [-1, 1] (Cinà et al. 2024, eq. 5)."""
    if not np.isfinite(derivative):
        raise ValueError(
            f"The slope of the learning curve is {derivative}: the loss of the triggered samples"
            " is beyond floating point. Scale the features, or use smaller trigger values."
        )
    return float(-2.0 / np.pi * np.arctan(derivative / scale)) + 0.0  # not -0.0


def backdoor_learning_slope(
    poisoner, X_train, y_train, X_test, y_test, *, method="auto", scale="per_sample", h=None
):
    r"""How fast a learner takes in a backdoor: the slope of its learning curve at beta = 0.

    With L the mean loss on the triggered test samples :math:`P_{ts}` and H the Hessian of the
    training objective without poison, implicit differentiation at the clean optimum gives
    ([1]_, eq. 4)

    .. math:: \frac{dL}{d\beta} = -\nabla_w L(P_{ts})^T H^{-1} \nabla_w \sum_{poison} \ell,
              \qquad \theta = -\frac{2}{\pi} \arctan\left(\frac{1}{s} \frac{dL}{d\beta}\right)

    Parameters
    ----------
    poisoner : BackdoorPoisoner
        The attack on its base learner; it is cloned, whatever its poison weight. It may not be
        fitted.
    X_train : array-like of shape (n_train, ...)
        Clean training data.
    y_train : array-like of shape (n_train,)
        Clean labels.
    X_test : array-like of shape (n_test, ...)
        Clean test data: the poisoner's trigger is applied here.
    y_test : array-like of shape (n_test,)
        Clean labels.
    method : {"auto", "implicit", "finite_difference"}, default="auto"
        "auto" is implicit differentiation for `RidgeClassifier`, `Ridge`, `LogisticRegression`
        with l2 penalty, `LinearSVC` and `SVC`, alone or last in a Pipeline, and the forward
        difference (L(h) - L(0)) / h for any other learner that takes `sample_weight` ([1]_,
        eq. 7), both sides fitted on the same rows with the same seed.
    scale : {"per_sample", "total"}, default="per_sample"
        s = m, the average influence of one poisoned sample, or s = 1.
    h : float in [0, 1] or list of them, default=None
        Poison weight of the forward difference; None is 0.1. It must be above rounding to mean
        anything; 0 gives 0. Of a list there is a slope each, and one fit at weight 0 for all. An
        implicit slope has none: with "auto" h is then not used, with "implicit" it is an error.

    Returns
    -------
    slope : BackdoorSlope, or list of them
        Frozen dataclass with `theta`, `derivative`, `loss`, `method`, `n_poison`, `residual`,
        `first_breakpoint` and `intercept_jump`. Its `method` is "secant" for learners whose fit
        is not known to be a smooth function of the weights (trees, forests, SGD, those of other
        packages): a secant is not a derivative. A learner may say ``smooth_in_weights = True``.

    Raises
    ------
    ValueError
        No source sample in the test data, a singular Hessian (no regularization), a learner that
        drops weights, "implicit" for a learner without a closed form.

    Warns
    -----
    ConvergenceWarning
        The clean optimum could not be reached; `residual` says by how much.

    References
    ----------
    .. [1] Cinà et al., "Backdoor learning curves: explaining backdoor poisoning beyond
       influence functions", 2024.

    Examples
    --------
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.model_selection import train_test_split
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, PatchTrigger, backdoor_learning_slope, load_digits_pair)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> data = train_test_split(X, y, random_state=0, stratify=y)
    >>> trigger = PatchTrigger(size=2, image_shape=(8, 8))
    >>> for alpha in (0.1, 1000.0):  # little and much regularization
    ...     poisoner = BackdoorPoisoner(
    ...         RidgeClassifier(alpha=alpha), trigger, target="next", random_state=0)
    ...     slope = backdoor_learning_slope(poisoner, data[0], data[2], data[1], data[3])
    ...     print(alpha, bool(slope.theta > 0.1))
    0.1 True
    1000.0 False
    """
    h = h.tolist() if isinstance(h, np.ndarray) else h
    validate_parameter_constraints(
        {
            "method": [StrOptions({"auto", "implicit", "finite_difference"})],
            "scale": [StrOptions({"per_sample", "total"})],
            "h": [Interval(Real, 0, 1, closed="both"), list, tuple, None],
        },
        {"method": method, "scale": scale, "h": h},
        caller_name="backdoor_learning_slope",
    )
    if isinstance(h, (list, tuple)):
        wrong = [step for step in h if not (isinstance(step, Real) and 0 <= step <= 1)]
        if wrong or len(h) == 0:
            raise ValueError(f"h={h!r} must hold poison weights in [0, 1], one or more.")
    if method == "implicit" and h is not None:
        raise ValueError(f"h={h!r} is for finite differences; method='implicit' takes none.")
    probe, path = attack_path(poisoner, X_train, y_train, "backdoor_learning_slope")
    test = (*attacked_rows(probe, path, X_test, y_test), None)
    n_poison = len(probe.poisoned_indices_)
    if path.method != "implicit" and method == "implicit":
        raise ValueError(
            f"{path.estimator!r} has no closed form: its slope is a finite difference or a"
            " secant. Use method='auto' or 'finite_difference'."
        )
    if path.method != "implicit" or method == "finite_difference":
        return _difference(path, test, DEFAULT_H if h is None else h, n_poison, scale)
    return slope_at(path, clean_fit(path), test, n_poison, scale)


def clean_fit(path):
    """The exact clean optimum; the learner's own clean fit where there is no closed form."""
    if path.method != "implicit":
        return path.fitted
    return path.polished


def clean_labels(path, fit, rows):
    """Labels that a :func:`clean_fit` gives to samples as the learner sees them."""
    if path.method != "implicit":
        return path.predict(fit, rows)
    with one_blas_thread(path.rows.X):
        return path.labels(fit.decision_values(rows))


def slope_at(path, fit, test, n_poison, scale):
    """Slope at a :func:`clean_fit`.

    Parameters
    ----------
    path : WeightPath
        Of the base learner under the attack.
    fit : optimum or estimator
        Its :func:`clean_fit`.
    test : tuple of (rows, y_target, weight)
        Triggered test samples as the learner sees them, label indices, weights or None.
    n_poison : int
        Poisoned training samples.
    scale : {"per_sample", "total"}
        As in :func:`backdoor_learning_slope`.

    Returns
    -------
    slope : BackdoorSlope
    """
    if path.method != "implicit":
        return _difference(path, test, DEFAULT_H, n_poison, scale)
    with one_blas_thread(path.rows.X):
        return _implicit(path, fit, test, n_poison, scale)


def clean_path(probe):
    """The path of a poisoner that was fitted with poison weight 0, from that fit as it is."""
    refuse_samplers(probe.estimator_)
    path = path_of(probe.estimator_, *probe.training_rows(), probe.estimator_)
    _check_size(path, path.rows.X, path.rows.X_poison)
    return path


def attacked_rows(probe, path, X_test, y_test):
    """Triggered test samples as the learner sees them, and the attacker's label indices."""
    return _attacked_rows(probe, path, X_test, y_test)[:2]


def _attacked_rows(probe, path, X_test, y_test):
    """What :func:`attacked_rows` gives, and the rows of X_test that they come from."""
    sources, X_triggered, y_target, rows = probe.sources_and_triggered(X_test, y_test)
    prepared = path.prepare(X_triggered)
    _check_size(path, prepared)
    warn_of_unseen_trigger(probe, path.prepare, sources, X_triggered, prepared)
    return prepared, label_index(y_target, path.rows.classes), rows


def _check_size(path, *prepared):
    """Raise where features are so large that what is computed of them is not finite."""
    if path.method != "implicit":
        return
    for X in prepared:
        values = X.data if sp.issparse(X) else np.asarray(X)
        if values.dtype.kind != "f" or values.size == 0:
            continue
        with np.errstate(over="ignore"):
            size = np.sqrt(np.vdot(values, values))
        if not size <= LARGEST_FEATURES:
            raise ValueError(
                f"The features that {type(path.estimator).__name__} gets reach"
                f" {np.abs(values).max():.3g}: their products go beyond floating point. Scale"
                " them, for example by a StandardScaler in a Pipeline before the classifier."
            )


def slope_of_fit(probe, X_test, y_test, sample_weight, scale):
    """Slope of a fit as it is: what a scorer sees.

    Parameters
    ----------
    probe : BackdoorPoisoner
        Fitted with poison weight 0.
    X_test, y_test : array-likes of shape (n_test, ...) and (n_test,)
        Clean test data.
    sample_weight : ndarray of shape (n_test,) or None
        Weights of the test samples.
    scale : {"per_sample", "total"}
        As in :func:`backdoor_learning_slope`.

    Returns
    -------
    slope : BackdoorSlope
    theta_after_newton : float or None
        theta after one Newton step towards the optimum; None where the fit is close enough, or
        has no closed form.
    """
    path = clean_path(probe)
    prepared, y_target, rows = _attacked_rows(probe, path, X_test, y_test)
    test = prepared, y_target, weights_of_sources(sample_weight, rows)
    n_poison = len(probe.poisoned_indices_)
    if path.method != "implicit":
        return _difference(path, test, DEFAULT_H, n_poison, scale), None
    with one_blas_thread(path.rows.X):  # dozens of products of a few milliseconds each
        optimum = path.optimum(rtol=SCORER_RTOL)
        moved = optimum.newton_step(test[0])
        slope = _implicit(path, optimum, test, n_poison, scale)
        if moved is None:
            return slope, None
        derivative = _right_derivative(path, *moved.right_limit(test[0]), test)
        return slope, angle(derivative, n_poison if scale == "per_sample" else 1)


def _right_derivative(path, F, dF, test):
    """dL / d beta where decision values on the test rows are F and move at the rate dF."""
    _, y_target, weight = test
    return float(np.average(path.loss.directional(F, dF, y_target), weights=weight))


def _implicit(path, optimum, test, n_poison, scale):
    rows, y_target, weight = test
    F, dF = optimum.right_limit(rows)
    derivative = _right_derivative(path, F, dF, test)
    return BackdoorSlope(
        theta=angle(derivative, n_poison if scale == "per_sample" else 1),
        derivative=derivative,
        loss=float(np.average(path.loss.value(F, y_target), weights=weight)),
        method="implicit",
        n_poison=n_poison,
        residual=float(optimum.residual),
        first_breakpoint=optimum.first_breakpoint,
        intercept_jump=float(optimum.intercept_jump),
    )


def _difference(path, test, h, n_poison, scale):
    """(L(h) - L(0)) / h, both sides fitted on clean and poison rows, weights 0 and h.

    Of several h a list, all with the same L(0).
    """
    weight_argument(path.estimator, ": a slope is about small poison weights")
    rows, y_target, weight = test

    def loss(poison_weight):
        fitted = path.fit(poison_weight, drop_poison=False)
        losses = path.loss.value(path.decision_values(fitted, rows), y_target)
        return float(np.average(losses, weights=weight))

    at_zero, slopes = loss(0.0), []
    for step in progress(np.atleast_1d(h).tolist(), np.size(h), "finite differences"):
        derivative = (loss(step) - at_zero) / step if step > 0 else 0.0
        slopes.append(
            BackdoorSlope(
                theta=angle(derivative, n_poison if scale == "per_sample" else 1),
                derivative=derivative,
                loss=at_zero,
                method="finite_difference" if path.method == "implicit" else path.method,
                n_poison=n_poison,
                residual=None,
                first_breakpoint=None,
                intercept_jump=0.0,
            )
        )
    return slopes if np.ndim(h) else slopes[0]


def _grid(poisoner, poison_weights, caller):
    """The poison weights of a curve, or an error if the learner would drop one of them."""
    check_is_poisoner(poisoner, caller)
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


def backdoor_learning_curve(
    poisoner, X_train, y_train, X_test, y_test, *, poison_weights=None, n_jobs=None
):
    r"""Loss, accuracy and attack success as functions of the poison weight.

    Found along the weight path (:func:`~skbackdoor.weight_path`) of
    :math:`w^*(\beta) = \arg\min_w \sum_{clean} \ell + \beta \sum_{poison} \ell + \Omega(w)`
    ([1]_, eq. 2), its preprocessing, `gamma="scale"` and "balanced" class weights held at the
    clean fit. A sample's loss is what the training objective charges it, without the regularizer:
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
    caller = "backdoor_learning_curve"
    weights = _grid(poisoner, poison_weights, caller)
    probe, path = attack_path(poisoner, X_train, y_train, caller)
    classes = path.rows.classes
    tests = (
        (path.prepare(X_test), label_index(y_test, classes)),
        attacked_rows(probe, path, X_test, y_test),
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
    weights = _grid(poisoner, poison_weights, "parameter_deviation")
    _, path = attack_path(poisoner, X_train, y_train)
    solution = _solve(path, weights, n_jobs)
    if not solution.has_weights:
        raise ValueError(
            f"{type(path.estimator).__name__} has no weight vector: rho and nu are defined for"
            " linear learners and kernel machines."
        )
    return ParameterDeviation(weights, solution.norm, _nu(solution))


def attack_path(poisoner, X_train, y_train, caller="poisoner"):
    """A clone of the poisoner whose attack is drawn, and the path of its base learner.

    Parameters
    ----------
    poisoner : BackdoorPoisoner
        The attack on its base learner.
    X_train, y_train : array-likes of shape (n_train, ...) and (n_train,)
        Clean training data.
    caller : str, default="poisoner"
        Who asks, for errors.

    Returns
    -------
    probe : BackdoorPoisoner
        With everything that its attack needs; its base learner is not fitted.
    path : WeightPath
    """
    probe, estimator = drawn_attack(poisoner, X_train, y_train, caller)
    refuse_samplers(estimator)
    path = path_of(estimator, *probe.training_rows())
    _check_size(path, path.rows.X, path.rows.X_poison)
    return probe, path


def drawn_attack(poisoner, X_train, y_train, caller="poisoner"):
    """A clone of the poisoner whose attack is drawn, and its base learner, not fitted."""
    check_is_poisoner(poisoner, caller)
    probe = clone(poisoner).set_params(poison_weight=0.0)
    return probe, probe.draw(X_train, y_train)
