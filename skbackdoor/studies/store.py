"""Results on disk: one file a cell, whole or not at all, and one process a cell."""

import errno
import json
import os
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class Store:
    """A folder of records, and the right to make one.

    The record of a cell is the file ``<key>.json``. Who makes it holds the lock (``flock``) of
    ``<key>.part``, writes there, and renames that file while it still holds the lock. So

    - a record is whole or not there, at whatever moment a process is killed;
    - the kernel frees the lock of a process that dies, and the next one starts the file anew;
    - a rename that has happened is seen by whoever gets the lock next.

    A process that is killed between the end of a cell and the rename, some hundred microseconds,
    leaves no record, and the cell runs again. After a power cut a file may be empty or cut short,
    since nothing waits for the disk: it is no record, and its cell runs again.

    On a network file system ``flock`` must reach the other machines: NFS does so since Linux
    2.6.12, unless it is mounted with ``local_lock=flock`` or ``nolock``; Lustre where it is
    mounted with ``flock``. Where it does not, two machines may both run a cell; the later record
    takes the place of the earlier, and none is half-written. Where there are no locks at all the
    first claim is an error.

    Parameters
    ----------
    folder : str or path-like
        Made, with its parents, if it is not there.
    """

    def __init__(self, folder):
        if fcntl is None:
            raise OSError("Study needs the file locks of Unix (fcntl), which this system lacks.")
        self.folder = Path(folder).expanduser()
        self.folder.mkdir(parents=True, exist_ok=True)

    def read_all(self, keys):
        """The records that there are of these keys."""
        names = set(os.listdir(self.folder))
        records = {key: self.read(key) for key in keys if f"{key}.json" in names}
        return {key: record for key, record in records.items() if record is not None}

    def read(self, key):
        """The record of a cell; None where there is none."""
        try:
            handle = os.open(self._path(key, "json"), os.O_RDONLY)  # half the time of open()
        except FileNotFoundError:
            return None
        try:
            return json.loads(os.read(handle, os.fstat(handle).st_size).decode())
        except ValueError:  # a power cut left it
            return None
        finally:
            os.close(handle)

    @contextmanager
    def claim(self, key):
        """The right to make the record of a cell: a function that writes it.

        None where another process, or thread, has it. Whoever has it reads the record first: it
        may have been made in the meantime.
        """
        path = self._path(key, "part")
        handle = self._locked(path)
        if handle is None:
            yield None
            return
        written = False

        def write(record):
            nonlocal written
            os.ftruncate(handle, 0)  # what a killed process left
            data = json.dumps(record, separators=(",", ":")).encode()
            while data:
                data = data[os.write(handle, data) :]
            os.rename(path, self._path(key, "json"))
            written = True

        try:
            yield write
        finally:
            if not written:
                os.unlink(path)  # before the lock is freed: it is still ours
            os.close(handle)

    def _locked(self, path):
        """A locked file at a path, or None where somebody else holds it."""
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its last holder may have renamed or removed it since it was opened.
                if os.fstat(handle).st_ino == os.stat(path).st_ino:
                    return handle
            except FileNotFoundError:
                pass
            except OSError as error:
                os.close(handle)
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    return None
                raise OSError(
                    f"{path} cannot be locked ({error}): store={str(self.folder)!r} must be on a"
                    " file system with flock."
                ) from error
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)

    def _path(self, key, suffix):
        return f"{self.folder}/{key}.{suffix}"
