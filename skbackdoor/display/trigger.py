"""Triggers, drawn: clean, triggered, and what changed."""

from numbers import Integral

import numpy as np
import scipy.sparse as sp
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._compat import _safe_indexing
from ..attack import requires_y
from ..poisoning import BackdoorPoisoner
from .learning_curve import axes_of_shape, check_matplotlib


class TriggerDisplay:
    """Samples clean and triggered, and the difference times a gain.

    Use :meth:`from_estimator` or :meth:`from_results`.

    Parameters
    ----------
    clean, triggered : ndarrays of shape (n_samples, channels, height, width)
        The samples, with one or three channels; those of height 1 are drawn as curves.
    gain : float or None
        Factor on the difference; None brings the largest one to the width of `value_range`.
    value_range : tuple of two float
        Pixel values drawn black and white.
    titles : list of str or None, default=None
        One a sample.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure drawn on.
    axes_ : ndarray of shape (3, n_samples)
        Rows of clean samples, triggered ones and differences.
    gain_ : float
        The factor on the difference.

    Examples
    --------
    >>> from skbackdoor import PatchTrigger, TriggerDisplay, load_digits_pair
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> trigger = PatchTrigger(size=2, image_shape=(8, 8)).fit(X)
    >>> display = TriggerDisplay.from_estimator(trigger, X[:4], y[:4])
    >>> display.axes_.shape
    (3, 4)
    """

    def __init__(self, clean, triggered, *, gain=None, value_range=(0, 1), titles=None):
        self.clean, self.triggered = clean, triggered
        self.gain, self.value_range, self.titles = gain, value_range, titles

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, n_samples=5, gain=None, ax=None):
        """Trigger some samples and draw them.

        Parameters
        ----------
        estimator : trigger, Pipeline of triggers, or BackdoorPoisoner
            Fitted. Of a poisoner its trigger is drawn.
        X : array-like of shape (n_samples, ...)
            Clean images, flat or in batches; a 2-D X whose layout no trigger knows is series.
        y : array-like of shape (n_samples,), default=None
            Labels for the titles. A trigger that acts by class needs them.
        n_samples : int, default=5
            The first so many rows of `X` are drawn.
        gain : float, default=None
            Factor on the difference; None brings the largest one to the width of the trigger's
            `value_range`.
        ax : array of matplotlib Axes of shape (3, n_samples), default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : TriggerDisplay
        """
        check_matplotlib(cls.__name__)  # before the work, not after it
        check_is_fitted(estimator)
        trigger = estimator.trigger_ if isinstance(estimator, BackdoorPoisoner) else estimator
        check_count("n_samples", n_samples)
        n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
        rows = np.arange(min(n_samples, n_rows))
        clean = _safe_indexing(X, rows)
        labels = None if y is None else np.asarray(y)[rows]
        if requires_y(trigger):
            triggered = trigger.transform(clean, labels)
        else:
            triggered = trigger.transform(clean)
        shape, value_range = layout_of(trigger)
        return cls(
            images_of(clean, shape, cls.__name__),
            images_of(triggered, shape, cls.__name__),
            gain=gain,
            value_range=value_range,
            titles=None if labels is None else [str(label) for label in labels],
        ).plot(ax=ax)

    @classmethod
    def from_results(
        cls, clean, triggered, *, gain=None, value_range=(0, 1), titles=None, ax=None
    ):
        """Draw samples that are triggered already.

        Parameters
        ----------
        clean, triggered : array-likes of shape (n_samples, height, width) or \
                (n_samples, channels, height, width)
            The samples; 2-D ones are series.
        gain : float, default=None
            Factor on the difference; None brings the largest one to the width of `value_range`.
        value_range : tuple of two float, default=(0, 1)
            Pixel values drawn black and white.
        titles : list of str, default=None
            One a sample.
        ax : array of matplotlib Axes of shape (3, n_samples), default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : TriggerDisplay
        """
        clean, triggered = (
            images_of(samples, None, cls.__name__) for samples in (clean, triggered)
        )
        if clean.shape != triggered.shape:
            raise ValueError(
                f"clean and triggered samples differ in shape: {clean.shape} and"
                f" {triggered.shape}."
            )
        display = cls(clean, triggered, gain=gain, value_range=value_range, titles=titles)
        return display.plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw a row of clean samples, one of triggered ones and one of differences.

        Parameters
        ----------
        ax : array of matplotlib Axes of shape (3, n_samples), default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : TriggerDisplay
        """
        plt = check_matplotlib("TriggerDisplay")
        n_samples, _, height, width = self.clean.shape
        if ax is None:
            tall = 1.6 if height == 1 else 1.7 * min(2.0, max(0.5, height / width))
            _, ax = plt.subplots(
                3,
                n_samples,
                figsize=(1.7 * n_samples + 0.6, 3 * tall + 0.5),
                squeeze=False,
                layout="constrained",
            )
        axes = axes_of_shape(ax, (3, n_samples))
        self.axes_, self.figure_ = axes, axes[0, 0].figure
        low, high = self.value_range
        difference = self.triggered - self.clean
        largest = np.abs(difference).max()
        self.gain_ = self.gain
        if self.gain_ is None:
            self.gain_ = (high - low) / largest if largest > 0 else 1.0
        shown = (low + high) / 2 + self.gain_ * difference / 2  # no change is gray
        for k in range(n_samples):
            for row, images in enumerate((self.clean, self.triggered, shown)):
                series = self.gain_ * difference[k][:, 0] if row == 2 else None
                draw_sample(axes[row, k], images[k], self.value_range, series)
            if self.titles is not None:
                axes[0, k].set_title(self.titles[k], fontsize="medium")
        names = ("clean", "triggered", f"difference\n× {self.gain_:.3g}")
        for axis, name in zip(axes[:, 0], names, strict=True):
            axis.set_ylabel(name)
        return self


def draw_sample(axis, image, value_range, values=None):
    """Draw an image, or one of height 1 as a curve: of its own values, or of others."""
    axis.set_xticks([])
    if image.shape[1] == 1:
        for channel in image[:, 0] if values is None else values:
            axis.plot(channel, linewidth=1, color=None if len(image) > 1 else "black")
        return
    low, high = value_range
    image = np.clip((image - low) / (high - low), 0.0, 1.0)
    image = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_yticks([])


def attacked_pairs(poisoner, X, y, n_samples, caller):
    """The first samples of source classes, clean and triggered, and their labels.

    Parameters
    ----------
    poisoner : BackdoorPoisoner
        Fitted.
    X, y : array-likes of shape (n_rows, ...) and (n_rows,)
        Clean samples and labels.
    n_samples : int
        How many at most.
    caller : str
        Named in errors.

    Returns
    -------
    pair : list of two array-likes of shape (n_samples, ...)
        Clean and triggered samples, in the container of X.
    labels : list of (true, target)
        Of each sample.
    """
    check_is_fitted(poisoner)
    if not isinstance(poisoner, BackdoorPoisoner):
        raise TypeError(f"{caller} needs a BackdoorPoisoner, not {type(poisoner)}.")
    check_count("n_samples", n_samples)
    triggered, y_target, rows = poisoner.triggered_test(X, y)
    rows = rows[:n_samples]
    pair = [_safe_indexing(X, rows), _safe_indexing(triggered, np.arange(len(rows)))]
    labels = zip(np.asarray(y)[rows].tolist(), y_target[:n_samples].tolist(), strict=True)
    return pair, list(labels)


def check_count(name, value):
    """Raise unless a number of samples is 1 or more."""
    if not (isinstance(value, Integral) and value >= 1):
        raise ValueError(f"{name}={value!r} must be 1 or more.")


def layout_of(trigger):
    """(channels, height, width) and value_range of the first image trigger in a trigger."""
    if hasattr(trigger, "triggers_"):  # one a class, alike in their layout
        return layout_of(next(iter(trigger.triggers_.values())))
    steps = [step for _, step in trigger.steps] if isinstance(trigger, Pipeline) else [trigger]
    for step in steps:
        if hasattr(step, "image_shape_"):
            return step.image_shape_, step.value_range
    return None, (0, 1)


def images_of(X, shape, caller):
    """Samples as floats of shape (n_samples, channels, height, width)."""
    if sp.issparse(X):
        X = X.toarray()
    try:
        images = np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{caller} draws numbers; these samples are not.") from error
    if images.ndim == 2:
        images = images.reshape(len(images), *(shape or (1, 1, images.shape[1])))
    elif images.ndim == 3:
        images = images[:, np.newaxis]
    if images.ndim != 4 or (images.shape[2] > 1 and images.shape[1] not in (1, 3)):
        raise ValueError(
            f"{caller} draws images of one or three channels, or series; got {images.shape}."
        )
    return images
