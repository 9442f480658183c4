"""Backdoor learning curves, their slope, how much poison breaks a model, how far it moves it.

The slope is in ``skbackdoor.slope``, curve and deviation in ``skbackdoor.curve``, the breakdown
rate in ``skbackdoor.breakdown``. What the
attribute `method` of a result says is one vocabulary. Of fits along a path (curves, and the
solutions of :func:`~skbackdoor.weight_path`, whose docstring says for which learners):

- "closed form", "continuation", "dual path": exact, by the learner's own family;
- "kernel refit", "refit": the learner fitted at each weight, at its own tolerance.

Of derivatives (slopes and :func:`~skbackdoor.input_gradient`):

- "implicit": implicit differentiation at the clean optimum;
- "chain rule", "autograd": through the learner's own formula, or a network;
- "finite_difference": a difference of smooth values, so an approximate derivative;
- "secant": a difference of values that may jump, which is no derivative.
"""

from .breakdown import BackdoorBreakdown, backdoor_breakdown
from .curve import (
    BackdoorCurve,
    ParameterDeviation,
    backdoor_learning_curve,
    parameter_deviation,
)
from .slope import BackdoorSlope, backdoor_learning_slope

__all__ = [
    "BackdoorBreakdown",
    "BackdoorCurve",
    "BackdoorSlope",
    "ParameterDeviation",
    "backdoor_breakdown",
    "backdoor_learning_curve",
    "backdoor_learning_slope",
    "parameter_deviation",
]
