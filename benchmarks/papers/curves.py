"""What is left of Curves (Cinà et al., Backdoor learning curves, 2024), over pairs of classes.

    python benchmarks/papers/curves.py [--size small|paper] [--data FOLDER] [--only mnist ...]
        [--store FOLDER] [--n-jobs 2] [--report] [--output FILE]

For three pairs each of MNIST, CIFAR-10 and Imagenette: backdoor learning curve, theta, rho and nu,
as the share of poison, the size or intensity of the trigger, C and gamma grow one by one (section
3.2). On MNIST also the input gradient's mass in the patch, and how many of the 7 most influential
training samples carry the trigger, at a small and a large C. Attacks, samples and learners are
those of reproduce_curves.py, which does the grids of the published pairs. `small`: 300 + 200
samples; `paper`: 1500 + 500, which for Imagenette needs the whole of it. Table 1 (ResNets from
random weights) is benchmarks/bench_resnets.py and needs a GPU. The store keeps every cell;
`--report` writes the page from what it holds.
"""

import argparse
import sys
import warnings
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))
from curves_findings import page
from reproduce_curves import SEEDS, Data, learner_of, parameters

from skbackdoor import (
    Study,
    backdoor_learning_curve,
    backdoor_learning_slope,
    input_gradient,
    poison_influence,
)

#: Pairs of classes, the published one first; the weaker and the stronger trigger; gammas.
DATASETS = {
    "mnist": (("7-1", "3-0", "5-2"), ("badnet_tsize3", "badnet_tsize6"), (5e-4, 5e-3)),
    "cifar10": (("6-0", "2-5", "0-9"), ("badnet_tsize8", "badnet_tsize16"), (1e-4, 1e-3)),
    "imagenette": (
        ("6-0", "2-4", "0-9"), ("invisible10_tsizeNone", "invisible_tsizeNone"), (1e-5, 1e-4)
    ),
}  # fmt: skip
CS = {
    "svm": (0.01, 10.0), "logistic": (0.1, 100.0), "ridge": (0.001, 1.0), "svm-rbf": (1.0, 100.0),
}  # fmt: skip
#: Training and test samples.
SIZES = {"small": (300, 200), "paper": (1500, 500)}


@lru_cache(maxsize=1)
def data_of(dataset, pair, folder, n_train, n_test):
    return Data(dataset, tuple(map(int, pair.split("-"))), Path(folder), n_train, n_test)


def attacked(dataset, pair, trigger, learner, C, gamma, p, seed, folder, samples):
    """The data and an attack on them."""
    data = data_of(dataset, pair, folder, *samples)
    poisoner = data.attack(learner_of(learner), trigger, p, seed)
    return data, poisoner.set_params(**parameters(learner, C, gamma))


def cell(dataset, pair, trigger, learner, C, gamma, p, seed, *, folder, samples):
    """A learning curve at three weights, its slope, and the change of parameters."""
    gamma = np.nan if gamma is None else gamma
    data, poisoner = attacked(
        dataset, pair, trigger, learner, C, gamma, p, seed, folder, samples
    )
    curve = backdoor_learning_curve(poisoner, *data.arrays, poison_weights=[0.0, 0.1, 1.0])
    slope = backdoor_learning_slope(poisoner, *data.arrays)
    return {
        "theta": slope.theta,
        "loss": curve.backdoor_loss[0],
        "loss_ratio": curve.backdoor_loss[1] / curve.backdoor_loss[0],
        "success": curve.attack_success_rate[2],
        "accuracy": curve.clean_accuracy[2],
        "rho": curve.rho[0],
        "rho_ratio": curve.rho[2] / curve.rho[0],
        "nu": curve.nu[2],
    }


def looks_cell(pair, learner, C, gamma, seed, *, folder, samples):
    """MNIST, 6x6: where the input gradient lies, and who the most influential samples are."""
    size, p, gamma = 6, 0.1, np.nan if gamma is None else gamma
    data, poisoner = attacked(
        "mnist", pair, f"badnet_tsize{size}", learner, C, gamma, p, seed, folder, samples
    )
    poisoner.fit(*data.arrays[:2])
    clean = poisoner.clean_copy().estimator_
    found = {}
    for name, model in (("poisoned", poisoner.estimator_), ("clean", clean)):
        shown = poisoner.triggered_test(*data.arrays[2:])[0][:50]
        gradient = input_gradient(model[-1], shown, 1).gradient  # MNIST: no step before it
        gradient = np.abs(gradient).reshape(-1, 28, 28)
        inside = gradient[:, -size:, -size:].sum(axis=(1, 2)) / gradient.sum(axis=(1, 2))
        found[f"mass_{name}"] = inside.mean()
    if learner in ("logistic", "ridge"):  # a hinge machine's influence ends at the margin
        influence = poison_influence(poisoner, *data.arrays, samples="all")
        first = np.argsort(-np.abs(influence), axis=0)[:7]
        found["influential"] = np.mean(first >= len(influence) - int(p * len(data.y_train)))
    return found


def settings_of(dataset):
    """One thing changed at a time, at a small and a large C."""
    pairs, (weak, strong), gammas = DATASETS[dataset]
    for pair in pairs:
        for seed in SEEDS:
            for learner, Cs in CS.items():
                for C in Cs:
                    for gamma in gammas if learner == "svm-rbf" else (None,):
                        plain = {"dataset": dataset, "pair": pair, "learner": learner, "C": C,
                                 "gamma": gamma, "seed": seed}  # fmt: skip
                        yield plain | {"trigger": strong, "p": 0.1}
                        yield plain | {"trigger": weak, "p": 0.1}
                        yield plain | {"trigger": strong, "p": 0.2}


def looks_of():
    for setting in settings_of("mnist"):
        kind = setting["pair"], setting["trigger"], setting["p"]
        if kind == ("7-1", "badnet_tsize6", 0.1):
            yield {key: setting[key] for key in ("pair", "learner", "C", "gamma", "seed")}


def run(function, settings, args):
    function = partial(function, folder=str(args.data), samples=SIZES[args.size])
    grid = [{name: [value] for name, value in setting.items()} for setting in settings]
    study = Study(function, grid, store=args.store)
    print(f"{len(study.left())} cells to run", file=sys.stderr, flush=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # C = 100 at liblinear's default limit of iterations
        return study.results() if args.report else study.run(n_jobs=args.n_jobs)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="+", choices=DATASETS, default=tuple(DATASETS))
    parser.add_argument("--store", type=Path, default=Path("curves_cells"))
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--report", action="store_true")
    results = Path(__file__).parents[1] / "results"
    parser.add_argument("--output", type=Path, default=results / "curves_findings.md")
    args = parser.parse_args()
    n_train, n_test = SIZES[args.size]
    frames, looks = [], None
    for dataset in args.only:
        if dataset == "mnist":
            looks = run(looks_cell, list(looks_of()), args)
        frames.append(run(cell, list(settings_of(dataset)), args))
    command = f"python benchmarks/papers/curves.py --size {args.size}"
    if len(args.only) < len(DATASETS):
        command += f" --only {' '.join(args.only)}"
    lines = page(pd.concat(frames), looks, DATASETS, (n_train, n_test), command)
    args.output.write_text("\n".join(lines) + "\n")
    print(f"written: {args.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
