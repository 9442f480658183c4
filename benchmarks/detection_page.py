"""The tables of bench_detection.py: clean data, attacks that count, and which of them are left."""

import numpy as np

#: Data that are read as features of a network, and such whose classes overlap.
PHOTOGRAPHS = ("cifar", "imagenette", "flowers")
OVERLAPPING = ("adult", "sms")
#: Rate below which a poison is rare.
RARE = 0.01
CELL = ["data", "policy", "rate", "trigger", "seed"]
NUMBERS = (
    "undefended defended base accuracy_undefended accuracy_defended accuracy_base recall"
    " false_positives"
).split()


def report(rows, options):
    """The tables of results/detection.md."""
    print("# Poison that is already there\n")
    print(f"`python benchmarks/bench_detection.py {options}`\n")
    print("One setting of the detector for all data.\n")
    print("### Clean data: runs with a group that is called poison, and rows taken out\n")
    print("| data | detector | runs | with a false group | rows taken out |")
    print("|---" * 5 + "|")
    is_clean = rows["trigger"] == "none"
    for (data, name), part in rows[is_clean].groupby(["data", "detector"]):
        share = part["false_positives"].astype(float)
        print(f"| {data} | {name} | {len(part)} | {(share > 0).sum()} | {share.mean():.2%} |")
    print("\n### Attacks whose undefended success is 0.3 above the base rate\n")
    print(
        "| data | policy | rate | detector | learner | cells | undefended | defended | base |"
        " defended, within | accuracy lost, most | recall | false positives |"
    )
    print("|---" * 13 + "|")
    if "learner" not in rows or rows["learner"].isna().all():
        return
    attacked = rows[rows["learner"].notna()]
    keys = ["data", "policy", "rate", "detector", "learner"]
    for key, part in attacked.groupby(keys):
        limit = within(part.iloc[0])
        good = (part["defended"] <= part["base"] + limit).sum()
        lost = (part["accuracy_base"] - part["accuracy_defended"]).max()
        mean = part[NUMBERS].astype(float).mean()
        print(
            f"| {' | '.join(map(str, key))} | {len(part)} | {mean['undefended']:.2f} |"
            f" {mean['defended']:.2f} | {mean['base']:.2f} | {good} of {len(part)} ({limit}) |"
            f" {lost:.3f} | {mean['recall']:.2f} | {mean['false_positives']:.2%} |"
        )

    print("\n### Together\n")
    print(
        "| attacks | training sets | cells | defended | 90 % interval | false positives |"
        " accuracy lost, mean | most | true group first |"
    )
    print("|---" * 9 + "|")
    own = attacked[attacked["detector"] == "leave-group-out"].copy()
    own["good"] = own["defended"] <= own["base"] + own.apply(within, axis=1)
    own["lost"] = own["accuracy_base"] - own["accuracy_defended"]
    for name, part in own.groupby(own.apply(bar, axis=1)):
        once = part.drop_duplicates(CELL)
        low, high = interval(part)
        print(
            f"| {name} | {len(once)} | {len(part)} | {part['good'].mean():.0%} |"
            f" {low:.0%} to {high:.0%} | {once['false_positives'].mean():.2%} |"
            f" {part['lost'].mean():.4f} | {part['lost'].max():.3f} |"
            f" {(once['first'] >= 0.5).mean():.0%} |"
        )
    print("\n### What is left: cells not defended\n")
    columns = [*CELL, "learner", "undefended", "defended", "base", "recall", "loo_accuracy"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for row in own[~own["good"]].sort_values([*CELL, "learner"])[columns].itertuples(index=False):
        print("| " + " | ".join(map(str, row[:6])), end=" | ")
        print(" | ".join(f"{value:.2f}" for value in row[6:]) + " |")
    if attacked["detector"].nunique() > 1:
        beside(attacked)


def within(row):
    """How far above the base rate success may be after the defence."""
    limit = 0.15 if row["policy"] in ("next", "cover", "clean-label") else 0.05
    return max(limit, 0.10) if row["data"] in (*PHOTOGRAPHS, *OVERLAPPING) else limit


def kind(cell):
    """The kind of attack that one promise is made for."""
    if cell["data"] in OVERLAPPING:
        return "tables and texts"
    if cell["policy"] not in ("one-class", "one-to-one"):
        return cell["policy"]
    if cell["data"] in PHOTOGRAPHS:
        return "photographs"
    return "to one class, or one to one" + (", 0.3 %" if cell["rate"] < RARE else "")


def bar(row):
    """The promise that a cell counts for: some hold where classes are told apart, or not."""
    name = kind(row)
    if name == "photographs":
        return f"{name}, success {'0.5 or more' if row['undefended'] >= 0.5 else 'below 0.5'}"
    if name.startswith("to one") and row["loo_accuracy"] < 0.9:
        return f"{name}, leave-one-out accuracy below 0.9"
    return name


def interval(part):
    """90 % interval of the share of cells defended: training sets drawn anew, cells with them."""
    sets = part.groupby(CELL)["good"].agg(["sum", "count"]).to_numpy()
    draws = np.random.RandomState(0).randint(len(sets), size=(2000, len(sets)))
    sums = sets[draws].sum(axis=1)
    return np.quantile(sums[:, 0] / sums[:, 1], (0.05, 0.95))


def beside(attacked):
    """Where the detector is ahead of all others, and each cell where it is not.

    Compared is success above the base rate: a model of what is left that obeys less often than one
    of data without poison has lost rows of the label, and no backdoor.
    """
    print("\n### Beside the others: success above the base rate after the defence\n")
    above = attacked.assign(above=(attacked["defended"] - attacked["base"]).clip(lower=0.0))
    above = above.pivot_table("above", [*CELL, "learner"], "detector")
    others = above.columns.drop("leave-group-out")
    ahead = above["leave-group-out"] <= above[others].min(axis=1) + 0.01
    print(f"Ahead of all others, or level to 0.01: {ahead.sum()} of {len(ahead)} cells.")
    auroc = attacked.groupby("detector")["auroc"].mean()
    print("AUROC of the ranking, mean: " + ", ".join(f"{n} {v:.2f}" for n, v in auroc.items()))
    behind = above[~ahead].reset_index()
    if len(behind):
        print("\n| " + " | ".join(behind.columns) + " |\n" + "|---" * len(behind.columns) + "|")
        for row in behind.itertuples(index=False):
            cells = (f"{v:.2f}" if isinstance(v, float) else str(v) for v in row)
            print(f"| {' | '.join(cells)} |")
