"""Which axes of a batch of images are channels, height and width."""

from math import isqrt
from numbers import Integral

import numpy as np


def layout_of(pixels, shape, fitted=None):
    """(channels, height, width) of the images in a batch.

    Parameters
    ----------
    pixels : ndarray of shape (n_images, ...)
        Flat images in two dimensions; with more, a batch says its own layout, channels first.
    shape : tuple of two or three int, or None
        The parameter `image_shape` of a trigger.
    fitted : tuple of three int, default=None
        The layout that a trigger was fitted on, which flat images of as many pixels have too.

    Raises
    ------
    ValueError
        The shape is none, contradicts the pixels, or has its channels last.
    """
    if shape is not None and not (
        len(shape) in (2, 3) and all(isinstance(s, Integral) and s >= 1 for s in shape)
    ):
        raise ValueError(
            f"image_shape={shape!r} must be (height, width) or (channels, height, width), "
            "in whole pixels."
        )
    given = None if shape is None else tuple(int(s) for s in shape)
    if 0 in pixels.shape:
        raise ValueError(f"X has shape {pixels.shape}, so there are no pixels in it.")
    if pixels.ndim > 4:
        raise ValueError(
            f"X has shape {pixels.shape}, and images have at most four dimensions: "
            "(n_samples, channels, height, width)."
        )
    if pixels.ndim > 2:
        own = pixels.shape[1:] if pixels.ndim == 4 else (1, *pixels.shape[1:])
        if given is not None and given != own[-len(given) :]:
            raise ValueError(
                f"image_shape={shape!r} contradicts X of shape {pixels.shape}. A batch with "
                "more than two dimensions says its own layout, channels first: pass "
                "image_shape=None."
            )
        if pixels.ndim == 4:
            _check_channels(own, f"X has shape {pixels.shape}", known=given == own)
        return own
    n_features = pixels.shape[1]
    if fitted is not None and np.prod(fitted) == n_features:
        return fitted
    if given is None:
        return (1, 1, n_features)
    if np.prod(given) != n_features:
        raise ValueError(
            f"image_shape={shape!r} has {np.prod(given)} pixels, and X has {n_features} "
            f"features. Shapes that fit are {_shapes_that_fit(n_features)}, and None for one "
            f"row of {n_features}."
        )
    if len(given) == 3:
        _check_channels(given, f"image_shape={shape!r}", known=True)
    return given if len(given) == 3 else (1, *given)


def _check_channels(shape, where, known=False):
    """Raise if images have their channels last; square ones have, also if it is `known`."""
    first, height, width = shape
    last = first > 4 and width in (1, 3, 4) and height != width  # features come in squares
    square = last and first == height
    if square or (last and not known):
        out = (
            ""
            if square
            else (
                f"; if they are first already, say so by image_shape=({first}, {height}, {width})"
            )
        )
        raise ValueError(
            f"{where}, which looks like images with their channels last: it would be read as"
            f" {first} channels of {height}x{width} pixels. Put the channels first,"
            f" np.moveaxis(X, -1, 1) of a batch (n_samples, height, width, channels){out}."
        )


def _shapes_that_fit(n_features):
    """Name the squarest image shapes with so many pixels, in gray and (if square) in colour."""
    height = next(h for h in range(isqrt(n_features), 0, -1) if n_features % h == 0)
    shapes = [f"({height}, {n_features // height})"]
    side = isqrt(n_features // 3)
    if 3 * side * side == n_features:
        shapes.append(f"(3, {side}, {side})")
    return ", ".join(shapes)
