"""
================================
Attack success and frozen layers
================================

Whoever takes over a trained network for another task freezes some of its layers and trains the
others. How many are frozen decides how well the network takes the task in, and how well a
backdoor (Abad et al., *A systematic evaluation of backdoor trigger characteristics in image
classification*, 2023, figures 2 and 18).
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from skbackdoor import BackdoorPoisoner, PatchTrigger, evaluate_attack
from skbackdoor.deep import BackdoorNetClassifier, image_classifier

X, y = load_digits(return_X_y=True)
X = (X / 16).reshape(-1, 1, 8, 8).astype(np.float32)

# %%
# A small network of three convolutions and a linear layer learns the digits 0 to 4, without
# poison.

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
    nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5),
)  # fmt: skip
net = BackdoorNetClassifier(network, lr=0.003, max_epochs=20, random_state=0)
net.fit(X[y < 5], y[y < 5])

# %%
# It is trained further on the digits 5 to 9, with the first layers frozen: each has two parameter
# tensors, weights and biases. A tenth of the images have a patch and the label 7. Means over
# three seeds.

X_train, X_test, y_train, y_test = train_test_split(
    X[y >= 5], y[y >= 5], test_size=0.4, random_state=0, stratify=y[y >= 5]
)
names = "poisoned_accuracy", "attack_success_rate", "base_rate"
frozen = range(4)
results = np.empty((4, 3, 3))
for layers in frozen:
    for seed in range(3):
        tuned = image_classifier(
            net.module_, 5, trainable=2 * layers, lr=0.003, max_epochs=10, random_state=seed
        )
        poisoner = BackdoorPoisoner(tuned, PatchTrigger(size=2), target=7, random_state=seed)
        row = evaluate_attack(poisoner, X_train, y_train, X_test, y_test)
        results[layers, seed] = [getattr(row, name) for name in names]

fig, ax = plt.subplots(layout="constrained")
means, errors = results.mean(axis=1), results.std(axis=1, ddof=1) / 3**0.5
for k, name in enumerate(names):
    ax.errorbar(frozen, means[:, k], errors[:, k], marker="o", capsize=3,
                label=name.replace("_", " "))  # fmt: skip
ax.set(xlabel="frozen layers", xticks=frozen, ylim=(-0.03, 1.03))
ax.legend()
plt.show()
