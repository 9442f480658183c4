"""A skorch network that behaves as a scikit-learn classifier."""

from collections.abc import Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from copy import copy, deepcopy
from inspect import signature
from numbers import Integral

import numpy as np
import skorch
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from skorch import NeuralNetClassifier
from skorch.callbacks import EpochTimer, PassthroughScoring, PrintLog
from skorch.dataset import ValidSplit, unpack_data
from torch.utils.data import Dataset

from .architectures import check_tensor, find_layer, head_of
from .batches import Batches, ShuffledBatches, TensorData
from .images import as_images, choose_device
from .seeds import torch_seeded

_MAX_SEED = np.iinfo(np.int32).max
#: Networks, by id, that skorch works for in this thread, and the devices that are meant.
_WORKING = ContextVar("working", default=())


class BackdoorNetClassifier(NeuralNetClassifier):
    r"""A torch network as a scikit-learn classifier.

    The objective of a batch B is linear in the sample weights s, so that a poison weight means in
    a network what it means in any learner:

    .. math:: \frac{1}{|B|} \sum_{i \in B} s_i
              \left(\ell(F_i, y_i) + \lambda R_i\right)

    with the criterion :math:`\ell`, cross-entropy, and a regularizer R where one is given.

    Parameters
    ----------
    module : torch.nn.Module (class or instance)
        Gives one logit a class. Its parameters are ``module__...``; a class that has one called
        `n_classes` is told, unless it is given.
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
        weight is searched as ``regularizer__strength``.
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
        if y is None:
            raise ValueError(
                "BackdoorNetClassifier requires y to be passed, but the target y is None."
            )
        self._check_parameters()
        X = self._check(X, reset=reset)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if len(y) != len(X):
            raise ValueError(f"X and y have inconsistent lengths: {len(X)} and {len(y)}.")
        if fresh:
            known = self.classes if self.classes is not None else classes
            self.classes_inferred_ = np.unique(y if known is None else known)
        if len(self.classes_inferred_) < 2:
            raise ValueError(
                "BackdoorNetClassifier needs at least two classes, but y holds only 1 class:"
                f" {self.classes_inferred_.tolist()}."
            )
        y_index, weight = self._label_index(y), None
        if sample_weight is not None:
            weight = torch.as_tensor(_check_sample_weight(sample_weight, X, dtype=np.float32))
        with self._resolved_device() as device, self._seeded(fresh, device):
            if fresh:
                self.initialize()
            self._check_outputs(X[:2], device)
            data = TensorData(torch.as_tensor(X), y_index, weight, device)
            super().partial_fit(data, y_index.numpy())
        if not all(torch.isfinite(p).all() for p in self.module_.parameters()):
            raise ValueError(
                "Training gave parameters that are not finite. Scale X, or lower the learning rate"
                f" lr={self.lr}."
            )
        return self

    def _label_index(self, y):
        """Labels as indices into the classes."""
        unknown = np.setdiff1d(y, self.classes_inferred_)
        if len(unknown):
            raise ValueError(
                f"y holds the labels {unknown[:5].tolist()}, which are none of the classes"
                f" {self.classes_inferred_.tolist()}."
            )
        return torch.as_tensor(np.searchsorted(self.classes_inferred_, y))

    def _check_parameters(self):
        size = self.batch_size
        if not isinstance(size, Integral) or (size < 1 and size != -1):
            raise ValueError(f"batch_size={size!r} must be an integer above 0, or -1 for all.")
        if isinstance(self.regularizer, type):
            name = self.regularizer.__name__
            raise ValueError(f"regularizer={name} is a class: pass an instance, {name}().")
        if isinstance(self.regularizer, BaseEstimator):
            self.regularizer._validate_params()

    def _check(self, X, *, reset=False):
        """X as a contiguous array of float32, or of uint8."""
        dtype = np.uint8 if getattr(X, "dtype", None) == np.uint8 else np.float32
        images = getattr(X, "ndim", 2) > 2 or self.image_shape is not None
        if images and np.asarray(X).dtype.kind in "iu" and dtype != np.uint8:
            raise ValueError(
                f"X holds pixels of dtype {np.asarray(X).dtype}: pass uint8, which counts to 255,"
                " or floats in [0, 1]."
            )
        if getattr(X, "ndim", 2) > 2:
            X = check_array(X, allow_nd=True, dtype=dtype, input_name="X", estimator=self)
        else:
            X = validate_data(self, X, reset=reset, dtype=dtype)
            X = X if self.image_shape is None else as_images(X, self.image_shape)
        return np.require(X, requirements=["C", "W"])

    def _check_outputs(self, X, device):
        """One forward pass, so that a network that does not fit says so before it is trained."""
        self._set_training(False)
        with torch.no_grad():
            logits = self.infer(torch.tensor(X, device=device))  # a copy: it may change its input
        if logits.ndim != 2 or logits.shape[1] != len(self.classes_inferred_):
            raise ValueError(
                f"The network gives outputs of shape {tuple(logits.shape[1:])} for a sample, and y"
                f" has {len(self.classes_inferred_)} classes"
                f" {self.classes_inferred_.tolist()[:10]}: it must give one logit a class. Pass"
                " classes=... if the training data lack some."
            )

    @property
    def device(self):
        """As it was given; to skorch, which knows no "auto", the one that is meant."""
        return dict(_WORKING.get()).get(id(self), self.__dict__["device"])

    @device.setter
    def device(self, device):
        if id(self) not in dict(_WORKING.get()):  # skorch may not: it would write "auto" over
            self.__dict__["device"] = device

    @contextmanager
    def _resolved_device(self):
        """While skorch works in this thread, it sees the torch device that is meant."""
        device = choose_device(self.device)
        before = _WORKING.set((*_WORKING.get(), (id(self), str(device))))
        try:
            yield device
        finally:
            _WORKING.reset(before)

    @contextmanager
    def _seeded(self, fresh, device):
        """Random numbers of our own, which go on at the next `partial_fit`."""
        if fresh or not hasattr(self, "random_numbers_"):
            seed = int(check_random_state(self.random_state).randint(_MAX_SEED))
        else:
            seed = self.random_numbers_
        devices = range(torch.cuda.device_count()) if device.type == "cuda" else []
        with torch_seeded(seed, devices):
            yield
            self.random_numbers_ = int(torch.randint(_MAX_SEED, ()))

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
        with self._resolved_device() if self.initialized_ else nullcontext():
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
        with self._resolved_device():
            return super().initialize()

    def load_params(self, *args, **kwargs):
        """Load parameters that skorch saved, by file or checkpoint.

        Parameters
        ----------
        *args, **kwargs
            As in :meth:`skorch.net.NeuralNet.load_params`.
        """
        with self._resolved_device():
            super().load_params(*args, **kwargs)

    def get_iterator(self, dataset, training=False):
        """Batches of our data, or of a skorch Dataset with labels (``predefined_split``)."""
        if isinstance(dataset, skorch.dataset.Dataset):
            y = self._label_index(np.asarray(dataset.y))
            X = torch.as_tensor(self._check(dataset.X))
            dataset = TensorData(X, y, None, torch.device(self.device))
        return super().get_iterator(dataset, training)

    def get_params_for(self, prefix):
        """Parameters of a part; a module that wants `n_classes` is told, unless it was."""
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
            split = _with_seed(split)
            split.cv = _with_seed(split.cv)
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
        losses = self.criterion_(y_pred, y_true)
        if losses.shape != y_true.shape:
            raise ValueError(
                "The criterion must give one loss a sample, so that weights can act on it:"
                " criterion__reduction='none'."
            )
        return torch.mean(X["sample_weight"] * losses)

    def train_step_single(self, batch, **fit_params):
        """Forward and backward pass of a batch, with augmentation and regularizer."""
        self._set_training(True)
        inputs, y = unpack_data(batch)
        X = inputs["X"]
        X = X.float() / 255 if X.dtype == torch.uint8 else X
        if self.augment is not None:
            X = self.augment(X)
        try:
            if self.regularizer is None:
                logits, penalty = self.infer(X, **fit_params), None
            else:
                logits, penalty = self.regularizer(self._run, X, y, inputs["sample_weight"])
        except ValueError as error:
            if len(X) > 1 or "more than 1 value per channel" not in str(error):
                raise
            raise ValueError(
                "The last batch holds a single sample, of which batch normalisation cannot take a"
                f" variance: choose another batch_size than {self.batch_size}."
            ) from error
        loss = self.get_loss(logits, y, X=inputs, training=True)
        if penalty is not None:
            loss = loss + torch.mean(inputs["sample_weight"] * penalty)
        loss.backward()
        return {"loss": loss, "y_pred": logits}

    def _run(self, X, layer=None, change=None):
        """Logits of X and the output of a hidden layer, which `change` may replace.

        `layer` None is the input of the head.
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
            hook = head_of(self.module_)[1].register_forward_pre_hook(before)
        else:
            hook = find_layer(self.module_, layer)[1].register_forward_hook(after)
        try:
            logits = self.infer(X)
        finally:
            hook.remove()
        if not found:
            raise ValueError(f"layer={layer!r} has no part in the network's output.")
        return logits, found[0]

    def validation_step(self, batch, **fit_params):
        """Loss and accuracy on held-out samples."""
        step = super().validation_step(batch, **fit_params)
        inputs, y = unpack_data(batch)
        hits, weight = (step["y_pred"].argmax(dim=1) == y).float(), inputs["sample_weight"]
        share = (weight * hits).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
        self.history.record_batch("valid_acc", share.item())
        return step

    # -- predict -----------------------------------------------------------------------------

    def _logits(self, X):
        """Logits, shape (n_samples, n_classes)."""
        check_is_fitted(self, "classes_inferred_")
        data = X if isinstance(X, Dataset) else self._check(X)
        with self._resolved_device():
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
        classes, parts = self.classes_.tolist(), []
        if class_label not in classes:
            raise ValueError(f"class_label={class_label!r} is none of the classes {classes}.")
        k = classes.index(class_label)
        with self._resolved_device():
            self._set_training(False)
            for batch, _ in Batches(self.get_dataset(self._check(X)), self.batch_size):
                pixels = batch["X"]
                unit = 255 if pixels.dtype == torch.uint8 else 1
                inputs = (pixels.float() / unit).requires_grad_()
                logits = self.infer(inputs)
                value = logits[:, k] - logits[:, 1 - k] if logits.shape[1] == 2 else logits[:, k]
                (gradient,) = torch.autograd.grad(value.sum(), inputs)
                parts.append((gradient / unit).cpu().numpy())
        return np.concatenate(parts).reshape(np.shape(X))

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
        """What the criterion charges a sample for each label, without weight and regularizer.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        losses : ndarray of shape (n_samples, n_classes)
            One column a label, in the order of `classes_`.
        """
        logits = torch.as_tensor(self._logits(X)).double()
        criterion = deepcopy(self.criterion_).cpu().double()
        labels = torch.arange(logits.shape[1])[:, None].expand(-1, len(logits))
        with torch.no_grad():
            return torch.stack([criterion(logits, y) for y in labels], dim=1).numpy()

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


def _with_seed(splitter):
    """A copy of a splitter that would draw from numpy's global numbers, with torch's seed."""
    if isinstance(splitter, ValidSplit) or getattr(splitter, "random_state", 0) is None:
        splitter = copy(splitter)
        if splitter.random_state is None:
            splitter.random_state = torch.initial_seed() % 2**32
    return splitter
