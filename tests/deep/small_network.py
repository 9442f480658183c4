"""Three digits, a network that is small, and the attack on it."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skbackdoor import BackdoorPoisoner, PatchTrigger

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")
from torch import nn  # noqa: E402

from skbackdoor.deep import BackdoorNetClassifier  # noqa: E402

DIGITS, LABELS = load_digits(return_X_y=True)
ROWS = np.flatnonzero(LABELS < 3)[:240]
X, Y = (DIGITS[ROWS] / 16).astype(np.float32), LABELS[ROWS]
DATA = X[:120], Y[:120], X[120:180], Y[120:180], X[180:], Y[180:]


class Network(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU())
        self.hidden = nn.Linear(6 * 64, 20)
        self.head = nn.Linear(20, n_classes)

    def forward(self, images):
        return self.head(torch.relu(self.hidden(self.features(images).flatten(1))))


def net(**parameters):
    parameters = {"max_epochs": 6, "lr": 0.01, "batch_size": 30, "random_state": 0} | parameters
    return BackdoorNetClassifier(Network, image_shape=(8, 8), **parameters)


def attacked(learner):
    trigger = PatchTrigger(3, image_shape=(8, 8), position="center")
    return BackdoorPoisoner(learner, trigger, target=0, poisoning_rate=0.2, random_state=9).fit(
        *DATA[:2]
    )
