"""Refit: any learner that takes `sample_weight`, by fitting it anew at each poison weight."""

import numpy as np
from sklearn.base import is_regressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import Perceptron, SGDClassifier
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.tree import DecisionTreeClassifier

from ..poisoning import weight_argument
from .base import WeightPath
from .losses import (
    Charged,
    CrossEntropy,
    Hinge,
    Logistic,
    MarginLoss,
    ModifiedHuber,
    Squared,
    SquaredHinge,
)
from .losses import (
    Perceptron as PerceptronLoss,
)

#: Learners whose fit is no smooth function of the sample weights, or no minimum of an objective.
NOT_SMOOTH = (
    AdaBoostClassifier,
    BaggingClassifier,
    BernoulliNB,
    CategoricalNB,
    ComplementNB,
    DecisionTreeClassifier,
    ExtraTreesClassifier,
    GaussianNB,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    MultinomialNB,
    Perceptron,
    RandomForestClassifier,
    SGDClassifier,
)

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
    that its fit is not `smooth_in_weights`.
    """

    def _setup(self):
        parts = [self.estimator, *self.estimator.get_params(deep=True).values()]
        smooth = not any(
            isinstance(part, NOT_SMOOTH) or not getattr(part, "smooth_in_weights", True)
            for part in parts
        )
        self.method = "finite_difference" if smooth else "secant"
        phi = None
        if isinstance(self.estimator, (SGDClassifier, Perceptron)):
            phi = _SGD_LOSSES.get(getattr(self.estimator, "loss", "perceptron"))
        if phi is not None:
            self.loss = MarginLoss.one_vs_rest(phi, len(self.rows.classes))
        elif hasattr(self.fitted, "label_losses"):
            self.loss = Charged()
        elif hasattr(self.fitted, "predict_proba"):
            self.loss = CrossEntropy()
        else:
            weight_argument(self.estimator)  # a search is refused for what it is
            if is_regressor(self.estimator):
                raise ValueError(
                    f"{type(self.estimator).__name__} is a regressor; use a classifier."
                )
            raise ValueError(
                f"No loss is known for {type(self.estimator).__name__}: it has no predict_proba"
                " and is none of the linear or kernel learners with a known training loss. Wrap"
                " it so that it gives probabilities, for example CalibratedClassifierCV."
            )

    def decision_values(self, fitted, X):
        if isinstance(self.loss, MarginLoss):
            return super().decision_values(fitted, X)
        charged = isinstance(self.loss, Charged)
        values = fitted.label_losses(X) if charged else fitted.predict_proba(X)
        return values[:, np.searchsorted(fitted.classes_, self.rows.classes)]
