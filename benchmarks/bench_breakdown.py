"""How much poison models withstand: what it costs to know, whether it is true, and what it is for.

    python benchmarks/bench_breakdown.py [--mnist FILE_OR_FOLDER] [--adult FILE.csv.gz]
        [--parts cost searches truth choosing] [--n-train 800] [--seeds 3] [--repeats 3]
        [--store FOLDER]

cost: `backdoor_breakdown` against a learning curve of 20 weights and one fit. searches:
GridSearchCV scored by breakdown against the same by accuracy; by the worst theta of eight triggers
against one. Both sides in turn, on the machine's threads and under one BLAS thread.

truth: the breakdown rate is found with one attack; other victims and other seeds then poison new
fits with a half of it and twice it, and their excess success is measured on the same test images:
by weight (a fifth of the rows, at such a weight) and by copies (so many rows, where these are one
or more). Cells whose own result says that success climbs near the rate (`sharp`) are counted
apart. It is a study, and goes on where it was stopped.

choosing: of five candidates a learner, chosen by accuracy, by theta of one trigger, by the worst
theta of a family and by breakdown rate, within 2 points of the best cross-validated accuracy; then
poisoned at 1 % with triggers that are neither the one nor in the family.
"""

import argparse
import sys
import time
import warnings
from functools import lru_cache, partial

import numpy as np
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from skbackdoor import (
    BackdoorBreakdownScorer,
    BackdoorPoisoner,
    BackdoorSlopeScorer,
    BlendTrigger,
    FeatureTrigger,
    PatchTrigger,
    PerClassTrigger,
    Quantile,
    SinusoidTrigger,
    Study,
    WarpTrigger,
    backdoor_breakdown,
    backdoor_learning_curve,
    evaluate_attack,
    fetch_mnist,
    load_digits_pair,
    most_robust,
    neg_backdoor_slope_scorer,
    trigger_family,
)

LEARNERS = {
    "rbf svm": (SVC(tol=1e-5), "C", [0.03, 0.3, 1.0, 10.0, 100.0]),
    "linear svm": (SVC(kernel="linear", tol=1e-5), "C", [1e-3, 0.01, 0.1, 1.0, 10.0]),
    "logistic": (LogisticRegression(tol=1e-6, max_iter=5000), "C", [1e-3, 0.01, 0.1, 1.0, 10.0]),
    "ridge": (RidgeClassifier(), "alpha", [1e4, 1e3, 100.0, 10.0, 1.0]),
}
START = time.perf_counter()


def log(text):
    print(f"[{time.perf_counter() - START:5.0f} s] {text}", file=sys.stderr, flush=True)


def digits(n_train):
    """All ten digits of scikit-learn, 8 x 8."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 16, y, train_size=n_train, test_size=400, random_state=0)


def adult(path, n_train):
    """Adult: a table of numbers and levels."""
    import pandas as pd

    table = pd.read_csv(path).dropna()
    y = (table.pop("class") == "50K+").to_numpy().astype(int)
    return train_test_split(table, y, train_size=n_train, test_size=500, random_state=0)


def data_sets(args):
    """For each data set its four arrays, its preprocessing, one trigger, a family, others."""
    found = {}
    mnist = {"MNIST 7/1": (7, 1), "MNIST 4/9": (4, 9), "MNIST, ten": None}
    for name, labels in mnist.items():
        X, y, X_test, y_test = fetch_mnist(
            labels, args.n_train, 500, path=args.mnist, random_state=0, return_X_y=True
        )
        found[name] = (X, y, X_test, y_test), None, (28, 28)
    for name, part in (
        (
            "digits 4/9",
            train_test_split(*load_digits_pair((4, 9), return_X_y=True), random_state=0),
        ),
        ("digits, ten", digits(args.n_train)),
    ):
        X, X_test, y, y_test = part
        found[name] = (X, y, X_test, y_test), None, (8, 8)
    if args.adult:
        X, X_test, y, y_test = adult(args.adult, args.n_train)
        encode = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
            remainder=StandardScaler(),
        )
        found["Adult"] = (X, y, X_test, y_test), encode, None
    return found


def one_trigger(shape, X, target=None):
    """A patch; with "next" another one for every class, as linear models need it."""
    if shape is not None:
        size = 3 if shape[0] > 8 else 2
        if target == "next":
            return PerClassTrigger(
                PatchTrigger(size, value="random", image_shape=shape, random_state=0)
            )
        return PatchTrigger(size, image_shape=shape)
    numbers = list(X.select_dtypes("number").columns)
    return FeatureTrigger({numbers[0]: Quantile(1.0), numbers[-1]: Quantile(1.0)})


def family_of(shape, X):
    return (
        trigger_family("table", X) if shape is None else trigger_family("image", image_shape=shape)
    )


def unseen_triggers(shape, X):
    """Triggers that are neither the one nor in the family."""
    if shape is None:
        numbers = list(X.select_dtypes("number").columns)
        levels = list(X.select_dtypes(exclude="number").columns)
        rare = {key: X[key].value_counts().index[-1] for key in levels}
        return {
            "numbers low": FeatureTrigger({key: Quantile(0.0) for key in numbers[:3]}),
            "levels rare": FeatureTrigger({key: rare[key] for key in levels[:3]}),
            "mixed": FeatureTrigger({numbers[1]: Quantile(1.0), levels[-1]: rare[levels[-1]]}),
        }
    height, width = shape
    ring = np.hypot(*(np.indices(shape) - np.array([height, width])[:, None, None] / 2))
    how = {"image_shape": shape}
    side = 4 if height > 8 else 2
    checks = (np.indices((side, side)).sum(axis=0) % 2).astype(float)
    return {
        "checks": PatchTrigger(side, position=(0, width - side), value=checks, **how),
        "rings": BlendTrigger((ring % 4 < 2).astype(float), alpha=0.15, **how),
        "waves": SinusoidTrigger(0.15, 3, angle=45, additive=True, alpha=1.0, **how),
        "warp": WarpTrigger(random_state=0, **how),
    }


def learner_of(name, value, encode):
    estimator, parameter, _ = LEARNERS[name]
    estimator = clone(estimator).set_params(**{parameter: value})
    return estimator if encode is None else make_pipeline(clone(encode), estimator)


# -- cost -------------------------------------------------------------------------------------


def in_turn(sides, repeats):
    """Seconds of each side, shape (repeats, n_sides), after one run of each."""
    times = np.empty((repeats + 1, len(sides)))
    for row in times:
        for k, side in enumerate(sides):
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                side()
            row[k] = time.perf_counter() - start
    return times[1:]


def spread(ratio):
    return f"{ratio.min():.2f} - {np.median(ratio):.2f} - {ratio.max():.2f}"


def cost(args):
    X, y, X_test, y_test = fetch_mnist(path=args.mnist, random_state=0, return_X_y=True)
    trigger = PatchTrigger(size=3, image_shape=(28, 28))
    weights = np.linspace(0.0, 1.0, 20) ** 2
    print("## What it costs\n")
    print(
        f"MNIST 7 vs 1, n = {len(X)}, {len(X_test)} test images; ratios: least - median - most.\n"
    )
    print(
        "| learner | threads | fit s | curve of 20 s | breakdown s"
        " | breakdown / curve (limit 2.5) |"
    )
    print("|---|---|---|---|---|---|")
    machines = {
        "rbf svm, C = 1": SVC(gamma=5e-3),
        "rbf svm, C = 100": SVC(gamma=5e-3, C=100),
        "linear svm, C = 0.1": SVC(kernel="linear", C=0.1),
        "linear svm, C = 10": SVC(kernel="linear", C=10),
        "logistic, C = 0.1": LogisticRegression(C=0.1),
        "logistic, C = 10": LogisticRegression(C=10),
        "ridge, alpha = 10": RidgeClassifier(alpha=10),
    }
    for name, estimator in machines.items():
        attack = BackdoorPoisoner(estimator, trigger, target=1, random_state=0)
        for limit in (None, 1):
            log(f"cost: {name}, {limit or 'all'} threads")
            data = X, y, X_test, y_test
            sides = [
                lambda e=estimator: clone(e).fit(X, y),
                lambda a=attack, d=data: backdoor_learning_curve(a, *d, poison_weights=weights),
                lambda a=attack, d=data: backdoor_breakdown(a, *d),
            ]
            with threadpool_limits(limit):
                times = in_turn(sides, args.repeats)
            fit, curve, found = np.median(times, axis=0)
            print(
                f"| {name} | {limit or 'all'} | {fit:.3f} | {curve:.3f} | {found:.3f}"
                f" | {spread(times[:, 2] / times[:, 1])} |",
                flush=True,
            )


def searches(args):
    X, y, _, _ = fetch_mnist(
        n_train=args.n_train, path=args.mnist, random_state=0, return_X_y=True
    )
    trigger = PatchTrigger(size=3, image_shape=(28, 28))
    print(f"\nGridSearchCV on MNIST 7 vs 1, n = {len(X)}, five candidates, three folds.\n")
    print("| learner | threads | accuracy s | breakdown / accuracy (limit 4)"
          " | eight triggers / one (limit 2) |")  # fmt: skip
    print("|---|---|---|---|---|")
    family = trigger_family("image", image_shape=(28, 28))
    for name, (estimator, parameter, values) in LEARNERS.items():
        probe = BackdoorPoisoner(
            clone(estimator).set_params(**({"gamma": 5e-3} if name == "rbf svm" else {})),
            trigger, target=1, poison_weight=0.0, random_state=0,
        )  # fmt: skip
        grid = {f"estimator__{parameter}": values}

        def search(scoring, probe=probe, grid=grid):
            return GridSearchCV(probe, grid, scoring=scoring, cv=3, refit=False).fit(X, y)

        scorers = [
            "accuracy",
            BackdoorBreakdownScorer(),
            BackdoorSlopeScorer(triggers=family[:1]),
            BackdoorSlopeScorer(triggers=family),
        ]
        for limit in (None, 1):
            log(f"cost of searches: {name}, {limit or 'all'} threads")
            with threadpool_limits(limit):
                times = in_turn([lambda s=s: search(s) for s in scorers], args.repeats)
            print(
                f"| {name} | {limit or 'all'} | {np.median(times[:, 0]):.2f}"
                f" | {spread(times[:, 1] / times[:, 0])} | {spread(times[:, 3] / times[:, 2])} |",
                flush=True,
            )


# -- truth ------------------------------------------------------------------------------------


def excess(poisoner, base, data):
    """Excess success of one really poisoned fit over a clean model's base rate."""
    X, y, X_test, y_test = data
    poisoner = poisoner.fit(X, y)
    triggered, labels, _ = poisoner.triggered_test(X_test, y_test)
    return (np.mean(poisoner.predict(triggered) == labels) - base) / (1.0 - base)


def truth(args):
    names = list(data_sets(args))
    where = dict(mnist=args.mnist, adult=args.adult, n_train=args.n_train, n_seeds=args.seeds)
    grid = [
        {
            "data": [name],
            "learner": [learner],
            "target": [target],
            "value": LEARNERS[learner][2][1::2],
        }
        for name in names
        for learner in LEARNERS
        for target in (("last", "next") if name != "Adult" else ("last",))
    ]
    rows = Study(partial(truth_of_cell, **where), grid, store=args.store).run()
    print("\n## Is it true of other victims?\n")
    print(
        f"Excess success at a half of the stated breakdown rate and at twice it, mean over"
        f" {args.seeds} other seeds. A cell: data, learner, parameter, target.\n"
    )
    print("| data | learner | target | uncensored | sharp | by weight: below 0.25 | above 0.75"
          " | by copies: below 0.25 | above 0.75 |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for (name, learner, target), part in rows.groupby(["data", "learner", "target"], sort=False):
        words = f"{part['rate'].notna().sum()} of {len(part)} | {(part['sharp'] == 1).sum()}"
        held = " | ".join(f"{good} of {n}" for good, n in (_good(part, way) for way in WAYS))
        print(f"| {name} | {learner} | {target} | {words} | {held} |")
    cells = rows[rows["rate"].notna()]
    sharp = cells["sharp"] == 1
    for words, some in (
        ("uncensored cells", cells),
        ("cells that their own result calls sharp", cells[sharp]),
        ("other cells", cells[~sharp]),
    ):
        print(f"\nOf {len(some)} {words}: {_held(some)}")
    lower, upper = cells["lower"], cells["upper"].fillna(np.inf)
    print(
        f"\nIn {np.sum(upper > 4 * lower)} of {len(cells)} cells the rates at 0.25 and 0.75 of"
        f" excess, of the very attack that gave the rate, lie more than a factor of four apart:"
        f" {np.sum(np.isinf(upper))} of them do not reach 0.75. In"
        f" {np.sum(lower < 0.5)} the first lies below half of the rate, in"
        f" {np.sum(upper > 2)} the second above twice it."
    )


#: Columns of excess success, and what is to hold of it.
WAYS = {
    "weight_half": "by weight, half",
    "weight_twice": "by weight, twice",
    "copies_half": "by copies, half",
    "copies_twice": "by copies, twice",
}


def _good(cells, way):
    """In how many cells the bar holds, and of how many."""
    excess = cells[way].dropna()
    return int(((excess < 0.25) if way.endswith("half") else (excess > 0.75)).sum()), len(excess)


def _held(cells):
    words = []
    for way, name in WAYS.items():
        good, n = _good(cells, way)
        words.append(f"{name}: {good} of {n} ({good / max(n, 1):.0%})")
    both = (cells["weight_half"] < 0.25) & (cells["weight_twice"] > 0.75)
    words.append(f"by weight, both: {both.sum()} of {len(cells)}")
    medians = ", ".join(f"{value:.2f}" for value in cells[list(WAYS)].median())
    return f"{'; '.join(words)}; median excess: {medians}."


@lru_cache
def _data_of(name, mnist, adult, n_train):
    return data_sets(argparse.Namespace(mnist=mnist, adult=adult, n_train=n_train))[name]


def truth_of_cell(data, learner, target, value, mnist, adult, n_train, n_seeds):
    """Excess success of other victims at half and twice the breakdown rate; nan where censored.

    Mean over seeds, by weight and by copies. With the rate, whether the result is sharp, and its
    quartile rates in units of the rate (nan above the attack's own).
    """
    arrays, encode, shape = _data_of(data, mnist, adult, n_train)
    X, y, X_test, y_test = arrays
    target = np.unique(y)[-1] if target == "last" else target
    attack = BackdoorPoisoner(
        learner_of(learner, value, encode),
        one_trigger(shape, X, target),
        target=target,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = backdoor_breakdown(attack, *arrays)
        cell = dict.fromkeys(("rate", "sharp", "lower", "upper", *WAYS), np.nan)
        if found.censored or found.rate == 0.0:
            return cell
        sums = np.full((n_seeds, 4), np.nan)
        for seed in range(n_seeds):
            for k, share in enumerate((found.rate / 2, 2 * found.rate)):
                whole = int(0.2 * len(y)) / len(y)
                one = clone(attack).set_params(
                    poisoning_rate=0.2,
                    poison_weight=min(share / whole, 1.0),
                    random_state=seed + 1,
                )
                sums[seed, k] = excess(one, found.base_rate, arrays)
                if share * len(y) >= 0.75:
                    copies = max(round(share * len(y)), 1) / len(y)
                    one = clone(attack).set_params(poisoning_rate=copies, random_state=seed + 1)
                    sums[seed, 2 + k] = excess(one, found.base_rate, arrays)
        for way, column in zip(WAYS, sums.T, strict=True):
            cell[way] = np.nan if np.isnan(column).all() else float(np.nanmean(column))
        lower, upper = found.quartile_rates / found.rate
        upper = float(upper) if np.isfinite(upper) else np.nan
        return cell | dict(
            rate=found.rate, sharp=float(found.sharp), lower=float(lower), upper=upper
        )


# -- choosing ---------------------------------------------------------------------------------


def choosing(args):
    print("\n## Chosen with one trigger or a family, attacked with others\n")
    print(
        "Success above base rate at 1 % of poison with triggers that the choice did not see. A"
        " cell: data, learner, trigger. Only cells in which some candidate within 2 points of the"
        " best cross-validated accuracy stays at 0.10 or below count in the last line.\n"
    )
    ways = ("accuracy", "one trigger", "family", "breakdown")
    print("| data | learner | trigger | best that there is | " + " | ".join(ways) + " |")
    print("|---|---|---|---|" + "---|" * len(ways))
    every = []
    for name, (data, encode, shape) in data_sets(args).items():
        X, y, X_test, y_test = data
        trigger, family = one_trigger(shape, X), family_of(shape, X)
        for learner in LEARNERS:
            log(f"choosing: {name}, {learner}")
            _, parameter, values = LEARNERS[learner]
            probe = BackdoorPoisoner(
                learner_of(learner, values[0], encode), trigger, target=np.unique(y)[-1],
                poisoning_rate=0.02, poison_weight=0.0, random_state=0,
            )  # fmt: skip
            step = "" if encode is None else f"{probe.estimator.steps[-1][0]}__"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                search = GridSearchCV(
                    probe,
                    {f"estimator__{step}{parameter}": values},
                    scoring={
                        "accuracy": "accuracy",
                        "one trigger": neg_backdoor_slope_scorer,
                        "family": BackdoorSlopeScorer(0.0, triggers=family),
                        "breakdown": BackdoorBreakdownScorer(),
                    },
                    cv=3,
                    refit=False,
                ).fit(X, y)
                results = search.cv_results_
                chosen = {way: most_robust(0.02, robustness=way)(results) for way in ways[1:]}
                chosen["accuracy"] = int(np.argmax(results["mean_test_accuracy"]))
                accuracy = results["mean_test_accuracy"]
                near = np.flatnonzero(accuracy >= accuracy.max() - 0.02)
                for unseen, other in unseen_triggers(shape, X).items():
                    success = np.empty(len(values))
                    for i in near:
                        params = results["params"][i]
                        one = clone(probe).set_params(
                            trigger=other, poisoning_rate=0.01, poison_weight=1.0, random_state=7,
                            **params,
                        )  # fmt: skip
                        row = evaluate_attack(one, *data)
                        success[i] = row.attack_success_rate - row.base_rate
                    every.append([success[near].min(), *(success[chosen[way]] for way in ways)])
                    cells = " | ".join(f"{value:.2f}" for value in every[-1])
                    print(f"| {name} | {learner} | {unseen} | {cells} |", flush=True)
    every = np.array(every)
    fair = every[every[:, 0] <= 0.10]
    print(
        f"\nOf {len(every)} cells {len(fair)} have a candidate at 0.10 or below; chosen by",
        end=" ",
    )
    print(", ".join(f"{way}: {np.mean(fair[:, 1 + k] <= 0.10):.0%}" for k, way in enumerate(ways)),
          end=" are.\n")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", default=None, help="local file or folder with MNIST")
    parser.add_argument(
        "--adult", default=None, help="CSV of Adult; without it that data is left out"
    )
    parser.add_argument("--parts", nargs="+", default=["cost", "searches", "truth", "choosing"])
    parser.add_argument("--n-train", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--store", default="studies/breakdown", help="keeps the cells of truth")
    args = parser.parse_args()
    parts = {"cost": cost, "searches": searches, "truth": truth, "choosing": choosing}
    for part in args.parts:
        parts[part](args)


if __name__ == "__main__":
    main()
