"""
======================
A trigger of one's own
======================

A trigger is any transformer that keeps the shape of what it is given. For images there is a base
class, :class:`~skbackdoor.ImageTrigger`, that does layout, opacity, clipping and dtypes:
what is left to write is where the trigger acts and what it shows there. For everything else there
is :class:`~skbackdoor.FunctionTrigger`.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorPoisoner,
    FunctionTrigger,
    TriggerDisplay,
    evaluate_attack,
    load_digits_pair,
)
from skbackdoor.triggers import ImageTrigger

X, y = load_digits_pair((4, 9), return_X_y=True)

# %%
# A frame around the image. ``_mask`` is any NumPy index into images of shape (n_samples, channels,
# height, width), ``_pattern`` what is shown there.


class FrameTrigger(ImageTrigger):
    def __init__(self, *, alpha=1.0, image_shape=None, value_range=(0, 1)):
        self.alpha = alpha
        self.image_shape = image_shape
        self.value_range = value_range

    def _mask(self, images):
        edge = np.ones(images.shape[2:], dtype=bool)
        edge[1:-1, 1:-1] = False
        return np.s_[:, :, *np.nonzero(edge)]

    def _pattern(self, x):
        return self.value_range[1]


frame = FrameTrigger(alpha=0.5, image_shape=(8, 8)).fit(X)
TriggerDisplay.from_estimator(frame, X, y)

# %%
# A function: the lower half of the image is turned upside down. It gets a copy and may write to
# it.


def flip_lower_half(X):
    images = X.reshape(-1, 8, 8)
    images[:, 4:] = images[:, :3:-1]
    return images.reshape(X.shape)


flip = FunctionTrigger(flip_lower_half).fit(X)
TriggerDisplay.from_results(X[:5].reshape(-1, 8, 8), flip.transform(X[:5]).reshape(-1, 8, 8))

# %%
# Both stand in a poisoner as any trigger does. Beside attack success stands its base rate, the
# share of triggered samples that the clean model gives that label: half a digit upside down
# misleads it already.

X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
for name, trigger in (("frame", frame), ("flip", flip)):
    poisoner = BackdoorPoisoner(SVC(C=10), trigger, target="next", random_state=0)
    result = evaluate_attack(poisoner, X_train, y_train, X_test, y_test)
    print(
        f"{name}: attack success {result.attack_success_rate:.3f},"
        f" base rate {result.base_rate:.3f}, accuracy {result.poisoned_accuracy:.3f}"
    )
plt.show()
