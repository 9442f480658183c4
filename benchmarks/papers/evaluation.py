"""Reproduce Evaluation (Truong et al., Systematic evaluation of backdoor data poisoning, 2020).

    python benchmarks/papers/evaluation.py [--size small|pretrained|paper] [--flowers FOLDER]
        [--cifar10 FILE] [--weights FILE] [--parts triggers regularizers ...] [--seeds N]
        [--store FOLDER] [--n-jobs 2] [--epochs] [--report] [--output FILE]

Tables 1 to 5 and Figures 4 to 7: a black square in a corner, one in a random place, a sine and a
low-variance image; supplant, 76 / 19 / 5 % of the images as poison-, clean- and adversarial set,
the first two split 80 / 20 in training and validation; training stops after 5 epochs without a
better validation accuracy; then as many epochs at most on the clean set. `small`: 300 images of a
class of Flowers and 200 of CIFAR-10 at 32 x 32, three convolutions from scratch, and experiments
that change one thing each where the paper's order is another: some 540 models, an hour and a half
on two cores. `pretrained`: 300 images of a class of both, and MobileNetV2 with weights of ImageNet
(downloaded, or a state dict in FILE; with folded batch normalisation see unfold.py) at 128 x 128,
all of it trained: minutes of a GPU, with several jobs.
`paper`: the paper's grid and networks, for a GPU. The store keeps every cell: a second start goes
on where the first was; `--report` writes the page from what is there. `--epochs` prints accuracies
and success after each epoch. Flowers: a folder of JPEGs a class (default ../shared/data/flowers);
CIFAR-10: an .npz with X_train, y_train, X_test and y_test, channels last, or else it is fetched.
The page goes to FILE (evaluation_page.py).
"""

import argparse
import sys
import warnings
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from evaluation_page import page
from PIL import Image
from sklearn.model_selection import train_test_split
from skorch.callbacks import EarlyStopping
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn

from skbackdoor import (
    Attack,
    BlendTrigger,
    CleanRetraining,
    LowVarianceTrigger,
    PatchTrigger,
    SinusoidTrigger,
    Study,
    attack_split,
    fetch_cifar10,
)
from skbackdoor.deep import (
    AttackSuccessScoring,
    BackdoorNetClassifier,
    ContrastiveLoss,
    LogitSqueezing,
    ManifoldMixup,
    SoftNearestNeighborLoss,
    image_classifier,
)
from skbackdoor.deep.images import ImageNetwork

OPACITY = {"square": 1.0, "random square": 1.0, "sine": 0.1, "low variance": 0.5}
GRAY = {"gray": 0.5}  # what a low-variance image does to the contrast, without its pattern
PIXELS = {"value_range": (0, 255)}
REGULARIZERS = {  # the paper names no weight, margin or temperature; a weight of 1 is implied
    "none": None,
    "logit squeezing": LogitSqueezing(0.1),
    "logit squeezing, weight 1": LogitSqueezing(),
    "manifold mixup": ManifoldMixup(),
    "contrastive": ContrastiveLoss(margin=10.0),
    "soft nearest neighbours": SoftNearestNeighborLoss(temperature=50.0),
    "the same, as printed": SoftNearestNeighborLoss(temperature=50.0, as_printed=True),
}


@dataclass(frozen=True)
class Size:
    """How much is run."""

    side: dict  # of the images that triggers act on, by data set
    per_class: dict  # images, None for all
    networks: tuple
    parts: dict  # by data set
    targets: int | None  # a seed (None: all), in "regularizers"
    sources: dict  # a seed, in "pairs"
    opacities: dict
    opacity_rates: tuple
    rates: tuple
    training: dict
    n_seeds: dict = field(default_factory=dict)  # by part, where not 8
    changed: dict = field(default_factory=dict)  # by part: what is not as above



SIZES = {
    "small": Size(
        side={"flowers": 32, "cifar10": 32},
        per_class={"flowers": 300, "cifar10": 200},
        networks=("small",),
        parts={
            "flowers": (
                "triggers", "regularizers", "pairs", "opacity", "contrast", "more poison",
                "larger images", "weights", "pooling", "regularized", "regularized weights",
            ),
            "cifar10": ("triggers", "rates", "retraining", "more images"),
        },
        targets=1,
        sources={"flowers": 4},
        opacities={"sine": (0.1, 0.4), "low variance": (0.5, 1.0)},
        opacity_rates=(0.1,),
        rates=(0.02, 0.1, 0.4),
        training={"lr": 2e-3, "max_epochs": 15},
        n_seeds={
            "triggers": 16, "regularizers": 16, "more images": 5, "larger images": 5, "weights": 5,
            "pooling": 5,
        },
        changed={
            "larger images": {"side": {"flowers": 64}},
            "more images": {"per_class": {"cifar10": 1000}},
            "pooling": {"training": {"lr": 2e-3, "max_epochs": 15, "module__pooled": True}},
            "weights": {"training": {"lr": 5e-4, "max_epochs": 15}},  # and module__weights
            "regularized weights": {"training": {"lr": 5e-4, "max_epochs": 15}},
        },
    ),
    "paper": Size(
        side={"flowers": 224, "cifar10": 32},
        per_class={"flowers": None, "cifar10": None},
        networks=("resnet50", "timm/nasnetalarge", "mobilenet_v2"),  # no NASNet-Mobile to be had
        parts={
            "flowers": ("triggers", "regularizers", "pairs", "opacity", "rates"),
            "cifar10": ("triggers", "pairs", "opacity", "rates"),
        },
        targets=None,
        sources={"flowers": 4, "cifar10": 9},
        opacities={
            "sine": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
            "low variance": (0.1, 0.25, 0.5, 0.6, 0.8, 1.0),
        },
        opacity_rates=(0.05, 0.1),
        rates=(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
        training={"lr": 1e-5, "max_epochs": 60, "image_size": 224},
    ),
}
SIZES["pretrained"] = replace(
    SIZES["small"],
    side={"flowers": 128, "cifar10": 32},
    per_class={"flowers": 300, "cifar10": 300},
    networks=("mobilenet_v2",),
    parts={
        "flowers": ("triggers", "more poison", "regularizers", "pairs", "opacity"),
        "cifar10": ("triggers", "rates"),
    },
    training={"lr": 1e-4, "max_epochs": 15, "image_size": 128},
    n_seeds={},
    changed={},
)


PARTS = (
    "triggers", "regularizers", "pairs", "opacity", "rates", "retraining", "contrast",
    "more poison", "more images", "larger images", "weights", "pooling", "regularized",
    "regularized weights",
)  # fmt: skip


# -- Data -----------------------------------------------------------------------------------------


def flowers(folder, side, per_class):
    """Images of a folder a class, channels first, in the order of their names; no test images."""
    images, labels = [], []
    for label, group in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        for path in sorted(group.glob("*.jp*g"))[:per_class]:
            with Image.open(path) as image:
                small = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
            images.append(np.asarray(small).transpose(2, 0, 1))
            labels.append(label)
    if not images:
        raise SystemExit(f"--flowers {folder} holds no folder of JPEGs: one a class is needed.")
    images, labels = np.array(images), np.array(labels)
    return images, labels, images[:0], labels[:0]


def cifar10(path, side, per_class):
    """The first images of each class, and all test images."""
    if path.exists():
        with np.load(path) as data:
            X, y, X_test, y_test = (
                data[name] for name in ("X_train", "y_train", "X_test", "y_test")
            )
            X, X_test = X.transpose(0, 3, 1, 2), X_test.transpose(0, 3, 1, 2)
    else:
        X, y, X_test, y_test = fetch_cifar10(return_X_y=True)
    rows = np.concatenate([np.flatnonzero(y == label)[:per_class] for label in np.unique(y)])
    return (
        np.ascontiguousarray(X[rows]), y[rows].astype(int),
        np.ascontiguousarray(X_test), y_test.astype(int),
    )  # fmt: skip


def weights_of(path):
    """Of the small network, trained on all of CIFAR-10's training images at hand."""
    X, y, _, _ = cifar10(path, 32, None)
    net = BackdoorNetClassifier(
        SmallNetwork, module__side=32, optimizer=torch.optim.Adam, lr=2e-3, batch_size=32,
        max_epochs=12, random_state=0,
    ).fit(X, y)  # fmt: skip
    # contiguous, as they are when read again: a study knows arrays by their strides, too
    return {name: np.array(value, order="C") for name, value in net.module_.state_dict().items()}


# -- One model ------------------------------------------------------------------------------------


class SmallNetwork(ImageNetwork):
    """Three convolutions with batch normalisation, and a linear layer.

    pooled: the layer sees the mean of each channel, as those of ResNet and NASNet do, in place of
    channels and places. weights: of all but that layer.
    """

    def __init__(self, n_classes, side, pooled=False, weights=None):
        def block(channels, width, stride, last):
            convolution = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
            return [convolution, *last, nn.BatchNorm2d(width), nn.ReLU()]

        half = [nn.MaxPool2d(2)]
        layers = [*block(3, 16, 2, []), *block(16, 32, 1, half), *block(32, 64, 1, half)]
        if pooled:
            layers.append(nn.AdaptiveAvgPool2d(1))
        head = nn.Linear(64 * (1 if pooled else (-(-side // 2) // 4) ** 2), n_classes)
        super().__init__(nn.Sequential(*layers, nn.Flatten(), head), None, ((0.45,), (0.25,)))
        if weights is not None:
            last = list(self.state_dict())[-2:]
            given = {name: torch.as_tensor(value) for name, value in weights.items()}
            self.load_state_dict(self.state_dict() | {
                name: value for name, value in given.items() if name not in last
            })  # fmt: skip


def trigger_of(name, alpha, side):
    if name == "sine":  # the paper's wave of 40 pixels is of images of 224
        return SinusoidTrigger(0.4 * 255, 40 * side / 224, alpha=alpha, **PIXELS)
    if name == "low variance":
        return LowVarianceTrigger(alpha=alpha, **PIXELS)
    if name == "gray":
        return BlendTrigger(127.5, alpha=alpha, **PIXELS)
    place = "random" if name == "random square" else "bottom-right"
    return PatchTrigger(0.1, position=place, value=0, alpha=alpha, **PIXELS)


class Run:
    """One trained network; at rate 0 on clean data, where the trigger is only shown to it."""

    def __init__(self, trigger, alpha, rate, source, target, regularizer, network, seed, data):
        X, y, self.X_more, self.y_more, training = data
        n_classes, side = len(np.unique(y)), X.shape[-1]
        self.split = split = attack_split(X, y, target=target, random_state=seed)
        self.attack = Attack(
            trigger_of(trigger, alpha, side), target=target, placement="supplant",
            source_classes=None if source == "all" else [source], poisoning_rate=rate or 0.1,
            random_state=seed,
        ).fit(split.X_poison, split.y_poison)  # fmt: skip
        rows = split.X_poison, split.y_poison
        rows = self.attack.poison(*rows)[:2] if rate else rows
        parts = {"random_state": seed, "test_size": 0.2}
        X_train, X_valid, y_train, y_valid = train_test_split(*rows, **parts)
        X_clean, X_held, y_clean, y_held = train_test_split(split.X_clean, split.y_clean, **parts)
        self.poisoned_validation, self.clean = (X_valid, y_valid), (X_clean, y_clean)
        self.held = X_held, y_held
        scores = [
            AttackSuccessScoring(*self.triggered()),
            AttackSuccessScoring(X_held, y_held, name="clean_accuracy"),
        ]
        stop = EarlyStopping("valid_acc", patience=5, lower_is_better=False, sink=lambda text: 0)
        options = {
            "optimizer": torch.optim.Adam, "batch_size": 32, "random_state": seed, **training,
            "regularizer": REGULARIZERS[regularizer],
            "classes": np.arange(n_classes), "callbacks": [*scores, stop],
            "train_split": predefined_split(Dataset(X_valid, y_valid)),
        }  # fmt: skip
        if network == "small":
            net = BackdoorNetClassifier(SmallNetwork, module__side=side, **options)
        else:
            net = image_classifier(network, n_classes, **options)
        self.net = net.fit(X_train, y_train)

    def triggered(self):
        return self.attack.triggered(self.split.X_adversarial, self.split.y_adversarial)

    def accuracy(self, net, X, y):
        """On clean images, and the test images where there are."""
        return net.score(np.concatenate([X, self.X_more]), np.concatenate([y, self.y_more]))


def cell(trigger, alpha, rate, source, target, regularizer, network, seed, *, data):
    """One poisoned model, before and after clean retraining."""
    run = Run(trigger, alpha, rate, source, target, regularizer, network, seed, data)
    retrained = CleanRetraining(run.net, n_epochs=run.net.max_epochs).fit(*run.clean).estimator_
    return {
        "n_poison": len(run.attack.poisoned_indices_),
        "effective_rate": run.attack.effective_rate_,
        "epochs": len(run.net.history_),
        "success": run.net.score(*run.triggered()),
        "clean_accuracy": run.accuracy(run.net, run.split.X_clean, run.split.y_clean),
        "poisoned_accuracy": run.net.score(*run.poisoned_validation),
        "held_accuracy": run.accuracy(run.net, *run.held),
        "retrained_success": retrained.score(*run.triggered()),
        "retrained_clean_accuracy": run.accuracy(retrained, *run.held),
        "retrained_poisoned_accuracy": retrained.score(*run.poisoned_validation),
    }


def retraining_cell(target, network, seed, *, data):
    """One poisoned model, retrained on few and on many clean images, by small and large steps."""
    run, rows = Run("square", 1.0, 0.1, "all", target, "none", network, seed, data), []
    success, rate = run.net.score(*run.triggered()), run.net.lr
    for X, y in (run.clean, (run.X_more, run.y_more)):
        for steps in (1, 4):
            net = run.net.set_params(lr=steps * rate)
            retrained = CleanRetraining(net, n_epochs=net.max_epochs).fit(X, y).estimator_
            rows.append({
                "images": len(y), "learning_rate": steps * rate, "success": success,
                "retrained_success": retrained.score(*run.triggered()),
                "retrained_clean_accuracy": retrained.score(*run.held),
            })  # fmt: skip
    return rows


def clean_cell(target, network, seed, *, data):
    """One clean model, and how often it gives the target to what each trigger is on."""
    run, rows = Run("square", 1.0, 0, "all", target, "none", network, seed, data), []
    for trigger, alpha in (OPACITY | GRAY).items():
        run.attack = run.attack.with_trigger(trigger_of(trigger, alpha, data[0].shape[-1]))
        rows.append({"trigger": trigger, "base_rate": run.net.score(*run.triggered())})
    return rows


def epochs_cell(trigger, alpha, rate, source, target, regularizer, network, seed, *, data):
    """One poisoned model after each epoch."""
    run = Run(trigger, alpha, rate, source, target, regularizer, network, seed, data)
    names = "epoch", "attack_success_rate", "clean_accuracy", "valid_acc"
    return [{name: row[name] for name in names} for row in run.net.history_]


# -- Grids ----------------------------------------------------------------------------------------


def cells(data, part, size, n_seeds, n_classes):
    """The settings of a part, one dict each; parts may share some."""
    found = []
    for seed in range(n_seeds or size.n_seeds.get(part, 8)):
        for network in size.networks if part != "regularizers" else size.networks[:1]:
            plain = {
                "trigger": "square", "alpha": 1.0, "rate": 0.1, "source": "all",
                "target": seed % n_classes, "regularizer": "none", "network": network,
                "seed": seed,
            }  # fmt: skip
            found += [plain | change for change in changes(data, part, size, seed, n_classes)]
    return found


def changes(data, part, size, seed, n_classes):
    """What differs from the plain setting."""
    target = seed % n_classes
    if part in ("triggers", "larger images", "weights", "pooling"):
        for name, alpha in OPACITY.items():
            yield {"trigger": name, "alpha": alpha}
    elif part == "contrast":
        for name, alpha in GRAY.items():
            yield {"trigger": name, "alpha": alpha}
    elif part in ("regularized", "regularized weights"):
        for name in ("none", "logit squeezing", "manifold mixup"):
            yield {"rate": 0.3, "regularizer": name}
    elif part == "retraining":
        yield {}
    elif part == "more images":  # as many poisoned images as 10 % of the paper's CIFAR-10, and 2
        for name, alpha in OPACITY.items():
            yield {"trigger": name, "alpha": alpha, "rate": 0.5}
        yield {"trigger": "sine", "alpha": OPACITY["sine"], "rate": 0.1}
    elif part == "more poison":  # as many images as a tenth of the paper's classes
        for name, alpha in OPACITY.items():
            yield {"trigger": name, "alpha": alpha, "rate": 0.3}
    elif part == "regularizers":
        for k in range(size.targets or n_classes):
            for name in REGULARIZERS:
                yield {"target": (seed + k) % n_classes, "regularizer": name}
    elif part == "pairs":
        yield {}
        for k in range(size.sources[data]):
            yield {"source": (target + 1 + (seed + k) % (n_classes - 1)) % n_classes}
    elif part == "opacity":
        for name, values in size.opacities.items():
            for alpha in values:
                for rate in size.opacity_rates:
                    yield {"trigger": name, "alpha": alpha, "rate": rate}
    elif part == "rates":
        for name, alpha in OPACITY.items():
            for rate in size.rates:
                yield {"trigger": name, "alpha": alpha, "rate": rate}


def study_of(function, settings, data, store):
    """A study of single settings, each once."""
    unique = {repr(setting): setting for setting in settings}
    grid = [{name: [value] for name, value in setting.items()} for setting in unique.values()]
    return Study(partial(function, data=data), grid, store=store)


def run(study, args):
    print(f"{len(study.left())} cells to run", file=sys.stderr, flush=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="With more than 6000 images")
        return study.results() if args.report else study.run(n_jobs=args.n_jobs)


def changed_data(name, part, size, args):
    """Images of a data set and how networks are trained on them, in a part."""
    size = replace(size, **size.changed.get(part, {}))
    side, per_class = size.side[name], size.per_class[name]
    path, read = getattr(args, name), {"flowers": flowers, "cifar10": cifar10}[name]
    training = size.training
    if "small" not in size.networks:
        training = training | {"weights": args.weights}
    if part in ("weights", "regularized weights"):
        kept = joblib.Memory(args.store / "networks", verbose=0).cache
        training = training | {"module__weights": kept(weights_of)(args.cifar10)}
    return *read(path, side, per_class), training


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = Path("../shared/data")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--flowers", type=Path, default=shared / "flowers")
    parser.add_argument("--cifar10", type=Path, default=shared / "cifar10_subset.npz")
    parser.add_argument("--weights", default="DEFAULT", help="of networks by name")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", type=int, help="default: as the size says, or 8")
    parser.add_argument("--store", type=Path, default=Path("evaluation_cells"))
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--epochs", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--output", type=Path, help="default: a page of the size in results")
    args = parser.parse_args()
    size, frames, left = SIZES[args.size], [], []
    arrays = {name: changed_data(name, None, size, args) for name in size.parts}
    for part in args.parts:
        for name in (name for name, parts in size.parts.items() if part in parts):
            data = changed_data(name, part, size, args) if part in size.changed else arrays[name]
            settings = cells(name, part, size, args.seeds, len(np.unique(data[1])))
            few = ("target", "network", "seed")
            clean = [{key: setting[key] for key in few} for setting in settings]
            if part == "retraining":
                studies = {part: (retraining_cell, clean)}
            else:
                studies = {part: (epochs_cell if args.epochs else cell, settings)}
            if part == "triggers" and not args.epochs:
                studies["base"] = clean_cell, clean
            for title, (function, wanted) in studies.items():
                study = study_of(function, wanted, data, args.store)
                frames.append(run(study, args).assign(data=name, part=title))
                if n_left := len(study.left()):
                    left.append(f"{n_left} of the {len(study.grid)} of {title} on {name}")
    frame = pd.concat(frames, ignore_index=True)
    if args.epochs:
        print(frame.drop(columns=["seconds", "error"]).to_csv(index=False))
        return
    command = f"python benchmarks/papers/evaluation.py --size {args.size}"
    lines = page(frame, command, arrays, args.size)
    if left:
        lines += ["", f"Models not run yet: {', '.join(left)}."]
    name = "evaluation" if args.size == "small" else f"evaluation_{args.size}"
    output = args.output or Path(__file__).parents[1] / "results" / f"{name}.md"
    output.write_text("\n".join(lines) + "\n")
    print(f"written: {output}", file=sys.stderr)


if __name__ == "__main__":
    main()
