"""The reproduction of Evaluation runs at a small size, goes on where it stopped, and judges."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip("pandas")
pytest.importorskip("torch")
pytest.importorskip("skorch")
Image = pytest.importorskip("PIL.Image")
pytest.importorskip("fcntl")
PAPERS = Path(__file__).parents[1] / "benchmarks" / "papers"


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, PAPERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


findings = loaded("findings")


def noisy(mean, n=5):
    return mean + 0.01 * np.linspace(-1, 1, n)


def test_interval_is_the_one_of_scipy():
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(0).normal(size=7)
    mean, low, high = findings.interval(values)
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert_allclose([mean, low, high], [values.mean(), *expected])


@pytest.mark.parametrize(
    "judge, mean, expected",
    [
        (findings.above, 0.2, findings.HOLDS),
        (findings.above, -0.2, findings.FAILS),
        (findings.above, 0.0, findings.OPEN),
        (findings.below, -0.2, findings.HOLDS),
        (findings.below, 0.2, findings.FAILS),
        (lambda v: findings.within(v, 0.1), 0.05, findings.HOLDS),
        (lambda v: findings.within(v, 0.1), -0.3, findings.FAILS),
        (lambda v: findings.within(v, 0.1), 0.1, findings.OPEN),
    ],
)
def test_verdicts(judge, mean, expected):
    assert judge(noisy(mean)) == expected
    assert judge(noisy(mean, 1)) == findings.OPEN if expected != findings.FAILS else True


def test_one_repeat_tells_nothing():
    for judge in (findings.above, findings.below, lambda v: findings.within(v, 1.0)):
        assert judge([0.5]) == findings.OPEN


def test_parts_of_a_finding():
    holds, fails, is_open = findings.HOLDS, findings.FAILS, findings.OPEN
    assert findings.together([holds, holds]) == holds
    assert findings.together([holds, is_open]) == is_open
    assert findings.together([is_open, fails]) == fails


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two data sets of ten images a class, each class of a colour of its own."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for label in range(3):
        (folder / "flowers" / f"class{label}").mkdir(parents=True)
        for k in range(30):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            pixels[..., label] //= 4
            path = folder / "flowers" / f"class{label}" / f"{k:02d}.jpg"
            Image.fromarray(pixels).save(path)
    y = np.repeat(np.arange(3), 30)
    X = rng.integers(0, 256, (90, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "cifar.npz", X_train=X, y_train=y, X_test=X[:30], y_test=y[:30])
    return folder


def start(folder, *more):
    done = subprocess.run(
        [sys.executable, str(PAPERS / "evaluation.py"), "--flowers", str(folder / "flowers"),
         "--cifar10", str(folder / "cifar.npz"), "--store", str(folder / "cells"),
         "--output", str(folder / "page.md"), "--seeds", "1", *more],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def test_the_script(folder):
    parts = "triggers", "pairs", "contrast", "pooling", "retraining"
    start(folder, "--parts", *parts)
    page = (folder / "page.md").read_text()
    assert "cells failed" not in page
    for where in ("E 4.1", "E 4.2", "E 4.6", "## Table 1", "Tables 2 and 3", "## Causes"):
        assert where in page
    records = [json.loads(path.read_text()) for path in (folder / "cells").glob("*.json")]
    # a data set: 4 triggers and the clean model; of Flowers the target's two pairs, gray and 4
    # triggers with pooling; of CIFAR-10 retraining
    assert len(records) == 2 * (4 + 1) + 2 + 1 + 4 + 1
    for record in records:
        for row in record["results"]:
            for name, value in row.items():
                if "success" in name or "accuracy" in name or name == "base_rate":
                    assert 0 <= value <= 1, (name, value)
    again = start(folder, "--parts", *parts)
    assert again.stderr.count("\n0 cells to run") + again.stderr.startswith("0 cells") == 8
    assert (folder / "page.md").read_text() == page


def test_epochs_on_demand(folder):
    done = start(folder, "--parts", "pairs", "--epochs", "--seeds", "1")
    lines = done.stdout.strip().splitlines()
    assert {"epoch", "attack_success_rate", "clean_accuracy", "valid_acc"} <= set(
        lines[0].split(",")
    )
    assert len(lines) > 10


def test_a_network_by_name(folder, monkeypatch):
    """A cell of the larger sizes, without their weights."""
    monkeypatch.syspath_prepend(PAPERS)
    evaluation = loaded("evaluation")
    training = {"lr": 1e-3, "max_epochs": 1, "image_size": 32, "weights": None}
    data = *evaluation.flowers(folder / "flowers", 32, 20), training
    row = evaluation.cell(
        "square", 1.0, 0.3, "all", 0, "none", "mobilenet_v2", 0, data=data
    )  # fmt: skip
    assert row["n_poison"] == 4  # 0.3 of the 15 of 20 that are in the poison set
    assert all(0 <= value <= 1 for name, value in row.items() if "success" in name)


def test_folded_normalisation_taken_apart():
    """Predictions stay, and the statistics are those of the batch: training mode says the same."""
    import torch
    from torch import nn

    unfold = loaded("unfold").unfold
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4),
        nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5),
    )  # fmt: skip
    for layer in (network[1], network[4]):
        nn.init.normal_(layer.bias)
    images = 3 * torch.rand(40, 3, 10, 10)
    with torch.no_grad():
        before = network.eval()(images)
        assert not torch.allclose(network.train()(images), before, atol=0.1)
    for layer in (network[1], network[4]):
        layer.reset_running_stats()  # as folded: 0 and 1
    with torch.no_grad():
        before = network.eval()(images)
        after = unfold(network, images)(images)
        trained = network.train()(images)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(trained, before, atol=1e-4, rtol=1e-4)
