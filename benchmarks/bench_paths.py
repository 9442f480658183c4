"""What weight paths cost and how exact they are, against scikit-learn refits.

    python benchmarks/bench_paths.py [--mnist FILE_OR_FOLDER] [--repeats 5]
        [--only speed machines grid dense slope reuse exact growth] [--limit 300]
        > benchmarks/results/paths.md

MNIST 7 vs 1 (n = 1500, d = 784), a random 3x3 patch per class, target "next", p = 0.1 (m = 150),
20 poison weights. Both sides run in turn, after one warm-up of each; ratios are minimum - median -
maximum over the repeats. "growth" runs only when it is asked for. Progress goes to stderr.

It is long because its eight parts share data, references and tables: one run makes one page.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lstsq
from scipy.special import expit
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.model_selection import ParameterGrid
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from skbackdoor import (
    BackdoorPoisoner,
    FeatureTrigger,
    PatchTrigger,
    PerClassTrigger,
    backdoor_learning_slope,
    fetch_mnist,
    slope_grid,
    weight_path,
)
from skbackdoor.slope import slopes_of_fit

WEIGHTS = np.linspace(0.0, 1.0, 20) ** 2
THREADS = (None, 1)
SECTIONS = ("speed", "machines", "grid", "dense", "slope", "reuse", "exact", "growth")

#: Name, learner, least ratio to SVC(X) refits and to refits on one kernel matrix.
MACHINES = (
    ("linear SVM C=0.1", SVC(kernel="linear", C=0.1), 12, 1),
    ("linear SVM C=10", SVC(kernel="linear", C=10.0), 12, 1),
    ("rbf SVM 5e-4 C=1", SVC(gamma=5e-4, C=1.0), 12, 1),
    ("rbf SVM 5e-3 C=100", SVC(gamma=5e-3, C=100.0), 12, 1),
    ("rbf SVM 5e-2 C=1 (most on the margin)", SVC(gamma=5e-2, C=1.0), 12, None),
)
SOLVERS = ("newton-cg", "lbfgs", "newton-cholesky", "liblinear")
TOLERANCES = (1e-4, 1e-6, 1e-8)


def log(text):
    print(text, file=sys.stderr, flush=True)


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def table(title, header):
    print(f"\n### {title}\n")
    row(header)
    row(*["---"] * (header.count(" | ") + 1))


def spread(values, form=".2f"):
    low, middle, high = np.quantile(values, [0.0, 0.5, 1.0])
    return f"{low:{form}} - {middle:{form}} - {high:{form}}"


def named(threads):
    return "all" if threads is None else str(threads)


def seconds(run, threads=None):
    time.sleep(0.1)  # idle BLAS threads of the side before spin on for a while
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        run()
        return time.perf_counter() - start


def in_turn(sides, repeats):
    """Times of shape (repeats, n_sides); a side is a callable and its threads."""
    for side in sides:
        seconds(*side)
    return np.array([[seconds(*side) for side in sides] for _ in range(repeats)])


class Data:
    """Clean rows above poison rows, as a poisoner draws them."""

    def __init__(self, mnist):
        train_test = fetch_mnist(path=mnist, random_state=0, return_X_y=True)
        self.X_clean, self.y_clean, self.X_test, self.y_test = train_test
        self.X, self.y, self.is_poison = poisoned(probe(SVC()), self.X_clean, self.y_clean)
        self.signs = np.where(self.y == self.y.max(), 1.0, -1.0)

    def sample_weight(self, beta):
        return np.where(self.is_poison, beta, 1.0)

    def path(self, estimator, weights=WEIGHTS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return weight_path(estimator, self.X, self.y, self.is_poison).solve(weights)

    def refits(self, estimator, X=None, weights=WEIGHTS):
        X = self.X if X is None else X
        for beta in weights:
            clone(estimator).fit(X, self.y, sample_weight=self.sample_weight(beta))

    def kernel_refits(self, svc, weights=WEIGHTS):
        self.refits(clone(svc).set_params(kernel="precomputed"), gram(svc, self.X), weights)


def probe(estimator):
    trigger = PerClassTrigger(PatchTrigger(size=3, value="random", image_shape=(28, 28)))
    return BackdoorPoisoner(estimator, trigger, target="next", poison_weight=0.0, random_state=0)


def sparse_probe(estimator):
    trigger = FeatureTrigger({0: 1.0, 1: 1.0})
    return BackdoorPoisoner(estimator, trigger, target=1, poison_weight=0.0, random_state=0)


def poisoned(attack, X, y):
    """Clean rows, then poison rows; their labels; which are poison."""
    attack.draw(X, y)
    return attack.poison(X, y)


def gram(svc, X):
    return linear_kernel(X) if svc.kernel == "linear" else rbf_kernel(X, gamma=svc.gamma)


# -- speed -------------------------------------------------------------------------------------


def objective(data, C, w, b, beta):
    losses = np.logaddexp(0.0, -data.signs * (data.X @ w + b))
    return data.sample_weight(beta) @ losses + w @ w / (2.0 * C)


def reaching(data, C, solution, betas, gap=1e-6):
    """For each solver the setting of loosest tol that reaches the gap to the path's objective."""
    best = [
        objective(data, C, solution.coef[k, 0], solution.intercept[k, 0], beta)
        for k, beta in enumerate(betas)
    ]
    for solver in SOLVERS:
        # liblinear penalises the intercept: the same objective only as the scaling grows.
        scalings = (1.0, 10.0, 100.0, 1000.0) if solver == "liblinear" else (1.0,)
        settings = [(tol, scaling) for tol in TOLERANCES for scaling in scalings]
        for tol, scaling in settings:
            estimator = LogisticRegression(
                C=C, solver=solver, tol=tol, max_iter=10_000, intercept_scaling=scaling
            )
            worst = 0.0
            for beta, reference in zip(betas, best, strict=True):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    fit = clone(estimator).fit(data.X, data.y, data.sample_weight(beta))
                value = objective(data, C, fit.coef_[0], fit.intercept_[0], beta)
                worst = max(worst, (value - reference) / reference)
            if worst <= gap:
                scaled = f" intercept_scaling={scaling:g}" if solver == "liblinear" else ""
                yield f"{solver} tol={tol:g}{scaled}", estimator
                break
        else:
            log(f"  {solver} does not reach a relative gap of {gap:g} (last {worst:.1e})")


def ratio_row(name, alternative, threads, times, limit):
    path, refits = np.median(times, axis=0)
    ratio = times[:, 1] / times[:, 0]
    wanted = "" if limit is None else f">= {limit}"
    row(name, alternative, threads, f"{refits:.3f}", f"{path:.3f}", spread(ratio, ".1f"), wanted)


def logistic_speed(data, C, limit, default_limit, repeats):
    """The fastest of the solvers with a free intercept, and liblinear, which penalises it."""
    learner, betas = LogisticRegression(C=C), np.array([0.0, 0.5, 1.0])
    screened = {}
    for setting, estimator in reaching(data, C, data.path(learner, betas), betas):
        for threads in THREADS:
            run = (lambda e=estimator: data.refits(e), threads)
            screened[setting, threads] = (seconds(*run), run)
            log(f"  {setting}, threads {named(threads)}: {screened[setting, threads][0]:.2f} s")
    groups = [[key for key in screened if ("liblinear" in key[0]) == own] for own in (False, True)]
    groups = [
        [key for key in group if screened[key][0] < 1.3 * min(screened[key][0] for key in group)]
        for group in groups
    ]
    rivals = groups[0] + groups[1]
    sides = [(lambda: data.path(learner), threads) for threads in THREADS]
    sides += [screened[key][1] for key in rivals] + [(lambda: data.refits(learner), None)]
    times = in_turn(sides, repeats)
    fastest = []
    for group in filter(None, groups):
        places = [len(THREADS) + rivals.index(key) for key in group]
        place = min(places, key=lambda k: np.median(times[:, k]))
        fastest.append((*rivals[place - len(THREADS)], place, limit))
    for setting, threads, place, wanted in (*fastest, ("lbfgs, default", None, -1, default_limit)):
        for k, own in enumerate(THREADS):
            both = f"{named(own)} / {named(threads)}"
            ratio_row(f"logistic C={C:g}", setting, both, times[:, [k, place]], wanted)


def speed(data, args):
    table(
        f"20 poison weights, {args.repeats} repeats",
        "learner | against refits by | threads (path / refits) | refits s | path s"
        " | ratio min - med - max | limit",
    )
    ridge = RidgeClassifier()
    log("speed: ridge")
    for threads in THREADS:
        sides = [(lambda: data.path(ridge), threads), (lambda: data.refits(ridge), threads)]
        both = f"{named(threads)} / {named(threads)}"
        ratio_row("ridge", "RidgeClassifier", both, in_turn(sides, args.repeats), 20)
    for C, limits in ((1.0, (4, 15)), (0.01, (None, None))):
        log(f"speed: logistic C={C:g}")
        logistic_speed(data, C, *limits, args.repeats)


def machines(data, args):
    table(
        f"SVM, 20 poison weights, {args.repeats} repeats",
        "learner | against refits by | threads (path / refits) | refits s | path s"
        " | ratio min - med - max | limit",
    )
    for name, svc, limit, kernel_limit in MACHINES:
        log(f"machines: {name}")
        for threads in THREADS:
            sides = [
                (lambda svc=svc: data.path(svc), threads),
                (lambda svc=svc: data.refits(svc), threads),
                (lambda svc=svc: data.kernel_refits(svc), threads),
            ]
            times, both = in_turn(sides, args.repeats), f"{named(threads)} / {named(threads)}"
            ratio_row(name, "SVC(X)", both, times[:, [0, 1]], limit)
            ratio_row(name, "SVC on one kernel matrix", both, times[:, [0, 2]], kernel_limit)


def grid(data, args):
    alphas, repeats = np.logspace(-3, 3, 10), min(args.repeats, 3)
    table(
        f"Ridge, 10 alphas x 20 poison weights, {repeats} repeats",
        "threads | 200 refits s | paths s | ratio min - med - max | limit",
    )

    def paths():
        path = weight_path(RidgeClassifier(), data.X, data.y, data.is_poison)
        for alpha in alphas:
            path.with_params(alpha=alpha).solve(WEIGHTS)

    def refits():
        for alpha in alphas:
            data.refits(RidgeClassifier(alpha=alpha))

    for threads in THREADS:
        log(f"grid: threads {named(threads)}")
        times = in_turn([(paths, threads), (refits, threads)], repeats)
        medians = np.median(times, axis=0)
        ratio = spread(times[:, 1] / times[:, 0], ".1f")
        row(named(threads), f"{medians[1]:.2f}", f"{medians[0]:.3f}", ratio, ">= 25")


def dense(data, args):
    table(
        f"200 poison weights against 20, {args.repeats} repeats",
        "learner | threads | 20 s | 200 s | ratio min - med - max | limit",
    )
    many = np.linspace(0.0, 1.0, 200) ** 2
    learners = [("ridge", RidgeClassifier()), ("logistic C=1", LogisticRegression())]
    learners += [(name, svc) for name, svc, _, _ in MACHINES]
    for name, learner in learners:
        log(f"dense: {name}")
        for threads in THREADS:
            sides = [
                (lambda e=learner, w=weights: data.path(e, w), threads)
                for weights in (WEIGHTS, many)
            ]
            times = in_turn(sides, args.repeats)
            few_s, many_s = np.median(times, axis=0)
            ratio = spread(times[:, 1] / times[:, 0])
            row(name, named(threads), f"{few_s:.3f}", f"{many_s:.3f}", ratio, "<= 2")


def slope(data, args):
    table(
        f"Slope alone, of a clean fit that is there, against that fit, {args.repeats} repeats",
        "learner | threads | clean fit s | slope s | ratio min - med - max | limit",
    )
    learners = [("logistic C=1 (lbfgs)", LogisticRegression(), ("<= 0.20", "<= 2"))]
    learners += [
        (name, svc, ("<= 0.15", "<= 0.15")) for name, svc, _, _ in MACHINES if svc.kernel == "rbf"
    ]
    rng = np.random.RandomState(0)
    for name, learner, limits in learners:
        log(f"slope: {name}")
        for threads, limit in zip(THREADS, limits, strict=True):
            # Each slope on rows in another order: paths recall kernel rows of rows seen before.
            orders = [rng.permutation(len(data.y_clean)) for _ in range(args.repeats + 1)]
            fits = iter([probe(learner).fit(data.X_clean[o], data.y_clean[o]) for o in orders])
            test = (data.X_test, data.y_test, None, "per_sample")
            sides = [
                (lambda e=learner: clone(e).fit(data.X_clean, data.y_clean), threads),
                (lambda fits=fits, test=test: slopes_of_fit([next(fits)], *test), threads),
            ]
            times = in_turn(sides, args.repeats)
            fit_s, slope_s = np.median(times, axis=0)
            ratio = spread(times[:, 1] / times[:, 0], ".3f")
            row(name, named(threads), f"{fit_s:.4f}", f"{slope_s:.4f}", ratio, limit)
            if isinstance(learner, SVC):  # what no slope can do without
                fitted = probe(learner).fit(data.X_clean, data.y_clean)
                triggered = fitted.triggered_test(*test[:2])[0]
                (X, _, _), (X_poison, _, _) = fitted.training_rows()
                rows = np.concatenate([X[fitted.estimator_.support_], X_poison])
                sides[1] = (partial(rbf_kernel, triggered, rows, learner.gamma), threads)
                times = in_turn(sides, args.repeats)
                fit_s, kernel_s = np.median(times, axis=0)
                ratio = spread(times[:, 1] / times[:, 0], ".3f")
                what = (
                    f"- its kernel alone: {len(triggered)} triggered x {len(rows)} training rows"
                )
                row(what, named(threads), f"{fit_s:.4f}", f"{kernel_s:.4f}", ratio, "")


def reuse(data, args):
    repeats = min(args.repeats, 3)
    table(
        f"slope_grid against its slopes one by one, 2 attacks, {repeats} repeats",
        "learner | cells | threads | one by one s | grid s | ratio min - med - max"
        " | largest difference of theta",
    )
    seeds, test = (0, 1), (data.X_test, data.y_test)
    Cs = np.logspace(-2, 3, 6)
    for name, learner, params in (
        ("ridge", RidgeClassifier(), {"estimator__alpha": np.logspace(-3, 3, 10)}),
        ("logistic", LogisticRegression(), {"estimator__C": Cs}),
        ("linear SVM", SVC(kernel="linear"), {"estimator__C": Cs}),
        ("rbf SVM", SVC(), {"estimator__C": Cs, "estimator__gamma": [5e-4, 5e-3]}),
    ):
        log(f"reuse: {name}")
        attack, thetas = probe(learner), {}

        def grid(attack=attack, params=params, thetas=thetas):
            rows = data.X_clean, data.y_clean, *test
            thetas["grid"] = slope_grid(attack, params, *rows, random_states=seeds).theta

        def one_by_one(attack=attack, params=params, thetas=thetas):
            thetas["single"] = [
                [
                    backdoor_learning_slope(
                        clone(attack).set_params(random_state=seed, **cell),
                        data.X_clean,
                        data.y_clean,
                        *test,
                    ).theta
                    for seed in seeds
                ]
                for cell in ParameterGrid(params)
            ]

        for threads in THREADS:
            times = in_turn([(grid, threads), (one_by_one, threads)], repeats)
            grid_s, single_s = np.median(times, axis=0)
            ratio = spread(times[:, 1] / times[:, 0], ".1f")
            off = np.abs(thetas["grid"] - np.array(thetas["single"])).max()
            cells = thetas["grid"].size
            row(
                name,
                cells,
                named(threads),
                f"{single_s:.2f}",
                f"{grid_s:.2f}",
                ratio,
                f"{off:.0e}",
            )


# -- exactness ---------------------------------------------------------------------------------


def logistic_residual(data, C, w, b, beta):
    """Gradient norm relative to that at zero parameters, the intercept's part included."""

    def gradient(w, b):
        pull = -data.signs * expit(-data.signs * (data.X @ w + b)) * data.sample_weight(beta)
        return np.append(data.X.T @ pull + w / C, pull.sum())

    return np.linalg.norm(gradient(w, b)) / np.linalg.norm(gradient(np.zeros_like(w), 0.0))


def kkt_violation(data, C, K, v, b, beta):
    """Largest margin on the wrong side, box overrun in units of C, imbalance of the duals."""
    used = data.sample_weight(beta) > 0
    y, bound = data.signs[used], C * data.sample_weight(beta)[used]
    a, h = y * v[used], y * (K[used] @ v + b) - 1.0
    wrong = np.where(a <= 0, -h, np.where(a >= bound, h, np.abs(h))).max()
    outside = np.maximum(-a, a - bound).max() / C
    return max(wrong, outside, np.abs(v[~used]).sum() / C, abs(v.sum()) / np.abs(v).sum())


def ridge_difference(data, alpha, w, b, beta):
    """Relative difference of the parameters to least squares on the stacked system."""
    root, d = np.sqrt(data.sample_weight(beta))[:, None], data.X.shape[1]
    A = np.vstack([
        root * np.column_stack([data.X, np.ones(len(data.X))]),
        np.sqrt(alpha) * np.eye(d, d + 1)
    ])  # fmt: skip
    direct = lstsq(A, np.append(root[:, 0] * data.signs, np.zeros(d)))[0]
    return np.linalg.norm(np.append(w, b) - direct) / np.linalg.norm(direct)


def exact(data, args):
    table(
        "Exactness, the largest over poison weights, computed from the parameters",
        "learner | what | C or 1/alpha = 1e-3, 1e-2, 0.1, 1, 10, 100, 1000 | largest | limit",
    )
    Cs = np.logspace(-3, 3, 7)

    def report(name, what, worst, limit):
        row(name, what, ", ".join(f"{x:.0e}" for x in worst), f"{max(worst):.1e}", limit)

    log("exact: ridge")
    few = np.array([0.0, 0.01, 0.1, 0.5, 1.0])
    worst = []
    for C in Cs:
        s = data.path(RidgeClassifier(alpha=1.0 / C), few)
        worst.append(max(
            ridge_difference(data, 1.0 / C, s.coef[k, 0], s.intercept[k, 0], beta)
            for k, beta in enumerate(few)
        ))  # fmt: skip
    report("ridge", "relative difference to a direct solve, 5 weights", worst, 1e-10)
    log("exact: logistic")
    worst = []
    for C in Cs:
        s = data.path(LogisticRegression(C=C))
        worst.append(max(
            logistic_residual(data, C, s.coef[k, 0], s.intercept[k, 0], beta)
            for k, beta in enumerate(WEIGHTS)
        ))  # fmt: skip
    report("logistic", "relative gradient norm, 20 weights", worst, 1e-8)
    for gamma in (None, 1e-6, 1e-4, 5e-3, 1.0):
        name = "linear SVM" if gamma is None else f"rbf SVM {gamma:g}"
        log(f"exact: {name}")
        svc = SVC(kernel="linear") if gamma is None else SVC(gamma=gamma)
        K, worst = gram(svc, data.X), []
        for C in Cs:
            s = data.path(clone(svc).set_params(C=C))
            worst.append(max(
                kkt_violation(data, C, K, s.dual_coef[k, :, 0], s.intercept[k, 0], beta)
                for k, beta in enumerate(WEIGHTS)
            ))  # fmt: skip
        report(name, "KKT violation, 20 weights", worst, 1e-9)
    log("exact: tight refits")
    tight = (
        ("ridge", RidgeClassifier(alpha=1.0)),
        ("logistic", LogisticRegression(tol=1e-12, solver="newton-cholesky")),
        ("linear SVM", SVC(kernel="linear", tol=1e-10)),
        ("rbf SVM 0.005", SVC(gamma=5e-3, tol=1e-10)),
    )
    table(
        "Decision values on the test set, C = 1, against tight refits (tol 1e-12, `SVC` 1e-10)",
        "learner | largest difference, 5 weights | limit | KKT violation of the refits",
    )
    for name, learner in tight:
        s = data.path(learner, few)
        F, worst, own = s.decision_function(data.X_test)[:, :, 0], 0.0, 0.0
        for k, beta in enumerate(few):
            kept = np.flatnonzero(data.sample_weight(beta) > 0)  # libsvm drops rows of weight 0
            weight = data.sample_weight(beta)[kept]
            fit = clone(learner).fit(data.X[kept], data.y[kept], weight)
            worst = max(worst, np.abs(F[k] - fit.decision_function(data.X_test)).max())
            if isinstance(learner, SVC):
                v = np.zeros(len(data.y))
                v[kept[fit.support_]] = fit.dual_coef_[0]
                K = gram(learner, data.X)
                own = max(own, kkt_violation(data, learner.C, K, v, fit.intercept_[0], beta))
        shown = f"{own:.1e}" if isinstance(learner, SVC) else ""
        row(name, f"{worst:.1e}", "<= 1e-6", shown)


# -- growth ------------------------------------------------------------------------------------

GROWTH_N = (500, 1500, 5000, 20_000, 60_000)
GROWTH_LEARNERS = {
    "ridge": RidgeClassifier(),
    "logistic": LogisticRegression(),
    "rbf SVM": SVC(gamma=5e-3),
}
SPARSE = {"n": 16_000, "d": 100_000, "per_row": 100}


def peak():
    """Most memory this process ever held, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def sparse_rows(n, d, per_row, seed=0):
    """CSR rows with `per_row` nonzeros at most, and labels, the same for a seed."""
    rng = np.random.RandomState(seed)
    plane = rng.randn(d)
    columns = rng.randint(d, size=n * per_row)  # sp.random would draw from n d places
    starts = np.arange(0, len(columns) + 1, per_row)
    X = sp.csr_matrix((rng.rand(len(columns)), columns, starts), shape=(n, d))
    X.sum_duplicates()
    return X, (X @ plane > 0).astype(int)


def write_growth_data(folder, mnist, sizes):
    """Raw files of clean rows, then poison rows, so that a case's process reads only its own."""
    X, y, X_test, y_test = fetch_mnist(
        digits=None, n_train=max(sizes), n_test=500, path=mnist, random_state=0, return_X_y=True
    )
    np.savez(folder / "test.npz", X=X_test, y=y_test >= 5)
    for n in sizes:
        rows, labels, _ = poisoned(probe(SVC()), X[:n], (y[:n] >= 5).astype(int))
        rows.tofile(folder / f"X{n}")
        labels.astype(int).tofile(folder / f"y{n}")
    n = SPARSE["n"]
    X, y = sparse_rows(n + 500, SPARSE["d"], SPARSE["per_row"])
    rows, labels, _ = poisoned(sparse_probe(SVC()), X[:n], y[:n])
    sp.save_npz(folder / "sparse_path.npz", rows, compressed=False)
    sp.save_npz(folder / "sparse_fit.npz", X[:n], compressed=False)
    sp.save_npz(folder / "sparse_slope.npz", X[:n], compressed=False)
    np.savez(folder / "sparse.npz", y=labels, test=y[n:])
    sp.save_npz(folder / "sparse_test.npz", X[n:], compressed=False)


def read_growth_data(folder, n, what, sparse):
    """Clean rows alone for a fit or a slope; a path gets the poison rows as well."""
    if sparse:
        X, X_test = (sp.load_npz(folder / f"sparse_{part}.npz") for part in (what, "test"))
        with np.load(folder / "sparse.npz") as labels:
            return X, labels["y"][: X.shape[0]], X_test, labels["test"]
    y = np.fromfile(folder / f"y{n}", dtype=int)
    n_rows = len(y) if what == "path" else n
    X = np.fromfile(folder / f"X{n}", count=n_rows * 784).reshape(n_rows, 784)
    with np.load(folder / "test.npz") as test:
        return X, y[:n_rows], test["X"], test["y"].astype(int)


def case(spec):
    """One fit, slope or path, in a process of its own: its time and its memory."""
    what, n, learner = spec["what"], spec["n"], clone(GROWTH_LEARNERS[spec["learner"]])
    weights = np.linspace(0.0, 1.0, spec["n_weights"]) ** 2
    X, y, X_test, y_test = read_growth_data(Path(spec["folder"]), n, what, spec["sparse"])
    attack = (sparse_probe if spec["sparse"] else probe)(learner)
    size = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes if spec["sparse"] else X.nbytes
    is_poison = np.arange(X.shape[0]) >= n
    base = peak()
    with threadpool_limits(spec["threads"]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clone(learner).fit(X[:100], y[:100])  # warm up
        if what == "slope":
            attack.fit(X, y)
        start = time.perf_counter()
        if what == "fit":
            method = str(learner.fit(X, y).n_iter_)
        elif what == "slope":
            result = slopes_of_fit([attack], X_test, y_test, None, "per_sample")[0][0]
            method = f"{result.method}, residual {result.residual:.0e}"
        else:
            solution = weight_path(learner, X, y, is_poison).solve(weights)
            method = solution.method
            if solution.residuals is not None:
                method += f", residual {solution.residuals.max():.0e}"
        taken = time.perf_counter() - start
    result = {"seconds": taken, "memory": peak() - base, "X": size / 2**20, "method": method}
    print(json.dumps(result))


def run_case(limit, **spec):
    """The numbers of a case, or why there are none."""
    log("growth: " + " ".join(f"{key}={value}" for key, value in spec.items() if key != "folder"))
    command = [sys.executable, os.path.abspath(__file__), "--case", json.dumps(spec)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return "stopped"
    if done.returncode:
        log(done.stderr)
        return f"failed ({done.stderr.strip().splitlines()[-1][:80]})" if done.stderr else "killed"
    return json.loads(done.stdout.splitlines()[-1])


def growth(args):
    table(
        "Growth: MNIST, digits >= 5 against the others, and sparse data; each case once, in a"
        f" process of its own, stopped after {args.limit:g} s",
        "learner | clean rows | d | what | threads | s | memory MiB | memory / X"
        " | iterations or method",
    )
    linear, svm_n = args.growth_n, sorted({min(n, 18_000) for n in args.growth_n if n <= 20_000})
    tasks = [(name, n, False, 20) for name in ("ridge", "logistic") for n in linear]
    tasks += [("rbf SVM", n, False, 20 if n <= 5000 else 4) for n in svm_n]
    tasks += [(name, SPARSE["n"], True, 5) for name in ("ridge", "logistic")]
    known = {}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, os.path.abspath(__file__), "--write", folder, "--growth-n"]
        command += [str(n) for n in {*linear, *svm_n}]
        command += ["--mnist", args.mnist] if args.mnist else []
        subprocess.run(command, check=True)  # apart: children inherit the peak of their parent
        for (name, n, sparse, n_weights), what, threads in product(
            tasks, ("fit", "slope", "path"), THREADS
        ):
            result = run_case(
                args.limit,
                learner=name,
                what=what,
                n=n,
                threads=threads,
                n_weights=n_weights,
                sparse=sparse,
                folder=folder,
            )
            label = f"path of {n_weights}" if what == "path" else what
            cells = (name, n, f"{SPARSE['d']} sparse" if sparse else 784, label, named(threads))
            if isinstance(result, str):
                row(*cells, result, "", "", "")
            else:
                taken, memory = f"{result['seconds']:.3f}", result["memory"]
                share = f"{memory / result['X']:.2f}"
                row(*cells, taken, f"{memory:.0f}", share, result["method"])
            if not sparse:
                known.setdefault((name, label, threads), {})[n] = result
    print(
        "\nMemory is the peak of the process (ru_maxrss) less its peak once the data were loaded,"
        " so without X itself (of a path with its poison rows). That of a slope is of clean fit"
        " and slope, its time of the slope alone. SVM: 18,000 clean and 1,800 poison rows are"
        " about the most of which a kernel matrix is kept."
    )
    summary(known, max(linear))


def summary(known, n):
    table(
        "Growth: exponent of time in n (log-log least squares)",
        "learner | what | threads | n | exponent",
    )
    for (name, what, threads), results in known.items():
        points = [(m, r["seconds"]) for m, r in results.items() if isinstance(r, dict)]
        if len(points) > 1:
            log_n, log_s = np.log(np.array(points)).T
            sizes, exponent = f"{points[0][0]} - {points[-1][0]}", np.polyfit(log_n, log_s, 1)[0]
            row(name, what, named(threads), sizes, f"{exponent:.2f}")
    table(
        f"Growth: logistic, {n} x 784 (limits: time 1, memory 2; X itself, 1.00, not counted)",
        "threads | slope s / clean fit s | memory of fit and slope / X | of a path of 20 / X",
    )
    for threads in THREADS:
        parts = [known["logistic", what, threads][n] for what in ("fit", "slope", "path of 20")]
        if any(isinstance(part, str) for part in parts):
            row(named(threads), *(p if isinstance(p, str) else "done" for p in parts))
            continue
        fit, slope_, path = parts
        shares = (f"{part['memory'] / part['X']:.2f}" for part in (slope_, path))
        row(named(threads), f"{slope_['seconds'] / fit['seconds']:.2f}", *shares)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", default=None, help="local file or folder with MNIST")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS[:-1])
    parser.add_argument("--limit", type=float, default=300.0, help="seconds of a growth case")
    parser.add_argument("--growth-n", type=int, nargs="+", default=GROWTH_N)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        return case(json.loads(args.case))
    if args.write:
        return write_growth_data(Path(args.write), args.mnist, args.growth_n)
    print(
        f"`python benchmarks/bench_paths.py --only {' '.join(args.only)}`, {os.cpu_count()} cores"
    )
    if "growth" in args.only:
        growth(args)  # first: the process is still small
    sections = [name for name in args.only if name != "growth"]
    data = Data(args.mnist) if sections else None
    for name in sections:
        sections = {
            "speed": speed,
            "machines": machines,
            "grid": grid,
            "dense": dense,
            "slope": slope,
            "reuse": reuse,
            "exact": exact,
        }
        sections[name](data, args)


if __name__ == "__main__":
    main()
