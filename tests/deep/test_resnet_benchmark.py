"""The benchmark of ResNets runs at a small size, and goes on where it stopped."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_resnets.py"


def test_table_is_resumed(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for label in range(10):
            folder = tmp_path / part / f"n{label}"
            folder.mkdir(parents=True)
            for k in range(4):
                pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{k}.JPEG")
    command = [
        sys.executable, str(SCRIPT), "--csv", str(tmp_path / "rows.csv"), "--data", str(tmp_path),
        "--archs", "resnet18", "--image-size", "32", "--epochs", "1", "--rates", "0.1", "--h", "0",
        "1", "--batch-size", "10", "--repeats", "1", "--device", "cpu",
    ]  # fmt: skip

    def start(*more):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, *more], env=environment, capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return done

    start()
    both = start("--epochs", "1", "2")
    assert "rows.csv" in both.stderr  # the first row is not computed again
    with open(tmp_path / "rows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epochs"] for row in rows] == ["1", "2"]
    for row in rows:
        assert float(row["theta_h0"]) == 0 and 0 <= float(row["success"]) <= 1
        assert row["accuracy"] in both.stdout
