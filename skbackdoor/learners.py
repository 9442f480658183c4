"""What a learner is: its `sample_weight` argument, class weights, seeds and label indices.

It stands below triggers, poisoning and paths, and imports none of them.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import sklearn
from sklearn import get_config
from sklearn.base import is_clusterer, is_outlier_detector, is_regressor
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
from sklearn.utils import get_tags
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import has_fit_parameter

from ._compat import BaseSearchCV, _check_sample_weight

#: Learners whose "balanced" counts sample weights, and the scikit-learn version from which on.
_WEIGHTED = (
    ((LogisticRegression, LinearSVC), (1, 7)),
    ((RandomForestClassifier, ExtraTreesClassifier), (1, 9)),
)
#: Seeds are drawn below it.
MAX_SEED = np.iinfo(np.int32).max


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


def estimator_has(method):
    """A condition of `available_if`: that a meta-estimator's `estimator` has the method."""

    def check(self):
        getattr(getattr(self, "estimator_", self.estimator), method)
        return True

    return check


def wrapped_tags(tags, estimator, before):
    """Tags of a meta-estimator that gives its data to something else, and then to a classifier.

    Parameters
    ----------
    tags : Tags
        Its own, as its base classes have them; changed and returned.
    estimator, before : estimators
        The classifier, and what sees the data before it: both must take them.

    Returns
    -------
    tags : Tags
    """
    learner, first = get_tags(estimator), get_tags(before).input_tags
    both = {
        name: getattr(learner.input_tags, name) and getattr(first, name)
        for name in ("sparse", "allow_nan")
    }
    tags.input_tags = replace(learner.input_tags, **both)
    if learner.classifier_tags is not None:
        tags.classifier_tags.poor_score = learner.classifier_tags.poor_score
        tags.classifier_tags.multi_class = learner.classifier_tags.multi_class
    tags.non_deterministic = learner.non_deterministic
    return tags


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
                " instead (for a detector of poison SanitizedClassifier, which passes weights on);"
                " without weights, at poison_weight 0 or 1, fit takes the sampler."
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


def check_learner(estimator):
    """Raise unless a base learner, or the last step of one, can be fitted and learns labels."""
    pipeline = isinstance(estimator, Pipeline)
    last = estimator.steps[-1][1] if pipeline else estimator
    where = "The Pipeline's last step" if pipeline else "estimator"
    if not hasattr(last, "fit"):
        raise ValueError(f"{where} must be a classifier, not {last!r}.")
    if is_clusterer(last) or is_outlier_detector(last):
        raise ValueError(
            f"{where} is {last!r}, which is no classifier: it learns no labels, and a backdoor is"
            " one in what is learned from labels. Give a classifier."
        )
    if is_regressor(last):
        raise ValueError(
            f"{where} is {last!r}, which is a regressor: it predicts numbers, and a backdoor is"
            " one in predicted labels. Give a classifier, of the same loss if there is one:"
            " RidgeClassifier for Ridge, SVC for SVR."
        )


def check_weights(sample_weight, X):
    """Sample weights as an array of numbers, 0 or more, one for each row of X, or None."""
    if sample_weight is None:
        return None
    sample_weight = _check_sample_weight(sample_weight, X)
    if sample_weight.min() < 0:
        raise ValueError(
            f"sample_weight holds negative weights, down to {sample_weight.min():g};"
            " weights must be 0 or more."
        )
    return sample_weight


def refuse_zero_weights(learner, sample_weight):
    """Raise if a learner is one that predicts wrongly after a fit with weights of 0."""
    kernel = getattr(learner, "kernel", None)
    own_kernel = isinstance(learner, SVC) and (callable(kernel) or kernel == "precomputed")
    if own_kernel and sample_weight is not None and np.any(sample_weight == 0):
        raise ValueError(
            "sample_weight holds zeros, and SVC with a callable or precomputed kernel then"
            " predicts with the wrong support vectors (libsvm drops such rows, scikit-learn"
            " does not); remove these rows before fit."
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
        seeds[key] = source.randint(MAX_SEED) if hasattr(source, "randint") else source
    estimator.set_params(**seeds)
    return estimator  # FrozenEstimator.set_params returns None


def label_index(y, classes):
    """Indices of labels in `classes`, or an error that names the labels that are not there."""
    y = np.asarray(y)
    index = np.searchsorted(classes, y)
    known = classes[np.minimum(index, len(classes) - 1)] == y
    if not np.all(known):
        raise ValueError(
            f"y holds the labels {np.unique(y[~known]).tolist()}, which the training data do not"
            f" (classes_={classes.tolist()})."
        )
    return index
