"""Image classifiers by the name of their architecture."""

from numbers import Integral

import torch

from .architectures import build_network, head_of, input_size, native_normalisation
from .images import ImageNetwork
from .net import BackdoorNetClassifier

#: Normalisation layers that keep statistics of the batches they were trained on.
_KEEP_STATISTICS = (
    torch.nn.BatchNorm1d,
    torch.nn.BatchNorm2d,
    torch.nn.BatchNorm3d,
    torch.nn.SyncBatchNorm,
    torch.nn.InstanceNorm1d,
    torch.nn.InstanceNorm2d,
    torch.nn.InstanceNorm3d,
)
_NORMS = (*_KEEP_STATISTICS, torch.nn.GroupNorm, torch.nn.LayerNorm)


class ImageClassifier(ImageNetwork):
    """A network by name that takes raw images, some of its parameters frozen.

    Parameters
    ----------
    arch, n_classes, weights
        As in :func:`image_classifier`.
    trainable : {"all", "head", "head+norm"} or int, default="all"
        As there.
    image_size : int or None, default=None
        As there.
    """

    def __init__(self, arch, n_classes, weights=None, trainable="all", image_size=None):
        network = build_network(arch, n_classes, weights)
        size = input_size(arch, network, image_size)
        super().__init__(network, size, native_normalisation(arch))
        freeze(network, trainable)
        trained = weights is not None or isinstance(arch, torch.nn.Module)
        self.keeps_statistics = trained and trainable not in ("all", 0)

    def train(self, mode=True):
        """Training or evaluation mode; statistics that came with weights may stay as they are."""
        super().train(mode)
        if self.keeps_statistics:
            for module in self.modules():
                if isinstance(module, _KEEP_STATISTICS):
                    module.eval()
        return self


def freeze(network, trainable):
    """Let only some parameters of a network be trained.

    Parameters
    ----------
    network : torch.nn.Module
    trainable : {"all", "head", "head+norm"} or int
        All parameters; those of the head; those of head and normalisation layers; or all but the
        first so many parameter tensors.
    """
    names = [name for name, _ in network.named_parameters()]
    head, _ = head_of(network)
    kept = {name for name in names if name.startswith(f"{head}.")}
    if trainable == "all":
        kept = set(names)
    elif trainable == "head+norm":
        for prefix, module in network.named_modules():
            if isinstance(module, _NORMS):
                kept |= {f"{prefix}.{name}" for name, _ in module.named_parameters()}
    elif isinstance(trainable, Integral) and not isinstance(trainable, bool):
        if not 0 <= trainable < len(names):
            raise ValueError(
                f"trainable={trainable} leaves so many of {len(names)} parameter tensors frozen;"
                f" it must be in 0..{len(names) - 1}."
            )
        kept = set(names[trainable:])
    elif trainable != "head":
        raise ValueError(
            f"trainable={trainable!r} must be 'all', 'head', 'head+norm' or a number of parameter"
            " tensors that stay frozen."
        )
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in kept)


def image_classifier(arch, n_classes, *, weights=None, trainable="all", image_size=None, **kwargs):
    """A classifier of images, trained from scratch or from weights that are there already.

    Parameters
    ----------
    arch : str or torch.nn.Module
        A classification architecture of torchvision by name, "timm/..." one of timm, or a module.
    n_classes : int
        Number of classes: the head is made new, unless it has so many outputs.
    weights : None, "DEFAULT" or path, default=None
        None is random, "DEFAULT" those trained on ImageNet (downloaded), a path a state dict.
    trainable : {"all", "head", "head+norm"} or int, default="all"
        What is trained: all; the head only (transfer learning); head and normalisation layers;
        or all but the first so many parameter tensors. Unless all are trained, batch
        normalisation keeps the statistics that came with weights, or with a module.
    image_size : int, default=None
        Side to which images are resized inside the network; None is what the architecture was
        made for, and for a module the images' own size. Networks by name then take off the mean
        of their training data and divide by its deviation; a module gets pixels as they are.
    **kwargs
        Parameters of :class:`~skbackdoor.deep.BackdoorNetClassifier`.

    Returns
    -------
    classifier : BackdoorNetClassifier
        Not fitted. The arguments are its parameters ``module__arch``, ``module__trainable`` and so
        on, which a grid may search.

    Examples
    --------
    >>> import numpy as np
    >>> from skbackdoor.deep import image_classifier
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.random((8, 3, 32, 32)), np.repeat(["cat", "dog"], 4)
    >>> net = image_classifier(
    ...     "squeezenet1_1", 2, image_size=32, trainable="head", max_epochs=1, random_state=0)
    >>> net.fit(X, y).predict(X).shape
    (8,)
    """
    return BackdoorNetClassifier(
        ImageClassifier,
        module__arch=arch,
        module__n_classes=n_classes,
        module__weights=weights,
        module__trainable=trainable,
        module__image_size=image_size,
        **kwargs,
    )
