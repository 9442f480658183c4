"""Deep networks through the same API; needs the extra ``deep`` (torch, torchvision, skorch)."""

try:
    import skorch  # noqa: F401
    import torch  # noqa: F401
    import torchvision  # noqa: F401
except ImportError as error:
    raise ImportError(
        "skbackdoor.deep needs torch, torchvision and skorch: pip install 'skbackdoor[deep]'."
        f" ({error})"
    ) from error

from .classifier import ImageClassifier, image_classifier
from .features import DeepFeatures
from .net import BackdoorNetClassifier

__all__ = ["BackdoorNetClassifier", "DeepFeatures", "ImageClassifier", "image_classifier"]
