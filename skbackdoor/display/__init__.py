"""Pictures: one file a display."""

from .learning_curve import BackdoorLearningCurveDisplay
from .trigger import TriggerDisplay

__all__ = ["BackdoorLearningCurveDisplay", "TriggerDisplay"]
