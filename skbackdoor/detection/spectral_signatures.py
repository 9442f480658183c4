r"""Spectral signatures: rows far out along the direction in which a class varies most."""

from numbers import Real

import numpy as np

from .._compat import Interval
from .base import Findings, PoisonDetector
from .by_class import rows_by_class
from .principal_directions import coordinates, principal_directions


class SpectralSignatures(PoisonDetector):
    r"""Rows that stand out along the first principal direction of their class.

    For the rows :math:`x_1, \dots, x_n` of a class, in the representation, with mean
    :math:`\bar x` and v the top right singular vector of the matrix of rows
    :math:`x_i - \bar x`, row i has the score

    .. math:: \tau_i = \big(v^\top (x_i - \bar x)\big)^2

    and the 1.5 :math:`\varepsilon n` rows of highest score are removed, in *every* class
    ([1]_, algorithm 1). Scores are in squared units of the representation, and of different
    classes not on one scale.

    It assumes that poison is what makes a class vary most, and that its share is known: lemma 3.1
    of [1]_ asks that the means of poison and clean rows are at least
    :math:`\sqrt{6 \sigma^2 / \varepsilon}` apart, with :math:`\sigma^2` the largest variance of
    either in any direction. That is meant for the last hidden layer of a network that was
    trained on the poisoned data (:class:`~skbackdoor.deep.DeepFeatures`), and seldom holds for
    pixels. It ranks; it does not tell *whether* there is poison: of clean data it removes as
    many rows.

    Parameters
    ----------
    representation : None, transformer or callable, default=None
        What rows are compared by, as in :class:`~skbackdoor.PoisonDetector`.
    poisoning_rate : float, default=0.1
        :math:`\varepsilon`, the largest share of its rows of which a class is feared to be
        poison. Of n rows, floor(1.5 `poisoning_rate` n) are removed. An attack at the rate p on
        all rows makes the share p / (p + 1/K) of its target where K classes are balanced and
        copies appended.

    Attributes
    ----------
    scores_ : ndarray of shape (n_samples,)
        :math:`\tau`; 0 for rows of weight 0 and of classes with fewer than 8 rows.
    is_poison_ : ndarray of bool of shape (n_samples,)
        Whether a row is among those removed.
    groups_ : list
        Empty: rows are judged one by one.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    representation_ : None, transformer or callable
        The fitted representation.
    n_features_in_, feature_names_in_ : int, ndarray
        As in scikit-learn, for 2-D `X`.

    Notes
    -----
    A row of weight w counts as w rows, in the mean, the direction and the number removed. Scores
    are taken from the mean of the class, as in the paper; the code published with it subtracts
    the mean for the direction only, so that rows score by where the class lies.

    References
    ----------
    .. [1] B. Tran, J. Li, A. Madry, *Spectral signatures in backdoor attacks*, NeurIPS 2018.

    Examples
    --------
    >>> from skbackdoor import Attack, PatchTrigger, SpectralSignatures, load_digits_pair
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> attack = Attack(PatchTrigger(size=3, image_shape=(8, 8)), target=7, random_state=0)
    >>> X_poisoned, y_poisoned, is_poison = attack.fit(X, y).poison(X, y)
    >>> detector = SpectralSignatures(poisoning_rate=0.17).fit(X_poisoned, y_poisoned)
    >>> removed = detector.is_poison_
    >>> int(is_poison.sum()), int((removed & is_poison).sum()), int(removed.sum())
    (36, 36, 100)
    """

    _parameter_constraints: dict = {
        **PoisonDetector._parameter_constraints,
        "poisoning_rate": [Interval(Real, 0, 1, closed="neither")],
    }

    def __init__(self, representation=None, *, poisoning_rate=0.1):
        self.representation = representation
        self.poisoning_rate = poisoning_rate

    def _detect(self, X, features, y, sample_weight):
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        scores, is_poison = np.zeros(len(y)), np.zeros(len(y), dtype=bool)
        self._signatures = {}
        for label, rows in rows_by_class(y, self.classes_, type(self).__name__).items():
            mean, direction, _ = principal_directions(features[rows], 1, weight[rows])
            if not len(direction):
                continue
            scores[rows] = coordinates(features[rows], mean, direction)[:, 0] ** 2
            order = rows[np.argsort(-scores[rows], kind="stable")]
            most = 1.5 * self.poisoning_rate * weight[rows].sum()
            removed = order[np.cumsum(weight[order]) <= most + 1e-9]
            is_poison[removed] = True
            self._signatures[label] = mean, direction, scores[removed].min(initial=np.inf)
        return Findings(scores, is_poison)

    def _goes_with_poison(self, features, label):
        mean, direction, threshold = self._signatures[label]
        return coordinates(features, mean, direction)[:, 0] ** 2 >= threshold
