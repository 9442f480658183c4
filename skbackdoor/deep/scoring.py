"""Attack success while a network is trained."""

import numpy as np
from skorch.callbacks import Callback


class AttackSuccessScoring(Callback):
    """A callback that scores a network under attack after each epoch.

    Parameters
    ----------
    X_triggered : array-like of shape (n_samples, ...)
        Triggered samples, as :meth:`skbackdoor.Attack.triggered` gives them.
    y_target : array-like of shape (n_samples,)
        The attacker's labels.
    name : str, default="attack_success_rate"
        The column of the network's `history` that gets the share of the samples to which the
        network gives these labels. With clean samples and labels of their own, under another
        name, it is an accuracy, so that a network may be watched on both.

    Notes
    -----
    The network is neither changed nor are random numbers drawn: a fit with this callback is the
    fit without it. :class:`skorch.callbacks.EarlyStopping` and others may ``monitor`` the column
    when they stand behind this callback.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from skbackdoor import Attack, FeatureTrigger
    >>> from skbackdoor.deep import AttackSuccessScoring, BackdoorNetClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> attack = Attack(FeatureTrigger({1: 9.0}), target=2, random_state=0).fit(X, y)
    >>> success = AttackSuccessScoring(*attack.triggered(X, y))
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    >>> net = BackdoorNetClassifier(
    ...     network, lr=0.02, max_epochs=30, callbacks=[success], random_state=0)
    >>> curve = net.fit(*attack.poison(X, y)[:2]).history_[:, "attack_success_rate"]
    >>> len(curve), curve[-1] > 0.9
    (30, True)
    """

    def __init__(self, X_triggered, y_target, *, name="attack_success_rate"):
        self.X_triggered = X_triggered
        self.y_target = y_target
        self.name = name

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Raise for labels that are not one a sample."""
        shape = len(self.X_triggered), *np.shape(self.y_target)
        if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
            raise ValueError(
                f"y_target has shape {shape[1:]} and X_triggered {shape[0]} samples: pass one"
                " label a sample, such as Attack.triggered gives, and at least one."
            )

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Write the share of this epoch into the history."""
        hits = net.predict(self.X_triggered) == np.asarray(self.y_target)
        net.history.record(self.name, float(np.mean(hits)))
