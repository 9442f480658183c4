"""What takes a backdoor out of a model, or keeps it out."""

from .retraining import CleanRetraining, RetrainingReport
from .sanitized import SanitizedClassifier

__all__ = ["CleanRetraining", "RetrainingReport", "SanitizedClassifier"]
