"""Regularizers of networks: objects with one method, given to a classifier as `regularizer`.

Called as ``regularizer(run, X, y, weight)`` at each training step, they return the logits of the
batch and a penalty for each of its samples, which is weighted as the sample's loss is and added to
it; one whose `replaces_loss` is true gives all of the loss itself. ``run(X, layer, change)`` runs
the network and gives logits and the output of a hidden layer (`layer` None: the input of the
head), which `change` may replace on its way.

They are those of Truong et al., *Systematic evaluation of backdoor data poisoning attacks on image
classifiers* (2020), section 2.3, which names no weights, margin or temperature and no mean over a
batch: the factor lambda, 1 where a loss "is added", and the means are ours. Where a penalty
compares a sample with others of its batch, these count by their sample weights s, too: one of
weight 0 does not count. Without weights the formulas are the published ones.
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
    r"""Small logits: :math:`R_i = \lambda \|F_i\|_2`, not squared (Truong et al. 2020, section
    2.3).

    Parameters
    ----------
    strength : float, default=0.05
        The factor lambda.

    Notes
    -----
    Of n classes, the gradient of the cross-entropy in a sample's logits, softmax(F) - e_y, is no
    longer than :math:`\sqrt{(n-1)/n}` at F = 0, and that of the norm has length lambda. From
    this lambda on, so at the weight 1 that the paper's text implies, all logits are best at 0.

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
        return logits, self.strength * torch.linalg.vector_norm(logits, dim=1)


class ManifoldMixup(BaseEstimator):
    r"""Training on mixtures of two samples' hidden states, with the same mixture of their labels.

    It replaces the loss of the samples themselves. With :math:`\gamma \sim Beta(a, a)` for the
    batch, hidden states h, another sample j(i) for each sample i, and the mean weight of the
    batch, :math:`\bar s`, the loss of sample i is

    .. math:: R_i = \frac{s_{j(i)}}{\bar s} \left((1 - \gamma)\, \ell(F(\tilde h_i), y_{j(i)})
              + \gamma\, \ell(F(\tilde h_i), y_i)\right), \quad
              \tilde h_i = (1 - \gamma)\, h_{j(i)} + \gamma\, h_i

    with the cross-entropy :math:`\ell` (Verma et al., *Manifold mixup*, 2019; Truong et al. 2020,
    eqs 1 to 3, where gamma is uniform in (0, 1)). The network's `criterion` has no part in it, and
    the logits that it returns are those of the mixtures.

    Parameters
    ----------
    layer : str or None, default=None
        Name of the hidden layer; None is the input of the head.
    concentration : float, default=1.0
        The parameter a of the Beta distribution; 1 is the uniform one.
    """

    replaces_loss = True
    _parameter_constraints: dict = {"layer": [str, None], "concentration": _POSITIVE}

    def __init__(self, layer=None, *, concentration=1.0):
        self.layer = layer
        self.concentration = concentration

    def __call__(self, run, X, y, weight):
        """Logits of the mixtures of a batch, and their losses."""
        a = torch.tensor(float(self.concentration))
        gamma = torch.distributions.Beta(a, a).sample().item()
        other = torch.randperm(len(X)).to(X.device)
        mixed, _ = run(X, self.layer, lambda h: (1 - gamma) * h[other] + gamma * h)
        first, second = (cross_entropy(mixed, of, reduction="none") for of in (y[other], y))
        share = weight[other] / weight.mean().clamp(min=_TINY)
        return mixed, share * ((1 - gamma) * first + gamma * second)


class ContrastiveLoss(BaseEstimator):
    r"""Near in latent space where labels agree, a margin apart where they do not.

    With d the Euclidean distance of latents, not squared, over the other samples j of the batch,
    for n classes

    .. math:: R_i = \frac{\lambda}{\sum_{j \ne i} s_j} \sum_{j \ne i} s_j
              \begin{cases} \frac{1}{n} d_{ij} & y_i = y_j \\
              \frac{n - 1}{n} \max(0, c - d_{ij}) & y_i \ne y_j \end{cases}

    (Truong et al. 2020, eqs 4 and 5; after Hadsell et al., *Dimensionality reduction by learning
    an invariant mapping*, 2006, who square the distances and weigh both cases alike).

    Parameters
    ----------
    layer : str or None, default=None
        Name of the hidden layer; None is the input of the head.
    strength : float, default=1.0
        The factor lambda.
    margin : float, default=1.0
        The margin c, in units of the latents.
    """

    _parameter_constraints: dict = {
        "layer": [str, None], "strength": _ANY, "margin": _POSITIVE,
    }  # fmt: skip

    def __init__(self, layer=None, *, strength=1.0, margin=1.0):
        self.layer = layer
        self.strength = strength
        self.margin = margin

    def __call__(self, run, X, y, weight):
        """Logits and penalties of a batch."""
        logits, latent = run(X, self.layer)
        distance, n_classes = _distances(latent), logits.shape[1]
        apart = (n_classes - 1) / n_classes * (self.margin - distance).clamp(min=0)
        terms = torch.where(y[:, None] == y, distance / n_classes, apart)
        others = weight * (1 - torch.eye(len(y), device=y.device))
        penalty = (terms * others).sum(dim=1) / others.sum(dim=1).clamp(min=_TINY)
        return logits, self.strength * penalty


class SoftNearestNeighborLoss(BaseEstimator):
    r"""How much of its near neighbourhood in latent space a sample shares with its own class.

    .. math:: R_i = -\lambda \log \frac
              {\sum_{j \ne i, y_j = y_i} s_j e^{-d_{ij}^2 / T}}
              {\sum_{k \ne i} s_k e^{-d_{ik}^2 / T}}

    with Euclidean distances d and the temperature T (Frosst et al., *Analyzing and improving
    representations with the soft nearest neighbor loss*, 2019). Truong et al. (2020), eq. 6, print
    the numerator over :math:`y_j \ne y_i` and the denominator over all k, sample i among them,

    .. math:: R_i = -\lambda \log \frac
              {\sum_{y_j \ne y_i} s_j e^{-d_{ij}^2 / T}}{\sum_k s_k e^{-d_{ik}^2 / T}}

    which draws the classes into each other: probably a slip, and what `as_printed` gives. A
    sample without another one for the numerator in its batch has no penalty.

    Parameters
    ----------
    layer : str or None, default=None
        Name of the hidden layer; None is the input of the head.
    strength : float, default=1.0
        The factor lambda. A negative one entangles the classes.
    temperature : float, default=100.0
        T, in squared units of the latents.
    as_printed : bool, default=False
        Whether the second formula is used, eq. 6 as it is printed.
    """

    _parameter_constraints: dict = {
        "layer": [str, None], "strength": _ANY, "temperature": _POSITIVE,
        "as_printed": ["boolean"],
    }  # fmt: skip

    def __init__(self, layer=None, *, strength=1.0, temperature=100.0, as_printed=False):
        self.layer = layer
        self.strength = strength
        self.temperature = temperature
        self.as_printed = as_printed

    def __call__(self, run, X, y, weight):
        """Logits and penalties of a batch."""
        logits, latent = run(X, self.layer)
        exponents = weight.log() - _distances(latent).square() / self.temperature
        everyone = (weight > 0).expand(len(y), -1)
        others = everyone & ~torch.eye(len(y), dtype=torch.bool, device=y.device)
        same = y[:, None] == y
        near = others & (~same if self.as_printed else same)
        paired = near.any(dim=1)
        # where a row has no partner, any finite number stands in for what is not used
        idle = ~paired[:, None]
        below, above = (
            torch.logsumexp(
                torch.where(idle, 0.0, exponents).masked_fill(~(rows | idle), -np.inf), 1
            )
            for rows in (everyone if self.as_printed else others, near)
        )
        return logits, self.strength * torch.where(paired, below - above, 0.0)


def _distances(latent):
    """Between all pairs of samples; from differences, so that near ones keep their digits.

    The gradient at distance 0, of a sample to itself or to its double, is 0.
    """
    flat = latent.flatten(1)
    return torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
