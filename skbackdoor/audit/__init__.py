"""An audit that anyone can run: is there a backdoor in these data, or in this model?"""

from .model import ClassChange, ModelAudit, audit_model

__all__ = ["ClassChange", "ModelAudit", "audit_model"]
