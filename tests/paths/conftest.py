"""Tests of paths run on one thread."""

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small matrices: BLAS threads only cost."""
    with threadpool_limits(1):
        yield
