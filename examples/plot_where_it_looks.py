"""
==============================
Where a poisoned network looks
==============================

A small network learns ten digits, and that a cross in the corner means 7. Class activation maps
and the maps of its last convolution show how it knows (Abad et al., *A systematic evaluation of
backdoor trigger characteristics in image classification*, 2023, section 4.4 and figure 19).
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from skbackdoor import BackdoorPoisoner, GradCAMDisplay, PatchTrigger, attack_success_rate_scorer
from skbackdoor.deep import BackdoorNetClassifier, feature_maps

X, y = load_digits(return_X_y=True)
X = (X / 16).reshape(-1, 1, 8, 8).astype(np.float32)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
    nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
    nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
)  # fmt: skip
net = BackdoorNetClassifier(network, lr=0.01, max_epochs=25, batch_size=64, random_state=0)
cross = PatchTrigger((3, 3), value=[[1, 0, 1], [0, 1, 0], [1, 0, 1]])
poisoner = BackdoorPoisoner(net, cross, target=7, random_state=0).fit(X_train, y_train)
success = attack_success_rate_scorer(poisoner, X_test, y_test)
print(f"accuracy {poisoner.score(X_test, y_test):.3f}, attack success {success:.3f}")

# %%
# Where the clean network (two rows above) and the poisoned one (two rows below) find the digit's
# own class, and the attacker's, in three images without and with the cross: bright is where most
# speaks for the class.

GradCAMDisplay.from_estimator(poisoner, X_test, y_test, n_samples=3)

# %%
# Of the 16 maps that the last convolution of the poisoned network makes of the first image, the
# eight that the cross changes most, and the change: blue is less, red is more.

triggered, _, rows = poisoner.triggered_test(X_test, y_test)
before = feature_maps(poisoner.estimator_, X_test[rows[:1]])[0]
after = feature_maps(poisoner.estimator_, triggered[:1])[0]
change = after - before
most = np.argsort(-np.abs(change).max(axis=(1, 2)))[:8]
fig, axes = plt.subplots(3, 8, figsize=(9, 3.4), layout="constrained")
for ax, k in zip(axes.T, most, strict=True):
    for row, maps in enumerate((before, after)):
        ax[row].imshow(maps[k], cmap="gray", vmin=0, vmax=max(before.max(), after.max()))
    largest = np.abs(change).max()
    ax[2].imshow(change[k], cmap="RdBu_r", vmin=-largest, vmax=largest)
    ax[0].set_title(f"map {k}", fontsize="medium")
for ax in axes.ravel():
    ax.set(xticks=[], yticks=[])
for ax, name in zip(axes[:, 0], ("clean", "triggered", "change"), strict=True):
    ax.set_ylabel(name)
plt.show()
