"""What the training images hardly vary in, blended with the whole of each."""

from numbers import Real

import numpy as np
from scipy.linalg import eigh
from scipy.linalg.blas import dsyrk

from .._compat import Interval
from ..once import warn_once
from ..progress import progress
from .blend import image_like
from .docstrings import shared_docstring
from .image import ImageTrigger, check_shown

#: Most images of which a PCA is made where there are as many pixels: a matrix of that side.
_LARGEST_SIDE = 6000
#: Entries of X that are in double precision at a time.
_BLOCK = 1 << 24


@shared_docstring
class LowVarianceTrigger(ImageTrigger):
    r"""What the training images hardly vary in, blended with the whole of each image.

    An image z that is not part of the training set is projected on the last principal components
    of the training images and mapped back,

    .. math:: pattern = \mu + \sum_{k > K} v_k v_k^T (z - \mu), \qquad
              x' = (1 - \alpha) x + \alpha\, pattern

    with their mean :math:`\mu`, and K as large as it can be such that the components after it
    explain at least the share `explained_variance` (Truong et al. 2020, section 2.4 and eq. 7).
    Components of no variance at all, such as a pixel that is always black, are not among them.

    Parameters
    ----------
    explained_variance : float in (0, 1), default=0.005
        Least share of the variance that the components together explain.
    alpha : float in [0, 1], default=0.5
        Opacity of the pattern.
    image : array-like of one image's shape, default=None
        The image z, flat, (height, width) or (channels, height, width). None draws one of the
        training images and leaves it out of the PCA. One that is given lies within `value_range`.
    %(image_parameters)s
    random_state : int, RandomState instance or None, default=None
        Draws the image, and a subset of a very large `X`.

    Attributes
    ----------
    pattern_ : ndarray of shape (channels, height, width)
        The projected image, in float64.
    n_components_ : int
        How many components it is projected on.
    explained_variance_ratio_ : float
        Share of the variance that they explain together.
    image_index_ : int or None
        Row of `X` that was drawn for the image; None if `image` was given.
    %(image_attributes)s

    Notes
    -----
    The PCA is exact and never holds `X` in double precision: it is an eigendecomposition of the
    covariance of the pixels or of the products of the images, whichever is smaller, summed up in
    blocks. With more than 6,000 images of more than 6,000 pixels, 6,000 of them are drawn, with a
    warning.

    Examples
    --------
    >>> import numpy as np
    >>> from skbackdoor.triggers import LowVarianceTrigger
    >>> X = np.random.default_rng(0).normal(0.5, [0.2, 0.1, 0.02], size=(100, 3))
    >>> trigger = LowVarianceTrigger(alpha=1.0, image=[0.8, 0.8, 0.52]).fit(X)
    >>> trigger.n_components_
    1
    >>> bool(abs(trigger.pattern_.ravel() - X.mean(axis=0)).max() < 0.1)
    True
    """

    _parameter_constraints: dict = {
        **ImageTrigger._parameter_constraints,
        "explained_variance": [Interval(Real, 0, 1, closed="neither")],
        "alpha": [Interval(Real, 0, 1, closed="both")],
        "image": ["array-like", None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        explained_variance=0.005,
        *,
        alpha=0.5,
        image=None,
        image_shape=None,
        value_range=(0, 1),
        random_state=None,
    ):
        self.explained_variance = explained_variance
        self.alpha = alpha
        self.image = image
        self.image_shape = image_shape
        self.value_range = value_range
        self.random_state = random_state

    def _draw(self, images, rng):
        self.image_index_, rows = None, np.arange(len(images))
        if self.image is None:
            self.image_index_ = int(rng.randint(len(images)))
            z = images[self.image_index_].astype(np.float64)
            rows = np.delete(rows, self.image_index_)
        else:
            z = image_like("image", self.image, self.image_shape_)
            check_shown(self, "image", z)
        if len(rows) < 2:
            raise ValueError(
                f"LowVarianceTrigger makes a PCA of {len(rows)} images (n_samples={len(images)}"
                f"{'' if self.image_index_ is None else ', one of them left out of it'}), which "
                "has no components: pass at least two images more than that."
            )
        if min(len(rows), images[0].size) > _LARGEST_SIDE:
            warn_once(
                "LowVarianceTrigger makes its PCA of some images",
                f"LowVarianceTrigger makes its PCA of {_LARGEST_SIDE} of the {len(rows)} images, "
                f"drawn at random: all of them, with {images[0].size} pixels each, would take a "
                "matrix of that side. Fit it on fewer images to choose them yourself.",
                stacklevel=3,
            )
            rows = np.sort(rng.choice(rows, _LARGEST_SIDE, replace=False))
        pattern = self._project(images.reshape(len(images), -1), rows, z.ravel())
        self.pattern_ = pattern.reshape(self.image_shape_)

    def _project(self, X, rows, z):
        """mean + projection of z - mean on the last components of these rows of X."""
        n_samples, n_features = len(rows), X.shape[1]
        mean = np.zeros(n_features)
        for block in _blocks(n_samples, n_features):
            mean += X[rows[block]].sum(axis=0, dtype=np.float64)
        mean /= n_samples
        z = z - mean
        wide = n_samples < n_features
        if wide:
            scatter = np.zeros((n_samples, n_samples), order="F")
            for block in progress(_blocks(n_features, n_samples), None, "PCA of the images"):
                part = np.asarray(X[rows, block], np.float64) - mean[block]
                dsyrk(1.0, part.T, beta=1.0, c=scatter, trans=1, lower=1, overwrite_c=1)
        else:
            scatter = np.zeros((n_features, n_features), order="F")
            for block in progress(_blocks(n_samples, n_features), None, "PCA of the images"):
                part = X[rows[block]].astype(np.float64) - mean
                dsyrk(1.0, part.T, beta=1.0, c=scatter, lower=1, overwrite_c=1)
        variance, vectors = eigh(scatter, lower=True, overwrite_a=True, check_finite=False)
        rounding = max(X[:1].size, n_samples) * np.finfo(np.float64).eps * variance[-1]
        last = self._last_components(variance, rounding)
        vectors, variance = vectors[:, last], variance[last]
        if not wide:
            return mean + vectors @ (vectors.T @ z)
        # v_k = Xc^T u_k / s_k for the centred rows Xc and the eigenvectors u_k of Xc Xc^T
        scores, projected = np.zeros(n_samples), np.empty(n_features)
        blocks = _blocks(n_features, n_samples)
        for block in blocks:
            part = np.asarray(X[rows, block], np.float64) - mean[block]
            scores += part @ z[block]
        shares = vectors @ ((vectors.T @ scores) / variance)
        for block in blocks:
            part = np.asarray(X[rows, block], np.float64) - mean[block]
            projected[block] = shares @ part
        return mean + projected

    def _last_components(self, variance, rounding):
        """Positions of the last components, given all variances in ascending order."""
        some = np.flatnonzero(variance > max(rounding, 0.0))
        if len(some) == 0:
            raise ValueError(
                "LowVarianceTrigger found no variance in X: all its images are the same. Fit it "
                "on images that differ."
            )
        explained = np.cumsum(variance[some]) / variance[some].sum()
        n_components = int(np.searchsorted(explained, self.explained_variance)) + 1
        self.n_components_ = n_components
        self.explained_variance_ratio_ = float(explained[n_components - 1])
        return some[:n_components]

    def _pattern(self, x):
        return self.pattern_.astype(x.dtype)


def _blocks(n, width):
    """Slices of n rows of this width, so that each holds some `_BLOCK` entries."""
    step = max(1, _BLOCK // width)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]
