"""BLAS threads: one inside loops of many small products.

Such products are no faster on several threads and collapse when another process takes a core.
Large ones keep all threads.
"""

from contextlib import nullcontext
from functools import cache

from threadpoolctl import ThreadpoolController

#: Entries of a matrix beyond which its products are worth several threads.
LARGE = 10_000_000


@cache
def _controller():
    return ThreadpoolController()


def one_blas_thread(X=None):
    """A context in which BLAS runs on one thread, unless it is for products with a large X."""
    if X is not None and X.shape[0] * X.shape[1] > LARGE:
        return nullcontext()
    return _controller().limit(limits=1, user_api="blas")
