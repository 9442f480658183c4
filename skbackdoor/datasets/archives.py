"""Published archives: downloaded once, and checked by their md5 sums."""

import hashlib
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from sklearn.datasets import fetch_file, get_data_home


def downloaded_archive(name, url, data_home, download_if_missing):
    """An archive in the data home, downloaded if it is not there."""
    home = Path(get_data_home(data_home))
    archive = home / url.rpartition("/")[2]
    if not (archive.exists() or download_if_missing):
        raise OSError(
            f"{name} is not at {archive}, and download_if_missing=False: allow the download, or"
            " pass path= if it is stored elsewhere."
        )
    try:
        return fetch_file(url, folder=home)
    except OSError as error:
        raise OSError(
            f"{name} could not be downloaded from {url} ({error}). If you have a copy, pass path=."
        ) from error


def check_md5(archive, md5):
    with open(archive, "rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise ValueError(
            f"{archive} has the md5 sum {found}, and the published archive has {md5}: it is not"
            " whole, or another file. Delete it and fetch it again."
        )


def unpacked_archive(name, url, md5, folder, data_home, download_if_missing):
    """The folder that a tar or zip archive holds, unpacked in the data home."""
    home = Path(get_data_home(data_home))
    if not (home / folder).exists():
        archive = downloaded_archive(name, url, data_home, download_if_missing)
        check_md5(archive, md5)
        with TemporaryDirectory(dir=home) as unpacked:  # no half of it is ever found
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as file:
                    file.extractall(unpacked)  # which leaves out ".." and roots
            else:
                with tarfile.open(archive) as tar:
                    # Python before 3.11.4 has no filter; the archive is the published one anyway.
                    safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                    tar.extractall(unpacked, **safely)
            (Path(unpacked) / folder).rename(home / folder)
        archive.unlink()
    return home / folder
