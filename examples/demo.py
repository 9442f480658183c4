"""Which regularization keeps a digit classifier accurate and hard to backdoor?

    python examples/demo.py [--digits 4 9] [--max-accuracy-drop 0.02] [--output FILE.png]

For each learner and each C: accuracy and backdoor slope theta of the clean model by
cross-validation, which is all that the choice looks at; then, as a check, the attack is really
carried out on test data: what it achieves with a tenth of poison, and from which share of poison
on it works.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorLearningCurveDisplay,
    BackdoorPoisoner,
    PatchTrigger,
    PerClassTrigger,
    backdoor_breakdown,
    backdoor_learning_curve,
    load_digits_pair,
    most_robust,
    neg_backdoor_slope_scorer,
)

CS = np.logspace(-3, 3, 7)
LEARNERS = {  # learner, its parameter, the value of it for C
    "RBF SVM": (SVC(tol=1e-5), "C", lambda C: C),
    "logistic regression": (LogisticRegression(tol=1e-6, max_iter=1000), "C", lambda C: C),
    "ridge": (RidgeClassifier(), "alpha", lambda C: 1 / (2 * C)),
}


def search_regularization(probe, parameter, values, max_drop, X, y):
    """Accuracy and slope of the clean model for every value, and the choice by slope."""
    search = GridSearchCV(
        probe,
        {f"estimator__{parameter}": values},
        scoring={"accuracy": "accuracy", "robustness": neg_backdoor_slope_scorer},
        refit=most_robust(max_accuracy_drop=max_drop),
        error_score="raise",
    )
    return search.fit(X, y)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, nargs=2, default=(4, 9), metavar="D")
    parser.add_argument("--max-accuracy-drop", type=float, default=0.02)
    parser.add_argument("--output", type=Path, default=Path("backdoor_learning_curve.png"))
    args = parser.parse_args()
    matplotlib.use("Agg")
    warnings.simplefilter("error", ConvergenceWarning)
    start = time.perf_counter()

    def progress(text):
        print(f"[{time.perf_counter() - start:4.1f} s] {text}", file=sys.stderr, flush=True)

    X, y = load_digits_pair(args.digits, return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.4, stratify=y, random_state=0
    )
    data = X_train, y_train, X_test, y_test
    trigger = PerClassTrigger(PatchTrigger(size=3, value="random", image_shape=(8, 8)))
    print(
        f"Digits {args.digits[0]} and {args.digits[1]}, {len(X_train)} training and {len(X_test)}"
        " test images of 8 x 8.\nThe attack: 10 % of the training images get a 3 x 3 patch in a"
        " corner and the other label.\n"
    )

    curves, breaks = {}, {}
    for name, (estimator, parameter, value_of) in LEARNERS.items():
        progress(f"{name}: choosing C by cross-validation")
        attack = BackdoorPoisoner(estimator, trigger, target="next", random_state=0)
        probe = clone(attack).set_params(poison_weight=0.0)
        values = [value_of(C) for C in CS]
        search = search_regularization(
            probe, parameter, values, args.max_accuracy_drop, X_train, y_train
        )
        accuracy = search.cv_results_["mean_test_accuracy"]
        theta = -search.cv_results_["mean_test_robustness"]
        by_accuracy, by_slope = int(np.argmax(accuracy)), search.best_index_

        progress(f"{name}: really poisoning it, more and more, {len(CS)} times")
        print(f"{name}\n       C  accuracy   theta  breaks down at  base rate  attack success")
        for i, (C, value) in enumerate(zip(CS, values, strict=True)):
            candidate = clone(attack).set_params(**{f"estimator__{parameter}": value})
            result = backdoor_breakdown(candidate, *data)
            notes = ["best accuracy"] * (i == by_accuracy) + ["by slope"] * (i == by_slope)
            if result.clean_accuracy < 0.6:
                notes.append("gives one label to nearly everybody")
            elif not result.collapse_censored:
                notes.append(f"one label from {result.collapse_rate:.1%} on")
            rate = f"{'> ' * result.censored}{result.rate:.2%}"
            print(
                f"{C:8g} {accuracy[i]:9.3f} {theta[i]:7.3f} {rate:>15} {result.base_rate:10.2f}"
                f" {result.attack_success_rate:15.2f}{'  <- ' * bool(notes)}{', '.join(notes)}"
            )
            if name == "RBF SVM" and i in (by_accuracy, by_slope):
                why = "best accuracy" if i == by_accuracy else "by slope"
                curves[f"C={C:g} ({why})"] = backdoor_learning_curve(candidate, *data)
                share = result.n_poison / len(X_train)
                breaks[f"C={C:g} ({why})"] = None if result.censored else result.rate / share
        print()

    display = BackdoorLearningCurveDisplay.from_results(curves)
    for lines, weight in zip(display.lines_[3::4], breaks.values(), strict=True):
        if weight is not None:  # where the backdoor begins to work
            display.axes_[1].axvline(weight, color=lines.get_color(), linestyle=":")
    display.figure_.savefig(args.output, dpi=150)
    progress("done")
    print(
        "accuracy, theta: cross-validated, clean model; theta in [-1, 1], the larger the easier to"
        " backdoor.\nbreaks down at: the share of poison from which on the backdoor works on half"
        " of the test images\nthat the clean model gets right; >: all of the attack's poison does"
        " not do it.\n"
        "base rate, attack success: share of triggered test images that the clean model, and the"
        " one poisoned\nwith all of it, give the attacker's label. A model that collapses gives"
        " clean images that label, too.\n"
        f"The RBF SVM's learning curves, and where it breaks down (dotted), are in"
        f" {args.output.resolve()}\n\n"
        "Next, with your own classifier and data:\n\n"
        "    from sklearn.model_selection import GridSearchCV\n"
        "    from skbackdoor import (BackdoorPoisoner, PatchTrigger, most_robust,\n"
        "                            neg_backdoor_slope_scorer, search_report)\n"
        "    trigger = PatchTrigger(size=3, image_shape=(28, 28))\n"
        "    probe = BackdoorPoisoner(your_classifier, trigger, target='next',\n"
        "                             poison_weight=0.0, random_state=0)\n"
        "    search = GridSearchCV(probe, {'estimator__C': [0.01, 0.1, 1, 10]},\n"
        "        scoring={'accuracy': 'accuracy', 'robustness': neg_backdoor_slope_scorer},\n"
        "        refit=most_robust(max_accuracy_drop=0.02)).fit(X, y)\n"
        "    model = search.best_estimator_.estimator_\n"
        "    print(search_report(search, X, y, X_test, y_test))\n\n"
        "No images? FeatureTrigger({'column': value}) sets columns of a table. README.md says"
        " what the numbers mean."
    )


if __name__ == "__main__":
    main()
