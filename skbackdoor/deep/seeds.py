"""Torch's random numbers, which all threads of a process share."""

from contextlib import contextmanager
from threading import RLock

import torch

_ONE_AT_A_TIME = RLock()


@contextmanager
def torch_seeded(seed, devices=None):
    """Torch's random numbers begin at a seed inside, and go on outside as if nothing had been.

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
