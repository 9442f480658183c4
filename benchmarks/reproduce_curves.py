"""Reproduce the experiments of Curves (Cinà et al., Backdoor learning curves, 2024).

    python benchmarks/reproduce_curves.py [--dataset mnist cifar10 imagenette] [--pair A B]
        [--data FOLDER] [--only grid curve time] [--n-jobs 2] [--store FOLDER] [--output STEM]
        [--quick]

Parts: the slope grids (theta, accuracies and attack success over C and gamma), the learning curves
with the change of parameters (MNIST), and the time of a sample of both against plain scikit-learn
refits (MNIST). A study: a second start skips the units that its store holds. They are written to
STEM.csv; STEM.md sets our numbers beside the published ones, which FOLDER/published holds with
their C and gamma (curves_page.py). Data are read from FOLDER or else fetched. Needs pandas;
CIFAR-10 and Imagenette need the extra deep and pillow. Progress goes to stderr, findings to
stdout.
"""

import argparse
import sys
import time
import warnings
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from bench_attacks import Kept
from curves_page import PAIRS, page, published, table
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC, LinearSVC
from threadpoolctl import threadpool_limits

from skbackdoor import (
    BackdoorPoisoner,
    PatchTrigger,
    PerClassTrigger,
    StripeTrigger,
    Study,
    backdoor_learning_curve,
    fetch_cifar10,
    fetch_imagenette,
    fetch_mnist,
    slope_grid,
)

SEEDS, SAMPLE_SEED = (1, 10, 11, 100, 101), 999  # of the published code
LEARNERS = {  # by their names in the published files, the upper ones of the learning curves
    "svm": SVC(kernel="linear"),
    "logistic": LogisticRegression(solver="liblinear"),
    "ridge": RidgeClassifier(),
    "svm-rbf": SVC(),
    "SVM": LinearSVC(loss="hinge"),
    "LC": LogisticRegression(solver="liblinear"),
    "RC": RidgeClassifier(),
    "RBF SVM": SVC(),
}
PARTS = ("grid", "curve", "time")
FIELDS = """unit part dataset pair trigger learner gamma C p seed beta theta derivative base_rate
clean_accuracy poisoned_accuracy attack_success_rate clean_loss backdoor_loss rho nu seconds
threads own_seconds refit_seconds""".split()
START = time.perf_counter()


def log(text):
    print(f"[{time.perf_counter() - START:5.0f} s] {text}", file=sys.stderr, flush=True)


# -- Data and attack -----------------------------------------------------------------------------


class Frozen(Kept, BaseEstimator):
    """Features by a transformer that is fitted already, each image computed once."""

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True


class GivenPatches(PerClassTrigger):
    """Patches of given pixels, one for every class."""

    def __init__(self, trigger, values):
        self.trigger = trigger
        self.values = values

    def fit(self, X, y):
        super().fit(X, y)
        for trigger, value in zip(self.triggers_.values(), self.values, strict=True):
            trigger.set_params(value=value).fit(X)
        return self


class Data:
    """A sample of two classes, drawn as the published code does, and what a learner sees of it."""

    def __init__(self, name, pair, folder, n_train, n_test, memory=None):
        X_train, y_train, X_test, y_test = images_of(name, pair, folder)
        rng = np.random.RandomState(SAMPLE_SEED)
        rows = rng.choice(len(y_train), n_train + 1, replace=False)  # one is for validation
        rows = train_test_split(rows, train_size=n_train, random_state=SAMPLE_SEED)[0]
        test = [np.flatnonzero(y_test == label)[: n_test // 2] for label in pair]
        test = np.random.RandomState(SAMPLE_SEED).permutation(np.sort(np.concatenate(test)))
        self.X_train, self.y_train = X_train[rows], (y_train[rows] == pair[1]).astype(int)
        self.X_test, self.y_test = X_test[test], (y_test[test] == pair[1]).astype(int)
        self.pixels, self.shape, self.steps = {"image_shape": (28, 28)}, (1, 1.0), []
        if name != "mnist":
            from skbackdoor.deep import DeepFeatures

            weights = folder / "weights" / "mobilenet_v2_imagenet_fp16.pt"
            size = 128 if name == "cifar10" else 224
            weights = weights if weights.exists() else "DEFAULT"
            network = DeepFeatures(
                "mobilenet_v2", weights=weights, image_size=size, memory=memory
            )
            network.fit(X_train[:1])
            self.pixels, self.shape = {"value_range": (0, 255)}, (3, 255.0)
            self.steps = [("features", Frozen(network))]
        self.arrays = self.X_train, self.y_train, self.X_test, self.y_test

    def attack(self, learner, trigger, p, seed):
        """A poisoner whose victims and patches are drawn as in the published code."""
        (n_channels, high), (kind, size) = self.shape, trigger.split("_tsize")
        if kind.startswith("invisible"):  # "invisible10" is c_m = 10, the published files' is 75
            c_m = int(kind.removeprefix("invisible") or 75)
            shown = StripeTrigger(c_m / 255 * high, **self.pixels)
        else:
            shape = (2, n_channels, int(size), int(size))
            patches = high * np.random.RandomState(seed).random_sample(shape)
            shown = GivenPatches(PatchTrigger(int(size), value=high, **self.pixels), patches)
        n = len(self.y_train)
        return BackdoorPoisoner(
            Pipeline([*self.steps, ("learner", learner)]),
            shown,
            target="next",
            placement="replace",
            victims=np.random.RandomState(seed).choice(n, int(n * p), replace=False),
            random_state=seed,
        )


def images_of(name, pair, folder):
    """All images of two classes, from the folder or else fetched."""

    def known(path):
        return folder / path if (folder / path).exists() else None

    if name == "mnist":
        return fetch_mnist(pair, None, None, path=known("mnist.npz"), return_X_y=True)
    if name == "imagenette":
        return fetch_imagenette(pair, image_size=224, path=known("imagenette"), return_X_y=True)
    if known("cifar10_subset.npz") is None:
        return fetch_cifar10(pair, return_X_y=True)
    with np.load(folder / "cifar10_subset.npz") as file:
        arrays = []
        for part in ("train", "test"):
            rows = np.isin(file[f"y_{part}"], pair)
            arrays += [file[f"X_{part}"][rows].transpose(0, 3, 1, 2), file[f"y_{part}"][rows]]
    return arrays


# -- Units of work -------------------------------------------------------------------------------


def parameters(name, C, gamma):
    """A published C, and gamma if there is one, as parameters of the poisoner."""
    own = {"alpha": 1 / (2 * C)} if isinstance(learner_of(name), RidgeClassifier) else {"C": C}
    if not np.isnan(gamma):
        own["gamma"] = gamma
    return {f"estimator__learner__{key}": value for key, value in own.items()}


def learner_of(name):
    return LEARNERS[name.partition(" gamma")[0]]


def grid_unit(data, trigger, name, cells, p, seed):
    grid = [{k: [v] for k, v in parameters(name, **cell).items()} for cell in cells]
    poisoner = data.attack(learner_of(name), trigger, p, seed)
    slopes = slope_grid(poisoner, grid, *data.arrays, fit_poisoned=True)
    frame = pd.DataFrame(cells).assign(part="grid")
    for key in ("theta", "derivative", "base_rate", "clean_accuracy", "poisoned_accuracy",
                "attack_success_rate"):  # fmt: skip
        frame[key] = getattr(slopes, key)[:, 0]
    return frame


def curve_unit(data, trigger, name, cells, p, seed, betas):
    (cell,) = cells
    poisoner = data.attack(learner_of(name), trigger, p, seed)
    poisoner.set_params(**parameters(name, **cell))
    curve = backdoor_learning_curve(poisoner, *data.arrays, poison_weights=betas)
    frame = pd.DataFrame({"beta": curve.poison_weights}).assign(part="curve", **cell)
    for key in ("clean_loss", "backdoor_loss", "clean_accuracy", "attack_success_rate", "rho",
                "nu"):  # fmt: skip
        frame[key] = getattr(curve, key)
    return frame


def time_unit(data, trigger, name, cells, p, seed, threads, betas=None):
    """A unit against plain fits at its poison weights; for a grid 0, 0.1 (for the slope) and 1."""
    with threadpool_limits(threads):
        start = time.perf_counter()
        if betas is None:
            grid_unit(data, trigger, name, cells, p, seed)
        else:
            curve_unit(data, trigger, name, cells, p, seed, betas)
        own = time.perf_counter() - start
        poisoner = data.attack(learner_of(name), trigger, p, seed)
        X, y, is_poison = poisoner.fit(*data.arrays[:2]).poison(*data.arrays[:2])
        tests = data.X_test, poisoner.triggered_test(data.X_test, data.y_test)[0]
        start = time.perf_counter()
        for cell in cells:
            changed = clone(poisoner).set_params(**parameters(name, **cell))
            learner = changed.estimator.named_steps["learner"]
            for beta in (0.0, 0.1, 1.0) if betas is None else betas:
                learner.fit(X, y, sample_weight=np.where(is_poison, beta, 1.0))
                for rows in tests:
                    learner.decision_function(rows)
        refits = time.perf_counter() - start
    part = "time grid" if betas is None else "time curve"
    row = {"part": part, "threads": str(threads or "all")}
    return pd.DataFrame([row | {"own_seconds": own, "refit_seconds": refits}])


@lru_cache(maxsize=1)
def data_of(name, pair, folder, n_train, n_test, memory):
    classes = tuple(int(label) for label in pair.split("-"))
    return Data(name, classes, Path(folder), n_train, n_test, memory)


def cell(
    unit, work, dataset, pair, trigger, learner, p, seed, cells, betas, blas,
    folder, n_train, n_test, memory,
):  # fmt: skip
    """The rows of a unit."""
    data = data_of(dataset, pair, folder, n_train, n_test, memory)
    what = data, trigger, learner, cells, p, seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # refits that stop at their limit of iterations
        if work == "time":
            frame = time_unit(*what, blas, betas)
        else:
            frame = grid_unit(*what) if work == "grid" else curve_unit(*what, betas)
    return frame.to_dict("records")


def units_of(args, name):
    """Parameters of the units of a data set; those that are timed last."""
    units, timings = [], []
    seeds = SEEDS[: 2 if args.quick else 5]
    pair = "{}-{}".format(*(args.pair or PAIRS[name]))
    grids = published(args.data, name, "curves_grid_{}_*.json")
    curves = published(args.data, name, "curves_{}_*.json")
    if not grids:
        raise SystemExit(
            f"{args.data / 'published'} holds no published grid of {name}: pass --data"
        )

    def add(work, unit, blas=None, **what):
        known = {"unit": f"{name} {pair} {unit}", "work": work, "dataset": name, "pair": pair}
        if work in args.only:
            (timings if work == "time" else units).append(known | {"blas": blas} | what)

    for trigger, (rows, _) in grids.items():
        for learner, mine in rows.groupby("learner", sort=False):
            what = {"trigger": trigger, "learner": learner, "p": 0.1, "betas": None}
            cells = some(mine[["C", "gamma"]].to_dict("records"), args)
            fine = cells if learner == "svm-rbf" or args.quick else finer(cells)
            for seed in seeds:
                unit = f"grid {trigger} {learner} seed {seed}"
                add("grid", unit, **what, seed=seed, cells=fine)
            if curves and trigger == min(grids):
                sample = mine[mine.gamma.isna() | (mine.gamma == mine.gamma.median())]
                what |= {"cells": some(sample[["C", "gamma"]].to_dict("records"), args)}
                for threads in (1, None):
                    unit = f"time grid {learner} threads {threads}"
                    add("time", unit, threads, **what, seed=SEEDS[0])
    for rows, betas in curves.values():
        for _, row in rows.iterrows():
            unit = f"curve {row.learner} C={row.C:g} p={row.p:g}"
            what = {"trigger": "badnet_tsize6", "learner": row.learner, "p": row.p}
            what |= {"seed": SAMPLE_SEED, "cells": [{"C": row.C, "gamma": row.gamma}]}
            what |= {"betas": some(betas, args)}
            add("curve", unit, **what)
            for threads in (1, None) if row.p == 0.1 else ():
                add("time", f"time {unit} threads {threads}", threads, **what)
    return units, timings


def some(things, args):
    """The first and the last with --quick, else all."""
    return [things[0], things[-1]] if args.quick else things


def finer(cells):
    """Three more C between each two published ones."""
    Cs = [cell["C"] for cell in cells]
    between = [np.geomspace(*ends, 5)[1:-1] for ends in pairwise(Cs)]
    return cells + [{"C": C, "gamma": np.nan} for C in np.concatenate(between)]


def run(name, args):
    """The table of a data set."""
    n_train, n_test = (200, 80) if args.quick else (1500, 500)
    bound = partial(
        cell, folder=str(args.data), n_train=n_train, n_test=n_test,
        memory=str(args.store / "features"),
    )  # fmt: skip
    frames = []
    for units, n_jobs in zip(units_of(args, name), (args.n_jobs, 1), strict=True):
        if units:  # what is timed runs alone
            grid = [{key: [value] for key, value in unit.items()} for unit in units]
            study = Study(bound, grid, store=args.store)
            there = len(units) - len(study.left())
            log(f"{name}: {len(units)} units, {there} of them there and skipped")
            frames.append(study.run(n_jobs))
            wall = {"part": "wall", "unit": f"{name} wall", "threads": "sum over units"}
            wall |= {"dataset": name, "pair": units[0]["pair"]}
            seconds = frames[-1].drop_duplicates("unit").seconds.sum()
            if units[0]["work"] != "time":
                frames.append(pd.DataFrame([wall | {"seconds": seconds}]))
    return [frame.reindex(columns=FIELDS) for frame in frames]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", nargs="+", choices=tuple(PAIRS), default=tuple(PAIRS))
    parser.add_argument("--pair", nargs=2, type=int, help="two classes, not the published ones")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results" / "curves"
    )
    parser.add_argument(
        "--quick", action="store_true", help="200 + 80 samples, 2 seeds, few cells"
    )
    parser.add_argument("--store", type=Path, default=Path("studies/curves"))
    args = parser.parse_args()
    stem = args.output.with_name(args.output.name + "_quick" * args.quick)
    path = stem.with_suffix(".csv")
    frames = [frame for name in args.dataset for frame in run(name, args)]
    pd.concat(frames).to_csv(path, index=False)
    lines, tables = page(path, args.data, " ".join(["python", *sys.argv]))
    stem.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print(*(line for rows in tables for line in table(rows)), sep="\n")
    log(f"written: {path} and {stem.with_suffix('.md')}")


if __name__ == "__main__":
    main()
