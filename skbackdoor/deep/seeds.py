"""Torch's random numbers, which all threads of a process share."""

from contextlib import contextmanager
from copy import copy
from threading import RLock

import numpy as np
import torch
from sklearn.utils import check_random_state
from skorch.dataset import ValidSplit

_MAX_SEED = np.iinfo(np.int32).max
_ONE_AT_A_TIME = RLock()


@contextmanager
def torch_seeded(seed, devices=None):
    """Seed torch's random numbers inside a block, and restore their state after it.

    Threads wait for each other, since there is one state of these numbers for all of them.

    Parameters
    ----------
    seed : int
    devices : sequence of int or None, default=None
        CUDA devices whose numbers are kept; None is all.
    """
    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def own_random_numbers(net, device, fresh):
    """Inside, torch draws for one network only, from its `random_state`.

    Unless `fresh`, the draws continue those of its last training.
    """
    if fresh or not hasattr(net, "random_numbers_"):
        seed = int(check_random_state(net.random_state).randint(_MAX_SEED))
    else:
        seed = net.random_numbers_
    devices = range(torch.cuda.device_count()) if device.type == "cuda" else []
    with torch_seeded(seed, devices):
        yield
        net.random_numbers_ = int(torch.randint(_MAX_SEED, ()))


def with_torch_seed(splitter):
    """A copy of a splitter that would draw from numpy's global numbers, with torch's seed."""
    if isinstance(splitter, ValidSplit) or getattr(splitter, "random_state", 0) is None:
        splitter = copy(splitter)
        if splitter.random_state is None:
            splitter.random_state = torch.initial_seed() % 2**32
    return splitter
