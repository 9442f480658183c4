r"""The loss of one sample in a training objective, as a function of its decision values.

Every loss here maps decision values F of shape (..., n_samples, n_outputs) and label indices y of
shape (n_samples,) to

- ``value(F, y)``: the losses, shape (..., n_samples);
- ``directional(F, dF, y)``: their right derivative along dF, shape (..., n_samples);

and the smooth ones also to

- ``gradient(F, y)``: d loss / d F, shape (..., n_samples, n_outputs);
- ``curvature(F, y)``: whatever ``hessian_product`` needs, computed once for one F;
- ``hessian_product(curvature, dF)``: (d^2 loss / d F^2) dF, shape (..., n_samples, n_outputs).

Leading axes of F are fits side by side: many poison weights in one product.

``decouples`` says that the Hessian has no terms between outputs. No regulariser is part of a loss.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import expit, logsumexp, softmax

#: Within this distance of a kink a hinge loss counts as on it.
KINK = 1e-9


@dataclass(frozen=True)
class Hinge:
    r""":math:`\phi(m) = \max(0, 1 - m)` of the margin m."""

    def value(self, margin):
        return np.maximum(0.0, 1.0 - margin)

    def directional(self, margin, d_margin):
        on_kink = np.abs(1.0 - margin) <= KINK
        return np.where(on_kink, np.maximum(0.0, -d_margin), -d_margin * (margin < 1.0))


class _Smooth:
    """A margin loss with a derivative: its directional derivative follows."""

    #: Whether the curvature jumps, so that the Hessian of a neighbour may be another altogether.
    jumps = False

    def directional(self, margin, d_margin):
        return self.slope(margin) * d_margin


@dataclass(frozen=True)
class SquaredHinge(_Smooth):
    r""":math:`\phi(m) = \max(0, 1 - m)^2` of the margin m."""

    jumps = True

    def value(self, margin):
        return np.maximum(0.0, 1.0 - margin) ** 2

    def slope(self, margin):
        return -2.0 * np.maximum(0.0, 1.0 - margin)

    def curvature(self, margin):
        return 2.0 * (margin < 1.0)


@dataclass(frozen=True)
class Logistic(_Smooth):
    r""":math:`\phi(m) = \log(1 + e^{-m})`, natural logarithm, of the margin m."""

    def value(self, margin):
        # log(1 + e^-m) without overflow
        return np.maximum(0.0, -margin) + np.log1p(np.exp(-np.abs(margin)))

    def slope(self, margin):
        return -expit(-margin)

    def curvature(self, margin):
        return expit(margin) * expit(-margin)


@dataclass(frozen=True)
class Squared(_Smooth):
    r""":math:`\phi(m) = (1 - m)^2`, which is :math:`(f - y)^2` for a target y of +-1."""

    def value(self, margin):
        return (1.0 - margin) ** 2

    def slope(self, margin):
        return -2.0 * (1.0 - margin)

    def curvature(self, margin):
        return np.full_like(margin, 2.0)


@dataclass(frozen=True)
class ModifiedHuber(_Smooth):
    r""":math:`\phi(m) = \max(0, 1 - m)^2` for m >= -1, else -4 m."""

    def value(self, margin):
        return np.where(margin >= -1.0, np.maximum(0.0, 1.0 - margin) ** 2, -4.0 * margin)

    def slope(self, margin):
        return np.where(margin >= -1.0, -2.0 * np.maximum(0.0, 1.0 - margin), -4.0)


@dataclass(frozen=True)
class Perceptron:
    r""":math:`\phi(m) = \max(0, -m)` of the margin m."""

    def value(self, margin):
        return np.maximum(0.0, -margin)

    def directional(self, margin, d_margin):
        on_kink = np.abs(margin) <= KINK
        return np.where(on_kink, np.maximum(0.0, -d_margin), -d_margin * (margin < 0.0))


class MarginLoss:
    """A margin loss over several binary problems, summed over those that a sample is in.

    Parameters
    ----------
    phi : object
        The loss of one margin: ``value``, ``directional`` and, if smooth, ``slope`` and
        ``curvature``.
    signs : ndarray of shape (n_classes, n_outputs)
        +1 or -1: the side of each class in each problem; 0 where it takes no part.
    weight : ndarray of shape (n_classes, n_outputs), default=None
        Weight of each class in each problem; None is 1 where it takes part.
    """

    decouples = True

    def __init__(self, phi, signs, weight=None):
        self.phi, self.signs = phi, np.asarray(signs, dtype=float)
        self.weight = np.abs(self.signs) if weight is None else weight

    @classmethod
    def one_vs_rest(cls, phi, n_classes):
        """One problem a class against all others; for two classes only one problem."""
        signs = 2.0 * np.eye(n_classes) - 1.0
        return cls(phi, signs[:, 1:] if n_classes == 2 else signs)

    @classmethod
    def one_vs_one(cls, phi, n_classes):
        """One problem a pair i < j, in which i is positive; for two classes class 1 is."""
        pairs = list(combinations(range(n_classes), 2))
        signs = np.zeros((n_classes, len(pairs)))
        for k, (i, j) in enumerate(pairs):
            signs[i, k], signs[j, k] = 1.0, -1.0
        return cls(phi, -signs if n_classes == 2 else signs)

    @property
    def jumps(self):
        """Whether the curvature jumps."""
        return self.phi.jumps

    def with_class_weight(self, class_weight):
        """As liblinear weighs one-vs-rest problems: a class by its weight in its own, else by 1.

        Parameters
        ----------
        class_weight : ndarray of shape (n_classes,)
            Weights; for a single problem those of both sides.
        """
        column = np.asarray(class_weight, dtype=float)[:, None]
        single = self.signs.shape[1] == 1
        weight = column if single else np.where(self.signs > 0, column, 1.0)
        return MarginLoss(self.phi, self.signs, weight)

    def value(self, F, y):
        signs = self.signs[y]
        return np.sum(self.weight[y] * self.phi.value(signs * F), axis=-1)

    def directional(self, F, dF, y):
        signs = self.signs[y]
        return np.sum(self.weight[y] * self.phi.directional(signs * F, signs * dF), axis=-1)

    def gradient(self, F, y):
        signs = self.signs[y]
        return self.weight[y] * signs * self.phi.slope(signs * F)

    def curvature(self, F, y):
        signs = self.signs[y]
        return self.weight[y] * self.phi.curvature(signs * F)

    def hessian_product(self, curvature, dF):
        return curvature * dF


class Multinomial:
    r"""Cross-entropy of a softmax, :math:`-\log \mathrm{softmax}(F)_y`, one output a class."""

    decouples, jumps = False, False

    def value(self, F, y):
        return logsumexp(F, axis=-1) - F[..., np.arange(len(y)), y]

    def directional(self, F, dF, y):
        return np.sum(self.gradient(F, y) * dF, axis=-1)

    def gradient(self, F, y):
        gradient = softmax(F, axis=-1)
        gradient[..., np.arange(len(y)), y] -= 1.0
        return gradient

    def curvature(self, F, y):
        return softmax(F, axis=-1)

    def hessian_product(self, curvature, dF):
        return curvature * (dF - np.sum(curvature * dF, axis=-1, keepdims=True))


class CrossEntropy:
    """-log of the probability of the label, probabilities clipped at 1e-15.

    Here the "decision values" are the probabilities of learners that give only those.
    """

    def value(self, F, y):
        return -np.log(np.clip(F[..., np.arange(len(y)), y], 1e-15, 1.0))


class LabelLosses:
    """The training loss of learners that tell it themselves.

    Here the "decision values" are the losses of a sample with each label.
    """

    def value(self, F, y):
        return F[..., np.arange(len(y)), y]
