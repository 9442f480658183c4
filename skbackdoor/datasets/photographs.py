"""Photographs from files: their middle square, resized."""

import numpy as np


def read_images(files, side, fetcher):
    """Images of some files, uint8 of shape (n, 3, side, side)."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError(f"{fetcher} reads JPEG files: pip install pillow.") from error
    images = np.empty((len(files), 3, side, side), dtype=np.uint8)
    for image, file in zip(images, files, strict=True):
        with Image.open(file) as opened:
            fitted = ImageOps.fit(opened.convert("RGB"), (side, side))
        image[:] = np.asarray(fitted).transpose(2, 0, 1)
    return images
