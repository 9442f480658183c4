"""What leaving groups out costs, beside a search for an SVM's parameters on the same rows.

    python benchmarks/bench_detection_speed.py --mnist mnist.npz [--sizes 750 1500 3000]
        [--whole] > benchmarks/results/detection_speed.md

MNIST, ten classes, 784 pixels, a patch on 2 % of the rows ("replace", to 9). For each number of
rows: `LeaveGroupOutDetector().fit` and, in turn, `GridSearchCV(SVC(), 4 gammas x 4 C, cv=5)`; the
exponent is that of time in n. `--whole`: the detector alone on 60,000 rows, of which it searches
6,000 and holds the others against what it found. Memory is the largest of the process, in GiB.
"""

import argparse
import resource
import time

import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from skbackdoor import Attack, LeaveGroupOutDetector, PatchTrigger, fetch_mnist

GRID = {"gamma": [0.005, 0.01, 0.02, 0.04], "C": [0.1, 1, 10, 100]}


def poisoned(path, n):
    X, y, _, _ = fetch_mnist(
        n_train=n, n_test=100, path=path, random_state=0, digits=range(10), return_X_y=True
    )
    attack = Attack(
        PatchTrigger(3, image_shape=(28, 28)),
        target=9,
        poisoning_rate=0.02,
        placement="replace",
        random_state=0,
    )
    return attack.fit(X, y).poison(X, y)


def seconds(function):
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def gib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def found(detector, is_poison):
    removed = detector.is_poison_
    return f"{removed[is_poison].mean():.2f} | {removed[~is_poison].mean():.2%}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--mnist", required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=[750, 1500, 3000])
    parser.add_argument("--whole", action="store_true")
    args = parser.parse_args()
    print("# What leaving groups out costs\n")
    if args.sizes:
        print("| rows | detector s | GridSearchCV(SVC), 80 fits, s | ratio (limit 1) | recall |"
              " false positives | memory GiB |")  # fmt: skip
        print("|---" * 7 + "|")
    taken = []
    for n in args.sizes:
        X, y, is_poison = poisoned(args.mnist, n)
        detector, ours = seconds(lambda: LeaveGroupOutDetector().fit(X, y))  # noqa: B023
        _, theirs = seconds(lambda: GridSearchCV(SVC(), GRID, cv=5).fit(X, y))  # noqa: B023
        taken.append((ours, theirs))
        print(
            f"| {n} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f} |"
            f" {found(detector, is_poison)} | {gib():.2f} |",
            flush=True,
        )
    if len(taken) > 1:
        slopes = np.polyfit(np.log(args.sizes), np.log(taken), 1)[0]
        print(f"\nExponent of time in n: detector {slopes[0]:.2f}, search {slopes[1]:.2f}.")
    if args.whole:
        X, y, is_poison = poisoned(args.mnist, 60_000)
        detector, ours = seconds(lambda: LeaveGroupOutDetector().fit(X, y))
        print("\n| rows | minutes (limit 15) | recall | false positives | memory GiB (limit 8) |")
        print("|---" * 5 + "|")
        print(
            f"| 60000 | {ours / 60:.1f} | {found(detector, is_poison)} | {gib():.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
