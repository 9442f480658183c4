"""Attack success while a network is trained."""

import numpy as np
import pytest
from sklearn.base import clone

from skbackdoor import Attack, PatchTrigger

pytest.importorskip("torch")
pytest.importorskip("skorch")
from skorch.callbacks import EarlyStopping  # noqa: E402
from small_network import X, Y, net  # noqa: E402

from skbackdoor.deep import AttackSuccessScoring  # noqa: E402

TRIGGER = PatchTrigger(3, image_shape=(8, 8), position="center")


@pytest.fixture(scope="module")
def attack():
    return Attack(TRIGGER, target="b", poisoning_rate=0.2, random_state=0).fit(
        X[:120], np.array(["a", "b", "c"])[Y[:120]]
    )


def watched(attack):
    names = np.array(["a", "b", "c"])[Y[120:]]
    return [
        AttackSuccessScoring(*attack.triggered(X[120:], names)),
        AttackSuccessScoring(X[120:], names, name="clean_accuracy"),
    ]


def test_every_epoch_is_scored_as_the_network_then_was(attack):
    data = attack.poison(*attack.given_rows())[:2]
    callbacks = watched(attack)
    whole = net(callbacks=callbacks, max_epochs=4).fit(*data)
    for n_epochs in range(1, 5):
        part = net(max_epochs=n_epochs).fit(*data)  # no callback: it leaves no trace
        for callback in callbacks:
            share = np.mean(part.predict(callback.X_triggered) == callback.y_target)
            assert whole.history_[n_epochs - 1, callback.name] == share
    assert np.array_equal(whole.decision_function(X), part.decision_function(X))
    success = whole.history_[:, "attack_success_rate"]
    assert success[-1] > 0.8 and whole.history_[-1, "clean_accuracy"] > 0.8


def test_cloned_and_beside_early_stopping(attack):
    stop = EarlyStopping(monitor="clean_accuracy", patience=2, lower_is_better=False)
    one = net(callbacks=[*watched(attack), stop], max_epochs=60)
    data = attack.poison(*attack.given_rows())[:2]
    other = clone(one).fit(*data)
    assert len(other.history_) < 60
    accuracy = other.history_[:, "clean_accuracy"]
    assert len(accuracy) == 1 + 2 + int(np.argmax(accuracy))


@pytest.mark.parametrize("y_target", [[0], [[0]] * 4, []], ids=str)
def test_labels_are_one_a_sample(y_target):
    callback = AttackSuccessScoring(X[: 4 if y_target else 0], y_target)
    with pytest.raises(ValueError, match="y_target has shape .* one label a sample"):
        net(callbacks=[callback]).fit(X, Y)
