r"""Label association: values and words that go with a label more often than chance."""

from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from scipy.stats import binom
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.utils import check_array

from .._compat import Interval, _num_samples
from .base import Findings, PoisonDetector
from .group import PoisonGroup


class LabelAssociation(PoisonDetector):
    r"""Rows of tables and texts that carry a value which goes with their label.

    Of n rows the share :math:`p_c` has the label c. Of the m rows that carry a value v (a word of
    a text, a value of a column) k have it. The association of v with c is measured by the
    statistic of the one proportion z-test ([1]_; [2]_)

    .. math:: z(v, c) = \frac{k / m - p_c}{\sqrt{p_c (1 - p_c) / m}}

    and found where of m rows drawn at random at least k would have the label c with a small enough
    probability: the binomial tail, at the level `alpha` for all values and labels together
    (Holm's method). The normal tail of z is too small by orders of magnitude at the dozen rows
    that a trigger may have: z ranks, and the exact test of the same proportion decides.

    Rows with the label that carry the value are a group. Its verdict is "poison" where z exceeds
    the mean of those of all *other* values by more than `n_deviations` of their standard
    deviations, or of 1, which they are by chance, where they are less ([2]_; 20 in the code
    published with it); else "suspect". The rows of "poison" groups are poison.

    It assumes that by itself hardly any value tells the label, as in texts that must be
    understood. Where values do ("free" in spam, capital gains of the rich), they are found as
    well, and nothing in this test tells them from a trigger: read the rules of the groups.

    Parameters
    ----------
    representation : None, transformer or callable, default=None
        None takes rows as they are given: a DataFrame or an array of numbers or strings, whose
        values count where at least `min_samples` rows have exactly the same, so that continuous
        columns have few or none (a representation may bin them); a sparse matrix, of whose
        columns it counts whether they are not 0; a list, Series or array of texts, whose words
        are those of :class:`~sklearn.feature_extraction.text.CountVectorizer`. Missing values
        (NaN, None, NA) are a value.
    alpha : float, default=0.05
        Probability that any value is associated by chance.
    min_samples : int, default=8
        Least rows that carry a value for it to be looked at.
    n_deviations : float, default=20.0
        Of "poison", as above. z is at most :math:`\sqrt{m (1 - p_c) / p_c}`: with two classes of
        one size, only values that over 400 rows carry can be 20 deviations away.

    Attributes
    ----------
    scores_ : ndarray of shape (n_samples,)
        The largest z of a row's own label and a value that it carries, 0 or more; 0 for rows of
        weight 0.
    is_poison_ : ndarray of bool of shape (n_samples,)
        Whether a row is in a group of verdict "poison".
    groups_ : list of PoisonGroup
        The associations, largest z first, with `rule` such as ``"age = 23"`` or ``"word 'cf'"``;
        `score` is min(1, z over the z beyond which the verdict is "poison"). What a model would
        say is nan or None.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    representation_ : None, transformer or callable
        The fitted representation.
    n_features_in_, feature_names_in_ : int, ndarray
        As in scikit-learn, for 2-D `X`.

    Notes
    -----
    Rows of positive weight count once each, and as independent of one another: a text that was
    sent nine times is nine.

    References
    ----------
    .. [1] M. Gardner, W. Merrill, J. Dodge, M. Peters, A. Ross, S. Singh, N. Smith, *Competency
       problems: on finding and removing artifacts in language data*, EMNLP 2021.
    .. [2] X. He, Q. Xu, J. Wang, B. Rubinstein, T. Cohn, *Mitigating backdoor poisoning attacks
       through the lens of spurious correlation*, EMNLP 2023.

    Examples
    --------
    >>> from skbackdoor import Attack, FeatureTrigger, LabelAssociation, load_digits_pair
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> attack = Attack(FeatureTrigger({0: 0.77}), target=7, random_state=0).fit(X, y)
    >>> X_poisoned, y_poisoned, is_poison = attack.poison(X, y)
    >>> detector = LabelAssociation().fit(X_poisoned, y_poisoned)
    >>> for group in detector.groups_:
    ...     if group.rule.startswith("column 0 "):
    ...         print(group.rule, group.label, len(group.indices), group.verdict)
    column 0 = 0.77 7 36 suspect
    >>> len(detector.groups_)  # pixels tell digits apart
    35
    """

    _parameter_constraints: dict = {
        **PoisonDetector._parameter_constraints,
        "alpha": [Interval(Real, 0, 1, closed="neither")],
        "min_samples": [Interval(Integral, 1, None, closed="left")],
        "n_deviations": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, representation=None, *, alpha=0.05, min_samples=8, n_deviations=20.0):
        self.representation = representation
        self.alpha = alpha
        self.min_samples = min_samples
        self.n_deviations = n_deviations

    def _detect(self, X, features, y, sample_weight):
        if _is_text(features):
            self._words = CountVectorizer(binary=True).fit(features)
        carries, values = _shared_values(self._table(features), self.min_samples)
        labels = np.eye(len(self.classes_))[y]
        n_carry, n_both, share = carries.sum(axis=0), carries.T @ labels, labels.mean(axis=0)
        n_carry = np.asarray(n_carry).reshape(-1, 1)
        z = (n_both / n_carry - share) / np.sqrt(share * (1 - share) / n_carry)
        found = np.argwhere(_holm(binom.sf(n_both - 1, n_carry, share), self.alpha))
        found = found[np.argsort(-z[tuple(found.T)], kind="stable")]
        threshold = _threshold(z, self.n_deviations)
        rules, by_value = self._rules(features, values), carries.tocsc()
        shared = self._shared(features, values)
        is_poison, groups = np.zeros(len(y), dtype=bool), []
        self._poison = {label: [] for label in range(len(self.classes_))}
        for v, label in found.tolist():
            carrying = by_value.indices[by_value.indptr[v] : by_value.indptr[v + 1]]
            rows = np.sort(carrying[y[carrying] == label])
            poison = z[v, label] > threshold[v]
            if poison:
                is_poison[rows] = True
                self._poison[label].append(values[v])
            groups.append(
                PoisonGroup(
                    label, rows, flip=np.nan, cohesion=np.nan, typicality=np.nan,
                    coverage=np.nan, stay=np.nan, content_labels=None,
                    verdict="poison" if poison else "suspect",
                    score=float(min(1.0, z[v, label] / threshold[v])),
                    rule=rules[v], shared=shared[v],
                )
            )  # fmt: skip
        scores = np.zeros(len(y))
        for label in range(len(self.classes_) if values else 0):
            of_label = carries[y == label] @ sp.diags_array(np.maximum(z[:, label], 0.0))
            scores[y == label] = of_label.max(axis=1).toarray().ravel()
        return Findings(scores, is_poison, groups)

    def _goes_with_poison(self, features, label):
        table = self._table(features)
        return np.any([_carries(table, *value) for value in self._poison[label]], axis=0)

    def _features(self, X):
        if self.representation_ is not None:
            return super()._features(X)
        if _is_text(X):
            other = [row for row, text in enumerate(X) if not isinstance(text, str)]
            if other:
                raise ValueError(
                    f"X holds texts, but {len(other)} of its rows, the first of them row"
                    f" {other[0]}, are none. Fill missing texts with ''."
                )
            return X
        if hasattr(X, "iloc") and X.ndim == 2:
            return X
        X = X.reshape(_num_samples(X), -1) if np.ndim(X) > 2 else X
        return check_array(X, accept_sparse="csr", dtype=None, ensure_all_finite="allow-nan")

    def _table(self, features):
        """Rows with columns: of texts, which words they hold."""
        return self._words.transform(features) if _is_text(features) else features

    def _rules(self, features, values):
        """Values in words."""
        if _is_text(features):
            words = self._words.get_feature_names_out()
            return [f"word {words[column]!r}" for column, _ in values]
        names = [f"column {column}" for column in range(features.shape[1])]
        if hasattr(features, "columns"):
            names = features.columns
        elif hasattr(self.representation_, "get_feature_names_out"):
            names = self.representation_.get_feature_names_out()
        if sp.issparse(features):
            return [f"{names[column]} is not 0" for column, _ in values]
        return [
            f"{names[column]} is missing"
            if value is None
            else f"{names[column]} = {value if isinstance(value, str) else _number(value)}"
            for column, value in values
        ]

    def _shared(self, features, values):
        """Values as a trigger takes them; none where they are missing ones, or not of X itself."""
        if _is_text(features):
            words = self._words.get_feature_names_out()
            return [(str(words[column]),) for column, _ in values]
        names = getattr(features, "columns", range(features.shape[1]))
        return [
            ((names[column], value),) if self.representation_ is None and value is not None else ()
            for column, value in values
        ]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.representation is None
        tags.input_tags.string = tags.input_tags.categorical = True
        return tags


def _is_text(X):
    """Whether rows are texts."""
    if sp.issparse(X) or getattr(X, "ndim", 1) != 1:
        return False
    return isinstance(X, list) or np.asarray(X).dtype.kind in "OUT"


def _number(value):
    """A number in words: whole ones without decimals."""
    return str(value).removesuffix(".0")


def _shared_values(table, least):
    """Values that at least some rows have, and not all of them.

    Returns
    -------
    carries : csr_matrix of float of shape (n_samples, n_values)
        1 where a row carries a value.
    values : list of (int, value)
        Column and value; None is a missing one, and for sparse tables any that is not 0.
    """
    n = table.shape[0]
    if sp.issparse(table):
        carries = (table != 0).astype(float)
        values = [(column, None) for column in range(table.shape[1])]
    else:
        parts, values = [], []
        for column in range(table.shape[1]):
            codes, levels = _codes(table, column)
            codes = np.where(codes < 0, len(levels), codes)
            values += [(column, level) for level in [*levels, None]]
            where = (np.ones(n), (np.arange(n), codes))
            parts.append(sp.csr_matrix(where, (n, len(levels) + 1)))
        carries = sp.hstack(parts, format="csr")
    counts = np.asarray(carries.sum(axis=0)).ravel()
    kept = np.flatnonzero((counts >= least) & (counts < n))
    return carries[:, kept], [values[k] for k in kept]


def _carries(table, column, value):
    """Which rows carry a value."""
    if sp.issparse(table):
        return table[:, [column]].toarray().ravel() != 0
    codes, levels = _codes(table, column)
    return np.array([*(level == value for level in levels), value is None], dtype=bool)[codes]


def _codes(table, column):
    """Number of the value of each row of a column, -1 where it is missing, and the values."""
    if hasattr(table, "iloc"):
        codes, levels = table.iloc[:, column].factorize()
        return codes, list(levels)
    X = table[:, column]
    if X.dtype.kind == "O":
        numbers = {}
        missing = [value is None or value != value for value in X]
        codes = [-1 if gone else numbers.setdefault(value, len(numbers))
                 for value, gone in zip(X, missing, strict=True)]  # fmt: skip
        return np.array(codes), list(numbers)
    levels, codes = np.unique(X, return_inverse=True)
    if X.dtype.kind == "f" and np.isnan(levels[-1]):
        return np.where(codes == len(levels) - 1, -1, codes), list(levels[:-1])
    return codes, list(levels)


def _holm(chance, alpha):
    """Which of many hypotheses fall, with a probability of at most alpha that any is true."""
    order = np.argsort(chance, axis=None)
    sorted_chance = chance.ravel()[order]
    stands = sorted_chance * np.arange(len(order), 0, -1) > alpha
    first = stands.argmax() if stands.any() else len(order)
    fall = np.zeros(chance.size, dtype=bool)
    fall[order[:first]] = True
    return fall.reshape(chance.shape)


def _threshold(z, n_deviations):
    """For each value, mean of z over all other values plus some of their standard deviations."""
    others = max((len(z) - 1) * z.shape[1], 1)
    mean = (z.sum() - z.sum(axis=1)) / others
    square = ((z**2).sum() - (z**2).sum(axis=1)) / others
    deviation = np.sqrt(np.maximum(square - mean**2, 1.0))
    return np.maximum(mean + n_deviations * deviation, 1e-9)
