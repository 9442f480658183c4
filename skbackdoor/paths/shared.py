"""What paths on equal rows have in common, recalled in searches.

`GridSearchCV` cuts its folds anew for every candidate, so equal rows come as new arrays: they are
recognised by a digest of their bytes.
"""

from collections import OrderedDict
from hashlib import sha1

import numpy as np
import scipy.sparse as sp

#: Most bytes that are kept, and most sets of rows (folds).
LIMIT, LARGEST_NUMBER = 5e8, 16

_kept = OrderedDict()


def recall(rows):
    """The dict that paths on these rows share, kept while it is among the recent ones.

    Parameters
    ----------
    rows : TrainingRows
        Dense or CSR rows; of anything else nothing is kept.

    Returns
    -------
    shared : dict
    """
    key = _digest(rows.X, rows.X_poison)
    if key is None:
        return {}
    shared = _kept.pop(key, {})
    while _kept and (len(_kept) >= LARGEST_NUMBER or sum(map(_size, _kept.values())) > LIMIT):
        _kept.popitem(last=False)
    _kept[key] = shared
    return shared


def _digest(*arrays):
    digest = sha1(usedforsecurity=False)
    for X in arrays:
        if not (sp.issparse(X) or isinstance(X, np.ndarray)) or X.dtype.hasobject:
            return None
        digest.update(f"{type(X).__name__} {X.shape} {X.dtype}".encode())
        for part in (X.data, X.indices, X.indptr) if sp.issparse(X) else (X,):
            digest.update(np.ascontiguousarray(part))
    return digest.digest()


def _size(shared):
    return sum(getattr(value, "nbytes", 0) for value in shared.values())
