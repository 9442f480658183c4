"""Hinge machines, exactly: one door, :class:`HingeOptimum`.

The dual of an SVM is piecewise linear in the poison weight. Following it gives, without a
tolerance, the fit at every weight, every breakpoint, and the weight at which a sample changes
sides; what is stored is judged by its optimality conditions, and by nothing else.

``problem`` says what is solved and how a point is judged; ``active_set``, ``walk`` and
``margin_set`` follow an optimum; ``interior_point`` and ``face`` serve where that gets lost;
``solve`` takes the one or the other; ``optimum`` and ``path`` stand over all binary problems.
"""

from .optimum import HingeOptimum

__all__ = ["HingeOptimum"]
