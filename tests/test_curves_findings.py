"""The cells of benchmarks/papers/curves.py, against plain scikit-learn fits."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import RidgeClassifier

from skbackdoor import make_backdoor_classification

pytest.importorskip("pandas")
pytest.importorskip("fcntl")
PAPERS = Path(__file__).parents[1] / "benchmarks" / "papers"


@pytest.fixture(scope="module")
def curves():
    """The script, which imports from the folders of the benchmarks."""
    before = list(sys.path)
    sys.path.insert(0, str(PAPERS))
    spec = importlib.util.spec_from_file_location("papers_curves", PAPERS / "curves.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    X, y = make_backdoor_classification(500, image_shape=(28, 28), class_sep=0.2, random_state=0)
    images, digits = np.rint(255 * X).astype(np.uint8).reshape(-1, 28, 28), np.where(y == 0, 7, 1)
    np.savez(
        folder / "mnist.npz",
        X_train=images[:300], y_train=digits[:300], X_test=images[300:], y_test=digits[300:],
    )  # fmt: skip
    return str(folder)


def refits(curves, folder, C, p, seed=1):
    """Ridge by scikit-learn, with the poison at weights 0, 0.1 and 1."""
    data = curves.data_of("mnist", "7-1", folder, 200, 100)
    poisoner = data.attack(RidgeClassifier(), "badnet_tsize6", p, seed)
    X, y, is_poison = poisoner.fit(*data.arrays[:2]).poison(*data.arrays[:2])
    tests = poisoner.triggered_test(*data.arrays[2:])[:2]
    models = [
        RidgeClassifier(alpha=1 / (2 * C)).fit(X, y, np.where(is_poison, beta, 1.0))
        for beta in (0.0, 0.1, 1.0)
    ]
    return data, models, tests


@pytest.mark.parametrize("C", [0.001, 1.0])
def test_a_cell_is_what_refits_give(curves, folder, C):
    data, models, (X, y) = refits(curves, folder, C, 0.2)
    found = curves.cell("mnist", "7-1", "badnet_tsize6", "ridge", C, None, 0.2, 1,
                        folder=folder, samples=(200, 100))  # fmt: skip
    losses = [np.mean((2 * y - 1 - model.decision_function(X)) ** 2) for model in models]
    assert_allclose(found["loss"], losses[0], rtol=1e-6)
    assert_allclose(found["loss_ratio"], losses[1] / losses[0], rtol=1e-6)
    assert found["success"] == models[2].score(X, y)
    assert found["accuracy"] == models[2].score(*data.arrays[2:])
    w = [model.coef_.ravel() for model in models]
    assert_allclose(found["rho_ratio"], np.linalg.norm(w[2]) / np.linalg.norm(w[0]), rtol=1e-6)
    cosine = w[0] @ w[2] / np.linalg.norm(w[0]) / np.linalg.norm(w[2])
    assert_allclose(found["nu"], (1 - cosine) / 2, rtol=1e-5)


def test_where_a_linear_model_looks(curves, folder):
    _, models, _ = refits(curves, folder, 1.0, 0.1)
    found = curves.looks_cell("7-1", "ridge", 1.0, None, 1, folder=folder, samples=(200, 100))
    for name, model in (("clean", models[0]), ("poisoned", models[2])):
        weights = np.abs(model.coef_.reshape(28, 28))
        assert_allclose(found[f"mass_{name}"], weights[22:, 22:].sum() / weights.sum(), rtol=1e-6)
    assert 0 <= found["influential"] <= 1


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "imagenette"])
def test_one_thing_is_changed_at_a_time(curves, dataset):
    settings = list(curves.settings_of(dataset))
    strong = curves.DATASETS[dataset][1][1]
    kinds = {(s["trigger"] == strong, s["p"]) for s in settings}
    assert kinds == {(True, 0.1), (True, 0.2), (False, 0.1)}
    assert len(settings) == len({tuple(s.items()) for s in settings}) == 3 * 5 * 10 * 3
