"""CIFAR-10: shapes, repeatability, and an archive that is not there, damaged or malicious."""

import io
import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from made_up_archives import write_tar

from skbackdoor.datasets import fetch_cifar10


def offline(*args, **params):
    raise URLError("no route to host")


class Python2Pickler(pickle._Pickler):
    """Writes bytes as the str of Python 2, by which the published batches were made."""

    dispatch = pickle._Pickler.dispatch | {
        bytes: lambda self, data: self.write(
            pickle.BINSTRING + struct.pack("<i", len(data)) + data
        )
    }


def pickled(content):
    file = io.BytesIO()
    Python2Pickler(file, 2).dump(content)
    return file.getvalue().replace(b"numpy._core", b"numpy.core")


def write_cifar10(path, **changes):
    """Six batches of ten images: all pixels of image i of batch b are 10 b + i, its class is i.

    Only the first pixel of the blue channel is 255.
    """
    members = {"batches.meta": pickled({b"label_names": [b"class %d" % i for i in range(10)]})}
    for b, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        data = np.repeat(10 * b + np.arange(10, dtype=np.uint8)[:, None], 3072, axis=1)
        data[:, 2048] = 255
        members[name] = pickled({b"data": data, b"labels": list(range(10))})
    members = {f"cifar-10-batches-py/{name}": data for name, data in (members | changes).items()}
    return write_tar(path, members)


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """A small archive that is downloaded from a file."""
    record = write_cifar10(tmp_path / "cifar-10-python.tar.gz")
    monkeypatch.setattr("skbackdoor.datasets.cifar10._CIFAR10", record)
    return tmp_path / "cifar-10-python.tar.gz"


def test_cifar10(cifar10, tmp_path):
    home = tmp_path / "home"
    whole = fetch_cifar10(data_home=home)
    assert whole.X_train.shape == (50, 3, 32, 32) and whole.X_test.shape == (10, 3, 32, 32)
    assert whole.X_train.dtype == np.uint8 and whole.image_shape == (3, 32, 32)
    np.testing.assert_array_equal(whole.X_train[:, 0, 0, 0], np.arange(50))
    np.testing.assert_array_equal(whole.X_test[:, 0, 0, 0], 50 + np.arange(10))
    assert (whole.X_train[:, 2, 0, 0] == 255).all() and (whole.X_train[:, 2] == 255).sum() == 50
    assert whole.class_names[6] == "class 6" and whole.target_names == list(range(10))

    cifar10.unlink()  # from here on there is only the copy in the data home
    part = fetch_cifar10((6, 0), 4, 2, data_home=home, download_if_missing=False)
    assert set(part.y_train) == {0, 6} and part.target_names == [0, 6]
    gray = part.X_train[:, 0, 0, 0]
    assert len(set(gray)) == 4 and (gray % 10 == part.y_train).all()
    again = fetch_cifar10((6, 0), 4, 2, path=home / cifar10.name, return_X_y=True)
    for name, array in zip(("X_train", "y_train", "X_test", "y_test"), again):
        np.testing.assert_array_equal(array, part[name])


def test_cifar10_that_is_not_there(cifar10, tmp_path, monkeypatch):
    with pytest.raises(OSError, match="download_if_missing=False.*path="):
        fetch_cifar10(data_home=tmp_path / "home", download_if_missing=False)
    with pytest.raises(ValueError, match=r"classes=\(6, 6\) must be different classes"):
        fetch_cifar10((6, 6), data_home=tmp_path / "home")
    with pytest.raises(ValueError, match=r"n_train=51 is more than the 50 samples of classes"):
        fetch_cifar10(None, 51, data_home=tmp_path / "home")
    monkeypatch.setattr("skbackdoor.datasets.archives.fetch_file", offline)
    with pytest.raises(OSError, match="CIFAR-10 could not be downloaded.*no route.*path="):
        fetch_cifar10(data_home=tmp_path / "other")


class Malice:
    def __reduce__(self):
        return Path.touch, (Path("malice"),)


def test_cifar10_that_is_damaged(cifar10, tmp_path, monkeypatch):
    other = tmp_path / "other.tar.gz"
    url, md5 = write_cifar10(other, test_batch=pickle.dumps(Malice()))
    with pytest.raises(ValueError, match="other.tar.gz has the md5 sum .* fetch it again"):
        fetch_cifar10(path=other)
    monkeypatch.setattr("skbackdoor.datasets.cifar10._CIFAR10", (url, md5))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError, match="touch|pathlib|getattr"):
        fetch_cifar10(path=other)
    assert not Path("malice").exists()
