"""A classifier that is fitted on what a detector of poison leaves of the training data."""

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    clone,
)
from sklearn.metrics import accuracy_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .._compat import HasMethods, StrOptions, _num_samples, _safe_indexing
from ..attack import check_data
from ..detection import PoisonDetector
from ..learners import check_learner, check_weights, estimator_has, weight_argument, wrapped_tags


class SanitizedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Find poison in the training data, and fit a classifier without it.

    Parameters
    ----------
    estimator : classifier
        Or a Pipeline that ends in one. It must take `sample_weight` where `fit` is given it.
    detector : PoisonDetector
        One of :mod:`skbackdoor.detection`.
    action : {"drop", "relabel"}, default="drop"
        What is done with rows that are poison. "drop" leaves them out. "relabel" gives them the
        label of their content, which detectors of groups know (`content_labels` of a
        `PoisonGroup`), and leaves out those to which no group with verdict "poison" gives
        another label.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on the rows that were kept.
    detector_ : PoisonDetector
        Fitted on all rows: `is_poison_` and `groups_` say what was found, and why.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    n_features_in_, feature_names_in_ : int, ndarray of shape (`n_features_in_`,)
        Number and names of the features, where the classifier knows them.

    Notes
    -----
    In cross-validation the detector is fitted anew for each candidate and each fold, and the
    folds to be predicted may hold poison themselves: `score` leaves out the rows that the fitted
    detector flags, and so does :obj:`~skbackdoor.kept_accuracy_scorer`, which a dict of
    scorers takes. ``scoring="accuracy"`` counts all rows, and rewards a backdoor. A search
    *inside*, ``SanitizedClassifier(GridSearchCV(...), detector)``, detects once, its folds hold
    none of the rows that were found, and slopes in it are exact.

    Slopes and curves of a `SanitizedClassifier` are those of refits, by its probabilities
    (networks: their own loss). Where the classifier gives none they are refused: calibrate it,
    ``SanitizedClassifier(CalibratedClassifierCV(SVC()), detector)``. Poison of weight beta is
    weighed by the detector too, whose decision is no smooth function of that weight: the slope is
    a secant.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import Attack, PatchTrigger, SanitizedClassifier, load_digits_pair
    >>> from skbackdoor import LeaveGroupOutDetector
    >>> X, y = load_digits_pair((7, 1), return_X_y=True)
    >>> attack = Attack(PatchTrigger(size=2, image_shape=(8, 8)), target=1, random_state=0)
    >>> X_given, y_given, is_poison = attack.fit(X[:250], y[:250]).poison(X[:250], y[:250])
    >>> model = SanitizedClassifier(SVC(C=10), LeaveGroupOutDetector())
    >>> model.fit(X_given, y_given).detector_.is_poison_[is_poison].mean()
    np.float64(1.0)
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"])],
        "detector": [PoisonDetector],
        "action": [StrOptions({"drop", "relabel"})],
    }

    def __init__(self, estimator, detector, *, action="drop"):
        self.estimator = estimator
        self.detector = detector
        self.action = action

    def fit(self, X, y, sample_weight=None):
        """Fit the detector, and then the classifier on what it leaves.

        Parameters
        ----------
        X : array-like, DataFrame, sparse matrix or list of shape (n_samples, ...)
            Training data that may be poisoned: whatever detector and classifier take.
        y : array-like of shape (n_samples,)
            Their labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights, for both: rows of weight 0 have no part in the detection.

        Returns
        -------
        self : SanitizedClassifier

        Raises
        ------
        ValueError
            A regressor, weights that the classifier would drop, a class of which nothing is left.
        """
        self._validate_params()
        check_learner(self.estimator)
        X, y = check_data(X, y)
        y, weight = np.asarray(y), check_weights(sample_weight, X)
        fit_params = {} if weight is None else {weight_argument(self.estimator): weight}
        detector = clone(self.detector).fit(X, y, weight)
        labels, kept = self._sanitized(detector, y)
        counts = np.ones(len(y), dtype=bool) if weight is None else weight > 0
        lost = np.setdiff1d(y[counts], labels[kept & counts])
        if len(lost):
            raise ValueError(
                f"{type(detector).__name__} leaves no row of class {lost.tolist()} to be fitted:"
                f" of {len(y)} rows it found {detector.is_poison_.sum()} to be poison, and"
                f" action={self.action!r}. Fit it alone and look at its groups_ and scores_; it"
                " may need another representation."
            )
        rows = np.flatnonzero(kept)
        fit_params = {name: weights[rows] for name, weights in fit_params.items()}
        estimator = clone(self.estimator).fit(_rows(X, rows), labels[rows], **fit_params)
        self.detector_, self.estimator_ = detector, estimator
        self.classes_ = np.unique(labels[rows])
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)  # of an earlier fit
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))
        return self

    def _sanitized(self, detector, y):
        """The labels to fit on, and a mask of the rows that have one."""
        labels, kept = y.copy(), ~detector.is_poison_
        if self.action == "relabel":
            groups = [group for group in detector.groups_ if group.verdict == "poison"]
            for group in reversed(groups):  # the most suspicious has the last word
                told = detector.is_poison_[group.indices] & (group.content_labels != group.label)
                rows = group.indices[told]
                labels[rows], kept[rows] = group.content_labels[told], True
        return labels, kept

    def predict(self, X):
        """Predict labels with the fitted classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @available_if(estimator_has("predict_proba"))
    def predict_proba(self, X):
        """Predict class probabilities with the fitted classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(estimator_has("decision_function"))
    def decision_function(self, X):
        """Decision values of the fitted classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        decisions : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    @available_if(estimator_has("label_losses"))
    def label_losses(self, X):
        """The training loss of each sample with each label, of a classifier that tells it.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        losses : ndarray of shape (n_samples, n_classes)
            What slopes and curves are of; else they are of the cross-entropy of `predict_proba`.
        """
        check_is_fitted(self)
        return self.estimator_.label_losses(X)

    def score(self, X, y, sample_weight=None):
        """Accuracy on the rows that the fitted detector does not flag.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Test data that may be poisoned as the training data are.
        y : array-like of shape (n_samples,)
            Their labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights.

        Returns
        -------
        score : float
            In [0, 1].

        Raises
        ------
        ValueError
            No row of positive weight is left.
        """
        check_is_fitted(self)
        X, y = check_data(X, y)
        y, weight = np.asarray(y), check_weights(sample_weight, X)
        kept = ~self.detector_.flag(X, y)
        if weight is not None:
            kept &= weight > 0
        rows = np.flatnonzero(kept)
        if len(rows) == 0:
            raise ValueError(
                f"{type(self.detector_).__name__} flags all {len(y)} rows of positive weight as"
                " poison, so there is none to judge the classifier by."
            )
        weight = None if weight is None else weight[rows]
        y_pred = self.predict(_rows(X, rows))
        return float(accuracy_score(y[rows], y_pred, sample_weight=weight))

    def __sklearn_tags__(self):
        return wrapped_tags(super().__sklearn_tags__(), self.estimator, self.detector)


def _rows(X, rows):
    """Some rows of X, increasing; X itself where they are all."""
    return X if len(rows) == _num_samples(X) else _safe_indexing(X, rows)
