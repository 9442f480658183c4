"""Linear models whose loss is smooth: ridge, logistic regression, the squared-hinge SVM.

A learner family makes a :class:`LinearProblem` of its rows; :class:`LinearOptimum` is its fit at
poison weight 0 and how that moves, :class:`Continuation` its fit at every weight.
"""

from .continuation import Continuation
from .first_switches import smooth_switches
from .fitted import linear_decision, parameters
from .logistic import LogisticPath
from .optimum import LinearOptimum
from .problem import LinearProblem
from .ridge import RidgePath

__all__ = [
    "Continuation",
    "LinearOptimum",
    "LinearProblem",
    "LogisticPath",
    "RidgePath",
    "linear_decision",
    "parameters",
    "smooth_switches",
]
