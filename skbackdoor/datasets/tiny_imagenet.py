"""TinyImageNet, from Stanford's page or from a folder."""

from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar

from .archives import unpacked_archive
from .photographs import read_images
from .subsets import as_asked, check_labels, check_sizes, draw_rows

#: Address of the archive, and its md5 sum.
_TINY_IMAGENET = (
    "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    "90528d7ca1a48142e341f4ef8d21d0de",
)


def fetch_tiny_imagenet(
    classes=None,
    n_train=None,
    n_test=None,
    *,
    image_size=64,
    path=None,
    data_home=None,
    download_if_missing=True,
    random_state=0,
    return_X_y=False,
):
    """Load TinyImageNet, or a random subset of it: 64x64 photographs of 200 classes of ImageNet.

    The archive comes from Stanford's page (once: 248 MB, unpacked in the cache of scikit-learn),
    or from `path`. Needs pillow. Training samples are drawn from the 100,000 images under
    ``train``, test samples from the 10,000 under ``val`` (those under ``test`` have no labels),
    both without replacement; only these are read.

    Parameters
    ----------
    classes : sequence of int or None, default=None
        Which classes, from 0 to 199, in the order of `class_names`. None is all 200.
    n_train, n_test : int or None, default=None
        How many training and test samples, over all classes. None is all that there are, in the
        order of their classes and file names.
    image_size : int, default=64
        Side of the images in pixels.
    path : str or path-like, default=None
        The unpacked folder, with ``train`` and ``val``, if it is already there. Nothing is then
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
    tiny_imagenet : :class:`~sklearn.utils.Bunch`
        X_train, X_test : ndarray of shape (n_train, 3, image_size, image_size), (n_test, ...)
            Images, uint8.
        y_train, y_test : ndarray of shape (n_train,), (n_test,)
            The classes, int.
        image_shape : tuple
            (3, image_size, image_size).
        target_names : list
            The classes, sorted.
        class_names : list of str
            Names of all 200, in the order of their numbers in WordNet.
    (X_train, y_train, X_test, y_test) : tuple if ``return_X_y`` is True

    Raises
    ------
    ValueError
        If there are fewer samples than asked for, `classes` are unknown, or the archive is not
        the published one.
    FileNotFoundError
        If there is no TinyImageNet at `path`.
    OSError
        If the archive is not there and cannot, or may not, be downloaded.

    References
    ----------
    .. [1] Le, Yang, "Tiny ImageNet visual recognition challenge", 2015.

    Examples
    --------
    >>> from skbackdoor import fetch_tiny_imagenet
    >>> X_train, y_train, X_test, y_test = fetch_tiny_imagenet(
    ...     range(10), 1500, 500, return_X_y=True)  # doctest: +SKIP
    """
    labels = check_labels(classes, "classes", n_known=200)
    check_sizes(n_train, n_test)
    check_scalar(image_size, "image_size", Integral, min_val=1)
    if path is None:
        folder = unpacked_archive(
            "TinyImageNet", *_TINY_IMAGENET, "tiny-imagenet-200", data_home, download_if_missing
        )
    else:
        folder = Path(path).expanduser()
    try:
        wnids = sorted((folder / "wnids.txt").read_text().split())
        words = _table(folder / "words.txt")
        shown = _table(folder / "val" / "val_annotations.txt")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder} is not TinyImageNet: {error.filename} is missing."
        ) from error
    files = {
        "train": [sorted((folder / "train" / wnid / "images").glob("*.JPEG")) for wnid in wnids],
        "test": [
            [folder / "val" / "images" / name for name in sorted(shown) if shown[name] == wnid]
            for wnid in wnids
        ],
    }
    rng = check_random_state(random_state)
    bunch = Bunch(
        image_shape=(3, image_size, image_size),
        target_names=labels.tolist(),
        class_names=[words[wnid] for wnid in wnids],
    )
    for part, n_samples in (("train", n_train), ("test", n_test)):
        target = np.repeat(np.arange(len(wnids)), [len(found) for found in files[part]])
        if not np.isin(labels, target).all():
            raise FileNotFoundError(
                f"{folder} is not TinyImageNet: no {part} images of some of the classes"
                f" {labels.tolist()}."
            )
        rows = draw_rows(target, labels, "classes", part, n_samples, rng)
        paths = sum(files[part], [])
        bunch[f"X_{part}"] = read_images(
            [paths[row] for row in rows], image_size, "fetch_tiny_imagenet"
        )
        bunch[f"y_{part}"] = target[rows]
    return as_asked(bunch, return_X_y)


def _table(path):
    """The first two columns of a file, the one by the other."""
    rows = (line.split("\t") for line in path.read_text().splitlines())
    return {row[0]: row[1] for row in rows}
