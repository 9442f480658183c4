"""An audit that anyone can run: is there a backdoor in these data, or in this model?"""

from .model import ClassChange, ModelAudit, audit_model
from .report import AuditGroup, AuditReport, Remedy, Withstood
from .training_data import audit

__all__ = [
    "AuditGroup",
    "AuditReport",
    "ClassChange",
    "ModelAudit",
    "Remedy",
    "Withstood",
    "audit",
    "audit_model",
]
