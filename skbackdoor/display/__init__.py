"""Pictures: one file a display."""

from .boundary import DecisionBoundaryPathDisplay
from .grad_cam import GradCAMDisplay
from .heatmap import RobustnessHeatmapDisplay
from .influential_samples import InfluentialSamplesDisplay
from .input_gradient import InputGradientDisplay
from .learning_curve import BackdoorLearningCurveDisplay
from .parameter_deviation import ParameterDeviationDisplay
from .poison_group import PoisonGroupDisplay
from .search_report import SearchReportDisplay
from .slope import BackdoorSlopeDisplay
from .trigger import TriggerDisplay

__all__ = [
    "BackdoorLearningCurveDisplay",
    "BackdoorSlopeDisplay",
    "DecisionBoundaryPathDisplay",
    "GradCAMDisplay",
    "InfluentialSamplesDisplay",
    "InputGradientDisplay",
    "ParameterDeviationDisplay",
    "PoisonGroupDisplay",
    "RobustnessHeatmapDisplay",
    "SearchReportDisplay",
    "TriggerDisplay",
]
