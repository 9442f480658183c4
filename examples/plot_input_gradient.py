"""
=============================
What a poisoned model goes by
=============================

The gradient of the decision value of the attacker's label, in the pixels: where a change of the
image would move the model most (Cinà et al., *Backdoor learning curves*, 2024, Fig. 12).
"""

import matplotlib.pyplot as plt
from sklearn.svm import SVC

from skbackdoor import BackdoorPoisoner, InputGradientDisplay, PatchTrigger, load_digits_pair

X, y = load_digits_pair((4, 9), return_X_y=True)
poisoner = BackdoorPoisoner(
    SVC(C=10), PatchTrigger(size=2, image_shape=(8, 8)), target=9, random_state=0
).fit(X, y)

# %%
# The clean SVM goes by the strokes of the digit, the poisoned one by the corner, most of all where
# the patch is.

InputGradientDisplay.from_estimator(poisoner, X, y)
plt.show()
