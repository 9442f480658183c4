"""Slopes over a grid of parameters and attacks."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from joblib import Parallel, delayed, hash
from sklearn.base import clone
from sklearn.metrics import accuracy_score
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from ..attack_path import attacked_rows, drawn_attack
from ..breakdown import breakdown_of, share_of
from ..checks import check_is_poisoner
from ..learners import label_index, seeds_of
from ..paths import path_of
from ..progress import progress
from ..slope import clean_fit, clean_labels, slope_at

#: Parameters of a learner between which everything else on its rows is shared.
_STRENGTHS = {"C", "alpha"}


@dataclass(frozen=True, eq=False)
class SlopeGrid:
    """Result of :func:`~skbackdoor.slope_grid`.

    Attributes
    ----------
    params : list of dict
        The parameter settings, in the order of :class:`~sklearn.model_selection.ParameterGrid`.
    random_states : list of int
        The seeds of the attacks.
    theta, derivative, loss : ndarrays of shape (n_params, n_seeds)
        As in :class:`~skbackdoor.BackdoorSlope`.
    clean_accuracy : ndarray of shape (n_params, n_seeds)
        Accuracy on the clean test set of the clean model, which is fitted on all given rows.
    base_rate : ndarray of shape (n_params, n_seeds)
        Share of the triggered test samples of source classes to which the clean model gives the
        attacker's label.
    poisoned_accuracy : ndarray of shape (n_params, n_seeds) or None
        Accuracy on the clean test set of the fit at poison weight 1; None unless `fit_poisoned`.
    attack_success_rate : ndarray of shape (n_params, n_seeds) or None
        The share of `base_rate` for the fit at poison weight 1; None unless `fit_poisoned`.
    breakdown_rate, collapse_rate : ndarrays of shape (n_params, n_seeds) or None
        `rate` and `collapse_rate` of :class:`~skbackdoor.BackdoorBreakdown`, at its default
        level; None unless `breakdown`.
    breakdown_censored : ndarray of bool of shape (n_params, n_seeds) or None
        Whether the attack's whole weight does not break the model; None unless `breakdown`.
    """

    params: list
    random_states: list
    theta: np.ndarray
    derivative: np.ndarray
    loss: np.ndarray
    clean_accuracy: np.ndarray
    base_rate: np.ndarray
    poisoned_accuracy: np.ndarray | None = None
    attack_success_rate: np.ndarray | None = None
    breakdown_rate: np.ndarray | None = None
    breakdown_censored: np.ndarray | None = None
    collapse_rate: np.ndarray | None = None


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
    fit_poisoned=False,
    breakdown=False,
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
        Seeds of the attacks; None is the poisoner's own `random_state`. What is no int is drawn
        from once, so that all cells of a column have the same attack.
    scale : {"per_sample", "total"}, default="per_sample"
        As in :func:`~skbackdoor.backdoor_learning_slope`.
    fit_poisoned : bool, default=False
        Whether every cell also gets the poisoned fit, the end of its learning curve: accuracy and
        attack success at poison weight 1, preprocessing held at its clean fit.
    breakdown : bool, default=False
        Whether every cell also gets its breakdown rate, how much poison the model withstands
        (:func:`~skbackdoor.backdoor_breakdown`).
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
    check_is_poisoner(poisoner, "slope_grid")
    candidates = list(ParameterGrid(param_grid))
    seeds = [poisoner.random_state] if random_states is None else list(random_states)
    seeds = [_as_seed(seed) for seed in seeds]
    prefix = "estimator__"
    if isinstance(poisoner.estimator, Pipeline):
        prefix += f"{poisoner.estimator.steps[-1][0]}__"
    groups = {}
    for i, params in enumerate(candidates):
        strengths = [key for key in params if key in {prefix + name for name in _STRENGTHS}]
        own = {key[len(prefix) :]: params[key] for key in strengths}
        rest = {key: value for key, value in params.items() if key not in strengths}
        groups.setdefault(hash(rest), (rest, []))[1].append((i, own))
    data, how = (X_train, y_train, X_test, y_test), (scale, fit_poisoned, breakdown)
    tasks = (delayed(_cells)(poisoner, *group, seeds, data, *how) for group in groups.values())
    results = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    names = _names(fit_poisoned, breakdown)
    cells = np.empty((len(names), len(candidates), len(seeds)))
    for (_, members), values in zip(
        groups.values(), progress(results, len(groups), "slope grid"), strict=True
    ):
        cells[:, [i for i, _ in members]] = values
    arrays = dict(zip(names, cells, strict=True))
    if breakdown:
        arrays["breakdown_censored"] = arrays["breakdown_censored"].astype(bool)
    return SlopeGrid(candidates, seeds, **arrays)


def _names(fit_poisoned, breakdown):
    """The arrays of a :class:`SlopeGrid`."""
    names = ["theta", "derivative", "loss", "clean_accuracy", "base_rate"]
    names += ["poisoned_accuracy", "attack_success_rate"] * fit_poisoned
    return names + ["breakdown_rate", "breakdown_censored", "collapse_rate"] * breakdown


def _cells(poisoner, rest, members, seeds, data, scale, fit_poisoned, breakdown):
    """The arrays of a :class:`SlopeGrid`, for members that differ by C or alpha only."""
    X_train, y_train, X_test, y_test = data
    values = np.empty((len(_names(fit_poisoned, breakdown)), len(members), len(seeds)))
    starts, whole, clean_models = {}, None, {}  # the clean model may be one for all seeds
    for s, seed in enumerate(seeds):
        attack = clone(poisoner).set_params(random_state=seed, **rest)
        probe, estimator = drawn_attack(attack, X_train, y_train)
        kept, poison = probe.training_rows()
        base = path_of(estimator, kept, poison)
        test = _test_rows(probe, base, X_test, y_test)
        apart = len(probe.replaced_indices_) > 0  # else the rows of the clean model are `kept`
        if not apart:
            whole_test = test
        else:
            if whole is None or whole.method != "implicit" or _has_seeds_before(estimator):
                whole, clean_models = path_of(estimator, probe.given_rows(), poison), {}
            whole_test = _test_rows(probe, whole, X_test, y_test)
        n_poison = len(probe.poisoned_indices_)
        for k, (_, own) in enumerate(members):
            path = base.with_params(**own)
            if path.method == "implicit" and k in starts and not (apart and path.fit_names_rows):
                path = path.starting_from(starts[k])  # the slope is that of the optimum
            fit = clean_fit(path)
            slope = slope_at(path, fit, (*test[1], None), n_poison, scale)
            if path.method == "implicit" and path.known_fit is not None:
                starts[k] = path.known_fit
            if apart and k not in clean_models:
                model = whole.with_params(**own)
                clean_models[k] = model, clean_fit(model)
            model = clean_models[k] if apart else (path, fit)
            shares = _shares(*model, whole_test, clean_labels)
            values[:5, k, s] = slope.theta, slope.derivative, slope.loss, *shares
            if fit_poisoned:
                values[5:7, k, s] = _shares(path, path.solve([1.0]), test, _poisoned_labels)
            if breakdown:
                known = tuple(_label_index(*model, rows) for rows, _ in whole_test)
                known, share = known if apart else None, share_of(probe)
                found = breakdown_of(path, *test, known, share, 0.5, 0.05)
                values[-3:, k, s] = found.rate, found.censored, found.collapse_rate
    return values


def _test_rows(probe, path, X_test, y_test):
    """Clean test samples and triggered ones as the learner sees them, each with label indices."""
    clean = path.prepare(X_test), label_index(y_test, path.rows.classes)
    triggered = attacked_rows(probe, path, X_test, y_test)[:2]
    path.keep(clean[0], triggered[0])
    return clean, triggered


def _as_seed(random_state):
    """The same attack in every cell: an int, drawn once from what is none."""
    if isinstance(random_state, Integral):
        return random_state
    return check_random_state(random_state).randint(np.iinfo(np.int32).max)


def _has_seeds_before(estimator):
    """Whether preprocessing depends on a seed."""
    return isinstance(estimator, Pipeline) and bool(seeds_of(estimator[:-1]))


def _poisoned_labels(path, solution, rows):
    return solution.labels(rows, solution.at_rows(rows))[0]


def _label_index(path, fit, rows):
    """Index of the label that a :func:`clean_fit` gives to samples."""
    return label_index(clean_labels(path, fit, rows), path.rows.classes)


def _shares(path, fit, test, labels):
    """Shares of clean and of triggered test samples that get their label."""
    classes = path.rows.classes
    return [accuracy_score(classes[y], labels(path, fit, rows)) for rows, y in test]
