"""Is the verdict of an audit right, on data and on models, and what does it cost?

    python benchmarks/bench_audit.py --data FOLDER [--only data models time] [--seeds 5]
        [--minutes 15] [--csv audit.csv] > benchmarks/results/audit.md

Data: ten data sets, clean and with 5 % of poison in place of originals, each written to a file
and audited by the command. Right is "poison" where there is some, and "nothing" on clean data.
The trigger that was found is held against the planted one, both on rows that are not poisoned,
by the classifier that the command takes. Models: five kinds of learner, four triggers at 5 %
and as many clean models, by audit_model with 19 clean models of its own; digits 4 and 9, 200
training rows, 160 rows to audit with. Time: an audit of 3,000 images of ten digits beside a
search of an SVM's gamma and C. One row a cell in the CSV, which is not run again; the page of
results is made of what it holds.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skbackdoor import (
    Attack,
    BackdoorPoisoner,
    FeatureTrigger,
    PatchTrigger,
    StripeTrigger,
    TokenTrigger,
    attack_success_rate_scorer,
    audit_model,
    fetch_cifar10,
    fetch_mnist,
    load_digits_pair,
)
from skbackdoor._compat import _safe_indexing
from skbackdoor.audit.kinds import default_estimator, default_representation, plain_frame

FIELDS = (
    "part name kind poisoned seed verdict right success planted base_rate p_value found_rows"
    " false_rows seconds megabytes label"
).split()

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
    X, y = fetch_cifar10(
        n_train=1000, n_test=10, path=folder / "cifar10_subset.npz", random_state=seed,
        return_X_y=True)[:2]  # fmt: skip
    return _bytes(X), y, _square(32), y[0]


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
        return X, y, _square(112), y[0]

    return load


def _square(side):
    return PatchTrigger(side // 8, value=255, value_range=(0, 255))


def _bytes(X):
    return X if X.dtype == np.uint8 else np.rint(255 * X).astype(np.uint8)


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
    planted = ""
    if poisoned and name not in DEEP:
        planted = planted_success(report["kind"], attack, X, y, X_clean, y_clean, is_poison)
    return dict(
        kind=report["kind"],
        verdict=report["verdict"],
        right=int(report["verdict"] == ("poison" if poisoned else "nothing")),
        success=groups[0]["success"] if groups else "",
        base_rate=groups[0]["base_rate"] if groups else "",
        planted=planted,
        p_value=None if report["model"] is None else report["model"]["p_value"],
        found_rows=int((found & is_poison).sum()),
        false_rows=int((found & ~is_poison).sum()),
        seconds=seconds,
        megabytes=megabytes,
    )


def planted_success(kind, attack, X, y, X_clean, y_clean, is_poison):
    """Success of the planted trigger on a quarter of the rows, by a model of the others."""
    X, X_clean = (plain_frame(part) if kind == "table" else part for part in (X, X_clean))
    rows = np.random.RandomState(0).permutation(len(y))
    train, held = rows[len(y) // 4 :], rows[: len(y) // 4]
    held = held[~is_poison[held]]
    model = default_estimator(kind, default_representation(kind, X))
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
    return dict(kind="search", verdict=report["verdict"], planted=searched, seconds=seconds,
                megabytes=megabytes)  # fmt: skip


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
    planted = ""
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
    alarm = result.verdict == "poison"
    return dict(
        kind=trigger or "clean",
        verdict=result.verdict,
        right=int(not alarm if trigger is None else alarm and best.label == 9),
        label=best.label,
        success=best.success,
        base_rate=best.base_rate,
        planted=planted,
        p_value=result.p_value,
        seconds=time.perf_counter() - start,
    )


def cells(args):
    """(part, name, trigger, seed) and what makes the row, the quick ones first."""
    if "models" in args.only:
        for seed in range(args.seeds):
            for learner in LEARNERS:
                for trigger in TRIGGERS:
                    yield "models", learner, trigger, seed
                for extra in range(len(TRIGGERS)):
                    yield "models", learner, None, seed * len(TRIGGERS) + extra
    if "time" in args.only:
        yield "time", "MNIST", None, 0
    if "data" in args.only:
        for name in DATA:
            for trigger in ("planted", None):
                yield "data", name, trigger, 0


def made(part, name, trigger, seed, folder):
    """The row of a cell."""
    if part == "models":
        return model_cell(name, trigger, seed)
    if part == "time":
        return time_cell(folder, seed)
    return data_cell(name, folder, trigger is not None, seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=("data", "models", "time"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=None, help="begin no cell after these")
    parser.add_argument("--csv", type=Path, default=Path("audit.csv"))
    args = parser.parse_args()
    done, start = read(args.csv), time.time()
    known = {(row["part"], row["name"], row["poisoned"], row["seed"]) for row in done}
    with args.csv.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not done:
            writer.writeheader()
        for part, name, trigger, seed in cells(args):
            key = (part, name, trigger or "", str(seed))
            late = args.minutes is not None and time.time() - start > 60 * args.minutes
            if key in known or late:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                row = made(part, name, trigger, seed, args.data)
            writer.writerow(dict(part=part, name=name, poisoned=trigger or "", seed=seed) | row)
            file.flush()
            print(name, trigger, seed, row["verdict"], f"{row['seconds']:.0f} s", file=sys.stderr)
    report(read(args.csv))


def read(path):
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# -- Report --------------------------------------------------------------------------------------


def report(rows):
    """The tables of results/audit.md."""
    print("# Audits\n")
    print("`python benchmarks/bench_audit.py --data FOLDER`, defaults for all data.\n")
    data = [row for row in rows if row["part"] == "data"]
    if data:
        right = sum(int(row["right"]) for row in data)
        print(f"### Data: the verdict is right in {right} of {len(data)}\n")
        print(
            "5 % of poison in place of originals, or none. Photographs (Flowers, CIFAR-10,"
            " Imagenette) by features of MobileNetV2.\n"
        )
        print(
            "| data | poison | verdict | trigger found: success | the planted one | without |"
            " poisoned rows found | clean rows taken | s | MB |"
        )
        print("|---" * 10 + "|")
        for row in data:
            shares = (
                f"{float(row[key]):.2f}" if row[key] else ""
                for key in ("success", "planted", "base_rate")
            )
            print(
                f"| {row['name']} | {row['poisoned'] or 'none'} | {row['verdict']} |"
                f" {' | '.join(shares)} | {row['found_rows']} | {row['false_rows']} |"
                f" {float(row['seconds']):.0f} | {float(row['megabytes']):.0f} |"
            )
    for row in rows:
        if row["part"] == "time":
            seconds, searched = float(row["seconds"]), float(row["planted"])
            print("\n### Time\n")
            print(
                f"An audit of 3,000 x 784 of ten classes: {seconds:.0f} s and"
                f" {float(row['megabytes']):.0f} MB at its peak;"
                " `GridSearchCV(SVC(), 4 gammas x 4 C, cv=5)` on the same rows in the same run:"
                f" {searched:.0f} s. The audit takes {seconds / searched:.1f} times as long."
            )
    models = [row for row in rows if row["part"] == "models"]
    if not models:
        return
    poisoned = [row for row in models if row["poisoned"]]
    works = [row for row in poisoned if float(row["planted"]) >= 0.5]
    clean = [row for row in models if not row["poisoned"]]
    alarms = [sum(row["verdict"] == "poison" for row in part) for part in (poisoned, works, clean)]
    print("\n### Models, asked without their training data\n")
    print(
        f"Alarms: {alarms[0]} of {len(poisoned)} poisoned models, {alarms[1]} of the"
        f" {len(works)} among them that obey the planted trigger on half of the rows or more;"
        f" {alarms[2]} of {len(clean)} clean models.\n"
    )
    kinds = [*TRIGGERS, "clean"]
    print(f"| learner | {' | '.join(kinds)} | s |")
    print("|---" * (len(kinds) + 2) + "|")
    for learner in LEARNERS:
        mine, line = [row for row in models if row["name"] == learner], []
        for kind in kinds:
            part = [row for row in mine if row["kind"] == kind]
            found = sum(row["verdict"] == "poison" for row in part)
            shares = [float(row["planted"]) for row in part if row["planted"]]
            obeys = f" ({np.mean(shares):.2f})" if shares else ""
            line.append(f"{found} of {len(part)}{obeys}")
        seconds = np.mean([float(row["seconds"]) for row in mine]) if mine else np.nan
        print(f"| {learner} | {' | '.join(line)} | {seconds:.1f} |")
    print("\nIn brackets: mean success of the planted trigger.")


if __name__ == "__main__":
    main()
