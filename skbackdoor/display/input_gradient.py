"""Input gradients of a clean and a poisoned model, drawn."""

import numpy as np

from .._compat import _safe_indexing
from ..gradients import input_gradient
from .learning_curve import axes_of_shape, check_matplotlib
from .trigger import attacked_pairs, draw_sample, images_of, layout_of


class InputGradientDisplay:
    """Size of the target class's input gradient, of a clean and a poisoned model.

    Three rows: the input, clean and triggered; below it the absolute gradient of the decision
    value of the attacker's label, of the clean model and of the poisoned one. Of colours the
    largest is shown (Cinà et al., *Backdoor learning curves*, 2024, Fig. 12). Each model has a
    scale of its own. Use :meth:`from_estimator` or :meth:`from_results`.

    Parameters
    ----------
    images : ndarray of shape (n_samples, 2, channels, height, width)
        Clean and triggered samples; those of height 1 are drawn as curves.
    gradients : ndarray of shape (2, n_samples, 2, channels, height, width)
        Of the clean and the poisoned model.
    labels : list of (true, target)
        Of each sample.
    value_range : tuple of two float, default=(0, 1)
        Pixel values drawn black and white.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure drawn on.
    axes_ : ndarray of shape (3, 2 * n_samples)
        Two columns a sample, clean and triggered.
    maps_ : ndarray of shape (2, n_samples, 2, height, width)
        What is drawn below the input.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, InputGradientDisplay, PatchTrigger, load_digits_pair)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> poisoner = BackdoorPoisoner(
    ...     SVC(C=10), PatchTrigger(size=2, image_shape=(8, 8)), target="next", random_state=0)
    >>> display = InputGradientDisplay.from_estimator(poisoner.fit(X, y), X, y)
    >>> display.axes_.shape
    (3, 4)
    """

    def __init__(self, images, gradients, labels, *, value_range=(0, 1)):
        self.images, self.gradients, self.labels = images, gradients, labels
        self.value_range = value_range

    @classmethod
    def from_estimator(cls, poisoner, X, y, *, clean=None, n_samples=2, ax=None):
        """Compute the gradients and draw them.

        Parameters
        ----------
        poisoner : BackdoorPoisoner
            Fitted: its `estimator_` is the poisoned model.
        X : array-like of shape (n_samples, ...)
            Clean samples: images, flat or in batches, or rows of features.
        y : array-like of shape (n_samples,)
            Their labels.
        clean : estimator, default=None
            The clean model, fitted; None fits it without poison on the poisoner's training data.
        n_samples : int, default=2
            The first so many samples of source classes are drawn.
        ax : array of matplotlib Axes of shape (3, 2 * n_samples), default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : InputGradientDisplay

        Raises
        ------
        ValueError
            As :func:`~skbackdoor.input_gradient`.
        """
        check_matplotlib(cls.__name__)  # before the work, not after it
        pair, labels = attacked_pairs(poisoner, X, y, n_samples, cls.__name__)
        clean = poisoner.clean_copy().estimator_ if clean is None else clean
        shape, value_range = layout_of(poisoner.trigger_)
        images = np.stack([images_of(part, shape, cls.__name__) for part in pair], axis=1)
        gradients = np.empty((2, *images.shape))
        targets = [target for _, target in labels]
        for label in set(targets):
            rows = [k for k, target in enumerate(targets) if target == label]
            for m, model in enumerate((clean, poisoner.estimator_)):
                for side, part in enumerate(pair):
                    found = input_gradient(model, _safe_indexing(part, rows), label).gradient
                    gradients[m, rows, side] = images_of(found, shape, cls.__name__)
        return cls(images, gradients, labels, value_range=value_range).plot(ax=ax)

    @classmethod
    def from_results(cls, images, gradients, labels, *, value_range=(0, 1), ax=None):
        """Draw gradients that are computed already.

        Parameters
        ----------
        images : ndarray of shape (n_samples, 2, channels, height, width)
            Clean and triggered samples.
        gradients : ndarray of shape (2, n_samples, 2, channels, height, width)
            Of the clean and the poisoned model.
        labels : list of (true, target)
            Of each sample.
        value_range : tuple of two float, default=(0, 1)
            Pixel values drawn black and white.
        ax : array of matplotlib Axes of shape (3, 2 * n_samples), default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : InputGradientDisplay

        Raises
        ------
        ValueError
            Shapes that do not fit.
        """
        images, gradients = np.asarray(images), np.asarray(gradients)
        if images.ndim != 5 or gradients.shape != (2, *images.shape) or len(labels) != len(images):
            raise ValueError(
                "images must have the shape (n_samples, 2, channels, height, width), gradients"
                " (2, n_samples, 2, channels, height, width), and labels n_samples pairs; got"
                f" {images.shape}, {gradients.shape} and {len(labels)}."
            )
        return cls(images, gradients, labels, value_range=value_range).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw input and gradients.

        Parameters
        ----------
        ax : array of matplotlib Axes of shape (3, 2 * n_samples), default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : InputGradientDisplay
        """
        plt = check_matplotlib("InputGradientDisplay")
        shape = 3, 2 * len(self.images)
        if ax is None:
            size = 1.7 * shape[1] + 1.2, 5.4
            _, ax = plt.subplots(*shape, figsize=size, squeeze=False, layout="constrained")
        axes = axes_of_shape(ax, shape)
        self.axes_, self.figure_ = axes, axes[0, 0].figure
        self.maps_ = np.abs(self.gradients).max(axis=3)
        names = "input", "clean\nmodel", "poisoned\nmodel"
        for axis, name in zip(axes[:, 0], names, strict=True):
            axis.set_ylabel(name)
        for k, (true, target) in enumerate(self.labels):
            for side, title in enumerate((f"{true}, clean", f"triggered, to {target}")):
                column = axes[:, 2 * k + side]
                column[0].set_title(title, fontsize="medium")
                draw_sample(column[0], self.images[k, side], self.value_range)
        for row, maps in zip(axes[1:], self.maps_, strict=True):
            self._draw_maps(row, maps.reshape(-1, *maps.shape[2:]))
        return self

    def _draw_maps(self, row, maps):
        """One model's maps, on one scale."""
        top = maps.max()
        for axis, values in zip(row, maps, strict=True):
            axis.set_xticks([])
            if len(values) == 1:
                axis.plot(values[0], linewidth=1, color="black")
                axis.set_ylim(0, 1.05 * top or 1)
            else:
                image = axis.imshow(values, cmap="viridis", vmin=0, vmax=top)
                axis.set_yticks([])
        if maps.shape[1] > 1:
            self.figure_.colorbar(image, ax=list(row), label="|gradient|")
