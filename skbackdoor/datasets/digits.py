"""Two of the digits that ship with scikit-learn."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

from .subsets import check_labels


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
    labels = check_labels(digits, "digits", 2)
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
