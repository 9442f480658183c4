"""MNIST, from OpenML or from a file."""

import gzip
from importlib.util import find_spec
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from sklearn.datasets import fetch_openml
from sklearn.utils import Bunch, check_random_state

from .subsets import as_asked, check_labels, check_sizes, draw_rows

_IDX_STEMS = {
    "X_train": "train-images",
    "y_train": "train-labels",
    "X_test": "t10k-images",
    "y_test": "t10k-labels",
}


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
        A local copy of MNIST: an ``.npz`` file that holds `X_train`, `y_train`, `X_test` and
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
    labels = check_labels(digits, "digits")
    check_sizes(n_train, n_test)
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
        rows = draw_rows(target, labels, "digits", part, n_samples, rng)
        bunch[f"X_{part}"] = images[rows] / 255.0
        bunch[f"y_{part}"] = target[rows]
    return as_asked(bunch, return_X_y)


def _from_openml(data_home):
    parser = "auto" if find_spec("pandas") else "liac-arff"  # the faster one needs pandas
    try:
        mnist = fetch_openml(
            "mnist_784", version=1, as_frame=False, parser=parser, data_home=data_home
        )
    except OSError as error:
        raise OSError(
            f"MNIST could not be downloaded from OpenML ({error}). If you have a copy, "
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
