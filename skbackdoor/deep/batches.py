"""Training data kept on the device, and batches of them: nothing is copied per batch."""

import torch
from torch.utils.data import Dataset, Subset


class TensorData(Dataset):
    """Samples, label indices and weights as tensors, on the device where they fit.

    Parameters
    ----------
    X : torch.Tensor of shape (n_samples, ...)
        float32, or uint8 pixels.
    y : torch.Tensor of shape (n_samples,) or None
        Label indices; None is 0.
    weight : torch.Tensor of shape (n_samples,) or None
        Sample weights; None is 1.
    device : torch.device
        Where batches are wanted.
    """

    def __init__(self, X, y, weight, device):
        self.device = device
        home = device if _fits(X, device) else torch.device("cpu")
        self.X = X.to(home)
        self.y = (torch.zeros(len(X), dtype=torch.long) if y is None else y).to(home)
        self.weight = (torch.ones(len(X)) if weight is None else weight).to(home)

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.take(i)

    def take(self, rows):
        """A batch: {"X": samples, "sample_weight": weights}, label indices."""
        X, y, weight = (part[rows].to(self.device) for part in (self.X, self.y, self.weight))
        return {"X": X, "sample_weight": weight}, y


def _fits(X, device):
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return X.nbytes <= free / 2  # the rest is the network's


class Batches:
    """Batches of :class:`TensorData` in their order.

    Parameters
    ----------
    dataset : TensorData or Subset of one
        As skorch gives it.
    batch_size : int, default=128
        Samples in a batch; -1 is all.
    """

    shuffle = False

    def __init__(self, dataset, batch_size=128):
        rows = None
        while isinstance(dataset, Subset):
            indices = torch.as_tensor(dataset.indices)
            rows = indices if rows is None else indices[rows]
            dataset = dataset.dataset
        self.data = dataset
        self.rows = torch.arange(len(dataset)) if rows is None else rows
        self.batch_size = len(self.rows) if batch_size == -1 else batch_size

    def __len__(self):
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self):
        rows = self.rows
        if self.shuffle:  # drawn on the CPU: the same order on every device
            rows = rows[torch.randperm(len(rows))]
        rows = rows.to(self.data.X.device)
        for start in range(0, len(rows), self.batch_size):
            yield self.data.take(rows[start : start + self.batch_size])


class ShuffledBatches(Batches):
    """Batches in another order at each epoch, by torch's random state."""

    shuffle = True
