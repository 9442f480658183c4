"""The reproduction of Curves runs, resumes, and agrees with plain scikit-learn fits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC, LinearSVC

from skbackdoor import make_backdoor_classification

pd = pytest.importorskip("pandas")
SCRIPT = Path(__file__).parent.parent / "benchmarks" / "reproduce_curves.py"
LEARNERS = {
    "svm": lambda C: SVC(kernel="linear", C=C, tol=1e-8),
    "logistic": lambda C: LogisticRegression(C=C, solver="liblinear", tol=1e-10),
    "ridge": lambda C: RidgeClassifier(alpha=1 / (2 * C)),
    "svm-rbf": lambda C: SVC(C=C, gamma=0.01, tol=1e-8),
    "SVM": lambda C: LinearSVC(C=C, loss="hinge", tol=1e-8, max_iter=10**6),
    "LC": lambda C: LogisticRegression(C=C, solver="liblinear", tol=1e-10),
    "RC": lambda C: RidgeClassifier(alpha=1 / (2 * C)),
    "RBF SVM": lambda C: SVC(C=C, gamma=0.01, tol=1e-8),
}
CS, BETAS = (0.01, 10.0), (0.0, 0.5, 1.0)


def attacked(X, y, seed, n_victims):
    """Rows with the 6x6 patch of their class, and the other label, as in the paper's code."""
    X, y = X.reshape(-1, 28, 28).copy(), y.copy()
    patches = np.random.RandomState(seed).rand(2, 6, 6)
    rows = np.random.RandomState(seed).choice(len(X), n_victims, replace=False)
    X[rows, 22:, 22:] = patches[y[rows]]
    y[rows] = 1 - y[rows]
    return X.reshape(len(X), -1), y, rows


def loss(name, F, y):
    margins = (2 * y - 1) * F
    if name == "LC":
        return np.logaddexp(0, -margins).mean()
    return (1 - margins).clip(0).mean() if "SVM" in name else ((1 - margins) ** 2).mean()


@pytest.fixture
def folder(tmp_path):
    """MNIST's file with other images, and published numbers made by plain scikit-learn fits."""
    X, y = make_backdoor_classification(600, image_shape=(28, 28), class_sep=0.2, random_state=0)
    images, digits = np.rint(255 * X).astype(np.uint8).reshape(-1, 28, 28), np.where(y == 0, 7, 1)
    np.savez(
        tmp_path / "mnist.npz",
        X_train=images[:400], y_train=digits[:400], X_test=images[400:], y_test=digits[400:],
    )  # fmt: skip
    X = images.reshape(600, -1) / 255
    rows = np.random.RandomState(999).choice(400, 201, replace=False)
    rows = rows[train_test_split(np.arange(201), train_size=200, random_state=999)[0]]
    test = np.sort(np.concatenate([np.flatnonzero(y[400:] == c)[:40] for c in (0, 1)]))
    test = 400 + test[np.random.RandomState(999).choice(80, 80, replace=False)]
    clean = X[rows], y[rows]
    grid, curves = [], []
    for name, make in LEARNERS.items():
        for C in CS:
            named = {"learner": name, "C": C, "gamma": 0.01 if name == "svm-rbf" else None}
            if name in ("svm", "logistic", "ridge", "svm-rbf"):
                models = [(make(C).fit(*attacked(*clean, s, 20)[:2]), s) for s in (1, 10)]
                hits = [model.score(*attacked(X[test], y[test], s, 80)[:2]) for model, s in models]
                named["clean_model_accuracy"] = make(C).fit(*clean).score(X[test], y[test])
                named["poisoned_model_accuracy"] = np.mean(
                    [model.score(X[test], y[test]) for model, _ in models]
                )
                grid.append(named | {"backdoor_accuracy": np.mean(hits)})
                continue
            named |= {"p": 0.1, "triggered_loss": [], "clean_loss": []}
            named |= {"learner": "RBF SVM gamma=1e-2", "gamma": 0.01} if "RBF" in name else {}
            X_p, y_p, victims = attacked(*clean, 999, 20)
            for beta in BETAS:
                weight = np.ones(200)
                weight[victims] = beta
                model = make(C).fit(X_p, y_p, sample_weight=weight)
                X_t, y_t, _ = attacked(X[test], y[test], 999, 80)
                named["triggered_loss"].append(loss(name, model.decision_function(X_t), y_t))
                named["clean_loss"].append(loss(name, model.decision_function(X[test]), y[test]))
            curves.append(named)
    (tmp_path / "published").mkdir()
    for name, content in (("grid_mnist_7-1_badnet_tsize6", {"rows": grid}),
                          ("mnist_7-1_6x6", {"rows": curves, "betas": BETAS})):  # fmt: skip
        (tmp_path / "published" / f"curves_{name}.json").write_text(json.dumps(content))
    return tmp_path


def run(folder, *arguments):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--dataset", "mnist", "--data", str(folder),
         "--output", str(folder / "out"), "--store", str(folder / "store"), "--n-jobs", "1",
         *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_quick_reproduction_and_its_second_start(folder):
    table = folder / "out_quick.csv"
    run(folder, "--only", "grid")
    first = pd.read_csv(table)
    assert "8 of them there and skipped" in run(folder).stderr
    whole = table.read_text()
    grid = pd.read_csv(table).query("part == 'grid'").reset_index(drop=True)
    pd.testing.assert_frame_equal(grid, first.query("part == 'grid'"), check_dtype=False)
    run(folder)
    assert table.read_text() == whole

    frame = pd.read_csv(table)
    published = folder / "published"
    grid = frame[frame.part == "grid"].fillna({"gamma": 0})
    ours = grid.groupby(["learner", "gamma", "C"]).mean(numeric_only=True)
    for row in json.loads((published / "curves_grid_mnist_7-1_badnet_tsize6.json").read_text())[
        "rows"
    ]:
        cell = ours.loc[(row["learner"], row["gamma"] or 0, row["C"])]
        assert_allclose(cell.clean_accuracy, row["clean_model_accuracy"])
        assert_allclose(cell.poisoned_accuracy, row["poisoned_model_accuracy"])
        assert_allclose(cell.attack_success_rate, row["backdoor_accuracy"])
    curves = frame[frame.part == "curve"]
    for row in json.loads((published / "curves_mnist_7-1_6x6.json").read_text())["rows"]:
        mine = curves[(curves.learner == row["learner"]) & (curves.C == row["C"])]
        assert_allclose(mine.beta, [0.0, 1.0])
        assert_allclose(mine.backdoor_loss, np.array(row["triggered_loss"])[[0, 2]], rtol=1e-4)
        assert_allclose(mine.clean_loss, np.array(row["clean_loss"])[[0, 2]], rtol=1e-4)
    page = (folder / "out_quick.md").read_text()
    assert "| mnist 7-1 badnet_tsize6 | ridge | 2 | 2, 2, 0.0000 | 2, 2, 0.0000 |" in page
    assert "**x** |" not in page and "## Time against refits" in page


@pytest.mark.slow
def test_a_point_off_is_marked(folder):
    path = folder / "published" / "curves_grid_mnist_7-1_badnet_tsize6.json"
    content = json.loads(path.read_text())
    content["rows"] = [row for row in content["rows"] if row["learner"] == "ridge"]
    content["rows"][1]["backdoor_accuracy"] -= 0.9
    path.write_text(json.dumps(content))
    run(folder, "--only", "grid")
    page = (folder / "out_quick.md").read_text()
    assert page.count("**x** |") == 1 and "| 1, 1, 0.9000 |" in page
