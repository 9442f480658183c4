"""Accuracy against breakdown rate of the candidates of a search, drawn."""

import numpy as np

from ..search_report import search_report
from .learning_curve import check_matplotlib, make_room


class SearchReportDisplay:
    """Accuracy against breakdown rate of all candidates, with the chosen one marked.

    High and to the right are models that are accurate and withstand much poison. Open points are
    censored: they withstand the whole attack. Use :meth:`from_estimator` or :meth:`from_results`.

    Parameters
    ----------
    report : SearchReport
        Of :func:`~skbackdoor.search_report`.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure drawn on.
    ax_ : matplotlib Axes
        Breakdown rates on its x axis, accuracies on its y axis.
    points_ : list of matplotlib Line2D
        One a candidate, in their order.
    marks_ : dict of str to matplotlib Line2D
        Around the "chosen" candidate and the one of "best accuracy".

    Examples
    --------
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.model_selection import GridSearchCV, train_test_split
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, PatchTrigger, SearchReportDisplay, load_digits_pair)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    >>> probe = BackdoorPoisoner(
    ...     RidgeClassifier(), PatchTrigger(size=2, image_shape=(8, 8)), target=1,
    ...     poison_weight=0.0, random_state=0)
    >>> search = GridSearchCV(probe, {"estimator__alpha": [1.0, 100.0]}).fit(X, y)
    >>> display = SearchReportDisplay.from_estimator(search, X, y, X_test, y_test)
    >>> len(display.points_)
    2
    """

    def __init__(self, report):
        self.report = report

    @classmethod
    def from_estimator(
        cls, search, X_train, y_train, X_test, y_test, *, feared_rate=0.01, n_jobs=None, ax=None
    ):
        """Make the report of a search and draw it.

        Parameters
        ----------
        search : GridSearchCV or another search of scikit-learn
            As in :func:`~skbackdoor.search_report`.
        X_train, y_train : array-likes of shape (n_train, ...) and (n_train,)
            Clean training data.
        X_test, y_test : array-likes of shape (n_test, ...) and (n_test,)
            Clean test data.
        feared_rate : float in (0, 1), default=0.01
            The share of poison that is to be withstood.
        n_jobs : int, default=None
            Candidates in parallel.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : SearchReportDisplay
        """
        check_matplotlib(cls.__name__)  # before the work, not after it
        report = search_report(
            search, X_train, y_train, X_test, y_test, feared_rate=feared_rate, n_jobs=n_jobs
        )
        return cls(report).plot(ax=ax)

    @classmethod
    def from_results(cls, report, *, ax=None):
        """Draw a report.

        Parameters
        ----------
        report : SearchReport
            Of :func:`~skbackdoor.search_report`.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : SearchReportDisplay
        """
        return cls(report).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the candidates.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : SearchReportDisplay
        """
        plt = check_matplotlib("SearchReportDisplay")
        if ax is None:
            _, ax = plt.subplots(figsize=(6, 4), layout="constrained")
        make_room(ax)
        report, self.ax_, self.figure_ = self.report, ax, ax.figure
        rates = np.array([found.rate for found in report.breakdowns])
        self.points_ = []
        for rate, accuracy, found in zip(rates, report.accuracy, report.breakdowns, strict=True):
            face = "none" if found.censored else "C0"
            self.points_ += ax.plot(rate, accuracy, "o", color="C0", markerfacecolor=face)
        self.marks_ = {}
        for name, i, color, size in (
            ("best accuracy", report.most_accurate, "C1", 15),
            ("chosen", report.chosen, "C2", 11),
        ):
            (self.marks_[name],) = ax.plot(
                rates[i], report.accuracy[i], "o", color=color, markersize=size,
                markerfacecolor="none", markeredgewidth=2, label=f"{name} in the search",
            )  # fmt: skip
        ax.axvline(report.feared_rate, color="grey", linestyle=":", label="feared rate")
        lowest = rates[rates > 0].min(initial=report.feared_rate)
        highest = max(rates.max(), report.feared_rate)
        if np.all(rates > 0):
            ax.set_xscale("log")
            ax.set_xlim(lowest / 2, 2 * highest)
        else:  # a rate of 0 has a place, too
            ax.set_xscale("symlog", linthresh=lowest)
            ax.set_xlim(-lowest / 4, 2 * highest)
        ax.set(xlabel="breakdown rate (share of poison)", ylabel="accuracy on clean test data")
        ax.grid(alpha=0.3)
        ax.legend(frameon=False)
        return self
