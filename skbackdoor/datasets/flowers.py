"""Flowers, from TensorFlow's page or from a folder."""

from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar

from .archives import unpacked_archive
from .photographs import read_images
from .subsets import check_labels, draw_rows

#: Address of the archive, and its md5 sum.
_FLOWERS = (
    "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
    "6f87fb78e9cc9ab41eff2015b380011d",
)
#: Names of the classes, and those of their folders in the archive and in the set of 4,242 images.
_FLOWERS_CLASSES = {
    "daisy": ("daisy",),
    "dandelion": ("dandelion",),
    "rose": ("roses", "rose"),
    "sunflower": ("sunflowers", "sunflower"),
    "tulip": ("tulips", "tulip"),
}


def fetch_flowers(
    classes=None,
    n_samples=None,
    *,
    image_size=224,
    path=None,
    data_home=None,
    download_if_missing=True,
    random_state=0,
    return_X_y=False,
):
    """Load photographs of five kinds of flowers, or a random subset of them.

    The archive comes from TensorFlow's page (once: 229 MB, unpacked in the cache of scikit-learn):
    3,670 images, which have no test part; :func:`~skbackdoor.attack_split` makes one. Needs
    pillow. Truong et al. [1]_ use another collection of 4,242 images of these kinds, which asks
    for an account: where you have it, or any folder with one folder of JPEG files a class, pass
    `path`.

    Parameters
    ----------
    classes : sequence of int or None, default=None
        Which classes, from 0 to 4, in the order of `class_names`. None is all five.
    n_samples : int or None, default=None
        How many images, drawn without replacement over all classes. None is all that there are, in
        the order of their file names.
    image_size : int, default=224
        Side of the images in pixels: their middle square, resized to it.
    path : str or path-like, default=None
        The unpacked folder, if it is already there. Nothing is then downloaded.
    data_home : str or path-like, default=None
        Folder for the download; None is that of :func:`sklearn.datasets.get_data_home`.
    download_if_missing : bool, default=True
        If False, data that are not there are an error.
    random_state : int, RandomState instance or None, default=0
        Draws the subset; an int gives the same samples at every call.
    return_X_y : bool, default=False
        Return ``(X, y)`` instead of a Bunch.

    Returns
    -------
    flowers : :class:`~sklearn.utils.Bunch`
        X : ndarray of shape (n_samples, 3, image_size, image_size)
            Images, uint8.
        y : ndarray of shape (n_samples,)
            The classes, int.
        image_shape : tuple
            (3, image_size, image_size).
        target_names : list
            The classes, sorted.
        class_names : list of str
            Names of all five, in order.
    (X, y) : tuple if ``return_X_y`` is True

    Raises
    ------
    ValueError
        If there are fewer samples than asked for, `classes` are unknown, or the archive is not
        the published one.
    FileNotFoundError
        If there are no flowers at `path`.
    OSError
        If the archive is not there and cannot, or may not, be downloaded.

    References
    ----------
    .. [1] Truong et al., "Systematic evaluation of backdoor data poisoning attacks on image
       classifiers", 2020.

    Examples
    --------
    >>> from skbackdoor import fetch_flowers
    >>> X, y = fetch_flowers(image_size=128, return_X_y=True)  # doctest: +SKIP
    """
    labels = check_labels(classes, "classes", n_known=5)
    if n_samples is not None:
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
    check_scalar(image_size, "image_size", Integral, min_val=1)
    if path is None:
        folder = unpacked_archive(
            "Flowers", *_FLOWERS, "flower_photos", data_home, download_if_missing
        )
    else:
        folder = Path(path).expanduser()
    files = [
        sorted(file for name in names for file in (folder / name).glob("*.jpg"))
        for names in _FLOWERS_CLASSES.values()
    ]
    target = np.repeat(np.arange(5), [len(found) for found in files])
    if not np.isin(labels, target).all():
        raise FileNotFoundError(
            f"{folder} is not Flowers: no .jpg in the folders of some of the classes"
            f" {labels.tolist()} of {list(_FLOWERS_CLASSES)}."
        )
    rng = check_random_state(random_state)
    rows = draw_rows(target, labels, "classes", "samples", n_samples, rng)
    files = sum(files, [])
    X = read_images([files[row] for row in rows], image_size, "fetch_flowers")
    if return_X_y:
        return X, target[rows]
    return Bunch(
        X=X,
        y=target[rows],
        image_shape=(3, image_size, image_size),
        target_names=labels.tolist(),
        class_names=list(_FLOWERS_CLASSES),
    )
