"""Do the findings of Evaluation and Characteristics hold for learners that run on two cores?

    python benchmarks/bench_attacks.py [--data FOLDER] [--seeds 5] [--store FOLDER]
        [--n-jobs 1] [--only mnist flowers] > benchmarks/results/attacks.md

MNIST, ten classes on pixels; the five classes of Flowers on the features of a MobileNetV2 with
ImageNet weights (needs the extra deep). Logistic regression and RBF SVM. Every attack is one line;
data are split in three as in Evaluation (attack_split), the copies take the place of clean samples
of the target class ("supplant"). Attack success is on triggered images of all classes but the
target, whichever classes were poisoned. Means over the seeds, with standard errors; the findings
below the tables are computed from them. A study: it goes on where it was stopped.
"""

import argparse
import sys
import warnings
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from skbackdoor import (
    BackdoorPoisoner,
    BlendTrigger,
    LowVarianceTrigger,
    PatchTrigger,
    SinusoidTrigger,
    StripeTrigger,
    Study,
    WarpTrigger,
    attack_split,
    attack_success_rate,
    evaluate_attack,
    fetch_mnist,
)

ALPHAS, RATES = (0.1, 0.3, 0.6, 1.0), (0.02, 0.05, 0.1, 0.3)
SIZES, SMALL_RATES = (0.04, 0.08, 0.16), (0.005, 0.01, 0.02)


# -- Data ----------------------------------------------------------------------------------------


class Kept:
    """Features of images, each image computed once (this process, by its bytes)."""

    def __init__(self, transformer):
        self.transformer, self.rows = transformer, {}

    def fit(self, X, y=None):
        self.transformer.fit(X)
        return self

    def transform(self, X):
        keys = [x.tobytes() for x in np.ascontiguousarray(X)]
        new = {key: i for i, key in enumerate(keys) if key not in self.rows}
        if new:
            features = self.transformer.transform(X[list(new.values())])
            self.rows.update(zip(new, features, strict=True))
        return np.stack([self.rows[key] for key in keys])

    def get_params(self, deep=False):
        return {"transformer": self.transformer}

    def set_params(self, **params):
        return self

    def __sklearn_clone__(self):
        return self


def mnist(folder):
    X, y = fetch_mnist(
        digits=None,
        n_train=3000,
        n_test=1,
        path=folder / "mnist.npz",
        random_state=0,
        return_X_y=True,
    )[:2]
    return X.reshape(-1, 28, 28).astype(np.float32), y, None


def flowers(folder):
    from PIL import Image

    from skbackdoor.deep import DeepFeatures

    names = sorted(path.name for path in (folder / "flowers").iterdir())
    images, labels = [], []
    for name in names:
        for path in sorted((folder / "flowers" / name).glob("*.jpg")):
            images.append(np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1))
            labels.append(name)
    features = DeepFeatures(
        "mobilenet_v2",
        weights=folder / "weights" / "mobilenet_v2_imagenet_fp16.pt",
        image_size=128,
    )
    return np.stack(images).astype(np.float32) / 255, np.array(labels), Kept(features)


DATA = {"mnist": (mnist, 7), "flowers": (flowers, "rose")}


def flat(X):
    return X.reshape(len(X), -1)


def learners(features):
    fixed = [FunctionTransformer(flat)] if features is None else [features, StandardScaler()]
    return {
        "logistic": make_pipeline(
            *fixed, LogisticRegression(C=0.1 if features is None else 0.001, max_iter=500)
        ),
        "RBF SVM": make_pipeline(*fixed, SVC(C=10 if features is None else 1)),
    }


# -- Attacks -------------------------------------------------------------------------------------


def square(alpha=1.0, position=None, size=22 / 224, value=None, dark=True):
    """The square of Evaluation: 22 of 224 pixels, at (22, 22); white on the black of MNIST."""
    value = (0.0 if dark else 1.0) if value is None else value
    return PatchTrigger(size, position=position, value=value, alpha=alpha)


def attacks(data, X, image):
    """Rows of the tables: (table, name of the row, trigger, parameters of the poisoner)."""
    dark, side = data != "mnist", X.shape[-1]
    at = (round(22 / 224 * side),) * 2
    corner = square(position=at, dark=dark)
    rows = [
        ("triggers", "square", corner, {}),
        ("triggers", "random square", square(position="random", dark=dark), {}),
        ("triggers", "sinusoid, alpha 0.1", SinusoidTrigger(0.4, 40 / 224 * side), {}),
        ("triggers", "SIG", SinusoidTrigger(20 / 255, side / 6, additive=True, alpha=1), {}),
        ("triggers", "low variance, alpha 0.5", LowVarianceTrigger(), {}),
        ("triggers", "blend, alpha 0.2", BlendTrigger(image), {}),
        ("triggers", "stripe, 75/255", StripeTrigger(75 / 255), {}),
        ("triggers", "warp, strength 2", WarpTrigger(2.0), {}),
    ]
    rows += [("alpha", f"{a:g}", square(a, position=at, dark=dark), {}) for a in ALPHAS]
    rows += [("rate", f"{p:g}", corner, {"poisoning_rate": p}) for p in RATES]
    rows += [
        ("sources", "many-to-one", corner, {}),
        ("sources", "one-to-one", corner, {"one": True}),
    ]
    return rows + [
        (
            "size x rate",
            f"{size:.0%} of the side, rate {rate:g}",
            square(position=at, size=size, dark=dark),
            {"poisoning_rate": rate, "placement": "replace"},
        )
        for size in SIZES
        for rate in SMALL_RATES
    ]


@lru_cache
def read(data, folder):
    return DATA[data][0](Path(folder))


@lru_cache(maxsize=1)
def split_of(data, seed, folder):
    """The three parts, and an image to blend in."""
    X, y, _ = read(data, folder)
    split = attack_split(
        X, y, target=DATA[data][1], adversarial_size=0.15, random_state=seed
    )
    return split, X[np.random.default_rng(seed).integers(len(X))]


def cell(data, learner, table, row, seed, folder):
    """One attack on one learner."""
    X, y, features = read(data, folder)
    split, image = split_of(data, seed, folder)
    (trigger, options), = (
        found[2:] for found in attacks(data, X, image) if found[:2] == (table, row)
    )  # fmt: skip
    options = {"placement": "supplant"} | options
    model, target = learners(features)[learner], DATA[data][1]
    others = [label for label in np.unique(y).tolist() if label != target]
    sources = others[:1] if options.pop("one", False) else None
    poisoner = BackdoorPoisoner(
        model, trigger, target=target, source_classes=sources, random_state=seed, **options
    )
    parts = split.X_poison, split.y_poison, split.X_clean, split.y_clean
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = asdict(evaluate_attack(poisoner, *parts))
        fitted = poisoner.fit(*parts[:2])
        clean = model.fit(*parts[:2])
        triggered = fitted.trigger_.transform(split.X_adversarial)
        for key, judged in (("attack_success_rate", fitted), ("base_rate", clean)):
            result[key] = attack_success_rate(
                split.y_adversarial,
                judged.predict(triggered),
                target=target,
                labels=fitted.classes_,
            )
    return {"effective_rate": fitted.effective_rate_, **result}


def grid_of(data, seeds, folder):
    X, _, features = read(data, folder)
    names = {"data": [data], "learner": list(learners(features))}
    return [
        names | {"seed": [seed], "table": [table], "row": [row]}
        for seed in range(seeds)
        for table, row, *_ in attacks(data, X, X[0])
    ]


# -- Tables --------------------------------------------------------------------------------------


def mean(rows, key="attack_success_rate", **where):
    values = [r[key] for r in rows if all(r[k] == v for k, v in where.items())]
    return np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))


def tables(rows):
    for table in dict.fromkeys(r["table"] for r in rows):
        print(f"\n### {table}\n")
        print(
            "| data | learner | attack | effective rate | base rate | success | accuracy | drop |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for key in dict.fromkeys(
            (r["data"], r["learner"], r["row"]) for r in rows if r["table"] == table
        ):
            where = dict(zip(("data", "learner", "row"), key, strict=True), table=table)
            numbers = [f"{mean(rows, 'effective_rate', **where)[0]:.4f}"]
            for name in ("base_rate", "attack_success_rate", "poisoned_accuracy"):
                numbers.append("{:.3f} ± {:.3f}".format(*mean(rows, name, **where)))
            numbers.append(f"{mean(rows, 'clean_accuracy_drop', **where)[0]:+.4f}")
            print(f"| {' | '.join([*key, *numbers])} |")


def verdicts(rows):
    print("\n### Findings\n")
    print("| data | learner | finding | numbers | holds |")
    print("| --- | --- | --- | --- | --- |")
    for data, learner in dict.fromkeys((r["data"], r["learner"]) for r in rows):
        mine = [r for r in rows if r["data"] == data and r["learner"] == learner]

        def success(table, row, mine=mine):
            return mean(mine, table=table, row=row)[0]

        def verdict(finding, numbers, holds, data=data, learner=learner):
            print(f"| {data} | {learner} | {finding} | {numbers} | {'yes' if holds else 'no'} |")

        many, one = success("sources", "many-to-one"), success("sources", "one-to-one")
        verdict("many-to-one beats one-to-one", f"{many:.3f}, {one:.3f}", many > one)
        for table, values in (("alpha", ALPHAS), ("rate", RATES)):
            curve = [success(table, f"{value:g}") for value in values]
            grows = np.all(np.diff(curve) > -0.01) and curve[-1] > curve[0]
            verdict(f"success grows with {table}", ", ".join(f"{s:.3f}" for s in curve), grows)
        names = {(r["table"], r["row"]) for r in mine}
        drops = [mean(mine, "clean_accuracy_drop", table=t, row=n)[0] for t, n in names]
        verdict("accuracy moves by < 2 points", f"largest {max(drops):+.4f}", max(drops) < 0.02)
        grid = np.array([
            [success("size x rate", f"{size:.0%} of the side, rate {p:g}") for p in SMALL_RATES]
            for size in SIZES
        ])  # fmt: skip
        by_size, by_rate = np.diff(grid, axis=0).mean(), np.diff(grid, axis=1).mean()
        verdict(
            "doubling the size matters more than doubling the rate",
            f"{by_size:+.3f}, {by_rate:+.3f}",
            by_size > by_rate,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=tuple(DATA), default=tuple(DATA))
    parser.add_argument("--store", type=Path, default=Path("studies/attacks"))
    parser.add_argument("--n-jobs", type=int)
    args = parser.parse_args()
    folder = str(args.data)
    grid = [part for data in args.only for part in grid_of(data, args.seeds, folder)]
    study = Study(partial(cell, folder=folder), grid, store=args.store)
    print(f"{len(study.left())} cells are left", file=sys.stderr, flush=True)
    rows = study.run(args.n_jobs).to_dict("records")
    print(
        f"`python benchmarks/bench_attacks.py --only {' '.join(args.only)} --seeds {args.seeds}`"
    )
    tables(rows)
    verdicts(rows)


if __name__ == "__main__":
    main()
