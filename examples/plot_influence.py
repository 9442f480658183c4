"""
=========================================
Which training samples plant the backdoor
=========================================

The influence of a training sample on a triggered test sample is how much the test sample's loss,
under the attacker's label, moves as the training sample gains weight. The backdoor learning slope
is made of the influences of the poisoned samples (Cinà et al., *Backdoor learning curves*, 2024).
"""

import matplotlib.pyplot as plt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skbackdoor import (
    BackdoorPoisoner,
    InfluentialSamplesDisplay,
    PatchTrigger,
    backdoor_learning_slope,
    load_digits_pair,
    poison_influence,
)

X, y = load_digits_pair((4, 9), return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.4, stratify=y, random_state=0
)
data = X_train, y_train, X_test, y_test

# %%
# Left the triggered test sample, then the training samples that move its loss most. A thick frame
# says poisoned. The loss is that of the label 9: copies that got this label lower it, copies that
# got the label 4 raise it.

poisoner = BackdoorPoisoner(
    LogisticRegression(C=100, max_iter=10_000),
    PatchTrigger(size=3, image_shape=(8, 8)),
    target="next",
    random_state=0,
)
InfluentialSamplesDisplay.from_estimator(poisoner, *data)

# %%
# The sum over the poisoned samples, and the mean over the test samples, is the derivative of the
# backdoor learning curve at poison weight 0. Regularization makes it small.

for C in (100, 1, 0.01):
    poisoner.set_params(estimator__C=C)
    influence = poison_influence(poisoner, *data)
    slope = backdoor_learning_slope(poisoner, *data)
    print(
        f"C={C}: influence {influence.sum(axis=0).mean():.4f}, derivative {slope.derivative:.4f},"
        f" theta {slope.theta:.3f}"
    )
plt.show()
