"""Norm and rotation of the weights along the poison weight, drawn."""

import numpy as np

from ..curves import parameter_deviation
from .learning_curve import check_matplotlib, curve_styles, make_room, name_legend


class ParameterDeviationDisplay:
    """Norm and rotation of the weights along the poison weight, a line a learner.

    A line starts at the large hollow marker, beta = 0, where nu = 0 (Cinà et al., *Backdoor
    learning curves*, 2024, Fig. 9). Use :meth:`from_estimator` or :meth:`from_results`.

    Parameters
    ----------
    deviations : dict of str to ParameterDeviation or BackdoorCurve
        Results by name; a name labels its line.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure drawn on.
    ax_ : matplotlib Axes
        rho on x, logarithmic where its values differ by a factor of over 20, and nu on y.
    lines_ : list of matplotlib Line2D
        One a result, from the smallest poison weight to the largest.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, ParameterDeviationDisplay, PatchTrigger, load_digits_pair)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> poisoner = BackdoorPoisoner(
    ...     SVC(), PatchTrigger(size=2, image_shape=(8, 8)), target="next", random_state=0)
    >>> display = ParameterDeviationDisplay.from_estimator(poisoner, X, y)
    >>> len(display.lines_)
    1
    """

    def __init__(self, deviations):
        self.deviations = deviations

    @classmethod
    def from_estimator(
        cls, poisoner, X_train, y_train, *, poison_weights=None, n_jobs=None, name=None, ax=None
    ):
        """Compute a deviation and draw it.

        Parameters
        ----------
        poisoner : BackdoorPoisoner
            The attack on its base learner; it is cloned.
        X_train : array-like of shape (n_train, ...)
            Clean training data.
        y_train : array-like of shape (n_train,)
            Clean labels.
        poison_weights : array-like of shape (n_weights,), default=None
            As in :func:`~skbackdoor.parameter_deviation`.
        n_jobs : int, default=None
            Parallel refits.
        name : str, default=None
            Label of the line; None is the class of the base learner.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : ParameterDeviationDisplay
        """
        check_matplotlib(cls.__name__)  # before the work, not after it
        deviation = parameter_deviation(
            poisoner, X_train, y_train, poison_weights=poison_weights, n_jobs=n_jobs
        )
        name = type(poisoner.estimator).__name__ if name is None else name
        return cls({name: deviation}).plot(ax=ax)

    @classmethod
    def from_results(cls, deviations, *, ax=None):
        """Draw deviations that are computed already.

        Parameters
        ----------
        deviations : ParameterDeviation, BackdoorCurve or dict of str to either
            One result, or several by name.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : ParameterDeviationDisplay

        Raises
        ------
        ValueError
            A curve of a learner that has no weight vector.
        """
        return cls(deviations if isinstance(deviations, dict) else {"": deviations}).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw nu against rho.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : ParameterDeviationDisplay
        """
        plt = check_matplotlib("ParameterDeviationDisplay")
        missing = [name for name, result in self.deviations.items() if result.rho is None]
        if missing:
            raise ValueError(
                f"The curves {missing} have no rho and nu: their learners have no weight vector."
            )
        if ax is None:
            height = max(3.6, 0.5 + 0.23 * len(self.deviations))
            _, ax = plt.subplots(figsize=(6, height), layout="constrained")
        make_room(ax)
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, []
        styles = curve_styles(len(self.deviations))
        for style, result in zip(styles, self.deviations.values(), strict=True):
            order = np.argsort(result.poison_weights)
            rho, nu = result.rho[order], result.nu[order]
            self.lines_ += ax.plot(rho, nu, **style)
            start = style | {"markersize": 10, "markerfacecolor": "none", "linestyle": ""}
            ax.plot(rho[:1], nu[:1], **start)
        norms = np.concatenate([result.rho for result in self.deviations.values()])
        norms = norms[norms > 0]
        if len(norms) and norms.max() > 20.0 * norms.min():
            ax.set_xscale("log")
        ax.set(xlabel="norm of the weights ρ", ylabel="rotation ν = (1 − cos) / 2")
        ax.grid(alpha=0.3)
        name_legend(ax, self.lines_, list(self.deviations))
        return self
