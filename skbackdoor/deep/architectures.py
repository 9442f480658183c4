"""Networks by name, with the weights and the head that are asked for."""

from copy import deepcopy
from difflib import get_close_matches
from os import PathLike, fspath
from pathlib import Path
from pickle import UnpicklingError

import torch
import torchvision
from torch import nn


def build_network(arch, n_classes=None, weights=None):
    """A network for images, without the auxiliary heads that only some trainings use.

    Parameters
    ----------
    arch : str or torch.nn.Module
        A classification architecture of torchvision, by its name there; with a leading "timm/" one
        of timm (the extra ``timm``); or a module, which is copied.
    n_classes : int or None, default=None
        Outputs: the last linear layer (or convolution) is replaced by a new one, unless it has so
        many already. None leaves it as it is.
    weights : None, "DEFAULT" or path, default=None
        None: random, by torch's random state. "DEFAULT": those that torchvision or timm trained
        on ImageNet, downloaded at first use. A path: a state dict that ``torch.save`` wrote; its
        head may have any number of classes.

    Returns
    -------
    network : torch.nn.Module
        In float32, on the CPU.

    Raises
    ------
    ValueError
        An unknown architecture (with the names nearest to it), weights that do not fit (with the
        keys), "DEFAULT" for a module.
    FileNotFoundError
        No file at the path of the weights.
    """
    path = None if weights is None or weights == "DEFAULT" else weights
    if path is not None and not isinstance(path, (str, PathLike)):
        raise ValueError(f"weights={weights!r} must be None, 'DEFAULT' or the path of a file.")
    if isinstance(arch, nn.Module):
        if weights == "DEFAULT":
            raise ValueError(
                "weights='DEFAULT' belongs to architectures by name, not to a module."
            )
        network = deepcopy(arch)
    elif isinstance(arch, str):
        network = _by_name(arch, weights == "DEFAULT")
    else:
        raise ValueError(f"arch={arch!r} must be the name of an architecture or a torch module.")
    if path is not None:
        _load(network, path)
    if n_classes is not None:
        replace_head(network, n_classes)
    return network.float()


def _by_name(arch, pretrained):
    if arch.startswith("timm/"):
        try:
            import timm
        except ImportError as error:
            raise ImportError(
                f"arch={arch!r} needs timm: pip install 'skbackdoor[timm]'."
            ) from error
        names, create = timm.list_models(), timm.create_model
        name, options = arch.removeprefix("timm/"), {"pretrained": pretrained}
    else:
        names, name = torchvision.models.list_models(module=torchvision.models), arch
        create, options = torchvision.models.get_model, {"weights": None}
        if pretrained:
            options["weights"] = "DEFAULT"
    if name not in names:
        near = get_close_matches(name, names, n=5, cutoff=0.4)
        raise ValueError(f"arch={arch!r} is unknown; the nearest names are {near}.")
    network = create(name, **options)
    if getattr(network, "aux_logits", False):  # GoogLeNet and Inception
        network.aux_logits = False
        for child, module in list(network.named_children()):
            if child.lower().startswith("aux"):
                delattr(network, child)
                setattr(network, child, None)
                del module
    return network


def head_of(network):
    """Name and module of the last linear layer or convolution: what gives the outputs.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    name : str
    head : torch.nn.Linear or torch.nn.Conv2d
    """
    layers = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    ]
    if not layers:
        raise ValueError(
            f"{type(network).__name__} has no linear layer and no convolution, so its head is not"
            " known."
        )
    return layers[-1]


def find_layer(network, name):
    """Full name and module of a layer; of an image classifier, "network." may be left out.

    Parameters
    ----------
    network : torch.nn.Module
    name : str
        As ``named_modules`` has it.

    Returns
    -------
    name : str
    layer : torch.nn.Module
    """
    layers = dict(network.named_modules())
    for known in (name, f"network.{name}"):
        if known and known in layers:
            return known, layers[known]
    near = get_close_matches(name, filter(None, layers), n=5, cutoff=0.3)
    raise ValueError(f"layer={name!r} is none of the network's; the nearest names are {near}.")


def check_tensor(layer, output):
    """What a layer gave, if it is a tensor."""
    if not isinstance(output, torch.Tensor):
        raise ValueError(
            f"A layer {type(layer).__name__} gives a {type(output).__name__}, not a tensor: name"
            " one of its parts."
        )
    return output


def channels_first(layer, output):
    """Maps that a layer gave, with channels at axis 1 wherever that layer has them.

    Transformers such as Swin have them last, which the widths of the layer's parts tell.

    Parameters
    ----------
    layer : torch.nn.Module
    output : torch.Tensor
        What it gave.

    Returns
    -------
    output : torch.Tensor
        Of two or four dimensions, (n_samples, n_features) or (n_samples, n_maps, height, width);
        others as they are.
    """
    if check_tensor(layer, output).ndim != 4:
        return output
    widths = set()
    for part in layer.modules():
        for name in ("out_features", "out_channels", "num_features"):
            widths.add(getattr(part, name, None))
        widths.update(getattr(part, "normalized_shape", ()))
    last = output.shape[1] not in widths and output.shape[3] in widths
    return output.movedim(3, 1) if last else output


def replace_head(network, n_classes):
    """Give the network another number of outputs, by a new head; returns the head."""
    name, head = head_of(network)
    if isinstance(head, nn.Linear):
        if head.out_features == n_classes:
            return head
        new = nn.Linear(head.in_features, n_classes, bias=head.bias is not None)
    else:
        if head.out_channels == n_classes:
            return head
        new = nn.Conv2d(head.in_channels, n_classes, head.kernel_size, head.stride, head.padding)
    network.set_submodule(name, new)
    return new


def _load(network, path):
    path = Path(fspath(path))
    if not path.is_file():
        raise FileNotFoundError(
            f"weights={str(path)!r}: there is no such file; torchvision's own are 'DEFAULT'."
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(
            f"weights={str(path)!r} holds more than tensors; save a state dict:"
            " torch.save(network.state_dict(), path)."
        ) from error
    state = state.get("state_dict", state)
    own = network.state_dict()
    if not set(own) & set(state):  # of an image classifier of ours, perhaps
        state = {key.removeprefix("network."): value for key, value in state.items()}
    gone = {name for name, value in vars(network).items() if value is None}  # auxiliary heads
    state = {key: value for key, value in state.items() if key.split(".")[0] not in gone}
    name, _ = head_of(network)
    if f"{name}.weight" in state:
        replace_head(network, len(state[f"{name}.weight"]))
    own = network.state_dict()  # by now with the head of the file
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems = {"missing": missing, "unknown": unknown, "of another shape": shapes}
    if any(problems.values()):
        listed = "; ".join(
            f"{len(keys)} keys {what}: {', '.join(keys[:3])}{'...' if len(keys) > 3 else ''}"
            for what, keys in problems.items()
            if keys
        )
        raise ValueError(f"weights={str(path)!r} do not fit {type(network).__name__}: {listed}.")
    network.load_state_dict({key: value.float() if value.is_floating_point() else value
                             for key, value in state.items()}, strict=False)  # fmt: skip


def input_size(arch, network, image_size):
    """Side to which images are resized: as asked for, or what the architecture was made for."""
    fixed = getattr(network, "image_size", None) if isinstance(arch, str) else None
    if fixed is not None and image_size not in (None, fixed):
        raise ValueError(
            f"image_size={image_size}: {arch} takes images of {fixed} pixels only; leave it None."
        )
    return fixed or image_size or native_size(arch)


def native_size(arch):
    """Side in pixels of the images that an architecture by name was made for; else None."""
    if not isinstance(arch, str):
        return None
    if arch.startswith("timm/"):
        import timm

        return timm.get_pretrained_cfg(arch.removeprefix("timm/")).input_size[-1]
    crop = torchvision.models.get_model_weights(arch).DEFAULT.transforms().crop_size
    return crop[0] if isinstance(crop, (list, tuple)) else crop


def native_normalisation(arch):
    """Mean and deviation, of each channel, that an architecture by name wants; else None."""
    if not isinstance(arch, str):
        return None
    if arch.startswith("timm/"):
        import timm

        known = timm.get_pretrained_cfg(arch.removeprefix("timm/"))
        return known.mean, known.std
    known = torchvision.models.get_model_weights(arch).DEFAULT.transforms()
    return tuple(known.mean), tuple(known.std)
