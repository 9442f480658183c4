"""Backdoor learning curves, drawn."""

import numpy as np

from ..curves import backdoor_learning_curve

# Okabe-Ito colours, one a curve; more curves than these are an ordered series, dark to light.
# Clean is solid and triggered dashed, and markers differ, so that the picture survives colour
# blindness and greyscale.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def check_matplotlib(caller):
    """Import pyplot or say how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib: pip install 'skbackdoor[display]'."
        ) from error
    return plt


def axes_of_shape(ax, shape):
    """Axes as an array, or an error where they are not as many as are drawn on."""
    axes = np.asarray(ax, dtype=object)
    if axes.shape != shape:
        raise ValueError(f"ax must have the shape {shape}; got {axes.shape}.")
    return axes


def curve_styles(n_curves):
    """Colour and marker of each of some curves, as keywords of matplotlib's `plot`."""
    from matplotlib import colormaps

    colors = _COLORS
    if n_curves > len(colors):
        colors = colormaps["viridis"](np.linspace(0.0, 0.92, n_curves))
    return [
        {"color": colors[k], "marker": _MARKERS[k % len(_MARKERS)], "markersize": 4}
        for k in range(n_curves)
    ]


def make_room(ax):
    """Let the layout leave room for legends outside of an axes, unless its figure has a layout."""
    figure = ax.figure.figure  # of a subfigure, the whole
    if figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")


def name_legend(ax, handles, names, title=None):
    """A legend of curves on the right of an axes, off the data; none for one without a name."""
    from matplotlib.legend import Legend

    if names == [""]:
        return
    place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "alignment": "left"}
    legend = ax.add_artist(Legend(ax, handles, names, title=title, frameon=False, **place))
    legend.set_clip_on(False)  # else the layout leaves no room for it


def head_legend(ax, handles, names):
    """A legend of kinds of lines above an axes: in one row, or two if the axes is narrow."""
    wide = ax.get_window_extent().width > 3.4 * ax.figure.dpi  # inches that two names take
    place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "frameon": False}
    ax.legend(handles, names, ncols=2 if wide else 1, **place)


class BackdoorLearningCurveDisplay:
    """Loss, accuracy and attack success against the poison weight.

    Use :meth:`from_estimator` or :meth:`from_results`.

    Parameters
    ----------
    curves : dict of str to BackdoorCurve
        Curves by name; a name labels its lines.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure drawn on.
    axes_ : ndarray of shape (2,)
        Axes of the losses and of the shares.
    lines_ : list of matplotlib Line2D
        All lines: for each curve clean loss, backdoor loss, clean accuracy, attack success.

    Examples
    --------
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.model_selection import train_test_split
    >>> from skbackdoor import (
    ...     BackdoorLearningCurveDisplay, BackdoorPoisoner, PatchTrigger, load_digits_pair)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> data = train_test_split(X, y, random_state=0, stratify=y)
    >>> poisoner = BackdoorPoisoner(
    ...     RidgeClassifier(), PatchTrigger(size=2, image_shape=(8, 8)), target="next",
    ...     random_state=0)
    >>> display = BackdoorLearningCurveDisplay.from_estimator(
    ...     poisoner, data[0], data[2], data[1], data[3])
    >>> len(display.lines_)
    4
    """

    def __init__(self, curves):
        self.curves = curves

    @classmethod
    def from_estimator(
        cls,
        poisoner,
        X_train,
        y_train,
        X_test,
        y_test,
        *,
        poison_weights=None,
        n_jobs=None,
        name=None,
        ax=None,
    ):
        """Compute a curve and draw it.

        Parameters
        ----------
        poisoner : BackdoorPoisoner
            The attack on its base learner; it is cloned.
        X_train : array-like of shape (n_train, ...)
            Clean training data.
        y_train : array-like of shape (n_train,)
            Clean labels.
        X_test : array-like of shape (n_test, ...)
            Clean test data.
        y_test : array-like of shape (n_test,)
            Clean labels.
        poison_weights : array-like of shape (n_weights,), default=None
            As in :func:`~skbackdoor.backdoor_learning_curve`.
        n_jobs : int, default=None
            Parallel refits.
        name : str, default=None
            Label of the curve; None is the class of the base learner.
        ax : pair of matplotlib Axes or one of them, default=None
            Where to draw: losses on the first, shares on the second; the place of a single one
            is divided in two. None makes a figure.

        Returns
        -------
        display : BackdoorLearningCurveDisplay
        """
        check_matplotlib(cls.__name__)  # before the work, not after it
        curve = backdoor_learning_curve(
            poisoner,
            X_train,
            y_train,
            X_test,
            y_test,
            poison_weights=poison_weights,
            n_jobs=n_jobs,
        )
        name = type(poisoner.estimator).__name__ if name is None else name
        return cls({name: curve}).plot(ax=ax)

    @classmethod
    def from_results(cls, curves, *, ax=None):
        """Draw curves that are computed already.

        Parameters
        ----------
        curves : BackdoorCurve or dict of str to BackdoorCurve
            One curve, or several by name.
        ax : pair of matplotlib Axes or one of them, default=None
            Where to draw: losses on the first, shares on the second; the place of a single one
            is divided in two. None makes a figure.

        Returns
        -------
        display : BackdoorLearningCurveDisplay
        """
        return cls(curves if isinstance(curves, dict) else {"": curves}).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the losses on one axes and the shares on another.

        Parameters
        ----------
        ax : pair of matplotlib Axes or one of them, default=None
            Where to draw: losses on the first, shares on the second; the place of a single one
            is divided in two. None makes a figure.

        Returns
        -------
        self : BackdoorLearningCurveDisplay
        """
        plt = check_matplotlib("BackdoorLearningCurveDisplay")
        if ax is None:
            height = max(3.4, 0.5 + 0.23 * len(self.curves))  # the names stand on the right
            _, ax = plt.subplots(1, 2, figsize=(10, height), layout="constrained")
        axes = np.ravel(ax)
        if len(axes) == 1 and axes[0].get_subplotspec() is not None:
            axes[0].set_axis_off()  # its place is divided in two
            grid = axes[0].get_subplotspec().subgridspec(1, 2, wspace=0.3)
            axes = np.array([axes[0].figure.add_subplot(cell) for cell in (grid[0], grid[1])])
        if len(axes) != 2:
            raise ValueError(
                f"ax must be two matplotlib Axes, or one of a subplot grid; got {len(axes)}."
            )
        make_room(axes[0])
        self.axes_, self.figure_, self.lines_ = axes, axes[0].figure, []
        styles = curve_styles(len(self.curves))
        for style, (name, curve) in zip(styles, self.curves.items(), strict=True):
            head = f"{name}: " if name else ""
            for ax, values, label, line in (
                (axes[0], curve.clean_loss, "clean loss", "-"),
                (axes[0], curve.backdoor_loss, "triggered loss", "--"),
                (axes[1], curve.clean_accuracy, "clean accuracy", "-"),
                (axes[1], curve.attack_success_rate, "attack success", "--"),
            ):
                self.lines_ += ax.plot(
                    curve.poison_weights, values, label=head + label, linestyle=line, **style
                )
        name_legend(axes[1], self.lines_[2::4], list(self.curves))
        axes[0].set(ylabel="mean test loss")
        axes[1].set(ylabel="share of test samples", ylim=(-0.03, 1.03))
        for ax, kinds in zip(
            axes,
            (("clean loss", "triggered loss"), ("clean accuracy", "attack success")),
            strict=True,
        ):
            ax.set(xlabel="poison weight β")
            ax.grid(alpha=0.3)
            lines = [plt.Line2D([], [], color="black", linestyle=line) for line in ("-", "--")]
            head_legend(ax, lines, kinds)
        return self
