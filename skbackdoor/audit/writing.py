"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path


def write_text(path, text):
    """Write a file under another name beside it, and rename it: no half of it is ever there.

    Parameters
    ----------
    path : str or Path
    text : str

    Raises
    ------
    OSError
        The folder is not there or cannot be written to; what was there stays.
    """
    path = Path(path)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def check_writable(path):
    """Raise before the work, not after it, where a file cannot be written.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    OSError
    """
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {str(folder)!r} is not there")
    if Path(path).is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder: name a file in it")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
