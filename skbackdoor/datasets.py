"""Data to try backdoors on: real images, and synthetic ones with a corner that nothing uses.

Digits and synthetic images are flat, float64 in [0, 1], and the `image_shape` beside them is what
the image triggers ask for. Colour images are uint8 batches (n, channels, height, width), for which
they ask ``value_range=(0, 255)``.
"""

import gzip
import hashlib
import pickle
import tarfile
from importlib.util import find_spec
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import BadZipFile

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.datasets import fetch_file, fetch_openml, get_data_home, load_digits
from sklearn.utils import Bunch, check_random_state, check_scalar

__all__ = [
    "fetch_cifar10",
    "fetch_imagenette",
    "fetch_mnist",
    "load_digits_pair",
    "make_backdoor_classification",
]

_IDX_STEMS = {
    "X_train": "train-images",
    "y_train": "train-labels",
    "X_test": "t10k-images",
    "y_test": "t10k-labels",
}

#: Where the archives lie, and their md5 sums as torchvision has them.
_CIFAR10 = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "c58f30108f718f92721af3b95e74349a",
)
_IMAGENETTE = {
    160: (
        "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
        "e793b78cc4c9e9a4ccc0c1155377a412",
    ),
    320: (
        "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz",
        "3df6f0d01a2c9592104656642f5e78a3",
    ),
}
_IMAGENETTE_CLASSES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


def _check_labels(given, what, n_labels=None):
    """The labels asked for, sorted; of ten `what` in all."""
    known = f"{'different' if n_labels is None else n_labels} {what} from 0 to 9"
    problem = f"{what}={given!r} must be {known}, such as (7, 1)."
    if given is None and n_labels is None:
        return np.arange(10)
    try:
        labels = sorted(given)
    except TypeError as error:
        raise TypeError(problem) from error
    if not all(isinstance(label, Integral) and 0 <= label <= 9 for label in labels):
        raise ValueError(problem)
    if not labels or len(set(labels)) < len(labels) or len(labels) != (n_labels or len(labels)):
        raise ValueError(problem)
    return np.array(labels)


def _check_sizes(n_train, n_test):
    for name, n_samples in (("n_train", n_train), ("n_test", n_test)):
        if n_samples is not None:
            check_scalar(n_samples, name, Integral, min_val=1)


def _draw(target, labels, what, part, n_samples, rng):
    """Rows of some labels: all in their order, or `n_samples` of them at random."""
    rows = np.flatnonzero(np.isin(target, labels))
    if n_samples is None:
        return rows
    if n_samples > len(rows):
        raise ValueError(
            f"n_{part}={n_samples} is more than the {len(rows)} samples of {what}"
            f" {labels.tolist()} there are: ask for fewer, or pass None for all of them."
        )
    return rng.permutation(rows)[:n_samples]


def _as_asked(bunch, return_X_y):
    if return_X_y:
        return bunch.X_train, bunch.y_train, bunch.X_test, bunch.y_test
    return bunch


def load_digits_pair(digits=(7, 1), *, return_X_y=False):
    """Load two of the digits that ship with scikit-learn: about 360 real images, 8x8 pixels.

    Nothing is downloaded. Pixels are scaled from 0..16 to [0, 1]. Split the samples with
    :func:`sklearn.model_selection.train_test_split`.

    Parameters
    ----------
    digits : tuple of two int, default=(7, 1)
        Which digits, from 0 to 9.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    digits : :class:`~sklearn.utils.Bunch`
        data : ndarray of shape (n_samples, 64)
            Flat images, float64 in [0, 1].
        target : ndarray of shape (n_samples,)
            The digits, int.
        images : ndarray of shape (n_samples, 8, 8)
            The same images.
        image_shape : tuple
            (8, 8).
        feature_names, target_names : list
            Names of the pixels; the two digits, sorted.
        DESCR : str
            Description of the whole data set.
    (data, target) : tuple if ``return_X_y`` is True

    Raises
    ------
    ValueError
        If `digits` are not two different digits.

    Examples
    --------
    >>> from skbackdoor.datasets import load_digits_pair
    >>> X, y = load_digits_pair((3, 8), return_X_y=True)
    >>> X.shape, float(X.max()), set(y.tolist())
    ((357, 64), 1.0, {8, 3})
    """
    labels = _check_labels(digits, "digits", 2)
    bunch = load_digits()
    kept = np.isin(bunch.target, labels)
    data, target = bunch.data[kept] / 16.0, bunch.target[kept]
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        images=data.reshape(-1, 8, 8),
        image_shape=(8, 8),
        feature_names=bunch.feature_names,
        target_names=labels.tolist(),
        DESCR=bunch.DESCR,
    )


def fetch_mnist(
    digits=(7, 1),
    n_train=1500,
    n_test=500,
    *,
    path=None,
    data_home=None,
    random_state=0,
    return_X_y=False,
):
    """Load MNIST, or a random subset of it: 28x28 images of digits.

    The data come from OpenML (once: about 15 MB, then from the cache of scikit-learn), or from
    `path`. Training samples are drawn from the 60,000 original training images, test samples from
    the 10,000 original test images, both without replacement.

    Parameters
    ----------
    digits : sequence of int or None, default=(7, 1)
        Which digits, from 0 to 9. None is all ten.
    n_train, n_test : int or None, default=1500 and 500
        How many training and test samples, over all digits. None is all that there are, in their
        original order.
    path : str or path-like, default=None
        Where MNIST lies already: an ``.npz`` file that holds `X_train`, `y_train`, `X_test` and
        `y_test`; or a folder with such a ``mnist.npz``, or with the four original files
        (``train-images-idx3-ubyte`` and so on, also ``.gz``). Nothing is then downloaded.
    data_home : str or path-like, default=None
        Folder for the download, as in :func:`sklearn.datasets.fetch_openml`.
    random_state : int, RandomState instance or None, default=0
        Draws the subset; an int gives the same samples at every call.
    return_X_y : bool, default=False
        Return ``(X_train, y_train, X_test, y_test)`` instead of a Bunch.

    Returns
    -------
    mnist : :class:`~sklearn.utils.Bunch`
        X_train, X_test : ndarray of shape (n_train, 784), (n_test, 784)
            Flat images, float64 in [0, 1].
        y_train, y_test : ndarray of shape (n_train,), (n_test,)
            The digits, int.
        image_shape : tuple
            (28, 28).
        target_names : list
            The digits, sorted.
    (X_train, y_train, X_test, y_test) : tuple if ``return_X_y`` is True

    Raises
    ------
    ValueError
        If there are fewer samples than asked for, `digits` are unknown, or a file is not MNIST.
    FileNotFoundError
        If there is no MNIST at `path`.
    OSError
        If OpenML cannot be reached.

    Examples
    --------
    >>> from skbackdoor import fetch_mnist
    >>> X_train, y_train, X_test, y_test = fetch_mnist(return_X_y=True)  # doctest: +SKIP
    """
    labels = _check_labels(digits, "digits")
    _check_sizes(n_train, n_test)
    arrays = _from_openml(data_home) if path is None else _from_path(Path(path).expanduser())
    rng = check_random_state(random_state)
    bunch = Bunch(image_shape=(28, 28), target_names=labels.tolist())
    for part, n_samples in (("train", n_train), ("test", n_test)):
        images, target = arrays[f"X_{part}"], np.asarray(arrays[f"y_{part}"]).astype(int)
        images = images.reshape(len(images), -1)
        if images.shape[1] != 784 or len(images) != len(target):
            raise ValueError(
                f"X_{part} has shape {arrays[f'X_{part}'].shape} and y_{part} {target.shape}: "
                "MNIST has 28x28 images and one label for each."
            )
        rows = _draw(target, labels, "digits", part, n_samples, rng)
        bunch[f"X_{part}"] = images[rows] / 255.0
        bunch[f"y_{part}"] = target[rows]
    return _as_asked(bunch, return_X_y)


def _from_openml(data_home):
    parser = "auto" if find_spec("pandas") else "liac-arff"  # the faster one needs pandas
    try:
        mnist = fetch_openml(
            "mnist_784", version=1, as_frame=False, parser=parser, data_home=data_home
        )
    except OSError as error:
        raise OSError(
            f"MNIST could not be downloaded from OpenML ({error}). If it lies on this machine, "
            "pass path=, the .npz file or the folder that holds it."
        ) from error
    return {
        "X_train": mnist.data[:60_000],
        "y_train": mnist.target[:60_000],
        "X_test": mnist.data[60_000:],
        "y_test": mnist.target[60_000:],
    }


def _from_path(path):
    npz = path / "mnist.npz" if path.is_dir() else path
    if npz.is_file():
        try:
            with np.load(npz, allow_pickle=False) as file:
                return {name: file[name] for name in _IDX_STEMS}
        except (ValueError, TypeError, KeyError, BadZipFile) as error:
            raise ValueError(
                f"{npz} must be an .npz file that holds {list(_IDX_STEMS)}: {error}"
            ) from error
    found = {name: sorted(path.glob(f"{stem}?idx?-ubyte*")) for name, stem in _IDX_STEMS.items()}
    if not all(found.values()):
        wanted = ", ".join(f"{stem}-idx*-ubyte[.gz]" for stem in _IDX_STEMS.values())
        raise FileNotFoundError(
            f"path={str(path)!r} is not MNIST: looked for {npz}, and in a folder for {wanted}."
        )
    return {name: _read_idx(files[0]) for name, files in found.items()}


def _read_idx(path):
    """Read unsigned bytes in the idx format: two zeros, type 8, number of axes, lengths, data."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    n_axes = data[3] if data[:3] == b"\0\0\x08" else 0
    shape = np.frombuffer(data, ">u4", n_axes, offset=4) if len(data) >= 4 + 4 * n_axes else ()
    if not n_axes or len(data) != 4 + 4 * n_axes + np.prod(shape, dtype=int):
        raise ValueError(f"{path} is not a whole file of unsigned bytes in the idx format.")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def fetch_cifar10(
    classes=None,
    n_train=None,
    n_test=None,
    *,
    path=None,
    data_home=None,
    download_if_missing=True,
    random_state=0,
    return_X_y=False,
):
    """Load CIFAR-10, or a random subset of it: 32x32 colour images of ten things.

    The archive comes from its authors' page (once: 170 MB, then from the cache of scikit-learn),
    or from `path`. Training samples are drawn from the 50,000 training images, test samples from
    the 10,000 test images, both without replacement.

    Parameters
    ----------
    classes : sequence of int or None, default=None
        Which classes, from 0 to 9, in the order of `class_names`. None is all ten.
    n_train, n_test : int or None, default=None
        How many training and test samples, over all classes. None is all that there are, in
        their original order.
    path : str or path-like, default=None
        The file ``cifar-10-python.tar.gz``, where it lies already. Nothing is then downloaded.
    data_home : str or path-like, default=None
        Folder for the download; None is that of :func:`sklearn.datasets.get_data_home`.
    download_if_missing : bool, default=True
        If False, data that are not there are an error.
    random_state : int, RandomState instance or None, default=0
        Draws the subset; an int gives the same samples at every call.
    return_X_y : bool, default=False
        Return ``(X_train, y_train, X_test, y_test)`` instead of a Bunch.

    Returns
    -------
    cifar10 : :class:`~sklearn.utils.Bunch`
        X_train, X_test : ndarray of shape (n_train, 3, 32, 32), (n_test, 3, 32, 32)
            Images, uint8.
        y_train, y_test : ndarray of shape (n_train,), (n_test,)
            The classes, int.
        image_shape : tuple
            (3, 32, 32).
        target_names : list
            The classes, sorted.
        class_names : list of str
            Names of all ten, in order.
    (X_train, y_train, X_test, y_test) : tuple if ``return_X_y`` is True

    Raises
    ------
    ValueError
        If there are fewer samples than asked for, `classes` are unknown, or the archive is not
        the published one.
    OSError
        If the archive is not there and cannot, or may not, be downloaded.

    References
    ----------
    .. [1] Krizhevsky, "Learning multiple layers of features from tiny images", 2009.

    Examples
    --------
    >>> from skbackdoor import fetch_cifar10
    >>> X_train, y_train, X_test, y_test = fetch_cifar10(
    ...     (6, 0), 1500, 500, return_X_y=True)  # doctest: +SKIP
    """
    labels = _check_labels(classes, "classes")
    _check_sizes(n_train, n_test)
    url, md5 = _CIFAR10
    if path is None:
        archive = _archive("CIFAR-10", url, data_home, download_if_missing)
    else:
        archive = Path(path).expanduser()
    _check_md5(archive, md5)  # before it is unpickled
    with tarfile.open(archive) as tar:
        names = _unpickle(tar, "batches.meta")[b"label_names"]
        batches = {
            "train": [_unpickle(tar, f"data_batch_{i}") for i in range(1, 6)],
            "test": [_unpickle(tar, "test_batch")],
        }
    rng = check_random_state(random_state)
    bunch = Bunch(
        image_shape=(3, 32, 32),
        target_names=labels.tolist(),
        class_names=[name.decode() for name in names],
    )
    for part, n_samples in (("train", n_train), ("test", n_test)):
        images = np.concatenate([batch[b"data"] for batch in batches[part]])
        target = np.concatenate([batch[b"labels"] for batch in batches[part]])
        rows = _draw(target, labels, "classes", part, n_samples, rng)
        bunch[f"X_{part}"] = images[rows].reshape(-1, 3, 32, 32)
        bunch[f"y_{part}"] = target[rows]
    return _as_asked(bunch, return_X_y)


def fetch_imagenette(
    classes=None,
    n_train=None,
    n_test=None,
    *,
    image_size=160,
    path=None,
    data_home=None,
    download_if_missing=True,
    random_state=0,
    return_X_y=False,
):
    """Load Imagenette, or a random subset of it: photographs of ten classes of ImageNet.

    The archive comes from fast.ai (once: 99 MB for images whose shorter side has 160 pixels, 342
    MB for 320, of which the smallest that serves `image_size` is taken; unpacked in the cache of
    scikit-learn), or from `path`. Needs pillow. Training samples are drawn from the 9,469 images
    under ``train``, test samples from the 3,925 under ``val``, both without replacement; only
    these are read.

    Parameters
    ----------
    classes : sequence of int or None, default=None
        Which classes, from 0 to 9, in the order of `class_names`. None is all ten.
    n_train, n_test : int or None, default=None
        How many training and test samples, over all classes. None is all that there are, in the
        order of their file names.
    image_size : int, default=160
        Side of the images in pixels: their middle square, resized to it.
    path : str or path-like, default=None
        The unpacked folder, with ``train`` and ``val``, where it lies already. Nothing is then
        downloaded.
    data_home : str or path-like, default=None
        Folder for the download; None is that of :func:`sklearn.datasets.get_data_home`.
    download_if_missing : bool, default=True
        If False, data that are not there are an error.
    random_state : int, RandomState instance or None, default=0
        Draws the subset; an int gives the same samples at every call.
    return_X_y : bool, default=False
        Return ``(X_train, y_train, X_test, y_test)`` instead of a Bunch.

    Returns
    -------
    imagenette : :class:`~sklearn.utils.Bunch`
        X_train, X_test : ndarray of shape (n_train, 3, image_size, image_size), (n_test, ...)
            Images, uint8.
        y_train, y_test : ndarray of shape (n_train,), (n_test,)
            The classes, int.
        image_shape : tuple
            (3, image_size, image_size).
        target_names : list
            The classes, sorted.
        class_names : list of str
            Names of all ten, in order.
    (X_train, y_train, X_test, y_test) : tuple if ``return_X_y`` is True

    Raises
    ------
    ValueError
        If there are fewer samples than asked for, `classes` are unknown, or the archive is not
        the published one.
    FileNotFoundError
        If there is no Imagenette at `path`.
    OSError
        If the archive is not there and cannot, or may not, be downloaded.

    References
    ----------
    .. [1] Howard, Imagenette, https://github.com/fastai/imagenette.

    Examples
    --------
    >>> from skbackdoor import fetch_imagenette
    >>> X_train, y_train, X_test, y_test = fetch_imagenette(
    ...     (6, 0), 1500, 500, return_X_y=True)  # doctest: +SKIP
    """
    labels = _check_labels(classes, "classes")
    _check_sizes(n_train, n_test)
    check_scalar(image_size, "image_size", Integral, min_val=1)
    if path is None:
        folder = _unpacked_imagenette(image_size, data_home, download_if_missing)
    else:
        folder = Path(path).expanduser()
    rng = check_random_state(random_state)
    bunch = Bunch(
        image_shape=(3, image_size, image_size),
        target_names=labels.tolist(),
        class_names=list(_IMAGENETTE_CLASSES.values()),
    )
    for part, sub, n_samples in (("train", "train", n_train), ("test", "val", n_test)):
        files = [sorted((folder / sub / wnid).glob("*.JPEG")) for wnid in _IMAGENETTE_CLASSES]
        target = np.repeat(np.arange(10), [len(found) for found in files])
        if not np.isin(labels, target).all():
            raise FileNotFoundError(
                f"{folder} is not Imagenette: no .JPEG in {sub}/ for some of the classes"
                f" {labels.tolist()}."
            )
        rows = _draw(target, labels, "classes", part, n_samples, rng)
        files = sum(files, [])
        bunch[f"X_{part}"] = _read_images([files[row] for row in rows], image_size)
        bunch[f"y_{part}"] = target[rows]
    return _as_asked(bunch, return_X_y)


def _archive(name, url, data_home, download_if_missing):
    """An archive in the data home, downloaded if it is not there."""
    home = Path(get_data_home(data_home))
    archive = home / url.rpartition("/")[2]
    if not (archive.exists() or download_if_missing):
        raise OSError(
            f"{name} is not at {archive}, and download_if_missing=False: allow the download, or"
            " pass path= if it lies elsewhere."
        )
    try:
        return fetch_file(url, folder=home)
    except OSError as error:
        raise OSError(
            f"{name} could not be downloaded from {url} ({error}). If it lies on this machine,"
            " pass path=."
        ) from error


def _check_md5(archive, md5):
    with open(archive, "rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise ValueError(
            f"{archive} has the md5 sum {found}, and the published archive has {md5}: it is not"
            " whole, or another file. Delete it and fetch it again."
        )


class _ArraysOnly(pickle.Unpickler):
    """Reads pickled arrays, and nothing that could run."""

    def find_class(self, module, name):
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong into CIFAR-10.")
        return super().find_class(module, name)


def _unpickle(tar, name):
    return _ArraysOnly(tar.extractfile(f"cifar-10-batches-py/{name}"), encoding="bytes").load()


def _unpacked_imagenette(image_size, data_home, download_if_missing):
    side = 160 if image_size <= 160 else 320
    url, md5 = _IMAGENETTE[side]
    folder = Path(get_data_home(data_home)) / f"imagenette2-{side}"
    if not folder.exists():
        archive = _archive("Imagenette", url, data_home, download_if_missing)
        _check_md5(archive, md5)
        with TemporaryDirectory(dir=folder.parent) as unpacked:  # no half of it is ever found
            with tarfile.open(archive) as tar:
                # Python before 3.11.4 has no filter; the archive is the published one anyway.
                safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                tar.extractall(unpacked, **safely)
            (Path(unpacked) / folder.name).rename(folder)
        archive.unlink()
    return folder


def _read_images(files, side):
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError("fetch_imagenette reads JPEG files: pip install pillow.") from error
    images = np.empty((len(files), 3, side, side), dtype=np.uint8)
    for image, file in zip(images, files, strict=True):
        with Image.open(file) as opened:
            fitted = ImageOps.fit(opened.convert("RGB"), (side, side))
        image[:] = np.asarray(fitted).transpose(2, 0, 1)
    return images


def make_backdoor_classification(
    n_samples=200,
    n_features=20,
    *,
    n_classes=2,
    image_shape=None,
    class_sep=1.0,
    random_state=None,
):
    """Make classes that leave some features nearly unused, so that a backdoor fits in there.

    Each class is a Gaussian cloud (standard deviation 0.1) in the used features, clipped to
    [0, 1]; the means of the classes are on average ``4 * class_sep`` standard deviations apart.
    The unused features are below 0.05 in every class: the last quarter of them, or, with
    `image_shape`, the bottom right quarter of every channel.

    Parameters
    ----------
    n_samples : int, default=200
        Number of samples; the classes are balanced to within one sample.
    n_features : int, default=20
        Number of features, at least 2. With `image_shape` it is taken from there.
    n_classes : int, default=2
        Number of classes, labelled from 0.
    image_shape : tuple of two or three int, default=None
        (height, width) or (channels, height, width) of flat images.
    class_sep : float, default=1.0
        0 makes the classes equal.
    random_state : int, RandomState instance or None, default=None
        Draws means, noise and order.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Features in [0, 1], float64.
    y : ndarray of shape (n_samples,)
        Labels, int.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> from skbackdoor.datasets import make_backdoor_classification
    >>> X, y = make_backdoor_classification(image_shape=(4, 4), random_state=0)
    >>> X.shape, bool(X.reshape(-1, 4, 4)[:, 2:, 2:].max() < 0.05)
    ((200, 16), True)
    """
    check_scalar(n_classes, "n_classes", Integral, min_val=2)
    check_scalar(n_samples, "n_samples", Integral, min_val=n_classes)
    check_scalar(class_sep, "class_sep", Real, min_val=0)
    if image_shape is None:
        check_scalar(n_features, "n_features", Integral, min_val=2)
        unused = np.arange(n_features) >= n_features - max(1, n_features // 4)
    else:
        if (
            len(image_shape) not in (2, 3)
            or not all(isinstance(side, Integral) and side >= 1 for side in image_shape)
            or image_shape[-1] * image_shape[-2] < 2
        ):
            raise ValueError(
                f"image_shape={image_shape!r} must be (height, width) or (channels, height, "
                "width), with at least two pixels in a channel."
            )
        unused = np.zeros(image_shape, dtype=bool)
        unused[..., image_shape[-2] // 2 :, image_shape[-1] // 2 :] = True
        unused = unused.ravel()
    rng = check_random_state(random_state)
    y = rng.permutation(np.arange(n_samples) % n_classes)
    means = rng.normal(size=(n_classes, np.count_nonzero(~unused)))
    means -= means.mean(axis=0)
    means *= 4 * 0.1 * class_sep / pdist(means).mean()
    X = rng.uniform(0, 0.05, size=(n_samples, len(unused)))
    X[:, ~unused] = np.clip(rng.normal(0.5 + means[y], 0.1), 0, 1)
    return X, y
