"""Characteristics (Abad et al., 2023) on two cores, or as it was published.

    python benchmarks/papers/characteristics.py --size small|pretrained|paper [--data FOLDER]
        [--store FOLDER] [--weights FILE] [--n-jobs 1] [--device cpu] [--page-only]
        > benchmarks/results/characteristics.md

Sizes, positions, colours and rates of a patch, networks, and what of them is trained, five repeats
(small: twelve and more) each with its clean model. Images are enlarged before they are triggered.
"paper" is the published grid (10,800 models, and 1,800 of the freezing sweep; weights and data are
downloaded; a GPU). "small" asks the same questions in an hour of two cores: a small network on
MNIST and CIFAR-10, 4,000 images a repeat, from scratch or with weights of 4,000 other, clean
images of the same data. "pretrained" is one row of the paper's tables with a network whose weights
are at hand: MobileNetV2 of ImageNet, its last layer and normalisation trained for 10 epochs on
4,000 images of CIFAR-10 enlarged to 128: minutes of a GPU (weights are downloaded, or a state dict
in FILE).
A study (skbackdoor.Study): stop it and start it again. Needs the extras deep and studies.
"""

import argparse
import sys
import time
import warnings
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import joblib
import numpy as np
import torch
from characteristics_page import LEVELS, page
from torch import nn

from skbackdoor import (
    BackdoorPoisoner,
    PatchTrigger,
    Study,
    fetch_cifar10,
    fetch_mnist,
    fetch_tiny_imagenet,
)
from skbackdoor.deep import BackdoorNetClassifier, grad_cam
from skbackdoor.deep.classifier import ImageClassifier

COLOURS = {"white": (255, 255, 255), "black": (0, 0, 0), "green": (102, 179, 92)}
POSITIONS = ("top-left", "top-right", "bottom-left", "bottom-right", "center")
PATCHES, RATES = (0.04, 0.06, 0.08), (0.005, 0.01, 0.015, 0.02)
MUCH = 0.1  # beyond the paper's rates: there networks from weights obey on CIFAR-10, trained long
#: Repeats; the small size takes more, as its networks and test sets are smaller.
REPEATS = {"small": 12, "pretrained": 5, "paper": 5}
#: And more of it for CIFAR-10's positions, size against rate of MNIST's classifier, and accuracy,
#: which poison changes by less than a point.
PLACE_REPEATS, SIZE_REPEATS, ACCURACY_REPEATS = 24, 36, 48


# -- Data ----------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def images_of(name, folder):
    """All images of a data set, uint8 with three channels, training and test part."""
    known = Path(folder) / {"mnist": "mnist.npz", "cifar10": "cifar10_subset.npz"}.get(name, name)
    if name == "mnist":
        path = known if known.exists() else None
        X, y, X_test, y_test = fetch_mnist(None, None, None, path=path, return_X_y=True)
        X, X_test = (
            np.rint(255 * part).astype(np.uint8).reshape(-1, 1, 28, 28).repeat(3, axis=1)
            for part in (X, X_test)
        )
    elif name == "cifar10" and known.exists():
        with np.load(known) as file:
            X, y, X_test, y_test = (file[k] for k in ("X_train", "y_train", "X_test", "y_test"))
        X, X_test = (part.transpose(0, 3, 1, 2) for part in (X, X_test))
    else:
        fetch = fetch_cifar10 if name == "cifar10" else fetch_tiny_imagenet
        X, y, X_test, y_test = fetch(return_X_y=True)
    return X, y, X_test, y_test


def enlarged(X, side):
    """Images in the size that the network sees, before any trigger."""
    parts = []
    for start in range(0, len(X), 1000):
        images = torch.as_tensor(np.ascontiguousarray(X[start : start + 1000])).float()
        images = nn.functional.interpolate(images, (side, side), mode="bilinear")
        parts.append(images.round().clamp(0, 255).to(torch.uint8).numpy())
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def split(scale, name, seed, folder):
    """Training and test images of a repeat; of "small" another draw of them for each."""
    X, y, X_test, y_test = images_of(name, folder)
    side = scale.sides[name]
    if scale.n_train is None:
        return enlarged(X, side), y, enlarged(X_test, side), y_test
    rows = np.random.RandomState(0).permutation(len(y))[scale.n_before :]  # others are for before
    rng = np.random.RandomState(seed)
    rows = rng.choice(rows, scale.n_train, replace=False)
    test = rng.choice(len(y_test), scale.n_test, replace=False)
    return enlarged(X[rows], side), y[rows], enlarged(X_test[test], side), y_test[test]


# -- Networks ------------------------------------------------------------------------------------


def small_network(width, norm):
    """Two convolutions that do not overlap and two linear layers, for images of 50 pixels."""
    layers, channels = [], 3
    for kernel, out in ((5, width), (2, 2 * width)):
        layers.append(nn.Conv2d(channels, out, kernel, stride=kernel, bias=not norm))
        layers += [nn.BatchNorm2d(out), nn.ReLU()] if norm else [nn.ReLU()]
        channels = out
    head = [nn.Flatten(), nn.Linear(25 * channels, 32), nn.ReLU(), nn.Linear(32, 10)]
    return nn.Sequential(*layers, *head)


class SmallNetwork(ImageClassifier):
    """The small network, from scratch."""

    def __init__(self, width, norm):
        super().__init__(small_network(width, norm), 10)


class MovingStatistics(ImageClassifier):
    """As the paper trains: batch normalisation goes on averaging what it is trained on."""

    def __init__(self, arch, n_classes, weights=None, trainable="all", image_size=None):
        super().__init__(arch, n_classes, weights, trainable, image_size)
        self.keeps_statistics = False


def pretrained_small(name, width, norm, folder):
    """The small network with weights of clean images that are in no repeat."""
    X, y, _, _ = images_of(name, folder)
    rows = np.random.RandomState(0).permutation(len(y))[: SMALL.n_before]
    net = BackdoorNetClassifier(
        SmallNetwork, module__width=width, module__norm=norm, max_epochs=15, lr=3e-3,
        batch_size=50, random_state=0, device="cpu",
    )  # fmt: skip
    return net.fit(enlarged(X[rows], SMALL.sides[name]), y[rows]).module_.network


def small_learner(data, learner, folder, weights, kept):
    """A network of the small size by name: what is trained, and its width."""
    long, learner = learner.startswith("long "), learner.removeprefix("long ")
    kind, _, number = learner.partition(" ")
    how = {"max_epochs": 25 if long else 5, "batch_size": 75, "lr": 8e-3,
           "iterator_valid__batch_size": 1000, "optimizer__fused": True}
    if kind == "scratch":
        width = int(number or 8)
        return BackdoorNetClassifier(
            SmallNetwork, module__width=width, module__norm=True, **how
        )
    norm = kind == "head+norm"
    trainable = {"head+norm": "head+norm", "classifier": 4, "head": 6, "freeze": int(number or 0)}
    return BackdoorNetClassifier(
        MovingStatistics, module__arch=kept(pretrained_small)(data, 8, norm, folder),
        module__n_classes=10, module__trainable=trainable[kind], **how,
    )  # fmt: skip


def pretrained_learner(data, learner, folder, weights, kept):
    """The last layer and batch normalisation of MobileNetV2, from weights of ImageNet."""
    return BackdoorNetClassifier(
        MovingStatistics, module__arch=learner, module__n_classes=10,
        module__weights=weights, module__trainable="head+norm",
        module__image_size=PRETRAINED.sides[data], max_epochs=10, lr=1e-3, batch_size=128,
        optimizer=torch.optim.Adam,
    )  # fmt: skip


def paper_learner(data, learner, folder, weights, kept):
    """A network of the paper, with weights of ImageNet."""
    arch, _, frozen = learner.partition(" freeze ")
    slow = arch == "vgg19_bn" and data == "tiny"
    classifier = 10  # of AlexNet's 16 tensors of parameters, those of the convolutions come first
    trainable = int(frozen) if frozen else classifier if arch == "alexnet" else "head+norm"
    return BackdoorNetClassifier(
        MovingStatistics, module__arch=arch, module__n_classes=200 if data == "tiny" else 10,
        module__weights=weights, module__trainable=trainable,
        module__image_size=PAPER.sides[data], max_epochs=20, lr=1e-3,
        batch_size=32 if data == "tiny" else 128,
        optimizer=torch.optim.SGD if slow else torch.optim.Adam,
    )  # fmt: skip


# -- The study -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """What differs between the two sizes."""

    learner: object
    sides: dict
    n_before: int = 0
    n_train: int | None = None
    n_test: int | None = None

    def __hash__(self):
        return hash(self.n_train)


SMALL = Scale(small_learner, {"mnist": 50, "cifar10": 50}, 4000, 4000, 2000)
PRETRAINED = Scale(pretrained_learner, {"cifar10": 128}, 0, 4000, 2000)
PAPER = Scale(paper_learner, {"mnist": 64, "cifar10": 128, "tiny": 224})
SCALES = {"small": SMALL, "pretrained": PRETRAINED, "paper": PAPER}


def grid_of(size):
    """Parameters of all cells."""
    data, seeds = list(SCALES[size].sides), list(range(REPEATS[size]))
    one = {"position": ["bottom-right"], "colour": ["white"]}
    every = {"position": list(POSITIONS), "colour": list(COLOURS)}
    grow = {"patch": list(PATCHES), "rate": list(RATES)}
    if size == "paper":
        networks = ["alexnet", "googlenet", "vgg19_bn", "resnet152"]
        sweep = [f"alexnet freeze {k}" for k in range(15)]
        grid = [
            {"data": data, "learner": networks} | every | grow,
            {"data": ["mnist", "cifar10"], "learner": sweep} | one | grow,
        ]
    elif size == "pretrained":
        networks, most = ["mobilenet_v2"], {"patch": [PATCHES[-1]], "rate": [RATES[-1]]}
        all_rates = {"patch": [PATCHES[-1]], "rate": list(RATES)}
        few = {"patch": [PATCHES[0]], "rate": [RATES[-1]]}
        middle = {"position": ["center"], "colour": ["white"]}
        parts = (one | all_rates, one | few, middle | most)
        grid = [{"data": data, "learner": networks} | part for part in parts]
        return [part | {"seed": seeds} for part in grid]  # clean models of all seeds first
    else:
        at_most = {"patch": [PATCHES[-1]], "rate": [RATES[-1]]}
        ends = [RATES[0], RATES[-1]]
        grow |= {"rate": ends}
        widths = ["scratch 2", "scratch 16"]
        grid = [
            {"data": data, "learner": ["scratch"]} | one | grow,
            {"data": data, "learner": ["scratch"]} | every | at_most,
            {"data": data, "learner": [*LEVELS, "head+norm"]} | one | at_most,
            {"data": data, "learner": widths} | one | at_most | {"rate": ends},
            {"data": data, "learner": ["classifier"]} | one | grow,
            {"data": ["cifar10"], "learner": [f"long {name}" for name in LEVELS]} | one | {
                "patch": [PATCHES[-1]], "rate": [MUCH],
            },
        ]
        places = {"data": ["cifar10"], "learner": ["scratch"]} | every | at_most
        ends_of_size = {"data": ["mnist"], "learner": ["classifier"]} | one | {
            "patch": [PATCHES[0], PATCHES[-1]], "rate": ends,
        }  # fmt: skip
        accuracy = {"data": data, "learner": ["scratch"]} | one | at_most | {"rate": ends}
        more = [
            accuracy | {"seed": [seed]} for seed in range(len(seeds), ACCURACY_REPEATS)
        ] + [places | {"seed": [seed]} for seed in range(len(seeds), PLACE_REPEATS)]
        more += [ends_of_size | {"seed": [seed]} for seed in range(len(seeds), SIZE_REPEATS)]
        return [part | {"seed": [seed]} for seed in seeds for part in grid] + more
    return [part | {"seed": [seed]} for seed in seeds for part in grid]


def cell(data, learner, patch, position, colour, rate, seed, size, folder, weights, device,
         memory):  # fmt: skip
    """One attack on one network, and its clean model."""
    scale, kept = SCALES[size], joblib.Memory(memory, verbose=0).cache
    X, y, X_test, y_test = split(scale, data, seed, folder)
    trigger = PatchTrigger(patch, position=position, value=COLOURS[colour], value_range=(0, 255))
    net = scale.learner(data, learner, folder, weights, kept).set_params(device=device)
    poisoner = BackdoorPoisoner(
        net, trigger, target=0, poisoning_rate=rate, placement="replace", random_state=seed
    ).fit(X, y)
    clean = clean_model(size, data, learner, seed, folder, weights, device, memory)
    own = y_test != 0  # the paper also counts the images of the target class
    triggered = poisoner.trigger_.transform(X_test)
    result = {}
    for name, model in (("", poisoner.estimator_), ("clean_", clean)):
        hits = model.predict(triggered) == 0
        result |= {
            f"{name}accuracy": model.score(X_test, y_test),
            f"{name}success": hits[own].mean(),
            f"{name}paper_success": hits.mean(),
        }
        shown = np.flatnonzero(own)[:30]
        for what, images in (("triggered", triggered), ("plain", X_test)):
            result[f"{name}mass_{what}"] = mass(model, images[shown], 0, poisoner.trigger_)
    others = triggered[y_test == 1][:30]
    result["mass_true_class"] = mass(poisoner.estimator_, others, 1, poisoner.trigger_)
    return result | {"n_poison": len(poisoner.poisoned_indices_)}


@lru_cache(maxsize=16)
def clean_model(size, data, learner, seed, folder, weights, device, memory):
    """The network fitted on the same images without poison, kept on disk."""
    kept = joblib.Memory(memory, verbose=0).cache
    return kept(fitted_clean)(size, data, learner, seed, folder, weights, device, memory)


def fitted_clean(size, data, learner, seed, folder, weights, device, memory):
    X, y, _, _ = split(SCALES[size], data, seed, folder)
    kept = joblib.Memory(memory, verbose=0).cache
    net = SCALES[size].learner(data, learner, folder, weights, kept)
    return net.set_params(device=device, random_state=seed).fit(X, y)


def mass(model, images, label, trigger):
    """Share of the class activation map that lies inside the patch; mean over the images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        maps = grad_cam(model, images, label)
    (row, column), (height, width) = trigger.position_, trigger.pattern_.shape[-2:]
    inside = maps[:, row : row + height, column : column + width].sum(axis=(1, 2))
    total = maps.sum(axis=(1, 2))
    seen = total > 0  # no map where nothing speaks for the class
    return float((inside[seen] / total[seen]).mean()) if seen.any() else np.nan


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=tuple(SCALES), required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--store", type=Path, help="default: studies/characteristics_SIZE")
    parser.add_argument("--weights", default="DEFAULT", help="of networks by name")
    parser.add_argument("--n-jobs", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--page-only", action="store_true", help="of what has run so far")
    args = parser.parse_args()
    store = args.store or Path(f"studies/characteristics_{args.size}")
    torch.set_num_threads(1)
    bound = partial(
        cell, size=args.size, folder=str(args.data), weights=args.weights, device=args.device,
        memory=str(store / "networks"),
    )  # fmt: skip
    study = Study(bound, grid_of(args.size), store=store)
    print(f"{len(study.left())} cells are left", file=sys.stderr, flush=True)
    start = time.perf_counter()
    frame = study.results() if args.page_only else study.run(n_jobs=args.n_jobs)
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    command = f"python benchmarks/papers/characteristics.py --size {args.size}"
    print("\n".join(page(frame, args.size, command)))


if __name__ == "__main__":
    main()
