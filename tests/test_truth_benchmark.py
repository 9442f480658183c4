"""Stored solutions of near-singular problems, some of each family: benchmarks/bench_truth.py."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "benchmarks" / "bench_truth.py"
spec = importlib.util.spec_from_file_location("bench_truth", FILE)
bench_truth = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench_truth)

pytestmark = [
    pytest.mark.rounding,
    pytest.mark.skipif(
        bench_truth.np.finfo(bench_truth.LONG).nmant < 60, reason="no extended precision here"
    ),
]


@pytest.mark.parametrize("family", bench_truth.FAMILIES)
def test_what_is_stored_is_true(family):
    total, lines = Counter(), []
    for seed in range(15):
        found, said = bench_truth.one(family, seed)
        total += found
        lines += said
    assert not lines
    assert total["warned"] == total["refused"] == 0
    assert total["rows judged by another solver"] > 1000 and total["slopes"] >= 5


def test_what_is_wrong_is_found(monkeypatch):
    """The judge is no rubber stamp: an intercept that is off by 1e-3 does not pass."""
    solve = bench_truth.weight_path

    class Off:
        def __init__(self, *args, **kwargs):
            self.path = solve(*args, **kwargs)

        def solve(self, weights):
            solution = self.path.solve(weights)
            solution._centred = solution._centred + 1e-3
            return solution

    monkeypatch.setattr(bench_truth, "weight_path", Off)
    found, lines = bench_truth.one("svc-rbf", 0)
    assert found["wrong, silent"] > 0 and lines
