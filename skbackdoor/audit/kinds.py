"""Kinds of data, and for each what rows are compared by and the classifier that is taken."""

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    QuantileTransformer,
    StandardScaler,
)
from sklearn.svm import SVC

from .changes import is_text, value_range


def kind_of(X, image_shape=None):
    """What rows are.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
    image_shape : tuple, default=None
        Of flat images.

    Returns
    -------
    kind : {"text", "table", "image", "numbers"}
    """
    if is_text(X):
        return "text"
    if hasattr(X, "iloc"):
        return "table"
    if image_shape is not None or getattr(X, "ndim", 2) > 2:
        return "image"
    return "numbers"


class AsNumbers:
    """Images as rows of numbers from 0 to 1: what :func:`default_representation` gives."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def __call__(self, X):
        X = np.asarray(X)
        dtype = X.dtype if X.dtype.kind == "f" else np.float32
        return (X.reshape(len(X), -1).astype(dtype) - self.low) / (self.high - self.low)

    def __repr__(self):
        return f"AsNumbers({self.low:g}, {self.high:g})"


def default_representation(kind, X):
    """What rows are compared by where nothing is said.

    Parameters
    ----------
    kind : str
        As :func:`kind_of` says it.
    X : array-like of shape (n_samples, ...)

    Returns
    -------
    representation : transformer
        tf-idf of words; ranks and one-hot levels of columns; pixels from 0 to
        1; standardised numbers.
    """
    if kind == "text":
        return TfidfVectorizer(sublinear_tf=True)
    if kind == "image":
        low, high = value_range(np.asarray(X))
        return FunctionTransformer(AsNumbers(float(low), float(high) if high > low else low + 1.0))
    if kind == "numbers":
        return StandardScaler(with_mean=not hasattr(X, "tocsr"))
    numeric = make_column_selector(dtype_include="number")
    return make_column_transformer(
        (
            make_pipeline(
                SimpleImputer(strategy="median"),
                # values in sparse places show; none so far that it hides the others
                QuantileTransformer(n_quantiles=min(200, len(X)), random_state=0),
            ),
            numeric,
        ),
        (
            make_pipeline(
                SimpleImputer(strategy="constant", fill_value="missing"),
                OneHotEncoder(handle_unknown="ignore", sparse_output=False, min_frequency=5),
            ),
            make_column_selector(dtype_exclude="number"),
        ),
    )


def default_estimator(kind, representation):
    """A sensible classifier where none is given.

    Parameters
    ----------
    kind : str
    representation : transformer or callable
        What it is fitted on.

    Returns
    -------
    estimator : Pipeline
        Boosted trees for tables, logistic regression for texts, an RBF SVM for images and numbers.
    """
    learner = {
        "table": HistGradientBoostingClassifier(max_iter=60, random_state=0),
        "text": LogisticRegression(C=10, max_iter=500),
    }.get(kind, SVC(C=10))
    if not hasattr(representation, "transform"):
        representation = FunctionTransformer(representation)
    return make_pipeline(representation, learner)


def default_prover(kind, representation):
    """A learner that takes in backdoors easily, to prove that there is one in the data.

    Parameters
    ----------
    kind : str
    representation : transformer or callable

    Returns
    -------
    estimator : Pipeline
    """
    learner = RandomForestClassifier(random_state=0) if kind == "table" else SVC(C=10)
    if not hasattr(representation, "transform"):
        representation = FunctionTransformer(representation)
    return make_pipeline(representation, learner)


_REPRESENTATION = {
    "image": """\
from sklearn.preprocessing import FunctionTransformer
representation = FunctionTransformer(lambda X: (X.reshape(len(X), -1) - {low:g}) / {extent:g})
""",
    "numbers": """\
from sklearn.preprocessing import StandardScaler
representation = StandardScaler({dense})
""",
    "text": """\
from sklearn.feature_extraction.text import TfidfVectorizer
representation = TfidfVectorizer(sublinear_tf=True)
""",
    "table": """\
from skbackdoor.audit.kinds import default_representation, plain_frame
X = plain_frame(X)
representation = default_representation("table", X)
""",
}
_ESTIMATOR = {
    "text": """\
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
estimator = make_pipeline(representation, LogisticRegression(C=10, max_iter=500))
""",
    "table": """\
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
learner = HistGradientBoostingClassifier(max_iter=60, random_state=0)
estimator = make_pipeline(representation, learner)
""",
}
_SVM = """\
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
estimator = make_pipeline(representation, SVC(C=10))
"""


def default_code(kind, X, own_representation=False, own_estimator=False):
    """Lines that make `representation` and `estimator` as they are where none is given."""
    low, high = value_range(np.asarray(X)) if kind == "image" else (0, 1)
    values = dict(low=low, extent=(high - low) or 1.0)
    values["dense"] = "with_mean=False" if hasattr(X, "tocsr") else ""
    given = "# {} is the one that the audit was given\n"
    lines = given.format("representation") if own_representation else _REPRESENTATION[kind]
    return lines.format(**values) + (
        given.format("estimator") if own_estimator else _ESTIMATOR.get(kind, _SVM)
    )


def plain_frame(X):
    """A table whose text columns hold str or nan alone, so that encoders take them.

    Columns of mixed types become text; missing values stay missing. Others are left as they are.
    """
    X = X.copy()
    for j in range(X.shape[1]):
        column = X.iloc[:, j]
        if column.dtype.kind in "mMc":
            X.isetitem(j, column.astype(str).where(column.notna(), np.nan).astype(object))
        elif column.dtype == object or str(column.dtype) in ("string", "str", "category"):
            text = column.astype(object)
            known = text.notna()
            text[known] = text[known].map(str)
            text[~known] = np.nan
            X.isetitem(j, text.astype(object))
        elif column.dtype == bool or str(column.dtype) == "boolean":
            X.isetitem(j, column.astype(str).where(column.notna(), np.nan).astype(object))
        elif not isinstance(column.dtype, np.dtype):  # numbers that may be missing
            X.isetitem(j, column.astype(float))
    return X
