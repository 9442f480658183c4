"""A study whose cells say in a log when they ran.

Cells log when they begin and when they are about to return, and return a token of their own.
"""

import os
import time
import uuid
from functools import partial
from pathlib import Path

N_CELLS = 200


def cell(number, seconds, log):
    token = uuid.uuid4().hex
    noted(log, "begin", number, token)
    time.sleep(seconds)
    noted(log, "end", number, token)
    return {"token": token, "filler": "x" * 5000}


def noted(log, what, number, token):
    """A line in the log, at once and whole: kills do not tear a single write."""
    line = f"{time.monotonic_ns()} {os.getpid()} {what} {number} {token}\n"
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, line.encode())
    os.close(handle)


def study(folder, seconds=0.03):
    from skbackdoor.studies import Study

    # Bound by name: the log grows, and its content is no part of a cell.
    bound = partial(cell, seconds=seconds, log=str(Path(folder) / "log"))
    return Study(bound, {"number": list(range(N_CELLS))}, store=Path(folder) / "store")
