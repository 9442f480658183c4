"""What the slope scorer costs: GridSearchCV scored by it against the same search by accuracy.

    python benchmarks/bench_scorer.py [--mnist FILE_OR_FOLDER] [--repeats 5] [--cv 5]

MNIST 7 vs 1 (n = 1500, d = 784) where a local copy is given or can be fetched. Both searches run
in turn, on the machine's threads and under one BLAS thread; the ratios are printed as
minimum - median - maximum over the repeats.
"""

import argparse
import time
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from skbackdoor import (
    BackdoorPoisoner,
    PatchTrigger,
    PerClassTrigger,
    backdoor_slope_scorer,
    fetch_mnist,
)

LEARNERS = {
    "logistic": (LogisticRegression(), "estimator__C", np.logspace(-4, 2, 10)),
    "rbf svm": (SVC(gamma=5e-3), "estimator__C", np.logspace(-2, 4, 10)),
    "ridge": (RidgeClassifier(), "estimator__alpha", np.logspace(-2, 4, 10)),
}
LIMITS = {
    None: {"logistic": 1.5, "rbf svm": 1.5, "ridge": 2.5},
    1: {"logistic": 2.5, "rbf svm": 1.75, "ridge": 2.5},
}


def seconds(probe, name, values, scoring, cv, X, y):
    search = GridSearchCV(probe, {name: values}, scoring=scoring, cv=cv, error_score="raise")
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(X, y)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", default=None, help="local file or folder with MNIST")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cv", type=int, default=5)
    args = parser.parse_args()
    X, y, _, _ = fetch_mnist(path=args.mnist, random_state=0, return_X_y=True)
    print(f"n={len(X)} d={X.shape[1]} cv={args.cv}, 10 candidates, {args.repeats} repeats")
    print(f"{'learner':10s} {'threads':8s} {'accuracy s':>10s} {'slope s':>8s}  ratio min-med-max")
    for limit in (None, 1):
        for learner, (estimator, name, values) in LEARNERS.items():
            trigger = PerClassTrigger(PatchTrigger(size=3, value="random", image_shape=(28, 28)))
            probe = BackdoorPoisoner(
                estimator, trigger, target="next", poison_weight=0.0, random_state=0
            )
            times = []
            with threadpool_limits(limit):
                for _ in range(args.repeats):
                    times.append(
                        [
                            seconds(probe, name, values, scoring, args.cv, X, y)
                            for scoring in ("accuracy", backdoor_slope_scorer)
                        ]
                    )
            times = np.array(times)
            ratio = times[:, 1] / times[:, 0]
            accuracy, slope = np.median(times, axis=0)
            print(
                f"{learner:10s} {'all' if limit is None else limit!s:8s} {accuracy:10.2f}"
                f" {slope:8.2f}  {ratio.min():.2f}-{np.median(ratio):.2f}-{ratio.max():.2f}"
                f"  (limit {LIMITS[limit][learner]})",
                flush=True,
            )


if __name__ == "__main__":
    main()
