"""Slopes over a grid of parameters and attacks."""

from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed, hash
from sklearn.base import clone
from sklearn.metrics import accuracy_score
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline

from .curves import attack_path, attacked_rows, slope_and_labels
from .poisoning import label_index
from .progress import progress

#: Parameters of a learner between which everything else on its rows is shared.
_STRENGTHS = {"C", "alpha"}


@dataclass(frozen=True)
class SlopeGrid:
    """Result of :func:`slope_grid`.

    Attributes
    ----------
    params : list of dict
        The parameter settings, in the order of :class:`~sklearn.model_selection.ParameterGrid`.
    random_states : list
        The seeds of the attacks.
    theta, derivative, loss : ndarrays of shape (n_params, n_seeds)
        As in :class:`~skbackdoor.curves.BackdoorSlope`.
    clean_accuracy : ndarray of shape (n_params, n_seeds)
        Accuracy of the clean model on the clean test set.
    """

    params: list
    random_states: list
    theta: np.ndarray
    derivative: np.ndarray
    loss: np.ndarray
    clean_accuracy: np.ndarray


def slope_grid(
    poisoner,
    param_grid,
    X_train,
    y_train,
    X_test,
    y_test,
    *,
    random_states=None,
    scale="per_sample",
    n_jobs=None,
):
    """Backdoor learning slopes over a grid of parameters and several attacks.

    What the cells of the grid have in common is computed once: an attack and the preprocessing
    for all parameters of the learner, the products of the rows for all alphas of ridge, the kernel
    matrix for all C, iterative clean fits for all attacks.

    Parameters
    ----------
    poisoner : BackdoorPoisoner
        The attack on its base learner; it is cloned.
    param_grid : dict or list of dicts
        Parameters of the poisoner, as for `GridSearchCV`: ``{"estimator__C": [...]}``.
    X_train : array-like of shape (n_train, ...)
        Clean training data.
    y_train : array-like of shape (n_train,)
        Clean labels.
    X_test : array-like of shape (n_test, ...)
        Clean test data.
    y_test : array-like of shape (n_test,)
        Clean labels.
    random_states : list of int, default=None
        Seeds of the attacks; None is the poisoner's own `random_state`.
    scale : {"per_sample", "total"}, default="per_sample"
        As in :func:`~skbackdoor.backdoor_learning_slope`.
    n_jobs : int, default=None
        Parallel groups of cells, through joblib.

    Returns
    -------
    grid : SlopeGrid

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import BackdoorPoisoner, PatchTrigger, load_digits_pair, slope_grid
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    >>> poisoner = BackdoorPoisoner(
    ...     SVC(gamma=0.05), PatchTrigger(size=2, image_shape=(8, 8)), target="next")
    >>> grid = slope_grid(
    ...     poisoner, {"estimator__C": [0.001, 0.1, 10.0]}, X_train, y_train, X_test, y_test,
    ...     random_states=[0, 1])
    >>> grid.theta.shape
    (3, 2)
    """
    candidates = list(ParameterGrid(param_grid))
    seeds = [poisoner.random_state] if random_states is None else list(random_states)
    prefix = "estimator__"
    if isinstance(poisoner.estimator, Pipeline):
        prefix += f"{poisoner.estimator.steps[-1][0]}__"
    groups = {}
    for i, params in enumerate(candidates):
        strengths = [key for key in params if key in {prefix + name for name in _STRENGTHS}]
        own = {key[len(prefix) :]: params[key] for key in strengths}
        rest = {key: value for key, value in params.items() if key not in strengths}
        groups.setdefault(hash(rest), (rest, []))[1].append((i, own))
    data = X_train, y_train, X_test, y_test
    tasks = (delayed(_cells)(poisoner, *group, seeds, data, scale) for group in groups.values())
    results = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    cells = np.empty((4, len(candidates), len(seeds)))
    for (_, members), values in zip(
        groups.values(), progress(results, len(groups), "slope grid"), strict=True
    ):
        cells[:, [i for i, _ in members]] = values
    return SlopeGrid(candidates, seeds, *cells)


def _cells(poisoner, rest, members, seeds, data, scale):
    """theta, derivative, loss and clean accuracy of members that differ by C or alpha only."""
    X_train, y_train, X_test, y_test = data
    values, fits = np.empty((4, len(members), len(seeds))), {}
    for s, seed in enumerate(seeds):
        attack = clone(poisoner).set_params(random_state=seed, **rest)
        probe, base = attack_path(attack, X_train, y_train)
        rows, y = base.prepare(X_test), label_index(y_test, base.rows.classes)
        test = (*attacked_rows(probe, base, X_test, y_test), None)
        for k, (_, own) in enumerate(members):
            path = base.with_params(**own)
            if path.method == "implicit" and k in fits:
                path.fitted = fits[k]  # only where to start: the slope is that of the optimum
            n_poison = len(probe.poisoned_indices_)
            slope, labels = slope_and_labels(path, test, n_poison, scale, rows)
            if path.method == "implicit" and "fitted" in path.__dict__:
                fits[k] = path.fitted
            accuracy = accuracy_score(base.rows.classes[y], labels)
            values[:, k, s] = slope.theta, slope.derivative, slope.loss, accuracy
    return values
