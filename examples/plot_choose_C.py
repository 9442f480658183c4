"""
==================
Choose C of an SVM
==================

An SVM is to tell 4 from 9. Which C makes it accurate, and which makes it hard to backdoor?
`GridSearchCV` asks both questions of each candidate; :func:`~skbackdoor.most_robust` answers them
together.
"""

import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorPoisoner,
    PatchTrigger,
    evaluate_attack,
    load_digits_pair,
    most_robust,
    neg_backdoor_slope_scorer,
)

X, y = load_digits_pair((4, 9), return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.4, stratify=y, random_state=0
)

# %%
# The attack that we fear: a white patch of 3 x 3 pixels on a tenth of the images, and the other
# label on them. ``poison_weight=0.0`` means that nothing is poisoned: the candidates are fitted on
# clean data, and the backdoor learning slope theta
# (:func:`~skbackdoor.backdoor_learning_slope`) says how fast they would take the backdoor in. The
# copies of an attack are appended where nothing else is said, so that the clean fit is one of all
# the rows; with ``placement="replace"`` it would lack those of the victims.

attack = BackdoorPoisoner(
    SVC(tol=1e-5),
    PatchTrigger(size=3, image_shape=(8, 8)),
    target="next",
    poison_weight=0.0,
    random_state=0,
)
search = GridSearchCV(
    attack,
    {"estimator__C": [0.03, 0.1, 0.3, 1, 3, 10, 30, 100]},
    scoring={"accuracy": "accuracy", "robustness": neg_backdoor_slope_scorer},
    refit=most_robust(max_accuracy_drop=0.02),
).fit(X_train, y_train)
model = search.best_estimator_.estimator_  # an ordinary SVC, fitted on clean data
print(f"C={model.C}, test accuracy {model.score(X_test, y_test):.3f}")

# %%
# As a check, every candidate is now really poisoned. Attack success is the share of triggered test
# images that get the attacker's label; its base rate is the same share for the clean model. It is
# asked for with ``poison_weight=1.0``: at 0 nothing is poisoned, and that is an error.

Cs = [params["estimator__C"] for params in search.cv_results_["params"]]
rows = [
    evaluate_attack(
        attack.set_params(estimator__C=C, poison_weight=1.0), X_train, y_train, X_test, y_test
    )
    for C in Cs
]

fig, ax = plt.subplots(layout="constrained")
ax.semilogx(Cs, search.cv_results_["mean_test_accuracy"], "o-", label="accuracy of clean model")
ax.semilogx(Cs, -search.cv_results_["mean_test_robustness"], "s-", label="theta of clean model")
ax.semilogx(Cs, [row.attack_success_rate for row in rows], "^--", label="attack success")
ax.semilogx(Cs, [row.base_rate for row in rows], "v--", label="its base rate")
ax.axvline(search.best_params_["estimator__C"], color="gray", linestyle=":", label="chosen")
ax.set(xlabel="C", ylim=(-0.03, 1.03))
fig.legend(loc="outside upper center", ncols=3)
plt.show()
