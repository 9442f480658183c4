"""Retraining, as far as it needs no network (see ../deep/test_network_retraining.py)."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackdoor import BackdoorPoisoner, FeatureTrigger, make_backdoor_classification
from skbackdoor.defenses import CleanRetraining

X, Y = make_backdoor_classification(200, 10, class_sep=0.6, random_state=0)


def models():
    """Fitted ones, with a parameter of theirs."""
    learner = SGDClassifier(loss="log_loss", alpha=1e-3, random_state=0)
    scaled = make_pipeline(StandardScaler(), learner)
    trigger = FeatureTrigger({9: 1.0})
    return {
        "plain": (clone(learner).fit(X[:100], Y[:100]), "alpha"),
        "pipeline": (scaled.fit(X[:100], Y[:100]), "sgdclassifier__alpha"),
        "poisoner": (
            BackdoorPoisoner(clone(learner), trigger, target=1).fit(X[:100], Y[:100]),
            "estimator__alpha",
        ),
    }


@pytest.mark.parametrize("name", models())
def test_a_search_does_not_rewrite_the_model(name):
    model, parameter = models()[name]
    before, scores = model.get_params(), model.decision_function(X)
    search = GridSearchCV(
        CleanRetraining(model),
        {f"estimator__{parameter}": [1e-4, 10.0], "n_epochs": [1, 5]},
        cv=2,
        error_score="raise",
    ).fit(X[100:], Y[100:])
    after = model.get_params()
    assert before.keys() == after.keys()
    assert all(before[key] is after[key] for key in before)
    assert after[parameter] == 1e-3
    assert_array_equal(model.decision_function(X), scores)
    best = search.best_estimator_.estimator
    assert best.get_params()[parameter] == search.best_params_[f"estimator__{parameter}"]


@pytest.mark.parametrize("name", models())
def test_a_clone_knows_what_the_model_knows_and_shares_nothing(name):
    model, parameter = models()[name]
    given = CleanRetraining(model)
    copied = clone(given)
    assert copied.estimator is not model
    copied.set_params(**{f"estimator__{parameter}": 7.0})
    assert given.get_params()[f"estimator__{parameter}"] == 1e-3
    assert_array_equal(copied.estimator.decision_function(X), model.decision_function(X))
    retrained, other = (each.fit(X[100:], Y[100:]) for each in (given, clone(given)))
    assert_array_equal(retrained.predict_proba(X), other.predict_proba(X))
    fitted = model.estimator_ if name == "poisoner" else model
    own = copied.estimator.estimator_ if name == "poisoner" else copied.estimator
    last, own_last = ((m[-1] if name == "pipeline" else m) for m in (fitted, own))
    assert not np.shares_memory(last.coef_, own_last.coef_)


def test_clones_share_the_data_of_an_attack():
    """A search makes dozens of clones: each with the training data would fill the memory."""
    poisoner, _ = models()["poisoner"]
    copied = clone(CleanRetraining(poisoner)).estimator
    assert copied.given_rows()[0] is poisoner.given_rows()[0]
    assert copied.training_rows()[1][0] is poisoner.training_rows()[1][0]
    assert copied.estimator_ is not poisoner.estimator_


def test_an_unfitted_model_is_cloned_and_refused():
    trigger = FeatureTrigger({9: 1.0})
    for model in (SGDClassifier(), BackdoorPoisoner(SGDClassifier(), trigger, target=1)):
        with pytest.raises(NotFittedError):
            clone(CleanRetraining(model)).fit(X, Y)
