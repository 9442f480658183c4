"""The training loss of a batch, linear in the sample weights, and gradients of its parts."""

from copy import deepcopy

import numpy as np
import torch

from .architectures import check_tensor, find_layer, head_of
from .batches import Batches


def weighted_mean(losses, weight):
    """Mean over the batch of weight times loss: never divided by the sum of the weights."""
    if losses.shape != weight.shape:
        raise ValueError(
            "The criterion must give one loss a sample, so that weights can act on it:"
            " criterion__reduction='none'."
        )
    return torch.mean(weight * losses)


def weighted_accuracy(logits, y, weight):
    """Share of the weight on samples whose largest logit is that of their label."""
    hits = (logits.argmax(dim=1) == y).float()
    return (weight * hits).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def loss_of_batch(net, inputs, y, fit_params):
    """Loss, with augmentation and regularizer, and logits of a batch of training samples.

    A regularizer that ``replaces_loss`` gives all of the loss, and the criterion has no part.

    Parameters
    ----------
    net : BackdoorNetClassifier
        In training mode.
    inputs : dict
        {"X": samples, "sample_weight": weights}.
    y : torch.Tensor of shape (n_samples,)
        Label indices.
    fit_params : dict
        Of the network's forward pass.

    Returns
    -------
    loss : torch.Tensor of shape ()
    logits : torch.Tensor of shape (n_samples, n_classes)
        Those that the loss is made of.
    """
    X, weight = inputs["X"], inputs["sample_weight"]
    X = X.float() / 255 if X.dtype == torch.uint8 else X
    if net.augment is not None:
        X = net.augment(X)
    penalty = None
    try:
        if net.regularizer is None:
            logits = net.infer(X, **fit_params)
        else:
            logits, penalty = net.regularizer(net._run, X, y, weight)
    except ValueError as error:
        if len(X) > 1 or "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            "The last batch holds a single sample, of which batch normalisation cannot take a"
            f" variance: choose another batch_size than {net.batch_size}."
        ) from error
    if penalty is not None and getattr(net.regularizer, "replaces_loss", False):
        return weighted_mean(penalty, weight), logits
    loss = net.get_loss(logits, y, X=inputs, training=True)
    if penalty is not None:
        loss = loss + torch.mean(weight * penalty)
    return loss, logits


def run_with_layer(net, X, layer=None, change=None):
    """Logits of X and the output of a hidden layer, which `change` may replace.

    Parameters
    ----------
    net : BackdoorNetClassifier
        Initialized.
    X : torch.Tensor of shape (n_samples, ...)
        A batch, on the network's device.
    layer : str or None, default=None
        Name of the layer; None is the input of the head.
    change : callable, default=None
        From the output of the layer to what the rest of the network gets.

    Returns
    -------
    logits : torch.Tensor of shape (n_samples, n_classes)
    output : torch.Tensor of shape (n_samples, ...)
    """
    found = []

    def keep(output):
        found.append(output if change is None else change(output))
        return found[0].clone()  # what comes next may work in place

    def after(module, args, output):
        return keep(check_tensor(module, output))

    def before(module, args):
        return (keep(args[0]), *args[1:])

    if layer is None:
        hook = head_of(net.module_)[1].register_forward_pre_hook(before)
    else:
        hook = find_layer(net.module_, layer)[1].register_forward_hook(after)
    try:
        logits = net.infer(X)
    finally:
        hook.remove()
    if not found:
        raise ValueError(f"layer={layer!r} has no part in the network's output.")
    return logits, found[0]


def losses_of_labels(criterion, logits):
    """Loss of each sample under each label, (n_samples, n_classes)."""
    logits, criterion = logits.double(), deepcopy(criterion).cpu().double()
    labels = torch.arange(logits.shape[1])[:, None].expand(-1, len(logits))
    with torch.no_grad():
        return torch.stack([criterion(logits, y) for y in labels], dim=1).numpy()


def gradient_of_class(net, data, class_label):
    """Gradient of a class's decision value in the samples, by autograd, batch by batch.

    Parameters
    ----------
    net : BackdoorNetClassifier
        Fitted; its device is resolved.
    data : TensorData
        The samples.
    class_label : label
        The class: its logit; of two classes how much larger it is than the other one.

    Returns
    -------
    gradient : ndarray of shape (n_samples, ...), float32
        Per unit of the samples: uint8 pixels count from 0 to 255.
    """
    classes, parts = net.classes_.tolist(), []
    if class_label not in classes:
        raise ValueError(f"class_label={class_label!r} is none of the classes {classes}.")
    k = classes.index(class_label)
    net._set_training(False)
    for batch, _ in Batches(data, net.batch_size):
        pixels = batch["X"]
        unit = 255 if pixels.dtype == torch.uint8 else 1
        inputs = (pixels.float() / unit).requires_grad_()
        logits = net.infer(inputs)
        value = logits[:, k] - logits[:, 1 - k] if logits.shape[1] == 2 else logits[:, k]
        (gradient,) = torch.autograd.grad(value.sum(), inputs)
        parts.append((gradient / unit).cpu().numpy())
    return np.concatenate(parts)
