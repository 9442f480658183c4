r"""Activation clustering: the rows of a class in two clusters, of which one may be poison."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_samples
from sklearn.utils import check_random_state

from .._compat import HasMethods, Interval, StrOptions, _safe_indexing
from ..learners import MAX_SEED, seed_missing, weight_argument
from .base import Findings, PoisonDetector
from .by_class import rows_by_class
from .group import PoisonGroup
from .principal_directions import coordinates, principal_directions


class ActivationClustering(PoisonDetector):
    r"""Each class in two clusters, and an analysis of which of them are poison.

    The rows of a class, in the representation, are reduced to a few dimensions and divided by
    2-means ([1]_, algorithm 1). Then, with s the share of its class that a cluster has, it is
    poison by `analysis`

    - "smaller": if s < 1/2. Every class has such a cluster, so clean ones lose up to half;
    - "relative-size": if s < `max_size`;
    - "silhouette": if s < `max_size` and the mean silhouette coefficient of the class is above
      `min_silhouette`: two clusters fit the class;
    - "exclusionary": if it is the smaller one, and a model that was trained on all rows but the
      cluster labels fewer of its rows, l, as their class than, p, as the one other class that it
      names most often: l / p < 1 (exclusionary reclassification). One fit a class.

    It assumes that poison and clean rows of a class are two compact groups, which they may be in
    the last hidden layer of a network that was trained on the poisoned data
    (:class:`~skbackdoor.deep.DeepFeatures`) and seldom are as pixels; that no class is of two
    natural kinds; and that the poison of a class is neither most of it nor so little (below some
    5 %) that 2-means has better uses for a cluster.

    Parameters
    ----------
    representation : None, transformer or callable, default=None
        What rows are compared by, as in :class:`~skbackdoor.PoisonDetector`.
    n_components : int, default=10
        Dimensions to which the rows of a class are reduced; fewer where their rank is lower.
    reduction : {"ica", "pca"}, default="ica"
        "ica" is independent components, as published: principal components scaled to variance 1
        and rotated. No distance depends on the rotation, so neither do the clusters, and it is
        left out. "pca" is principal components as they are, in units of the representation.
    analysis : {"silhouette", "exclusionary", "relative-size", "smaller"}, default="silhouette"
        What decides, as above.
    max_size : float, default=0.35
        Of "relative-size" and "silhouette".
    min_silhouette : float, default=0.1
        Of "silhouette".
    estimator : classifier or None, default=None
        The model of "exclusionary", cloned and trained on the rows of `X` as they are given: as
        published, the model that is to be protected. None is
        ``LogisticRegression(max_iter=1000)`` on the representation, which finds nothing where
        that holds the trigger already, as the last hidden layer of a poisoned network does.
    random_state : int, RandomState instance or None, default=None
        For the starts of 2-means, and for `estimator` where it has no seed.

    Attributes
    ----------
    scores_ : ndarray of shape (n_samples,)
        What speaks against a row's cluster, in [0, 1]: 1 - s; with "silhouette", that times the
        silhouette coefficient of the class, if positive; with "exclusionary", p / (l + p), and 0
        for the larger cluster. 0 for rows of weight 0 and of classes with fewer than 8 rows.
    is_poison_ : ndarray of bool of shape (n_samples,)
        Whether a row's cluster is poison.
    groups_ : list of PoisonGroup
        These clusters, highest score first. With "exclusionary" `flip` is the share of rows that
        get another label, `content_labels` the labels that they get; all else is nan or None.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    representation_ : None, transformer or callable
        The fitted representation.
    n_features_in_, feature_names_in_ : int, ndarray
        As in scikit-learn, for 2-D `X`.

    Notes
    -----
    A row of weight w counts as w rows, but for other rows' silhouette coefficients.

    References
    ----------
    .. [1] B. Chen, W. Carvalho, N. Baracaldo, H. Ludwig, B. Edwards, T. Lee, I. Molloy,
       B. Srivastava, *Detecting backdoor attacks on deep neural networks by activation
       clustering*, 2018.

    Examples
    --------
    >>> from skbackdoor import ActivationClustering, Attack, PatchTrigger, load_digits_pair
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> attack = Attack(PatchTrigger(size=3, image_shape=(8, 8)), target=7, random_state=0)
    >>> X_poisoned, y_poisoned, is_poison = attack.fit(X, y).poison(X, y)
    >>> detector = ActivationClustering(random_state=0).fit(X_poisoned, y_poisoned)
    >>> for group in detector.groups_:
    ...     print(group.label, len(group.indices), int(is_poison[group.indices].sum()))
    7 51 35
    """

    _parameter_constraints: dict = {
        **PoisonDetector._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "reduction": [StrOptions({"ica", "pca"})],
        "analysis": [StrOptions({"silhouette", "exclusionary", "relative-size", "smaller"})],
        "max_size": [Interval(Real, 0, 1, closed="both")],
        "min_silhouette": [Interval(Real, -1, 1, closed="both")],
        "estimator": [HasMethods(["fit", "predict"]), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        representation=None,
        *,
        n_components=10,
        reduction="ica",
        analysis="silhouette",
        max_size=0.35,
        min_silhouette=0.1,
        estimator=None,
        random_state=None,
    ):
        self.representation = representation
        self.n_components = n_components
        self.reduction = reduction
        self.analysis = analysis
        self.max_size = max_size
        self.min_silhouette = min_silhouette
        self.estimator = estimator
        self.random_state = random_state

    def _detect(self, X, features, y, sample_weight):
        random_state = check_random_state(self.random_state)
        kmeans = KMeans(2, n_init=10, random_state=random_state.randint(MAX_SEED))
        default = self.estimator is None
        estimator = LogisticRegression(max_iter=1000) if default else clone(self.estimator)
        estimator = seed_missing(estimator, random_state)
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        scores, is_poison, groups = np.zeros(len(y)), np.zeros(len(y), dtype=bool), []
        self._clusters = {}
        for label, rows in rows_by_class(y, self.classes_, type(self).__name__).items():
            mean, directions = self._reduction(features[rows], weight[rows])
            if not len(directions):
                continue
            reduced = coordinates(features[rows], mean, directions)
            fitted = clone(kmeans).fit(reduced, sample_weight=weight[rows])
            clusters = [rows[fitted.labels_ == k] for k in (0, 1)]
            share = np.array([weight[members].sum() for members in clusters])
            share /= share.sum()
            if self.analysis == "exclusionary":
                found = [(0.0, False, np.nan, None)] * 2
                given, k = features if default else X, share.argmin()
                found[k] = _reclassified(estimator, label, clusters[k], given, y, sample_weight)
            else:
                found = self._by_size(share, reduced, fitted.labels_, weight[rows])
            for members, (score, decided, flip, content) in zip(clusters, found, strict=True):
                scores[members], is_poison[members] = score, decided
                if decided:
                    groups.append(
                        PoisonGroup(
                            label, members, flip=flip, cohesion=np.nan, typicality=np.nan,
                            coverage=np.nan, stay=np.nan, content_labels=content,
                            verdict="poison", score=float(score),
                        )
                    )  # fmt: skip
            poison = [k for k in (0, 1) if is_poison[clusters[k]].all()]
            self._clusters[label] = mean, directions, fitted, poison
        groups.sort(key=lambda group: -group.score)
        return Findings(scores, is_poison, groups)

    def _by_size(self, share, reduced, cluster, weight):
        """What `_reclassified` says of a cluster, of both, by their shares of the class."""
        score, decided = 1 - share, share < (0.5 if self.analysis == "smaller" else self.max_size)
        if self.analysis == "silhouette":
            silhouette = np.average(silhouette_samples(reduced, cluster), weights=weight)
            score = max(silhouette, 0.0) * score
            decided = decided & (silhouette > self.min_silhouette)
        return [(score[k], decided[k], np.nan, None) for k in (0, 1)]

    def _reduction(self, X, weight):
        """Mean and directions along which the rows of a class are clustered."""
        mean, directions, values = principal_directions(X, self.n_components, weight)
        if self.reduction == "ica":
            directions = directions * (np.sqrt(weight.sum()) / values)[:, None]
        return mean, directions

    def _goes_with_poison(self, features, label):
        mean, directions, kmeans, poison = self._clusters[label]
        return np.isin(kmeans.predict(coordinates(features, mean, directions)), poison)


def _reclassified(estimator, label, members, X, y, sample_weight):
    """By a model without it: score of a cluster, whether it is poison, its flips, its labels."""
    others = np.setdiff1d(np.arange(len(y)), members)
    weights, weight = {}, np.ones(len(members))
    if sample_weight is not None:
        weights[weight_argument(estimator)] = sample_weight[others]
        weight = sample_weight[members]
    estimator.fit(_safe_indexing(X, others), y[others], **weights)
    content = estimator.predict(_safe_indexing(X, members))
    counts = np.bincount(content, weights=weight, minlength=label + 2)
    own, counts[label] = counts[label], 0.0
    score = counts.max() / (own + counts.max())
    return score, score > 0.5, counts.sum() / weight.sum(), content
