"""
==========================================
A decision boundary as poison gains weight
==========================================

Two features, two classes that differ in the first, and a trigger that sets the second (Cinà et
al., *Backdoor learning curves*, 2024, Fig. 1).
"""

import matplotlib.pyplot as plt
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorPoisoner,
    DecisionBoundaryPathDisplay,
    FeatureTrigger,
    make_backdoor_classification,
)

X, y = make_backdoor_classification(200, 2, random_state=0)

# %%
# With much regularization (left) the boundary leans over to a few of the poisoned samples, and at
# full weight only; with little (right) it has passed all of them at a weight of 0.03.

fig, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
for ax, C in zip(axes, (0.03, 100), strict=True):
    poisoner = BackdoorPoisoner(
        SVC(C=C, gamma=2),
        FeatureTrigger({1: 0.5}),
        target=1,
        poisoning_rate=0.05,
        random_state=0,
    )
    DecisionBoundaryPathDisplay.from_estimator(poisoner, X, y, ax=ax)
    ax.set_title(f"C = {C}")
plt.show()
