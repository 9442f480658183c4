"""The breakdown rate: how much poison a model withstands."""

import warnings
from dataclasses import dataclass
from numbers import Real

import numpy as np
from sklearn.pipeline import Pipeline

from ._compat import Interval, validate_parameter_constraints
from .attack_path import attack_path, attacked_rows, clean_path
from .checks import check_is_poisoner, weights_of_sources
from .learners import label_index, weight_argument
from .paths import LabelSwitches, path_of
from .paths.rows import stack
from .slope import clean_fit, clean_labels, slope_at

#: Weights at which a learner is looked at whose path is known by single fits only.
_LOOKED_AT = np.append(0.0, 2.0 ** np.arange(-8, 1))
#: Width of a bracket, as a share of its upper end, and halvings that this takes at most.
_NARROW, _HALVINGS = 0.01, 12
#: Width up to which the shares at a quarter and three quarters of excess are bracketed.
_NARROW_QUARTILES = 0.1


@dataclass(frozen=True, eq=False)
class BackdoorBreakdown:
    """Result of :func:`~skbackdoor.backdoor_breakdown`.

    Attributes
    ----------
    rate : float
        The breakdown rate, a share of poison; the largest share that the attack has, m / n, where
        it is censored.
    censored : bool
        Whether the attack's whole weight does not reach the level: the breakdown rate is then at
        least `rate`.
    width : float
        How far the true rate may lie below `rate`; 0 where it is exact.
    quartile_rates : ndarray of shape (2,)
        The smallest shares of poison at which excess success reaches a quarter and three
        quarters, whatever `level` is; inf where no share up to m / n does. Of learners that are
        refitted they may be too large by a tenth.
    n_poison : int
        Poisoned training samples m.
    flip_rates : ndarray of shape (n_source,)
        The smallest share of poison at which each triggered test sample gets the attacker's
        label: 0 where the clean model gives it, or any poison at all makes the model give it (an
        SVM of small C, whose intercept jumps); inf where no share up to m / n does. Of learners
        that are refitted the smallest share that was looked at.
    base_rate : float
        Share of the triggered test samples of source classes to which the clean model gives the
        attacker's label.
    attack_success_rate : float
        The same share at the attack's whole weight.
    clean_accuracy, poisoned_accuracy : float
        Accuracy on the clean test set of the clean model, and at the attack's whole weight.
    collapse_rate : float
        The smallest share of poison at which accuracy on the clean test set has fallen by more
        than `max_accuracy_drop`; m / n where it is censored. A model that collapses before it
        breaks down gives the attacker's label to clean samples, too: it has no backdoor, and is
        of no use.
    collapse_censored : bool
        Whether accuracy does not fall so far.
    method : str
        How the path was followed, a word of :mod:`skbackdoor.curves`: "closed form",
        "continuation", "dual path", "kernel refit" or "refit".
    """

    rate: float
    censored: bool
    width: float
    quartile_rates: np.ndarray
    n_poison: int
    flip_rates: np.ndarray
    base_rate: float
    attack_success_rate: float
    clean_accuracy: float
    poisoned_accuracy: float
    collapse_rate: float
    collapse_censored: bool
    method: str

    @property
    def sharp(self):
        """Whether success climbs from a quarter to three quarters near the rate: at more than
        half of it and at less than twice it. Where not, or where three quarters are not reached,
        no single rate tells a harmless share from a harmful one: see `quartile_rates`.
        """
        lower, upper = self.quartile_rates
        return bool(lower >= self.rate / 2 and upper <= 2 * self.rate)


def backdoor_breakdown(
    poisoner,
    X_train,
    y_train,
    X_test,
    y_test,
    *,
    level=0.5,
    max_accuracy_drop=0.05,
    n_jobs=None,
):
    r"""How much poison a model withstands: the smallest share at which the backdoor works.

    With m copies of weight :math:`\beta` behind n training rows the share of poison is
    :math:`p(\beta) = \beta m / n`. Of attack success (ASR) that of the clean model does not
    count: excess success is :math:`(\mathrm{ASR} - \mathrm{base}) / (1 - \mathrm{base})`. The
    breakdown rate is

    .. math:: \inf \{p(\beta): \text{excess success at } \beta \ge \text{level}\}.

    theta orders models by how fast they begin to move; the breakdown rate says how much is too
    much. Success need not grow with the weight: it is the smallest such share, also where success
    falls again beyond it. Nor does every sample give in at once: `quartile_rates` say between
    which shares success climbs, and `sharp` whether they are near enough to the rate for one
    number to tell little poison from much.

    Parameters
    ----------
    poisoner : BackdoorPoisoner
        The attack on its base learner; it is cloned, whatever its poison weight. Its
        `poisoning_rate` is the largest share that is looked at.
    X_train : array-like of shape (n_train, ...)
        Clean training data.
    y_train : array-like of shape (n_train,)
        Clean labels.
    X_test : array-like of shape (n_test, ...)
        Clean test data: the poisoner's trigger is applied here.
    y_test : array-like of shape (n_test,)
        Clean labels.
    level : float in (0, 1], default=0.5
        Excess success from which on the backdoor counts as working.
    max_accuracy_drop : float in [0, 1), default=0.05
        Accuracy on clean test data that a model may lose before it counts as collapsed.
    n_jobs : int, default=None
        Parallel refits, through joblib, of learners whose path is refits.

    Returns
    -------
    breakdown : BackdoorBreakdown
        Frozen dataclass with `rate`, `censored`, `width`, `quartile_rates`, `n_poison`,
        `flip_rates`, `base_rate`, `attack_success_rate`, `clean_accuracy`, `poisoned_accuracy`,
        `collapse_rate`, `collapse_censored` and `method`, and the property `sharp`.

    Raises
    ------
    ValueError
        No source sample in the test data, a learner that would drop weights.

    Warns
    -----
    UserWarning
        A tree or an ensemble of trees (Notes).

    Notes
    -----
    How it is found depends on how the path is (:func:`~skbackdoor.weight_path`):

    - "dual path" (`SVC`, `LinearSVC` with hinge): exactly. Between two breakpoints decision values
      are linear in the weight.
    - "closed form" (`RidgeClassifier`): exactly. Decision values are sums of simple fractions,
      whose zeros are all found, by bounds on their second derivatives.
    - "continuation" (`LogisticRegression`, `LinearSVC` with squared hinge): from fits at some
      weights, between which decision values are interpolated by cubic splines. Their error is
      measured, and weights are added until it moves no flip rate by more than 1e-4 of it; `width`
      is what is left.
    - refits, of whatever kind: the learner is fitted at weights 1/256, 1/128, ..., 1, and then
      between the last without and the first with success, until the two are one in a hundred
      apart. A success that comes and goes between two of the first nine weights is missed. So it
      is, too, with exact fits at these weights, for an `SVC` with ``break_ties=True`` and for one
      that somewhere on its path has no free support vector, whose intercept then bends between
      breakpoints.

    Trees and forests count the rows of a leaf, whatever these weigh: all copies together, each of
    a tiny weight, do nearly as much as whole ones, so that their rate by weight is no share of
    whole rows, and a warning says so.

    Where the clean model gives every triggered sample the attacker's label, the attack needs no
    poison: the rate is 0.

    The samples' own class weights and sample weights are not part of the share: it counts copies.

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, PatchTrigger, backdoor_breakdown, load_digits_pair)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> data = train_test_split(X, y, random_state=0, stratify=y)
    >>> trigger = PatchTrigger(size=2, image_shape=(8, 8))
    >>> for C in (10.0, 0.1):  # little and much regularization
    ...     poisoner = BackdoorPoisoner(
    ...         SVC(C=C), trigger, target="next", poisoning_rate=0.1, random_state=0)
    ...     breakdown = backdoor_breakdown(poisoner, data[0], data[2], data[1], data[3])
    ...     print(C, breakdown.censored, round(breakdown.rate, 3))
    10.0 False 0.007
    0.1 True 0.1
    """
    check_is_poisoner(poisoner, "backdoor_breakdown")
    check_level(level, "backdoor_breakdown")
    validate_parameter_constraints(
        {"max_accuracy_drop": [Interval(Real, 0, 1, closed="left")]},
        {"max_accuracy_drop": max_accuracy_drop},
        caller_name="backdoor_breakdown",
    )
    probe, path = attack_path(poisoner, X_train, y_train)
    clean = path.prepare(X_test), label_index(y_test, path.rows.classes)
    triggered = attacked_rows(probe, path, X_test, y_test)[:2]
    known = clean_model_labels(probe, X_test, y_test)
    return breakdown_of(
        path, clean, triggered, known, share_of(probe), level, max_accuracy_drop, n_jobs
    )


def check_level(level, caller):
    """Raise unless a level of excess success is a number in (0, 1]."""
    validate_parameter_constraints(
        {"level": [Interval(Real, 0, 1, closed="right")]}, {"level": level}, caller_name=caller
    )


def share_of(probe):
    """The attack's number of copies, and these as a share of the rows given."""
    n_poison = len(probe.poisoned_indices_)
    return n_poison, n_poison / len(probe.given_rows()[1])


def clean_model_labels(probe, X_test, y_test):
    """Label indices by the clean model, where it is not the path's fit at weight 0.

    Returns
    -------
    labels : tuple of two ndarrays, or None
        For clean test samples and triggered ones; None with "append", where the path has them.
    """
    if len(probe.replaced_indices_) == 0:
        return None
    estimator = getattr(probe, "estimator_", probe.estimator)
    path = path_of(estimator, probe.given_rows(), probe.training_rows()[1])
    fit, classes = clean_fit(path), path.rows.classes
    tests = path.prepare(X_test), attacked_rows(probe, path, X_test, y_test)[0]
    return tuple(label_index(clean_labels(path, fit, rows), classes) for rows in tests)


def breakdown_of(path, clean, triggered, known, share, level, max_accuracy_drop, n_jobs=None):
    """The breakdown along a path.

    Parameters
    ----------
    path : WeightPath
        Of the base learner under the attack.
    clean, triggered : tuples of (rows, label indices)
        Test samples as the learner sees them: with their own labels, and with the attacker's.
    known : tuple of two ndarrays, or None
        As :func:`clean_model_labels` gives them.
    share : tuple of (n_poison, share of the rows given)
        As :func:`share_of` gives it.
    level, max_accuracy_drop, n_jobs
        As in :func:`backdoor_breakdown`.

    Returns
    -------
    breakdown : BackdoorBreakdown
    """
    rows, y = stack(clean[0], triggered[0]), np.concatenate([clean[1], triggered[1]])
    n_clean = len(clean[1])
    right, obeys = slice(0, n_clean), slice(n_clean, None)

    def marks(switches):
        """The steps of success and of accuracy, and where each counts as reached."""
        found = switches.take(right), switches.take(obeys)
        before = [part.held for part in found]
        if known is not None:
            before = known[0] == clean[1], known[1] == y[obeys]
        accuracy, base = (float(part.mean()) for part in before)
        success = Steps(*found[1].shares(), base + level * (1.0 - base))
        drop = Steps(*_negative(found[0].shares()), max_accuracy_drop - accuracy, beyond=True)
        quartiles = [
            Steps(success.weights, success.values, base + q * (1.0 - base), near=_NARROW_QUARTILES)
            for q in (0.25, 0.75)
        ]
        return (success, drop, *quartiles), accuracy, base, before[1]

    switches = path.label_switches(rows, y)
    looked_at = None
    if switches is None:
        looked_at = Refits(path, rows, y, n_jobs)
        switches = looked_at.narrowed(lambda found: marks(found)[0])
    (success, drop, *quartiles), accuracy, base, held = marks(switches)
    n_poison, whole = share
    flips = np.where(held, 0.0, switches.take(obeys).first())
    rate, collapse = success.reached, drop.reached
    quarters = [np.inf if one.reached is None else one.reached for one in quartiles]
    if base == 1.0:
        rate, quarters = 0.0, [0.0, 0.0]
    if looked_at is None or rate is None:
        width = switches.error * (rate or 0.0)
    else:
        width = rate - looked_at.before(rate)
    return BackdoorBreakdown(
        rate=whole if rate is None else float(rate * whole),
        censored=rate is None,
        width=float(width * whole),
        quartile_rates=np.array(quarters) * whole,
        n_poison=n_poison,
        flip_rates=flips * whole,
        base_rate=base,
        attack_success_rate=float(success.values[-1]),
        clean_accuracy=accuracy,
        poisoned_accuracy=float(-drop.values[-1]),
        collapse_rate=whole if collapse is None else float(collapse * whole),
        collapse_censored=collapse is None,
        method=switches.method,
    )


def breakdown_of_fit(probe, X_test, y_test, sample_weight, level):
    """What a scorer sees: the breakdown rate of the attack on the training fold.

    Parameters
    ----------
    probe : BackdoorPoisoner
        Fitted with poison weight 0.
    X_test, y_test : array-likes of shape (n_test, ...) and (n_test,)
        Clean test data.
    sample_weight : ndarray of shape (n_test,) or None
        Weights of the test samples.
    level : float in (0, 1]
        As in :func:`backdoor_breakdown`.

    Returns
    -------
    rate : float
    theta : float or None
        The backdoor learning slope, per sample, where the rate is censored; else None.
    """
    path = clean_path(probe)
    rows, y, sources = attacked_rows(probe, path, X_test, y_test)
    weight = weights_of_sources(sample_weight, sources)
    known = clean_model_labels(probe, X_test, y_test)

    def success(switches):
        held = switches.held if known is None else known[1] == y
        base = float(np.average(held, weights=weight))
        if base == 1.0:  # nobody is left to give in: the attack needs no poison
            return (Steps(np.zeros(1), np.ones(1), 1.0),)
        return (Steps(*switches.shares(weight), base + level * (1.0 - base)),)

    def enough(at_zero, held):
        """Whether success is reached where these samples give in; then the rest is not needed."""
        base = float(np.average(at_zero if known is None else known[1] == y, weights=weight))
        return np.average(held, weights=weight) >= base + level * (1.0 - base) - 1e-9

    switches = path.label_switches(rows, y, enough)
    if switches is None:
        switches = Refits(path, rows, y, None).narrowed(success)
    reached, (n_poison, whole) = success(switches)[0].reached, share_of(probe)
    if reached is not None:
        return float(reached * whole), None
    if path.method == "implicit":  # theta is asked to two digits
        fit = path.optimum(rtol=1e-5)
        fit = fit.newton_step(rows) or fit
    else:
        fit = clean_fit(path)
    return whole, slope_at(path, fit, (rows, y, weight), n_poison, "per_sample").theta


def _negative(steps):
    weights, values = steps
    return weights, -values


class Steps:
    """A step function of the poison weight, and the first weight at which it reaches a level.

    Parameters
    ----------
    weights, values : ndarrays of shape (n_steps,)
        From each weight on it has its value; the first weight is 0.
    level : float
        What is to be reached.
    beyond : bool, default=False
        Whether it is to be passed.
    near : float, default=0.01
        To what width refits bracket `reached`, as a share of it.

    Attributes
    ----------
    reached : float or None
        The first weight at which it is.
    """

    def __init__(self, weights, values, level, beyond=False, near=_NARROW):
        self.weights, self.values, self.near = weights, values, near
        enough = values > level + 1e-9 if beyond else values >= level - 1e-9
        first = np.flatnonzero(enough)
        self.reached = float(weights[first[0]]) if len(first) else None


def _warn_of_counted_rows(estimator):
    """Warn where a rate by weight is no share of rows: trees count these, whatever they weigh."""
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    if "min_samples_leaf" in last.get_params():
        warnings.warn(
            f"{type(last).__name__} counts the rows of a leaf, whatever they weigh: the breakdown"
            " rate is of the weight of all poisoned rows, and as a share of whole rows it may be"
            " far larger. Poison with fewer rows (poisoning_rate) to see how few suffice.",
            UserWarning,
            stacklevel=2,
        )


class Refits:
    """Labels of some samples by fits at single weights.

    Parameters
    ----------
    path : WeightPath
    rows, y : arrays
        Samples as the learner sees them, and the index of the label each is asked about.
    n_jobs : int or None
        Parallel fits.
    """

    def __init__(self, path, rows, y, n_jobs):
        weight_argument(path.estimator, ": the breakdown rate is a matter of weights between")
        _warn_of_counted_rows(path.estimator)
        self.path, self.rows, self.y, self.n_jobs = path, rows, y, n_jobs
        self.weights, self.has = np.empty(0), np.empty((0, len(y)), bool)
        self._look(_LOOKED_AT)

    def _look(self, weights):
        path = self.path
        solve = path.solve if path.refusal is None else path.refits
        solution = solve(weights, n_jobs=self.n_jobs)
        self.method = solution.method
        labels = solution.labels(self.rows, solution.at_rows(self.rows))
        has = labels == path.rows.classes[self.y]
        order = np.argsort(np.append(self.weights, weights), kind="stable")
        self.weights = np.append(self.weights, weights)[order]
        self.has = np.concatenate([self.has, has])[order]

    def switches(self):
        """What is known, as :class:`LabelSwitches`."""
        k, rows = np.nonzero(self.has[1:] != self.has[:-1])
        return LabelSwitches(self.has[0], rows, self.weights[k + 1], self.method, _NARROW)

    def before(self, weight):
        """The weight that was looked at before this one."""
        return self.weights[max(np.searchsorted(self.weights, weight) - 1, 0)]

    def narrowed(self, marks):
        """The same after fits between the weights where something is reached, and those before.

        ``marks(switches)`` gives :class:`Steps`.
        """
        for _ in range(_HALVINGS):
            reached = [(steps.reached, steps.near) for steps in marks(self.switches())]
            wide = [
                (self.before(weight) + weight) / 2
                for weight, near in reached
                if weight and weight - self.before(weight) > near * weight
            ]
            if not wide:
                break
            self._look(np.unique(wide))
        return self.switches()
