"""Lines that the docstrings of all image triggers share."""

import re
from textwrap import indent

_SHARED = {
    "image_parameters": """\
image_shape : tuple of two or three int, default=None
    (height, width) or (channels, height, width) of the flat images in a 2-D `X`; None is one
    row of `n_features` pixels. Batches with more than two dimensions say their own layout.
value_range : tuple of two float, default=(0, 1)
    Lowest and highest pixel value: touched pixels are clipped to it. Integer dtypes need one
    that fits them: (0, 255) for uint8. It is an error if it goes beyond what the dtype holds,
    if it ends at 1 or below for uint8 or uint16, or if the values of an integer `X` reach
    further outside of it than eight times its width.""",
    "image_attributes": """\
image_shape_ : tuple of three int
    (channels, height, width) of the images.
n_features_in_ : int
    Number of pixels of an image. Only defined for flat images, that is 2-D `X`.
feature_names_in_ : ndarray of shape (`n_features_in_`,)
    Column names. Only defined when `X` is a DataFrame with string names.""",
}


def shared_docstring(cls):
    """Class decorator: put shared lines where the docstring says ``%(image_parameters)s``."""
    for name, lines in _SHARED.items():
        cls.__doc__ = re.sub(
            rf"^( *)%\({name}\)s$",
            lambda found, lines=lines: indent(lines, found[1]),
            cls.__doc__ or "",
            flags=re.MULTILINE,
        )
    return cls
