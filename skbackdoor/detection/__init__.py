"""Poison that is already in the training data: found, and said why."""

from .base import Findings, PoisonDetector
from .group import PoisonGroup

__all__ = ["Findings", "PoisonDetector", "PoisonGroup"]
