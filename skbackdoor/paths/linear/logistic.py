r"""Logistic regression: :math:`C \sum_i s_i \ell_i + \frac12 \|W\|^2`, every l2 solver.

Two classes: :math:`\ell = \log(1 + e^{-yf})`; more: softmax cross-entropy, or one problem a class
where the solver does that. The intercept is free, but for liblinear, whose penalty takes it in as
the weight of a constant feature of value `intercept_scaling`.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

from ..base import WeightPath
from ..losses import Logistic, MarginLoss, Multinomial
from ..rows import as_float64
from ..smooth import difference
from ..threads import one_blas_thread
from .continuation import Continuation
from .first_switches import smooth_switches
from .fitted import linear_decision, parameters
from .optimum import LinearOptimum
from .problem import LinearProblem


class LogisticPath(WeightPath):
    """`LogisticRegression`: binary, multinomial or one-vs-rest; a closed form with l2 penalty."""

    @staticmethod
    def handles(estimator):
        """Whether this family knows the loss of a learner."""
        searches = isinstance(estimator, LogisticRegressionCV)
        return isinstance(estimator, LogisticRegression) and not searches

    @staticmethod
    def cast(estimator, X):
        return as_float64(X)

    def _setup(self):
        estimator, n_classes = self.estimator, len(self.rows.classes)
        penalty = estimator.penalty
        if penalty in ("deprecated", "elasticnet"):  # "deprecated" since 1.8
            penalty = "l1" if estimator.l1_ratio else "l2"
        if penalty == "l1" or type(estimator) is not LogisticRegression:
            self.method = difference(estimator)
            self.warm_start = estimator.solver != "liblinear"
        elif estimator.penalty is None or np.isinf(estimator.C):
            self.refusal = (
                "LogisticRegression without regularization (C=inf or penalty=None): its Hessian"
                " can be singular and its optimum can lie at infinity, so path and implicit slope"
                " are refused. Give a finite C, or method='finite_difference' for the slope."
            )
        scheme = getattr(estimator, "multi_class", "auto")  # gone since 1.8
        if n_classes == 2 and scheme == "multinomial":
            raise ValueError(
                "LogisticRegression(multi_class='multinomial') on two classes fits each weight"
                " twice; leave multi_class at its default."
            )
        if n_classes == 2 or scheme == "ovr" or estimator.solver == "liblinear":
            self.loss = MarginLoss.one_vs_rest(Logistic(), n_classes)
        else:
            self.loss = Multinomial()

    def decision_values(self, fitted, X):
        return linear_decision(fitted, X)

    def optimum(self, rtol=None):
        """The clean fit as it is, with the rate at which poison moves it."""
        if self.refusal is not None:
            raise ValueError(self.refusal)
        rows, estimator = self.rows, self.estimator
        if estimator.solver == "liblinear":
            clean, poison = rows.clean, rows.poison
            loss = self.loss.with_class_weight(rows.class_weight)
            intercept_penalty = 1.0 / estimator.intercept_scaling**2
        else:
            weight, weight_poison = rows.weights
            clean = rows.clean._replace(weight=weight)
            poison = rows.poison._replace(weight=weight_poison)
            loss, intercept_penalty = self.loss, 0.0
        problem = LinearProblem(
            clean,
            poison,
            loss,
            1.0 / estimator.C,
            estimator.fit_intercept,
            intercept_penalty,
        )
        W = problem.centring.to_centred(parameters(self.fitted))
        return LinearOptimum(problem, W, rtol)

    def _label_switches(self, rows, y, until=None):
        return smooth_switches(self, rows, y, until)

    def _solve(self, weights, n_jobs=None):
        with one_blas_thread(self.rows.clean.X):
            with warnings.catch_warnings():
                # The clean fit is only where the path starts; its residual is checked.
                warnings.simplefilter("ignore", ConvergenceWarning)
                start = self._polished or self.optimum()
            return Continuation(self, start).solution(weights)
