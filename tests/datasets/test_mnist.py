"""MNIST: shapes, scaling, repeatability, and where the files are looked for."""

import gzip
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch

from skbackdoor.datasets import fetch_mnist

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def small():
    """A little MNIST: image i of a part is full of i modulo 256, and its digit is i modulo 10."""

    def part(n_samples):
        gray = np.arange(n_samples, dtype=np.uint8)
        images = np.ascontiguousarray(np.broadcast_to(gray[:, None, None], (n_samples, 28, 28)))
        return images, np.arange(n_samples) % 10

    return dict(zip(("X_train", "y_train", "X_test", "y_test"), (*part(200), *part(50))))


def write_idx(path, array, opened=open):
    with opened(path, "wb") as file:
        file.write(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape))
        file.write(array.astype(np.uint8).tobytes())


IDX = {
    "X_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "X_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


@pytest.fixture(params=["npz", "npz folder", "flat npz", "idx", "idx.gz"])
def path(request, small, tmp_path):
    if request.param.startswith("idx"):
        for name, file in IDX.items():
            zipped = request.param == "idx.gz"
            file = tmp_path / (file + ".gz" * zipped)
            write_idx(file, small[name], gzip.open if zipped else open)
        return tmp_path
    arrays = dict(small)
    if request.param == "flat npz":
        arrays["X_train"] = arrays["X_train"].reshape(-1, 784)
    np.savez(tmp_path / "mnist.npz", **arrays)
    return tmp_path if request.param == "npz folder" else str(tmp_path / "mnist.npz")


def test_mnist_from_path(path, small):
    whole = fetch_mnist(None, None, None, path=path)
    assert whole.X_train.shape == (200, 784) and whole.X_test.shape == (50, 784)
    assert whole.image_shape == (28, 28) and whole.target_names == list(range(10))
    np.testing.assert_array_equal(whole.y_train, small["y_train"])
    np.testing.assert_array_equal(whole.X_train[:, 0], np.arange(200) / 255)
    assert whole.X_train.dtype == np.float64

    part = fetch_mnist(digits=(7, 1), n_train=20, n_test=5, path=path)
    assert part.X_train.shape == (20, 784) and part.X_test.shape == (5, 784)
    assert set(part.y_train) == {1, 7} and part.target_names == [1, 7]
    gray = np.rint(part.X_train[:, 0] * 255).astype(int)
    assert len(set(gray)) == 20 and (gray % 10 == part.y_train).all()  # no image twice

    again = fetch_mnist((7, 1), 20, 5, path=path, return_X_y=True)
    for name, array in zip(("X_train", "y_train", "X_test", "y_test"), again):
        np.testing.assert_array_equal(array, part[name])
    other = fetch_mnist((7, 1), 20, 5, path=path, random_state=1)
    assert (other.X_train != part.X_train).any()


def test_mnist_from_openml(monkeypatch):
    labels = np.arange(70_000) % 10
    data = np.zeros((70_000, 784), dtype=np.uint8)
    data[60_000:] = 255
    calls = []

    def fake(name, **params):
        calls.append((name, params))
        return Bunch(data=data, target=labels.astype(str).astype(object))

    monkeypatch.setattr("skbackdoor.datasets.mnist.fetch_openml", fake)
    X_train, y_train, X_test, y_test = fetch_mnist(data_home="home", return_X_y=True)
    ((name, params),) = calls
    assert name == "mnist_784" and params.pop("parser") in ("auto", "liac-arff")
    assert params == {"version": 1, "as_frame": False, "data_home": "home"}
    assert X_train.shape == (1500, 784) and X_test.shape == (500, 784)
    assert (X_train == 0).all() and (X_test == 1).all()  # the last 10,000 rows are the test set
    assert y_train.dtype.kind == "i" and set(y_train) == set(y_test) == {1, 7}


def offline(*args, **params):
    raise URLError("no route to host")


def test_mnist_offline_says_what_to_do(monkeypatch):
    monkeypatch.setattr("skbackdoor.datasets.mnist.fetch_openml", offline)
    with pytest.raises(OSError, match="no route to host.*path="):
        fetch_mnist()


def test_bad_mnist(small, tmp_path):
    with pytest.raises(TypeError, match="digits=5 must be"):
        fetch_mnist(5)
    np.savez(tmp_path / "mnist.npz", **small)
    with pytest.raises(ValueError, match=r"n_train=41 is more than the 40 .*\[1, 7\]"):
        fetch_mnist((7, 1), 41, 5, path=tmp_path)
    with pytest.raises(ValueError, match=r"n_test=11 is more than the 10"):
        fetch_mnist((7, 1), 20, 11, path=tmp_path)
    with pytest.raises(ValueError, match="n_train == 0"):
        fetch_mnist((7, 1), 0, 5, path=tmp_path)
    with pytest.raises(TypeError, match="n_test"):
        fetch_mnist((7, 1), 5, 0.5, path=tmp_path)
    for digits in ((1, 12), (3, 3), ()):
        with pytest.raises(ValueError, match="digits=.* must be different digits from 0 to 9"):
            fetch_mnist(digits, path=tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere.*looked for.*train-images"):
        fetch_mnist(path=tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match="mnist.npz.*t10k-labels-idx"):
        fetch_mnist(path=empty)
    np.savez(tmp_path / "less.npz", X_train=small["X_train"])
    with pytest.raises(ValueError, match="less.npz must be.*y_train"):
        fetch_mnist(path=tmp_path / "less.npz")
    np.save(tmp_path / "one.npy", small["X_train"])
    for junk in ("one.npy", "text.npz", "zip.npz"):
        if junk != "one.npy":
            (tmp_path / junk).write_bytes(b"PK\x03\x04 no" if junk == "zip.npz" else b"hello")
        with pytest.raises(ValueError, match=f"{junk} must be an .npz file"):
            fetch_mnist(path=tmp_path / junk)
    np.savez(tmp_path / "small.npz", **{**small, "X_test": np.zeros((50, 8, 8))})
    with pytest.raises(ValueError, match=r"X_test has shape \(50, 8, 8\).*28x28"):
        fetch_mnist(None, 5, 5, path=tmp_path / "small.npz")
    for name, file in IDX.items():
        write_idx(empty / file, small[name])
    for damage in (b"", b"\0\0\x08\x03\0\0", b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0"):
        (empty / IDX["X_test"]).write_bytes(damage)
        with pytest.raises(ValueError, match="t10k-images.*idx format"):
            fetch_mnist(path=empty)


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "mnist.npz").exists(), reason="no ../shared/data/mnist.npz")
def test_real_mnist():
    mnist = fetch_mnist(path=SHARED)
    assert mnist.X_train.shape == (1500, 784) and mnist.X_test.shape == (500, 784)
    assert mnist.X_train.max() == 1 and mnist.X_train.min() == 0
    model = LogisticRegression(C=0.1).fit(mnist.X_train, mnist.y_train)
    assert model.score(mnist.X_test, mnist.y_test) > 0.97
