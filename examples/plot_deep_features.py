"""
=========================================
The slope of a model on a network's layer
=========================================

In transfer learning a frozen network turns images into features, and a simple model learns from
these. The trigger acts on pixels, the model is convex: the slope is exact.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from torch import nn

from skbackdoor import BackdoorPoisoner, PatchTrigger, slope_grid
from skbackdoor.deep import BackdoorNetClassifier, DeepFeatures

X, y = load_digits(return_X_y=True)
X = (X / 16).reshape(-1, 1, 8, 8).astype(np.float32)

# %%
# A small network learns the digits 0 to 4, without poison. With ``DeepFeatures("resnet18",
# weights="DEFAULT")`` it would be one that ImageNet has trained.

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5),
)  # fmt: skip
net = BackdoorNetClassifier(network, lr=0.003, max_epochs=15, random_state=0)
net.fit(X[y < 5], y[y < 5])

# %%
# Its last hidden layer serves to tell 5 to 9 from each other. A tenth of their images are to get a
# patch in the corner and the label 7.

X_train, X_test, y_train, y_test = train_test_split(
    X[y >= 5], y[y >= 5], test_size=0.4, random_state=0, stratify=y[y >= 5]
)
data = X_train, y_train, X_test, y_test
Cs = np.logspace(-3, 1, 5)
poisoner = BackdoorPoisoner(
    make_pipeline(DeepFeatures(net.module_), LogisticRegression(max_iter=1000)),
    PatchTrigger(size=2),
    target=7,
    random_state=0,
)
grid = slope_grid(poisoner, {"estimator__logisticregression__C": Cs}, *data, fit_poisoned=True)

fig, ax = plt.subplots(layout="constrained")
ax.semilogx(Cs, grid.clean_accuracy[:, 0], "o-", label="accuracy of clean model")
ax.semilogx(Cs, grid.theta[:, 0], "s-", label="theta of clean model")
ax.semilogx(Cs, grid.attack_success_rate[:, 0], "^--", label="attack success")
ax.semilogx(Cs, grid.base_rate[:, 0], "v--", label="its base rate")
ax.set(xlabel="C of logistic regression", ylim=(-0.03, 1.03))
fig.legend(loc="outside upper center", ncols=2)
plt.show()
