"""Data sets: shapes, scaling, repeatability, and where the files are looked for."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch

from skbackdoor import datasets
from skbackdoor.datasets import (
    fetch_cifar10,
    fetch_imagenette,
    fetch_mnist,
    load_digits_pair,
    make_backdoor_classification,
)

SHARED = Path(__file__).parents[2] / "shared" / "data"


# --------------------------------------------------------------------------- digits


def test_load_digits_pair():
    bunch = load_digits_pair()
    assert set(bunch.target) == {1, 7} and bunch.target_names == [1, 7]
    assert bunch.data.shape == (len(bunch.target), 64) and bunch.data.dtype == np.float64
    assert bunch.data.min() == 0 and bunch.data.max() == 1
    assert bunch.image_shape == (8, 8) and len(bunch.feature_names) == 64
    np.testing.assert_array_equal(bunch.images.reshape(-1, 64), bunch.data)
    X, y = load_digits_pair((1, 7), return_X_y=True)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)
    whole = load_digits()
    np.testing.assert_array_equal(X * 16, whole.data[np.isin(whole.target, (1, 7))])


@pytest.mark.parametrize("digits", [(1,), (1, 1), (1, 2, 3), (1, 10), (-1, 2), (0.5, 1), ()])
def test_bad_digits(digits):
    with pytest.raises(ValueError, match=r"digits=.* must be 2 digits from 0 to 9"):
        load_digits_pair(digits)


def test_bad_digits_type():
    with pytest.raises(TypeError, match="digits=3 must be"):
        load_digits_pair(3)
    with pytest.raises(TypeError, match="digits=5 must be"):
        fetch_mnist(5)


# --------------------------------------------------------------------------- mnist


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

    monkeypatch.setattr(datasets, "fetch_openml", fake)
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
    monkeypatch.setattr(datasets, "fetch_openml", offline)
    with pytest.raises(OSError, match="no route to host.*path="):
        fetch_mnist()


def test_bad_mnist(small, tmp_path):
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


# --------------------------------------------------------------------------- cifar10


class Python2Pickler(pickle._Pickler):
    """Writes bytes as the str of Python 2, by which the published batches were made."""

    dispatch = pickle._Pickler.dispatch | {
        bytes: lambda self, data: self.write(
            pickle.BINSTRING + struct.pack("<i", len(data)) + data
        )
    }


def write_tar(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return f"file://localhost{path}", hashlib.md5(path.read_bytes()).hexdigest()


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
    monkeypatch.setattr(datasets, "_CIFAR10", record)
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
    monkeypatch.setattr(datasets, "fetch_file", offline)
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
    monkeypatch.setattr(datasets, "_CIFAR10", (url, md5))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError, match="touch|pathlib|getattr"):
        fetch_cifar10(path=other)
    assert not Path("malice").exists()


# --------------------------------------------------------------------------- imagenette


def jpeg(width, height, colour):
    file = io.BytesIO()
    pytest.importorskip("PIL.Image").new("RGB", (width, height), colour).save(file, "JPEG")
    return file.getvalue()


def imagenette_members(root, sides=(20, 30)):
    """Two photographs a class, upright and lying, to train on, one grey one to test.

    Their red is 10 times the class.
    """
    small, large = sides
    members = {}
    for i, wnid in enumerate(datasets._IMAGENETTE_CLASSES):
        for k, size in enumerate(((small, large), (large, small))):
            members[f"{root}/train/{wnid}/{k}.JPEG"] = jpeg(*size, (10 * i, 0, 200))
        members[f"{root}/val/{wnid}/0.JPEG"] = jpeg(small, small, (10 * i,) * 3)
    return members


@pytest.fixture
def imagenette(tmp_path, monkeypatch):
    archive = tmp_path / "imagenette2-160.tgz"
    record = write_tar(archive, imagenette_members("imagenette2-160"))
    monkeypatch.setattr(datasets, "_IMAGENETTE", {160: record})
    return archive


def test_imagenette(imagenette, tmp_path):
    home = tmp_path / "home"
    whole = fetch_imagenette(image_size=16, data_home=home)
    assert whole.X_train.shape == (20, 3, 16, 16) and whole.X_test.shape == (10, 3, 16, 16)
    assert whole.X_train.dtype == np.uint8 and whole.image_shape == (3, 16, 16)
    np.testing.assert_array_equal(whole.y_train, np.repeat(np.arange(10), 2))
    means = whole.X_train.mean(axis=(2, 3))
    np.testing.assert_allclose(means[:, 0], 10 * whole.y_train, atol=4)  # JPEG
    np.testing.assert_allclose(means[:, 2], 200, atol=4)
    assert whole.class_names[6] == "garbage truck" and whole.target_names == list(range(10))
    assert [path.name for path in home.iterdir()] == ["imagenette2-160"]  # no archive, no rest

    imagenette.unlink()
    part = fetch_imagenette((6, 0), 3, 1, data_home=home, download_if_missing=False)
    assert part.X_train.shape == (3, 3, 160, 160) and set(part.y_train) == {0, 6}
    again = fetch_imagenette((6, 0), 3, 1, path=home / "imagenette2-160", return_X_y=True)
    for name, array in zip(("X_train", "y_train", "X_test", "y_test"), again):
        np.testing.assert_array_equal(array, part[name])


def test_the_middle_square_is_taken(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.zeros((8, 24, 3), dtype=np.uint8)
    pixels[:, 8:16] = 255
    for part in ("train", "val"):
        folder = tmp_path / part / "n01440764"
        folder.mkdir(parents=True)
        image.fromarray(pixels).save(folder / "0.JPEG", quality=100)
    X, _, _, _ = fetch_imagenette([0], image_size=8, path=tmp_path, return_X_y=True)
    assert X.min() > 250


def test_imagenette_that_is_not_there(imagenette, tmp_path, monkeypatch):
    with pytest.raises(OSError, match="imagenette2-160.tgz, and download_if_missing=False"):
        fetch_imagenette(data_home=tmp_path / "home", download_if_missing=False)
    with pytest.raises(FileNotFoundError, match=r"nowhere is not Imagenette.*train/"):
        fetch_imagenette(path=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="image_size == 0"):
        fetch_imagenette(image_size=0, path=tmp_path)
    url, _ = datasets._IMAGENETTE[160]
    monkeypatch.setattr(datasets, "_IMAGENETTE", {160: (url, "0" * 32)})
    with pytest.raises(ValueError, match="md5 sum"):
        fetch_imagenette(data_home=tmp_path / "home")


def test_imagenette_is_unpacked_by_older_pythons(imagenette, tmp_path, monkeypatch):
    """3.11.2, which Debian has, knows no filter."""
    pytest.importorskip("PIL")
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    extract = tarfile.TarFile.extractall

    def without_filter(self, path):
        extract(self, path)

    monkeypatch.setattr(tarfile.TarFile, "extractall", without_filter)
    home = tmp_path / "older"
    assert len(fetch_imagenette([0], data_home=home, return_X_y=True)[0])


@pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="Python has no filter of archives")
def test_nothing_is_unpacked_outside(tmp_path, monkeypatch):
    record = write_tar(tmp_path / "imagenette2-160.tgz", {"../../escaped": b"x"})
    monkeypatch.setattr(datasets, "_IMAGENETTE", {160: record})
    home = tmp_path / "a" / "home"
    with pytest.raises(tarfile.OutsideDestinationError):
        fetch_imagenette(data_home=home)
    assert not list(tmp_path.rglob("escaped"))


def test_large_images_come_from_the_larger_archive(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "fetch_file", lambda url, folder: asked.append(url))
    for image_size in (160, 161):
        with pytest.raises(TypeError):  # nothing was fetched
            fetch_imagenette(image_size=image_size, data_home=tmp_path)
    assert [url[-7:] for url in asked] == ["160.tgz", "320.tgz"]


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "imagenette").exists(), reason="no ../shared/data/imagenette")
def test_real_imagenette():
    imagenette = fetch_imagenette((6, 0), 40, 20, image_size=64, path=SHARED / "imagenette")
    assert imagenette.X_train.shape == (40, 3, 64, 64) and set(imagenette.y_train) == {0, 6}
    assert 60 < imagenette.X_train.mean() < 200


# --------------------------------------------------------------------------- synthetic


@pytest.mark.parametrize("params", [{}, {"n_features": 2}, {"image_shape": (8, 8)},
                                    {"image_shape": (3, 5, 4), "n_classes": 4}])  # fmt: skip
def test_make_backdoor_classification(params):
    X, y = make_backdoor_classification(400, class_sep=2, random_state=0, **params)
    n_classes = params.get("n_classes", 2)
    shape = params.get("image_shape", (params.get("n_features", 20),))
    assert X.shape == (400, np.prod(shape)) and X.min() >= 0 and X.max() <= 1
    assert np.bincount(y).tolist() == [400 // n_classes] * n_classes
    corner = X.reshape(-1, *shape)[..., shape[-1] // 2 :]
    unused = corner[..., shape[-2] // 2 :, :] if len(shape) > 1 else X[:, -max(1, shape[0] // 4) :]
    assert unused.max() < 0.05
    assert LogisticRegression(C=100).fit(X[:200], y[:200]).score(X[200:], y[200:]) > 0.9
    again, _ = make_backdoor_classification(400, class_sep=2, random_state=0, **params)
    np.testing.assert_array_equal(X, again)


def test_class_sep_zero_makes_the_classes_equal():
    X, y = make_backdoor_classification(4000, class_sep=0, random_state=0)
    assert abs(X[y == 0].mean(axis=0) - X[y == 1].mean(axis=0)).max() < 0.02


@pytest.mark.parametrize(
    "params, error, message",
    [
        ({"n_samples": 1}, ValueError, "n_samples == 1"),
        ({"n_features": 1}, ValueError, "n_features == 1"),
        ({"n_classes": 1}, ValueError, "n_classes == 1"),
        ({"class_sep": -1}, ValueError, "class_sep == -1"),
        ({"n_samples": 2.5}, TypeError, "n_samples"),
        ({"image_shape": (8,)}, ValueError, r"image_shape=\(8,\)"),
        ({"image_shape": (1, 1)}, ValueError, r"image_shape=\(1, 1\)"),
    ],
)
def test_bad_make_backdoor_classification(params, error, message):
    with pytest.raises(error, match=message):
        make_backdoor_classification(**params)
