"""What a network is given, checked: parameters, samples, labels, and the logits that it makes."""

from numbers import Integral

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from .images import as_images


def check_parameters(net):
    """Raise for a batch size or a regularizer that cannot be used."""
    size = net.batch_size
    if not isinstance(size, Integral) or (size < 1 and size != -1):
        raise ValueError(f"batch_size={size!r} must be an integer above 0, or -1 for all.")
    if isinstance(net.regularizer, type):
        name = net.regularizer.__name__
        raise ValueError(f"regularizer={name} is a class: pass an instance, {name}().")
    if isinstance(net.regularizer, BaseEstimator):
        net.regularizer._validate_params()


def check_samples(net, X, *, reset=False):
    """X as a contiguous array of float32, or of uint8."""
    dtype = np.uint8 if getattr(X, "dtype", None) == np.uint8 else np.float32
    images = getattr(X, "ndim", 2) > 2 or net.image_shape is not None
    if images and np.asarray(X).dtype.kind in "iu" and dtype != np.uint8:
        raise ValueError(
            f"X holds pixels of dtype {np.asarray(X).dtype}: pass uint8, which counts to 255,"
            " or floats in [0, 1]."
        )
    if getattr(X, "ndim", 2) > 2:
        X = check_array(X, allow_nd=True, dtype=dtype, input_name="X", estimator=net)
    else:
        X = validate_data(net, X, reset=reset, dtype=dtype)
        X = X if net.image_shape is None else as_images(X, net.image_shape)
    return np.require(X, requirements=["C", "W"])


def check_labels(y, n_samples):
    """Labels as an array of shape (n_samples,)."""
    if y is None:
        raise ValueError(
            "BackdoorNetClassifier requires y to be passed, but the target y is None."
        )
    y = column_or_1d(y, warn=True)
    check_classification_targets(y)
    if len(y) != n_samples:
        raise ValueError(f"X and y have inconsistent lengths: {n_samples} and {len(y)}.")
    return y


def label_index(classes, y):
    """Labels as indices into the sorted classes."""
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(
            f"y holds the labels {unknown[:5].tolist()}, which are none of the classes"
            f" {classes.tolist()}."
        )
    return torch.as_tensor(np.searchsorted(classes, y))


def check_logits(net, X, device):
    """Raise if the network does not give one logit a class, before it is trained."""
    net._set_training(False)
    with torch.no_grad():
        logits = net.infer(torch.tensor(X, device=device))  # a copy: it may change its input
    classes = net.classes_.tolist()
    if logits.ndim != 2 or logits.shape[1] != len(classes):
        raise ValueError(
            f"The network gives outputs of shape {tuple(logits.shape[1:])} for a sample, and y"
            f" has {len(classes)} classes {classes[:10]}: it must give one logit a class. Pass"
            " classes=... if the training data lack some."
        )
