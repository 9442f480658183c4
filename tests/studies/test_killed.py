"""kill -9 at random moments, two processes at once, a worker of a cluster that dies."""

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import joblib
import numpy as np
import pytest
from killed_study import N_CELLS, study

pytest.importorskip("pandas")


def started(folder):
    """A process that runs the study; forked, so that it is at its cells at once."""
    process = get_context("fork").Process(target=study(folder).run)
    process.start()
    return process


def finish(processes):
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]


def check_each_cell_ran_once(folder, frame, killed):
    """Against the log of the cells themselves.

    A cell may have run to its end without a record only as the last act of a process that was
    killed: after the end, and before the rename.
    """
    assert frame.number.tolist() == list(range(N_CELLS)) and frame.error.isna().all()
    assert frame.token.nunique() == N_CELLS  # none doubled
    lines = [line.split() for line in (folder / "log").read_text().splitlines()]
    kept = set(frame.token)
    last = {pid: token for _, pid, _, _, token in lines}
    ended = [(number, pid, token) for _, pid, what, number, token in lines if what == "end"]
    assert kept <= {token for _, _, token in ended}
    for number, pid, token in ended:
        assert token in kept or (int(pid) in killed and last[pid] == token), number
    spans = {}
    for at, pid, what, number, token in lines:
        span = spans.setdefault(token, [int(number), int(at), None, int(pid)])
        if what == "end":
            span[2] = int(at)
    runs = Counter(number for number, *_ in spans.values())
    assert set(runs) == set(range(N_CELLS))
    unfinished = [span for span in spans.values() if span[2] is None]
    assert all(pid in killed for *_, pid in unfinished)
    whole = sorted(span[:3] for span in spans.values() if span[2] is not None)
    for (number, _, end, *_), (follows, begin, *_) in zip(whole, whole[1:]):
        assert number != follows or begin > end  # never two at a time
    store = list((folder / "store").iterdir())
    assert len(store) == N_CELLS  # no claim and no half of a file is left
    for file in store:
        record = json.loads(file.read_text())
        assert len(record["results"][0]["filler"]) == 5000
    return len(unfinished)


def test_two_processes_killed_ten_times(tmp_path):
    rng, killed = np.random.default_rng(), set()
    processes = [started(tmp_path), started(tmp_path)]
    for _ in range(10):
        time.sleep(rng.uniform(0.0, 0.15))
        which = int(rng.integers(2))
        processes[which].kill()
        processes[which].join()
        assert processes[which].exitcode == -signal.SIGKILL  # it was at work
        killed.add(processes[which].pid)
        processes[which] = started(tmp_path)
    finish(processes)
    assert study(tmp_path).left() == []
    n_interrupted = check_each_cell_ran_once(tmp_path, study(tmp_path).run(), killed)
    assert n_interrupted > 0


def test_two_processes_share_the_cells(tmp_path):
    finish([started(tmp_path), started(tmp_path)])
    check_each_cell_ran_once(tmp_path, study(tmp_path).results(), set())
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert len(lines) == 2 * N_CELLS  # exactly once, without a kill
    assert len({pid for _, pid, *_ in lines}) == 2


@pytest.mark.slow
def test_workers_of_a_dask_cluster_one_of_which_is_killed(tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra [dask]")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    killed = set()

    def kill_one(pids):
        log = tmp_path / "log"
        while not log.exists() or log.read_text().count(f" {pids[0]} end") < 5:
            time.sleep(0.02)
        os.kill(pids[0], signal.SIGKILL)
        killed.add(pids[0])

    with cluster, distributed.Client(cluster) as client:
        client.run(sys.path.insert, 0, str(Path(__file__).parent))
        pids = list(client.run(os.getpid).values())
        killer = threading.Thread(target=kill_one, args=(pids,))
        killer.start()
        with joblib.parallel_config(backend="dask"):
            frame = study(tmp_path, seconds=0.02).run(n_jobs=2)
        killer.join()
    assert killed
    check_each_cell_ran_once(tmp_path, frame, killed)
    assert f" {pids[1]} end" in (tmp_path / "log").read_text()  # the cluster did it


@pytest.mark.slow
def test_workers_of_ray(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.print", print)  # which Ray replaces
    ray = pytest.importorskip("ray", reason="needs Ray")
    from ray.util.joblib import register_ray

    here = str(Path(__file__).parent)
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR",
             runtime_env={"env_vars": {"PYTHONPATH": here}})  # fmt: skip
    try:
        register_ray()
        with joblib.parallel_config(backend="ray"):
            frame = study(tmp_path).run(n_jobs=2)
    finally:
        ray.shutdown()
    check_each_cell_ran_once(tmp_path, frame, set())
    pids = {line.split()[1] for line in (tmp_path / "log").read_text().splitlines()}
    assert len(pids) == 2 and str(os.getpid()) not in pids
