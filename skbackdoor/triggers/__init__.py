"""Triggers: maps from clean samples to triggered samples.

Every trigger is a scikit-learn transformer. It keeps the shape, the dtype and the container of
what it is given and never writes to it; a Pipeline of triggers is a trigger. Image triggers are
one formula, eq. 7 of Truong et al., *Systematic evaluation of backdoor data poisoning attacks on
image classifiers* (2020)::

    x' = m * ((1 - alpha) * x + alpha * pattern(x)) + (1 - m) * x

with a mask m that is 1 where the trigger acts (the paper's is 1 - m), and an opacity alpha.
:class:`~skbackdoor.ImageTrigger` does all of it; a new image trigger says where it acts and what
it shows there.
"""

# The one list of triggers: `import skbackdoor` and the tests take them from here.
from .blend import BlendTrigger as BlendTrigger
from .family import trigger_family as trigger_family
from .feature import FeatureTrigger as FeatureTrigger
from .feature import Quantile as Quantile
from .function import FunctionTrigger as FunctionTrigger
from .image import ImageTrigger as ImageTrigger
from .low_variance import LowVarianceTrigger as LowVarianceTrigger
from .mask import MaskTrigger as MaskTrigger
from .patch import PatchTrigger as PatchTrigger
from .per_class import PerClassTrigger as PerClassTrigger
from .sinusoid import SinusoidTrigger as SinusoidTrigger
from .stripe import StripeTrigger as StripeTrigger
from .token import TokenTrigger as TokenTrigger
from .warp import WarpTrigger as WarpTrigger

__all__ = [name for name, value in list(vars().items()) if isinstance(value, type)]
