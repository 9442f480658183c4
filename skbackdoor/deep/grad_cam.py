"""Class activation maps and maps of features."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate

from .architectures import channels_first, find_layer, head_of
from .images import as_images, to_tensor
from .loss import run_with_layer


def _layer_of(net, layer):
    """Name and module of the layer that is meant."""
    if not hasattr(net, "module_"):
        raise TypeError(
            "A fitted BackdoorNetClassifier is needed; of a BackdoorPoisoner pass its estimator_."
            f" Got {type(net).__name__}."
        )
    module = net.module_
    if layer is None:
        maps = [name for name, m in module.named_modules() if isinstance(m, nn.Conv2d)]
        if not maps:
            raise ValueError("The network has no convolution: name a layer that gives maps.")
        last = maps[-1]
        if len(maps) > 1 and last == head_of(module)[0]:
            last = maps[-2]  # a convolution that gives the logits
        weighty = [
            name
            for name, m in module.named_modules()
            if next(m.parameters(False), None) is not None
        ]
        after = len(weighty) - 1 - weighty.index(last)
        if after > 10:  # layers with parameters: more than a head has
            raise ValueError(
                f"The network's last convolution, {last!r}, is not near its end ({after} layers"
                " follow): name the layer that is meant."
            )
        layer = last
    return find_layer(module, layer)


def _maps(net, X, layer):
    """Images as a tensor, logits, the layer and its maps as it gives them, with a graph."""
    name, layer = _layer_of(net, layer)
    device = next(net.module_.parameters()).device
    images = to_tensor(as_images(np.asarray(X), net.image_shape), device).requires_grad_()
    net.module_.eval()
    logits, maps = run_with_layer(net, images, name)
    if maps.ndim != 4:
        raise ValueError(
            f"layer={name!r} gives outputs of shape {tuple(maps.shape)}; maps have four"
            " dimensions."
        )
    return images, logits, layer, maps


def feature_maps(net, X, layer=None):
    """What a layer makes of images: its maps, averaged over nothing.

    Their difference between clean and triggered images shows what answers to the trigger (Abad et
    al., *A systematic evaluation of backdoor trigger characteristics in image classification*,
    2023, Fig. 19).

    Parameters
    ----------
    net : BackdoorNetClassifier
        Fitted.
    X : array-like of shape (n_samples, ...)
        Images.
    layer : str or None, default=None
        Name of the layer; None is the last convolution.

    Returns
    -------
    maps : ndarray of shape (n_samples, n_maps, height, width)
    """
    with torch.no_grad():
        _, _, layer, maps = _maps(net, X, layer)
        return channels_first(layer, maps).float().cpu().numpy()


def grad_cam(net, X, class_label, layer=None):
    r"""Where a network finds a class in images.

    .. math:: M = \max\left(0, \sum_k \bar g_k A_k\right)

    with the maps A of a layer and the means over places, :math:`\bar g`, of the gradients of the
    class's logit with respect to them (Selvaraju et al., *Grad-CAM*, 2017).

    Parameters
    ----------
    net : BackdoorNetClassifier
        Fitted.
    X : array-like of shape (n_samples, ...)
        Images.
    class_label : label
        Of the class that is looked for.
    layer : str or None, default=None
        Name of the layer; None is the last convolution.

    Returns
    -------
    maps : ndarray of shape (n_samples, height, width)
        In the size of the images, from 0; an image's largest value is 1, unless all is 0.

    Raises
    ------
    ValueError
        A label that the network does not know, a layer that it does not have.
    """
    classes = net.classes_.tolist() if hasattr(net, "classes_") else []
    if hasattr(net, "module_") and class_label not in classes:
        raise ValueError(f"class_label={class_label!r} is none of the classes {classes}.")
    images, logits, layer, maps = _maps(net, X, layer)
    (gradients,) = torch.autograd.grad(logits[:, classes.index(class_label)].sum(), maps)
    gradients, maps = (channels_first(layer, part) for part in (gradients, maps))
    seen = (gradients.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True).clamp(min=0)
    seen = interpolate(seen.detach(), images.shape[-2:], mode="bilinear", align_corners=False)
    seen = seen[:, 0].float().cpu().numpy()
    largest = seen.max(axis=(1, 2), keepdims=True)
    return seen / np.where(largest > 0, largest, 1.0)
