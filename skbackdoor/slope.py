"""The backdoor learning slope: how fast a learner takes in a backdoor."""

from contextlib import nullcontext
from dataclasses import dataclass
from numbers import Real

import numpy as np

from ._compat import Interval, StrOptions, validate_parameter_constraints
from .attack_path import attack_path, attacked_rows, clean_path, triggered_rows
from .checks import check_is_poisoner, weights_of_sources
from .learners import weight_argument
from .paths.solutions import DEFAULT_H
from .paths.threads import one_blas_thread
from .progress import progress


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
        How the derivative was found (:mod:`skbackdoor.curves`); a secant is not a derivative.
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
        "auto" is implicit differentiation for `RidgeClassifier`, `LogisticRegression` with l2
        penalty, `LinearSVC` and `SVC`, alone or last in a Pipeline, and the forward difference
        (L(h) - L(0)) / h for any other learner that takes `sample_weight` ([1]_, eq. 7), both
        sides fitted on the same rows with the same seed.
    scale : {"per_sample", "total"}, default="per_sample"
        s = m, the average influence of one poisoned sample, or s = 1.
    h : float in [0, 1] or list of them, default=None
        Poison weight of the forward difference; None is 0.1. It must be above rounding to mean
        anything; 0 gives 0. Of a list there is a slope each, and one fit at weight 0 for all. An
        implicit slope has no h: with "auto" it is then the same for every h of a list, with
        "implicit" an h is an error.

    Returns
    -------
    slope : BackdoorSlope, or list of them where `h` is a list
        Frozen dataclass with `theta`, `derivative`, `loss`, `method`, `n_poison`, `residual`,
        `first_breakpoint` and `intercept_jump`. Its `method` is "secant" for learners whose fit
        is not known to be a smooth function of the weights (trees, forests, SGD, those of other
        packages), and where the differences at h and h / 10 are more than a tenth apart: a
        secant is not a derivative. A learner may say ``smooth_in_weights = True``.

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
    check_is_poisoner(poisoner, "backdoor_learning_slope")
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
    probe, path = attack_path(poisoner, X_train, y_train)
    test = (*attacked_rows(probe, path, X_test, y_test)[:2], None)
    n_poison = len(probe.poisoned_indices_)
    if path.method != "implicit" and method == "implicit":
        raise ValueError(
            f"{path.estimator!r} has no closed form: its slope is a finite difference or a"
            " secant. Use method='auto' or 'finite_difference'."
        )
    if path.method != "implicit" or method == "finite_difference":
        return _difference(path, test, DEFAULT_H if h is None else h, n_poison, scale)
    slope = slope_at(path, clean_fit(path), test, n_poison, scale)
    return [slope] * len(h) if isinstance(h, (list, tuple)) else slope


def clean_fit(path):
    """The exact clean optimum; the learner's own clean fit where there is no closed form."""
    if path.method != "implicit":
        return path.fitted
    return path.polished


def clean_labels(path, fit, rows):
    """Labels that a :func:`clean_fit` gives to samples as the learner sees them."""
    if path.method != "implicit":
        return path.predict(fit, rows)
    with one_blas_thread(path.rows.clean.X):
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
    with one_blas_thread(path.rows.clean.X):
        return _implicit(path, fit, test, n_poison, scale)


def worst_slope_of_fit(probes, X_test, y_test, sample_weight, scale):
    """The largest slope of one fit as it is, under several triggers: what a scorer sees.

    Victims, the fit and the solver of its Hessian, or the kernel of its margin set, serve all of
    them.

    Parameters
    ----------
    probes : list of BackdoorPoisoner
        Fitted with poison weight 0; one, and others that differ from it by their triggers
        (:meth:`BackdoorPoisoner.with_trigger`).
    X_test, y_test : array-likes of shape (n_test, ...) and (n_test,)
        Clean test data.
    sample_weight : ndarray of shape (n_test,) or None
        Weights of the test samples.
    scale : {"per_sample", "total"}
        As in :func:`backdoor_learning_slope`.

    Returns
    -------
    slope : BackdoorSlope
        Of the trigger with the largest theta.
    theta_after_newton : float or None
        Its theta after one Newton step towards the optimum; None where the fit is close enough,
        or has no closed form.
    """
    n_poison = len(probes[0].poisoned_indices_)
    path = clean_path(*probes)
    if path.method != "implicit" and len(probes) > 1:
        each = [worst_slope_of_fit([p], X_test, y_test, sample_weight, scale) for p in probes]
        return max(each, key=lambda found: found[0].theta)
    sources, y_index, rows = probes[0].attack_.sources(X_test, y_test)
    weight = weights_of_sources(sample_weight, rows)
    with one_blas_thread(path.rows.clean.X) if path.method == "implicit" else nullcontext():
        tests = [(*triggered_rows(probe, path, sources, y_index), weight) for probe in probes]
    if path.method != "implicit":
        return _difference(path, tests[0], DEFAULT_H, n_poison, scale), None
    groups = path.poison_groups(len(probes))
    with one_blas_thread(path.rows.clean.X):  # dozens of products of a few milliseconds each
        optimum = path.optimum(rtol=1e-5)  # theta is asked to two digits
        moved = optimum.newton_step(tests[0][0]) if len(tests) == 1 else None
        slopes = [
            _implicit(path, part, test, n_poison, scale)
            for part, test in zip(optimum.parts(groups), tests, strict=True)
        ]
        worst = int(np.argmax([slope.theta for slope in slopes]))
        if len(tests) > 1:
            moved = optimum.newton_step(tests[worst][0])
        if moved is None:
            return slopes[worst], None
        (part,) = moved.parts(groups, [worst])
        derivative = _right_derivative(path, *part.right_limit(tests[worst][0]), tests[worst])
        return slopes[worst], angle(derivative, n_poison, scale)


def _right_derivative(path, F, dF, test):
    """dL / d beta where decision values on the test rows are F and move at the rate dF."""
    _, y_target, weight = test
    return float(np.average(path.loss.directional(F, dF, y_target), weights=weight))


def _implicit(path, optimum, test, n_poison, scale):
    rows, y_target, weight = test
    F, dF = optimum.right_limit(rows)
    derivative = _right_derivative(path, F, dF, test)
    return BackdoorSlope(
        theta=angle(derivative, n_poison, scale),
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

    Of several h a list, all with the same L(0). It is called a finite difference only where that
    at h / 10 is the same but for a tenth; else, as where the learner is not known to be smooth, a
    secant.
    """
    weight_argument(path.estimator, ": a slope is about small poison weights")
    rows, y_target, weight = test

    def loss(poison_weight):
        fitted = path.fit(poison_weight, drop_poison=False)
        losses = path.loss.value(path.decision_values(fitted, rows), y_target)
        return float(np.average(losses, weights=weight))

    at_zero, slopes = loss(0.0), []
    known = "finite_difference" if path.method == "implicit" else path.method
    told = getattr(path.estimator, "smooth_in_weights", None) is not None
    for step in progress(np.atleast_1d(h).tolist(), np.size(h), "finite differences"):
        derivative = (loss(step) - at_zero) / step if step > 0 else 0.0
        method = known
        if path.method == "finite_difference" and not told and step > 0:
            nearer = (loss(step / 10) - at_zero) / (step / 10)
            if abs(derivative - nearer) > 0.1 * max(abs(derivative), abs(nearer)):
                method = "secant"
        slopes.append(
            BackdoorSlope(
                theta=angle(derivative, n_poison, scale),
                derivative=derivative,
                loss=at_zero,
                method=method,
                n_poison=n_poison,
                residual=None,
                first_breakpoint=None,
                intercept_jump=0.0,
            )
        )
    return slopes if np.ndim(h) else slopes[0]


def angle(derivative, n_poison, scale):
    """theta = -(2 / pi) arctan(derivative / s), in [-1, 1] (Cinà et al. 2024, eq. 5)."""
    if not np.isfinite(derivative):
        raise ValueError(
            f"The slope of the learning curve is {derivative}: the loss of the triggered samples"
            " is beyond floating point. Scale the features, or use smaller trigger values."
        )
    s = n_poison if scale == "per_sample" else 1
    return float(-2.0 / np.pi * np.arctan(derivative / s)) + 0.0  # not -0.0
