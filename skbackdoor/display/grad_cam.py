"""Class activation maps of a clean and a poisoned network, drawn."""

import numpy as np

from .._compat import _safe_indexing
from .learning_curve import axes_of_shape, check_matplotlib
from .trigger import attacked_pairs


class GradCAMDisplay:
    """Class activation maps of a clean and a poisoned network, of clean and triggered images.

    For each image four rows: clean model, true label; clean model, target label; and the same of
    the poisoned model (Abad et al., *A systematic evaluation of backdoor trigger characteristics
    in image classification*, 2023, section 4.4). Use :meth:`from_estimator` or
    :meth:`from_results`.

    Parameters
    ----------
    images : ndarray of shape (n_samples, 2, channels, height, width)
        Clean and triggered images in [0, 1].
    maps : ndarray of shape (4, n_samples, 2, height, width)
        Of each row, as :func:`~skbackdoor.deep.grad_cam` gives them.
    labels : list of (true, target)
        Of each image.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure drawn on.
    axes_ : ndarray of shape (4, 2 * n_samples)
        Two columns an image, clean and triggered.
    """

    def __init__(self, images, maps, labels):
        self.images, self.maps, self.labels = images, maps, labels

    @classmethod
    def from_estimator(cls, poisoner, X, y, *, clean=None, layer=None, n_samples=1, ax=None):
        """Compute the maps and draw them.

        Parameters
        ----------
        poisoner : BackdoorPoisoner
            Fitted around a :class:`~skbackdoor.deep.BackdoorNetClassifier`: the poisoned model.
        X : array-like of shape (n_samples, ...)
            Clean images.
        y : array-like of shape (n_samples,)
            Their labels.
        clean : BackdoorNetClassifier, default=None
            The clean model, fitted; None trains it on the poisoner's training data.
        layer : str or None, default=None
            Name of the layer; None is the last convolution.
        n_samples : int, default=1
            The first so many images of source classes are drawn.
        ax : array of matplotlib Axes of shape (4, 2 * n_samples), default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : GradCAMDisplay
        """
        check_matplotlib(cls.__name__)
        from ..deep import grad_cam
        from ..deep.images import as_images

        pair, labels = attacked_pairs(poisoner, X, y, n_samples, cls.__name__)
        net = poisoner.estimator_
        clean = poisoner.clean_copy().estimator_ if clean is None else clean
        maps = []
        for model in (clean, net):
            for which in (0, 1):
                maps.append([
                    [
                        grad_cam(model, _safe_indexing(part, [k]), labels[k][which], layer)[0]
                        for part in pair
                    ]
                    for k in range(len(labels))
                ])  # fmt: skip
        images = np.stack([as_images(part, net.image_shape) for part in pair], axis=1)
        images = images / 255 if images.dtype == np.uint8 else images.astype(np.float64)
        return cls(images, np.array(maps), labels).plot(ax=ax)

    @classmethod
    def from_results(cls, images, maps, labels, *, ax=None):
        """Draw maps that are computed already.

        Parameters
        ----------
        images : ndarray of shape (n_samples, 2, channels, height, width)
            Clean and triggered images in [0, 1].
        maps : ndarray of shape (4, n_samples, 2, height, width)
            Of each row, as :func:`~skbackdoor.deep.grad_cam` gives them.
        labels : list of (true, target)
            Of each image.
        ax : array of matplotlib Axes of shape (4, 2 * n_samples), default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : GradCAMDisplay

        Raises
        ------
        ValueError
            Shapes that do not fit.
        """
        images, maps = np.asarray(images), np.asarray(maps)
        fits = images.ndim == 5 and maps.ndim == 5 and maps.shape[:3] == (4, *images.shape[:2])
        if not fits or images.shape[1] != 2 or len(labels) != len(images):
            raise ValueError(
                "images must have the shape (n_samples, 2, channels, height, width), maps"
                " (4, n_samples, 2, height, width), and labels n_samples pairs; got"
                f" {images.shape}, {maps.shape} and {len(labels)}."
            )
        return cls(images, maps, labels).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the maps over the images.

        Parameters
        ----------
        ax : array of matplotlib Axes of shape (4, 2 * n_samples), default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : GradCAMDisplay
        """
        plt = check_matplotlib("GradCAMDisplay")
        shape = 4, 2 * len(self.images)
        if ax is None:
            _, ax = plt.subplots(
                *shape, figsize=(1.9 * shape[1] + 0.8, 8), squeeze=False, layout="constrained"
            )
        axes = axes_of_shape(ax, shape)
        self.axes_, self.figure_ = axes, axes[0, 0].figure
        for k, (true, target) in enumerate(self.labels):
            for which, kind in enumerate(("clean", "triggered")):
                image = np.clip(self.images[k, which], 0, 1)
                image = image[0] if len(image) == 1 else np.moveaxis(image[:3], 0, -1)
                for row in range(4):
                    axis = axes[row, 2 * k + which]
                    axis.imshow(image, cmap="gray", vmin=0, vmax=1)
                    seen = self.maps[row, k, which]
                    axis.imshow(seen, cmap="inferno", alpha=0.55, vmin=0, vmax=1)
                    axis.set(xticks=[], yticks=[])
                    if row == 0:
                        axis.set_title(f"{true}, {kind}", fontsize="medium")
                    if which == 0:
                        model, label = ("clean", "poisoned")[row // 2], (true, target)[row % 2]
                        axis.set_ylabel(f"{model}:\n{label}")
        return self
