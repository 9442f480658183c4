"""What takes a backdoor out of a model."""

from .retraining import CleanRetraining, RetrainingReport

__all__ = ["CleanRetraining", "RetrainingReport"]
