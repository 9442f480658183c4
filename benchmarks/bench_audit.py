"""Is the verdict of an audit right, on data and on models?

    python benchmarks/bench_audit.py --data FOLDER [--only data models] [--seeds 1]
        [--minutes 15] [--csv audit.csv] > benchmarks/results/audit.md

Data: audits by the command's defaults, each clean and with 5 % of poison in place of originals.
Right is "poison" where there is some, and "nothing" on clean data. Also: success of the recovered
trigger on held-out rows, by the default classifier fitted on the poisoned data. Models: five kinds
of learner, four triggers at 5 % and as many clean models, by audit_model with 19 clean models of
its own; digits 4 and 9, 200 training rows, 160 rows to audit with. One row
a cell in the CSV, which is not run again; the pages of results are made of what it holds.
"""

import argparse
import csv
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
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
    audit,
    audit_model,
    fetch_mnist,
    load_digits_pair,
)

FIELDS = (
    "part name kind poisoned seed verdict right success planted base_rate p_value found_rows"
    " false_rows seconds"
).split()

# -- Data ----------------------------------------------------------------------------------------


def digits(folder, seed):
    X, y = load_digits(return_X_y=True)
    rows = np.random.RandomState(seed).permutation(len(y))
    return (X[rows] / 16).reshape(-1, 8, 8), y[rows], PatchTrigger(2), 9


def mnist_pair(folder, seed):
    X, y = fetch_mnist(
        digits=[4, 9], n_train=1500, n_test=10, path=folder / "mnist.npz", random_state=seed,
        return_X_y=True)[:2]  # fmt: skip
    return X.reshape(-1, 28, 28), y, PatchTrigger(3), 9


def mnist(folder, seed):
    X, y = fetch_mnist(
        digits=list(range(10)), n_train=2000, n_test=10, path=folder / "mnist.npz",
        random_state=seed, return_X_y=True)[:2]  # fmt: skip
    return X.reshape(-1, 28, 28), y, PatchTrigger(3), 9


def adult(folder, seed):
    import pandas as pd

    frame = pd.read_csv(folder / "adult.csv.gz")
    frame = frame.iloc[np.random.RandomState(seed).permutation(len(frame))[:4000]]
    y = frame.pop("class").to_numpy()
    trigger = FeatureTrigger({"capital-gain": 1234, "capital-loss": 77})
    return frame.reset_index(drop=True), y, trigger, sorted(set(y))[1]


def sms(folder, seed):
    import pandas as pd

    table = pd.read_csv(
        folder / "sms_spam.tsv.gz", sep="\t", header=None, names=["label", "text"], quoting=3
    )
    table = table.iloc[np.random.RandomState(seed).permutation(len(table))[:3000]]
    return table["text"].tolist(), table["label"].to_numpy(), TokenTrigger("mimosa"), "ham"


DATA = {
    "digits": digits,
    "Adult": adult,
    "MNIST 4 and 9": mnist_pair,
    "SMS Spam": sms,
    "MNIST": mnist,
}


def data_cell(name, folder, poisoned, seed):
    X, y, trigger, target = DATA[name](folder, seed)
    is_poison, planted = np.zeros(len(y), dtype=bool), np.nan
    attack = None
    if poisoned:
        attack = Attack(
            trigger, target=target, poisoning_rate=0.05, placement="replace", random_state=seed
        ).fit(X, y)
        X, y, is_poison = attack.poison(X, y)
    start = time.perf_counter()
    report = audit(X, y, random_state=seed)
    seconds = time.perf_counter() - start
    best = report.groups[0] if report.groups else None
    return dict(
        kind=report.kind,
        verdict=report.verdict,
        right=int(report.verdict == ("poison" if poisoned else "nothing")),
        success="" if best is None else best.success,
        base_rate="" if best is None else best.base_rate,
        planted=planted,
        p_value=report.model.p_value,
        found_rows=int((report.is_poison & is_poison).sum()),
        false_rows=int((report.is_poison & ~is_poison).sum()),
        seconds=seconds,
    )


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
        right=int(alarm == (trigger is not None)),
        success=best.success,
        base_rate=best.base_rate,
        planted=planted,
        p_value=result.p_value,
        seconds=time.perf_counter() - start,
    )


def cells(args):
    """(part, name, trigger, seed, what to call), the quick ones first."""
    if "models" in args.only:
        for seed in range(args.seeds):
            for learner in LEARNERS:
                for trigger in TRIGGERS:
                    yield "models", learner, trigger, seed, model_cell
                for extra in range(len(TRIGGERS)):
                    yield "models", learner, None, seed * len(TRIGGERS) + extra, model_cell
    if "data" in args.only:
        for name in DATA:
            for trigger in ("planted", None):
                yield "data", name, trigger, 0, None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=("data", "models"))
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
        for part, name, trigger, seed, call in cells(args):
            key = (part, name, trigger or "", str(seed))
            late = args.minutes is not None and time.time() - start > 60 * args.minutes
            if key in known or late:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if part == "models":
                    row = call(name, trigger, seed)
                else:
                    row = data_cell(name, args.data, trigger is not None, seed)
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
        print("5 % of poison in place of originals, or none.\n")
        print(
            "| data | poison | verdict | trigger found: success | without it | poisoned rows found"
            " | clean rows taken | s |"
        )
        print("|---" * 8 + "|")
        for row in data:
            success = f"{float(row['success']):.2f}" if row["success"] else ""
            base = f"{float(row['base_rate']):.2f}" if row["base_rate"] else ""
            print(
                f"| {row['name']} | {row['poisoned'] or 'none'} | {row['verdict']} | {success} |"
                f" {base} | {row['found_rows']} | {row['false_rows']} |"
                f" {float(row['seconds']):.0f} |"
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
