"""How a fitted model moves as the weight of a group of training rows goes from 0 to 1.

One file a learner family: :mod:`~skbackdoor.paths.ridge`, :mod:`~skbackdoor.paths.logistic`,
:mod:`~skbackdoor.paths.svm`, and :mod:`~skbackdoor.paths.refit` for everything else.
"""

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from sklearn.utils import check_array, column_or_1d, indexable
from sklearn.utils.validation import _check_sample_weight

from .._compat import _safe_indexing
from .base import WeightPath
from .kernels import look_up, number_rows
from .logistic import LogisticPath
from .refit import RefitPath
from .ridge import RidgePath
from .svm import LinearSVCPath, SVCPath

__all__ = ["WeightPath", "path_of", "weight_path"]

_FAMILIES = (RidgePath, LogisticPath, LinearSVCPath, SVCPath)


def path_of(estimator, clean, poison, fitted=None):
    """The path of a learner's own family, on clean and poison rows.

    Parameters
    ----------
    estimator : estimator instance
        A classifier or a Pipeline that ends in one.
    clean, poison : tuples of (X, y, sample_weight)
        As :meth:`~skbackdoor.BackdoorPoisoner.training_rows` gives them.
    fitted : estimator, default=None
        The learner already fitted on the clean rows, to be taken as it is.

    Returns
    -------
    path : WeightPath
    """
    estimator, fitted = _flat(estimator), _flat(fitted)
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    family = next((family for family in _FAMILIES if family.handles(last)), RefitPath)
    return family(estimator, clean, poison, fitted)


def _flat(estimator):
    """A Pipeline without Pipelines inside, so that its last step is the learner itself."""
    if not isinstance(estimator, Pipeline):
        return estimator
    if not any(isinstance(step, Pipeline) for _, step in estimator.steps):
        return estimator
    steps = []
    for name, step in estimator.steps:
        inner = _flat(step).steps if isinstance(step, Pipeline) else None
        steps += [(name, step)] if inner is None else [(f"{name}-{n}", s) for n, s in inner]
    return Pipeline(steps)


def weight_path(estimator, X, y, is_poison, *, sample_weight=None):
    r"""How a learner moves as the weight of some of its training rows goes from 0 to 1.

    :math:`w^*(\beta) = \arg\min_w \sum_{clean} \ell + \beta \sum_{poison} \ell + \Omega(w)`
    (Cinà et al., *Backdoor learning curves*, 2024, eq. 2).

    Parameters
    ----------
    estimator : estimator instance
        A classifier with `sample_weight`, or a Pipeline that ends in one: its preprocessing is
        held at its fit on the clean rows. With ``SVC(kernel="precomputed")`` X is the full Gram
        matrix of shape (n_samples, n_samples).
    X : array-like of shape (n_samples, ...)
        Training rows, clean and poison.
    y : array-like of shape (n_samples,)
        Their labels in the fit: those of poison rows are the attacker's.
    is_poison : array-like of bool of shape (n_samples,)
        True for the rows whose weight moves.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights; those of poison rows are multiplied by beta.

    Returns
    -------
    path : WeightPath
        ``fit(poison_weight)`` refits at any weight; families with a closed form also have
        ``optimum()``, the clean fit with its right derivative (``optimum().polish()`` is exact).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from skbackdoor import weight_path
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [0.5]])
    >>> path = weight_path(RidgeClassifier(), X, [0, 0, 1, 1, 1], [0, 0, 0, 0, 1])
    >>> [round(float(path.fit(beta).coef_.ravel()[0]), 3) for beta in (0.0, 0.5, 1.0)]
    [0.667, 0.552, 0.471]
    """
    X, y = indexable(X, column_or_1d(y))
    is_poison = np.asarray(is_poison, dtype=bool)
    if is_poison.shape != (len(y),) or not is_poison.any() or is_poison.all():
        raise ValueError(
            f"is_poison must mark some but not all of the {len(y)} rows; got shape"
            f" {is_poison.shape} with {int(is_poison.sum())} marked."
        )
    if sample_weight is not None:
        sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    precomputed = isinstance(estimator, SVC) and estimator.kernel == "precomputed"
    if precomputed:
        X = check_array(X)
        X = number_rows(X, np.arange(len(X)))
        estimator = clone(estimator).set_params(kernel=look_up)
    clean, poison = (
        (
            _safe_indexing(X, rows),
            y[rows],
            None if sample_weight is None else sample_weight[rows],
        )
        for rows in (np.flatnonzero(~is_poison), np.flatnonzero(is_poison))
    )
    path = path_of(estimator, clean, poison)
    if precomputed:
        path._prepare = number_rows  # samples are given by their kernel rows
    return path
