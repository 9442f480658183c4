"""Backdoors in networks on the CPU: transfer, fine-tuning, training from scratch, the way back.

    python benchmarks/bench_deep.py [--data FOLDER] [--only cifar10 imagenette] [--device cpu]
        [--store FOLDER] > benchmarks/results/deep.md

CIFAR-10 (the JPEG q75 subset) and Imagenette (at most 300 training images a class), ten classes,
the first one the target, copies appended: (a) logistic regression on features of a MobileNetV2
with ImageNet weights, (b) its head and normalisation layers trained, (c) a small network from
scratch. Patches of 4 and 8 % of the side and a sine, p = 0.5, 2 and 10 %. Then models of (c) at
10 % trained further on clean images, and, on CIFAR-10, (c) with each regularizer. One seed; attack
success beside the base rate, that of the clean model. Last what the papers found, and in how many
of the cases here it holds. A study: it goes on where it was stopped.
"""

import argparse
import sys
import warnings
from copy import deepcopy
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import LRScheduler
from torch import nn

from skbackdoor import BackdoorPoisoner, CleanRetraining, PatchTrigger, SinusoidTrigger, Study
from skbackdoor.deep import (
    BackdoorNetClassifier,
    ContrastiveLoss,
    DeepFeatures,
    LogitSqueezing,
    ManifoldMixup,
    SoftNearestNeighborLoss,
    image_classifier,
)
from skbackdoor.deep.images import ImageNetwork

RATES = (0.005, 0.02, 0.1)
LEARNERS = ("(a) head only", "(b) head + norm", "(c) from scratch")
REGULARIZERS = {
    "logit squeezing": {"regularizer": LogitSqueezing(0.1)},
    "manifold mixup": {"regularizer": ManifoldMixup("network.11")},
    "contrastive": {"regularizer": ContrastiveLoss(margin=5.0)},
    "soft nearest neighbours": {"regularizer": SoftNearestNeighborLoss(temperature=50.0)},
    "label smoothing 0.2": {"criterion__label_smoothing": 0.2},
    "weight decay 1": {"optimizer__weight_decay": 1.0},
}
#: What Truong et al. (2020) found: whether success is lower with it.
REGULARIZERS_LOWER = {
    "logit squeezing": True,
    "manifold mixup": False,
    "contrastive": True,
    "soft nearest neighbours": True,
}


class SmallNetwork(ImageNetwork):
    """Convolutions with batch normalisation, each at half the size, and a linear layer."""

    def __init__(self, n_classes, image_size, widths):
        layers, channels = [], 3
        for width in widths:
            convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
            channels = width
        places = (image_size >> len(widths)) ** 2
        layers += [nn.Flatten(), nn.Linear(places * channels, n_classes)]
        super().__init__(nn.Sequential(*layers), image_size, ((0.5,), (0.25,)))


def log(text):
    print(text, file=sys.stderr, flush=True)


def cifar10(path):
    """Training set, clean set and test set, uint8 images with channels first."""
    with np.load(path) as data:
        parts = [data[name] for name in ("X_train", "y_train", "X_test", "y_test")]
    X, y, X_test, y_test = parts
    rng = np.random.default_rng(0)
    rows, test = rng.permutation(len(X)), rng.permutation(len(X_test))[:1500]
    X, X_test = (part.transpose(0, 3, 1, 2) for part in (X, X_test))
    train, clean = rows[:5000], rows[5000:]
    return (X[train], y[train]), (X[clean], y[clean]), (X_test[test], y_test[test])


def imagenette(folder, counts=(220, 80, 100)):
    """Likewise, from folders of JPEGs; of each class at most so many images, None for all."""
    parts = ([], []), ([], []), ([], [])
    rng = np.random.default_rng(0)
    n_train, n_clean, n_test = counts
    for label, name in enumerate(sorted(path.name for path in (folder / "train").iterdir())):
        files, test = (
            [group[i] for i in rng.permutation(len(group))]
            for group in (sorted((folder / part / name).iterdir()) for part in ("train", "val"))
        )
        clean = [] if n_train is None else files[n_train : n_train + n_clean]
        for (images, labels), group in zip(
            parts, (files[:n_train], clean, test[:n_test]), strict=True
        ):
            for path in group:
                with Image.open(path) as image:
                    images.append(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
            labels += [label] * len(group)
    orders = [rng.permutation(len(images)) for images, _ in parts]
    return [
        (np.array(images)[order], np.array(labels, dtype=int)[order])
        for (images, labels), order in zip(parts, orders, strict=True)
    ]


#: Where the data folder has it.
FILES = {"cifar10": "cifar10_subset.npz", "imagenette": "imagenette"}

#: Of each data set: how it is read, the side of its images, the sides at which (a), (b) and (c)
#: see them, the rows and epochs of (b) and the epochs of (c), and the widths of (c).
DATASETS = {
    "cifar10": (cifar10, 32, (96, 64, 32), (2500, 3), 8, (32, 64, 128)),
    "imagenette": (imagenette, 224, (224, 96, 64), (2200, 3), 12, (16, 32, 64, 128)),
}


def triggers(side):
    layout = {"value_range": (0, 255)}
    return {
        "patch 4 %": PatchTrigger(0.04, value=255, **layout),
        "patch 8 %": PatchTrigger(0.08, value=255, **layout),
        "sinusoid": SinusoidTrigger(0.4 * 255, 40 * side / 224, alpha=0.1, **layout),
    }


def learners(name, weights, device, memory):
    """Learner and number of its training rows (None: all)."""
    _, _, sizes, (n_rows, n_epochs), scratch_epochs, widths = DATASETS[name]
    transfer = {"weights": weights, "device": device}
    features = DeepFeatures("mobilenet_v2", image_size=sizes[0], memory=memory, **transfer)
    head = LogisticRegression(C=0.001, max_iter=300)
    tuned = image_classifier(
        "mobilenet_v2", 10, trainable="head+norm", image_size=sizes[1], max_epochs=n_epochs,
        batch_size=50, lr=1e-3, **transfer,
    )  # fmt: skip
    scratch = BackdoorNetClassifier(
        SmallNetwork, module__image_size=sizes[2], module__widths=widths, lr=2e-3, batch_size=64,
        max_epochs=scratch_epochs, device=device,
    )  # fmt: skip
    members = (
        (make_pipeline(features, StandardScaler(), head), None),
        (tuned, n_rows),
        (scratch, None),
    )
    return dict(zip(LEARNERS, members, strict=True))


@lru_cache(maxsize=1)
def read(data, folder):
    return DATASETS[data][0](Path(folder) / FILES[data])


def attack(learner, data, trigger, rate):
    return BackdoorPoisoner(
        learner, triggers(DATASETS[data][1])[trigger], target=0, poisoning_rate=rate,
        random_state=0,
    )  # fmt: skip


def learner_of(data, learner, folder, device, memory):
    """A learner and the rows that it is trained on."""
    weights = Path(folder) / "weights" / "mobilenet_v2_imagenet_fp16.pt"
    estimator, n_rows = learners(data, weights, device, memory)[learner]
    X, y = read(data, folder)[0]
    return estimator, X[:n_rows], y[:n_rows]


@lru_cache(maxsize=1)
def clean_model(data, learner, **where):
    """The learner on clean rows, with the seeds of the poisoned ones."""
    estimator, X, y = learner_of(data, learner, **where)
    return clone(attack(estimator, data, "patch 8 %", 0.02).draw(X, y)).fit(X, y)


def cell(data, learner, trigger, rate, regularizer, **where):
    """A row for the attacked model, and one for each way back from it."""
    _, clean_set, (X_test, y_test) = read(data, where["folder"])
    estimator, X, y = learner_of(data, learner, **where)
    clean = clean_model(data, learner, **where)
    estimator = clone(estimator).set_params(**REGULARIZERS.get(regularizer, {}))
    poisoner = attack(estimator, data, trigger, rate).fit(X, y)
    triggered, y_target, _ = poisoner.triggered_test(X_test, y_test)

    def measured(model, before, change):
        accuracy, success, kept, base = (
            number
            for judged in (model, before)
            for number in (
                judged.score(X_test, y_test), float(np.mean(judged.predict(triggered) == y_target))
            )
        )  # fmt: skip
        return {"change": change, "accuracy": accuracy, "drop": kept - accuracy, "base": base,
                "success": success}  # fmt: skip

    model = poisoner.estimator_
    rows = [measured(model, clean, regularizer)]
    if learner == LEARNERS[2] and rate == RATES[-1] and trigger != "patch 4 %":
        for n_epochs in (2, 5):
            change = f"{n_epochs} epochs on {len(clean_set[0])} clean images"
            rows.append(measured(retrained(model, n_epochs, clean_set), model, change))
    return rows


def grid_of(data):
    kinds = list(triggers(DATASETS[data][1]))
    grid = [
        {"data": [data], "learner": [learner], "trigger": kinds, "rate": list(RATES),
         "regularizer": [""]}
        for learner in LEARNERS
    ]  # fmt: skip
    if data == "cifar10":
        grid.append({"data": [data], "learner": [LEARNERS[2]], "trigger": ["patch 8 %"],
                     "rate": [0.02], "regularizer": list(REGULARIZERS)})  # fmt: skip
    return grid


def retrained(model, n_epochs, clean_set):
    """At four times the learning rate at first, which falls to 0."""
    steps = n_epochs * -(-len(clean_set[0]) // model.batch_size)
    schedule = LRScheduler("CosineAnnealingLR", T_max=steps, step_every="batch")
    model = deepcopy(model).set_params(lr=4 * model.lr, callbacks=[schedule])
    return CleanRetraining(model, n_epochs=n_epochs).fit(*clean_set)


def findings(rows):
    """What the papers found, and the cases here, true or false each."""
    kind = ("data", "learner", "trigger", "rate")
    plain = {
        tuple(row[k] for k in kind): row["success"]
        for row in rows
        if not row["change"]
    }
    sets = sorted({row["data"] for row in rows})
    kinds = ("patch 4 %", "patch 8 %", "sinusoid")
    changed = [row for row in rows if row["change"]]
    retrained = [row for row in changed if "epochs" in row["change"]]
    eased = [row for row in changed if "epochs" not in row["change"]]
    yield (
        "from scratch is easier to backdoor than head only, p >= 2 %, patch 8 % and sine",
        [plain[s, LEARNERS[2], t, p] > plain[s, LEARNERS[0], t, p]
         for s in sets for t in kinds[1:] for p in RATES[1:]],
    )  # fmt: skip
    yield (
        "success grows with the rate, 0.5 to 10 %",
        [plain[s, m, t, RATES[0]] < plain[s, m, t, RATES[-1]]
         for s in sets for m in LEARNERS for t in kinds],
    )  # fmt: skip
    yield (
        "success grows with the patch, 4 to 8 %, p = 10 %",
        [plain[s, m, kinds[0], RATES[-1]] < plain[s, m, kinds[1], RATES[-1]]
         for s in sets for m in LEARNERS],
    )  # fmt: skip
    yield (
        "5 epochs on clean images take two thirds of the success, at 2 points of accuracy at most",
        [row["success"] <= row["base"] / 3 and row["drop"] <= 0.02
         for row in retrained if row["change"].startswith("5")],
    )  # fmt: skip
    for group, lowers in REGULARIZERS_LOWER.items():
        yield (
            f"{'lowers' if lowers else 'does not lower'} success, p = 2 %: {group}",
            [lowers == (row["success"] < plain[tuple(row[k] for k in kind)])
             for row in eased if row["change"] == group],
        )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--store", type=Path, default=Path("studies/deep"))
    args = parser.parse_args()
    where = {"folder": str(args.data), "device": args.device}
    bound = partial(cell, memory=str(args.store / "features"), **where)
    grid = [part for name in args.only for part in grid_of(name)]
    study = Study(bound, grid, store=args.store)
    log(f"{len(study.left())} cells are left")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")
        frame = study.run()
    seconds = frame.drop_duplicates(["data", "learner", "trigger", "rate", "regularizer"]).seconds
    rows = frame.to_dict("records")
    only = "" if args.only == list(DATASETS) else f" --only {' '.join(args.only)}"
    print(
        f"`python benchmarks/bench_deep.py{only}`; CIFAR-10: JPEG q75; of a retrained model, drop"
    )
    print("and base are against the poisoned model.\n")
    print("| data | model | trigger | p | change | accuracy | drop | base | attack success |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['data']} | {row['learner']} | {row['trigger']} | {row['rate']:.1%} |"
            f" {row['change']} | {row['accuracy']:.3f} | {row['drop']:+.3f} | {row['base']:.3f} |"
            f" {row['success']:.3f} |"
        )
    print("\n| finding | holds in | of cases |\n| --- | --- | --- |")
    for text, cases in findings(rows):
        print(f"| {text} | {sum(cases)} | {len(cases)} |")
    threads = torch.get_num_threads()
    print(f"\n{seconds.sum():.0f} s of cells on {threads} threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()
