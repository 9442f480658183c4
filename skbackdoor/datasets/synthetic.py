"""Synthetic data with some features that no class uses."""

from numbers import Integral, Real

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.utils import check_random_state, check_scalar


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
