"""Study: cells run once, are kept, and are told apart by all that they depend on."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from functools import partial, wraps
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import ttest_1samp
from sklearn.model_selection import ParameterGrid
from sklearn.svm import SVC

from skbackdoor import Study

pd = pytest.importorskip("pandas")
GRID = {"a": [1, 2], "seed": [0, 1, 2]}


def logged(a, seed, log):
    with open(log, "a") as file:
        file.write(f"{a} {seed}\n")
    return {"product": a * seed, "kind": "even" if a % 2 == 0 else "odd"}


def fails_for_two(a, seed, log):
    if a == 2 and not Path(log).exists():
        raise ValueError(f"no {a}\nhere")
    return {"product": np.float32(a * seed), "share": np.mean([True, False]), "hit": np.bool_(1)}


def n_runs(log):
    return len(log.read_text().splitlines())


def test_rows_are_parameters_results_seconds_error(tmp_path):
    log = tmp_path / "log"
    study = Study(partial(logged, log=log), GRID, store=tmp_path / "new" / "store")
    assert study.left() == list(ParameterGrid(GRID)) and len(study.results()) == 0
    frame = study.run()
    assert list(frame) == ["a", "seed", "product", "kind", "seconds", "error"]
    assert frame[["a", "seed"]].to_dict("records") == list(ParameterGrid(GRID))
    assert (frame["product"] == frame.a * frame.seed).all() and frame.error.isna().all()
    assert set(frame.kind[frame.a == 2]) == {"even"} and (frame.seconds >= 0).all()
    assert study.left() == [] and n_runs(log) == 6
    again = Study(partial(logged, log=log), GRID, store=tmp_path / "new" / "store").run(n_jobs=2)
    pd.testing.assert_frame_equal(again, frame)
    assert n_runs(log) == 6
    files = list((tmp_path / "new" / "store").iterdir())
    assert len(files) == 6 and all(set(json.loads(f.read_text())) for f in files)


def test_a_grid_that_grows_runs_only_what_is_new(tmp_path):
    log = tmp_path / "log"
    cell = partial(logged, log=log)
    Study(cell, GRID, store=tmp_path / "store").run()
    grown = [GRID, {"a": [2, 3], "seed": [1]}]  # of these, 2, 1 is there, twice in the grid
    study = Study(cell, grown, store=tmp_path / "store")
    assert study.left() == [{"a": 3, "seed": 1}]
    frame = study.run()
    assert n_runs(log) == 7
    assert frame[["a", "seed"]].to_dict("records") == [*ParameterGrid(GRID), {"a": 3, "seed": 1}]
    assert study.repeats().n_repeats.tolist() == [3, 3, 1]


def test_failed_cells_keep_their_error_and_run_again_on_demand(tmp_path):
    log = tmp_path / "log"
    study = Study(partial(fails_for_two, log=log), GRID, store=tmp_path / "store")
    with pytest.warns(UserWarning, match=r"3 of 6 cells failed.*retry_failed=True"):
        frame = study.run()
    failed = frame.a == 2
    assert frame.error[failed].unique().tolist() == ["ValueError: no 2\nhere"]
    assert frame["product"][failed].isna().all() and frame.error[~failed].isna().all()
    assert frame.hit[~failed].all() and frame.share[~failed].tolist() == [0.5] * 3
    records = [json.loads(file.read_text()) for file in (tmp_path / "store").iterdir()]
    assert sum("in fails_for_two" in record.get("traceback", "") for record in records) == 3
    log.touch()
    with pytest.warns(UserWarning, match="3 of 6"):
        assert study.run().error.notna().sum() == 3
    assert study.run(retry_failed=True).error.isna().all()


def test_settings_that_look_alike_are_told_apart(tmp_path):
    values = [1, 1.0, True, "1", None, "None", (1,), [1], SVC(C=1), SVC(C=2), np.arange(2000)]
    other = np.arange(2000)
    other[1000] = 0  # beyond what repr shows

    def cell(value, log):
        return {"type": type(value).__name__}

    grid = {"value": [*values, other]}
    frame = Study(partial(cell, log=tmp_path), grid, store=tmp_path / "store").run()
    assert frame.type.tolist() == [type(value).__name__ for value in grid["value"]]
    assert len(list((tmp_path / "store").iterdir())) == len(grid["value"])
    same = Study(partial(cell, log=tmp_path), {"value": np.array([1])}, store=tmp_path / "store")
    assert same.left() == []  # the integer 1


def test_code_and_data_are_part_of_a_cell(tmp_path, monkeypatch):
    def bound(seed, X):
        return {"sum": X.sum() + seed}

    def other(seed, X):
        return {"sum": X.sum() + seed + 0}

    def closed(offset):
        def cell(seed, X, more=offset):
            return {"sum": X.sum() + offset}

        return cell

    def decorated(function):
        @wraps(function)
        def cell(**parameters):
            return function(**parameters)

        return cell

    X = np.ones(3)
    cells = [
        partial(bound, X=X), partial(bound, X=2 * X), partial(other, X=X), partial(closed(1), X=X),
        partial(closed(2), X=X), partial(decorated(bound), X=X), partial(decorated(other), X=X),
    ]  # fmt: skip
    for i, cell in enumerate(cells):
        assert len(Study(cell, {"seed": [0, 1]}, store=tmp_path).left()) == 2, i
        Study(cell, {"seed": [0, 1]}, store=tmp_path).run()
    assert Study(partial(bound, X=np.ones(3)), {"seed": [0, 1]}, store=tmp_path).left() == []
    monkeypatch.setattr("skbackdoor.__version__", "another")
    assert len(Study(cells[0], {"seed": [0, 1]}, store=tmp_path).left()) == 2


def test_a_list_gives_a_row_for_each_dict(tmp_path):
    def curve(a, seed):
        return [{"beta": beta, "loss": a * beta + seed} for beta in (0.0, 1.0)]

    study = Study(curve, GRID, store=tmp_path)
    frame = study.run()
    assert len(frame) == 12 and frame.beta.tolist() == [0.0, 1.0] * 6
    with pytest.raises(ValueError, match="by= the results that tell them apart"):
        study.repeats()
    table = study.repeats(by=["beta"])
    assert table[["a", "beta", "n_repeats", "loss"]].to_numpy().tolist() == [
        [1, 0, 3, 1], [1, 1, 3, 2], [2, 0, 3, 1], [2, 1, 3, 3],
    ]  # fmt: skip


def test_intervals_are_those_of_the_t_test(tmp_path):
    def cell(a, seed, name):
        if seed == 3 and a == 2:
            raise RuntimeError
        return {"x": a * np.random.RandomState(seed).randn(), "kind": name, "none": np.nan}

    grid = {"a": [1, 2], "seed": [0, 1, 2, 3], "name": ["n"]}
    study = Study(cell, grid, store=tmp_path)
    with pytest.warns(UserWarning, match="1 of 8 cells failed"):
        frame = study.run()
    table = study.repeats(confidence=0.9)
    assert table.n_repeats.tolist() == [4, 3] and table.none.isna().all()
    for a, row in zip((1, 2), table.to_dict("records")):
        values = frame.x[(frame.a == a) & frame.error.isna()]
        interval = ttest_1samp(values, 0).confidence_interval(0.9)
        assert_allclose([row["x"], row["x_low"], row["x_high"]], [values.mean(), *interval])
    one = study.repeats("a")[["seed", "n_repeats", "x_low"]]
    assert one.n_repeats.tolist() == [2, 2, 2, 1] and np.isnan(one.x_low[3])
    with pytest.raises(ValueError, match="over='repeat' is no parameter.*'a', 'name', 'seed'"):
        study.repeats("repeat")
    with pytest.raises(ValueError, match=r"holds \['beta'\]"):
        study.repeats(by=["beta"])


@pytest.mark.parametrize(
    "returned, message",
    [
        (3, "TypeError: cell must return a dict.*returned 3"),
        ([], "TypeError: cell must return a dict"),
        ({"x": [1]}, r"TypeError: .*numbers and strings by name; 'x' is \[1\]"),
        ({1: 2}, "TypeError: .*numbers and strings by name; 1 is 2"),
        ({"a": 2}, r"ValueError: cell returned \['a'\], which are columns already"),
        ({"error": 2}, r"ValueError: cell returned \['error'\]"),
    ],
)
def test_what_a_cell_must_not_return(tmp_path, returned, message):
    def cell(a, returned):
        return returned

    with pytest.warns(UserWarning, match="1 of 1 cells failed"):
        frame = Study(partial(cell, returned=returned), {"a": [1]}, store=tmp_path).run()
    assert re.match(message, frame.error[0])


def test_what_is_no_study(tmp_path):
    def cell(a=1, seconds=1):
        return {}

    with pytest.raises(TypeError, match=r"cell=SVC\(\) must be a function"):
        Study(SVC(), {"C": [1]}, store=tmp_path)
    with pytest.raises(ValueError, match=r"parameters \['seconds'\], which are columns"):
        Study(cell, {"seconds": [1]}, store=tmp_path)
    with pytest.raises(TypeError, match="a holds what cannot be hashed.*build it in the cell"):
        Study(cell, {"a": [threading.Lock()]}, store=tmp_path)


def test_functions_without_source(tmp_path):
    """The same in every process, whatever the order of sets there."""
    script = """
from skbackdoor import Study
def cell(a, inner=None):
    known = lambda name: name in {"one", "two", "three", "four"}
    return {"x": FACTOR * a + known("two")}
study = Study(cell, {"a": [1, 2]}, store=STORE)
print(len(study.left()), study.run().x.tolist())
"""

    def started(factor, seed):
        text = script.replace("FACTOR", str(factor)).replace("STORE", repr(str(tmp_path)))
        done = subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
        )  # fmt: skip
        return done.stdout.split(" ", 1)

    assert started(1, 0) == ["2", "[2, 3]\n"]
    assert started(1, 1) == ["0", "[2, 3]\n"]
    assert started(5, 1) == ["2", "[6, 11]\n"]


def test_a_record_cut_short_is_none(tmp_path):
    log = tmp_path / "log"
    study = Study(partial(logged, log=log), GRID, store=tmp_path / "store")
    whole = study.run()
    files = sorted((tmp_path / "store").iterdir())
    files[0].write_text("")
    files[1].write_text(files[1].read_text()[:-1])
    assert len(study.results()) == 4 and len(study.left()) == 2
    again = study.run()
    assert n_runs(log) == 8
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), whole.drop(columns="seconds"))


def test_a_cell_is_waited_for_or_taken_over(tmp_path):
    """A thread stands for another process: locks are those of open files."""

    def slow(a, log):
        with open(log, "a") as file:
            file.write("begun\n")
        time.sleep(0.5)
        return {"x": a}

    log = tmp_path / "log"
    study = Study(partial(slow, log=log), {"a": [1]}, store=tmp_path / "store")
    other = threading.Thread(target=study.run)
    other.start()
    while not log.exists():
        time.sleep(0.01)
    assert study.run().x.tolist() == [1] and n_runs(log) == 1
    other.join()
    assert not list((tmp_path / "store").glob("*.part"))


def test_an_interrupted_cell_leaves_nothing(tmp_path):
    def cell(a):
        raise KeyboardInterrupt

    study = Study(cell, {"a": [1]}, store=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        study.run()
    assert list(tmp_path.iterdir()) == []
