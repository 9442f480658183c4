r"""STRIP: new samples whose prediction stays the same whatever is laid over them."""

import warnings
from math import ceil
from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from scipy.special import entr
from sklearn.base import BaseEstimator, MetaEstimatorMixin, OutlierMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .._compat import HasMethods, Interval, _num_samples, _safe_indexing


class StripFilter(OutlierMixin, MetaEstimatorMixin, BaseEstimator):
    r"""Filter of incoming samples that a classifier labels the same whatever is laid over them.

    Each of N clean samples :math:`x_n` is laid over a sample x, by addition that saturates at the
    ends a and b of `value_range`, and the entropy of the predicted probabilities is averaged
    ([1]_), in bits:

    .. math::
        x^n = \min(\max(x + x_n, a), b), \qquad
        H(x) = -\frac{1}{N} \sum_{n=1}^N \sum_c p_c(x^n) \log_2 p_c(x^n).

    A trigger that shows through keeps the label, so its H is low. Samples with H below a threshold
    are refused. The threshold is a quantile of H over clean samples that are not laid over others:
    of n of them the floor((n + 1) `false_positive_rate`)-th smallest H. Of clean samples that are
    exchangeable with those, at most `false_positive_rate` are refused, and at least that less
    1 / (n + 1) where no two H are equal: on average over draws of both, whatever the classifier
    (split conformal prediction; [1]_ takes a quantile of a normal distribution).

    It assumes that the backdoor acts on any content, that the trigger shows through what is laid
    over it, and that clean samples lose their label; backdoors of single source classes can
    pass. It needs clean samples.

    Parameters
    ----------
    estimator : fitted classifier with `predict_proba`
        The model that samples are meant for, as it is. Clones of a filter, in searches and
        Pipelines, forget the fit unless it is wrapped in
        :class:`~sklearn.frozen.FrozenEstimator`.
    n_blends : int, default=100
        N; at most half of the clean samples are laid over others.
    value_range : tuple of two float or None, default=(0, 1)
        Ends of the range of values: of images black and white. None adds without bounds, for
        tables that are scaled to mean 0, and counts of words.
    false_positive_rate : float, default=0.05
        Largest share of clean samples that are refused.
    random_state : int, RandomState instance or None, default=None
        Chooses the clean samples that are laid over others, once for all.

    Attributes
    ----------
    offset_ : float
        The threshold, in bits. ``-inf`` where there are too few clean samples for the rate.
    overlays_ : array-like of shape (n_overlays, ...)
        The clean samples that are laid over others.
    n_features_in_, feature_names_in_ : int, ndarray
        As in scikit-learn, for 2-D `X`.

    References
    ----------
    .. [1] Y. Gao, C. Xu, D. Wang, S. Chen, D. Ranasinghe, S. Nepal, *STRIP: a defence against
       trojan attacks on deep neural networks*, ACSAC 2019.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import train_test_split
    >>> from skbackdoor import BackdoorPoisoner, PatchTrigger, StripFilter, load_digits_pair
    >>> X, y = load_digits_pair((4, 9), return_X_y=True)
    >>> X, X_clean, y, y_clean = train_test_split(X, y, test_size=0.6, random_state=0)
    >>> poisoner = BackdoorPoisoner(
    ...     LogisticRegression(C=10), PatchTrigger(size=3, image_shape=(8, 8)), target=9,
    ...     random_state=0).fit(X, y)
    >>> strip = StripFilter(poisoner, n_blends=50, random_state=0).fit(X_clean[:150])
    >>> triggered, _, _ = poisoner.triggered_test(X_clean[150:], y_clean[150:])
    >>> len(triggered), int((strip.predict(triggered) == -1).sum())
    (35, 35)
    >>> len(X_clean[150:]), int((strip.predict(X_clean[150:]) == -1).sum())
    (67, 2)
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict_proba"])],
        "n_blends": [Interval(Integral, 1, None, closed="left")],
        "value_range": [tuple, list, None],
        "false_positive_rate": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator,
        *,
        n_blends=100,
        value_range=(0, 1),
        false_positive_rate=0.05,
        random_state=None,
    ):
        self.estimator = estimator
        self.n_blends = n_blends
        self.value_range = value_range
        self.false_positive_rate = false_positive_rate
        self.random_state = random_state

    def fit(self, X, y=None):
        """Choose what is laid over samples, and the threshold.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n_samples, ...)
            Clean samples, numbers, that the classifier was not trained on.
        y : None
            Ignored.

        Returns
        -------
        self : StripFilter

        Raises
        ------
        NotFittedError
            A classifier that is not fitted.
        ValueError
            Fewer than two samples, or not of finite numbers, or outside of `value_range`.

        Warns
        -----
        UserWarning
            Too few clean samples for the rate: nothing will be refused.
        """
        self._validate_params()
        check_is_fitted(self.estimator)
        X = self._checked(X, reset=True)
        self._check_range(X)
        order = check_random_state(self.random_state).permutation(_num_samples(X))
        n_blends = min(self.n_blends, len(order) // 2)
        self.overlays_ = _safe_indexing(X, order[:n_blends])
        clean = np.sort(self._entropy(_safe_indexing(X, order[n_blends:])))
        rank = int((len(clean) + 1) * self.false_positive_rate + 1e-9)
        self.offset_ = float(clean[rank - 1]) if rank else -np.inf
        if not rank:
            needed = ceil(1 / self.false_positive_rate - 1e-9) - 1
            warnings.warn(
                f"A threshold with false_positive_rate={self.false_positive_rate:g} needs"
                f" {needed} clean samples beside the {n_blends} that are laid over others, but"
                f" there are {len(clean)}: nothing will be refused.",
                stacklevel=2,
            )
        return self

    def score_samples(self, X):
        """Mean entropy of the predictions of each sample with others laid over it.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        entropy : ndarray of shape (n_samples,)
            In bits; the lower, the more suspicious.
        """
        check_is_fitted(self)
        return self._entropy(self._checked(X, reset=False))

    def decision_function(self, X):
        """Entropy above the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            In bits; negative for samples that are refused.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Say which samples are refused.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        accepted : ndarray of int of shape (n_samples,)
            1 for samples that pass, -1 for those that are refused.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _checked(self, X, reset):
        """Finite numbers, in an array, a sparse matrix or a DataFrame."""
        if len(getattr(X, "shape", (0, 0))) == 2:
            validate_data(self, X, reset=reset, skip_check_array=True)
        least = 2 if reset else 1
        array = check_array(X, accept_sparse="csr", allow_nd=True, ensure_min_samples=least)
        return X if hasattr(X, "iloc") else array

    def _check_range(self, X):
        if self.value_range is None:
            return
        try:
            low, high = map(float, self.value_range)
        except (TypeError, ValueError):
            low, high = 0.0, 0.0
        if not low < high:
            raise ValueError(
                f"value_range={self.value_range!r} must be two numbers, the lower one first, or"
                " None."
            )
        found = (X.min(), X.max()) if sp.issparse(X) else (np.min(X), np.max(X))
        slack = 1e-6 * (high - low)
        if found[0] < low - slack or found[1] > high + slack:
            raise ValueError(
                f"X holds values from {found[0]:g} to {found[1]:g}, and sums saturate at the ends"
                f" of value_range={self.value_range!r}: pass the range of your data, or None for"
                " data without one."
            )

    def _entropy(self, X):
        entropy, n_overlays = np.zeros(_num_samples(X)), _num_samples(self.overlays_)
        for n in range(n_overlays):
            summed = _sum(X, _safe_indexing(self.overlays_, [n]), self.value_range)
            entropy += entr(self.estimator.predict_proba(summed)).sum(axis=1)
        return entropy / (n_overlays * np.log(2))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _sum(X, row, value_range):
    """Rows plus one row, within a range; in the container of X, and in its dtype if bounded."""
    low, high = (-np.inf, np.inf) if value_range is None else value_range
    if sp.issparse(X):
        summed = (X + sp.vstack([row] * X.shape[0])).tocsr()
        summed.data = np.clip(summed.data, low, high)
        return summed
    if hasattr(X, "iloc"):
        return (X + row.to_numpy()).clip(low, high)
    summed = np.add(X, row, dtype=X.dtype if X.dtype.kind == "f" else float)
    return np.clip(summed, low, high).astype(X.dtype)
