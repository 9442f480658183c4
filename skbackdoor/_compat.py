"""Every private scikit-learn name that skbackdoor uses, in one place."""

import numpy as np
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import _safe_indexing as _index_rows
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    RealNotInt,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.multiclass import _ovr_decision_function as ovr_decision_function
from sklearn.utils.validation import _check_sample_weight, _num_samples

__all__ = [
    "BaseSearchCV",
    "HasMethods",
    "Interval",
    "LinearClassifierMixin",
    "RealNotInt",
    "StrOptions",
    "_check_sample_weight",
    "_num_samples",
    "_safe_indexing",
    "gamma_of",
    "ovr_decision_function",
    "validate_parameter_constraints",
    "validate_params",
]


def _safe_indexing(X, rows):
    """Some rows of any container; of arrays at once, where asking what X is takes longer."""
    return X[rows] if type(X) is np.ndarray else _index_rows(X, rows)


def validate_params(estimator):
    """Check the parameters of a scikit-learn estimator as its own `fit` does."""
    if hasattr(estimator, "_parameter_constraints"):
        validate_parameter_constraints(
            estimator._parameter_constraints,
            estimator.get_params(deep=False),
            caller_name=type(estimator).__name__,
        )


def gamma_of(svc):
    """The number that `gamma` of a fitted SVM was, where it is "scale" or "auto"."""
    return svc._gamma
