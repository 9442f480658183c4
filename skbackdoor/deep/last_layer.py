"""The slope of a network's last layer: a convex problem, so it is exact."""

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ..curves import backdoor_learning_slope
from .architectures import head_of
from .batches import Batches
from .device import resolved_device
from .inputs import check_samples
from .loss import run_with_layer
from .net import BackdoorNetClassifier


class HeadInputs(TransformerMixin, BaseEstimator):
    """Inputs of the head of a fitted network, as features.

    Parameters
    ----------
    net : BackdoorNetClassifier
        Fitted. It is neither fitted again nor cloned.
    """

    def __init__(self, net):
        self.net = net

    def __sklearn_clone__(self):
        return type(self)(self.net)

    def fit(self, X, y=None):
        """Nothing to be learned."""
        return self

    def transform(self, X):
        """Inputs of the last linear layer.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            What the network takes.

        Returns
        -------
        features : ndarray of shape (n_samples, n_inputs), float32
        """
        net, parts = self.net, []
        with resolved_device(net), torch.no_grad():
            net._set_training(False)
            data = net.get_dataset(check_samples(net, X))
            for batch, _ in Batches(data, net.batch_size):
                logits, features = run_with_layer(net, batch["X"])
                if features.ndim == 4:
                    features = features.mean(dim=(2, 3))
                features = features.flatten(1)
                self._check_head(logits, features)
                parts.append(features.float().cpu().numpy())
        return np.concatenate(parts)

    def _check_head(self, logits, features):
        name, head = head_of(self.net.module_)
        weight = head.weight.flatten(1)
        if weight.shape == (logits.shape[1], features.shape[1]):
            expected = torch.nn.functional.linear(features, weight, head.bias).float()
            if torch.allclose(expected, logits, rtol=0.02, atol=0.02 * float(logits.abs().max())):
                return
        raise ValueError(
            f"The logits are no linear function of what {name!r} sees, the last linear layer or"
            " convolution that the network holds: the last layer has no slope of its own."
        )

    def __sklearn_is_fitted__(self):
        return True


def last_layer_slope(poisoner, X_train, y_train, X_test, y_test, *, C=1.0, scale="per_sample"):
    """The exact slope of a network's last layer, given the features of the clean network.

    The network is trained without poison; its last layer is then replaced by logistic regression
    on its inputs, whose slope is implicit differentiation at its optimum. It says how
    easily the head alone learns the backdoor, as in transfer learning; what the layers before
    it would learn is not in it, but in the finite difference of
    :func:`~skbackdoor.backdoor_learning_slope`.

    Parameters
    ----------
    poisoner : BackdoorPoisoner
        The attack on a :class:`~skbackdoor.deep.BackdoorNetClassifier`; it is cloned.
    X_train : array-like of shape (n_train, ...)
        Clean training data.
    y_train : array-like of shape (n_train,)
        Clean labels.
    X_test : array-like of shape (n_test, ...)
        Clean test data: the poisoner's trigger is applied here.
    y_test : array-like of shape (n_test,)
        Clean labels.
    C : float, default=1.0
        Inverse strength of the l2 penalty on the last layer.
    scale : {"per_sample", "total"}, default="per_sample"
        As in :func:`~skbackdoor.backdoor_learning_slope`.

    Returns
    -------
    slope : BackdoorSlope
        Its `method` is "implicit".

    Examples
    --------
    >>> import torch
    >>> from skbackdoor import BackdoorPoisoner, PatchTrigger, load_digits_pair
    >>> from skbackdoor.deep import BackdoorNetClassifier, last_layer_slope
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> poisoner = BackdoorPoisoner(
    ...     BackdoorNetClassifier(network), PatchTrigger(size=2, image_shape=(8, 8)),
    ...     target="next", random_state=0)
    >>> slope = last_layer_slope(poisoner, X[:200], y[:200], X[200:], y[200:])
    >>> slope.method
    'implicit'
    """
    if not isinstance(poisoner.estimator, BackdoorNetClassifier):
        raise TypeError(
            "last_layer_slope needs a poisoner around a BackdoorNetClassifier, not around"
            f" {type(poisoner.estimator).__name__}."
        )
    clean = clone(poisoner).set_params(poison_weight=0.0).fit(X_train, y_train)
    seed = None if poisoner.estimator.random_state is None else 0  # as many draws: same victims
    head = LogisticRegression(C=C, max_iter=10_000, random_state=seed)
    learner = make_pipeline(HeadInputs(clean.estimator_), head)
    probe = clone(poisoner).set_params(estimator=learner)
    return backdoor_learning_slope(probe, X_train, y_train, X_test, y_test, scale=scale)
