"""Accuracy, slope and attack success over two parameters, drawn."""

from numbers import Real

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._compat import BaseSearchCV
from ..studies import slope_grid
from .learning_curve import check_matplotlib

#: Panels that are compared with one another, from 0 to 1.
_SHARES = ("attack success", "base rate")


class RobustnessHeatmapDisplay:
    r"""Measures over a grid of two parameters, such as gamma and C, a panel each.

    Where accuracy is high and the slope near 0, a learner is accurate and hard to backdoor (Cinà
    et al., *Backdoor learning curves*, 2024, Fig. 8). Use :meth:`from_estimator`,
    :meth:`from_results` or :meth:`from_search`.

    Parameters
    ----------
    panels : dict of str to ndarray of shape (n_rows, n_columns)
        Measures by title; nan where a setting is not in the grid.
    rows, columns : tuples of (str, list)
        Name and values of the parameter on each side.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure drawn on.
    axes_ : ndarray of shape (n_panels,)
        An axes a panel.
    images_ : list of matplotlib AxesImage
        One a panel; the first row of values is at the bottom.

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, PatchTrigger, RobustnessHeatmapDisplay, load_digits_pair,
    ...     slope_grid)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    >>> poisoner = BackdoorPoisoner(
    ...     SVC(), PatchTrigger(size=2, image_shape=(8, 8)), target="next", random_state=0)
    >>> grid = slope_grid(
    ...     poisoner, {"estimator__C": [0.1, 10.0], "estimator__gamma": [0.01, 0.1, 1.0]},
    ...     X_train, y_train, X_test, y_test)
    >>> display = RobustnessHeatmapDisplay.from_results(grid)
    >>> [image.get_array().shape for image in display.images_]
    [(3, 2), (3, 2)]
    """

    def __init__(self, panels, rows, columns):
        self.panels, self.rows, self.columns = panels, rows, columns

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
        fit_poisoned=False,
        rows=None,
        n_jobs=None,
        ax=None,
    ):
        """Compute a grid of slopes and draw it.

        Parameters
        ----------
        poisoner : BackdoorPoisoner
            The attack on its base learner; it is cloned.
        param_grid : dict or list of dicts
            As in :func:`~skbackdoor.slope_grid`; two parameters vary.
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
        fit_poisoned : bool, default=False
            Whether attack success and base rate are drawn too, for which the poisoned models are
            fitted.
        rows : str, default=None
            The parameter on the vertical side; None is the second in the order of their names.
        n_jobs : int, default=None
            Parallel groups of cells.
        ax : array of matplotlib Axes, default=None
            An axes a panel; None makes a figure.

        Returns
        -------
        display : RobustnessHeatmapDisplay

        Raises
        ------
        ValueError
            Not two parameters vary, a setting comes twice, `rows` is none of them.
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
            fit_poisoned=fit_poisoned,
            n_jobs=n_jobs,
        )
        return cls.from_results(grid, rows=rows, ax=ax)

    @classmethod
    def from_results(cls, grid, *, rows=None, ax=None):
        """Draw a grid of slopes: means over its attacks.

        Parameters
        ----------
        grid : SlopeGrid
            Of :func:`~skbackdoor.slope_grid`, in which two parameters vary.
        rows : str, default=None
            The parameter on the vertical side; None is the second in the order of their names.
        ax : array of matplotlib Axes, default=None
            An axes a panel: clean accuracy, theta and, of a grid with `fit_poisoned`, attack
            success and base rate. None makes a figure.

        Returns
        -------
        display : RobustnessHeatmapDisplay

        Raises
        ------
        ValueError
            Not two parameters vary, a setting comes twice, `rows` is none of them.
        """
        measures = {"clean accuracy": grid.clean_accuracy, "slope θ": grid.theta}
        if grid.attack_success_rate is not None:
            measures |= {"attack success": grid.attack_success_rate, "base rate": grid.base_rate}
        means = {title: values.mean(axis=1) for title, values in measures.items()}
        return cls(*_tables(grid.params, means, rows)).plot(ax=ax)

    @classmethod
    def from_search(cls, search, *, rows=None, ax=None):
        """Draw the mean test scores of a search, a panel a score.

        Parameters
        ----------
        search : GridSearchCV or another search of scikit-learn
            Fitted, over two parameters. With
            ``scoring={"accuracy": "accuracy", "robustness": neg_backdoor_slope_scorer}`` the
            panels are "accuracy" and "robustness", which is -theta.
        rows : str, default=None
            The parameter on the vertical side; None is the second in the order of their names.
        ax : array of matplotlib Axes, default=None
            An axes a panel; None makes a figure.

        Returns
        -------
        display : RobustnessHeatmapDisplay

        Raises
        ------
        TypeError
            What is given is no search.
        ValueError
            Not two parameters vary, a setting comes twice, `rows` is none of them.
        """
        if not isinstance(search, BaseSearchCV):
            raise TypeError(f"from_search needs a search such as GridSearchCV, not {search!r}.")
        check_is_fitted(search, "cv_results_")
        means = {
            key.removeprefix("mean_test_"): values
            for key, values in search.cv_results_.items()
            if key.startswith("mean_test_")
        }
        return cls(*_tables(search.cv_results_["params"], means, rows)).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the panels side by side.

        Parameters
        ----------
        ax : array of matplotlib Axes, default=None
            An axes a panel; None makes a figure.

        Returns
        -------
        self : RobustnessHeatmapDisplay
        """
        plt = check_matplotlib("RobustnessHeatmapDisplay")
        (row_name, row_values), (column_name, column_values) = self.rows, self.columns
        n_panels = len(self.panels)
        if ax is None:
            width = 1.6 + max(1.6, 0.33 * len(column_values))
            height = 1.2 + max(1.6, 0.33 * len(row_values))
            size = {"figsize": (n_panels * width, height), "layout": "constrained"}
            _, ax = plt.subplots(1, n_panels, squeeze=False, sharey=True, **size)
        axes = np.ravel(ax)
        if len(axes) != n_panels:
            raise ValueError(
                f"ax must be {n_panels} matplotlib Axes, for {list(self.panels)}; got {len(axes)}."
            )
        self.axes_, self.figure_, self.images_ = axes, axes[0].figure, []
        for axis, (title, table) in zip(axes, self.panels.items(), strict=True):
            ends = {"vmin": 0, "vmax": 1} if title in _SHARES else {}
            place = axis.get_subplotspec()  # the colour bar changes it
            named = axis is axes[0] or place is None or place.is_first_col()
            image = axis.imshow(table, cmap="viridis", origin="lower", aspect="auto", **ends)
            self.images_.append(image)
            self.figure_.colorbar(image, ax=axis)
            axis.set(title=title, xlabel=column_name)
            axis.set_xticks(range(len(column_values)), _texts(column_values), rotation=90)
            axis.set_yticks(range(len(row_values)), _texts(row_values) if named else None)
            axis.tick_params(labelleft=named)
        axes[0].set_ylabel(row_name)
        return self


def _tables(params, measures, rows):
    """Measures of settings as tables, and name and values of the parameter on each side."""
    values = {}
    for setting in params:
        for name, value in setting.items():
            values.setdefault(name, [])
            if value not in values[name]:
                values[name].append(value)
    varying = sorted(name for name in values if len(values[name]) > 1)
    if len(varying) != 2:
        raise ValueError(
            f"A heat map has two sides, and the parameters that vary are {varying}; draw a grid in"
            " which two vary."
        )
    rows = varying[1] if rows is None else rows
    if rows not in varying:
        raise ValueError(f"rows={rows!r} is none of the parameters that vary, {varying}.")
    sides = [rows, next(name for name in varying if name != rows)]
    ordered = [_sorted(values[name]) for name in sides]
    tables = {title: np.full([len(side) for side in ordered], np.nan) for title in measures}
    taken = set()
    for i, setting in enumerate(params):
        missing = [name for name in sides if name not in setting]
        if missing:
            raise ValueError(f"The setting {setting} has no value of {missing}.")
        cell = tuple(side.index(setting[name]) for side, name in zip(ordered, sides, strict=True))
        if cell in taken:
            raise ValueError(f"The setting {setting} comes twice.")
        taken.add(cell)
        for title, means in measures.items():
            tables[title][cell] = means[i]
    names = [name.split("__")[-1] for name in sides]
    return tables, *zip(names, ordered, strict=True)


def _sorted(values):
    """Numbers in their order, other values as they come."""
    return sorted(values) if all(isinstance(value, Real) for value in values) else values


def _texts(values):
    """Tick labels: numbers to three significant digits."""
    return [f"{float(f'{v:.3g}'):g}" if isinstance(v, Real) else str(v) for v in values]
