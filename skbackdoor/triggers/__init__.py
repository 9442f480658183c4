"""Triggers: maps from clean samples to triggered samples.

Every trigger is a scikit-learn transformer. It keeps the shape, the dtype and the container of
what it is given and never writes to it; a Pipeline of triggers is a trigger. Image triggers are
one formula, eq. 7 of Truong et al., *Systematic evaluation of backdoor data poisoning attacks on
image classifiers* (2020)::

    x' = m * ((1 - alpha) * x + alpha * pattern(x)) + (1 - m) * x

with a mask m that is 1 where the trigger acts, and an opacity alpha. :class:`ImageTrigger` does
all of it; a new image trigger says where it acts and what it shows there.
"""

from .blend import BlendTrigger
from .feature import FeatureTrigger, Quantile
from .function import FunctionTrigger
from .image import ImageTrigger
from .low_variance import LowVarianceTrigger
from .patch import PatchTrigger
from .per_class import PerClassTrigger
from .sinusoid import SinusoidTrigger
from .stripe import StripeTrigger
from .token import TokenTrigger
from .warp import WarpTrigger

__all__ = [
    "BlendTrigger",
    "FeatureTrigger",
    "FunctionTrigger",
    "ImageTrigger",
    "LowVarianceTrigger",
    "PatchTrigger",
    "PerClassTrigger",
    "Quantile",
    "SinusoidTrigger",
    "StripeTrigger",
    "TokenTrigger",
    "WarpTrigger",
]
