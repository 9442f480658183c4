"""Pictures: one file a display."""

from .grad_cam import GradCAMDisplay
from .learning_curve import BackdoorLearningCurveDisplay
from .trigger import TriggerDisplay

__all__ = ["BackdoorLearningCurveDisplay", "GradCAMDisplay", "TriggerDisplay"]
