"""How a decision boundary moves as poison gains weight, drawn."""

import numpy as np

from ..attack_path import attack_path
from ..checks import check_is_poisoner
from .learning_curve import check_matplotlib, make_room, name_legend


class DecisionBoundaryPathDisplay:
    """Decision boundaries in the plane at several poison weights.

    Dark, thick lines are those of small weights and light, thin ones those of large weights
    (Cinà et al., *Backdoor learning curves*, 2024, Fig. 1). Use :meth:`from_estimator` or
    :meth:`from_results`.

    Parameters
    ----------
    solution : Solution
        Of :func:`~skbackdoor.weight_path`, at the poison weights to be drawn; two classes.
    X : array-like of shape (n_samples, 2)
        Training samples as the learner takes them, clean and poisoned.
    y : array-like of shape (n_samples,)
        Their labels in the fit.
    is_poison : array-like of bool of shape (n_samples,)
        Which samples are triggered copies.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure drawn on.
    ax_ : matplotlib Axes
        The plane of the two features.
    boundaries_ : list of matplotlib QuadContourSet or None
        One a poison weight, in their order in the solution; None where no boundary crosses the
        plane drawn.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, DecisionBoundaryPathDisplay, FeatureTrigger,
    ...     make_backdoor_classification)
    >>> X, y = make_backdoor_classification(100, 2, random_state=0)
    >>> poisoner = BackdoorPoisoner(
    ...     SVC(), FeatureTrigger({1: 1.0}), target="next", source_classes=[0], random_state=0)
    >>> display = DecisionBoundaryPathDisplay.from_estimator(poisoner, X, y)
    >>> len(display.boundaries_)
    6
    """

    def __init__(self, solution, X, y, is_poison):
        self.solution, self.X, self.y, self.is_poison = solution, X, y, is_poison

    @classmethod
    def from_estimator(
        cls,
        poisoner,
        X_train,
        y_train,
        *,
        poison_weights=(0.0, 0.01, 0.03, 0.1, 0.3, 1.0),
        n_jobs=None,
        ax=None,
    ):
        """Follow the path of a learner and draw its boundaries.

        Parameters
        ----------
        poisoner : BackdoorPoisoner
            The attack on its base learner; it is cloned.
        X_train : array-like of shape (n_train, 2)
            Clean training data.
        y_train : array-like of shape (n_train,)
            Clean labels, of two classes.
        poison_weights : array-like of shape (n_weights,), default=(0, 0.01, 0.03, 0.1, 0.3, 1)
            Weights in [0, 1].
        n_jobs : int, default=None
            Parallel refits.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : DecisionBoundaryPathDisplay

        Raises
        ------
        ValueError
            More than two features or classes, a learner without a weight path.
        """
        check_matplotlib(cls.__name__)  # before the work, not after it
        check_is_poisoner(poisoner, cls.__name__)
        _check_plane(X_train, np.unique(y_train))
        probe, path = attack_path(poisoner, X_train, y_train)
        (X, y, _), (X_poison, y_poison, _) = probe.training_rows()
        solution = path.solve(poison_weights, n_jobs=n_jobs)
        is_poison = np.repeat([False, True], [len(y), len(y_poison)])
        rows = np.concatenate([np.asarray(X), np.asarray(X_poison)])
        if hasattr(X, "iloc"):
            rows = type(X)(rows, columns=X.columns)
        return cls(solution, rows, np.concatenate([y, y_poison]), is_poison).plot(ax=ax)

    @classmethod
    def from_results(cls, solution, X, y, is_poison, *, ax=None):
        """Draw a path that is solved already.

        Parameters
        ----------
        solution : Solution
            ``weight_path(estimator, X, y, is_poison).solve(poison_weights)``.
        X : array-like of shape (n_samples, 2)
            The rows given to the path.
        y : array-like of shape (n_samples,)
            Their labels.
        is_poison : array-like of bool of shape (n_samples,)
            Which of them are poison.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : DecisionBoundaryPathDisplay
        """
        _check_plane(X, solution.path.rows.classes)
        return cls(solution, X, y, is_poison).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw samples and boundaries.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : DecisionBoundaryPathDisplay
        """
        plt = check_matplotlib("DecisionBoundaryPathDisplay")
        if ax is None:
            _, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
        make_room(ax)
        self.ax_, self.figure_, self.boundaries_ = ax, ax.figure, []
        values, y, poison = np.asarray(self.X), np.asarray(self.y), np.asarray(self.is_poison) > 0
        handles, names = [], []
        for label, marker, face in zip(np.unique(y), "os", ("#BBBBBB", "white"), strict=True):
            look = {"marker": marker, "linestyle": "", "markeredgecolor": "#666666"}
            part = values[(y == label) & ~poison]
            handles += ax.plot(*part.T, markersize=4, markerfacecolor=face, **look)
            names.append(f"{label}")
        for label, marker in zip(np.unique(y[poison]), "XP", strict=False):
            look = {"marker": marker, "linestyle": "", "markeredgecolor": "black"}
            part = values[(y == label) & poison]
            handles += ax.plot(*part.T, markersize=7, markerfacecolor="#D55E00", **look)
            names.append(f"poison, to {label}")
        weights = self.solution.poison_weights
        grid, F = self._values_on_plane(values)
        ranks = np.argsort(np.argsort(weights)) / max(1, len(weights) - 1)
        for weight, rank, decisions in zip(weights, ranks, F, strict=True):
            color, width = plt.colormaps["viridis"](0.85 * rank), 3.5 - 2.3 * rank
            crosses, boundary = decisions.min() < 0 < decisions.max(), None
            if crosses:
                look = {"colors": [color], "linewidths": width, "zorder": 2 + rank}
                boundary = ax.contour(*grid, decisions, levels=[0], **look)
            self.boundaries_.append(boundary)
            handles.append(plt.Line2D([], [], color=color, linewidth=width))
            names.append(f"β = {weight:.4g}" + ("" if crosses else ", outside"))
        columns = getattr(self.X, "columns", ["feature 0", "feature 1"])
        ax.set(xlabel=columns[0], ylabel=columns[1])
        name_legend(ax, handles, names)
        return self

    def _values_on_plane(self, values):
        """Coordinates around the samples, and decision values there, (n_weights, n, n)."""
        low, high = values.min(axis=0), values.max(axis=0)
        margin = 0.08 * (high - low)
        sides = np.linspace(low - margin, high + margin, 200).T
        grid = np.meshgrid(*sides)
        points = np.stack([side.ravel() for side in grid], axis=1)
        if hasattr(self.X, "iloc"):
            points = type(self.X)(points, columns=self.X.columns)
        F = self.solution.decision_function(points)
        F = F[..., 0] if F.shape[2] == 1 else F[..., 1] - F[..., 0]
        return grid, F.reshape(len(F), *grid[0].shape)


def _check_plane(X, classes):
    if np.ndim(X) != 2 or np.shape(X)[1] != 2 or len(classes) != 2:
        raise ValueError(
            "A decision boundary is drawn for two features and two classes; X has the shape"
            f" {np.shape(X)} and there are {len(classes)} classes."
        )
