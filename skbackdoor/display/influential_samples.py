"""Training samples of largest influence on triggered test samples, drawn."""

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from .._compat import _safe_indexing
from ..attack_path import drawn_attack
from ..checks import check_is_poisoner
from ..influence import poison_influence
from .learning_curve import axes_of_shape, check_matplotlib
from .trigger import check_count, draw_sample, images_of, layout_of

_POISON, _CLEAN = "#D55E00", "#56B4E9"


class InfluentialSamplesDisplay:
    """The training samples of largest influence on triggered test samples.

    A row a test sample: the sample itself, then the training samples whose influence I is largest
    in absolute value, poisoned ones in a thick frame. I is the change of the test sample's loss
    under the attacker's label per unit of the training sample's weight: negative where it helps
    the backdoor (Cinà et al., *Backdoor learning curves*, 2024, Figs. 13 and 14). Samples that
    are no images are bars. Use :meth:`from_estimator` or :meth:`from_results`.

    Parameters
    ----------
    influence : ndarray of shape (n_train, n_tests)
        As :func:`~skbackdoor.poison_influence` gives it with ``samples="all"``.
    labels : sequence of shape (n_train,)
        Labels of the training samples in the fit.
    is_poison : ndarray of bool of shape (n_train,)
        Which of them are triggered copies.
    titles : list of str
        Of each test sample.
    images : tuple of two ndarrays or None, default=None
        Training samples, (n_train, channels, height, width), and triggered test samples,
        (n_tests, channels, height, width); None draws bars.
    n_influential : int, default=7
        Training samples shown for each test sample.
    value_range : tuple of two float, default=(0, 1)
        Pixel values drawn black and white.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure drawn on.
    axes_ : ndarray of shape (n_tests, 1 + n_influential) or (n_tests,)
        Axes of images, or of bars.
    rows_ : ndarray of shape (n_tests, n_influential)
        The training samples shown, by falling absolute influence.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import train_test_split
    >>> from skbackdoor import (
    ...     BackdoorPoisoner, InfluentialSamplesDisplay, PatchTrigger, load_digits_pair)
    >>> X, y = load_digits_pair(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    >>> poisoner = BackdoorPoisoner(
    ...     LogisticRegression(), PatchTrigger(size=2, image_shape=(8, 8)), target="next",
    ...     random_state=0)
    >>> display = InfluentialSamplesDisplay.from_estimator(
    ...     poisoner, X_train, y_train, X_test, y_test)
    >>> display.axes_.shape
    (2, 8)
    """

    def __init__(
        self,
        influence,
        labels,
        is_poison,
        titles,
        *,
        images=None,
        n_influential=7,
        value_range=(0, 1),
    ):
        self.influence, self.labels, self.is_poison = influence, labels, is_poison
        self.titles, self.images = titles, images
        self.n_influential, self.value_range = n_influential, value_range

    @classmethod
    def from_estimator(
        cls, poisoner, X_train, y_train, X_test, y_test, *, n_samples=2, n_influential=7, ax=None
    ):
        """Compute the influence and draw the samples.

        Parameters
        ----------
        poisoner : BackdoorPoisoner
            The attack on its base learner; it is cloned.
        X_train : array-like of shape (n_train, ...)
            Clean training data.
        y_train : array-like of shape (n_train,)
            Clean labels.
        X_test : array-like of shape (n_test, ...)
            Clean test data: the trigger is applied here.
        y_test : array-like of shape (n_test,)
            Clean labels.
        n_samples : int, default=2
            The first so many test samples of source classes are taken.
        n_influential : int, default=7
            Training samples shown for each.
        ax : array of matplotlib Axes, default=None
            Where to draw: of shape (n_samples, 1 + n_influential) for images, where the trigger
            knows a layout or X has more than two dimensions, else (n_samples,). None makes a
            figure.

        Returns
        -------
        display : InfluentialSamplesDisplay

        Raises
        ------
        ValueError
            A learner without a closed form.
        """
        check_matplotlib(cls.__name__)  # before the work, not after it
        check_is_poisoner(poisoner, cls.__name__)
        check_count("n_samples", n_samples)
        poisoner = clone(poisoner)
        if poisoner.random_state is None:  # the same attack below and in poison_influence
            seed = check_random_state(None).randint(np.iinfo(np.int32).max)
            poisoner.set_params(random_state=seed)
        probe, _ = drawn_attack(poisoner, X_train, y_train)
        _, _, rows = probe.triggered_test(X_test, y_test)
        rows = rows[:n_samples]
        tests = _safe_indexing(X_test, rows), np.asarray(y_test)[rows]
        influence = poison_influence(poisoner, X_train, y_train, *tests, samples="all")
        triggered, y_target, _ = probe.triggered_test(*tests)
        parts = probe.training_rows()
        is_poison = np.repeat([False, True], [len(y) for _, y, _ in parts])
        shape, value_range = layout_of(probe.trigger_)
        images = None
        if shape is not None or np.ndim(triggered) > 2:
            clean, poison, seen = (
                images_of(X, shape, cls.__name__) for X in (parts[0][0], parts[1][0], triggered)
            )
            images = np.concatenate([clean, poison]), seen
        return cls(
            influence,
            np.concatenate([y for _, y, _ in parts]),
            is_poison,
            [f"{true} to {target}" for true, target in zip(tests[1], y_target, strict=True)],
            images=images,
            n_influential=n_influential,
            value_range=value_range,
        ).plot(ax=ax)

    @classmethod
    def from_results(
        cls,
        influence,
        labels,
        is_poison,
        titles,
        *,
        images=None,
        n_influential=7,
        value_range=(0, 1),
        ax=None,
    ):
        """Draw influence that is computed already.

        Parameters
        ----------
        influence, labels, is_poison, titles, images, n_influential, value_range
            As in the class.
        ax : array of matplotlib Axes, default=None
            Where to draw: of shape (n_tests, 1 + n_influential) for images, else (n_tests,). None
            makes a figure.

        Returns
        -------
        display : InfluentialSamplesDisplay

        Raises
        ------
        ValueError
            Lengths that do not fit.
        """
        influence = np.asarray(influence)
        lengths = (len(labels), len(titles)) + (() if images is None else tuple(map(len, images)))
        expected = influence.shape * (len(lengths) // 2)
        if influence.ndim != 2 or lengths != expected or len(is_poison) != len(labels):
            raise ValueError(
                f"influence has the shape {influence.shape}, so there must be as many labels,"
                " is_poison and training images, and as many titles and test images; got"
                f" {len(labels)}, {len(is_poison)} and {lengths[2::2]}, {len(titles)} and"
                f" {lengths[3::2]}."
            )
        return cls(
            influence,
            labels,
            is_poison,
            titles,
            images=images,
            n_influential=n_influential,
            value_range=value_range,
        ).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the samples, or bars.

        Parameters
        ----------
        ax : array of matplotlib Axes, default=None
            Where to draw: of shape (n_tests, 1 + n_influential) for images, else (n_tests,). None
            makes a figure.

        Returns
        -------
        self : InfluentialSamplesDisplay
        """
        plt = check_matplotlib("InfluentialSamplesDisplay")
        check_count("n_influential", self.n_influential)
        n_shown = min(self.n_influential, len(self.influence))
        order = np.argsort(-np.abs(self.influence), axis=0, kind="stable")
        self.rows_ = order[:n_shown].T
        n_tests = len(self.titles)
        shape = (n_tests,) if self.images is None else (n_tests, 1 + n_shown)
        if ax is None:
            size = (5, (0.8 + 0.26 * n_shown) * n_tests)
            if self.images is not None:
                size = 1.25 * shape[1] + 0.3, 1.75 * n_tests
            grid = shape if len(shape) == 2 else (n_tests, 1)
            _, ax = plt.subplots(*grid, figsize=size, squeeze=False, layout="constrained")
            ax = ax.reshape(shape)
        axes = axes_of_shape(ax, shape)
        self.axes_, self.figure_ = axes, axes.flat[0].figure
        for t, rows in enumerate(self.rows_):
            if self.images is None:
                self._draw_bars(axes[t], t, rows)
            else:
                self._draw_images(axes[t], t, rows)
        if self.images is None:
            axes[-1].set_xlabel("influence I")
        return self

    def _draw_images(self, axes, t, rows):
        train, tests = self.images
        draw_sample(axes[0], tests[t], self.value_range)
        axes[0].set_title("triggered", fontsize="medium")
        axes[0].set_xlabel(self.titles[t])
        for axis, j in zip(axes[1:], rows, strict=True):
            draw_sample(axis, train[j], self.value_range)
            axis.set_title(f"I = {self.influence[j, t]:.2g}", fontsize="medium")
            axis.set_xlabel(f"{self.labels[j]}, poison" if self.is_poison[j] else self.labels[j])
            if self.is_poison[j]:
                for spine in axis.spines.values():
                    spine.set(color=_POISON, linewidth=4)

    def _draw_bars(self, axis, t, rows):
        poison = np.asarray(self.is_poison)[rows]
        axis.barh(
            np.arange(len(rows)),
            self.influence[rows, t],
            color=np.where(poison, _POISON, _CLEAN),
            hatch=["//" if bad else "" for bad in poison],
        )
        kinds = np.where(poison, "poison, ", "")
        names = [f"row {j}: {kind}{self.labels[j]}" for j, kind in zip(rows, kinds, strict=True)]
        axis.set_yticks(np.arange(len(rows)), names)
        axis.invert_yaxis()
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_title(f"triggered, {self.titles[t]}", fontsize="medium")
