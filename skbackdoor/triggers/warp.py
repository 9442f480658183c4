"""A smooth, hardly visible bending of the image."""

from numbers import Integral, Real

import numpy as np
from scipy import sparse

from .._compat import Interval
from .docstrings import shared_docstring
from .image import ImageTrigger


@shared_docstring
class WarpTrigger(ImageTrigger):
    r"""A smooth bending of the image.

    It is that of Nguyen and Tran, *WaNet: imperceptible warping-based backdoor attack*, 2021.

    A field of displacements, uniform in [-1, 1] on a coarse grid, divided by its mean absolute
    value, is interpolated to the size of the image by bicubic convolution. Pixel (i, j) then shows
    the image at :math:`(i, j) + s/2 \cdot ((H-1)/H \cdot v_{ij},\ (W-1)/W \cdot u_{ij})`, bilinear
    between its four neighbours, with the field (u, v), the strength s, and places outside of the
    image moved to its edge.

    Parameters
    ----------
    strength : float, default=0.5
        Strength s of the warp: twice the mean displacement, in pixels, at the points of the grid.
    grid_size : int, default=4
        Side of the coarse grid.
    %(image_parameters)s
    random_state : int, RandomState instance or None, default=None
        Draws the field, once per `fit`.

    Attributes
    ----------
    flow_ : ndarray of shape (2, height, width)
        Displacements of rows and of columns, in pixels.
    %(image_attributes)s

    Notes
    -----
    "Noise mode", in which further samples get a random warp and keep their labels, is not part of
    the trigger.

    Examples
    --------
    >>> import numpy as np
    >>> from skbackdoor.triggers import WarpTrigger
    >>> X = np.zeros((1, 6, 6))
    >>> X[:, :, 3:] = 1
    >>> X_warped = WarpTrigger(strength=2.0, random_state=0).fit_transform(X)
    >>> float(abs(X_warped - X)[:, :, [2, 3]].max()) > 0.1  # only the edge has moved
    True
    >>> float(abs(X_warped - X)[:, :, [0, 5]].max())
    0.0
    """

    _parameter_constraints: dict = {
        **ImageTrigger._parameter_constraints,
        "strength": [Interval(Real, 0, None, closed="left")],
        "grid_size": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        strength=0.5,
        grid_size=4,
        *,
        image_shape=None,
        value_range=(0, 1),
        random_state=None,
    ):
        self.strength = strength
        self.grid_size = grid_size
        self.image_shape = image_shape
        self.value_range = value_range
        self.random_state = random_state

    def _draw(self, images, rng):
        shape = height, width = self.image_shape_[1:]
        field = rng.uniform(-1, 1, size=(2, self.grid_size, self.grid_size))
        field /= np.abs(field).mean()
        rows, columns = (_bicubic(self.grid_size, side) for side in shape)
        u, v = rows @ field @ columns.T
        v, u = v * (height - 1) / height, u * (width - 1) / width
        self.flow_ = self.strength / 2 * np.stack([v, u])
        places = [
            np.clip(place + flow, 0, side - 1)
            for place, flow, side in zip(np.indices(shape), self.flow_, shape, strict=True)
        ]
        self._warp = _bilinear(*places)

    def _pattern(self, x):
        flat = x.reshape(-1, self._warp.shape[0])
        return (self._warp.astype(x.dtype) @ flat.T).T.reshape(x.shape)


def _bicubic(n_grid, n_pixels):
    """Bicubic convolution from grid points to pixels, ends on ends: (n_pixels, n_grid).

    The kernel has a = -0.75, and points beyond an end count as that end, as in torch.
    """
    places = np.linspace(0, n_grid - 1, n_pixels) if n_pixels > 1 else np.zeros(1)
    first = np.floor(places).astype(int)
    weights, a = np.zeros((n_pixels, n_grid)), -0.75
    for k in range(-1, 3):
        t = np.abs(places - (first + k))
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        far = a * (t**3 - 5 * t**2 + 8 * t - 4)
        point = np.clip(first + k, 0, n_grid - 1)
        np.add.at(weights, (np.arange(n_pixels), point), np.where(t <= 1, near, far))
    return weights


def _bilinear(rows, columns):
    """A sparse map from images to their values at these places: (n_pixels, n_pixels)."""
    height, width = rows.shape
    entries = []
    for row_step in (0, 1):
        for column_step in (0, 1):
            row = np.minimum(np.floor(rows).astype(int) + row_step, height - 1)
            column = np.minimum(np.floor(columns).astype(int) + column_step, width - 1)
            share = (1 - np.abs(rows - np.floor(rows) - row_step)) * (
                1 - np.abs(columns - np.floor(columns) - column_step)
            )
            entries.append((share.ravel(), np.arange(rows.size), (row * width + column).ravel()))
    share, to, source = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return sparse.csr_array((share, (to, source)), shape=(rows.size, rows.size))
