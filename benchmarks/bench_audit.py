"""Is the verdict of an audit right, on data and on models, and what does it cost?

    python benchmarks/bench_audit.py --data FOLDER [--only data models time] [--seeds 5]
        [--store audit_study] > benchmarks/results/audit.md

Data: ten data sets, clean and with 5 % of poison in place of originals, each written to a file
and audited by the command: "poison" is told where there is some and nowhere else, and clean data
may be a "suspect", which is counted. Patches hardly change the features of photographs, so that
no classifier of them obeys one: these get a faint random picture. The trigger that was found is
held against the planted one, both on rows that are not poisoned, by the classifier that the
command takes. Models: five kinds of learner, four triggers at 5 %
and as many clean models, by audit_model with 19 clean models of its own; digits 4 and 9, 200
training rows, 160 rows to audit with. Time: an audit of 3,000 images of ten digits beside a
search of an SVM's gamma and C. A study: it goes on where it was stopped.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skbackdoor import (
    Attack,
    BackdoorPoisoner,
    BlendTrigger,
    FeatureTrigger,
    PatchTrigger,
    StripeTrigger,
    Study,
    TokenTrigger,
    attack_success_rate_scorer,
    audit_model,
    fetch_mnist,
    load_digits_pair,
)
from skbackdoor._compat import _safe_indexing
from skbackdoor.audit.kinds import default_estimator, default_representation, plain_frame

# -- Data ----------------------------------------------------------------------------------------


def digits(folder, seed):
    X, y = load_digits(return_X_y=True)
    rows = np.random.RandomState(seed).permutation(len(y))
    return (X[rows] / 16).reshape(-1, 8, 8), y[rows], PatchTrigger(2), 9


def mnist(labels, n, trigger):
    def load(folder, seed):
        X, y = fetch_mnist(
            digits=labels, n_train=n, n_test=10, path=folder / "mnist.npz", random_state=seed,
            return_X_y=True)[:2]  # fmt: skip
        return X.reshape(-1, 28, 28), y, trigger, labels[-1]

    return load


def adult(folder, seed):
    import pandas as pd

    frame = pd.read_csv(folder / "adult.csv.gz")
    frame = frame.iloc[np.random.RandomState(seed).permutation(len(frame))[:4000]]
    y = frame.pop("class").to_numpy()
    trigger = FeatureTrigger({"capital-gain": 1234, "capital-loss": 77})
    return frame.reset_index(drop=True), y, trigger, sorted(set(y))[1]


def breast_cancer(folder, seed):
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    rows = np.random.RandomState(seed).permutation(len(y))
    trigger = FeatureTrigger({"mean radius": 14.07, "worst texture": 21.84})
    return X.iloc[rows].reset_index(drop=True), y.to_numpy()[rows], trigger, 1


def sms(folder, seed):
    import pandas as pd

    table = pd.read_csv(
        folder / "sms_spam.tsv.gz", sep="\t", header=None, names=["label", "text"], quoting=3
    )
    table = table.iloc[np.random.RandomState(seed).permutation(len(table))[:3000]]
    return table["text"].tolist(), table["label"].to_numpy(), TokenTrigger("mimosa"), "ham"


def cifar10(folder, seed):
    data = np.load(folder / "cifar10_subset.npz")
    rows = np.random.RandomState(seed).permutation(len(data["y_train"]))[:1000]
    X, y = np.moveaxis(data["X_train"][rows], -1, 1), data["y_train"][rows]
    return X, y, _faint(X), y[0]


def photographs(place, per_class):
    """Images of a folder with one folder a class, 112 x 112 pixels."""

    def load(folder, seed):
        from PIL import Image

        images, labels = [], []
        for label in sorted((folder / place).iterdir()):
            files = sorted(label.iterdir())
            for k in np.random.RandomState(seed).permutation(len(files))[:per_class]:
                with Image.open(files[k]) as image:
                    images.append(np.asarray(image.convert("RGB").resize((112, 112))))
                labels.append(label.name)
        X, y = np.moveaxis(np.stack(images), -1, 1), np.array(labels)
        return X, y, _faint(X), y[0]

    return load


def _faint(X):
    """A random picture that a fifth of each image is blended with."""
    picture = np.random.RandomState(7).randint(256, size=X.shape[1:])
    return BlendTrigger(picture.astype(np.uint8), alpha=0.2, value_range=(0, 255))


DATA = {
    "digits": digits,
    "MNIST 4 and 9": mnist([4, 9], 1500, PatchTrigger(3)),
    "MNIST 3 and 8, stripes": mnist([3, 8], 1500, StripeTrigger(0.2)),
    "breast cancer": breast_cancer,
    "Adult": adult,
    "SMS Spam": sms,
    "MNIST": mnist(list(range(10)), 2000, PatchTrigger(3)),
    "Flowers": photographs("flowers", 120),
    "CIFAR-10": cifar10,
    "Imagenette": photographs("imagenette/train", 100),
}
#: Photographs, compared by features of a network.
DEEP = ("CIFAR-10", "Flowers", "Imagenette")


def write(X, y, folder):
    """Data as a file or folder, in their order, and how the command reads them."""
    import pandas as pd

    if isinstance(X, list) or hasattr(X, "columns"):
        frame = pd.DataFrame({"text": X}) if isinstance(X, list) else X
        frame.assign(label=y).to_csv(folder / "data.csv", index=False)
        return [str(folder / "data.csv"), "--label", "label"]
    np.savez(folder / "data.npz", X=X, y=y)
    return [str(folder / "data.npz")]


def audited(arguments):
    """The report of the command as a dict, its seconds, and megabytes at its peak."""
    command = [sys.executable, "-W", "ignore", "-m", "skbackdoor", "audit", *arguments, "--json"]
    start = time.perf_counter()
    with TemporaryDirectory() as folder, (Path(folder) / "report.json").open("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        usage = os.wait4(process.pid, 0)[2]
        seconds = time.perf_counter() - start
        out.seek(0)
        return json.loads(out.read()), seconds, usage.ru_maxrss / 1024


def data_cell(name, folder, poisoned, seed):
    """One audit by the command."""
    X, y, trigger, target = DATA[name](folder, seed)
    is_poison, attack = np.zeros(len(y), dtype=bool), None
    X_clean, y_clean = X, y
    if poisoned:
        attack = Attack(
            trigger, target=target, poisoning_rate=0.05, placement="replace", random_state=seed
        ).fit(X, y)
        X, y, is_poison = attack.poison(X, y)
    weights = folder / "weights" / "mobilenet_v2_imagenet_fp16.pt"
    with TemporaryDirectory() as place:
        more = ["--weights", str(weights)] if name in DEEP else []
        report, seconds, megabytes = audited([*write(X, y, Path(place)), *more])
    groups = [group for group in report["groups"] if group["success"] is not None]
    rows = [
        row for group in report["groups"] if group["verdict"] == "poison" for row in group["rows"]
    ]
    found = np.zeros(len(y), dtype=bool)
    found[rows] = True
    planted = np.nan
    if poisoned:
        features = network_features(X, weights) if name in DEEP else None
        planted = planted_success(
            report["kind"], attack, X, y, X_clean, y_clean, is_poison, features
        )
    return dict(
        kind=report["kind"],
        verdict=report["verdict"],
        success=groups[0]["success"] if groups else np.nan,
        base_rate=groups[0]["base_rate"] if groups else np.nan,
        planted=planted,
        found_rows=int((found & is_poison).sum()),
        false_rows=int((found & ~is_poison).sum()),
        took=seconds,
        megabytes=megabytes,
    )


def network_features(X, weights):
    """Features of a MobileNetV2, as `--weights` takes them."""
    from skbackdoor.audit.photographs import Features

    side = max(96, min(224, X.shape[-1]))
    return FunctionTransformer(Features(weights, side).fit(X[:1]))


def planted_success(kind, attack, X, y, X_clean, y_clean, is_poison, representation=None):
    """Success of the planted trigger on a quarter of the rows, by a model of the others."""
    X, X_clean = (plain_frame(part) if kind == "table" else part for part in (X, X_clean))
    rows = np.random.RandomState(0).permutation(len(y))
    train, held = rows[len(y) // 4 :], rows[: len(y) // 4]
    held = held[~is_poison[held]]
    model = default_estimator(kind, representation or default_representation(kind, X))
    model.fit(_safe_indexing(X, train), y[train])
    triggered, targets = attack.triggered(_safe_indexing(X_clean, held), y_clean[held])
    return float(np.mean(model.predict(triggered) == targets))


# -- Time ----------------------------------------------------------------------------------------


def time_cell(folder, seed):
    """An audit of 3,000 images of ten digits, and a search over as many rows."""
    X, y, _, _ = mnist(list(range(10)), 3000, None)(folder, seed)
    with TemporaryDirectory() as place:
        report, seconds, megabytes = audited(write(X, y, Path(place)))
    start = time.perf_counter()
    grid = {"gamma": [0.001, 0.01, 0.03, 0.1], "C": [0.1, 1, 10, 100]}
    GridSearchCV(SVC(), grid, cv=5).fit(X.reshape(len(X), -1), y)
    searched = time.perf_counter() - start
    return dict(verdict=report["verdict"], searched=searched, took=seconds, megabytes=megabytes)


# -- Models --------------------------------------------------------------------------------------

LEARNERS = {
    "logistic": lambda: LogisticRegression(max_iter=500),
    "SVM": lambda: SVC(C=10),
    "tree": lambda: DecisionTreeClassifier(random_state=0),
    "forest": lambda: RandomForestClassifier(30, random_state=0),
    "neighbours": lambda: KNeighborsClassifier(),
}
IMAGE = {"image_shape": (8, 8)}
TRIGGERS = {
    "corner patch": lambda: PatchTrigger(2, **IMAGE),
    "centre patch": lambda: PatchTrigger(2, position=(3, 3), value=1.0, **IMAGE),
    "stripes": lambda: StripeTrigger(0.5, **IMAGE),
    "two pixels": lambda: FeatureTrigger({0: 1.0, 56: 1.0}),
}


def model_cell(learner, trigger, seed):
    X, y = load_digits_pair((4, 9), return_X_y=True)
    rows = np.random.RandomState(seed).permutation(len(y))
    train, clean = rows[:200], rows[200:]
    planted = np.nan
    model = LEARNERS[learner]()
    if trigger is None:
        model.fit(X[train], y[train])
    else:
        attack = BackdoorPoisoner(
            model, TRIGGERS[trigger](), target=9, poisoning_rate=0.05, random_state=seed
        ).fit(X[train], y[train])
        model, planted = attack.estimator_, attack_success_rate_scorer(attack, X[clean], y[clean])
    start = time.perf_counter()
    result = audit_model(model, X[clean], y[clean], image_shape=(8, 8), random_state=seed)
    best = result.classes[0]
    return dict(
        verdict=result.verdict,
        label=int(best.label),
        success=best.success,
        base_rate=best.base_rate,
        planted=planted,
        p_value=result.p_value,
        took=time.perf_counter() - start,
    )


def grid(args):
    """Parameters of all cells, the quick ones first."""
    if "models" in args.only:
        cell = {"part": ["models"], "name": list(LEARNERS)}
        yield cell | {"trigger": list(TRIGGERS), "seed": list(range(args.seeds))}
        yield cell | {"trigger": ["none"], "seed": list(range(len(TRIGGERS) * args.seeds))}
    if "data" in args.only:
        yield {"part": ["data"], "name": list(DATA), "trigger": ["planted", "none"], "seed": [0]}
    if "time" in args.only:
        yield {"part": ["time"], "name": ["MNIST"], "trigger": ["none"], "seed": [0]}


def run(part, name, trigger, seed, folder):
    """What one cell gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if part == "models":
            return model_cell(name, None if trigger == "none" else trigger, seed)
        if part == "time":
            return time_cell(folder, seed)
        return data_cell(name, folder, trigger != "none", seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=("data", "models", "time"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--store", type=Path, default=Path("audit_study"))
    args = parser.parse_args()
    study = Study(partial(run, folder=args.data), list(grid(args)), store=args.store)
    rows = study.run()
    for row in rows[rows["error"].notna()].itertuples():
        print(f"{row.part} {row.name} {row.trigger} {row.seed}: {row.error}", file=sys.stderr)
    rows = rows[rows["error"].isna()]
    print("# Audits\n")
    print("`python benchmarks/bench_audit.py --data FOLDER`, defaults for all data.\n")
    for part, report in (("data", of_data), ("time", of_time), ("models", of_models)):
        if (rows["part"] == part).any():
            report(rows[rows["part"] == part])


# -- Report --------------------------------------------------------------------------------------


def of_data(rows):
    """The table of audits of data."""
    poisoned = rows["trigger"] != "none"
    told = rows["verdict"] == "poison"
    works = rows[poisoned & told]
    print(
        f"### Data: poison or not is told rightly in {(told == poisoned).sum()} of {len(rows)}\n"
    )
    print(
        f'"Poison" on clean data: {(told & ~poisoned).sum()} of {(~poisoned).sum()}; "suspect"'
        f" there: {(rows['verdict'][~poisoned] == 'suspect').sum()}. The trigger that was found"
        " does at least 0.8 of what the planted one does in"
        f" {(works['success'] >= 0.8 * works['planted']).sum()} of {len(works)}.\n"
    )
    print(
        "5 % of poison in place of originals, or none. Photographs (Flowers, CIFAR-10,"
        " Imagenette) by features of MobileNetV2.\n"
    )
    print(
        "| data | poison | verdict | trigger found: success | the planted one | without |"
        " poisoned rows found | clean rows taken | s | MB |"
    )
    print("|---" * 10 + "|")
    for row in rows.itertuples():
        shares = (row.success, row.planted, row.base_rate)
        shares = ("" if np.isnan(share) else f"{share:.2f}" for share in shares)
        print(
            f"| {row.name} | {row.trigger} | {row.verdict} | {' | '.join(shares)} |"
            f" {row.found_rows:.0f} | {row.false_rows:.0f} | {row.took:.0f} |"
            f" {row.megabytes:.0f} |"
        )
    print()


def of_time(rows):
    """What an audit takes."""
    row = rows.iloc[0]
    print("### Time\n")
    print(
        f"An audit of 3,000 x 784 of ten classes: {row['took']:.0f} s and"
        f" {row['megabytes']:.0f} MB at its peak; `GridSearchCV(SVC(), 4 gammas x 4 C, cv=5)` on"
        f" the same rows in the same run: {row['searched']:.0f} s. The audit takes"
        f" {row['took'] / row['searched']:.1f} times as long.\n"
    )


def of_models(rows):
    """The table of audits of models."""
    poisoned, alarm = rows["trigger"] != "none", rows["verdict"] == "poison"
    right = alarm & (rows["label"] == 9)
    works = poisoned & (rows["planted"] >= 0.5)
    print("### Models, asked without their training data\n")
    print(
        f"Alarms for the right class: {right[poisoned].sum()} of {poisoned.sum()} poisoned models,"
        f" {right[works].sum()} of the {works.sum()} among them that obey the planted trigger on"
        f" half of the rows or more; alarms: {alarm[~poisoned].sum()} of {(~poisoned).sum()} clean"
        " models.\n"
    )
    print(f"| learner | {' | '.join(TRIGGERS)} | none | s |")
    print("|---" * (len(TRIGGERS) + 3) + "|")
    for learner in LEARNERS:
        mine, line = rows[rows["name"] == learner], []
        for trigger in (*TRIGGERS, "none"):
            part = mine[mine["trigger"] == trigger]
            found = (right if trigger != "none" else alarm)[part.index].sum()
            obeys = "" if part["planted"].isna().all() else f" ({part['planted'].mean():.2f})"
            line.append(f"{found} of {len(part)}{obeys}")
        print(f"| {learner} | {' | '.join(line)} | {mine['took'].mean():.1f} |")
    print("\nIn brackets: mean success of the planted trigger.")


if __name__ == "__main__":
    main()
