"""The torch device that a network works on: "auto" is CUDA where there is one."""

from contextlib import contextmanager
from contextvars import ContextVar

import torch

#: Networks, by id, that skorch works for in this thread, and their torch devices.
_WORKING = ContextVar("working", default=())


def choose_device(device):
    """A torch device; "auto" is CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = torch.device(device)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r}, but torch finds no CUDA device: pass device='cpu' or 'auto'."
        )
    return chosen


class Device:
    """The parameter `device` as it was given; inside `resolved_device`, a torch device.

    skorch does not know "auto", and writes to `device` what it finds there.
    """

    def __get__(self, net, owner=None):
        if net is None:
            return self
        return dict(_WORKING.get()).get(id(net), net.__dict__["device"])

    def __set__(self, net, device):
        if id(net) not in dict(_WORKING.get()):
            net.__dict__["device"] = device


@contextmanager
def resolved_device(net):
    """Inside, and in this thread only, `net.device` is the torch device chosen for it."""
    device = choose_device(net.device)
    before = _WORKING.set((*_WORKING.get(), (id(net), str(device))))
    try:
        yield device
    finally:
        _WORKING.reset(before)
