"""What a study costs beside its cells: time, files, bytes of as many cells as Characteristics has.

    python benchmarks/bench_study.py > benchmarks/results/study.md

10,800 cells that return four numbers and a string at once, in a new folder; then the same study
again, with nothing left to do. Beside it joblib.Memory, which also keeps results by arguments.
"""

import os
import platform
import shutil
import sys
import tempfile
import time
import warnings
from multiprocessing import get_context
from pathlib import Path

import joblib
from sklearn.model_selection import ParameterGrid

from skbackdoor import Study

GRID = {
    "data": ["mnist", "cifar10", "tiny"],
    "network": ["alexnet", "googlenet", "vgg19_bn", "resnet152"],
    "size": [0.04, 0.06, 0.08],
    "position": ["top-left", "top-right", "bottom-left", "bottom-right", "center"],
    "colour": ["white", "black", "green"],
    "rate": [0.005, 0.01, 0.015, 0.02],
    "seed": [0, 1, 2, 3, 4],
}
N_CELLS = len(ParameterGrid(GRID))


def cell(data, network, size, position, colour, rate, seed):
    return {"success": 0.5, "base": 0.1, "accuracy": 0.9, "drop": 0.01, "note": "none"}


def timed(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def content(folder):
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    return f"{len(sizes):,} | {sum(sizes):,}"


def row(what, seconds, folder, resumed):
    print(
        f"| {what} | {1000 * seconds / N_CELLS:.2f} | {content(folder)} | {resumed:.2f} |",
        flush=True,
    )


def studied(folder, n_jobs=None):
    return Study(cell, GRID, store=folder).run(n_jobs)


def at_once(folder):
    """Two processes on one store."""
    processes = [get_context("fork").Process(target=studied, args=(folder,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            sys.exit("a process failed")


def remembered(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # functions of __main__ share a name
        kept = joblib.Memory(folder, verbose=0).cache(cell)
        return [kept(**parameters) for parameters in ParameterGrid(GRID)]


def main():
    print(
        "`python benchmarks/bench_study.py`: what a study of 10,800 cells costs beside its cells\n"
    )
    print("| how | ms a cell | files | bytes | seconds to start again |")
    print("| --- | --- | --- | --- | --- |")
    joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(i) for i in range(4))  # workers are there
    ways = {
        "Study": studied,
        "Study, n_jobs=2": lambda folder: studied(folder, 2),
        "Study, two processes at once": at_once,
        "joblib.Memory": remembered,
    }
    for what, way in ways.items():
        folder = Path(tempfile.mkdtemp())
        try:
            seconds, _ = timed(lambda: way(folder))  # noqa: B023
            again = remembered if way is remembered else studied
            resumed = min(timed(lambda: again(folder))[0] for _ in range(3))  # noqa: B023
            row(what, seconds, folder, resumed)
        finally:
            shutil.rmtree(folder)
    load = os.getloadavg()[0]
    print(
        f"\nThe best of three starts. {os.cpu_count()} cores, load {load:.1f} at the end;"
        f" Python {platform.python_version()}, joblib {joblib.__version__}."
    )


if __name__ == "__main__":
    main()
