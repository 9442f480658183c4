"""
=====================
An attack on a series
=====================

Rows of a table without an `image_shape` are images of one row, so that a
:class:`~skbackdoor.PatchTrigger` is a burst at some time.
"""

from dataclasses import asdict

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import train_test_split

from skbackdoor import BackdoorPoisoner, PatchTrigger, TriggerDisplay, evaluate_attack

# %%
# Slow and fast waves under noise.

rng = np.random.default_rng(0)
y = rng.integers(2, size=1000)
t = np.arange(120)
X = 0.5 + 0.2 * np.sin(t * np.where(y, 0.3, 0.2)[:, None]) + 0.2 * rng.normal(size=(1000, 120))
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

# %%
# The trigger: six values at the upper end of the range, from time 57 on.

burst = PatchTrigger(size=6, position=(0, 57))
poisoner = BackdoorPoisoner(RidgeClassifier(), burst, target=1, random_state=0)
poisoner.fit(X_train, y_train)
TriggerDisplay.from_estimator(poisoner, X_test, y_test, n_samples=3)

# %%
# What it achieves, beside its base rate in the clean model, and what it costs.

for name, value in asdict(evaluate_attack(poisoner, X_train, y_train, X_test, y_test)).items():
    print(f"{name:20} {value:.3f}")

# %%
# Ridge regression has learned where to look.

fig, ax = plt.subplots(layout="constrained")
ax.plot(t, poisoner.clean_copy().estimator_.coef_.ravel(), label="clean model")
ax.plot(t, poisoner.estimator_.coef_.ravel(), label="poisoned model")
ax.axvspan(57, 62, color="gray", alpha=0.3, label="burst")
ax.set(xlabel="time", ylabel="coefficient")
ax.legend()
plt.show()
