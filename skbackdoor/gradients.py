"""Gradient of a class's decision value with respect to the input."""

from copy import copy
from dataclasses import dataclass
from numbers import Real

import numpy as np
import scipy.sparse as sp
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC, NuSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import check_is_fitted

from ._compat import LinearClassifierMixin, gamma_of
from .paths.losses import Hinge, MarginLoss
from .paths.svc import signed_duals
from .poisoning import BackdoorPoisoner

#: Learners whose decision values are piecewise constant.
_CONSTANT = (
    AdaBoostClassifier,
    DecisionTreeClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    KNeighborsClassifier,
    RadiusNeighborsClassifier,
    RandomForestClassifier,
)
#: Numbers in a block of rows between which differences are taken (8 MB).
_BLOCK = 1_000_000


@dataclass(frozen=True, eq=False)
class InputGradient:
    """Result of :func:`~skbackdoor.input_gradient`.

    Attributes
    ----------
    gradient : ndarray of the shape of X
        Change of the decision value per unit of each feature.
    method : str
        How it was found, a word of :mod:`skbackdoor.curves`: "chain rule", "autograd" or
        "finite_difference" (of the decision value, or of the other steps of a Pipeline).
    """

    gradient: np.ndarray
    method: str


def input_gradient(estimator, X, class_label, *, step=None):
    r"""Gradient of a class's decision value with respect to the input.

    For the target class of an attack it shows which features, or pixels, a model relies on; that
    of a poisoned model points at the trigger (Cinà et al., *Backdoor learning curves*, 2024, Fig.
    12).

    Parameters
    ----------
    estimator : estimator instance
        A fitted classifier, a Pipeline that ends in one, or a BackdoorPoisoner, whose
        `estimator_` is taken.
    X : array-like of shape (n_samples, ...)
        Numbers, dense. Integers are taken as the floats of the same values.
    class_label : label
        The class. Its decision value is its column of ``decision_function``; of two classes f
        for the second and -f for the first. With ``SVC(decision_function_shape="ovo")`` it is the
        sum over its pairs, those with the class on the negative side subtracted. Learners without
        `decision_function` give the natural log of the class's probability.
    step : float, default=None
        Step h of central differences, (f(x + h) - f(x - h)) / 2h, where these are used. None is
        :math:`\epsilon^{1/3} s` for each feature, with :math:`\epsilon` the machine epsilon of
        the floats that the estimator computes in and s the feature's largest absolute value in X,
        or the largest of all where that is 0.

    Returns
    -------
    result : InputGradient
        Frozen dataclass of `gradient`, an ndarray of the shape of X, and `method`.

    Raises
    ------
    ValueError
        An unknown label, samples that are no numbers, a learner whose decision values are
        piecewise constant (trees, nearest neighbours).
    TypeError
        Sparse samples, a learner with neither `decision_function` nor `predict_proba`.

    Notes
    -----
    The chain rule serves linear classifiers and `SVC` and `NuSVC` with a kernel by name, autograd
    networks of :mod:`skbackdoor.deep`. Where such a learner stands last in a Pipeline, its
    gradient g is pulled back through the other steps T by central differences of g . T(x), g held
    fixed: exact but for rounding where T is affine. Every other learner is differenced as a
    whole. Differences take 2 n_features rows a sample, in blocks of 8 MB.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import input_gradient, load_digits_pair
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> result = input_gradient(SVC().fit(X, y), X[:5], 7)
    >>> result.gradient.shape, result.method
    ((5, 64), 'chain rule')
    """
    check_is_fitted(estimator)
    if isinstance(estimator, BackdoorPoisoner):
        estimator = estimator.estimator_
    classes = estimator.classes_.tolist()
    if class_label not in classes:
        raise ValueError(f"class_label={class_label!r} is none of the classes {classes}.")
    if step is not None and not (isinstance(step, Real) and step > 0):
        raise ValueError(f"step={step!r} must be a number above 0, or None.")
    numbers, k = _numbers(X), classes.index(class_label)
    before, learner = None, estimator
    if isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
        before, learner = estimator[:-1], estimator.steps[-1][1]
    method, gradient = _rule(learner)
    if before is None and method is not None:
        return InputGradient(gradient(learner, X, k).reshape(numbers.shape), method)
    rows = _container(X, numbers)
    if np.asarray(X).dtype.kind != "f":
        _check_as_floats(estimator, X, rows(numbers), k)
    if method is None:
        _check_smooth(learner)
        found = _differences(lambda i, part: _value(estimator, part, k), numbers, rows, step)
        return InputGradient(found, "finite_difference")
    features = before.transform(rows(numbers))
    features = features.toarray() if sp.issparse(features) else np.asarray(features)
    inner = gradient(learner, features, k).reshape(len(features), -1)

    def along(i, part):
        T = before.transform(part)
        T = T if sp.issparse(T) else np.asarray(T).reshape(len(part), -1)
        return T @ inner[i].astype(T.dtype)

    found = _differences(along, numbers, rows, step)
    return InputGradient(found, "finite_difference")


def _numbers(X):
    """X as float64, or an error where it holds no numbers."""
    if sp.issparse(X):
        raise TypeError("X is sparse, and its gradient would not be; pass X.toarray().")
    numbers = np.asarray(X)
    if numbers.dtype.kind not in "biuf":
        raise ValueError(
            f"X has dtype {numbers.dtype}: only numbers have a gradient. Pass the model that"
            " follows the encoding, and encoded samples."
        )
    if numbers.ndim < 2:
        raise ValueError(f"X has the shape {numbers.shape}; samples are rows: X.reshape(1, -1).")
    assert_all_finite(numbers, input_name="X")
    return numbers.astype(np.float64)


def _container(X, numbers):
    """A function that makes flat rows of numbers what the estimator takes."""
    if hasattr(X, "iloc"):
        return lambda flat: type(X)(flat, columns=X.columns)
    return lambda flat: flat.reshape(len(flat), *numbers.shape[1:])


def _rule(learner):
    """How a learner is differentiated in closed form: a name and a function, or None twice."""
    if isinstance(learner, LinearClassifierMixin):
        return "chain rule", _linear
    if type(learner) in (SVC, NuSVC) and learner.kernel in _SLOPES:  # a subclass may be another
        return "chain rule", _kernel
    if hasattr(learner, "decision_gradient"):
        return "autograd", lambda net, X, k: net.decision_gradient(X, net.classes_[k])
    return None, None


def _linear(learner, X, k):
    coef = learner.coef_.toarray() if sp.issparse(learner.coef_) else np.atleast_2d(learner.coef_)
    row = coef[k] if len(coef) > 1 else coef[0] * (1 if k else -1)
    return np.tile(row, (len(X), 1))


#: Derivative of each kernel in x.x', that of rbf with the squared norms held fixed.
_SLOPES = {
    "linear": lambda svc, inner, squared: np.ones_like(inner),
    "rbf": lambda svc, inner, squared: (
        2 * gamma_of(svc) * np.exp(-gamma_of(svc) * np.maximum(squared - 2 * inner, 0))
    ),
    "poly": lambda svc, inner, squared: (
        gamma_of(svc) * svc.degree * (gamma_of(svc) * inner + svc.coef0) ** (svc.degree - 1)
    ),
    "sigmoid": lambda svc, inner, squared: (
        gamma_of(svc) / np.cosh(gamma_of(svc) * inner + svc.coef0) ** 2
    ),
}


def _kernel(svc, X, k):
    """sum_i v_i K'(x, x_i) with the signed duals v of all problems of class k together."""
    X = np.asarray(X, dtype=np.float64)
    vectors, signs = svc.support_vectors_, _signs(svc)[k]
    vectors = vectors.toarray() if sp.issparse(vectors) else vectors
    squared = np.sum(X**2, axis=1)[:, None] + np.sum(vectors**2, axis=1)
    A = _SLOPES[svc.kernel](svc, X @ vectors.T, squared) * (signed_duals(svc) @ signs)
    gradient = A @ vectors
    if svc.kernel == "rbf":
        gradient -= A.sum(axis=1, keepdims=True) * X
    if len(svc.classes_) > 2 and svc.decision_function_shape == "ovr":  # votes + s / 3(|s| + 1)
        pairs = copy(svc).set_params(decision_function_shape="ovo")
        total = pairs.decision_function(X) @ signs
        gradient /= 3 * (np.abs(total)[:, None] + 1) ** 2
    return gradient


def _signs(svc):
    """Side of each class in each pair, shape (n_classes, n_pairs)."""
    return MarginLoss.one_vs_one(Hinge(), len(svc.classes_)).signs


def _value(estimator, rows, k):
    """Decision values of class k, shape (n_rows,)."""
    learner = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    if hasattr(estimator, "decision_function"):
        F = np.asarray(estimator.decision_function(rows))
        if F.ndim == 1:
            return F if k else -F
        by_pair = getattr(learner, "decision_function_shape", None) == "ovo"
        return F @ _signs(learner)[k] if by_pair else F[:, k]
    if hasattr(estimator, "predict_log_proba"):
        return np.asarray(estimator.predict_log_proba(rows))[:, k]
    if hasattr(estimator, "predict_proba"):
        with np.errstate(divide="ignore"):
            return np.log(estimator.predict_proba(rows)[:, k])
    raise TypeError(
        f"{type(learner).__name__} has neither decision_function nor predict_proba, so no value"
        " to differentiate."
    )


def _check_as_floats(estimator, X, floats, k):
    if not np.allclose(_value(estimator, X, k), _value(estimator, floats, k)):
        raise ValueError(
            f"{type(estimator).__name__} gives integers other decision values than the same"
            " numbers as floats, so integers have no gradient; fit it on floats."
        )


def _check_smooth(learner):
    parts = [learner, getattr(learner, "estimator_", None), *learner.get_params().values()]
    part = next((part for part in parts if isinstance(part, _CONSTANT)), None)
    if part is not None:
        raise ValueError(
            f"Decision values of {type(part).__name__} are piecewise constant: they have no"
            " gradient to draw. Use a learner that is smooth in its input."
        )


def _differences(value, X, rows, step):
    """Central differences of ``value(i, rows)`` in the numbers of sample i."""
    flat = X.reshape(len(X), -1)
    n_samples, n_features = flat.shape
    largest = np.abs(flat).max(axis=0)
    largest[largest == 0] = largest.max() or 1.0
    if step is None:
        precision = np.finfo(np.asarray(value(0, rows(flat[:1]))).dtype)
        steps = np.cbrt(precision.eps) * largest
    else:
        steps = np.full(n_features, float(step))
    gradient = np.empty_like(flat)
    size = max(1, _BLOCK // n_features)
    for i in range(n_samples):
        for start in range(0, n_features, size):
            columns = np.arange(start, min(start + size, n_features))
            place = np.arange(len(columns)), columns
            upper = np.tile(flat[i], (len(columns), 1))
            lower = upper.copy()
            upper[place] += steps[columns]
            lower[place] -= steps[columns]
            rise = np.subtract(value(i, rows(upper)), value(i, rows(lower)), dtype=np.float64)
            gradient[i, columns] = rise / (upper[place] - lower[place])
    if not np.all(np.isfinite(gradient)):
        raise ValueError("Decision values near X are not finite, so they have no gradient there.")
    return gradient.reshape(X.shape)
