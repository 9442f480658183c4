"""The page of curves.py: the findings of section 3.2 of Curves, and the numbers they stand on."""

from functools import partial

import numpy as np
from findings import above, below, compared, finding, shown, table, together, within

TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "imagenette": "Imagenette"}

INTRODUCTION = """\
# What *Curves* found beyond its grids, and what we find

`{command}`

Cinà et al., *Backdoor learning curves: explaining backdoor poisoning beyond influence functions*
(2024), section 3.2, on {n_train} training and {n_test} test samples of each of three pairs of
classes: MNIST 7-1, 3-0, 5-2; CIFAR-10 frog-airplane, bird-dog, airplane-truck (features of
MobileNetV2, JPEG quality 75); Imagenette garbage truck-tench, cassette player-church,
tench-parachute (the same features, additive stripes). The published pairs at their published sizes
stand beside the published numbers in [the experiments of *Curves*](curves.md).

L: mean loss on triggered test samples; L(0.1)/L(0) falls as the start of the learning curve gets
steeper; theta per poisoned sample. Intervals: 95 % by Student's t over attacks, that is pairs of
classes times seeds: {attacks}. Every attack's number is a mean over linear SVM, logistic
regression, ridge and RBF SVM at a small and a large C ({Cs}), and two gammas, where nothing else
is said; what is compared is the same attack."""

ATTACKS = ["dataset", "pair", "seed"]


def page(frame, looks, datasets, samples, command):
    """Lines of the page."""
    failed = frame[frame.error.notna()]
    frame = frame[frame.error.isna()]
    attacks = frame[ATTACKS].drop_duplicates().groupby("dataset", sort=False).size()
    text = INTRODUCTION.format(
        command=command, n_train=samples[0], n_test=samples[1],
        attacks=", ".join(f"{count} of {TITLES[name]}" for name, count in attacks.items()),
        Cs="; ".join(
            f"{' and '.join(f'{C:g}' for C in sorted(mine.C.unique()))}"
            for _, mine in frame.groupby("learner", sort=False)
        ),
    )  # fmt: skip
    rows = [*steeper(frame, datasets), *other_pairs(frame), *norms(frame)]
    if looks is not None and len(looks):
        rows += looking(looks[looks.error.isna()])
    missing = [title for name, title in TITLES.items() if name not in attacks]
    if missing:
        text += f" **Not run here: {' and '.join(missing)}.**"
    lines = [*text.splitlines(), "", "## Findings", "", *table(rows)]
    lines += ["", "## Input gradient and influence", "", LOOKS, "", *table(list(gradients(looks)))]
    lines += ["", "## Curves and change of parameters", "", NUMBERS, ""]
    lines += table(list(numbers(frame, datasets)))
    minutes = frame.seconds.sum() / 60
    lines += ["", f"{len(frame)} cells, {minutes:.0f} minutes of one core beside other work."]
    if len(failed):
        lines += [f"{len(failed)} cells failed: {sorted(set(failed.error))}."]
    return lines


def by_attack(rows, column, **where):
    """Means over all else, one a pair of classes and seed."""
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return rows.groupby(["pair", "seed"])[column].mean()


def steeper(frame, datasets):
    """Share of poison, trigger, C and gamma, one by one."""
    ways = {"L(0.1)/L(0)": ("loss_ratio", below), "theta": ("theta", above)}
    for name, changed in (
        ("more poison, p 0.1 to 0.2", "p"), ("a stronger trigger", "trigger"),
        ("C, small to large", "C"), ("gamma of the RBF SVM, small to large", "gamma"),
    ):  # fmt: skip
        for way, (column, judge) in ways.items():
            if (changed, way) == ("p", "theta"):
                continue  # theta is per poisoned sample
            differences = {}
            for dataset, mine in frame.groupby("dataset", sort=False):
                _, (weak, strong), _ = datasets[dataset]
                ends = {"trigger": (weak, strong), "p": (0.1, 0.2)}.get(changed)
                mine = mine if changed == "p" else mine[mine.p == 0.1]
                mine = mine if changed == "trigger" else mine[mine.trigger == strong]
                if ends is None:
                    mine = mine[mine.learner == "svm-rbf"] if changed == "gamma" else mine
                    group = mine.groupby("learner")[changed].transform
                    last = mine[changed] == group("max")
                    parts = mine[mine[changed] == group("min")], mine[last]
                else:
                    parts = [mine[mine[changed] == end] for end in ends]
                first, second = (by_attack(part, column) for part in parts)
                differences[TITLES[dataset]] = second - first
            yield finding(
                "K 3.2", f"the curve is steeper with {name}: {way}",
                "falls (figures)" if judge is below else "rises (figures)",
                *compared(differences, judge), CAUSES[changed],
            )  # fmt: skip


def other_pairs(frame):
    """The step from small to large C in each pair that has no published grid."""
    differences = {}
    others = frame[~frame.pair.isin(["7-1", "6-0"]) & (frame.p == 0.1)]
    for dataset, mine in others.groupby("dataset", sort=False):
        group = mine.groupby("learner").C.transform
        small, large = (by_attack(mine[mine.C == group(end)], "theta") for end in ("min", "max"))
        differences[TITLES[dataset]] = large - small
    yield finding("K 3.2", "other pairs of classes behave alike: theta rises with C", "figures of"
                  " the appendix", *compared(differences), CAUSES["pairs"])  # fmt: skip


def norms(frame):
    """Growth of rho from poison weight 0 to 1."""
    strong = frame[frame.p == 0.1]
    linear = {TITLES[name]: by_attack(mine[mine.learner != "svm-rbf"], "rho_ratio") - 1
              for name, mine in strong.groupby("dataset", sort=False)}  # fmt: skip
    yield finding("K 3.2", "linear models learn a backdoor by weights that grow: rho(1)/rho(0) - 1"
                  " above 0", "rises", *compared(linear), CAUSES["rho"])  # fmt: skip
    kernel = {}
    for name, mine in strong[strong.learner == "svm-rbf"].groupby("dataset", sort=False):
        learnt = mine[(mine.C == mine.C.max()) & (mine.gamma == mine.gamma.max())]
        kernel[TITLES[name]] = by_attack(learnt, "rho_ratio") - 1
    yield finding("K 3.2", "the RBF SVM learns it without increasing rho (large C and gamma:"
                  " rho(1)/rho(0) - 1 within 0.02)", "as at 0",
                  *compared(kernel, partial(within, bound=0.02)), CAUSES["rbf"])  # fmt: skip


def looking(looks):
    """The input gradient in the patch, and the most influential samples."""
    mine = by_attack(looks, "mass_poisoned") - by_attack(looks, "mass_clean")
    before, after = (by_attack(looks, f"mass_{name}") for name in ("clean", "poisoned"))
    yield finding("K 3.2", "the gradient of a poisoned model lies on the trigger: its share in the"
                  " 6x6 corner, 4.6 % of the pixels", "Fig. 12", f"{shown(before)} to"
                  f" {shown(after)}", above(mine), "")  # fmt: skip
    known = looks[looks.influential.notna()]
    group = known.groupby("learner").C.transform
    small, large = (by_attack(known[known.C == group(end)], "influential")
                    for end in ("min", "max"))  # fmt: skip
    text = f"share of triggered ones {shown(small)} and {shown(large)}"
    yield finding("K 3.2", "the 7 most influential samples are mostly clean ones at a small C, and"
                  " triggered ones at a large C", "figure", text,
                  together([below(small, 0.5), above(large, 0.5)]), CAUSES["influence"]
                  )  # fmt: skip


CAUSES = {
    "p": "", "trigger": "", "C": "", "pairs": "", "rho": "",
    "gamma": "CIFAR-10's features at C = 100: theta, the slope at weight 0, grows (next row), but"
    " the curve levels off before weight 0.1, at a loss as high and a success lower than with the"
    " small gamma (last table)",
    "rbf": "the published code takes the training rows of the support vectors from"
    " `SVC.support_`, which miscounts them where weights are 0: its rho at 0 is 3.18 where the"
    " truth is 15.4 (MNIST 7-1, gamma 5e-4, C = 1), so the growth could not be seen",
    "influence": "a triggered sample of the other label has the largest gradient at the clean fit"
    " and shares the trigger's pixels with the test samples, at any C; the published influence"
    " takes its Hessian over the poisoned samples",
}  # fmt: skip

LOOKS = """\
MNIST 7-1, 6x6, p = 0.1: share of the absolute input gradient of 50 triggered test samples that
lies in the corner, of the model without and with poison; share of triggered ones among the 7
training samples of largest absolute influence, mean over triggered test samples, at the clean fit
(not of hinge machines, where samples off the margin have no influence)."""

NUMBERS = """\
The stronger trigger, p = 0.1, means over seeds; success and accuracy are those at poison weight 1,
rho and nu the change of parameters from weight 0 to 1."""


def gradients(looks):
    keys = ["learner", "C", "gamma"]
    for key, mine in looks.groupby(keys, sort=False, dropna=False):
        row = dict(zip(keys, key, strict=True))
        row["gamma"] = "" if np.isnan(row["gamma"] or np.nan) else row["gamma"]
        for column, name in (("mass_clean", "without poison"), ("mass_poisoned", "poisoned"),
                             ("influential", "triggered of 7")):  # fmt: skip
            values = mine[column]
            row[name] = "" if values.isna().any() else shown(values)
        yield row


def numbers(frame, datasets):
    keys = ["dataset", "pair", "learner", "C", "gamma"]
    chosen = [datasets[name][1][1] for name in frame.dataset]
    frame = frame[(frame.trigger == chosen) & (frame.p == 0.1)]
    columns = ("loss", "loss_ratio", "theta", "success", "accuracy", "rho", "rho_ratio", "nu")
    names = ("L(0)", "L(0.1)/L(0)", "theta", "success", "accuracy", "rho(0)", "rho(1)/rho(0)",
             "nu(1)")  # fmt: skip
    for key, mine in frame.groupby(keys, sort=False, dropna=False):
        row = dict(zip(keys, key, strict=True))
        row["dataset"] = TITLES[row["dataset"]]
        row["gamma"] = "" if np.isnan(row["gamma"] or np.nan) else row["gamma"]
        yield row | {name: float(mine[c].mean()) for name, c in zip(names, columns, strict=True)}
