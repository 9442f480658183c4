r"""Ridge: :math:`\sum_i s_i (f_i - y_i)^2 + \alpha \|w\|^2` with a free intercept."""

from functools import cached_property

import numpy as np
from sklearn.linear_model import RidgeClassifier

from ..base import WeightPath
from ..losses import MarginLoss, Squared
from ..rows import as_float64
from ..smooth import difference
from ..threads import one_blas_thread
from .closed_form import ClosedForm
from .continuation import Continuation
from .first_switches import smooth_switches
from .fitted import linear_decision, parameters
from .optimum import LinearOptimum
from .problem import LinearProblem

#: The closed form factorises the smaller side of X, if it is no larger: a matrix of 200 MB.
LARGEST_FACTOR = 5000


class RidgePath(WeightPath):
    """`RidgeClassifier`: targets +-1, one output a class."""

    @staticmethod
    def handles(estimator):
        """Whether this family knows the loss of a learner."""
        return isinstance(estimator, RidgeClassifier)

    @staticmethod
    def cast(estimator, X):
        return as_float64(X)

    def _setup(self):
        rows = self.rows
        exact = type(self.estimator) is RidgeClassifier  # a subclass may fit otherwise
        if not exact or self.estimator.positive or np.ndim(self.estimator.alpha) > 0:
            self.method = difference(self.estimator)
        self.loss = MarginLoss.one_vs_rest(Squared(), len(rows.classes))

    def decision_values(self, fitted, X):
        return linear_decision(fitted, X)

    def optimum(self, rtol=None):
        """The clean fit as it is, with the rate at which poison moves it."""
        rows, estimator = self.rows, self.estimator
        weight, weight_poison = rows.weights
        problem = LinearProblem(
            rows.clean._replace(weight=weight),
            rows.poison._replace(weight=weight_poison),
            self.loss,
            2.0 * estimator.alpha,
            estimator.fit_intercept,
        )
        to_centred = problem.centring.to_centred
        if self.known_fit is not None or self._is_large:
            return LinearOptimum(problem, to_centred(parameters(self.fitted)), rtol)
        solution = self._solve(np.zeros(1))
        W, tangent = to_centred(solution.W[0]), to_centred(solution.W_rate[0])
        return LinearOptimum(problem, W, rtol, tangent)

    def _solve(self, weights, n_jobs=None):
        with one_blas_thread(self.rows.clean.X):
            if self._is_large:
                return Continuation(self, self.optimum()).solution(weights)
            return self._closed_form.solution(weights)

    def _label_switches(self, rows, y, until=None):
        if self._is_large:
            return smooth_switches(self, rows, y, until)
        with one_blas_thread(self.rows.clean.X):
            return self._closed_form.label_switches(rows, y)

    @property
    def _is_large(self):
        return min(self.rows.clean.X.shape) > LARGEST_FACTOR

    @cached_property
    def _closed_form(self):
        return ClosedForm(self)
