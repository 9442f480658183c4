"""
========================
Backdoor learning curves
========================

How a model takes in a backdoor as the poisoned samples gain weight: with poison weight 0 they
count nothing, with 1 as much as any other sample (Cinà et al., *Backdoor learning curves*, 2024).
"""

import matplotlib.pyplot as plt
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorLearningCurveDisplay,
    BackdoorPoisoner,
    PatchTrigger,
    backdoor_learning_curve,
    backdoor_learning_slope,
    load_digits_pair,
)

X, y = load_digits_pair((4, 9), return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.4, stratify=y, random_state=0
)
data = X_train, y_train, X_test, y_test

# %%
# Two SVMs under the same attack: a patch on a tenth of the images, which get the other label. The
# curves are exact at every weight: they follow the dual solution of the SVM from one weight to the
# next, which takes less time than refits (:func:`~skbackdoor.weight_path`).

curves, slopes = {}, {}
for C in (0.1, 10):
    poisoner = BackdoorPoisoner(
        SVC(C=C), PatchTrigger(size=3, image_shape=(8, 8)), target="next", random_state=0
    )
    curves[f"C={C}"] = backdoor_learning_curve(poisoner, *data)
    slopes[C] = backdoor_learning_slope(poisoner, *data)

display = BackdoorLearningCurveDisplay.from_results(curves)

# %%
# Left: the mean loss on clean test images stays where it is, that on triggered ones with the
# attacker's labels falls. Right: so clean accuracy gives no hint, while attack success rises.
#
# The *backdoor learning slope* theta says in one number how steeply the triggered loss falls at
# weight 0, where nothing is poisoned yet. Its derivative is that of the curve, for all poisoned
# samples together; theta is of one of them, on average.

for C, slope in slopes.items():
    print(f"C={C}: theta {slope.theta:.3f}, derivative {slope.derivative:.2f} at weight 0")
for name, curve in curves.items():
    print(
        f"{name}: attack success from {curve.attack_success_rate[0]:.2f}"
        f" to {curve.attack_success_rate[-1]:.2f},"
        f" accuracy from {curve.clean_accuracy[0]:.3f} to {curve.clean_accuracy[-1]:.3f}"
    )
plt.show()
