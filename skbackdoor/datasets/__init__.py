"""Data to try backdoors on: real images, and synthetic ones with a corner that nothing uses.

Digits and synthetic images are flat, float64 in [0, 1], and the `image_shape` beside them is what
the image triggers ask for. Colour images are uint8 batches (n, channels, height, width), for which
they ask ``value_range=(0, 255)``.
"""

from .cifar10 import fetch_cifar10
from .digits import load_digits_pair
from .flowers import fetch_flowers
from .imagenette import fetch_imagenette
from .mnist import fetch_mnist
from .synthetic import make_backdoor_classification
from .tiny_imagenet import fetch_tiny_imagenet

__all__ = [
    "fetch_cifar10",
    "fetch_flowers",
    "fetch_imagenette",
    "fetch_mnist",
    "fetch_tiny_imagenet",
    "load_digits_pair",
    "make_backdoor_classification",
]
