"""A skorch network that behaves as a scikit-learn classifier.

The class is long because skorch has many methods to override and all public ones say what they
take and return; what they compute is in the files beside it.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from inspect import signature

import numpy as np
import skorch
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNetClassifier
from skorch.callbacks import EpochTimer, PassthroughScoring, PrintLog
from skorch.dataset import ValidSplit, unpack_data
from torch.utils.data import Dataset

from .._compat import _check_sample_weight
from .batches import Batches, ShuffledBatches, TensorData
from .device import Device, choose_device, resolved_device
from .inputs import check_labels, check_logits, check_parameters, check_samples, label_index
from .loss import (
    gradient_of_class,
    loss_of_batch,
    losses_of_labels,
    run_with_layer,
    weighted_accuracy,
    weighted_mean,
)
from .seeds import own_random_numbers, with_torch_seed


class BackdoorNetClassifier(NeuralNetClassifier):
    r"""A torch network as a scikit-learn classifier.

    The objective of a batch B is linear in the sample weights s, so that a poison weight means in
    a network what it means in any learner:

    .. math:: \frac{1}{|B|} \sum_{i \in B} s_i
              \left(\ell(F_i, y_i) + \lambda R_i\right)

    with the criterion :math:`\ell`, cross-entropy, and a regularizer R where one is given, which
    may also replace both terms (:class:`~skbackdoor.deep.ManifoldMixup`).

    Parameters
    ----------
    module : torch.nn.Module (class or instance)
        Gives one logit a class. Its parameters are ``module__...``; a class that has one called
        `n_classes` gets it, unless it is given.
    criterion : torch loss, default=torch.nn.CrossEntropyLoss
        Gives one loss a sample (``criterion__reduction="none"``, which is the default here).
        ``criterion__label_smoothing`` is label smoothing.
    optimizer : torch optimizer, default=torch.optim.AdamW
        ``optimizer__weight_decay`` is weight decay; only trainable parameters get there.
    lr : float, default=1e-3
        Learning rate.
    max_epochs : int, default=10
        Passes over the training data.
    batch_size : int, default=128
        Samples in a batch; -1 is all.
    regularizer : object, default=None
        One of :mod:`skbackdoor.deep`, such as :class:`~skbackdoor.deep.LogitSqueezing`. Its
        parameters are searched as ``regularizer__strength`` and so on.
    augment : callable, default=None
        From a batch of training samples (float32, on the device) to another one; its random
        numbers are torch's.
    mixed_precision : bool, default=False
        Whether forward passes run in bfloat16, where the device has it.
    image_shape : tuple of two or three int, default=None
        (height, width) or (channels, height, width) of the flat images in a 2-D `X`.
    train_split : None or skorch.dataset.ValidSplit, default=None
        What is held out for `valid_loss` and `valid_acc`, by which callbacks such as
        :class:`skorch.callbacks.EarlyStopping` decide.
    classes : array-like or None, default=None
        The labels, where training data may lack some; None is those of `y`.
    device : str, default="auto"
        A torch device; "auto" is CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Fixes initial weights (of a `module` given as a class), order of batches, dropout,
        augmentation and what `train_split` holds out.
    verbose : int, default=0
        Whether epochs are printed.
    **kwargs
        As in :class:`skorch.NeuralNetClassifier`: callbacks, ``optimizer__...`` and so on.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    module_ : torch.nn.Module
        The fitted network.
    history_ : skorch History
        Losses of each epoch.
    n_features_in_ : int
        Number of features. Only defined for 2-D `X`.

    Notes
    -----
    Training data go to the device once, uint8 pixels as such; they become floats in [0, 1] there.
    All other data are float32.

    Torch has one state of random numbers for all threads, so that fits in threads of one process
    wait for each other; processes, joblib's default, do not.

    Optimizers that divide a gradient by its own size, such as AdamW, take full steps where only
    poison of the smallest weight asks for them: the fit jumps as soon as the weight leaves 0. The
    slope of such a network is reported as a secant, which depends on its h; for a derivative
    train with ``optimizer=torch.optim.SGD``.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from skbackdoor.deep import BackdoorNetClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    >>> net = BackdoorNetClassifier(network, lr=0.02, max_epochs=30, random_state=0)
    >>> net.fit(X, y).score(X, y) > 0.9
    True
    """

    device = Device()
    _run = run_with_layer  # what a regularizer is called with

    def __init__(
        self,
        module,
        *,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=1e-3,
        max_epochs=10,
        batch_size=128,
        regularizer=None,
        augment=None,
        mixed_precision=False,
        image_shape=None,
        train_split=None,
        classes=None,
        iterator_train=ShuffledBatches,
        iterator_valid=Batches,
        device="auto",
        random_state=None,
        verbose=0,
        criterion__reduction="none",
        **kwargs,
    ):
        super().__init__(
            module,
            criterion=criterion,
            optimizer=optimizer,
            lr=lr,
            max_epochs=max_epochs,
            batch_size=batch_size,
            train_split=train_split,
            classes=classes,
            iterator_train=iterator_train,
            iterator_valid=iterator_valid,
            device=device,
            verbose=verbose,
            criterion__reduction=criterion__reduction,
            **kwargs,
        )
        self.regularizer = regularizer
        self.augment = augment
        self.mixed_precision = mixed_precision
        self.image_shape = image_shape
        self.random_state = random_state

    # -- fit ---------------------------------------------------------------------------------

    def fit(self, X, y, sample_weight=None):
        """Train the network from the start (with `warm_start`, from where it is).

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples: features, flat images, or images (n_samples, channels, height, width).
        y : array-like of shape (n_samples,)
            Labels of any type.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples' losses.

        Returns
        -------
        self : BackdoorNetClassifier

        Raises
        ------
        ValueError
            For labels that the network has no output for, images that do not fit, a device that
            is not there, a batch of one sample before batch normalisation.
        """
        fresh = not (self.warm_start and hasattr(self, "classes_"))
        return self._train(X, y, sample_weight, fresh, reset=True)

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Go on training for another `max_epochs`.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.
        y : array-like of shape (n_samples,)
            Labels; after the first call, among those known.
        classes : array-like, default=None
            All labels, at the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples' losses.

        Returns
        -------
        self : BackdoorNetClassifier
        """
        fresh = not hasattr(self, "classes_")
        return self._train(X, y, sample_weight, fresh, reset=fresh, classes=classes)

    def _train(self, X, y, sample_weight, fresh, reset, classes=None):
        check_parameters(self)
        X = check_samples(self, X, reset=reset)
        y = check_labels(y, len(X))
        if fresh:
            known = self.classes if self.classes is not None else classes
            self.classes_inferred_ = np.unique(y if known is None else known)
        if len(self.classes_inferred_) < 2:
            raise ValueError(
                "BackdoorNetClassifier needs at least two classes, but y holds only 1 class:"
                f" {self.classes_inferred_.tolist()}."
            )
        y_index, weight = label_index(self.classes_inferred_, y), None
        if sample_weight is not None:
            weight = torch.as_tensor(_check_sample_weight(sample_weight, X, dtype=np.float32))
        with resolved_device(self) as device, own_random_numbers(self, device, fresh):
            if fresh:
                self.initialize()
            check_logits(self, X[:2], device)
            data = TensorData(torch.as_tensor(X), y_index, weight, device)
            super().partial_fit(data, y_index.numpy())
        if not all(torch.isfinite(p).all() for p in self.module_.parameters()):
            raise ValueError(
                "Training gave parameters that are not finite. Scale X, or lower the learning rate"
                f" lr={self.lr}."
            )
        return self

    # -- what skorch calls -------------------------------------------------------------------

    @property
    def _default_callbacks(self):
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
            ("valid_acc", PassthroughScoring(name="valid_acc", lower_is_better=False)),
            ("print_log", PrintLog()),
        ]

    def check_data(self, X, y):
        """Nothing: data are checked already."""

    def set_params(self, **params):
        """Set parameters; those of the regularizer are ``regularizer__...``.

        Parameters
        ----------
        **params : dict
            Parameters by name.

        Returns
        -------
        self : BackdoorNetClassifier
        """
        own = {key: params.pop(key) for key in list(params) if key.startswith("regularizer__")}
        self.device = params.pop("device", self.device)
        with resolved_device(self) if self.initialized_ else nullcontext():
            super().set_params(**params)
        if self.initialized_ and "callbacks" in params:
            self._initialize_callbacks()  # skorch keeps those of before
        return BaseEstimator.set_params(self, **own)  # skorch takes them for its own

    def initialize(self):
        """Make the network anew, not trained.

        Returns
        -------
        self : BackdoorNetClassifier
        """
        with resolved_device(self):
            return super().initialize()

    def load_params(self, *args, **kwargs):
        """Load parameters that skorch saved, by file or checkpoint.

        Parameters
        ----------
        *args, **kwargs
            As in :meth:`skorch.net.NeuralNet.load_params`.
        """
        with resolved_device(self):
            super().load_params(*args, **kwargs)

    def get_iterator(self, dataset, training=False):
        """Batches of our data, or of a skorch Dataset with labels (``predefined_split``)."""
        if isinstance(dataset, skorch.dataset.Dataset):
            y = label_index(self.classes_inferred_, np.asarray(dataset.y))
            X = torch.as_tensor(check_samples(self, dataset.X))
            dataset = TensorData(X, y, None, torch.device(self.device))
        return super().get_iterator(dataset, training)

    def get_params_for(self, prefix):
        """Parameters of a part; a module with a parameter `n_classes` gets it."""
        params = super().get_params_for(prefix)
        if prefix == "module" and isinstance(self.module, type) and hasattr(self, "classes_"):
            if "n_classes" in signature(self.module).parameters:
                params = {"n_classes": len(self.classes_)} | params
        return params

    def initialized_instance(self, instance_or_cls, kwargs):
        """A module that is given as an instance is copied: parameters are never changed."""
        instance = super().initialized_instance(instance_or_cls, kwargs)
        given = isinstance(instance, torch.nn.Module) and instance is instance_or_cls
        return deepcopy(instance) if given else instance

    def get_split_datasets(self, X, y=None, **fit_params):
        """Data to train on and held-out ones, drawn by the seed of this fit."""
        dataset, split = self.get_dataset(X, y), self.train_split
        if not split:
            return dataset, None
        if isinstance(split, ValidSplit):
            split = with_torch_seed(split)
            split.cv = with_torch_seed(split.cv)
        return split(dataset, *(() if y is None else (y,)), **fit_params)

    def __setstate__(self, state):
        given = state["device"]
        if given == "auto":
            state = state | {"device": str(choose_device(given))}
        super().__setstate__(state)
        if given == "auto":
            self.device = given

    def get_dataset(self, X, y=None):
        """Samples as skorch wants them: on the device, without labels."""
        if isinstance(X, Dataset):
            return X
        return TensorData(torch.as_tensor(X), None, None, torch.device(self.device))

    def _get_params_for_optimizer(self, prefix, named_parameters):
        trainable = [(name, p) for name, p in named_parameters if p.requires_grad]
        return super()._get_params_for_optimizer(prefix, trainable)

    def infer(self, x, **fit_params):
        """Logits of a batch."""
        if isinstance(x, Mapping):
            x = x["X"]
        if x.dtype == torch.uint8:
            x = x.float() / 255
        device = next(self.module_.parameters()).device
        x = x.to(device)
        if not self.mixed_precision:
            return self.module_(x, **fit_params)
        with torch.autocast(device.type, torch.bfloat16):
            return self.module_(x, **fit_params).float()

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Mean over the batch of weight times loss: linear in the weights."""
        return weighted_mean(self.criterion_(y_pred, y_true), X["sample_weight"])

    def train_step_single(self, batch, **fit_params):
        """Forward and backward pass of a batch, with augmentation and regularizer."""
        self._set_training(True)
        inputs, y = unpack_data(batch)
        loss, logits = loss_of_batch(self, inputs, y, fit_params)
        loss.backward()
        return {"loss": loss, "y_pred": logits}

    def validation_step(self, batch, **fit_params):
        """Loss and accuracy on held-out samples."""
        step = super().validation_step(batch, **fit_params)
        inputs, y = unpack_data(batch)
        accuracy = weighted_accuracy(step["y_pred"], y, inputs["sample_weight"])
        self.history.record_batch("valid_acc", accuracy.item())
        return step

    # -- predict -----------------------------------------------------------------------------

    def _logits(self, X):
        """Logits, shape (n_samples, n_classes)."""
        check_is_fitted(self, "classes_inferred_")
        data = X if isinstance(X, Dataset) else check_samples(self, X)
        with resolved_device(self):
            return self.forward(data).float().numpy()

    def decision_function(self, X):
        """Logits; of two classes how much larger the second one is.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        decisions : ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def decision_gradient(self, X, class_label):
        """Gradient of a class's decision value with respect to X, by autograd.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.
        class_label : label
            The class: its logit; of two classes how much larger it is than the other one.

        Returns
        -------
        gradient : ndarray of the shape of X, float32
            Per unit of X: uint8 pixels count from 0 to 255.
        """
        check_is_fitted(self, "classes_inferred_")
        with resolved_device(self):
            data = self.get_dataset(check_samples(self, X))
            return gradient_of_class(self, data, class_label).reshape(np.shape(X))

    def predict_proba(self, X):
        """Class probabilities: the softmax of the logits.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            One column a class, in the order of `classes_`; rows sum to 1.
        """
        logits = self._logits(X).astype(np.float64)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def label_losses(self, X):
        """Loss of each sample under each label, without weight and regularizer.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        losses : ndarray of shape (n_samples, n_classes)
            One column a label, in the order of `classes_`.
        """
        return losses_of_labels(self.criterion_, torch.as_tensor(self._logits(X)))

    @property
    def smooth_in_weights(self):
        """Whether small weights move the fit but little: not if steps are scaled by gradients."""
        return self.optimizer is torch.optim.SGD

    def predict(self, X):
        """The labels of the largest logits.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            For the data sets that skorch's callbacks pass, which hold indices in place of labels,
            indices.
        """
        best = self._logits(X).argmax(axis=1)
        return best if isinstance(X, Dataset) else self.classes_inferred_[best]

    @property
    def classes_(self):
        """The labels."""
        if "classes_inferred_" not in self.__dict__:
            raise AttributeError("classes_ are known after fit.")
        return self.classes_inferred_
