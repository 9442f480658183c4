"""Poison that is already in the training data: found, and said why."""

from .base import Findings, PoisonDetector
from .group import PoisonGroup, TriggerSuccess
from .leave_group_out import LeaveGroupOutDetector

__all__ = [
    "Findings",
    "LeaveGroupOutDetector",
    "PoisonDetector",
    "PoisonGroup",
    "TriggerSuccess",
]
