"""Poison that is already in the training data: found, and said why."""

from .activation_clustering import ActivationClustering
from .base import Findings, PoisonDetector
from .group import PoisonGroup, TriggerSuccess
from .label_association import LabelAssociation
from .leave_group_out import LeaveGroupOutDetector
from .spectral_signatures import SpectralSignatures
from .strip import StripFilter

__all__ = [
    "ActivationClustering",
    "Findings",
    "LabelAssociation",
    "LeaveGroupOutDetector",
    "PoisonDetector",
    "PoisonGroup",
    "SpectralSignatures",
    "StripFilter",
    "TriggerSuccess",
]
