"""Regularizers of networks: objects with one method, given to a classifier as `regularizer`.

Called as ``regularizer(run, X, y, weight)`` at each training step, they return the logits of the
batch and a penalty for each of its samples, which is weighted as the sample's loss is. ``run(X,
layer, change)`` runs the network and gives logits and the output of a hidden layer (`layer` None:
the input of the head), which `change` may replace on its way.

They are those of Truong et al., *Systematic evaluation of backdoor data poisoning attacks on image
classifiers* (2020), section 2.4. Where a penalty compares a sample with others of its batch, these
count by their sample weights s, too: one of weight 0 does not count. Without weights the
formulas are the published ones.
"""

from numbers import Real

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch.nn.functional import cross_entropy

from .._compat import Interval

_ANY = [Interval(Real, None, None, closed="neither")]
_TINY = torch.finfo(torch.float32).tiny
_POSITIVE = [Interval(Real, 0, None, closed="neither")]


class LogitSqueezing(BaseEstimator):
    r"""Small logits: :math:`R_i = \lambda \|F_i\|^2` (Kannan et al., *Adversarial logit pairing*,
    2018).

    Parameters
    ----------
    strength : float, default=0.05
        The factor lambda.

    Examples
    --------
    >>> from skbackdoor.deep import LogitSqueezing
    >>> LogitSqueezing(0.1)
    LogitSqueezing(strength=0.1)
    """

    _parameter_constraints: dict = {"strength": _ANY}

    def __init__(self, strength=0.05):
        self.strength = strength

    def __call__(self, run, X, y, weight):
        """Logits and penalties of a batch."""
        logits, _ = run(X)
        return logits, self.strength * logits.square().sum(dim=1)


class ManifoldMixup(BaseEstimator):
    r"""Between two samples' hidden states, the mixture of their labels.

    With :math:`\mu \sim Beta(a, a)` for the batch, hidden states h, another sample j(i) for each
    sample i, and the mean weight of the batch, :math:`\bar s`,

    .. math:: R_i = \lambda \frac{s_{j(i)}}{\bar s} \left(\mu\, \ell(F(\tilde h_i), y_i)
              + (1 - \mu)\, \ell(F(\tilde h_i), y_{j(i)})\right), \quad
              \tilde h_i = \mu h_i + (1 - \mu) h_{j(i)}

    (Verma et al., *Manifold mixup*, 2019).

    Parameters
    ----------
    layer : str or None, default=None
        Name of the hidden layer; None is the input of the head.
    strength : float, default=1.0
        The factor lambda.
    concentration : float, default=2.0
        The parameter a of the Beta distribution.
    """

    _parameter_constraints: dict = {
        "layer": [str, None], "strength": _ANY, "concentration": _POSITIVE,
    }  # fmt: skip

    def __init__(self, layer=None, *, strength=1.0, concentration=2.0):
        self.layer = layer
        self.strength = strength
        self.concentration = concentration

    def __call__(self, run, X, y, weight):
        """Logits and penalties of a batch."""
        a = torch.tensor(float(self.concentration))
        mu = torch.distributions.Beta(a, a).sample().item()
        other = torch.randperm(len(X)).to(X.device)
        logits, _ = run(X)
        mixed, _ = run(X, self.layer, lambda h: mu * h + (1 - mu) * h[other])
        first, second = (cross_entropy(mixed, of, reduction="none") for of in (y, y[other]))
        share = weight[other] / weight.mean().clamp(min=_TINY)
        return logits, self.strength * share * (mu * first + (1 - mu) * second)


class ContrastiveLoss(BaseEstimator):
    r"""Near in latent space where labels agree, a margin apart where they do not.

    With d the Euclidean distance of latents, over the other samples j of the batch B,

    .. math:: R_i = \frac{\lambda}{\sum_{j \ne i} s_j} \sum_{j \ne i} s_j
              \begin{cases} d_{ij}^2 & y_i = y_j \\ \max(0, m - d_{ij})^2 & y_i \ne y_j
              \end{cases}

    (Hadsell et al., *Dimensionality reduction by learning an invariant mapping*, 2006).

    Parameters
    ----------
    layer : str or None, default=None
        Name of the hidden layer; None is the input of the head.
    strength : float, default=0.1
        The factor lambda.
    margin : float, default=1.0
        The margin m.
    """

    _parameter_constraints: dict = {
        "layer": [str, None], "strength": _ANY, "margin": _POSITIVE,
    }  # fmt: skip

    def __init__(self, layer=None, *, strength=0.1, margin=1.0):
        self.layer = layer
        self.strength = strength
        self.margin = margin

    def __call__(self, run, X, y, weight):
        """Logits and penalties of a batch."""
        logits, latent = run(X, self.layer)
        squared = _squared_distances(latent)
        same = y[:, None] == y
        apart = (self.margin - (squared + 1e-12).sqrt()).clamp(min=0).square()
        others = weight * (1 - torch.eye(len(y), device=y.device))
        terms = torch.where(same, squared, apart) * others
        return logits, self.strength * terms.sum(dim=1) / others.sum(dim=1).clamp(min=_TINY)


class SoftNearestNeighborLoss(BaseEstimator):
    r"""How much of its near neighbourhood in latent space a sample shares with its own class.

    .. math:: R_i = -\lambda \log \frac
              {\sum_{j \ne i, y_j = y_i} s_j e^{-d_{ij}^2 / T}}
              {\sum_{j \ne i} s_j e^{-d_{ij}^2 / T}}

    with Euclidean distances d and the temperature T (Frosst et al., *Analyzing and improving
    representations with the soft nearest neighbor loss*, 2019). A negative `strength` entangles
    the classes. A sample without another one of its class in the batch has no penalty.

    Parameters
    ----------
    layer : str or None, default=None
        Name of the hidden layer; None is the input of the head.
    strength : float, default=0.1
        The factor lambda.
    temperature : float, default=100.0
        T, in squared units of the latents.
    """

    _parameter_constraints: dict = {
        "layer": [str, None], "strength": _ANY, "temperature": _POSITIVE,
    }  # fmt: skip

    def __init__(self, layer=None, *, strength=0.1, temperature=100.0):
        self.layer = layer
        self.strength = strength
        self.temperature = temperature

    def __call__(self, run, X, y, weight):
        """Logits and penalties of a batch."""
        logits, latent = run(X, self.layer)
        exponents = weight.log() - _squared_distances(latent) / self.temperature
        others = (weight > 0) & ~torch.eye(len(y), dtype=torch.bool, device=y.device)
        same = others & (y[:, None] == y)
        paired = same.any(dim=1)
        # where a row has no partner, any finite number stands in for what is not used
        idle = ~paired[:, None]
        everyone, near = (
            torch.logsumexp(
                torch.where(idle, 0.0, exponents).masked_fill(~(rows | idle), -np.inf), 1
            )
            for rows in (others, same)
        )
        return logits, self.strength * torch.where(paired, everyone - near, 0.0)


def _squared_distances(latent):
    """Between all pairs of samples; from differences, so that near ones keep their digits."""
    flat = latent.flatten(1)
    return torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").square()
