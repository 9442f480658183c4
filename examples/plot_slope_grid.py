"""
==================================
Slope, accuracy and attack success
==================================

The slope theta is measured on clean models, attack success on poisoned ones. Over a grid of C and
gamma of an SVM the first tells the second.
"""

import matplotlib.pyplot as plt
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorPoisoner,
    BackdoorSlopeDisplay,
    PatchTrigger,
    PerClassTrigger,
    RobustnessHeatmapDisplay,
    load_digits_pair,
    slope_grid,
)

X, y = load_digits_pair((4, 9), return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.4, stratify=y, random_state=0
)

# %%
# Three draws of the attack: a random patch for each digit, other victims each time.
# ``fit_poisoned=True`` also fits each poisoned model, as a check; the slope does not need it.

poisoner = BackdoorPoisoner(
    SVC(),
    PerClassTrigger(PatchTrigger(size=3, value="random", image_shape=(8, 8))),
    target="next",
    placement="replace",
)
grid = slope_grid(
    poisoner,
    {"estimator__C": [0.1, 0.3, 1, 3, 10, 30, 100], "estimator__gamma": [0.01, 0.03, 0.1]},
    X_train,
    y_train,
    X_test,
    y_test,
    random_states=range(3),
    fit_poisoned=True,
)
BackdoorSlopeDisplay.from_results(grid, by="estimator__gamma")

# %%
# Left: accuracy falls little where theta goes to 0. Right: attack success does.
#
# The same as a map: settings that are bright in the first panel and dark in the second are
# accurate and hard to backdoor.

RobustnessHeatmapDisplay.from_results(grid)
plt.show()
