"""Refit: any learner that takes `sample_weight`, by fitting it anew at each poison weight."""

import numpy as np
from sklearn.linear_model import Perceptron, SGDClassifier

from ..learners import weight_argument
from .base import WeightPath
from .losses import (
    CrossEntropy,
    Hinge,
    LabelLosses,
    Logistic,
    MarginLoss,
    ModifiedHuber,
    Squared,
    SquaredHinge,
)
from .losses import (
    Perceptron as PerceptronLoss,
)
from .smooth import difference

_SGD_LOSSES = {
    "hinge": Hinge(),
    "squared_hinge": SquaredHinge(),
    "log_loss": Logistic(),
    "modified_huber": ModifiedHuber(),
    "perceptron": PerceptronLoss(),
    "squared_error": Squared(),
}


class RefitPath(WeightPath):
    """A learner without a closed form: its slope is a finite difference or a secant.

    Its loss is the training loss where that is known (`SGDClassifier` and its kin, and learners
    with `label_losses`), else the cross-entropy of its probabilities. A learner may say itself
    whether its fit is `smooth_in_weights`.
    """

    @staticmethod
    def handles(estimator):
        """Whatever no other family knows."""
        return True

    def _setup(self):
        self.method = difference(self.estimator)
        phi = None
        if isinstance(self.estimator, (SGDClassifier, Perceptron)):
            phi = _SGD_LOSSES.get(getattr(self.estimator, "loss", "perceptron"))
        if phi is not None:
            self.loss = MarginLoss.one_vs_rest(phi, len(self.rows.classes))
            return
        self.loss = _loss_of(self.estimator) or _loss_of(self.fitted)  # some know after fit only
        if self.loss is None:
            weight_argument(self.estimator)  # a search is refused for what it is
            raise ValueError(
                f"No loss is known for {type(self.estimator).__name__}: it has no predict_proba"
                " and is none of the linear or kernel learners with a known training loss. Wrap"
                " it so that it gives probabilities, for example CalibratedClassifierCV."
            )

    def decision_values(self, fitted, X):
        if isinstance(self.loss, MarginLoss):
            return super().decision_values(fitted, X)
        by_label = isinstance(self.loss, LabelLosses)
        values = fitted.label_losses(X) if by_label else fitted.predict_proba(X)
        return values[:, np.searchsorted(fitted.classes_, self.rows.classes)]


def _loss_of(estimator):
    """The loss that an estimator's methods give, or None."""
    if hasattr(estimator, "label_losses"):
        return LabelLosses()
    return CrossEntropy() if hasattr(estimator, "predict_proba") else None
