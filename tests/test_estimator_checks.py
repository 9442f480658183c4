"""scikit-learn's own checks on attacks, and on poisoners around many learners."""

from functools import cache
from inspect import signature

import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from skbackdoor import Attack, BackdoorPoisoner, FeatureTrigger

# scikit-learn before 1.8 knows no xfail_strict
STRICT = dict.fromkeys({"xfail_strict"} & {*signature(parametrize_with_checks).parameters}, True)

RANDOM_DRAW = (
    "the victims are drawn by row: weighting a row is not repeating or removing it, once copies"
    " have a weight"
)
WEIGHT_EQUIVALENCE = (
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
)


def poisoner(learner, poison_weight=0.0):
    return BackdoorPoisoner(
        learner, FeatureTrigger({0: 1.0}), target="next", poison_weight=poison_weight
    )


PLAIN = poisoner(LogisticRegression())
OTHERS = [
    poisoner(LogisticRegression(), 1.0),
    poisoner(LogisticRegression(), 0.5),
    poisoner(RidgeClassifier()),
    poisoner(SVC()),
    poisoner(make_pipeline(StandardScaler(), LogisticRegression())),
    poisoner(RandomForestClassifier(n_estimators=5)),
    poisoner(GaussianNB()),
    poisoner(SVC(), 0.5),
]

# The one table of exemptions: (who, which checks, why).
EXEMPTIONS = [
    (
        lambda p: isinstance(p.estimator, Pipeline),
        WEIGHT_EQUIVALENCE,
        "a Pipeline weighs its last step only, and StandardScaler, which counts every row once,"
        " claims in old versions to take sparse data",
    ),
    (lambda p: p.poison_weight > 0, WEIGHT_EQUIVALENCE, RANDOM_DRAW),
]


@cache
def own_failures(learner_repr):
    """Checks that a base learner fails by itself: base learners that do fail them wrapped."""
    learner = next(p.estimator for p in OTHERS if repr(p.estimator) == learner_repr)
    failed = {}
    for instance, check in estimator_checks_generator(learner, mark=None):
        name = getattr(check, "func", check).__name__
        if name not in CHECKED_ALONE:
            continue
        try:
            check(instance)
        except Exception as error:  # noqa: BLE001 - any failure counts
            failed[name] = f"{type(learner).__name__} alone fails it: {str(error)[:60]!r}"
    return failed


# Only those are tried on the learner alone that any learner of the list is known to fail.
CHECKED_ALONE = {
    *WEIGHT_EQUIVALENCE,
    "check_sample_weights_invariance",
    "check_fit2d_1sample",
}


def expected_failures(estimator):
    failures = dict(own_failures(repr(estimator.estimator)))
    for applies, checks, reason in EXEMPTIONS:
        if applies(estimator):
            failures |= dict.fromkeys(checks, reason)
    return failures


ATTACK = Attack(FeatureTrigger({0: 99.0}), target="next")


@parametrize_with_checks([ATTACK], **STRICT)
def test_an_attack_needs_no_exemption(estimator, check):
    check(estimator)


@parametrize_with_checks([PLAIN], **STRICT)
def test_plain_poisoner_needs_no_exemption(estimator, check):
    check(estimator)


@parametrize_with_checks(OTHERS, expected_failed_checks=expected_failures, **STRICT)
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", [ATTACK, PLAIN, *OTHERS], ids=str)
@pytest.mark.parametrize(
    "check", ["check_param_validation", "check_dataframe_column_names_consistency"]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_checks_that_check_estimator_leaves_out(estimator, check):
    getattr(estimator_checks, check)(type(estimator).__name__, clone(estimator))
