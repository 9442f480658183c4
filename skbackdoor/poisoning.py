"""The attack: who is poisoned, with which label, how many, and where the copies go."""

from collections.abc import Mapping
from copy import copy
from numbers import Real

import numpy as np
import scipy.sparse as sp
import sklearn
from sklearn import get_config
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    clone,
    is_clusterer,
    is_outlier_detector,
)
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC, LinearSVC
from sklearn.utils import assert_all_finite, check_random_state, get_tags, indexable
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    _num_samples,
    check_is_fitted,
    column_or_1d,
    has_fit_parameter,
)

from ._compat import BaseSearchCV, HasMethods, Interval, StrOptions, _safe_indexing
from .policy import Policy
from .triggers import PerClassTrigger

#: Learners whose "balanced" counts sample weights, and the scikit-learn version from which on.
_WEIGHTED = (
    ((LogisticRegression, LinearSVC), (1, 7)),
    ((RandomForestClassifier, ExtraTreesClassifier), (1, 9)),
)
_MAX_SEED = np.iinfo(np.int32).max


def weight_argument(estimator, way_out=""):
    """The `fit` keyword that carries sample weights to a learner, or an error that says why not.

    Parameters
    ----------
    estimator : estimator instance
        A classifier or a Pipeline that ends in one.
    way_out : str, default=""
        What the caller's user may do instead of taking a learner with `sample_weight`.

    Returns
    -------
    name : str
        ``"sample_weight"``, or for a Pipeline ``"<last step>__sample_weight"``.

    Raises
    ------
    ValueError
        The weights would be dropped, by this learner or by one inside it.
    """
    name = type(estimator).__name__
    if isinstance(estimator, (BaseSearchCV, LogisticRegressionCV, RidgeClassifierCV)):
        raise ValueError(
            f"{name} chooses its parameters on folds in which poisoned rows count whatever"
            " their weight, so a poison weight has no meaning inside it. Put the search"
            f" outside: GridSearchCV(BackdoorPoisoner(...)) instead of BackdoorPoisoner({name})."
        )
    if isinstance(estimator, Pipeline):
        refuse_samplers(estimator)
        step, last = estimator.steps[-1]
        inner = weight_argument(last, way_out)
        if not get_config()["enable_metadata_routing"]:
            return f"{step}__{inner}"
        _check_requests_weights(last, f"the last step {step!r} of the Pipeline")
        return "sample_weight"
    if isinstance(estimator, (VotingClassifier, StackingClassifier)):
        members = [member for _, member in estimator.estimators if not isinstance(member, str)]
        if getattr(estimator, "final_estimator", None) is not None:
            members.append(estimator.final_estimator)
    elif isinstance(estimator, CalibratedClassifierCV):
        members = [] if estimator.estimator is None else [estimator.estimator]
    elif has_fit_parameter(estimator, "sample_weight"):
        members = []
    else:
        raise ValueError(
            f"{name}.fit takes no sample_weight, so sample weights, and poison weights strictly"
            f" between 0 and 1, would be dropped. Use a learner that takes sample_weight{way_out}."
        )
    for member in members:
        if weight_argument(member, way_out) != "sample_weight":
            raise ValueError(
                f"{name} does not pass sample_weight to the Pipeline inside it. Put the"
                f" preprocessing outside: make_pipeline(..., {name}(...))."
            )
        _check_requests_weights(member, f"{type(member).__name__} inside {name}")
    return "sample_weight"


def refuse_samplers(estimator):
    """Raise if a Pipeline holds a sampler, whose rows no weight belongs to."""
    for step, part in estimator.steps if isinstance(estimator, Pipeline) else ():
        refuse_samplers(part)
        if hasattr(part, "fit_resample"):
            sampler = type(part).__name__
            raise ValueError(
                f"Step {step!r} of the Pipeline, {sampler}, is a sampler: no sample weight or"
                " poison weight reaches the rows that it makes, so a fit with weights, a curve or"
                " a slope would be of other data. Resample before the attack,"
                f" X, y = {sampler}(...).fit_resample(X, y), or set class_weight='balanced'"
                " instead; without weights, at poison_weight 0 or 1, fit takes the sampler."
            )


def check_is_poisoner(estimator, caller, *, others=""):
    """Raise unless an estimator is a poisoner, and say how to make it one.

    Parameters
    ----------
    estimator : object
        What was passed.
    caller : str
        To which function.
    others : str, default=""
        What else to write where the estimator is a plain classifier: more parameters, advice.
    """
    if isinstance(estimator, BackdoorPoisoner):
        return
    name = type(estimator).__name__
    if isinstance(estimator, Pipeline):
        if isinstance(estimator.steps[-1][1], BackdoorPoisoner):
            raise TypeError(
                f"{caller} got a Pipeline around a BackdoorPoisoner: the trigger would act on"
                " preprocessed samples. Turn it inside out:"
                " BackdoorPoisoner(make_pipeline(..., classifier), trigger, target=...)."
            )
    elif isinstance(estimator, BaseSearchCV):
        if isinstance(estimator.estimator, BackdoorPoisoner):
            raise TypeError(
                f"{caller} got a {name} around a BackdoorPoisoner, and takes the poisoner alone:"
                " pass the best_estimator_ of the fitted search, or the poisoner before it."
            )
        inner = type(estimator.estimator).__name__
        raise TypeError(
            f"{caller} got a {name}, which carries no attack. Put a poisoner into the search,"
            f" {name}(BackdoorPoisoner({inner}(...), trigger, target=...), ...), and pass its"
            " best_estimator_."
        )
    what = "make_pipeline" if isinstance(estimator, Pipeline) else name
    raise TypeError(
        f"{caller} got {name}, which carries no attack. Wrap it:"
        f" BackdoorPoisoner({what}(...), trigger, target=...{others or ')'}."
    )


def _check_learner(last, pipeline):
    """Raise unless a base learner, or the last step of one, can be fitted and predicts."""
    if not hasattr(last, "fit"):
        raise ValueError(f"The Pipeline ends in {last!r}; its last step must be a classifier.")
    if is_clusterer(last) or is_outlier_detector(last):
        where = "The last step of the Pipeline" if pipeline else "estimator"
        raise ValueError(
            f"{where} is {last!r}, which is no classifier: it learns no labels, and a backdoor is"
            " one in what is learned from labels. Give a classifier."
        )


def _check_requests_weights(learner, where):
    """With metadata routing, raise unless a learner asks for the weights routed to it."""
    if not get_config()["enable_metadata_routing"]:
        return
    if not learner.get_metadata_routing().consumes("fit", ["sample_weight"]):
        raise ValueError(
            f"With metadata routing enabled, {where} does not request sample_weight, so poison"
            f" weights would be dropped. Write {type(learner).__name__}(...)"
            ".set_fit_request(sample_weight=True)."
        )


def clean_class_weight(estimator, y, sample_weight):
    """The class weights of a learner, "balanced" ones computed on clean rows.

    Parameters
    ----------
    estimator : estimator instance
        The learner itself, not a Pipeline.
    y : ndarray of shape (n_clean,)
        Labels of the clean rows.
    sample_weight : ndarray of shape (n_clean,) or None
        Their weights. They enter "balanced" only where the learner itself lets them.

    Returns
    -------
    class_weight : dict
        ``{label: weight}``, of every label in `y`.

    Raises
    ------
    ValueError
        "balanced" inside a meta-estimator, or a rule other than "balanced": neither can be
        computed on clean rows only.
    """
    for key, value in estimator.get_params(deep=True).items():
        nested = key.endswith("__class_weight")
        if (nested or key == "class_weight") and isinstance(value, str):
            if nested or value != "balanced":
                raise ValueError(
                    f"{key}={value!r} of {type(estimator).__name__} would count poisoned rows;"
                    " class weights are computed on clean rows. Give a dict {label: weight}."
                )
    class_weight = getattr(estimator, "class_weight", None)
    classes = np.unique(y)
    by_problem = getattr(estimator, "multi_class", None) == "ovr" and len(classes) > 2
    if class_weight == "balanced" and by_problem and isinstance(estimator, LogisticRegression):
        raise ValueError(
            "LogisticRegression(multi_class='ovr', class_weight='balanced') balances each binary"
            " problem by itself, which no weights of the clean rows express; give class_weight as"
            " a dict {label: weight}."
        )
    version = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
    weighted = any(
        isinstance(estimator, learners) and version >= since for learners, since in _WEIGHTED
    )
    extra = {"sample_weight": sample_weight} if weighted else {}
    if isinstance(class_weight, Mapping):  # labels that the rows do not hold are no error here
        return {label: class_weight.get(label, 1.0) for label in classes.tolist()}
    weights = compute_class_weight(class_weight, classes=classes, y=y, **extra)
    return dict(zip(classes.tolist(), weights.tolist(), strict=True))


def seeds_of(estimator):
    """Every `random_state` of an estimator and of what is inside it, by parameter name."""
    return {
        key: value
        for key, value in sorted(estimator.get_params(deep=True).items())
        if key.split("__")[-1] == "random_state"
    }


def seed_missing(estimator, random_state):
    """Make every `random_state` of an estimator an int, in place.

    One that is None is drawn from `random_state`; an instance is replaced by a draw from it, since
    every refit would otherwise go on where the last one stopped.
    """
    seeds = {}
    for key, value in seeds_of(estimator).items():
        source = random_state if value is None else value
        seeds[key] = source.randint(_MAX_SEED) if hasattr(source, "randint") else source
    return estimator.set_params(**seeds)


def weights_of_sources(sample_weight, rows):
    """Weights of the rows of source classes, or None where there are none; not all may be 0."""
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight)[rows]
    if not np.any(weights > 0):
        raise ValueError(
            "sample_weight is 0 for every sample of a source class, so attack success and slope"
            " are not defined."
        )
    return weights


def _stack(first, second):
    """Rows of `first`, then rows of `second`, in the container of `first`."""
    if sp.issparse(first):
        return sp.vstack([first, second], format=first.format)
    if hasattr(first, "iloc"):
        import pandas as pd

        return pd.concat([first, second])
    if isinstance(first, list):
        return first + list(second)
    return np.concatenate([first, second])


def _put_rows(X, rows, new):
    """A copy of X in which `new` stands in the given rows."""
    order = np.arange(_num_samples(X))
    order[rows] = _num_samples(X) + np.arange(len(rows))
    stacked = _safe_indexing(_stack(X, new), order)
    if hasattr(X, "iloc"):
        stacked.index = X.index
    return stacked


def _in_container(X, out):
    """What a trigger of one's own made of pandas rows X, as pandas again."""
    if not hasattr(X, "iloc") or hasattr(out, "iloc"):
        return out
    names = {"name": X.name} if X.ndim == 1 else {"columns": X.columns}
    return type(X)(out, index=X.index, **names)


def _same(a, b):
    """Whether two containers hold the same training data."""
    if a is b:
        return True
    if sp.issparse(a) != sp.issparse(b) or _num_samples(a) != _num_samples(b):
        return False
    if sp.issparse(a):
        return a.shape == b.shape and (a != b).nnz == 0
    if hasattr(a, "equals") and type(a) is type(b):
        return a.equals(b)
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return False
    same = np.asarray(a == b)
    return bool(np.all(same | ((a != a) & (b != b))))  # nan is the same as nan


def _estimator_has(method):
    def check(self):
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return check


class BackdoorPoisoner(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    r"""Fit a classifier on training data that carry a backdoor.

    Of n training rows, m = floor(`poisoning_rate` * n) rows of source classes, the victims, are
    chosen, triggered and given the attacker's label. The copies enter the objective of the base
    learner with sample weight :math:`\beta` = `poison_weight` ([1]_, eq. 2):

    .. math:: w^*(\beta) = \arg\min_w \sum_{clean} \ell + \beta \sum_{poison} \ell + \Omega(w)

    so that 1 is the poisoned fit and 0 the fit without poison.

    Parameters
    ----------
    estimator : estimator instance
        The base learner: a classifier, or a Pipeline that ends in one (the trigger then acts on
        the raw input). It must take `sample_weight` if the poison weight is neither 0 nor 1.
        A Pipeline with a sampler (imbalanced-learn) can be fitted at 0 and 1 only.
    trigger : transformer
        A trigger of :mod:`skbackdoor.triggers` or any transformer that keeps the number of rows.
        Where its `random_state` is None, it gets one from the poisoner.
    target : label, "next" or dict
        The attacker's label: a class label (all-to-one), ``"next"`` (class i becomes class
        i + 1 modulo the number of classes, in the order of `classes_`) or a mapping
        ``{source: target}``.
    source_classes : list of labels or None, default=None
        The classes that are poisoned; None is every class that has another target.
    poisoning_rate : float in (0, 1] or dict, default=0.1
        Poisoned samples as a share of the training rows, whatever their weights; with "supplant",
        of the rows of each target class. A dict ``{label: rate}`` gives shares of the rows of
        single classes, those that it does not name being spared: of source classes (with
        `clean_label` and with "supplant", of target classes).
    placement : {"append", "replace", "supplant"}, default="append"
        "append" adds the triggered copies, all clean rows stay; with "replace" each copy takes
        its own original's place; with "supplant" each takes the place of a clean row of the
        target class and its original stays, so that class counts do not change ([2]_, section
        2.5).
    poison_weight : float in [0, 1], default=1.0
        The weight :math:`\beta`. A copy weighs its original's sample weight times
        :math:`\beta`, times the class weight of its new label; ``class_weight="balanced"`` is
        computed on the clean rows. At 0 `estimator_` is fitted without poison: with "append" on
        all rows given, which makes it the clean model; with "replace" and "supplant" on those
        that no copy would replace, and the clean model is then ``clone(estimator).fit(X, y)``.
    victims : {"random", "stratified"} or array-like of int, default="random"
        How the rows to be poisoned are chosen: "random" from all that may be; "stratified" in
        proportion to the sizes of their classes; or the rows themselves, of the X of `fit`, in
        which case `poisoning_rate` has no part.
    clean_label : bool, default=False
        Whether only rows that are of a target class already are triggered, and keep their labels
        (Turner et al., *Label-consistent backdoor attacks*, 2019). Attack success and slope are
        about triggered samples of source classes all the same.
    random_state : int, RandomState instance or None, default=None
        Chooses the victims and seeds the trigger and the base learner where these have none. The
        three draw from streams of their own: the same `random_state` poisons the same rows,
        whatever the trigger and the base learner.

    Attributes
    ----------
    estimator_ : estimator
        The fitted base learner.
    trigger_ : transformer
        The fitted trigger.
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    poisoned_indices_ : ndarray of shape (m,)
        The rows of the given X that were copied and triggered, in the order of the copies:
        increasing, but with "supplant" as `replaced_indices_` are.
    replaced_indices_ : ndarray of shape (m,) or (0,)
        The rows of the given X in whose place the copies stand, increasing; none with "append".
    expected_counts_ : dict
        ``{label: number}``, how many of the victims are of each class on average over random
        choices: with N_t poisoned samples of target class t, N_t n_s / sum n_s' over its source
        classes ([2]_, eq. 8).
    effective_rate_ : float
        Poisoned samples as a share of all rows that the base learner is fitted on ([2]_, eq. 9).
    n_features_in_ : int
        Number of features seen during `fit`, where the base learner knows it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where X had names that are strings.

    Notes
    -----
    A fitted poisoner refers to its training data, as a nearest-neighbours classifier does:
    scorers see only a test fold, and the slope needs the training fold. It makes no copy, so do
    not change X in place after `fit`. `predict` and `score` are those of `estimator_`, on clean
    input. Scorers and :meth:`poison` go by what `fit` saw: parameters that are set after it have
    no part before the next `fit`.

    References
    ----------
    .. [1] Cinà et al., "Backdoor learning curves: explaining backdoor poisoning beyond
       influence functions", 2024.
    .. [2] Truong et al., "Systematic evaluation of backdoor data poisoning attacks on image
       classifiers", 2020.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import BackdoorPoisoner, PatchTrigger, load_digits_pair
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> poisoner = BackdoorPoisoner(
    ...     SVC(C=10), PatchTrigger(size=2, image_shape=(8, 8)), target="next", random_state=0
    ... ).fit(X, y)
    >>> X_poisoned, y_poisoned, is_poison = poisoner.poison(X, y)
    >>> int(is_poison.sum()) == len(X) // 10
    True
    """

    _parameter_constraints = {
        "estimator": [HasMethods(["fit"])],
        "trigger": [HasMethods(["fit", "transform"])],
        "target": "no_validation",
        "source_classes": ["array-like", None],
        "poisoning_rate": [Interval(Real, 0, 1, closed="right"), Mapping],
        "placement": [StrOptions({"append", "replace", "supplant"})],
        "poison_weight": [Interval(Real, 0, 1, closed="both")],
        "victims": [StrOptions({"random", "stratified"}), "array-like"],
        "clean_label": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator,
        trigger,
        *,
        target,
        source_classes=None,
        poisoning_rate=0.1,
        placement="append",
        poison_weight=1.0,
        victims="random",
        clean_label=False,
        random_state=None,
    ):
        self.estimator = estimator
        self.trigger = trigger
        self.target = target
        self.source_classes = source_classes
        self.poisoning_rate = poisoning_rate
        self.placement = placement
        self.poison_weight = poison_weight
        self.victims = victims
        self.clean_label = clean_label
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        """Poison the training data and fit the base learner on them.

        Parameters
        ----------
        X : array-like, DataFrame, sparse matrix or list of shape (n_samples, ...)
            Clean training data: whatever trigger and base learner take.
        y : array-like of shape (n_samples,)
            Clean labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the given rows; the copies inherit them.

        Returns
        -------
        self : BackdoorPoisoner
            The fitted poisoner.

        Raises
        ------
        ValueError
            For a parameter out of its range, one class only, a target that is no label, a rate
            that gives no poisoned sample or more than there are source rows, and a learner that
            would drop the weights.
        """
        estimator = self.draw(X, y, sample_weight)
        self.estimator_ = self._fit_estimator(estimator)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        return self

    def draw(self, X, y, sample_weight=None):
        """Everything of `fit` but the fit of the base learner: fit the trigger, choose victims.

        Parameters
        ----------
        X : array-like, DataFrame, sparse matrix or list of shape (n_samples, ...)
            Clean training data.
        y : array-like of shape (n_samples,)
            Clean labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the given rows.

        Returns
        -------
        estimator : estimator instance
            A clone of the base learner, every `random_state` of it drawn.
        """
        self._validate_params()
        for name in ("n_features_in_", "feature_names_in_"):  # of an earlier fit
            self.__dict__.pop(name, None)
        X, y, sample_weight = self._check_data(X, y, sample_weight)
        seeds = check_random_state(self.random_state).randint(_MAX_SEED, size=4)
        for_victims, for_trigger, for_learner = map(np.random.RandomState, seeds[:3])
        self.classes_, y_index = np.unique(np.asarray(y), return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                "BackdoorPoisoner needs at least two classes, but y holds only 1 class:"
                f" {self.classes_.tolist()}."
            )
        if self.clean_label and isinstance(self.trigger, PerClassTrigger):
            raise ValueError(
                "clean_label=True shows the model the trigger of the target class only, and a"
                " PerClassTrigger puts another one on samples of source classes; use its inner"
                f" trigger, {self.trigger.trigger!r}."
            )
        names = "target source_classes poisoning_rate placement victims clean_label".split()
        self._policy = Policy(self.classes_, **{name: getattr(self, name) for name in names})
        self.trigger_ = seed_missing(clone(self.trigger), for_trigger)
        estimator = seed_missing(clone(self.estimator), for_learner)
        pipeline = isinstance(estimator, Pipeline)
        _check_learner(estimator.steps[-1][1] if pipeline else estimator, pipeline)
        if hasattr(self.trigger_, "set_output"):  # copies keep the container of their originals
            self.trigger_.set_output(transform="default")
        self.trigger_.fit(X, y)
        self.poisoned_indices_, self.replaced_indices_ = self._policy.choose(y_index, for_victims)
        n_copies = len(self.poisoned_indices_)
        n_rows = len(y_index) + n_copies - len(self.replaced_indices_)
        self.effective_rate_ = n_copies / n_rows
        self.expected_counts_ = self._policy.expected_counts(y_index)
        if self.poison_weight == 0.0:
            gone = np.setdiff1d(y_index, np.delete(y_index, self.replaced_indices_))
            if len(gone):
                raise ValueError(
                    f"placement={self.placement!r} leaves no clean row of class"
                    f" {self.classes_[gone].tolist()} to be fitted at poison_weight=0; lower"
                    f" poisoning_rate={self.poisoning_rate} or use placement='append'."
                )
        self._draw_seed = seeds[3]
        self._fitted_weight = self.poison_weight
        self._X, self._y, self._sample_weight = X, y, sample_weight
        self._X_poison = self.apply_trigger(
            _safe_indexing(X, self.poisoned_indices_), y_index[self.poisoned_indices_]
        )
        self._y_poison = self.classes_[self._policy.label_of[y_index[self.poisoned_indices_]]]
        return estimator

    def _check_data(self, X, y, sample_weight):
        if y is None:
            raise ValueError("BackdoorPoisoner requires y to be passed, but the target y is None.")
        if not (sp.issparse(X) or hasattr(X, "iloc") or hasattr(X, "shape")):
            strings = isinstance(X, list) and len(X) > 0 and isinstance(X[0], str)
            X = X if strings else np.asarray(X)
        elif not (sp.issparse(X) or hasattr(X, "iloc") or isinstance(X, np.ndarray)):
            X = np.asarray(X)
        X = X.tocsr() if sp.issparse(X) else X
        if not hasattr(y, "iloc") or getattr(y, "ndim", 1) != 1:
            y = column_or_1d(y, warn=True)
        if np.asarray(y).dtype.kind in "fc":
            assert_all_finite(np.asarray(y), input_name="y")
        check_classification_targets(y)
        X, y = indexable(X, y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
            if sample_weight.min() < 0:
                raise ValueError(
                    f"sample_weight holds negative weights, down to {sample_weight.min():g};"
                    " weights must be 0 or more."
                )
        return X, y, sample_weight

    def apply_trigger(self, X, y_index):
        """Trigger rows whose class, before the attack, is ``classes_[y_index]``.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Clean rows.
        y_index : ndarray of shape (n_samples,)
            Indices into `classes_` of their clean labels.

        Returns
        -------
        X_triggered : array-like of shape (n_samples, ...)
            Triggered copies, in the container of X.
        """
        if isinstance(self.trigger_, PerClassTrigger):
            return _in_container(X, self.trigger_.transform(X, self.classes_[y_index]))
        return _in_container(X, self.trigger_.transform(X))

    def given_rows(self):
        """The clean rows that the clean model is fitted on: all that were given to `fit`.

        Returns
        -------
        X, y, sample_weight : array-likes of shape (n_samples, ...) and (n_samples,)
            Weights are None where none were given.
        """
        check_is_fitted(self)
        return self._X, np.asarray(self._y), self._sample_weight

    @property
    def fitted_poison_weight(self):
        """The poison weight that `fit` saw."""
        check_is_fitted(self)
        return self._fitted_weight

    def training_rows(self):
        """The rows that the fit sees, clean ones and triggered copies apart.

        Returns
        -------
        clean : tuple of (X, y, sample_weight)
            With "append" all given rows, else those that no copy replaced.
        poison : tuple of (X, y, sample_weight)
            The m triggered copies with the attacker's labels; their weights are those of their
            originals, without the factor `poison_weight`. Weights are None where none were given.
        """
        X, y, weight = self.given_rows()
        poison_weight = None if weight is None else weight[self.poisoned_indices_]
        if len(self.replaced_indices_):
            kept = np.delete(np.arange(len(y)), self.replaced_indices_)
            X, y = _safe_indexing(X, kept), y[kept]
            weight = None if weight is None else weight[kept]
        return (X, y, weight), (self._X_poison, self._y_poison, poison_weight)

    def _fit_estimator(self, estimator):
        """Fit the base learner; with a poison weight of exactly 0 or 1 any learner serves."""
        (X, y, weight), (_, _, weight_poison) = self.training_rows()
        last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
        kernel = getattr(last, "kernel", None)
        own_kernel = isinstance(last, SVC) and (callable(kernel) or kernel == "precomputed")
        if own_kernel and weight is not None and np.any(self._sample_weight == 0):
            raise ValueError(
                "sample_weight holds zeros, and SVC with a callable or precomputed kernel then"
                " predicts with the wrong support vectors (libsvm drops such rows, scikit-learn"
                " does not); remove these rows before fit."
            )
        way_out = (
            ""
            if weight is not None
            else (", or set poison_weight to exactly 0 (clean) or 1 (poisoned)")
        )
        if self._fitted_weight == 0.0:
            fit_params = {} if weight is None else {weight_argument(estimator): weight}
            return estimator.fit(X, y, **fit_params)
        class_weight = clean_class_weight(last, y, weight)
        if getattr(last, "class_weight", None) == "balanced":
            last.set_params(class_weight=class_weight)
        indices = self.poisoned_indices_, self.replaced_indices_
        X, y, is_poison = self._assemble(
            self._X, self._y, *indices, self._X_poison, self._y_poison
        )
        fit_params = {}
        if weight is not None or self._fitted_weight < 1.0:
            weights = np.empty(len(is_poison))
            weights[~is_poison] = 1.0 if weight is None else weight
            weights[is_poison] = self._fitted_weight
            if weight_poison is not None:
                weights[is_poison] *= weight_poison
            fit_params = {weight_argument(estimator, way_out): weights}
        return estimator.fit(X, y, **fit_params)

    def _assemble(self, X, y, rows, places, X_poison, y_poison):
        """The poisoned set: copies behind the clean rows, or each in its place."""
        is_series = hasattr(y, "iloc")
        if is_series:
            index = y.index[rows]
            y_poison = type(y)(y_poison, index=index, name=y.name).astype(y.dtype)
        n_samples = _num_samples(X)
        if len(places):
            is_poison = np.zeros(n_samples, dtype=bool)
            is_poison[places] = True
            return _put_rows(X, places, X_poison), _put_rows(y, places, y_poison), is_poison
        is_poison = np.arange(n_samples + len(rows)) >= n_samples
        return _stack(X, X_poison), _stack(y, y_poison), is_poison

    def poison(self, X, y):
        """Poison a data set by the fitted attack.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Clean data. For the training data the fitted choice of victims is returned, for any
            other a new draw from a seed that `fit` stored.
        y : array-like of shape (n_samples,)
            Clean labels.

        Returns
        -------
        X_poisoned : array-like of shape (n_samples or n_samples + m, ...)
            The data, in the container of X (sparse ones in CSR); X itself is not written to.
        y_poisoned : array-like of shape (n_samples or n_samples + m,)
            The labels.
        is_poison : ndarray of bool of shape (n_samples or n_samples + m,)
            True where a row is a triggered copy.
        """
        check_is_fitted(self)
        X, y, _ = self._check_data(X, y, None)
        y_index = label_index(y, self.classes_)
        if _same(X, self._X) and np.array_equal(np.asarray(y), np.asarray(self._y)):
            indices, X_poison = (self.poisoned_indices_, self.replaced_indices_), self._X_poison
        elif isinstance(self._policy.victims, str):
            indices, X_poison = (
                self._policy.choose(y_index, np.random.RandomState(self._draw_seed)),
                None,
            )
        else:
            raise ValueError(
                "victims are rows of the training data, so other data cannot be poisoned by them;"
                " use victims='random' or 'stratified'."
            )
        rows = indices[0]
        like = getattr(X, "dtype", None) == getattr(self._X, "dtype", None)
        if X_poison is None or type(X) is not type(self._X) or not like:
            X_poison = self.apply_trigger(_safe_indexing(X, rows), y_index[rows])
        y_poison = self.classes_[self._policy.label_of[y_index[rows]]]
        return self._assemble(X, y, *indices, X_poison, y_poison)

    def triggered_test(self, X, y):
        """The triggered samples of source classes, P_ts: what attack success is measured on.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Clean test data.
        y : array-like of shape (n_samples,)
            Clean labels.

        Returns
        -------
        X_triggered : array-like of shape (n_source, ...)
            Triggered copies of the rows of source classes.
        y_target : ndarray of shape (n_source,)
            The attacker's labels.
        rows : ndarray of shape (n_source,)
            The rows of X that they come from.

        Raises
        ------
        ValueError
            No row is of a source class.
        """
        _, X_triggered, y_target, rows = self.sources_and_triggered(X, y)
        return X_triggered, y_target, rows

    def sources_and_triggered(self, X, y):
        """What :meth:`triggered_test` gives, behind the clean rows that it was made of.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Clean test data.
        y : array-like of shape (n_samples,)
            Clean labels.

        Returns
        -------
        X_source : array-like of shape (n_source, ...)
            The rows of source classes, clean.
        X_triggered, y_target, rows : arrays of shape (n_source, ...) and (n_source,)
            As there.
        """
        check_is_fitted(self)
        X, y, _ = self._check_data(X, y, None)
        y_index = label_index(y, self.classes_)
        rows = np.flatnonzero(self._policy.target_of[y_index] >= 0)
        if len(rows) == 0:
            raise ValueError(
                "The test data hold no sample of a source class"
                f" {self.classes_[self._policy.target_of >= 0].tolist()}, so attack success and"
                " slope are not defined on them; use stratified folds or a larger test set."
            )
        sources = X if len(rows) == len(y_index) else _safe_indexing(X, rows)
        X_triggered = self.apply_trigger(sources, y_index[rows])
        return sources, X_triggered, self.classes_[self._policy.target_of[y_index[rows]]], rows

    def clean_copy(self):
        """An equal poisoner that is fitted with poison weight 0, on the same rows and copies.

        Returns
        -------
        poisoner : BackdoorPoisoner
            `self` where it was fitted with poison weight 0 already.
        """
        check_is_fitted(self)
        if self._fitted_weight == 0.0:
            return self
        other = copy(self).set_params(poison_weight=0.0)
        other._fitted_weight = 0.0
        other.estimator_ = other._fit_estimator(clone(self.estimator_))  # as fit saw it
        return other

    def predict(self, X):
        """Predict labels with the fitted base learner.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Clean input; triggers are applied by the metrics, not here.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Predicted labels.
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X):
        """Predict class probabilities with the fitted base learner.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Input.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            One column a class, in the order of `classes_`.
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(_estimator_has("predict_log_proba"))
    def predict_log_proba(self, X):
        """Predict the natural log of class probabilities with the fitted base learner.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Input.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
            One column a class, in the order of `classes_`.
        """
        check_is_fitted(self)
        return self.estimator_.predict_log_proba(X)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X):
        """Decision values of the fitted base learner.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Input.

        Returns
        -------
        decisions : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            As the base learner gives them.
        """
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    @available_if(_estimator_has("score"))
    def score(self, X, y, sample_weight=None):
        """Accuracy of the fitted base learner on clean data (its own `score`).

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Clean input.
        y : array-like of shape (n_samples,)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.

        Returns
        -------
        score : float
            Mean accuracy, or whatever the base learner's own `score` gives.
        """
        check_is_fitted(self)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self.estimator_.score(X, y, **weights)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        learner, trigger = get_tags(self.estimator), get_tags(self.trigger)
        for name in ("one_d_array", "two_d_array", "three_d_array", "string", "dict"):
            setattr(tags.input_tags, name, getattr(learner.input_tags, name))
        tags.input_tags.positive_only = learner.input_tags.positive_only
        tags.input_tags.pairwise = learner.input_tags.pairwise
        for name in ("sparse", "allow_nan"):
            both = getattr(learner.input_tags, name) and getattr(trigger.input_tags, name)
            setattr(tags.input_tags, name, both)
        if learner.classifier_tags is not None:
            tags.classifier_tags.poor_score = learner.classifier_tags.poor_score
            tags.classifier_tags.multi_class = learner.classifier_tags.multi_class
        tags.non_deterministic = learner.non_deterministic
        return tags


def label_index(y, classes):
    """Indices of labels in `classes`, or an error that names the labels that are not there."""
    y = np.asarray(y)
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(
            f"y holds the labels {unknown.tolist()}, which the training data do not"
            f" (classes_={classes.tolist()})."
        )
    return np.searchsorted(classes, y)
