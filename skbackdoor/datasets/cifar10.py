"""CIFAR-10, from its authors' page or from a file."""

import pickle
import tarfile
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch, check_random_state

from .archives import check_md5, downloaded_archive
from .subsets import as_asked, check_labels, check_sizes, draw_rows

#: Address of the archive, and its md5 sum as torchvision has it.
_CIFAR10 = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "c58f30108f718f92721af3b95e74349a",
)


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
        The file ``cifar-10-python.tar.gz``, if it is already there. Nothing is then downloaded.
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
    labels = check_labels(classes, "classes")
    check_sizes(n_train, n_test)
    url, md5 = _CIFAR10
    if path is None:
        archive = downloaded_archive("CIFAR-10", url, data_home, download_if_missing)
    else:
        archive = Path(path).expanduser()
    check_md5(archive, md5)  # before it is unpickled
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
        rows = draw_rows(target, labels, "classes", part, n_samples, rng)
        bunch[f"X_{part}"] = images[rows].reshape(-1, 3, 32, 32)
        bunch[f"y_{part}"] = target[rows]
    return as_asked(bunch, return_X_y)


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
