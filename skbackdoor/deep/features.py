"""A frozen backbone as a transformer: images to the output of one of its layers."""

from functools import partial
from numbers import Integral

import joblib
import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, check_memory, validate_data

from .._compat import Interval
from ..progress import progress
from .architectures import (
    build_network,
    channels_first,
    find_layer,
    head_of,
    input_size,
    native_normalisation,
)
from .device import choose_device
from .images import ImageNetwork, as_images, to_tensor
from .seeds import torch_seeded

_MAX_SEED = np.iinfo(np.int32).max
_PLAIN = (bool, int, float, str, tuple)


class DeepFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Features of images: what a layer of a frozen network makes of them.

    ``make_pipeline(DeepFeatures("alexnet", weights="DEFAULT"), LogisticRegression())`` inside a
    :class:`~skbackdoor.BackdoorPoisoner` is the transfer setting of Cinà et al., *Backdoor
    learning curves* (2024): the trigger acts on pixels, and the slope of the learner on the
    features is exact.

    Parameters
    ----------
    arch : str or torch.nn.Module
        A classification architecture of torchvision by name, "timm/..." one of timm, or a module.
    layer : str or None, default=None
        Name of the layer whose output is taken, as ``named_modules`` has it; None is the input of
        the head (the last linear layer). Maps are averaged over their places.
    weights : None, "DEFAULT" or path, default=None
        None is random, "DEFAULT" is downloaded, a path is a state dict.
    image_shape : tuple of two or three int, default=None
        (height, width) or (channels, height, width) of the flat images in a 2-D `X`.
    image_size : int, default=None
        Side to which the network's input is resized; None is what the architecture was made
        for, and for a module the images' own size. Networks by name then take off the mean of
        their training data and divide by its deviation; a module gets pixels as they are.
    batch_size : int, default=64
        Images at a time.
    device : str, default="auto"
        A torch device; "auto" is CUDA where there is one.
    memory : None, str or joblib.Memory, default=None
        Where features are kept, by image, so that a whole grid of C, all its folds, and all
        attacks and poison weights compute those of a clean image once. They are the ones of the
        batch in which it came first: in another one the last digits of a float32 may differ.
        Finding an image in the cache takes time: small networks are faster without.
    random_state : int, RandomState instance or None, default=None
        Draws random weights.

    Attributes
    ----------
    network_ : ImageNetwork
        The frozen network, in evaluation mode.
    layer_ : str
        Name of the layer.
    n_features_in_ : int
        Number of pixels. Only defined for flat images, that is 2-D `X`.

    Examples
    --------
    >>> import numpy as np
    >>> from skbackdoor.deep import DeepFeatures
    >>> images = np.random.default_rng(0).random((3, 3, 32, 32))
    >>> features = DeepFeatures("squeezenet1_1", image_size=32, random_state=0)
    >>> features.fit_transform(images).shape
    (3, 512)
    """

    _parameter_constraints: dict = {
        "arch": [str, torch.nn.Module],
        "layer": [str, None],
        "weights": "no_validation",
        "image_shape": [tuple, list, None],
        "image_size": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str, torch.device],
        "memory": [str, joblib.Memory, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        arch,
        *,
        layer=None,
        weights=None,
        image_shape=None,
        image_size=None,
        batch_size=64,
        device="auto",
        memory=None,
        random_state=None,
    ):
        self.arch = arch
        self.layer = layer
        self.weights = weights
        self.image_shape = image_shape
        self.image_size = image_size
        self.batch_size = batch_size
        self.device = device
        self.memory = memory
        self.random_state = random_state

    def fit(self, X, y=None):
        """Build the network; nothing is learned from `X` but its layout.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, height, width) or \
                (n_samples, channels, height, width)
            Images, floats in [0, 1] or uint8.
        y : None
            Ignored.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            An unknown architecture or layer, weights or images that do not fit, a device that is
            not there.
        """
        self._validate_params()
        images = self._check_images(X, reset=True)
        device = choose_device(self.device)
        seed = check_random_state(self.random_state).randint(_MAX_SEED)
        with torch_seeded(seed):
            network = build_network(self.arch, weights=self.weights)
        self.layer_, before = self._layer(network)
        size = input_size(self.arch, network, self.image_size)
        network = ImageNetwork(network, size, native_normalisation(self.arch))
        self.network_ = network.eval().requires_grad_(False).to(device)
        self._before, self._key = before, joblib.hash(_fingerprint(network))
        self._n_features_out = self._compute(images[:1]).shape[1]
        return self

    def transform(self, X):
        """Compute the features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, height, width) or \
                (n_samples, channels, height, width)
            Images.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features_out), float32
        """
        check_is_fitted(self, "network_")
        images = np.ascontiguousarray(self._check_images(X, reset=False))  # joblib hashes strides
        features = np.empty((len(images), self._n_features_out), dtype=np.float32)
        todo, key = np.arange(len(images)), (self._key, self.layer_, self._before)
        kept = check_memory(self.memory).cache(_kept, ignore=["compute"])
        if self.memory is not None:
            todo = np.array([
                i for i in todo if not kept.check_call_in_cache(*key, images[i], compute=None)
            ], dtype=int)  # fmt: skip
        starts = range(0, len(todo), self.batch_size)
        for start in progress(starts, len(starts), "features"):
            rows = todo[start : start + self.batch_size]
            features[rows] = self._compute(images[rows])
        if self.memory is not None:
            new = set(todo)
            for i, image in enumerate(images):
                row = features[i] if i in new else None
                features[i] = kept(*key, image, compute=partial(self._row, image, row))
        return features

    def _row(self, image, row):
        """Features of one image, unless they are known: it was kept, and is not any more."""
        return self._compute(image[None])[0] if row is None else row

    def _check_images(self, X, *, reset):
        given = X
        X = check_array(X, allow_nd=True, dtype=None, input_name="X", estimator=self)
        if X.dtype.kind not in "fiu":
            X = check_array(X, allow_nd=True, dtype=np.float32, input_name="X", estimator=self)
        if X.ndim == 2:
            validate_data(self, given, reset=reset, skip_check_array=True)
        return as_images(X, self.image_shape)

    def _layer(self, network):
        """Name of the layer, and whether its input is taken in place of its output."""
        if self.layer is None:
            return head_of(network)[0], True
        return find_layer(network, self.layer)[0], False

    def _compute(self, images):
        """Features of one batch."""
        network, found = self.network_, []
        module = network.network.get_submodule(self.layer_)

        def keep(module, args, output=None):
            found.append(args[0] if self._before else output)
            raise _Found

        register = (
            module.register_forward_pre_hook if self._before else module.register_forward_hook
        )
        hook = register(keep)
        try:
            with torch.inference_mode():
                network(to_tensor(images, network.mean.device))
        except _Found:
            pass
        finally:
            hook.remove()
        if not found:
            raise ValueError(f"layer={self.layer_!r} has no part in the network's output.")
        features = found[0] if self._before else channels_first(module, found[0])
        if features.ndim == 4:
            features = features.mean(dim=(2, 3))
        return features.flatten(1).float().cpu().numpy()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class _Found(Exception):
    """The layer is reached; what comes after it need not be computed."""


def _kept(key, layer, before, image, compute):
    """What is kept: by network, layer, its side and image."""
    return compute()


def _fingerprint(network):
    """What a network computes by: its weights, and the class, code and settings of each part."""
    parts = [
        (
            name,
            type(part).__qualname__,
            _code(type(part).forward),
            sorted((key, value) for key, value in vars(part).items() if isinstance(value, _PLAIN)),
        )
        for name, part in network.named_modules()
    ]
    tensors = [*network.named_parameters(), *network.named_buffers()]  # normalisation as well
    return parts, [(name, value.cpu().numpy()) for name, value in tensors]


def _code(function):
    code = getattr(function, "__code__", function)
    if not hasattr(code, "co_code"):
        return repr(type(code))  # compiled: its weights and settings must do
    constants = [_code(c) if hasattr(c, "co_code") else c for c in code.co_consts]
    return code.co_code, code.co_names, constants
