"""Whose fit is a smooth function of the sample weights, so that a difference is a derivative."""

from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.svm import LinearSVC

#: Learners shown to be smooth, with the parameter that this rests on, if one does: differences at
#: h and h / 10 agree (tests/paths/test_smooth.py). Composites are smooth if all their parts are.
SMOOTH = {
    BernoulliNB: {},
    CalibratedClassifierCV: {"method": "sigmoid"},
    CategoricalNB: {},
    ComplementNB: {},
    GaussianNB: {},
    LinearSVC: {"loss": "squared_hinge"},
    LogisticRegression: {},
    MultinomialNB: {},
    RidgeClassifier: {},
    StackingClassifier: {},
    VotingClassifier: {},
}


def is_smooth(estimator):
    """Whether a learner's fit is known to be a smooth function of the sample weights.

    Parameters
    ----------
    estimator : estimator instance
        One with an attribute `smooth_in_weights` is taken at its word. Of all others only those
        in :data:`SMOOTH` are known; a subclass of these may fit otherwise.

    Returns
    -------
    known : bool
        False where nothing is known: a difference of such fits is no derivative.
    """
    told = getattr(estimator, "smooth_in_weights", None)
    if told is not None:
        return bool(told)
    if type(estimator) not in SMOOTH:
        return False
    params = estimator.get_params(deep=False)
    if any(params[name] != value for name, value in SMOOTH[type(estimator)].items()):
        return False
    parts = [*params.values(), *(part for _, part in getattr(estimator, "estimators", ()))]
    return all(is_smooth(part) for part in parts if hasattr(part, "fit"))


def difference(estimator):
    """What a difference of a learner's fits is: "finite_difference", or else "secant"."""
    return "finite_difference" if is_smooth(estimator) else "secant"
