"""The slope of a network's last layer by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression, SGDClassifier

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")
from small_network import DATA, attacked, net  # noqa: E402
from torch import nn  # noqa: E402

from skbackdoor.deep import BackdoorNetClassifier, last_layer_slope  # noqa: E402


def test_slope_of_the_last_layer():
    """That of logistic regression on what the head of the clean network sees, by hand."""
    poisoner = attacked(net())
    slope = last_layer_slope(poisoner, *DATA[:4], C=0.5)
    assert slope.method == "implicit" and slope.residual < 1e-8
    clean = net(random_state=poisoner.estimator_.random_state).fit(*DATA[:2])
    rows = poisoner.poisoned_indices_
    triggered = poisoner.trigger_.transform(DATA[0])

    def inputs(images):
        with torch.no_grad():
            images = torch.as_tensor(images).reshape(-1, 1, 8, 8)
            return clean._run(images)[1].numpy().astype(float)

    Z, P = inputs(DATA[0]), inputs(triggered[rows])
    sources = DATA[3] != 0
    T = inputs(poisoner.trigger_.transform(DATA[2][sources]))
    losses = []
    for beta in (0.0, 1e-6):
        head = LogisticRegression(C=0.5, tol=1e-12, solver="newton-cholesky")
        weight = np.r_[np.ones(len(Z)), np.full(len(P), beta)]
        head.fit(np.r_[Z, P], np.r_[DATA[1], np.zeros(len(P))], weight)
        losses.append(-head.predict_log_proba(T)[:, 0].mean())
    assert_allclose(slope.derivative, (losses[1] - losses[0]) / 1e-6, rtol=1e-2)
    with pytest.raises(TypeError, match="around a BackdoorNetClassifier, not around SGD"):
        last_layer_slope(attacked(SGDClassifier()), *DATA[:4])


def test_the_last_layer_must_be_the_last():
    class Reversed(nn.Module):
        def __init__(self, n_classes):
            super().__init__()
            self.head, self.body = nn.Linear(16, n_classes), nn.Linear(64, 16)

        def forward(self, X):
            return self.head(torch.relu(self.body(X)))

    with pytest.raises(ValueError, match="no linear function of what 'body' sees"):
        last_layer_slope(attacked(BackdoorNetClassifier(Reversed, random_state=0)), *DATA[:4])
