"""Raw images to what a network wants: layout, channels, size, normalisation, all on its device."""

from math import prod
from numbers import Integral

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate


class ImageNetwork(nn.Module):
    """A network that takes raw images of any size.

    Parameters
    ----------
    network : torch.nn.Module
        Takes normalised images of shape (n_samples, channels, height, width).
    image_size : int or None
        Side to which images are resized (bilinear, with antialiasing where they shrink); None
        leaves them as they are.
    normalisation : pair of sequences of float, default=None
        Mean of each channel's pixels in [0, 1], which is taken off, and the deviation by which
        they are divided; None leaves them as they are.

    Notes
    -----
    Channels stand last in memory, of images and weights, as torch advises for convolutions.
    """

    def __init__(self, network, image_size=None, normalisation=None):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.image_size = image_size
        self.channels = next(
            (m.in_channels for m in network.modules() if isinstance(m, nn.Conv2d)), None
        )
        mean, deviation = (
            torch.tensor(values).view(1, -1, 1, 1) for values in normalisation or ((0.0,), (1.0,))
        )
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

    def prepare(self, X):
        """Images in [0, 1] as the network wants them."""
        if X.dim() == 3:
            X = X[:, None]
        if self.channels is not None and X.shape[1] != self.channels:
            if X.shape[1] != 1:
                raise ValueError(
                    f"X has images of {X.shape[1]} channels, and the network takes"
                    f" {self.channels}: pass images of shape (n_samples, {self.channels}, height,"
                    " width), or gray ones of one channel, which is repeated."
                )
            X = X.expand(-1, self.channels, -1, -1)
        size = self.image_size
        if size is not None and X.shape[-2:] != (size, size):
            X = interpolate(X, (size, size), mode="bilinear", antialias=True)
        X = (X - self.mean) / self.deviation
        return X.contiguous(memory_format=torch.channels_last)

    def forward(self, X):
        return self.network(self.prepare(X))


def as_images(X, image_shape):
    """An array as images of shape (n_samples, channels, height, width), not copied if possible.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Flat images, (n_samples, height, width) or (n_samples, channels, height, width).
    image_shape : tuple of two or three int or None
        Layout of flat images.

    Returns
    -------
    images : ndarray of shape (n_samples, channels, height, width)
    """
    X = np.asarray(X)
    if image_shape is not None and not (
        len(image_shape) in (2, 3) and all(isinstance(s, Integral) and s > 0 for s in image_shape)
    ):
        raise ValueError(
            f"image_shape={image_shape!r} must be (height, width) or (channels, height, width)."
        )
    if X.ndim == 2:
        if image_shape is None or prod(image_shape) != X.shape[1]:
            raise ValueError(
                f"X has {X.shape[1]} features and image_shape={image_shape!r}: flat images need"
                " an image_shape of (height, width) or (channels, height, width) with as many"
                " pixels."
            )
        return X.reshape(len(X), *((1,) * (3 - len(image_shape))), *image_shape)
    if X.ndim == 3:
        return X[:, None]
    if X.ndim != 4:
        raise ValueError(f"X has shape {X.shape}; images have two to four dimensions.")
    return X


def to_tensor(images, device):
    """Images as float32 on a device; integers in [0, 255] become floats in [0, 1] there."""
    if images.dtype.kind == "f":
        return torch.as_tensor(np.ascontiguousarray(images, dtype=np.float32)).to(device)
    if images.dtype != np.uint8:
        raise ValueError(f"X has dtype {images.dtype}: pass floats in [0, 1], or uint8.")
    return torch.as_tensor(np.ascontiguousarray(images)).to(device).float() / 255
