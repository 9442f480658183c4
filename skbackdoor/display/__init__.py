"""Pictures: one file a display, all with `from_estimator`, `from_results` and `plot`."""

from .learning_curve import BackdoorLearningCurveDisplay

__all__ = ["BackdoorLearningCurveDisplay"]
