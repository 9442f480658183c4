"""
============================
How far poison moves a model
============================

The norm rho of an SVM's weights, and nu, from 0 to 1, how far they turn away from those of the
clean model, as the poisoned samples gain weight (Cinà et al., *Backdoor learning curves*, 2024,
Fig. 9). For the rbf kernel both are taken in its feature space.
"""

import matplotlib.pyplot as plt
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorPoisoner,
    ParameterDeviationDisplay,
    PatchTrigger,
    load_digits_pair,
    parameter_deviation,
)

X, y = load_digits_pair((4, 9), return_X_y=True)
trigger = PatchTrigger(size=3, image_shape=(8, 8))
deviations = {
    f"C={C}": parameter_deviation(
        BackdoorPoisoner(SVC(C=C), trigger, target="next", random_state=0), X, y
    )
    for C in (0.1, 1, 10, 100)
}

# %%
# With little regularization the weights grow and turn to fit the backdoor; with much of it they
# stay where they are.

ParameterDeviationDisplay.from_results(deviations)
plt.show()
