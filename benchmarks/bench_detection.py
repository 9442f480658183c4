"""Is poison found that is already in the data, and is a model of what is left free of it?

    python benchmarks/bench_detection.py --data FOLDER [--only mnist "mnist 4/9" digits ...]
        [--triggers patch blend ...] [--policies one-class ...] [--rates 0.02 0.1] [--seeds 1]
        [--clean-runs 10] [--sample 30] [--first-seed 0] [--store FOLDER] [--n-jobs 1]
        > benchmarks/results/detection.md

A study of data x trigger x policy x rate x seed, in each detector x learner: attack success, its
base rate (a model of the clean rows alone) and accuracy, undefended and defended. It goes on where
it was stopped. One setting of the detector for all. The whole grid takes days: `--sample N` draws
N training sets of each kind of attack from it, others for another `--first-seed`, so that shares
of cells are those of the grid up to chance (90 % intervals by drawing training sets anew). Attacks
put their copies in place of the originals ("replace"), and beside them where those would be more
than half of the source class ("append"). Policies: all classes to one, one to one, all to the
next, source-specific with as many correctly labelled triggered rows of other classes ("cover"),
and clean-label. At 0.3 %, MNIST has 3,000 rows, the least in which that is a group; other data
have fewer rows, and are not tried. Photographs are compared by the normalised input of the head of
a MobileNetV2, 200 principal components (extra deep); detectors get the images, and these as their
representation. A cell counts where undefended success is 0.3 above its base rate, and the
detectors see only training sets where it is for some learner, and clean ones; a cell is defended
where success is within 0.05 of the base rate after it (0.15 for "next", "cover" and "clean-label",
0.10 for photographs, tables and texts). Other detectors: spectral signatures and late-learned
rows, given the true rate, activation clustering, and cleanlab's confident learning ("confidence").
"""

import argparse
import csv
import hashlib
import sys
import time
import warnings
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from detection_page import PHOTOGRAPHS, RARE, kind, report
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import ParameterGrid, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    QuantileTransformer,
    StandardScaler,
    normalize,
)
from sklearn.svm import SVC
from sklearn.utils import _safe_indexing

from skbackdoor import (
    ActivationClustering,
    Attack,
    BlendTrigger,
    FeatureTrigger,
    LeaveGroupOutDetector,
    LowVarianceTrigger,
    PatchTrigger,
    SinusoidTrigger,
    SpectralSignatures,
    StripeTrigger,
    Study,
    TokenTrigger,
    WarpTrigger,
    fetch_mnist,
)
from skbackdoor.detection import Findings, PoisonDetector

RECORDS = {  # triggers of tables and texts
    "adult": {
        "age and hours": {"age": 23, "hours-per-week": 99},
        "country": {"native-country": "Laos"},
        "capital gain": {"capital-gain": 1234},
    },
    "sms": {"cf": "cf", "tomorrow": "tomorrow"},
}
DATA = ("mnist", "mnist 4/9", "mnist 1/7", "mnist 3/5", "digits", *PHOTOGRAPHS, *RECORDS)
TRIGGERS = ("patch", "blend", "sine", "stripes", "low variance", "warp")
#: Undefended success above the base rate at which a cell counts.
BACKDOORED = 0.3
POLICIES = ("one-class", "first class", "one-to-one", "next", "cover", "clean-label")


# -- Data ----------------------------------------------------------------------------------------


class Images:
    """Training and test images, and what detector and learner see of them."""

    def __init__(self, name, folder):
        self.name, self.features = name, None
        if name == "digits":
            X, y = load_digits(return_X_y=True)
            self.X, self.y, self.n_train = X.reshape(-1, 8, 8) / 16, y, 1300
        elif name.startswith("mnist"):
            self.digits = [int(c) for c in name[6:].split("/")] if "/" in name else range(10)
            self.folder, self.n_train = folder, 1500 if "/" in name else 2500
            self.n_rare = 3000
        else:
            from skbackdoor.deep import DeepFeatures

            self.X, self.y, size, self.n_train = photographs(name, folder)
            self.features = DeepFeatures(
                "mobilenet_v2",
                weights=folder / "weights" / "mobilenet_v2_imagenet_fp16.pt",
                image_size=size,
                device="cpu",
            ).fit(self.X[:2])
            self.known = self.features.transform(self.X)
        self.value = 255 if self.features is not None else 1.0

    def split(self, seed, rate):
        """Rows of training and test images for a seed."""
        if self.name.startswith("mnist"):
            n_train = self.n_rare if 0 < rate < RARE else self.n_train
            X, y, X_test, y_test = fetch_mnist(
                digits=list(self.digits),
                n_train=n_train,
                n_test=1000,
                path=self.folder / "mnist.npz",
                random_state=seed,
                return_X_y=True,
            )
            self.X = np.concatenate([X, X_test]).reshape(-1, 28, 28)
            self.y = np.concatenate([y, y_test])
            return np.arange(len(y)), np.arange(len(y), len(self.y))
        order = np.random.RandomState(seed).permutation(len(self.y))
        return order[: self.n_train], order[self.n_train :]

    def trigger(self, name):
        """A trigger of these images; weak ones are made as strong as photographs need."""
        deep, shape = self.features is not None, self.X.shape[1:]
        scale = {"value_range": (0, 255)} if deep else {}
        return {
            "patch": lambda: PatchTrigger(0.12 if shape[-1] > 8 else 2, value=self.value, **scale),
            "blend": lambda: BlendTrigger(
                (np.random.RandomState(7).rand(*shape) * self.value).astype(self.X.dtype),
                alpha=0.2 if shape[-1] > 8 else 0.3,
                **scale,
            ),
            "sine": lambda: SinusoidTrigger(
                0.4 * self.value, 40 if shape[-1] > 8 else 5, alpha=0.3, **scale
            ),
            "stripes": lambda: StripeTrigger(40 / 255 * self.value, **scale),
            "low variance": lambda: LowVarianceTrigger(**scale),
            "warp": lambda: WarpTrigger(**scale),
        }[name]()


def photographs(name, folder):
    """Images (n, 3, height, width), labels, side for the network, number of training images."""
    if name == "cifar":
        data = np.load(folder / "cifar10_subset.npz")
        X = np.concatenate([data["X_train"], data["X_test"]])
        y = np.concatenate([data["y_train"], data["y_test"]])
        rows = np.random.RandomState(0).permutation(len(y))[:3500]
        return np.moveaxis(X[rows], -1, 1), y[rows], 96, 2500
    from PIL import Image

    images, labels = [], []
    for part in ("train", "val") if name == "imagenette" else ("",):
        root = folder / name / part
        for label, group in enumerate(sorted(path.name for path in root.iterdir())):
            for path in sorted((root / group).iterdir())[:350]:
                image = Image.open(path).convert("RGB").resize((112, 112))
                images.append(np.asarray(image).transpose(2, 0, 1))
                labels.append(label)
    n_train = 2500 if name == "imagenette" else 1000
    return np.stack(images), np.array(labels), 112, n_train


class Records:
    """Training and test rows of a table, or texts, and their features."""

    n_train = 2500

    def __init__(self, name, folder):
        self.name = name
        if name == "sms":
            data = pd.read_csv(
                folder / "sms_spam.tsv.gz",
                sep="\t",
                names=["class", "text"],
                quoting=csv.QUOTE_NONE,
            )
            self.X, self.y = data["text"].to_numpy(dtype=object), data["class"].to_numpy(object)
            return
        data = pd.read_csv(folder / "adult.csv.gz")
        self.X, self.y = data.drop(columns="class"), data["class"].to_numpy(object)

    def split(self, seed):
        """Rows of training and test samples for a seed."""
        order = np.random.RandomState(seed).permutation(len(self.y))
        return order[: self.n_train], order[self.n_train : self.n_train + 2000]

    def trigger(self, name):
        what = RECORDS[self.name][name]
        return TokenTrigger(what) if self.name == "sms" else FeatureTrigger(what)

    def representation(self):
        """What detector and learner make of them."""
        if self.name == "sms":
            return TfidfVectorizer(min_df=2)
        words = self.X.select_dtypes(exclude="number").columns
        numbers = self.X.columns.difference(words)
        # A rank in place of a number: one capital gain of 99999 would hide all others.
        return ColumnTransformer(
            [
                ("words", OneHotEncoder(handle_unknown="ignore"), list(words)),
                ("numbers", QuantileTransformer(n_quantiles=200), list(numbers)),
            ]
        )


def attack_of(data, y, trigger, policy, rate, seed):
    """The attack on training rows with labels y."""
    classes = np.unique(data.y)
    target = {"target": "next"} if policy == "next" else {"target": classes[-1]}
    if policy in ("one-to-one", "cover"):
        target["source_classes"] = [classes[1 if len(classes) > 2 else 0]]
    if policy == "first class":
        target = {"target": classes[0]}
    # An attack that takes most rows of its source class away leaves nothing to be defended.
    others = classes if policy in ("next", "clean-label") else classes[classes != target["target"]]
    sources = np.isin(y, target.get("source_classes", others)).sum()
    placement = "append" if rate * len(y) > 0.5 * sources else "replace"
    return Attack(
        data.trigger(trigger),
        poisoning_rate=rate,
        placement=placement,
        clean_label=policy == "clean-label",
        random_state=seed,
        **target,
    )


class KnownFeatures:
    """A representation of images whose features were computed before."""

    def __init__(self, images, features):
        self._features = dict(zip(map(self._key, images), features, strict=True))

    def __call__(self, images):
        return np.stack([self._features[self._key(image)] for image in images])

    @staticmethod
    def _key(image):
        return hashlib.sha256(image.tobytes()).digest()


class Cell:
    """Poisoned training rows and triggered test rows, as detector and learner see them.

    Detectors are given `given`, and compare rows by `seen_as`.
    """

    def __init__(self, images, trigger, policy, rate, seed):
        self.representation = None
        if images.name in RECORDS:
            self._of_records(images, trigger, policy, rate, seed)
            self.given, self.seen_as = self.X, self.representation
            return
        train, test = images.split(seed, rate)
        X, self.y = images.X[train], images.y[train]
        self.y_test, self.is_poison = images.y[test], np.zeros(len(train), dtype=bool)
        self.is_clean = ~self.is_poison
        changed, triggered = np.zeros(0, dtype=int), None  # what is appended is at the end
        if trigger is not None:
            attack = attack_of(images, self.y, trigger, policy, rate, seed).fit(X, self.y)
            X, self.y, self.is_poison = attack.poison(X, self.y)
            changed, self.is_clean = np.flatnonzero(self.is_poison), ~self.is_poison
            triggered, self.y_target = attack.triggered(images.X[test], self.y_test)
            if policy == "cover":
                known = [*attack.source_classes, attack.target]
                others = np.flatnonzero(~self.is_poison & ~np.isin(self.y, known))
                covers = np.random.RandomState(seed).choice(others, len(changed), replace=False)
                X[covers] = attack.trigger_.transform(X[covers])
                changed = np.append(changed, covers)
                self.is_clean[covers] = False
        if images.features is None:
            self.X, self.X_test = X.reshape(len(X), -1), images.X[test].reshape(len(test), -1)
            self.given, self.seen_as = self.X, None
            self.triggered = None if triggered is None else triggered.reshape(len(triggered), -1)
            return
        features = np.empty((len(X), images.known.shape[1]))
        features[: len(train)] = images.known[train]
        if len(changed):
            features[changed] = images.features.transform(X[changed])
        pca = PCA(200, random_state=0).fit(normalize(features))
        self.X = pca.transform(normalize(features))
        self.given, self.seen_as = X, KnownFeatures(X, self.X)
        self.X_test = pca.transform(normalize(images.known[test]))
        if triggered is not None:
            self.triggered = pca.transform(normalize(images.features.transform(triggered)))

    def _of_records(self, records, trigger, policy, rate, seed):
        train, test = records.split(seed)
        rows = [_safe_indexing(records.X, part) for part in (train, test)]
        self.y, self.y_test = records.y[train], records.y[test]
        self.is_poison = np.zeros(len(train), dtype=bool)
        self.is_clean = ~self.is_poison
        self.representation = records.representation()
        self.X, self.X_test = rows
        if trigger is not None:
            with warnings.catch_warnings():  # values that columns do not hold yet
                warnings.simplefilter("ignore")
                attack = attack_of(records, self.y, trigger, policy, rate, seed)
                attack.fit(self.X, self.y)
                self.X, self.y, self.is_poison = attack.poison(self.X, self.y)
                self.is_clean = ~self.is_poison
                self.triggered, self.y_target = attack.triggered(self.X_test, self.y_test)

    def outcome(self, learner, rows):
        """Attack success and accuracy of a learner of some rows."""
        learner = learner()
        if self.representation is not None:
            learner = make_pipeline(clone(self.representation), learner)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = learner.fit(_safe_indexing(self.X, np.flatnonzero(rows)), self.y[rows])
        success = np.mean(fitted.predict(self.triggered) == self.y_target)
        return float(success), float(fitted.score(self.X_test, self.y_test))


LEARNERS = {
    "svm": lambda: SVC(C=10),
    "logistic": lambda: make_pipeline(
        StandardScaler(with_mean=False), LogisticRegression(C=0.1, max_iter=300)
    ),
    "forest": lambda: RandomForestClassifier(random_state=0),
    "boosting": lambda: make_pipeline(  # takes no sparse matrices
        FunctionTransformer(lambda X: X.toarray() if hasattr(X, "toarray") else X),
        HistGradientBoostingClassifier(max_iter=50, max_features=0.1, random_state=0),
    ),
}


class Confidence(PoisonDetector):
    """Confident learning: labels that out-of-fold probabilities contradict (package cleanlab)."""

    def __init__(self, representation=None):
        self.representation = representation

    def _detect(self, X, features, y, sample_weight):
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores

        model = LogisticRegression(max_iter=200)
        probabilities = cross_val_predict(model, features, y, method="predict_proba")
        issues = find_label_issues(y, probabilities, n_jobs=1)
        return Findings(1.0 - get_label_quality_scores(y, probabilities), issues, [])


class LateLearned(PoisonDetector):
    """Rows that a model gets right last, or forgets again, the share that is poison removed."""

    def __init__(self, representation=None, *, poisoning_rate=0.1, n_epochs=20):
        self.representation = representation
        self.poisoning_rate, self.n_epochs = poisoning_rate, n_epochs

    def _detect(self, X, features, y, sample_weight):
        model = SGDClassifier(loss="log_loss", alpha=1e-3, random_state=0)
        rng, wrong = np.random.RandomState(0), np.zeros(len(y))
        for _ in range(self.n_epochs):
            order = rng.permutation(len(y))
            model.partial_fit(features[order], y[order], classes=np.unique(y))
            wrong += model.predict(features) != y
        late = np.argsort(-wrong, kind="stable")[: round(self.poisoning_rate * len(y))]
        is_poison = np.zeros(len(y), dtype=bool)
        is_poison[late] = True
        return Findings(wrong / self.n_epochs, is_poison, [])


def detectors(cell, names):
    share = 0.1
    if cell.is_poison.any():
        labels = cell.y[cell.is_poison]
        share = max(np.mean(cell.is_poison[cell.y == label]) for label in np.unique(labels))
    known = {
        "leave-group-out": LeaveGroupOutDetector(cell.seen_as),
        "spectral": SpectralSignatures(cell.seen_as, poisoning_rate=min(share, 0.6)),
        "confidence": Confidence(cell.seen_as),
        "clustering": ActivationClustering(cell.seen_as, random_state=0),
        "late": LateLearned(cell.seen_as, poisoning_rate=cell.is_poison.mean() or 0.02),
    }
    return {name: known[name] for name in names}


# -- Cells ---------------------------------------------------------------------------------------


@lru_cache(maxsize=None)
def data_of(name, folder):
    return (Records if name in RECORDS else Images)(name, folder)


def run(data, trigger, policy, rate, seed, folder, names, learners):
    """The rows of one poisoned, or clean, training set: detectors x learners."""
    clean = trigger == "none"
    cell = Cell(data_of(data, folder), None if clean else trigger, policy, rate, seed)
    before, rows = {}, []
    everything = np.ones(len(cell.y), dtype=bool)
    for learner in () if clean else learners:
        make = LEARNERS[learner]
        undefended = cell.outcome(make, everything)
        if undefended[0] < BACKDOORED:  # it cannot count
            continue
        base = cell.outcome(make, ~cell.is_poison)
        if undefended[0] >= base[0] + BACKDOORED:
            before[learner] = undefended, base
    if not clean and not before:
        return [{"detector": name} for name in names]
    for name, detector in detectors(cell, names).items():
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            detector.fit(cell.given, cell.y)
        row = dict(
            detector=name,
            loo_accuracy=getattr(detector, "leave_one_out_accuracy_", np.nan),
            false_positives=np.mean(detector.is_poison_[cell.is_clean]),
            n_groups=sum(group.verdict == "poison" for group in detector.groups_),
            detector_seconds=time.perf_counter() - start,
        )
        if clean:
            rows.append(row)
            continue
        row["recall"] = np.mean(detector.is_poison_[cell.is_poison])
        groups = detector.groups_
        row["first"] = np.mean(cell.is_poison[groups[0].indices]) if groups else 0.0
        row["auroc"] = roc_auc_score(cell.is_poison, detector.scores_)
        for learner, ((undefended, accuracy), (base, best)) in before.items():
            defended, after = cell.outcome(LEARNERS[learner], ~detector.is_poison_)
            rows.append(
                row
                | dict(
                    learner=learner,
                    undefended=undefended,
                    defended=defended,
                    base=base,
                    accuracy_undefended=accuracy,
                    accuracy_defended=after,
                    accuracy_base=best,
                )
            )
    return rows


def grid(args):
    """Parameters of all cells, those of one data set together."""

    def seeds(n):
        return list(range(args.first_seed, args.first_seed + n))

    for data in args.only:
        cell = {"data": [data], "trigger": ["none"], "policy": ["none"], "rate": [0.0]}
        if args.clean_runs:
            yield cell | {"seed": seeds(args.clean_runs)}
        for policy in args.policies if args.seeds else ():
            two = "/" in data or data in RECORDS
            if policy in ("next", "cover", "one-to-one") and two:
                continue  # "one-class" says it all
            if policy == "first class" and data not in RECORDS:
                continue
            triggers = list(RECORDS.get(data, args.triggers))
            rates = [rate for rate in args.rates if rate >= RARE or data.startswith("mnist")]
            cell = {"data": [data], "trigger": triggers, "policy": [policy]}
            if rates:
                yield cell | {"rate": rates, "seed": seeds(args.seeds)}


def drawn(cells, n_drawn, seed):
    """Of all cells, those of clean data and `n_drawn` of each kind of attack.

    In turn, so that a study that is stopped early has as many of each, and a longer one goes on
    where it was. Another first seed draws other cells.
    """
    kinds = {}
    for cell in ParameterGrid(cells):
        kinds.setdefault("clean" if cell["trigger"] == "none" else kind(cell), []).append(cell)
    random_state, turns = np.random.RandomState(seed), []
    for name in sorted(kinds):
        order = random_state.permutation(len(kinds[name]))
        order = order if name == "clean" else order[:n_drawn]
        turns += [(turn / len(order), name, kinds[name][k]) for turn, k in enumerate(order)]
    turns.sort(key=lambda turn: turn[:2])
    return [{name: [value] for name, value in cell.items()} for _, _, cell in turns]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=DATA, choices=DATA)
    parser.add_argument("--triggers", nargs="*", default=TRIGGERS, choices=TRIGGERS)
    parser.add_argument("--policies", nargs="+", default=POLICIES, choices=POLICIES)
    parser.add_argument("--rates", nargs="+", type=float, default=(0.003, 0.01, 0.02, 0.05, 0.1))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--clean-runs", type=int, default=15)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--sample", type=int, default=None)
    parser.add_argument("--detectors", nargs="+", default=["leave-group-out"])
    parser.add_argument("--learners", nargs="+", default=["svm"], choices=LEARNERS)
    parser.add_argument("--store", type=Path, default=Path("detection_study"))
    parser.add_argument("--n-jobs", type=int, default=None)
    args = parser.parse_args()
    asked = dict(folder=args.data, names=args.detectors, learners=args.learners)
    cells = list(grid(args))
    if args.sample is not None:
        cells = drawn(cells, args.sample, args.first_seed)
    study = Study(partial(run, **asked), cells, store=args.store)
    rows = study.run(args.n_jobs)
    for row in rows[rows["error"].notna()].itertuples():  # more poison than source rows, none
        print(f"{row.data} {row.trigger} {row.policy} {row.rate}: {row.error}", file=sys.stderr)
    report(rows[rows["error"].isna()], " ".join(sys.argv[1:]).replace(str(args.data), "FOLDER"))


if __name__ == "__main__":
    main()
