r"""Ridge: :math:`\sum_i s_i (f_i - y_i)^2 + \alpha \|w\|^2` with a free intercept."""

import numpy as np
from sklearn.linear_model import Ridge, RidgeClassifier

from .base import WeightPath, as_float64
from .linear import LinearObjective, LinearOptimum
from .losses import MarginLoss, Squared, SquaredError


class RidgePath(WeightPath):
    """`RidgeClassifier` (targets +-1, one output a class) and `Ridge` on numeric labels."""

    @staticmethod
    def handles(estimator):
        """Whether this family knows the loss of a learner."""
        return isinstance(estimator, (Ridge, RidgeClassifier))

    def _cast(self, X):
        return as_float64(X)

    def _setup(self):
        rows = self.rows
        exact = type(self.estimator) in (Ridge, RidgeClassifier)  # a subclass may fit otherwise
        if not exact or self.estimator.positive or np.ndim(self.estimator.alpha) > 0:
            self.method = "finite_difference"
        if isinstance(self.estimator, Ridge):
            if rows.classes.dtype.kind not in "iufb":
                raise ValueError(
                    f"Ridge regresses on numbers, but the labels are {rows.classes.tolist()};"
                    " use RidgeClassifier, which fits the same loss on targets of +-1."
                )
            self.loss = SquaredError(rows.classes)
        else:
            self.loss = MarginLoss.one_vs_rest(Squared(), len(rows.classes))

    def decision_values(self, fitted, X):
        return linear_decision(fitted, X)

    def predict(self, fitted, X):
        """For `Ridge` the label nearest to the predicted number."""
        if isinstance(fitted, Ridge):
            classes = self.rows.classes
            nearest = np.abs(fitted.predict(X).reshape(-1, 1) - classes[None, :]).argmin(axis=1)
            return classes[nearest]
        return fitted.predict(X)

    def optimum(self, rtol=None):
        """The clean fit as it is, with the rate at which poison moves it."""
        rows, fitted = self.rows, self.fitted
        weight, weight_poison = self.training_weights()
        objective = LinearObjective(
            rows.X, rows.y, weight, self.loss, 2.0 * fitted.alpha, fitted.fit_intercept
        )
        poison = (rows.X_poison, rows.y_poison, weight_poison)
        return LinearOptimum(objective, parameters(fitted), poison, rtol)


def linear_decision(fitted, X):
    """X W^T + b of a fitted linear learner, shape (n_samples, n_outputs)."""
    W = parameters(fitted)
    F = np.asarray(X @ W[:, : X.shape[1]].T)
    return F + W[:, -1] if fitted.fit_intercept else F


def parameters(fitted):
    """Coefficients and, if there is one, intercept: shape (n_outputs, n_parameters)."""
    coef = np.atleast_2d(np.asarray(fitted.coef_, dtype=np.float64))
    if not fitted.fit_intercept:
        return coef
    intercept = np.ravel(np.asarray(fitted.intercept_, dtype=np.float64))
    return np.column_stack([coef, intercept])
