"""What a grid of slopes and poisoned fits costs, against one scikit-learn fit a model.

    python benchmarks/bench_slope_grid.py [--mnist FILE_OR_FOLDER] [--repeats 3] [--size 6]
        [--learners "linear SVM" logistic ridge "rbf SVM"] > benchmarks/results/slope_grid.md

The grid of Cinà et al. 2024, Figs 5-8: MNIST 7 vs 1 (1500 training, 500 test samples), a random
patch per class, target "next", p = 0.1, placement "replace"; 10 C for each of linear SVM, logistic
regression (liblinear) and ridge (alpha = 1 / (2 C)), 10 C x 5 gamma for the rbf SVM; 5 attacks:
400 cells. Each needs theta, clean accuracy, base rate, poisoned accuracy and attack success.

The alternative fits the clean and the poisoned model of each cell with scikit-learn's defaults,
inverts a dense Hessian of the clean one (of an SVM the bordered kernel matrix of its free support
vectors) and multiplies, as the published code does, one cell after the other. It is timed on 80
of the 400 cells: every setting with one of the five attacks, drawn at random; its seconds are
those times 5. Both sides run in turn, each for seconds and so without warm-up; ratios are minimum
- median - maximum over the repeats. `slope_grid` has a third time, with `n_jobs=2`, against the
alternative at its faster setting of threads. Progress goes to stderr.
"""

import argparse
import sys
import time
import warnings
from functools import partial

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.model_selection import ParameterGrid
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from skbackdoor import BackdoorPoisoner, PatchTrigger, PerClassTrigger, fetch_mnist, slope_grid

SEEDS = range(5)
CS = np.logspace(-4, 3, 10)
GAMMAS = np.logspace(np.log10(5e-4), np.log10(5e-2), 5)
LEARNERS = {
    "linear SVM": (SVC(kernel="linear"), {"estimator__C": CS}),
    "logistic": (LogisticRegression(solver="liblinear"), {"estimator__C": CS}),
    "ridge": (RidgeClassifier(), {"estimator__alpha": 1.0 / (2.0 * CS)}),
    "rbf SVM": (
        SVC(),
        {"estimator__gamma": GAMMAS, "estimator__C": np.logspace(-1, 2, 10)},
    ),
}
THREADS = (None, 1)
LIMIT = 8


def log(text):
    print(text, file=sys.stderr, flush=True)


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def attack_on(learner, size):
    trigger = PerClassTrigger(PatchTrigger(size=size, value="random", image_shape=(28, 28)))
    return BackdoorPoisoner(
        learner, trigger, target="next", poisoning_rate=0.1, placement="replace", random_state=0
    )


def seconds(run, threads):
    time.sleep(0.1)  # idle BLAS threads of the side before spin on for a while
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        run()
        return time.perf_counter() - start


# -- the alternative ---------------------------------------------------------------------------


class Attacked:
    """What every cell of one attack is given: poisoned set, its copies, triggered test samples."""

    def __init__(self, poisoner, seed, X, y, X_test, y_test):
        attack = clone(poisoner).set_params(random_state=seed)
        attack.draw(X, y)
        self.X, self.y, is_poison = attack.poison(X, y)
        self.copies, self.targets = self.X[is_poison], self.y[is_poison]
        self.X_triggered, self.y_triggered, _ = attack.triggered_test(X_test, y_test)


def signs(y):
    return np.where(y == 7, 1.0, -1.0)


def theta_of(derivative, n_poison):
    return -2.0 / np.pi * np.arctan(derivative / n_poison)


def svm_derivative(svc, attacked):
    """Bordered kernel matrix of the free support vectors; copies within the margin push."""
    v, X_free = svc.dual_coef_[0], svc.support_vectors_
    free = np.abs(v) < svc.C * (1 - 1e-8)
    X_free, n_free = X_free[free], int(free.sum())

    def kernel(A, B):
        return linear_kernel(A, B) if svc.kernel == "linear" else rbf_kernel(A, B, svc.gamma)

    y, y_test = signs(attacked.targets), signs(attacked.y_triggered)
    inside = y * svc.decision_function(attacked.copies) < 1
    X_inside, duals = attacked.copies[inside], svc.C * y[inside]
    dF = kernel(attacked.X_triggered, X_inside) @ duals
    if n_free:
        border = np.ones((n_free + 1, n_free + 1))
        border[0, 0] = 0.0
        border[1:, 1:] = kernel(X_free, X_free)
        right = np.concatenate([[duals.sum()], kernel(X_free, X_inside) @ duals])
        answer = -np.linalg.pinv(border) @ right
        dF += answer[0] + kernel(attacked.X_triggered, X_free) @ answer[1:]
    hit = y_test * svc.decision_function(attacked.X_triggered) < 1
    return np.mean(np.where(hit, -y_test * dF, 0.0))


def linear_derivative(learner, attacked, X, curvature, slope, penalty):
    """H = Z^T diag(curvature) Z + penalty, inverted; slope(F, y) is the loss' derivative."""
    Z, Z_copies, Z_test = (
        np.column_stack([rows, np.ones(len(rows))])
        for rows in (X, attacked.copies, attacked.X_triggered)
    )
    hessian = (Z.T * curvature) @ Z + np.diag(penalty)
    w = np.append(learner.coef_, learner.intercept_)
    of_copies = Z_copies.T @ slope(Z_copies @ w, signs(attacked.targets))
    of_test = Z_test.T @ slope(Z_test @ w, signs(attacked.y_triggered)) / len(Z_test)
    return -of_test @ np.linalg.inv(hessian) @ of_copies


def derivative_of(learner, attacked, X):
    n_features = X.shape[1]
    if isinstance(learner, SVC):
        return svm_derivative(learner, attacked)
    if isinstance(learner, RidgeClassifier):
        penalty = np.append(np.full(n_features, 2.0 * learner.alpha), 0.0)
        return linear_derivative(
            learner, attacked, X, np.full(len(X), 2.0), lambda F, y: 2.0 * (F - y), penalty
        )
    share = 1.0 / (1.0 + np.exp(-learner.decision_function(X)))
    return linear_derivative(
        learner,
        attacked,
        X,
        share * (1 - share),
        lambda F, y: -y / (1.0 + np.exp(np.clip(y * F, -500, 500))),
        np.full(n_features + 1, 1.0 / learner.C),  # liblinear's penalty takes in the intercept
    )


def cell(learner, attacked, X, y, X_test, y_test):
    """theta, clean accuracy, base rate, poisoned accuracy and attack success of one cell."""
    clean = clone(learner).fit(X, y)
    poisoned = clone(learner).fit(attacked.X, attacked.y)
    theta = theta_of(derivative_of(clean, attacked, X), len(attacked.copies))
    shares = [
        np.mean(model.predict(rows) == labels)
        for model in (clean, poisoned)
        for rows, labels in ((X_test, y_test), (attacked.X_triggered, attacked.y_triggered))
    ]
    return theta, *shares


class Alternative:
    """The sampled cells of one learner."""

    def __init__(self, poisoner, params, data, rng):
        self.data, self.settings = data, list(ParameterGrid(params))
        self.learners = [
            clone(poisoner).set_params(**setting).estimator for setting in self.settings
        ]
        self.seeds = rng.randint(len(SEEDS), size=len(self.settings))
        self.poisoner = poisoner

    def run(self):
        attacks = {seed: Attacked(self.poisoner, seed, *self.data) for seed in set(self.seeds)}
        self.values = np.array(
            [
                cell(learner, attacks[seed], *self.data)
                for learner, seed in zip(self.learners, self.seeds, strict=True)
            ]
        )

    def differences(self, grid):
        """Largest difference of each share from those of a grid."""
        ours = [grid.clean_accuracy, grid.base_rate, grid.poisoned_accuracy]
        ours = np.array([*ours, grid.attack_success_rate])[:, range(len(self.seeds)), self.seeds]
        return np.abs(ours.T - self.values[:, 1:]).max(axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mnist", default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, default=6)
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    args = parser.parse_args()
    data = fetch_mnist(path=args.mnist, random_state=0, return_X_y=True)
    rng, grids = np.random.RandomState(0), {}
    ours, others, alternatives = [], [], []
    for name in args.learners:
        learner, params = LEARNERS[name]
        attack = attack_on(learner, args.size)
        alternatives.append(Alternative(attack, params, data, rng))
        others.append(alternatives[-1].run)

        def run(n_jobs=None, name=name, attack=attack, params=params):
            grids[name] = slope_grid(
                attack, params, *data, random_states=SEEDS, fit_poisoned=True, n_jobs=n_jobs
            )

        ours.append(run)
    Parallel(n_jobs=2)(delayed(time.sleep)(0.1) for _ in range(4))  # processes are started
    # repeats x learners x (slope_grid, alternative) x settings
    times = np.empty((args.repeats, len(args.learners), 2, len(THREADS) + 1))
    for r in range(args.repeats):
        for k, name in enumerate(args.learners):
            for t, threads in enumerate(THREADS):
                pair = seconds(ours[k], threads), len(SEEDS) * seconds(others[k], threads)
                log(f"{r} {name}, threads {threads}: {pair[0]:.2f} s against {pair[1]:.2f} s")
                times[r, k, :, t] = pair
            both = seconds(partial(ours[k], 2), None), times[r, k, 1, :-1].min()
            log(f"{r} {name}, n_jobs=2: {both[0]:.2f} s against {both[1]:.2f} s")
            times[r, k, :, -1] = both
    print("`python benchmarks/bench_slope_grid.py " + " ".join(sys.argv[1:]) + "`")
    print(f"\n### slope_grid with poisoned fits, patch {args.size}x{args.size},"
          f" {args.repeats} repeats\n")  # fmt: skip
    row("learner", "cells", "threads", "one by one s", "slope_grid s", "ratio min - med - max",
        "to the faster threads of both", "limit")  # fmt: skip
    row(*["---"] * 8)
    cells = [len(other.seeds) * len(SEEDS) for other in alternatives]
    rows = [(name, cells[k], times[:, k]) for k, name in enumerate(args.learners)]
    rows.append(("all", sum(cells), times.sum(axis=1)))
    for name, n_cells, part in rows:
        best = part[:, :, :-1].min(axis=2)  # of the two thread settings, for each side
        best = np.median(best[:, 1] / best[:, 0])
        for t, threads in enumerate(("all", "1", "n_jobs=2; faster of both")):
            ratio = np.quantile(part[:, 1, t] / part[:, 0, t], [0.0, 0.5, 1.0])
            own, other = np.median(part[:, :, t], axis=0)
            row(
                name,
                n_cells,
                threads,
                f"{other:.1f}",
                f"{own:.2f}",
                " - ".join(f"{value:.1f}" for value in ratio),
                f"{best:.1f}" if t < len(THREADS) else "",
                f">= {LIMIT}" if name == "all" else "",
            )
    print("\n### Largest difference between the two sides over the sampled cells\n")
    row("learner", "clean accuracy", "base rate", "poisoned accuracy", "attack success")
    row(*["---"] * 5)
    for name, alternative in zip(args.learners, alternatives, strict=True):
        row(name, *(f"{value:.3f}" for value in alternative.differences(grids[name])))


if __name__ == "__main__":
    main()
