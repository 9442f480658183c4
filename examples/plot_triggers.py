"""
================
All the triggers
================

Every trigger is a transformer: `fit` on training data, `transform` any samples. Here is what each
makes of the same digits, beside the difference; a Pipeline of triggers is a trigger, too.
"""

# sphinx_gallery_multi_image = "single"
import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline

from skbackdoor import (
    BlendTrigger,
    LowVarianceTrigger,
    PatchTrigger,
    SinusoidTrigger,
    StripeTrigger,
    TriggerDisplay,
    WarpTrigger,
    load_digits_pair,
)

X, y = load_digits_pair((4, 9), return_X_y=True)
layout = {"image_shape": (8, 8)}
rings = np.sin(np.hypot(*np.mgrid[-4:4, -4:4]) * 2) / 2 + 0.5

triggers = {
    "patch": PatchTrigger(2, **layout),
    "patch at random places": PatchTrigger(2, position="random", random_state=0, **layout),
    "stripe": StripeTrigger(75 / 255, **layout),
    "sinusoid": SinusoidTrigger(0.4, period=4, alpha=0.3, **layout),
    "SIG": SinusoidTrigger(20 / 255, period=8 / 6, additive=True, alpha=1, **layout),
    "low variance": LowVarianceTrigger(random_state=0, **layout),
    "blend": BlendTrigger(rings, alpha=0.3, **layout),
    "warp": WarpTrigger(strength=2, random_state=0, **layout),
    "patch, then sinusoid": make_pipeline(
        PatchTrigger(2, **layout), SinusoidTrigger(0.4, period=4, alpha=0.3, **layout)
    ),
}
for name, trigger in triggers.items():
    display = TriggerDisplay.from_estimator(trigger.fit(X), X, y, n_samples=4)
    display.figure_.suptitle(name)

plt.show()
