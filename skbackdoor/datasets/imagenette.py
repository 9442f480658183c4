"""Imagenette, from fast.ai or from a folder."""

from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar

from .archives import unpacked_archive
from .photographs import read_images
from .subsets import as_asked, check_labels, check_sizes, draw_rows

#: Addresses and md5 sums (as torchvision has them) of the archives, by the images' shorter side.
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
    labels = check_labels(classes, "classes")
    check_sizes(n_train, n_test)
    check_scalar(image_size, "image_size", Integral, min_val=1)
    if path is None:
        side = 160 if image_size <= 160 else 320
        folder = unpacked_archive(
            "Imagenette", *_IMAGENETTE[side], f"imagenette2-{side}", data_home, download_if_missing
        )
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
        rows = draw_rows(target, labels, "classes", part, n_samples, rng)
        files = sum(files, [])
        bunch[f"X_{part}"] = read_images(
            [files[row] for row in rows], image_size, "fetch_imagenette"
        )
        bunch[f"y_{part}"] = target[rows]
    return as_asked(bunch, return_X_y)
