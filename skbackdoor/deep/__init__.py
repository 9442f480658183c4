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
from .grad_cam import feature_maps, grad_cam
from .last_layer import last_layer_slope
from .net import BackdoorNetClassifier
from .regularizers import (
    ContrastiveLoss,
    LogitSqueezing,
    ManifoldMixup,
    SoftNearestNeighborLoss,
)
from .scoring import AttackSuccessScoring

__all__ = [
    "AttackSuccessScoring",
    "BackdoorNetClassifier",
    "ContrastiveLoss",
    "DeepFeatures",
    "ImageClassifier",
    "LogitSqueezing",
    "ManifoldMixup",
    "SoftNearestNeighborLoss",
    "feature_maps",
    "grad_cam",
    "image_classifier",
    "last_layer_slope",
]
