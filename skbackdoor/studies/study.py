"""A grid of experiments, each run once and kept."""

import inspect
import time
import traceback
import warnings
from functools import partial
from hashlib import sha256
from numbers import Number, Real

import numpy as np
from joblib import Parallel, delayed, hash
from joblib.parallel import get_active_backend
from scipy.stats import t as student_t
from sklearn.model_selection import ParameterGrid
from sklearn.utils import check_scalar

from ..progress import progress
from .store import Store

_OWN = ("seconds", "error")


class Study:
    """Run a function on every cell of a grid, once, and keep what it returned.

    A study that is stopped, or killed at any moment, goes on where it was: :meth:`run` runs only
    cells that the store lacks. Several processes, and machines that share a file system with
    locks, may run one study at once; each cell is then run by one of them.

    A cell is told by the hash of its parameters, of the source of the function (of its bytecode,
    where it has no source), of the version of skbackdoor and of the data that
    :func:`functools.partial`, a closure or default arguments bind to the function. Arrays,
    estimators and other objects count by their content. What the function reads itself and the
    functions that it calls are not seen: bind what they depend on (the check sum of a file, a
    version of your own), or begin another store.

    Parameters
    ----------
    cell : callable
        ``cell(**parameters)`` returns a dict of numbers and strings; or a list of such dicts,
        where one computation has several rows. A function, or a partial of one.
    grid : dict or list of dicts
        The parameters, as for :class:`~sklearn.model_selection.ParameterGrid`.
    store : str or path-like
        A folder, made if it is not there: one JSON file a cell. Studies may share one.

    Raises
    ------
    TypeError
        `cell` is no function, or it, its data or a parameter cannot be hashed by content.
    ValueError
        A parameter is called ``"seconds"`` or ``"error"``.
    OSError
        There are no file locks: Windows, or at the first cell a file system without them.

    See Also
    --------
    slope_grid : Slopes over a grid, with what its cells have in common computed once.

    Notes
    -----
    A record is written under another name, locked (``flock``), and renamed when it is whole; the
    kernel frees the lock of a process that dies. ``joblib.Memory`` keeps results as well, but two
    processes compute the same call twice, a changed function loses all earlier results, and errors
    are not kept.

    Where cells run is joblib's choice: processes of this machine; a cluster with
    ``joblib.parallel_config(backend="dask")``, also where a worker dies in the middle; Ray after
    ``ray.util.joblib.register_ray()`` with ``backend="ray"``. The workers of a cluster must see
    the folder. With several processes a machine limit BLAS to one thread in each.

    Examples
    --------
    >>> from functools import partial
    >>> from tempfile import TemporaryDirectory
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, PatchTrigger, Study, evaluate_attack, load_digits_pair)
    >>> def cell(C, size, seed, X, y):
    ...     trigger = PatchTrigger(size, image_shape=(8, 8))
    ...     poisoner = BackdoorPoisoner(SVC(C=C), trigger, target="next", random_state=seed)
    ...     result = evaluate_attack(poisoner, X[::2], y[::2], X[1::2], y[1::2])
    ...     return {"success": result.attack_success_rate, "base": result.base_rate}
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> with TemporaryDirectory() as store:
    ...     grid = {"C": [0.01, 1.0], "size": [1, 3], "seed": [0, 1, 2]}
    ...     study = Study(partial(cell, X=X, y=y), grid, store=store)
    ...     frame = study.run()
    ...     table = study.repeats()
    >>> list(frame)
    ['C', 'seed', 'size', 'success', 'base', 'seconds', 'error']
    >>> frame.shape, table.shape
    ((12, 7), (4, 12))
    """

    def __init__(self, cell, grid, *, store):
        self.cell = cell
        self.grid = grid
        self.store = store
        self._store = Store(store)
        code = _code(cell)
        self._settings = list(ParameterGrid(grid))
        self._keys = [_key(code, parameters) for parameters in self._settings]

    def run(self, n_jobs=None, *, retry_failed=False):
        """Run the cells that the store lacks.

        Cells that another process is running are waited for, and taken over where it dies.

        Parameters
        ----------
        n_jobs : int, default=None
            Cells at a time, through joblib.
        retry_failed : bool, default=False
            Whether cells that raised an error run again. Else their error stands in the table.

        Returns
        -------
        frame : pandas.DataFrame
            As :meth:`results`.

        Warns
        -----
        UserWarning
            Some cells failed.
        """
        records = self._store.read_all(self._keys)
        seen = {key: _stamp(records.get(key)) for key in self._keys}
        left = {
            key: parameters
            for key, parameters in self._cells().items()
            if key not in records or (retry_failed and records[key]["error"])
        }
        finished = self._finished(left, seen, n_jobs)
        records.update(progress(finished, len(left), f"{self._store.folder.name}: cells"))
        failed = sum(bool(record["error"]) for record in records.values())
        if failed:
            warnings.warn(
                f"{failed} of {len(records)} cells failed: see column error, and"
                " run(retry_failed=True) when its cause is gone.",
                stacklevel=2,
            )
        return self._frame(records)

    def results(self):
        """What the store has, without running anything.

        Returns
        -------
        frame : pandas.DataFrame
            One row a finished cell, in the order of the grid, settings that stand there twice
            only once: its parameters, what it returned (NaN where it failed), ``seconds`` that it
            took, and ``error``, None or what it raised. The whole traceback is in its file. A cell
            that returned a list has a row for every dict, each with the seconds of the whole cell.
        """
        return self._frame(self._store.read_all(self._keys))

    def left(self):
        """Parameters of the cells that have not been run, in the order of the grid.

        Returns
        -------
        settings : list of dict
        """
        there, cells = self._store.read_all(self._keys), self._cells()
        return [parameters for key, parameters in cells.items() if key not in there]

    def repeats(self, over="seed", *, by=(), confidence=0.95):
        """Means over repeats, with confidence intervals.

        Student's t interval of a mean, ``mean -+ t * s / sqrt(n)``, whose error is that of drawing
        the repeats anew. It may reach beyond 0 and 1 for shares.

        Parameters
        ----------
        over : str, default="seed"
            The parameter that only repeats.
        by : sequence of str, default=()
            Results that tell the rows of one cell apart, where cells return lists.
        confidence : float, default=0.95
            Coverage of the intervals.

        Returns
        -------
        frame : pandas.DataFrame
            A row for each setting of the other parameters: these, `by`, ``n_repeats``, and of
            every result that is a number its mean, ``<name>_low`` and ``<name>_high``; NaN where
            there is one repeat only, or a result is NaN. Failed cells are not counted.

        Raises
        ------
        ValueError
            `over` is no parameter of the grid, or `by` no result; rows of one repeat are not told
            apart by `by`.
        """
        import pandas as pd

        check_scalar(confidence, "confidence", Real, min_val=0, max_val=1,
                     include_boundaries="neither")  # fmt: skip
        parameters = self._parameter_names()
        frame = self.results()
        frame = frame[frame["error"].isna()]
        if over not in parameters:
            raise ValueError(f"over={over!r} is no parameter of the grid: {parameters}.")
        if missing := [name for name in by if name not in frame]:
            raise ValueError(f"by={list(by)} holds {missing}, which no cell returned.")
        names = [name for name in parameters if name != over] + list(by)
        results = [
            name
            for name in frame
            if name not in (*parameters, *by, "error")
            and all(isinstance(value, Number) for value in frame[name].dropna())
        ]
        groups = {}
        for row in frame.to_dict("records"):
            groups.setdefault(_text([row[name] for name in names]), []).append(row)
        rows = []
        for group in groups.values():
            repeats = [_text(row[over]) for row in group]
            if len(set(repeats)) < len(repeats):
                raise ValueError(
                    f"repeats over {over!r} meet several rows of the same cell: name in by= the"
                    " results that tell them apart."
                )
            row = {name: group[0][name] for name in names} | {"n_repeats": len(group)}
            for name in results:
                values = np.array([member[name] for member in group], dtype=float)
                mean, low, high = _interval(values, confidence)
                row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
            rows.append(row)
        return pd.DataFrame(rows)

    def _finished(self, left, seen, n_jobs):
        """Keys and records of cells, as they are there."""
        while left:
            how = "generator_unordered"
            if not getattr(get_active_backend()[0], "supports_return_generator", False):
                how = "list"
            records = Parallel(n_jobs=n_jobs, return_as=how)(
                delayed(_run_cell)(self.cell, self._store, key, parameters, seen[key])
                for key, parameters in left.items()
            )
            left = dict(left)
            for key, record in records:
                if record is not None:
                    del left[key]
                    yield key, record
            if left:  # others are at them
                time.sleep(0.2)

    def _cells(self):
        """Parameters by key: what stands twice in the grid is one cell."""
        return dict(zip(self._keys, self._settings, strict=True))

    def _parameter_names(self):
        return list(dict.fromkeys(name for parameters in self._settings for name in parameters))

    def _frame(self, records):
        import pandas as pd

        rows = []
        for key, parameters in self._cells().items():
            if key in records:
                record = records[key]
                own = {name: record[name] for name in _OWN}
                rows += [parameters | result | own for result in record["results"] or [{}]]
        results = dict.fromkeys(name for row in rows for name in row)
        columns = dict.fromkeys([*self._parameter_names(), *results])
        frame = pd.DataFrame(rows, columns=[*(c for c in columns if c not in _OWN), *_OWN])
        return frame.astype({"error": object}).replace({"error": {np.nan: None}})


def _run_cell(cell, store, key, parameters, seen):
    """Key and record of a cell, run unless its record is there; None where another runs it."""
    with store.claim(key) as write:
        if write is None:
            return key, None
        record = store.read(key)
        if _stamp(record) == seen:  # no other has run it since
            record = _measured(cell, parameters)
            write(record)
    return key, record


def _stamp(record):
    """What tells a record from the one of another run."""
    return None if record is None else record["finished"]


def _measured(cell, parameters):
    """The record of a cell that is run now."""
    results, error, trace = [], None, None
    start = time.perf_counter()
    try:
        results = _checked(cell(**parameters), parameters)
    except Exception as exception:
        error = "".join(traceback.format_exception_only(exception)).strip()
        trace = traceback.format_exc()
    seconds = time.perf_counter() - start
    shown = {name: _plain(value, repr) for name, value in parameters.items()}
    record = {"parameters": shown, "results": results, "seconds": seconds, "error": error}
    return record | ({"traceback": trace} if trace else {}) | {"finished": time.time_ns()}


def _checked(returned, parameters):
    """Rows of numbers and strings, as JSON has them."""
    rows = returned if isinstance(returned, list) else [returned]
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise TypeError(f"cell must return a dict, or a list of dicts; it returned {returned!r}.")
    checked = []
    for row in rows:
        if taken := [name for name in row if name in (*parameters, *_OWN)]:
            raise ValueError(f"cell returned {taken}, which are columns already: rename them.")
        checked.append({})
        for name, value in row.items():
            value = _plain(value, lambda other: other)
            if not isinstance(name, str) or not isinstance(value, bool | int | float | str):
                raise TypeError(
                    f"cell must return numbers and strings by name; {name!r} is {value!r}."
                )
            checked[-1][name] = value
    return checked


def _plain(value, other):
    """A number, string or None as JSON has it; what `other` makes of anything else."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    return other(value)


def _key(code, parameters):
    """The name of a cell."""
    if taken := [name for name in parameters if name in _OWN]:
        raise ValueError(f"grid has the parameters {taken}, which are columns: rename them.")
    identity = {name: _plain(value, partial(_content, name)) for name, value in parameters.items()}
    return sha256(repr((code, sorted(identity.items()))).encode()).hexdigest()[:32]


def _code(cell):
    """Hash of a function: its source, the package, and the data that it is bound to."""
    from .. import __version__

    bound = []
    if isinstance(cell, partial):
        bound, cell = [cell.args, cell.keywords], cell.func
    if not inspect.isfunction(cell):
        raise TypeError(f"cell={cell!r} must be a function, or a functools.partial of one.")
    try:
        source = inspect.getsource(cell)
    except OSError:  # typed at a prompt, or given by python -c
        source = _bytecode(cell.__code__)
    closed = [variable.cell_contents for variable in cell.__closure__ or ()]
    closed = [_code(value) if inspect.isfunction(value) else value for value in closed]
    bound += [closed, cell.__defaults__, cell.__kwdefaults__]
    return _content("cell", [source, __version__, *bound])[1]


def _bytecode(code):
    """What a function does, where there is no source; another one in another Python."""
    constants = [
        _bytecode(value)
        if hasattr(value, "co_code")
        else set(value)  # whose order joblib does not depend on
        if isinstance(value, frozenset)
        else value
        for value in code.co_consts
    ]
    return code.co_code, code.co_names, code.co_varnames, constants


def _content(name, value):
    try:
        return "content", hash(value)
    except Exception as error:  # whatever pickling this object raises
        raise TypeError(
            f"{name} holds what cannot be hashed by its content ({error}): build it in the cell."
        ) from error


def _text(value):
    """What is equal for equal parameters, of any kind."""
    return repr(_plain(value, partial(_content, "a parameter")))


def _interval(values, confidence):
    """Mean and Student's t interval."""
    mean, n = values.mean(), len(values)
    if n < 2:
        return mean, np.nan, np.nan
    half = student_t.ppf((1 + confidence) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half
