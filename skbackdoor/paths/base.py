"""The path of a fitted model as the weight of its poison rows goes from 0 to 1."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from ..poisoning import clean_class_weight, label_index, weight_argument


@dataclass(frozen=True)
class TrainingRows:
    """Rows that a path is fitted on, clean and poison ones apart.

    Attributes
    ----------
    X, X_poison : arrays of shape (n_clean, ...) and (n_poison, ...)
        Rows as the learner itself sees them, after any preprocessing.
    y, y_poison : ndarrays of int
        Indices into `classes`.
    weight, weight_poison : ndarrays of float
        Sample weights; those of poison rows without the factor beta.
    classes : ndarray of shape (n_classes,)
        The labels.
    weighted : bool
        False where no sample weights were given.
    """

    X: object
    y: np.ndarray
    weight: np.ndarray
    X_poison: object
    y_poison: np.ndarray
    weight_poison: np.ndarray
    classes: np.ndarray
    weighted: bool


class WeightPath:
    r"""How a learner moves as poison weight beta goes from 0 to 1.

    :math:`w^*(\beta) = \arg\min_w \sum_{clean} \ell + \beta \sum_{poison} \ell + \Omega(w)`
    (Cinà et al. 2024, eq. 2). Preprocessing steps of a Pipeline, `gamma="scale"` of a kernel and
    "balanced" class weights are held at their clean fit for every beta.

    Subclasses set `loss` and say how a fitted learner gives decision values; families with a
    closed form also give ``optimum``, the clean fit with its right derivative.

    Parameters
    ----------
    estimator : estimator instance
        The base learner, a plain classifier or a Pipeline.
    clean, poison : tuples of (X, y, sample_weight)
        Raw rows with labels; weights or None, those of poison rows without the factor beta.
    fitted : estimator or None
        The base learner already fitted on the clean rows, to be taken as it is.
    """

    #: How the slope is found; a family says otherwise for a learner without a closed form.
    method = "implicit"

    def __init__(self, estimator, clean, poison, fitted=None):
        (X, y, weight), (X_poison, y_poison, weight_poison) = clean, poison
        classes = np.unique(np.concatenate([y, y_poison]))
        missing = np.setdiff1d(classes, y)
        if len(missing):
            raise ValueError(
                f"No clean training row of class {missing.tolist()} is left at poison weight 0;"
                " lower poisoning_rate or use placement='append'."
            )
        if fitted is None:
            fit_params = {} if weight is None else {weight_argument(estimator): weight}
            fitted = clone(estimator).fit(X, y, **fit_params)
        self._prepare = _identity
        if isinstance(fitted, Pipeline):
            if len(fitted.steps) > 1:
                self._prepare = fitted[:-1].transform
            fitted = fitted.steps[-1][1]
        class_weight = clean_class_weight(fitted, y, weight)
        #: Weight of each class, "balanced" ones computed on the clean rows.
        self.class_weight = np.array([class_weight[label] for label in classes.tolist()])
        self.fitted = fitted
        self.rows = TrainingRows(
            X=self.prepare(X),
            y=label_index(y, classes),
            weight=_ones_or(weight, y),
            X_poison=self.prepare(X_poison),
            y_poison=label_index(y_poison, classes),
            weight_poison=_ones_or(weight_poison, y_poison),
            classes=classes,
            weighted=weight is not None,
        )
        self.estimator = self._fixed(clone(fitted))
        self._setup()
        total = np.bincount(self.rows.y, self.training_weights()[0], minlength=len(classes))
        if self.method == "implicit" and np.any(total == 0):
            raise ValueError(
                f"The clean rows of class {classes[total == 0].tolist()} have total weight 0"
                " (sample weights times class weights): the clean optimum does not exist."
            )

    def _fixed(self, estimator):
        """The learner with what depends on the training rows set to its clean value."""
        if getattr(estimator, "class_weight", None) == "balanced":
            labels = self.rows.classes.tolist()
            estimator.set_params(
                class_weight=dict(zip(labels, self.class_weight.tolist(), strict=True))
            )
        return estimator

    def training_weights(self):
        """Sample weight times class weight: of clean rows, and of poison rows at beta = 1."""
        rows = self.rows
        return (
            rows.weight * self.class_weight[rows.y],
            rows.weight_poison * self.class_weight[rows.y_poison],
        )

    def _setup(self):
        """Set `loss` and whatever else the family needs, once."""
        raise NotImplementedError

    def fit(self, poison_weight, *, drop_poison=None):
        """Refit the learner at one poison weight.

        Parameters
        ----------
        poison_weight : float in [0, 1]
            The weight beta.
        drop_poison : bool or None, default=None
            Whether the poison rows are left out rather than given weight 0; None leaves them
            out where beta = 0.

        Returns
        -------
        fitted : estimator
            The last step, fitted on rows that are already preprocessed.
        """
        rows = self.rows
        drop_poison = poison_weight == 0.0 if drop_poison is None else drop_poison
        if drop_poison:
            X, y, weight = rows.X, rows.y, rows.weight
        else:
            X, y = stack(rows.X, rows.X_poison), np.concatenate([rows.y, rows.y_poison])
            weight = np.concatenate([rows.weight, poison_weight * rows.weight_poison])
        estimator = clone(self.estimator)
        if not rows.weighted and (drop_poison or poison_weight == 1.0):
            return estimator.fit(X, rows.classes[y])
        return estimator.fit(X, rows.classes[y], **{weight_argument(estimator): weight})

    def prepare(self, X):
        """Raw samples as the learner sees them, after any preprocessing."""
        return self._cast(self._prepare(X))

    def _cast(self, X):
        """The container that the family computes on; here whatever the learner takes."""
        return X

    def decision_values(self, fitted, X):
        """Decision values of a fit at prepared rows X, shape (n_samples, n_outputs)."""
        F = fitted.decision_function(X)
        return F[:, None] if F.ndim == 1 else F

    def predict(self, fitted, X):
        """Labels that a fit gives to prepared rows X, shape (n_samples,)."""
        return fitted.predict(X)

    def weights(self, fitted):
        """Weight vector of a fit, its intercept left out, or None where there is none."""
        coef = getattr(fitted, "coef_", None)
        if coef is None:
            return None
        return np.asarray(coef.toarray() if sp.issparse(coef) else coef, dtype=float).ravel()

    def inner(self, first, second):
        """Inner product of two fits' weights; in feature space for kernel machines."""
        return self.weights(first) @ self.weights(second)

    def has_weights(self, fitted):
        """Whether norm and cosine of a fit's weights are defined."""
        return self.weights(fitted) is not None


def _ones_or(sample_weight, y):
    return np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=float)


def _identity(X):
    return X


def stack(first, second):
    """Rows of `first` above rows of `second`, both prepared."""
    if sp.issparse(first):
        return sp.vstack([first, second], format="csr")
    if hasattr(first, "iloc"):
        import pandas as pd

        return pd.concat([first, second])
    return np.concatenate([np.asarray(first), np.asarray(second)])


def as_float64(X):
    """Rows as float64, dense or CSR: what the families with a closed form compute on."""
    if sp.issparse(X):
        return sp.csr_matrix(X, dtype=np.float64)
    return np.ascontiguousarray(X, dtype=np.float64)
