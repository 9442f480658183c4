"""Hinge machines, exactly: :class:`HingeOptimum`.

The dual of an SVM is piecewise linear in the poison weight. Following it gives the fit at every
weight without a tolerance, every breakpoint, and so the weight at which each triggered sample
gives in: the flip rates of which a breakdown rate is made. Refits give none of the three.

A file calls only those below it:

- ``optimum``, ``path``: all binary problems of a machine, at beta = 0+ and at every weight;
- ``derivative``, ``solve``: what an optimum is followed for: its right derivative and Newton step,
  and how to reach it, from a point near it or from anywhere (``interior_point``, ``face``);
- ``active_set``: the optimum of one problem, which moves from breakpoint to breakpoint;
- ``margin_set``, ``intercept``, ``ratio_test``: the inverse on the free rows; the intercept where
  there is none; which row comes to its margin or its bound first;
- ``problem``: what is solved, and how a point is judged: by its optimality conditions alone.
"""

from .optimum import HingeOptimum

__all__ = ["HingeOptimum"]
