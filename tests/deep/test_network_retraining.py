"""Retraining a poisoned network, and what else goes on training."""

from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackdoor.defenses import CleanRetraining

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")
from skorch.callbacks import Checkpoint, EarlyStopping, LRScheduler  # noqa: E402
from skorch.dataset import ValidSplit  # noqa: E402
from small_network import DATA, X, Y, attacked, net  # noqa: E402


@pytest.mark.parametrize("kind", ["network", "sgd", "pipeline", "warm start"])
def test_retraining_takes_the_backdoor_out(kind):
    learner = {
        "network": net(max_epochs=15),
        "sgd": SGDClassifier(loss="log_loss"),
        "pipeline": make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss")),
        "warm start": LogisticRegression(C=100, max_iter=300),
    }[kind]
    poisoner = attacked(learner)
    before = poisoner.predict(X)
    retrained = CleanRetraining(poisoner, n_epochs=60).fit(*DATA[2:4])
    report = retrained.report(*DATA[4:])
    assert report.attack_success_before > 0.8
    much = 1 / 3 if kind in ("network", "warm start") else 0.9
    assert report.attack_success_after < much * report.attack_success_before
    assert report.accuracy_after > report.accuracy_before - 0.05
    assert np.array_equal(poisoner.predict(X), before)  # a copy was trained
    params = {k: v for k, v in poisoner.estimator_.get_params(deep=False).items() if k != "steps"}
    after = retrained.estimator_.get_params(deep=False)
    assert all(
        after[k] is v or after[k] == v
        for k, v in params.items()
        if k in ("max_iter", "warm_start", "max_epochs")
    )


def test_retraining_of_what_cannot_be():
    with pytest.raises(TypeError, match="neither partial_fit nor"):
        CleanRetraining(KNeighborsClassifier().fit(X, Y)).fit(X, Y)
    with pytest.raises(ValueError, match=r"holds \[9\]"):
        CleanRetraining(GaussianNB().fit(X, Y)).fit(X, np.full(len(X), 9))
    with pytest.raises(ValueError, match="report needs the attack"):
        CleanRetraining(GaussianNB().fit(X, Y)).fit(X, Y).report(X, Y)
    with pytest.raises(ValueError, match=r"holds no sample of class \[2\]"):
        CleanRetraining(LogisticRegression().fit(X, Y)).fit(X[Y < 2], Y[Y < 2])


def test_retraining_chooses_nothing(tmp_path):
    """Neither the checkpoint of the poisoned model nor an early end; files stay as they are."""
    file = tmp_path / "params.pt"
    choosing = net(
        max_epochs=12, train_split=ValidSplit(4),
        callbacks=[("keep", Checkpoint(dirname=tmp_path, load_best=True)), EarlyStopping()],
    )  # fmt: skip
    poisoner = attacked(choosing)
    before = file.read_bytes()
    retrained = CleanRetraining(poisoner, n_epochs=9).fit(*DATA[2:4])
    model = retrained.estimator_
    assert len(model.history_) == 9 and file.read_bytes() == before
    plain = deepcopy(poisoner.estimator_)
    plain.train_split = None
    plain.set_params(callbacks=None, max_epochs=9).initialize_optimizer()
    plain.partial_fit(*DATA[2:4])
    assert np.array_equal(model.decision_function(X), plain.decision_function(X))
    assert model.max_epochs == 12 and model.train_split is not None
    assert np.array_equal(retrained.predict_proba(X), model.predict_proba(X))
    cooled = LRScheduler("StepLR", step_size=3, gamma=0.1, event_name="lr")
    poisoner.estimator_.set_params(lr=0.02, callbacks=[cooled])
    history = CleanRetraining(poisoner, n_epochs=5).fit(*DATA[2:4]).estimator_.history_
    assert_allclose(history[:, "lr"], [0.02, 0.02, 0.02, 0.002, 0.002])


def test_boosting_counts_on_and_liblinear_does_not():
    poisoner = attacked(HistGradientBoostingClassifier(max_iter=3))
    retrained = CleanRetraining(poisoner, n_epochs=4).fit(*DATA[2:4])
    assert retrained.estimator_.n_iter_ == 7
    model = LogisticRegression(solver="liblinear").fit(X, Y == 0)
    with pytest.raises(TypeError, match="LogisticRegression cannot be trained further"):
        CleanRetraining(model).fit(X, Y == 0)
