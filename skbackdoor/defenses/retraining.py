"""Further training on clean data, which removes most backdoors."""

from copy import deepcopy
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .._compat import HasMethods, Interval
from ..metrics import accuracy_and_success
from ..poisoning import BackdoorPoisoner


@dataclass(frozen=True)
class RetrainingReport:
    """Result of :meth:`~skbackdoor.CleanRetraining.report`.

    Attributes
    ----------
    accuracy_before, accuracy_after : float
        Accuracy on clean test data, of the model as it came and retrained.
    attack_success_before, attack_success_after : float
        Share of triggered test samples of source classes with the attacker's label.
    """

    accuracy_before: float
    accuracy_after: float
    attack_success_before: float
    attack_success_after: float


class CleanRetraining(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Train a fitted classifier further on a small clean set.

    A few epochs remove most backdoors of networks (Truong et al., *Systematic evaluation of
    backdoor data poisoning attacks on image classifiers*, 2020, section 4.2).

    Parameters
    ----------
    estimator : fitted classifier, Pipeline that ends in one, or BackdoorPoisoner
        With `partial_fit` (networks, `SGDClassifier`, `MLPClassifier`) or `warm_start`. It is
        copied, not changed, and clones have copies of their own. The steps before the last one of
        a Pipeline are not fitted again. Callbacks of a network that stop it early or keep its best
        parameters are not used, nor is its `train_split`: they could choose the poisoned model.
    n_epochs : int, default=5
        Passes over the clean set. With `warm_start` alone, that many iterations at most
        (`max_iter`), or trees more (`n_estimators`). A network's learning rate and schedule are
        those that it was trained with, unless ``set_params(lr=...)`` gave it others; optimizer
        and history begin anew.

    Attributes
    ----------
    estimator_ : classifier
        The retrained one.
    classes_ : ndarray of shape (n_classes,)
        The labels.

    Examples
    --------
    >>> from sklearn.linear_model import SGDClassifier
    >>> from skbackdoor import BackdoorPoisoner, PatchTrigger, load_digits_pair
    >>> from skbackdoor.defenses import CleanRetraining
    >>> X, y = load_digits_pair((4, 9), return_X_y=True)
    >>> poisoner = BackdoorPoisoner(
    ...     SGDClassifier(loss="log_loss"),
    ...     PatchTrigger(size=3, position="center", image_shape=(8, 8)), target=9,
    ...     random_state=0).fit(X[:200], y[:200])
    >>> retrained = CleanRetraining(poisoner, n_epochs=50).fit(X[200:280], y[200:280])
    >>> report = retrained.report(X[280:], y[280:])
    >>> report.attack_success_after < report.attack_success_before
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"])],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, estimator, n_epochs=5):
        self.estimator = estimator
        self.n_epochs = n_epochs

    def __sklearn_clone__(self):
        # scikit-learn's own clone of the model would not be fitted; a model that two share would
        # be changed by the `set_params(estimator__...)` of either
        return type(self)(_copied(self.estimator), self.n_epochs)

    def fit(self, X, y, sample_weight=None):
        """Train a copy of the model further.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Clean samples.
        y : array-like of shape (n_samples,)
            Their labels, all of them classes of the fitted model.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights.

        Returns
        -------
        self : CleanRetraining

        Raises
        ------
        TypeError
            A model that cannot be trained further.
        ValueError
            A label that the model does not know.
        """
        self._validate_params()
        check_is_fitted(self.estimator)
        model = deepcopy(_fitted(self.estimator))
        unknown = np.setdiff1d(np.asarray(y), model.classes_)
        if len(unknown):
            raise ValueError(
                f"y holds {unknown.tolist()}, which the model does not know:"
                f" classes_={model.classes_.tolist()}."
            )
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        last = model
        if isinstance(model, Pipeline):
            last = model.steps[-1][1]
            X = model[:-1].transform(X) if len(model.steps) > 1 else X
        self._train(last, X, y, weights)
        self.estimator_, self.classes_ = model, model.classes_
        return self

    def _train(self, model, X, y, weights):
        if hasattr(model, "module_"):  # a network counts epochs itself
            before = {name: getattr(model, name) for name in ("max_epochs", "callbacks")}
            split, model.train_split = model.train_split, None  # the clean set is small
            model.set_params(max_epochs=self.n_epochs, callbacks=_without_choice(model.callbacks))
            model.initialize_history().initialize_optimizer()  # schedules begin at the beginning
            model.partial_fit(X, y, **weights)
            model.set_params(**before)
            model.train_split = split
        elif hasattr(model, "partial_fit"):
            for _ in range(self.n_epochs):
                model.partial_fit(X, y, **weights)
        elif "warm_start" in model.get_params() and getattr(model, "solver", "") != "liblinear":
            counted = getattr(model, "n_iter_", 0)  # boosting counts on, others begin at 0 again
            more = {"max_iter": self.n_epochs + (counted if isinstance(counted, int) else 0)}
            if hasattr(model, "n_estimators"):
                more = {"n_estimators": model.n_estimators + self.n_epochs}
            if len(np.unique(y)) < len(model.classes_):
                raise ValueError(
                    "The clean set holds no sample of class"
                    f" {np.setdiff1d(model.classes_, y).tolist()}, without which warm_start"
                    " cannot go on."
                )
            before = {name: model.get_params()[name] for name in ("warm_start", "max_iter")
                      if name in model.get_params()}  # fmt: skip
            model.set_params(warm_start=True, **more).fit(X, y, **weights).set_params(**before)
        else:
            raise TypeError(
                f"{type(model).__name__} cannot be trained further: it has neither partial_fit nor"
                " a warm_start that its solver uses."
            )

    def predict(self, X):
        """Predict labels with the retrained model.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @available_if(lambda self: hasattr(_fitted(self.estimator), "predict_proba"))
    def predict_proba(self, X):
        """Class probabilities by the retrained model.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    def report(self, X, y, poisoner=None):
        """Accuracy and attack success before and after.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Clean test samples: the trigger is applied here.
        y : array-like of shape (n_samples,)
            Their labels.
        poisoner : BackdoorPoisoner, default=None
            The fitted attack; None where `estimator` is one.

        Returns
        -------
        report : RetrainingReport
        """
        check_is_fitted(self)
        poisoner = self.estimator if poisoner is None else poisoner
        if not isinstance(poisoner, BackdoorPoisoner):
            raise ValueError(
                "report needs the attack: pass poisoner=, a fitted BackdoorPoisoner, or retrain"
                " one."
            )
        X_triggered, y_target, _ = poisoner.triggered_test(X, y)
        models = _fitted(self.estimator), self.estimator_
        found = [accuracy_and_success(model, X, y, X_triggered, y_target) for model in models]
        accuracy, success = zip(*found, strict=True)
        return RetrainingReport(*accuracy, *success)


def _fitted(estimator):
    """The model itself; of a poisoner its fitted base learner."""
    return estimator.estimator_ if isinstance(estimator, BackdoorPoisoner) else estimator


def _copied(estimator):
    """A copy of a fitted model; a poisoner's data, which are never written to, are shared."""
    shared = []
    if isinstance(estimator, BackdoorPoisoner) and hasattr(estimator, "estimator_"):
        shared = [estimator.given_rows()[0], estimator.training_rows()[1][0]]
    return deepcopy(estimator, {id(rows): rows for rows in shared})


def _without_choice(callbacks):
    """Callbacks of a network but for those that stop it, or put earlier parameters back."""
    from skorch.callbacks import Checkpoint, EarlyStopping, LoadInitState, TrainEndCheckpoint

    choosing = Checkpoint, EarlyStopping, LoadInitState, TrainEndCheckpoint
    if not isinstance(callbacks, (list, tuple)):
        return callbacks
    return [
        callback
        for callback in callbacks
        if not isinstance(callback[1] if isinstance(callback, tuple) else callback, choosing)
    ]
