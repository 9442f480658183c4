"""Pictures: one file a display."""

from .grad_cam import GradCAMDisplay
from .heatmap import RobustnessHeatmapDisplay
from .learning_curve import BackdoorLearningCurveDisplay
from .parameter_deviation import ParameterDeviationDisplay
from .slope import BackdoorSlopeDisplay
from .trigger import TriggerDisplay

__all__ = [
    "BackdoorLearningCurveDisplay",
    "BackdoorSlopeDisplay",
    "GradCAMDisplay",
    "ParameterDeviationDisplay",
    "RobustnessHeatmapDisplay",
    "TriggerDisplay",
]
