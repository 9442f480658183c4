"""Published archives: downloaded once, and checked by their md5 sums."""

import hashlib
from pathlib import Path

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
