"""BLAS threads: one inside loops of many small products.

Such products are no faster on several threads and collapse when another process takes a core.
"""

from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller():
    return ThreadpoolController()


def one_blas_thread():
    """A context (or decorator) in which BLAS runs on one thread."""
    return _controller().limit(limits=1, user_api="blas")
