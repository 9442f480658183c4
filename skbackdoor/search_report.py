"""What a search chose, confirmed: every candidate under attack, and how much it withstands."""

from dataclasses import dataclass
from numbers import Real

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from ._compat import BaseSearchCV, Interval, validate_parameter_constraints
from .breakdown import BackdoorBreakdown, backdoor_breakdown
from .checks import check_is_poisoner
from .progress import progress


@dataclass(frozen=True, eq=False)
class SearchReport:
    """Result of :func:`~skbackdoor.search_report`; printed, it is a table.

    Attributes
    ----------
    params : list of dict
        The candidates.
    accuracy : ndarray of shape (n_candidates,)
        Accuracy of their clean models on the test data.
    breakdowns : list of BackdoorBreakdown
        The attack on each of them.
    chosen : int
        The candidate that the search chose.
    most_accurate : int
        The one of the best cross-validated accuracy, the first where several have it.
    feared_rate : float
        The share of poison that is feared.
    largest_share : float
        The largest share that was looked at, m / n of the attack.
    largest_class : float
        Share of the largest class of the test data: the accuracy of one label for all.
    withstand : ndarray of bool of shape (n_candidates,)
        Which of them neither break down nor collapse up to the feared rate.
    """

    params: list
    accuracy: np.ndarray
    breakdowns: list[BackdoorBreakdown]
    chosen: int
    most_accurate: int
    feared_rate: float
    largest_share: float
    largest_class: float
    withstand: np.ndarray

    @property
    def verdict(self):
        """In words: whether choosing helps against the feared rate."""
        feared = _percent(self.feared_rate)
        if not self.withstand.any():
            return (
                f"No candidate withstands {feared} of poison: no choice of these parameters"
                " helps.\nLook for the poison instead (LeaveGroupOutDetector), or gather data that"
                " you trust."
            )
        if self.withstand[self.chosen]:
            if self.chosen == self.most_accurate:
                other = "and is the one of best accuracy"
            elif self.withstand[self.most_accurate]:
                other = "and so does the one of best accuracy"
            else:
                other = "the one of best accuracy does not"
            return f"The chosen model withstands {feared} of poison, {other}."
        best = max(np.flatnonzero(self.withstand), key=lambda i: (self.accuracy[i], -i))
        return (
            f"The chosen model does not withstand {feared} of poison; {_words(self.params[best])}"
            f" does, at an accuracy of {self.accuracy[best]:.3f}."
        )

    def __str__(self):
        names = [_words(params) for params in self.params]
        width = max(map(len, [*names, "candidate"]))
        success = f"success at {_percent(self.largest_share)}"
        lines = [f"{'candidate':{width}}  accuracy  breaks down at  {success}  base rate"]
        for i, (name, found) in enumerate(zip(names, self.breakdowns, strict=True)):
            rate = ("> " if found.censored else "") + _percent(found.rate)
            notes = ["chosen"] * (i == self.chosen) + ["best accuracy"] * (i == self.most_accurate)
            if self.accuracy[i] <= self.largest_class:
                notes.append("no better than one label for all")
            if not found.collapse_censored:
                notes.append(f"collapses at {_percent(found.collapse_rate)}")
            line = (
                f"{name:{width}}  {self.accuracy[i]:8.3f}  {rate:>14}"
                f"  {found.attack_success_rate:>{len(success)}.2f}  {found.base_rate:9.2f}"
            )
            lines.append(f"{line}  {', '.join(notes)}".rstrip())
        return "\n".join([*lines, self.verdict])


def search_report(
    search, X_train, y_train, X_test, y_test, *, feared_rate=0.01, level=0.5, n_jobs=None
):
    """Confirm what a search chose: how much poison each of its candidates withstands.

    Parameters
    ----------
    search : GridSearchCV or another search of scikit-learn
        Fitted, over a :class:`~skbackdoor.BackdoorPoisoner`, with accuracy among its scores
        (``"accuracy"``) or as its only one.
    X_train, y_train : array-likes of shape (n_train, ...) and (n_train,)
        Clean training data.
    X_test, y_test : array-likes of shape (n_test, ...) and (n_test,)
        Clean test data, which the search has not seen.
    feared_rate : float in (0, 1), default=0.01
        The share of poison that is to be withstood: neither may the backdoor work, nor may
        accuracy on clean data fall by more than 0.05. It may not be above the poisoner's rate.
    level : float in (0, 1], default=0.5
        Excess success from which on the backdoor counts as working, as in
        :func:`~skbackdoor.backdoor_breakdown`.
    n_jobs : int, default=None
        Candidates in parallel, through joblib.

    Returns
    -------
    report : SearchReport
        ``print(report)`` is a table with a verdict.

    Raises
    ------
    TypeError
        What is given is no search over a poisoner.
    ValueError
        The search has not been fitted or has no accuracy among its scores, the feared rate is
        above what the poisoner's attack reaches.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV, train_test_split
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, PatchTrigger, load_digits_pair, most_robust,
    ...     neg_backdoor_slope_scorer, search_report)
    >>> X, y = load_digits_pair((4, 9), return_X_y=True)
    >>> X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    >>> probe = BackdoorPoisoner(
    ...     SVC(), PatchTrigger(size=3, image_shape=(8, 8)), target="next", poison_weight=0.0,
    ...     random_state=0)
    >>> search = GridSearchCV(
    ...     probe, {"estimator__C": [0.1, 10.0]},
    ...     scoring={"accuracy": "accuracy", "robustness": neg_backdoor_slope_scorer},
    ...     refit=most_robust(max_accuracy_drop=0.02)).fit(X, y)
    >>> report = search_report(search, X, y, X_test, y_test)
    >>> report.breakdowns[0].rate > report.breakdowns[1].rate
    True
    """
    if not isinstance(search, BaseSearchCV):
        raise TypeError(f"search_report needs a search such as GridSearchCV, not {search!r}.")
    check_is_poisoner(search.estimator, "search_report")
    check_is_fitted(search, "cv_results_")
    validate_parameter_constraints(
        {"feared_rate": [Interval(Real, 0, 1, closed="neither")]},
        {"feared_rate": feared_rate},
        caller_name="search_report",
    )
    if not hasattr(search, "best_index_"):
        raise ValueError("The search chose nothing: give it a refit, such as most_robust().")
    results = search.cv_results_
    key = "mean_test_accuracy" if "mean_test_accuracy" in results else "mean_test_score"
    if key not in results:
        known = [name[len("mean_test_") :] for name in results if name.startswith("mean_test_")]
        raise ValueError(
            f"search_report compares with the candidate of best accuracy, but the search has"
            f" {known}. Give scoring={{'accuracy': 'accuracy', ...}}."
        )
    params = list(results["params"])
    poisoners = [clone(search.estimator).set_params(**own) for own in params]
    data = X_train, y_train, X_test, y_test
    tasks = (delayed(backdoor_breakdown)(one, *data, level=level) for one in poisoners)
    found = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    breakdowns = list(progress(found, len(params), "candidates"))
    largest = min(one.n_poison for one in breakdowns) / len(y_train)
    if feared_rate > largest:
        raise ValueError(
            f"feared_rate={feared_rate} is above what the poisoner's attack reaches,"
            f" {largest:.4g} of the training rows; raise its poisoning_rate."
        )
    withstand = np.array(
        [
            (one.censored or one.rate > feared_rate)
            and (one.collapse_censored or one.collapse_rate > feared_rate)
            and one.base_rate < 1
            for one in breakdowns
        ]
    )
    return SearchReport(
        params=params,
        accuracy=np.array([one.clean_accuracy for one in breakdowns]),
        breakdowns=breakdowns,
        chosen=int(search.best_index_),
        most_accurate=int(np.nanargmax(results[key])),
        feared_rate=feared_rate,
        largest_share=largest,
        largest_class=float(np.unique(y_test, return_counts=True)[1].max() / len(y_test)),
        withstand=withstand,
    )


def _percent(share):
    """A share in words, to two digits: ``0.022 %``."""
    return f"{100 * share:.2g} %"


def _words(params):
    """A candidate in words: ``C=0.1, gamma=1``."""
    short = {key.split("__")[-1]: value for key, value in params.items()}
    if len(short) < len(params):
        short = params
    said = (f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in short.items())
    return ", ".join(said) or "as given"
