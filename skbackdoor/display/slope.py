"""Backdoor learning slopes against accuracy and attack success, drawn."""

from dataclasses import fields, replace
from numbers import Real

import numpy as np
from scipy.stats import spearmanr

from ..studies import slope_grid
from .learning_curve import (
    check_matplotlib,
    curve_styles,
    head_legend,
    make_room,
    name_legend,
)


class BackdoorSlopeDisplay:
    r"""Clean accuracy and attack success against the slope theta, a point a parameter setting.

    Points are means over the attacks of a grid and bars their standard deviations (Cinà et al.,
    *Backdoor learning curves*, 2024, Figs. 5 to 7). Small hollow markers beside the attack success
    are base rates: what the clean model gives. Use :meth:`from_estimator` or :meth:`from_results`.

    Parameters
    ----------
    grids : dict of str to SlopeGrid
        Grids by name, with attack success; a name labels its points.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure drawn on.
    axes_ : ndarray of shape (2,)
        Axes of clean accuracy and of attack success.
    points_ : ndarray of shape (n_grids, 3)
        The matplotlib Line2D of clean accuracy, attack success and base rate.
    spearman_ : ndarray of shape (n_grids, 2)
        Spearman's rank correlation of theta with clean accuracy and with attack success, over the
        points; nan where one of them is constant.

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, BackdoorSlopeDisplay, PatchTrigger, load_digits_pair)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    >>> poisoner = BackdoorPoisoner(
    ...     SVC(gamma=0.05), PatchTrigger(size=2, image_shape=(8, 8)), target="next")
    >>> display = BackdoorSlopeDisplay.from_estimator(
    ...     poisoner, {"estimator__C": [0.01, 1.0, 100.0]}, X_train, y_train, X_test, y_test,
    ...     random_states=[0, 1])
    >>> display.points_.shape
    (1, 3)
    """

    def __init__(self, grids):
        self.grids = grids

    @classmethod
    def from_estimator(
        cls,
        poisoner,
        param_grid,
        X_train,
        y_train,
        X_test,
        y_test,
        *,
        random_states=None,
        scale="per_sample",
        by=None,
        n_jobs=None,
        ax=None,
    ):
        """Compute a grid, fit the poisoned models and draw them.

        Parameters
        ----------
        poisoner : BackdoorPoisoner
            The attack on its base learner; it is cloned.
        param_grid : dict or list of dicts
            As in :func:`~skbackdoor.slope_grid`.
        X_train : array-like of shape (n_train, ...)
            Clean training data.
        y_train : array-like of shape (n_train,)
            Clean labels.
        X_test : array-like of shape (n_test, ...)
            Clean test data.
        y_test : array-like of shape (n_test,)
            Clean labels.
        random_states : list of int, default=None
            Seeds of the attacks.
        scale : {"per_sample", "total"}, default="per_sample"
            As in :func:`~skbackdoor.backdoor_learning_slope`.
        by : str, default=None
            A parameter of the grid; its values get a colour and marker each.
        n_jobs : int, default=None
            Parallel groups of cells.
        ax : pair of matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : BackdoorSlopeDisplay
        """
        check_matplotlib(cls.__name__)  # before the work, not after it
        grid = slope_grid(
            poisoner,
            param_grid,
            X_train,
            y_train,
            X_test,
            y_test,
            random_states=random_states,
            scale=scale,
            fit_poisoned=True,
            n_jobs=n_jobs,
        )
        return cls.from_results(grid, by=by, ax=ax)

    @classmethod
    def from_results(cls, grids, *, by=None, ax=None):
        """Draw grids that are computed already.

        Parameters
        ----------
        grids : SlopeGrid or dict of str to SlopeGrid
            One grid, or several by name, of ``slope_grid(..., fit_poisoned=True)``.
        by : str, default=None
            A parameter of a single grid; its values get a colour and marker each.
        ax : pair of matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : BackdoorSlopeDisplay

        Raises
        ------
        ValueError
            A grid without attack success, a parameter that the grid does not have.
        """
        if by is not None:
            grids = _split(grids, by)
        return cls(grids if isinstance(grids, dict) else {"": grids}).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw clean accuracy on one axes and attack success on another.

        Parameters
        ----------
        ax : pair of matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : BackdoorSlopeDisplay
        """
        plt = check_matplotlib("BackdoorSlopeDisplay")
        for name, grid in self.grids.items():
            if grid.attack_success_rate is None:
                raise ValueError(
                    f"The grid {name!r} has no attack success: compute it by"
                    " slope_grid(..., fit_poisoned=True)."
                )
        if ax is None:
            height = max(3.4, 0.5 + 0.23 * len(self.grids))
            _, ax = plt.subplots(1, 2, figsize=(10, height), layout="constrained")
        axes = np.ravel(ax)
        if len(axes) != 2:
            raise ValueError(f"ax must be two matplotlib Axes; got {len(axes)}.")
        make_room(axes[0])
        self.axes_, self.figure_ = axes, axes[0].figure
        self.points_ = np.empty((len(self.grids), 3), dtype=object)
        self.spearman_ = np.empty((len(self.grids), 2))
        styles = curve_styles(len(self.grids))
        for k, (style, grid) in enumerate(zip(styles, self.grids.values(), strict=True)):
            theta, style = grid.theta, style | {"linestyle": "", "markersize": 6}
            hollow = style | {"markerfacecolor": "none", "markersize": 4}
            self.points_[k] = (
                _draw(axes[0], theta, grid.clean_accuracy, style),
                _draw(axes[1], theta, grid.attack_success_rate, style),
                _draw(axes[1], theta, grid.base_rate, hollow),
            )
            self.spearman_[k] = [
                _rank_correlation(theta, values)
                for values in (grid.clean_accuracy, grid.attack_success_rate)
            ]
        for axis, label in zip(axes, ("clean accuracy", "attack success"), strict=True):
            axis.set(xlabel="slope θ", ylabel=label)
            axis.grid(alpha=0.3)
        axes[1].set(ylim=(-0.03, 1.03))
        full, empty = (
            plt.Line2D([], [], color="black", linestyle="", marker="o", markerfacecolor=face)
            for face in ("black", "none")
        )
        head_legend(axes[1], [full, empty], ["poisoned model", "clean model (base rate)"])
        names = [
            f"{name} ({', '.join(f'{rank:.2f}' for rank in ranks)})".lstrip()
            for name, ranks in zip(self.grids, self.spearman_, strict=True)
        ]
        title = "Spearman (accuracy, success)"
        name_legend(axes[1], self.points_[:, 1].tolist(), names, title)
        return self


def _draw(ax, theta, values, style):
    """Means over seeds with bars of standard deviations, both of shape (n_params, n_seeds)."""
    bars = {"xerr": theta.std(axis=1), "yerr": values.std(axis=1), "elinewidth": 0.8}
    return ax.errorbar(theta.mean(axis=1), values.mean(axis=1), **bars, **style).lines[0]


def _rank_correlation(theta, values):
    """Spearman's rank correlation of the means over seeds; nan where one is constant."""
    theta, values = theta.mean(axis=1), values.mean(axis=1)
    if np.ptp(theta) == 0 or np.ptp(values) == 0:
        return np.nan
    return spearmanr(theta, values).statistic


def _split(grid, by):
    """A grid for each value of one of its parameters, by name."""
    if isinstance(grid, dict):
        raise ValueError(f"by={by!r} divides a single grid, and these are {len(grid)} by name.")
    known = set().union(*grid.params)
    if by not in known:
        raise ValueError(f"by={by!r} is none of the grid's parameters {sorted(known)}.")
    rows = {}
    for i, params in enumerate(grid.params):
        value = params.get(by)
        value = f"{value:g}" if isinstance(value, Real) else value
        rows.setdefault(f"{by.split('__')[-1]} = {value}", []).append(i)
    arrays = [
        field.name for field in fields(grid) if field.name not in ("params", "random_states")
    ]
    return {
        name: replace(
            grid,
            params=[grid.params[i] for i in kept],
            **{array: _take(getattr(grid, array), kept) for array in arrays},
        )
        for name, kept in rows.items()
    }


def _take(array, rows):
    return None if array is None else array[rows]
