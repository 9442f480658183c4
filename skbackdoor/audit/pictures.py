"""Small pictures inside the page: PNG as data URIs, without another package."""

import base64
import struct
import zlib

import numpy as np


def png(pixels):
    """A picture as a PNG file (W3C, Portable Network Graphics, third edition).

    Parameters
    ----------
    pixels : ndarray of uint8 of shape (height, width) or (height, width, 3)

    Returns
    -------
    data : bytes
    """
    height, width = pixels.shape[:2]
    lines = np.ascontiguousarray(pixels).reshape(height, -1)
    raw = b"".join(b"\x00" + line.tobytes() for line in lines)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b"")
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def picture(sample, image_shape, low, high):
    """One image as a data URI.

    Parameters
    ----------
    sample : ndarray
        Its numbers, flat or not.
    image_shape : tuple of two or three int
        (height, width) or (channels, height, width).
    low, high : float
        What is black and what is white.

    Returns
    -------
    uri : str
    """
    shape = image_shape if len(image_shape) == 3 else (1, *image_shape)
    image = (np.asarray(sample, dtype=float).reshape(shape) - low) / ((high - low) or 1.0)
    image = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    image = np.moveaxis(image, 0, -1) if shape[0] == 3 else image[0]
    return data_uri("image/png", png(image))


def data_uri(kind, data):
    """Bytes or text as a data URI."""
    data = data.encode() if isinstance(data, str) else data
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
