"""The audit of training data, and of the classifier that is fitted on them."""

import time
import warnings
from dataclasses import replace

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._compat import _safe_indexing
from ..attack import check_data
from ..detection import LeaveGroupOutDetector
from ..learners import MAX_SEED, check_learner
from .changes import Change, changed_rows
from .kinds import (
    default_code,
    default_estimator,
    default_prover,
    default_representation,
    kind_of,
    plain_frame,
)
from .model import audit_model, check_predictions, one_line
from .proof import Prover, fitted_on, proven_groups, shown_groups
from .proposals import grid
from .remedies import remedies_of
from .report import AuditReport
from .resistance import resistance

#: Rows that are looked at; of more, so many are drawn, and the others held against the groups.
SEARCHED = 20_000
#: Rows among which groups are sought: time goes with their cube, and is longest by values. A rule
#: that is found holds for all rows: of 3,000 SMS 1,200 tell all that 2,400 do, in 27 s for 69.
SOUGHT = {"text": 1200, "table": 1500, "image": 3000, "numbers": 3000}
#: Rows that classifiers are fitted on and judged on.
FITTED, HELD_OUT = 6000, 2000
#: Rows that an audit of a model predicts, about, and the most minutes that they may take: at 60
#: networks on photographs came to either side by chance; one that was asked ran for over 16.
PREDICTED, LONGEST = 500_000, 30
#: Least strength of a change that makes data a suspect without a group of rows.
STRONG = 0.5
#: Most classes, and least rows of the common one, of what can be labels.
MOST_CLASSES, LEAST_ROWS = 200, 8


def audit(
    X,
    y,
    estimator=None,
    *,
    representation=None,
    trusted=None,
    image_shape=None,
    title="Audit",
    n_jobs=None,
    random_state=0,
):
    """Is there a backdoor in these data, does the model obey it, and what is to be done?

    Poison is sought by :class:`~skbackdoor.LeaveGroupOutDetector`; what a group of suspected rows
    shares is put on held-out rows, and a classifier fitted on the other rows is asked what it
    makes of them; the classifier itself is asked for small changes that it obeys and clean
    models do not (:func:`~skbackdoor.audit_model`); and it is measured how much poison it would
    take, and what each remedy costs.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        Training data: a DataFrame, an array of numbers, image batches (n, channels, height,
        width) or (n, height, width), or texts.
    y : array-like of shape (n_samples,)
        Their labels.
    estimator : classifier, default=None
        Cloned and fitted on three quarters of the rows; one that is fitted already is asked as it
        is. None: boosted trees for tables, logistic regression of tf-idf for texts, an RBF SVM
        for images and numbers.
    representation : transformer or callable, default=None
        What rows are compared by (:class:`~skbackdoor.PoisonDetector`), and what the default
        classifier is fitted on. None: pixels, standardised numbers, one-hot columns, tf-idf. For
        photographs take the features of a frozen network (:class:`~skbackdoor.deep.DeepFeatures`).
    trusted : tuple (X, y), default=None
        Rows known to be clean, which take the place of held-out rows that are in no group.
    image_shape : tuple of two or three int, default=None
        (height, width) or (channels, height, width) of flat images.
    title : str, default="Audit"
        What the page is called.
    n_jobs : int, default=None
        Fits at a time.
    random_state : int, RandomState instance or None, default=0
        Draws rows.

    Returns
    -------
    report : AuditReport
        With `verdict`, `groups`, `model`, `remedies`, `withstood`; views of it are
        ``summary()``, ``to_html(path)``, ``to_json(path)``, ``to_frame()``, and itself in a
        notebook.

    Raises
    ------
    ValueError
        One class, missing labels, more classes than rows can tell apart.

    Notes
    -----
    A group is "poison" if the detector says so and the lower end of the 95 % interval of its
    success on held-out rows is 0.3 or more above the base rate, for the classifier or for one that
    takes in backdoors easily (a random forest for tables, else an SVM); else it is a suspect. A
    group of which no trigger can be told is a suspect, and so is one whose trigger moves rows by
    more than 0.6 of what lies between two rows on average: it replaces what they show, so that
    another label is no proof. What :func:`~skbackdoor.audit_model` finds makes the verdict
    "poison" where the estimator was given fitted or `trusted` rows were, else "suspect".

    Examples
    --------
    >>> from skbackdoor import Attack, PatchTrigger, audit, load_digits_pair
    >>> X, y = load_digits_pair((4, 9), return_X_y=True)
    >>> attack = Attack(
    ...     PatchTrigger(size=2, image_shape=(8, 8)), target=9, placement="replace",
    ...     random_state=0)
    >>> X_given, y_given, is_poison = attack.fit(X, y).poison(X, y)
    >>> report = audit(X_given, y_given, image_shape=(8, 8))
    >>> report.verdict, len(report.groups[0].indices), report.groups[0].success
    ('poison', 36, 1.0)
    >>> bool((report.is_poison == is_poison).all())
    True
    """
    start = time.perf_counter()
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if n_rows != len(y) or n_rows == 0:
        raise ValueError(f"X has {n_rows} rows and y {len(y)} labels: one label a row is needed.")
    _check_labels(np.asarray(y))
    y = np.asarray(y)
    y = np.array(y.tolist()) if y.dtype == object else y  # of one type, which sorts
    X, y = check_data(X, y)
    y = np.asarray(y)
    columns = X.columns if hasattr(X, "columns") else []
    if len(columns) > len(set(columns)):
        raise ValueError(
            f"X has columns named twice, {columns[columns.duplicated()].unique().tolist()}: give"
            " each a name of its own."
        )
    X = plain_frame(X) if hasattr(X, "iloc") and getattr(X, "ndim", 1) == 2 else X
    rng = check_random_state(random_state)
    kind = kind_of(X, image_shape)
    if image_shape is None and kind == "image":
        shape = X.shape[1:]
    else:
        shape = image_shape
    own_representation = representation is not None
    if not own_representation:
        representation = default_representation(kind, X)
    given = estimator is not None
    if not given:
        estimator = default_estimator(kind, representation)
    if given and not isinstance(estimator, BaseEstimator):
        raise ValueError(
            f"estimator={one_line(estimator)} is no scikit-learn estimator, which can be cloned:"
            " derive its class from ClassifierMixin and BaseEstimator."
        )
    check_learner(estimator)
    if kind == "numbers" and not own_representation and not hasattr(X, "tocsr"):
        if np.isnan(X).any():
            raise ValueError(
                "X holds NaN: give a DataFrame, whose missing values are filled in, or a"
                " representation that takes them."
            )
    notes = []
    detector, flagged, n_searched = _detected(X, y, kind, representation, rng, notes)
    in_group = flagged.copy()
    for group in shown_groups(detector):
        in_group[group.indices] = True
    train, held = _split(y, rng)
    fitted = given and _is_fitted(estimator)
    if fitted and not np.isin(np.unique(y), estimator.classes_).all():
        raise ValueError(
            f"y holds labels that the fitted estimator does not know:"
            f" {np.setdiff1d(np.unique(y), estimator.classes_).tolist()[:10]}; its classes_ are"
            f" {list(estimator.classes_)[:10]}. Give labels as it was fitted with."
        )
    aside = int(in_group[held].sum())
    clean = held[~in_group[held]][:HELD_OUT]
    X_clean, y_clean = _safe_indexing(X, clean), y[clean]
    if trusted is not None:
        if not (isinstance(trusted, (tuple, list)) and len(trusted) == 2):
            raise ValueError(f"trusted={trusted!r:.60} must be a pair, rows and their labels.")
        X_clean, y_clean = check_data(*trusted)
        y_clean = np.asarray(y_clean)
        X_clean = plain_frame(X_clean) if kind == "table" else X_clean
        notes.append(f"Success and accuracy are of the {len(y_clean)} trusted rows.")
    else:
        held_out = "" if fitted else ", which were not fitted on"
        notes.append(
            f"Success and accuracy are of {len(clean)} rows{held_out}; {aside} others that were"
            " drawn with them are in a group that is shown."
        )
    if fitted:
        model = estimator
        notes.append(
            "The classifier was given fitted, and asked as it is."
            + (
                " If it was fitted on these rows, its accuracy here is too high, and higher than"
                " what other remedies, fitted on three quarters of the rows, can reach: give"
                " trusted rows."
                if trusted is None
                else ""
            )
        )
    else:
        model = fitted_on(estimator, X, y, train)
    check_predictions(model, X)
    prover = Prover(default_prover(kind, representation), X, y, train)
    groups = proven_groups(detector, flagged, model, prover, y, X_clean, y_clean, notes)
    is_poison = np.zeros(len(y), dtype=bool)
    for group in groups:
        if group.verdict == "poison":
            is_poison[group.indices] = True
    audited = _model_audit(model, X_clean, y_clean, shape, n_jobs, rng, notes)
    unfitted = clone(estimator)
    keep = train[~in_group[train]]
    withstood = resistance(
        unfitted, kind, X, y, keep, X_clean, y_clean, image_shape, n_jobs, rng, notes
    )
    code = default_code(kind, X, own_representation, given)
    remedies = remedies_of(
        unfitted, model, X, y, train, groups, is_poison, X_clean, y_clean, withstood, code
    )
    accuracy = remedies[0].accuracy
    return AuditReport(
        verdict=_verdict(groups, audited, fitted or trusted is not None),
        kind=kind,
        n_rows=len(y),
        n_searched=n_searched,
        classes=tuple((label, int(n)) for label, n in zip(*np.unique(y, return_counts=True),
                                                          strict=True)),
        groups=groups,
        is_poison=is_poison,
        model=audited,
        accuracy=accuracy,
        remedies=remedies,
        withstood=withstood,
        notes=_notes(detector, notes, given, estimator),
        limits=_limits(audited),
        seconds=time.perf_counter() - start,
        title=title,
        estimator=one_line(estimator),
        image_shape=shape,
    )  # fmt: skip


def _check_labels(y):
    """Raise where y cannot be labels."""
    missing = np.array([label is None or label != label for label in y.ravel().tolist()], bool)
    if missing.any():
        raise ValueError(
            f"{missing.sum()} of {len(y)} labels are missing, the first in row"
            f" {int(np.argmax(missing))}: leave these rows out, or give them a label."
        )
    kinds = sorted({type(label).__name__ for label in y.ravel().tolist()})
    if y.dtype == object and len(kinds) > 1:
        raise ValueError(
            f"y holds labels of several types, {', '.join(kinds)}: give them one, as by"
            " [str(label) for label in y]."
        )
    if y.dtype.kind == "f" and np.any(y != np.round(y)):
        raise ValueError(
            f"y holds numbers such as {y[y != np.round(y)][0]:g}: these are no classes. An audit"
            " is of classifiers; name the column of the labels."
        )
    y = y.ravel()
    classes, counts = np.unique(y.astype(str) if y.dtype == object else y, return_counts=True)
    if len(classes) < 2:
        raise ValueError(
            f"y holds one class alone, {classes.tolist()}: a backdoor sends rows of other classes"
            " to one, so that two are needed."
        )
    if len(classes) <= MOST_CLASSES and np.median(counts) < LEAST_ROWS and len(y) < 100:
        raise ValueError(
            f"y holds {len(y)} rows of {len(classes)} classes, too few to be audited: half of the"
            f" classes need {LEAST_ROWS} rows or more."
        )
    if len(classes) > MOST_CLASSES or np.median(counts) < LEAST_ROWS:
        raise ValueError(
            f"y holds {len(classes)} classes in {len(y)} rows: at most {MOST_CLASSES} are taken,"
            f" half of them with {LEAST_ROWS} rows or more. A column of identifiers or amounts is"
            " no label."
        )


def _detected(X, y, kind, representation, rng, notes):
    """The fitted detector, the rows that it calls poison, and how many rows it searched."""
    detector = LeaveGroupOutDetector(
        representation, max_samples=SOUGHT[kind], random_state=rng.randint(MAX_SEED)
    )
    n = len(y)
    rows = np.arange(n)
    if n > SEARCHED:
        rows = _drawn(y, SEARCHED, rng)
        notes.append(
            f"{SEARCHED:,} of {n:,} rows were drawn; the others were held against what was found"
            " in them."
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        detector.fit(X if n <= SEARCHED else _safe_indexing(X, rows), y[rows])
    notes += dict.fromkeys(str(warning.message) for warning in caught
                           if issubclass(warning.category, UserWarning))  # fmt: skip
    flagged = np.zeros(n, dtype=bool)
    flagged[rows] = detector.is_poison_
    if n > SEARCHED:
        detector.groups_ = [_of_all_rows(group, rows, X) for group in detector.groups_]
        others = np.setdiff1d(np.arange(n), rows)
        if flagged.any():
            for part in np.array_split(others, len(others) // SEARCHED + 1):
                flagged[part] = detector.flag(_safe_indexing(X, part), y[part])
    return detector, flagged, min(len(rows), detector.max_samples)


def _of_all_rows(group, rows, X):
    known = group.neighbors is not None
    return replace(
        group,
        indices=rows[group.indices],
        neighbors=rows[group.neighbors] if known else None,
        controls=rows[group.controls] if known else None,
        _X=X,
    )


def _drawn(y, most, rng):
    """So many rows, increasing, each class with its share."""
    order = rng.permutation(len(y))
    codes = np.unique(y, return_inverse=True)[1]
    order = order[np.argsort(codes[order], kind="stable")]
    return np.sort(order[np.linspace(0, len(y) - 1, most).astype(int)])


def _split(y, rng):
    """Rows that classifiers are fitted on, at most so many, and a quarter that is held out."""
    held = _drawn(y, max(2, len(y) // 4), rng)
    train = np.setdiff1d(np.arange(len(y)), held)
    if len(train) > FITTED:
        train = train[_drawn(y[train], FITTED, rng)]
    missing = np.setdiff1d(np.unique(y), np.unique(y[train]))
    if len(missing):  # a class of one row
        train = np.sort(np.append(train, [np.flatnonzero(y == label)[0] for label in missing]))
    return train, rng.permutation(held)


def _is_fitted(estimator):
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    return hasattr(estimator, "classes_")


def _model_audit(model, X, y, shape, n_jobs, rng, notes):
    """The classifier's own audit, on clean rows that it knows the labels of."""
    known = np.isin(y, model.classes_)
    if known.sum() < 40:
        notes.append("The model itself was not audited: fewer than 40 clean rows are held out.")
        return None
    rows = np.flatnonzero(known)
    flat = shape if shape is not None and getattr(X, "ndim", 1) == 2 else None
    some = _safe_indexing(X, rows[:10])
    tried = [Change(), *grid(some, [model], flat)[:1]]
    start = time.perf_counter()
    model.predict(changed_rows(some, tried[-1:]))  # rows unlike any that it has seen
    minutes = PREDICTED * (time.perf_counter() - start) / len(rows[:10]) / 60
    if minutes > LONGEST:
        notes.append(
            f"The model itself was not audited: it would take some {minutes:.0f} minutes, as its"
            " predictions are slow. audit_model does it."
        )
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = audit_model(
            model,
            _safe_indexing(X, rows),
            y[rows],
            image_shape=flat,
            n_jobs=n_jobs,
            random_state=rng.randint(MAX_SEED),
        )
    notes += [str(w.message) for w in caught if "No clean models" in str(w.message)]
    return result


def _verdict(groups, audited, certain):
    """That of all together: poison in the data, or in a model that was given."""
    if any(group.verdict == "poison" for group in groups):
        return "poison"
    if audited is not None and audited.verdict == "poison" and certain:
        return "poison"
    if audited is not None and audited.verdict == "poison":
        if audited.classes[0].strength >= STRONG:  # one clean model in twenty has some alarm
            return "suspect"
    return "suspect" if groups else "nothing"


def _notes(detector, notes, given, estimator):
    known = detector.leave_one_out_accuracy_
    made = [
        "Poison is sought as groups of rows that only their own kind supports, by kernel ridge"
        f" regression, which labels {known:.0%} of the rows as they are when each is left out."
        + (
            " Below 90 % classes overlap for it, and weak or small backdoors are not found."
            if known < 0.9
            else ""
        ),
        "Assumed is that an attacker's victims are spread as their classes are.",
        f"The classifier is {one_line(estimator if given else estimator.steps[-1][1])}"
        + ("." if given else ", the default for these data."),
    ]
    return tuple([*made, *notes])


def _limits(audited):
    limits = [
        "clean-label attacks, whose rows rightly have their label, beside other poison, and in"
        " tables and texts those of fewer than 30 rows",
        "triggers that what rows are compared by does not show, and groups of fewer than 8 rows",
        "values that more than 15 % of all rows share: these are taken for natural",
        "attacks half of whose rows had the attacker's label anyway: their rows count as natural",
    ]
    return tuple([*limits, *(audited.limits if audited is not None else ())])
