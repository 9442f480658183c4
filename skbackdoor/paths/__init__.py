"""How a fitted model moves as the weight of a group of training rows goes from 0 to 1.

Linear models with a smooth loss are in ``linear``, hinge machines in ``hinge``, and ``refit`` is
for every other learner.
"""

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from sklearn.utils import assert_all_finite, check_array, column_or_1d, indexable
from sklearn.utils.multiclass import check_classification_targets

from .._compat import _safe_indexing
from ..learners import check_learner, check_weights
from .base import WeightPath
from .kernels import look_up, number_rows
from .linear import LogisticPath, RidgePath
from .linear_svc import LinearSVCPath
from .optimum import Optimum
from .refit import RefitPath
from .rows import Preparation, Rows, prepared
from .solutions import KernelSolution, LinearSolution, RefitSolution, Solution
from .svc import SVCPath, look_up_gram
from .switches import LabelSwitches

__all__ = [
    "KernelSolution",
    "LabelSwitches",
    "LinearSolution",
    "Optimum",
    "RefitSolution",
    "Solution",
    "WeightPath",
    "path_of",
    "weight_path",
]

#: The first that handles a learner takes it.
_FAMILIES = (RidgePath, LogisticPath, LinearSVCPath, SVCPath, RefitPath)


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
    clean, poison = Rows(*clean), Rows(*poison)
    if isinstance(last, SVC) and last.kernel == "precomputed":
        if last is estimator:
            raise ValueError(
                "SVC(kernel='precomputed') alone: a trigger acts on samples, not on kernel rows."
                " Put a transformer that computes the Gram matrix before it in a Pipeline, or"
                " give SVC a callable kernel."
            )
        return _path_of_rows(*look_up_gram(estimator, clean, poison), ())
    return _path_of_rows(estimator, clean, poison, fitted=fitted)


def _path_of_rows(estimator, clean, poison, transform=None, like=None, *, fitted=None):
    """The path; other samples become rows by `transform`, where they are not like these."""
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    family = next(family for family in _FAMILIES if family.handles(last))
    learner, rows, preparation, fitted = prepared(estimator, clean, poison, fitted, family.cast)
    if transform is not None:
        preparation = Preparation(transform, preparation.cast, like)
    return family(learner, rows, preparation, fitted=fitted)


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
    (Cinà et al., *Backdoor learning curves*, 2024, eq. 1).

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
        ``solve(poison_weights)`` gives the learner at any weights, one or hundreds, as a
        :class:`~skbackdoor.paths.Solution` with ``decision_function(X)``, ``tangent(X)``
        (d / d beta), ``predict(X)``, ``losses(X, y)``, ``coef`` or ``dual_coef``, ``intercept``,
        ``norm``, ``cosine``, ``residuals`` and ``method``. ``with_params(...)`` is the path of
        another C or alpha on the same rows, which reuses what it can; ``fit(poison_weight)`` is a
        plain refit.

    Raises
    ------
    ValueError
        A regressor, a mask that marks no row or all, a class without clean rows, labels that are
        no classes, logistic regression without regularization.

    Notes
    -----
    ``solution.method`` says how the fits were found:

    - "closed form": `RidgeClassifier`, up to 5,000 rows or features.
    - "continuation": `LogisticRegression` with l2 penalty, `LinearSVC` with squared hinge, larger
      ridge. Relative gradient norm 1e-9, or a warning above 1e-8.
    - "dual path": `SVC`, `LinearSVC` with hinge, up to 6,000 training rows. The dual solution is
      piecewise linear in the weight and followed exactly (`SVC` at a single weight: libsvm's fit
      there, polished). ``residuals`` is the largest violation of the optimality conditions
      (complementarity, box, sum of the duals) by the duals and intercepts as they are stored.
      Where it would be above 1e-8, as kernels of hardly any rank make it, the fit is looked for
      from libsvm's at that weight and then by an interior point; a warning says where that did not
      help. ``first_breakpoint`` is where the first piece ends.
    - "kernel refit": `SVC` with 6,000 to 20,000 rows, or with more than 3,000 of which over half
      are free support vectors, or with a sigmoid kernel: libsvm at each weight and its own `tol`,
      on a kernel matrix that is computed once. No tangent.
    - "refit": everything else, by ``fit`` at each weight, in parallel with `n_jobs`; l1 and
      elastic-net `LogisticRegression` start at their neighbours. ``tangent`` is then a difference
      over 0.1 of weight.

    Optima do not depend on how the learner would look for them: `tol` and `max_iter` have no part
    in the first three. An SVM whose optimum is not found in floating point (its kernel is
    indefinite, say) is refitted with a warning.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from skbackdoor import weight_path
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [0.5]])
    >>> path = weight_path(RidgeClassifier(), X, [0, 0, 1, 1, 1], [0, 0, 0, 0, 1])
    >>> solution = path.solve([0.0, 0.5, 1.0])
    >>> solution.coef.ravel().round(3).tolist()
    [0.667, 0.552, 0.471]
    >>> solution.method
    'closed form'
    """
    check_learner(estimator)
    X, y = indexable(X, column_or_1d(y))
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    is_poison = np.asarray(is_poison)
    if not np.all((is_poison == 0) | (is_poison == 1)):
        raise ValueError("is_poison must hold booleans, or 0 and 1, one a row.")
    is_poison = is_poison.astype(bool)
    if is_poison.shape != (len(y),) or not is_poison.any() or is_poison.all():
        raise ValueError(
            f"is_poison must mark some but not all of the {len(y)} rows; got shape"
            f" {is_poison.shape} with {int(is_poison.sum())} marked."
        )
    sample_weight = check_weights(sample_weight, X)
    gram = None
    if isinstance(estimator, SVC) and estimator.kernel == "precomputed":
        gram = check_array(X)
        if gram.shape[0] != gram.shape[1]:
            raise ValueError(
                f"With kernel='precomputed' X is the Gram matrix of all rows, but its shape is"
                f" {gram.shape}."
            )
        X = number_rows(gram, np.arange(len(gram)))
        estimator = clone(estimator).set_params(kernel=look_up)
    clean, poison = (
        Rows(
            _safe_indexing(X, rows),
            y[rows],
            None if sample_weight is None else sample_weight[rows],
        )
        for rows in (np.flatnonzero(~is_poison), np.flatnonzero(is_poison))
    )
    if gram is None:
        path = path_of(estimator, clean, poison)
    else:  # other samples are given by their kernel rows
        path = _path_of_rows(estimator, clean, poison, number_rows, gram)
    if path.refusal is not None:
        raise ValueError(path.refusal)
    return path
