"""Backdoors in networks on the CPU: transfer, fine-tuning, training from scratch, the way back.

    python benchmarks/bench_deep.py [--data FOLDER] [--device cpu] [--csv FILE]
        > benchmarks/results/deep.md

CIFAR-10 (the JPEG q75 subset), ten classes, target "airplane", copies appended:
(a) logistic regression on the features of a MobileNetV2 with ImageNet weights, (b) its head and
normalisation layers trained, (c) a small network from scratch. Patches of 4 and 8 % of the side
and a sine, p = 0.5, 2 and 10 %. Then the model of (c) at 10 % trained further on 500 clean images,
and (c) with each regularizer. One seed; attack success beside the base rate of the clean model.
Progress goes to stderr.
"""

import argparse
import csv
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skbackdoor import BackdoorPoisoner, CleanRetraining, PatchTrigger, SinusoidTrigger
from skbackdoor.deep import (
    BackdoorNetClassifier,
    ContrastiveLoss,
    DeepFeatures,
    LogitSqueezing,
    ManifoldMixup,
    SoftNearestNeighborLoss,
    image_classifier,
)

RATES = (0.005, 0.02, 0.1)
TRIGGERS = {
    "patch 4 %": PatchTrigger(0.04),
    "patch 8 %": PatchTrigger(0.08),
    "sinusoid": SinusoidTrigger(0.4, 40 / 7, alpha=0.1),
}
REGULARIZERS = {
    "logit squeezing": LogitSqueezing(0.05),
    "manifold mixup": ManifoldMixup("layers.9"),
    "contrastive": ContrastiveLoss(strength=0.05, margin=5.0),
    "soft nearest neighbours": SoftNearestNeighborLoss(strength=1.0, temperature=50.0),
    "label smoothing 0.2": None,
    "weight decay 1": None,
}


class SmallNetwork(nn.Module):
    """Three convolutions and two linear layers."""

    def __init__(self, n_classes):
        super().__init__()
        layers, channels = [], 3
        for width in (32, 64, 128):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            channels = width
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(2048, 128), nn.ReLU(), nn.Linear(128, n_classes)
        )

    def forward(self, X):
        return self.layers(X - 0.5)


def log(text):
    print(text, file=sys.stderr, flush=True)


def load(folder):
    with np.load(folder / "cifar10_subset.npz") as data:
        parts = [data[name] for name in ("X_train", "y_train", "X_test", "y_test")]
    X, y, X_test, y_test = parts
    rng = np.random.default_rng(0)
    rows, test = rng.permutation(len(X)), rng.permutation(len(X_test))[:1500]
    X, X_test = (part.transpose(0, 3, 1, 2) for part in (X, X_test))
    return (
        (X[rows[:4000]], y[rows[:4000]]),
        (X[rows[-500:]], y[rows[-500:]]),
        (X_test[test], y_test[test]),
    )


def learners(folder, device, memory):
    weights = folder / "weights" / "mobilenet_v2_imagenet_fp16.pt"
    features = DeepFeatures(
        "mobilenet_v2", weights=weights, image_size=96, memory=memory, device=device
    )
    return {
        "(a) head only": (
            make_pipeline(features, StandardScaler(), LogisticRegression(C=0.001, max_iter=300)),
            4000,
        ),
        "(b) head + norm": (
            image_classifier(
                "mobilenet_v2", 10, weights=weights, trainable="head+norm", image_size=64,
                max_epochs=2, batch_size=50, lr=1e-3, device=device,
            ),
            1000,
        ),
        "(c) from scratch": (scratch(device), 3000),
    }  # fmt: skip


def scratch(device, **parameters):
    return BackdoorNetClassifier(
        SmallNetwork, max_epochs=8, batch_size=50, device=device, **parameters
    )


def measure(model, poisoner, X, y):
    triggered, y_target, _ = poisoner.triggered_test(X, y)
    return model.score(X, y), float(np.mean(model.predict(triggered) == y_target))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--csv", help="where single runs are written")
    args = parser.parse_args()
    train, clean_set, test = load(args.data)
    begin, rows = time.perf_counter(), []
    layout = {"value_range": (0, 255)}

    def attack(learner, trigger, rate):
        bright = {"value": 255} if isinstance(trigger, PatchTrigger) else {"amplitude": 102.0}
        return BackdoorPoisoner(
            learner, clone(trigger).set_params(**layout, **bright), target=0,
            poisoning_rate=rate, random_state=0,
        )  # fmt: skip

    def tell(model, what, poisoner, fitted, clean):
        accuracy, success = measure(fitted, poisoner, *test)
        before, base = measure(clean, poisoner, *test)
        row = {
            "model": model, "what": what, "accuracy": accuracy, "drop": before - accuracy,
            "base": base, "success": success,
        }  # fmt: skip
        rows.append(row)
        log(f"{time.perf_counter() - begin:.0f} s: {row}")
        return row

    with tempfile.TemporaryDirectory() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scratch_clean = retrain = None
        for name, (learner, n) in learners(args.data, args.device, memory).items():
            X, y = train[0][:n], train[1][:n]
            seeded = attack(learner, TRIGGERS["patch 8 %"], 0.02).fit(X[:200], y[:200])
            clean = clone(seeded.estimator_).fit(X, y)  # with the seeds of the poisoned ones
            for kind, trigger in TRIGGERS.items():
                for rate in RATES:
                    poisoner = attack(learner, trigger, rate).fit(X, y)
                    tell(name, f"{kind}, p = {rate:.1%}", poisoner, poisoner.estimator_, clean)
                    if name.startswith("(c)") and kind == "patch 8 %" and rate == 0.1:
                        retrain = poisoner
            scratch_clean = clean
        for n_epochs in (2, 5):
            fixed = CleanRetraining(retrain, n_epochs=n_epochs).fit(*clean_set).estimator_
            what = f"patch 8 %, p = 10.0%, {n_epochs} epochs of clean retraining"
            tell("(c) from scratch", what, retrain, fixed, scratch_clean)
        for name, regularizer in REGULARIZERS.items():
            options = {"regularizer": regularizer}
            if name.startswith("label"):
                options = {"criterion__label_smoothing": 0.2}
            elif name.startswith("weight"):
                options = {"optimizer__weight_decay": 1.0}
            poisoner = attack(scratch(args.device, **options), TRIGGERS["patch 8 %"], 0.02)
            poisoner.fit(train[0][:3000], train[1][:3000])
            tell("(c) from scratch", f"patch 8 %, p = 2.0%, {name}", poisoner,
                 poisoner.estimator_, scratch_clean)  # fmt: skip
    print(f"`python benchmarks/bench_deep.py --device {args.device}`: CIFAR-10, JPEG q75\n")
    print("| model | attack | accuracy | drop | base rate | attack success |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['model']} | {row['what']} | {row['accuracy']:.3f} | {row['drop']:+.3f} |"
            f" {row['base']:.3f} | {row['success']:.3f} |"
        )
    print(f"\n{time.perf_counter() - begin:.0f} s, torch {torch.__version__}")
    if args.csv:
        with open(args.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
