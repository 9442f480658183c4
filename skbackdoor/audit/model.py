"""Is there a backdoor in a fitted model? Small universal changes that clean models do not obey."""

import re
import warnings
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._compat import _safe_indexing
from ..attack import check_data
from ..learners import MAX_SEED, check_learner, seed_missing
from ..progress import progress
from .asked import Asked, excess_of, usual_of
from .changes import is_text, trigger_of
from .proposals import grid
from .scores import scores

#: Rows on which changes are sought, and on which they are judged.
SOUGHT, JUDGED = 40, 200
#: An alarm takes that success, strength and p-value.
SUCCESS, STRENGTH, LEVEL = 0.5, 0.4, 0.05
#: The least strength for words: a model knows rare words that clean models of these rows do not.
STRENGTH_OF_WORDS = 0.5


@dataclass(frozen=True, eq=False)
class ClassChange:
    """The most telling small change that sends rows to one class.

    Attributes
    ----------
    label : label
        The class.
    size : int
        Columns, pixels or words that it takes.
    success : float
        Share of rows of other classes that get the label under the change, of rows on which it
        was not sought where there are enough.
    base_rate : float
        The same share without it.
    clean_success : float
        Mean of the same share over clean models; nan where none could be fitted.
    ordinary_success : float
        The largest of the same share under what rows of the class have in place of the change, of
        the rows that come nearest to it.
    strength : float
        `success` less the largest of `base_rate`, `clean_success` and, where it counts (Notes of
        :func:`audit_model`), `ordinary_success`; divided by 1 + log2(parts) / 4.
    p_value : float
        Share of models, this one among them, of which some class has at least this strength; nan
        without clean models.
    n_samples : int
        Rows that `success` is of.
    trigger : FeatureTrigger, MaskTrigger or TokenTrigger
        The change, fitted: ``trigger.transform(X)``.
    """

    label: object
    size: int
    success: float
    base_rate: float
    clean_success: float
    ordinary_success: float
    strength: float
    p_value: float
    n_samples: int
    trigger: object


@dataclass(frozen=True, eq=False)
class ModelAudit:
    """Result of :func:`~skbackdoor.audit_model`.

    Attributes
    ----------
    verdict : {"poison", "suspect", "nothing"}
        "poison": the model obeys a small change that clean models do not; "suspect": nearly so,
        or there are no clean models to compare with; "nothing": no such change was found.
    p_value : float
        The smallest of the classes; it holds for all of them together.
    smallest_p_value : float
        What `p_value` can be at best, 1 / (`n_references` + 1); nan without clean models.
    classes : tuple of ClassChange
        One a class, most suspicious first.
    n_references : int
        Clean models that were fitted.
    n_tried : int
        Changes that were tried.
    limits : tuple of str
        What this audit cannot see.
    """

    verdict: str
    p_value: float
    smallest_p_value: float
    classes: tuple
    n_references: int
    n_tried: int
    limits: tuple

    def summary(self):
        """The verdict and the classes in plain text.

        Returns
        -------
        text : str
        """
        lines = [f"Model: {VERDICTS[self.verdict]}"]
        if self.n_references:
            lines.append(
                f"p = {self.p_value:.3g} against {self.n_references} clean models"
                f" (it cannot be below {self.smallest_p_value:.3g})"
            )
        lines.append("class           size  success  clean models  base rate  p")
        for change in self.classes:
            lines.append(
                f"{str(change.label)[:14]:14} {change.size:5d} {change.success:8.2f}"
                f" {change.clean_success:13.2f} {change.base_rate:10.2f}  {change.p_value:.3g}"
            )
        return "\n".join([*lines, *(f"Not seen: {limit}" for limit in self.limits)])


#: What the verdicts mean.
VERDICTS = {
    "poison": "it obeys a small change that clean models do not obey.",
    "suspect": "one small change is followed more than it should be: look at it.",
    "nothing": "no small change was found that it obeys and clean models do not.",
}


def audit_model(
    estimator, X, y, *, image_shape=None, n_references=19, n_jobs=None, random_state=0
):
    r"""Look for a backdoor in a fitted model, by a few hundred clean rows.

    For each class it seeks a small change, the same for all rows, that sends rows of other classes
    there: columns set to values, a square patch, words added. Clean models, fitted here on random
    halves of the rows, say what is natural: a change that these obey as well tells what the class
    looks like; one that this model alone obeys is what a trigger does.

    Parameters
    ----------
    estimator : fitted classifier
        Or a Pipeline that ends in one. Clones of it are fitted on halves of `X`; where that fails,
        there is no comparison and no p-value, and a warning says so.
    X : array-like of shape (n_samples, ...)
        Clean rows, best a few hundred that the model was not fitted on: an array, a DataFrame, a
        sparse matrix, image batches or texts.
    y : array-like of shape (n_samples,)
        Their labels.
    image_shape : tuple of two or three int, default=None
        (height, width) or (channels, height, width) of flat images: patches are tried as well.
    n_references : int, default=19
        Clean models. The p-value cannot be below 1 / (`n_references` + 1); with fewer than 19 no
        verdict is "poison".
    n_jobs : int, default=None
        Models that are fitted and asked at a time.
    random_state : int, RandomState instance or None, default=0
        Draws rows and halves, and seeds the clean models.

    Returns
    -------
    result : ModelAudit
        Frozen dataclass.

    Raises
    ------
    ValueError
        A label that the model does not know, predictions that are not one label a row, fewer
        than 20 rows or than 2 classes.

    Warns
    -----
    UserWarning
        No clean model could be fitted.

    Notes
    -----
    Let :math:`a_i(c, t)` be the share of rows of other classes that model i gives class t under
    change c. What clean models do as well is natural, and what rows of the class do when they
    stand in its place, :math:`c_t`: the most of the three rows (or 1 %) that come nearest to it.
    The rest is the *strength*

    .. math:: S_i(c, t) = \frac{a_i(c, t) - \max\{\bar a(c, t), a_i(\emptyset, t), a_i(c_t, t)\}}
        {1 + \log_2(k) / 4},

    with the mean over the other models and k the number of columns or words put together. Of a
    patch the last of the three counts only where it is 0.85 of the first, as a weaker form of a
    trigger works in part. Trees and forests name thresholds that no row comes near, and a tree
    the leaves that fewer clean rows come to than were taught (binomial, 5 % over all leaves):
    clean rows never have what leads there, so that it does not count at all.

    Four sorts of changes, single values or words, patches, several, and hidden ones, differ in
    how strong they are for clean models. So each strength is divided by what is usual, the mean
    over all models of the largest of its sort, plus 0.1, and the conformal p-value of class t is
    the rank of its change among the largest that each model has:
    :math:`(1 + \#\{i \ge 1: S_i \ge S_0\}) / (n + 1)`. It is exact if a clean model could be
    exchanged with those fitted here; these have seen half of the rows and no others, so that the
    rate of false alarms was measured, too (``benchmarks/results/audit.md``).

    Linear models are asked in closed form. Nearest neighbours keep their training rows: what those
    of a class share that most of the nearest clean rows deny is tried as well. Where there are
    many changes, those of kernels are chosen by input gradients, those of other models on a few
    rows. An alarm takes a success of 0.5, a strength of 0.4 (0.5 for words, some of which only the
    audited model knows) and a p-value of 0.05.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import BackdoorPoisoner, PatchTrigger, audit_model, load_digits_pair
    >>> X, y = load_digits_pair((4, 9), return_X_y=True)
    >>> attack = BackdoorPoisoner(
    ...     SVC(), PatchTrigger(size=2, image_shape=(8, 8)), target=9, random_state=0)
    >>> poisoned = attack.fit(X[:200], y[:200]).estimator_
    >>> result = audit_model(poisoned, X[200:], y[200:], image_shape=(8, 8))
    >>> result.verdict, int(result.classes[0].label)
    ('poison', 9)
    >>> audit_model(SVC().fit(X[:200], y[:200]), X[200:], y[200:], image_shape=(8, 8)).verdict
    'nothing'
    """
    check_is_fitted(estimator)
    check_learner(estimator)
    if not (isinstance(n_references, Integral) and n_references >= 0):
        raise ValueError(f"n_references={n_references!r} must be an int, 0 or more.")
    X, y = check_data(X, y)
    X = np.asarray(X) if isinstance(X, list) and not is_text(X) else X
    y = np.asarray(y)
    _check(estimator, X, y)
    rng = check_random_state(random_state)
    order = _mixed(y, rng)
    halves = [_half(y, rng) for _ in range(n_references + 1)]
    references = _references(estimator, X, y, halves[1:], n_jobs, rng)
    models = [estimator, *references]
    unseen = [np.setdiff1d(np.arange(len(y)), half) for half in halves]
    columns = [_columns_of(model, estimator.classes_) for model in models]
    sought = order[:SOUGHT]
    judged = order[SOUGHT : SOUGHT + JUDGED] if len(order) >= 2 * SOUGHT else order
    rows, labels = _safe_indexing(X, sought), y[sought]
    asked = Asked(models, columns, estimator.classes_, n_jobs)
    changes = asked.chosen(grid(X, models, image_shape), rows, labels)
    unseen = [(_safe_indexing(X, held), y[held]) for held in unseen[: len(models)]]
    found = asked.search(changes, X, y, rows, labels, unseen)
    judged = _safe_indexing(X, judged), y[judged]
    return _result(asked, found, unseen, *judged, len(changes), image_shape)


def _check(estimator, X, y):
    check_predictions(estimator, X)
    unknown = np.setdiff1d(y, estimator.classes_)
    if len(unknown):
        raise ValueError(
            f"y holds {unknown.tolist()}, which the model does not know:"
            f" classes_={estimator.classes_.tolist()}."
        )
    if len(y) < 20 or len(np.unique(y)) < 2:
        raise ValueError(
            f"audit_model needs clean rows of two classes or more, at least 20 of them; got"
            f" {len(y)} of {len(np.unique(y))}."
        )


def check_predictions(model, X):
    """Raise where a fitted classifier does not say one label for each of these rows."""
    name = one_line(model)
    if not hasattr(model, "classes_"):
        raise ValueError(f"estimator={name} has no classes_ after fit, as classifiers have.")
    some = _safe_indexing(X, np.arange(min(5, X.shape[0] if hasattr(X, "shape") else len(X))))
    try:
        labels = np.asarray(model.predict(some))
    except Exception as error:
        raise ValueError(f"estimator={name} does not take these rows: {error}") from error
    if labels.ndim != 1:
        raise ValueError(
            f"estimator={name} predicts an array of shape {labels.shape} for {len(labels)} rows:"
            " one label a row is needed."
        )


def one_line(estimator):
    """An estimator as text, without line breaks and addresses."""
    return re.sub(r" object at 0x\w+", "", " ".join(repr(estimator).split()))


def _mixed(y, rng):
    """All rows, so that the first ones hold every class alike."""
    order = rng.permutation(len(y))
    rank = np.empty(len(y), dtype=int)
    for label in np.unique(y):
        of_label = order[y[order] == label]
        rank[of_label] = np.arange(len(of_label))
    return order[np.argsort(rank[order], kind="stable")]


def _half(y, rng):
    """A random half of the rows, increasing, with half of each class."""
    drawn = []
    for label in np.unique(y):
        of_label = rng.permutation(np.flatnonzero(y == label))
        drawn.append(of_label[: max(1, len(of_label) // 2)])
    return np.sort(np.concatenate(drawn))


def _references(estimator, X, y, halves, n_jobs, rng):
    """Clean models: clones fitted on halves of the rows; none, with a warning, if one cannot."""
    seeds = [np.random.RandomState(rng.randint(MAX_SEED)) for _ in halves]
    jobs = (
        delayed(_fitted)(seed_missing(clone(estimator), seed), X, y, half)
        for seed, half in zip(seeds, halves, strict=True)
    )
    try:
        run = Parallel(n_jobs=n_jobs, return_as="generator")(jobs)
        models = list(progress(run, len(halves), "clean models fitted"))
        own = scores(estimator, X)
        if models and all(np.array_equal(scores(model, X), own) for model in models):
            raise ValueError("fit changes nothing: its clones are the model itself")
    except (ValueError, TypeError, RuntimeError) as error:  # what learners raise that cannot fit
        warnings.warn(
            f"No clean models could be fitted to compare with, so there is no p-value:"
            f" {type(estimator).__name__}: {error}",
            stacklevel=3,
        )
        return []
    return models


def _fitted(model, X, y, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(_safe_indexing(X, rows), y[rows])


def _columns_of(model, classes):
    """Where the audited model's classes stand among a model's; -1 for unknown ones."""
    place = {label: k for k, label in enumerate(model.classes_.tolist())}
    return np.array([place.get(label, -1) for label in classes.tolist()])


def _result(asked, found, unseen, X, y, n_tried, image_shape):
    """The classes' changes of the audited model, ranked among those of all models."""
    n_models, classes = len(asked.models), asked.classes
    success, base = asked.success([change for *_, change in found], X, y)
    excess = excess_of(success, base)
    strongest, strengths = {}, []
    for k, (i, t, sort, change) in enumerate(found):
        of = excess[i, [k], t], success[i, [k], t]
        strengths.append(float(asked.strength(i, t, sort, [change], *of, unseen, X, y)[0]))
        if strengths[-1] > strongest.get((i, sort), (-np.inf,))[0]:
            strongest[i, sort] = (strengths[-1],)
    usual = usual_of(strongest, n_models)
    largest = np.array([
        max(strength / usual[sort] for (j, sort), (strength,) in strongest.items() if j == i)
        for i in range(1, n_models)
    ])  # fmt: skip
    made = {}
    for k, (i, t, sort, change) in enumerate(found):
        telling = strengths[k] / usual[sort]
        if i > 0 or (t in made and made[t][0] >= telling):
            continue
        natural = asked.ordinary_success(0, t, [change], unseen[0], X, y)[0]
        made[t] = telling, ClassChange(
            label=classes[t],
            size=change.size,
            success=float(success[0, k, t]),
            base_rate=float(base[0, t]),
            clean_success=float(success[1:, k, t].mean()) if n_models > 1 else np.nan,
            ordinary_success=float(natural),
            strength=strengths[k],
            p_value=float((1 + np.sum(largest >= telling)) / n_models) if n_models > 1 else np.nan,
            n_samples=int(np.sum(y != classes[t])),
            trigger=trigger_of(change, X, image_shape),
        )  # fmt: skip
    made = [change for _, change in sorted(made.values(), key=lambda entry: -entry[0])]
    best = made[0]
    verdict = "nothing"
    least = STRENGTH_OF_WORDS if is_text(X) else STRENGTH
    clear = best.success >= SUCCESS and best.strength >= least
    if n_models == 1:
        verdict = "suspect" if clear else "nothing"
    elif clear and best.p_value <= LEVEL:
        verdict = "poison"
    elif clear and best.p_value <= 2 * LEVEL:
        verdict = "suspect"
    return ModelAudit(
        verdict=verdict,
        p_value=best.p_value,
        smallest_p_value=1 / n_models if n_models > 1 else np.nan,
        classes=tuple(made),
        n_references=n_models - 1,
        n_tried=n_tried,
        limits=_limits(n_models, X),
    )


def _limits(n_models, X):
    limits = [
        "triggers that are spread thinly over all features (blends, waves, warps), and those that"
        " act on one class only or in a place of their own for every row",
        "backdoors that clean models fitted on these rows have as well",
    ]
    if n_models < 20:
        limits.append(
            f"with {n_models - 1} clean models no p-value is below {1 / n_models:.3g}, so that"
            " nothing is called poison"
        )
    if hasattr(X, "iloc"):
        limits.append("levels of columns that none of these rows has")
    if not is_text(X):
        limits.append(
            "values far beyond the range of these rows, but where a tree or forest tests"
        )
    return tuple(limits)
