"""scikit-learn's own checks on every public estimator; the table is in instances.py."""

import pytest
from instances import (
    ATTACK,
    INSTANCES,
    NETWORKS,
    OWN_TRIGGERS,
    PLAIN_POISONER,
    STRICT,
    expected_failures,
    public_estimators,
)
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbackdoor import ImageTrigger, PoisonDetector, TokenTrigger


@parametrize_with_checks(INSTANCES, expected_failed_checks=expected_failures, **STRICT)
@pytest.mark.filterwarnings(
    "ignore:value_range",
    "ignore:.*rounds to nothing",
    "ignore:.*clean rows carry the trigger",
    "ignore:Can't test estimator",
)
def test_estimator_checks(estimator, check):
    check(estimator)


# Those that check_estimator leaves out.
MORE_CHECKS = ["check_param_validation", "check_dataframe_column_names_consistency"]
MORE_CHECKS_OF_TRANSFORMERS = [
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_inplace_ensure_writeable",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]


@pytest.mark.parametrize(
    "estimator, check",
    [
        (estimator, check)
        for estimator in INSTANCES
        if not isinstance(estimator, (TokenTrigger, *map(type, OWN_TRIGGERS)))
        for check in [
            *MORE_CHECKS,
            *(MORE_CHECKS_OF_TRANSFORMERS if hasattr(estimator, "transform") else []),
        ]
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:value_range")
def test_checks_that_check_estimator_leaves_out(estimator, check, request):
    if reason := expected_failures(estimator).get(check):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True, raises=ValueError))
    getattr(estimator_checks, check)(type(estimator).__name__, clone(estimator))


def test_attack_and_plain_poisoner_need_no_exemption():
    assert expected_failures(ATTACK) == expected_failures(PLAIN_POISONER) == {}


def test_every_public_estimator_is_in_the_table():
    public = {each for each in public_estimators() if hasattr(each, "fit")}
    tested = {type(each) for each in [*INSTANCES, *NETWORKS]}
    assert public - {ImageTrigger, PoisonDetector} <= tested  # their subclasses are
