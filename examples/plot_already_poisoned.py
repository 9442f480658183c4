"""
=================================================
Choosing on data that may already hold a backdoor
=================================================

If training data are poisoned already, so are the folds of a cross-validation. Accuracy on them
*rewards* learning the backdoor, by up to the poisoning rate, and a small `max_accuracy_drop` then
picks a model that has learned it. Here is the trap, and three ways out.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, PredefinedSplit, train_test_split
from sklearn.svm import SVC
from sklearn.utils import shuffle

from skbackdoor import (
    Attack,
    BackdoorPoisoner,
    LeaveGroupOutDetector,
    PatchTrigger,
    PerClassTrigger,
    SanitizedClassifier,
    attack_success_rate,
    evaluate_defense,
    load_digits_pair,
    most_robust,
    neg_backdoor_slope_scorer,
)

# %%
# Somebody has poisoned a tenth of the training images of 1 and 7, with a patch for each digit. We
# do not know it. A few images we have looked at ourselves: they are the trusted set.

X, y = load_digits_pair((7, 1), return_X_y=True)
X_train, X, y_train, y = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
X_trusted, X_test, y_trusted, y_test = train_test_split(
    X, y, test_size=0.7, stratify=y, random_state=0
)
attack = Attack(
    PerClassTrigger(PatchTrigger(size=3, value="random", image_shape=(8, 8))),
    target="next",
    random_state=0,
).fit(X_train, y_train)
X_given, y_given, is_poison = shuffle(*attack.poison(X_train, y_train), random_state=0)
X_triggered, _ = attack.triggered(X_test, y_test)
print(
    f"given: {len(X_given)} images, {is_poison.sum()} of them poisoned; trusted: {len(X_trusted)}"
)

# %%
# The same search three times. Its probe has a trigger that we make up, in another corner. The
# first validates on folds of what was given; the second does, too, but tolerates a loss of
# accuracy beyond the rate that it fears; the third validates on the trusted set only.

Cs = [0.03, 0.1, 0.3, 1, 3, 10, 30]
probe = BackdoorPoisoner(
    SVC(tol=1e-5),
    PatchTrigger(size=3, position="top-left", image_shape=(8, 8)),
    target="next",
    poison_weight=0.0,
    random_state=0,
)


def search(max_accuracy_drop, cv=None):
    return GridSearchCV(
        probe,
        {"estimator__C": Cs},
        scoring={"accuracy": "accuracy", "robustness": neg_backdoor_slope_scorer},
        refit=most_robust(max_accuracy_drop),
        cv=cv,
    )


def report(name, model):
    success = attack_success_rate(y_test, model.predict(X_triggered), target="next")
    print(
        f"{name:28s} C={model.C:<5g} test accuracy {model.score(X_test, y_test):.3f},"
        f" attack success {success:.2f}"
    )


X_all, y_all = np.concatenate([X_given, X_trusted]), np.concatenate([y_given, y_trusted])
on_trusted = PredefinedSplit(np.repeat([-1, 0], [len(X_given), len(X_trusted)]))
searches = {
    "folds, tolerance 0.02": search(0.02).fit(X_given, y_given),
    "folds, tolerance 0.12": search(0.12).fit(X_given, y_given),
    "trusted set, tolerance 0.02": search(0.02, on_trusted).fit(X_all, y_all),
}
for name, found in searches.items():
    report(name, found.best_estimator_.estimator_)

# %%
# Why: accuracy on folds climbs to the right, as models learn the poison in the other folds and are
# right about the poison in this one. Accuracy on the trusted set has nothing to gain there.

success = [
    attack_success_rate(y_test, SVC(C=C).fit(X_given, y_given).predict(X_triggered), target="next")
    for C in Cs
]
fig, ax = plt.subplots(layout="constrained")
for name, style in (("folds, tolerance 0.02", "o-"), ("trusted set, tolerance 0.02", "s-")):
    accuracy = searches[name].cv_results_["mean_test_accuracy"]
    ax.semilogx(Cs, accuracy, style, label="accuracy on " + name.split(",")[0])
ax.semilogx(Cs, success, "^--", label="attack success")
ax.set(xlabel="C", ylim=(-0.03, 1.03))
ax.legend(loc="lower right")

# %%
# The third way out needs no trusted set, and no rate to be feared: find the poison. It is a group
# of rows that only their own kind supports. Leave them all out, and a model gives them another
# label; rows of an honest class are vouched for by the others of it. The search stands inside the
# `SanitizedClassifier`, so that the poison is looked for once, and no fold holds what was found.

sanitized = SanitizedClassifier(search(0.02), LeaveGroupOutDetector()).fit(X_given, y_given)
detector = sanitized.detector_
for group in detector.groups_:
    print(
        f"label {group.label}: {len(group.indices)} rows, of which {group.flip:.2f} get another"
        f" label without them ({group.verdict})"
    )
print(
    f"of the poison {detector.is_poison_[is_poison].mean():.2f} is found, and of the clean images"
    f" {detector.is_poison_[~is_poison].mean():.3f} are taken for it"
)
report("sanitized, tolerance 0.02", sanitized.estimator_.best_estimator_.estimator_)

# %%
# Without the poison no accuracy has to be given up for robustness against *this* backdoor. Here is
# what the detector does for a model that takes in whatever it is given. One that finds nothing
# would prove nothing, though: choose a robust model all the same.

defended = SanitizedClassifier(SVC(C=30), LeaveGroupOutDetector())
row = evaluate_defense(SVC(C=30), defended, attack, X_train, y_train, X_test, y_test)
print(f"accuracy {row.accuracy_before:.2f}, with the defence {row.accuracy_after:.2f}")
print(f"success {row.attack_success_before:.2f}, with the defence {row.attack_success_after:.2f}")
print(f"its base rate {row.base_rate:.2f}")

# %%
# The slope has a trap, too. theta says how fast a model would take *more* poison in: of a backdoor
# that it has learned already it is small. So take a trigger for the probe that cannot be in the
# data, as above. In a row each C, with its theta for the made-up trigger and for the attacker's:

probe.set_params(trigger=attack.trigger_)
known = search(0.02).fit(X_given, y_given).cv_results_["mean_test_robustness"]
made_up = searches["folds, tolerance 0.02"].cv_results_["mean_test_robustness"]
for C, first, second, share in zip(Cs, -made_up, -known, success, strict=True):
    print(f"C={C:<5g} made up {first:.3f}   attacker's {second:.3f}   attack success {share:.2f}")
plt.show()
