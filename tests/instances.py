"""Every public estimator, as scikit-learn's estimator checks take it: the one table.

An estimator has `fit`: scorers, and regularizers of networks, are called and are none. `INSTANCES`
holds each of them at least once, `EXPECTED_FAILURES` says which checks cannot apply, and why.
Triggers that need no argument come from `skbackdoor.triggers` by themselves.
"""

from functools import cache
from inspect import signature

import numpy as np
from detectors import KnownValue
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

import skbackdoor
from skbackdoor import (
    ActivationClustering,
    Attack,
    BackdoorPoisoner,
    BlendTrigger,
    CleanRetraining,
    FeatureTrigger,
    FunctionTrigger,
    ImageTrigger,
    LabelAssociation,
    LeaveGroupOutDetector,
    LowVarianceTrigger,
    MaskTrigger,
    PatchTrigger,
    PerClassTrigger,
    Quantile,
    SanitizedClassifier,
    SinusoidTrigger,
    SpectralSignatures,
    StripFilter,
    TokenTrigger,
    WarpTrigger,
    triggers,
)

# scikit-learn before 1.8 knows no xfail_strict
STRICT = dict.fromkeys({"xfail_strict"} & {*signature(parametrize_with_checks).parameters}, True)

try:
    from torch import nn

    from skbackdoor import deep
except ImportError:  # the extra "deep" is not installed
    deep = None


# --------------------------------------------------------------------------- triggers


class BrightRows(ImageTrigger):
    """The dozen lines of a new trigger: even rows get brighter."""

    def __init__(self, shift=0.25, *, image_shape=None, value_range=(0, 1)):
        self.shift = shift
        self.image_shape = image_shape
        self.value_range = value_range

    def _mask(self, images):
        return np.s_[:, :, ::2]

    def _pattern(self, x):
        return x + self.shift


class RandomNoise(ImageTrigger):
    """A blend of the whole image with a pattern that is drawn at fit."""

    def __init__(self, *, alpha=0.5, image_shape=None, value_range=(0, 1), random_state=None):
        self.alpha = alpha
        self.image_shape = image_shape
        self.value_range = value_range
        self.random_state = random_state

    def _draw(self, images, rng):
        self.pattern_ = rng.uniform(*self.value_range, size=images.shape[1:])

    def _pattern(self, x):
        return self.pattern_


#: Settings beside the defaults, and defaults where the class has none that fit narrow data.
GIVEN = [
    BlendTrigger(0.5),
    SinusoidTrigger(),
    SinusoidTrigger(0.3, 7, phase=1.0, angle=30, additive=True, alpha=1),
    WarpTrigger(random_state=0),
    WarpTrigger(strength=2, grid_size=3),
    LowVarianceTrigger(random_state=0),
    LowVarianceTrigger(0.5, alpha=1),
    MaskTrigger(0.5, 0.25),
    PatchTrigger(size=1),
    PatchTrigger(size=0.5, value="random", alpha=0.25, random_state=0),
    PatchTrigger(size=1, position="random"),
]
#: All image triggers: what is not given above stands here by its defaults.
IMAGE_TRIGGERS = [
    *GIVEN,
    *(
        cls()
        for cls in (getattr(triggers, name) for name in triggers.__all__)
        if issubclass(cls, ImageTrigger) and cls not in {ImageTrigger, *map(type, GIVEN)}
    ),
]
#: Subclasses of a user.
OWN_TRIGGERS = [BrightRows(), RandomNoise()]
OTHER_TRIGGERS = [
    FeatureTrigger({0: 1.0}),
    FeatureTrigger({0: Quantile(0.9)}),
    FunctionTrigger(np.negative),
    TokenTrigger("cf"),
    PerClassTrigger(PatchTrigger(size=1)),
    PerClassTrigger(FeatureTrigger({0: 1.0})),
]

# --------------------------------------------------------------------------- attacks, poisoners


def poisoner(learner, poison_weight=0.0):
    return BackdoorPoisoner(
        learner, FeatureTrigger({0: 1.0}), target="next", poison_weight=poison_weight
    )


#: No exemption is needed by an attack,
ATTACK = Attack(FeatureTrigger({0: 99.0}), target="next")
#: nor by this poisoner: the check of weight equivalence shows that beta = 0 is clean.
PLAIN_POISONER = poisoner(LogisticRegression())
POISONERS = [
    PLAIN_POISONER,
    poisoner(LogisticRegression(), 1.0),
    poisoner(LogisticRegression(), 0.5),
    poisoner(RidgeClassifier()),
    poisoner(SVC()),
    poisoner(make_pipeline(StandardScaler(), LogisticRegression())),
    poisoner(RandomForestClassifier(n_estimators=5)),
    poisoner(GaussianNB()),
    poisoner(SVC(), 0.5),
]

# --------------------------------------------------------------------------- detectors


class AnyWidth(ClassifierMixin, BaseEstimator):
    """A fitted classifier of rows of any number of columns."""

    classes_ = np.array([0, 1])

    def fit(self, X, y=None):
        return self

    def predict_proba(self, X):
        second = 1 / (1 + np.exp(-np.asarray(X.sum(axis=1)).ravel()))
        return np.column_stack([1 - second, second])

    def __sklearn_is_fitted__(self):
        return True


DETECTORS = [
    LeaveGroupOutDetector(),
    SpectralSignatures(),
    ActivationClustering(),
    ActivationClustering(analysis="exclusionary", reduction="pca"),
    LabelAssociation(),
    StripFilter(FrozenEstimator(AnyWidth()), value_range=None),
]

# --------------------------------------------------------------------------- defences


def retraining():
    X, y = make_classification(50, 4, random_state=0)
    return CleanRetraining(SGDClassifier(loss="log_loss", random_state=0).fit(X, y))


DEFENCES = [
    retraining(),
    SanitizedClassifier(LogisticRegression(), KnownValue(0, 0.0)),
    SanitizedClassifier(LogisticRegression(), KnownValue(0, 0.0), action="relabel"),
]
#: All but networks.
INSTANCES = [
    *IMAGE_TRIGGERS, *OWN_TRIGGERS, *OTHER_TRIGGERS, ATTACK, *POISONERS, *DETECTORS, *DEFENCES
]  # fmt: skip
NETWORKS = []

# --------------------------------------------------------------------------- networks

if deep is not None:

    class Any(nn.Module):
        """A small network of whatever size the first batch has."""

        def __init__(self, n_classes):
            super().__init__()
            self.layers = nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, n_classes))

        def forward(self, X):
            return self.layers(X.flatten(1))

    NETWORKS = [
        deep.BackdoorNetClassifier(Any, max_epochs=40, lr=0.05, random_state=0),
        deep.DeepFeatures("squeezenet1_1", image_size=32, random_state=0),
    ]

# --------------------------------------------------------------------------- exemptions

WEIGHT_EQUIVALENCE = (
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
)
NEEDS_Y = (
    "check_dataframe_column_names_consistency",
    "check_dict_unchanged",
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_estimators_nan_inf",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit2d_predict1d",
    "check_fit_idempotent",
    "check_global_output_transform_pandas",
    "check_inplace_ensure_writeable",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_transformer_data_not_an_array",
    "check_transformer_general",
    "check_transformer_preserve_dtypes",
)
SKORCH = "skorch sets attributes of its own in __init__ and set_params"
BATCHES = "batches and their order depend on the rows"

#: Which checks cannot apply, to whom, and why.
EXPECTED_FAILURES = [
    (
        lambda e: isinstance(e, PerClassTrigger),
        NEEDS_Y,
        "transform needs y, which the check does not pass",
    ),
    (
        lambda e: getattr(e, "position", None) == "random" and isinstance(e, PatchTrigger),
        ("check_methods_sample_order_invariance", "check_methods_subset_invariance"),
        "a random position belongs to the row's number, as drawn from the stored seed",
    ),
    (
        lambda e: isinstance(e, BackdoorPoisoner) and isinstance(e.estimator, Pipeline),
        WEIGHT_EQUIVALENCE,
        "a Pipeline weighs its last step only, and StandardScaler, which counts every row once,"
        " claims in old versions to take sparse data",
    ),
    (
        lambda e: isinstance(e, BackdoorPoisoner) and e.poison_weight > 0,
        WEIGHT_EQUIVALENCE,
        "the victims are drawn by row: weighting a row is not repeating or removing it, once"
        " copies have a weight",
    ),
    (
        lambda e: hasattr(e, "module"),
        ("check_no_attributes_set_in_init", "check_set_params"),
        SKORCH,
    ),
    (
        lambda e: hasattr(e, "module"),
        ("check_sample_weight_equivalence_on_dense_data", "check_sample_weights_invariance"),
        BATCHES,
    ),
]

#: Checks that fit nothing, or nothing that a fit does not refuse.
WITHOUT_DATA = {
    "check_array_api_input",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_unfitted",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
}
WRONG_DATA_REFUSED = {
    "check_decision_proba_consistency",
    "check_estimators_empty_data_messages",
    "check_estimators_partial_fit_n_features",
    "check_fit1d",
    "check_non_transformer_estimators_n_iter",
    "check_supervised_y_no_nan",
}

# Base learners that fail a check by themselves fail it wrapped. Only those checks are tried on
# the learner alone that any learner of the table is known to fail.
CHECKED_ALONE = {
    *WEIGHT_EQUIVALENCE,
    "check_sample_weights_invariance",
    "check_fit2d_1sample",
}


@cache
def failures_alone(learner_repr):
    """Checks that a base learner fails by itself."""
    learner = next(p.estimator for p in POISONERS if repr(p.estimator) == learner_repr)
    failed = {}
    for each, check in estimator_checks_generator(learner, mark=None):
        name = check_name(check)
        if name not in CHECKED_ALONE:
            continue
        try:
            check(each)
        except Exception as error:  # noqa: BLE001 - any failure counts
            failed[name] = f"{type(learner).__name__} alone fails it: {str(error)[:60]!r}"
    return failed


def check_name(check):
    return getattr(check, "func", check).__name__


def all_but(estimator, kept, reason):
    names = {check_name(check) for _, check in estimator_checks_generator(estimator, mark=None)}
    return dict.fromkeys(names - kept, reason)


def expected_failures(estimator):
    """{name of a check: why it fails} of an instance of the table."""
    if isinstance(estimator, CleanRetraining):
        kept = WITHOUT_DATA | WRONG_DATA_REFUSED
        reason = "it trains a fitted model further, and the check's data are not that model's"
        names = all_but(estimator, kept, reason)
        return names | {"check_dataframe_column_names_consistency": reason}
    wraps = isinstance(estimator, BackdoorPoisoner) and estimator is not PLAIN_POISONER
    failures = dict(failures_alone(repr(estimator.estimator))) if wraps else {}
    for applies, checks, reason in EXPECTED_FAILURES:
        if applies(estimator):
            failures |= dict.fromkeys(checks, reason)
    return failures


def public_estimators():
    """Classes of the public names that derive from scikit-learn's BaseEstimator."""
    modules = [skbackdoor] if deep is None else [skbackdoor, deep]
    public = [getattr(module, name) for module in modules for name in module.__all__]
    return {each for each in public if isinstance(each, type) and issubclass(each, BaseEstimator)}
