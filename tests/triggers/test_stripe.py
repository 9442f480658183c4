"""Stripes: their equation, and eight bits."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skbackdoor.triggers import StripeTrigger

rng = np.random.RandomState(0)


def test_stripe_is_every_other_row_and_column():
    X = rng.uniform(0, 0.8, size=(3, 2, 5, 6))
    out = StripeTrigger(0.3).fit_transform(X)
    for i in range(5):
        for j in range(6):
            added = 0.3 if i % 2 == 0 and j % 2 == 0 else 0.0
            assert_array_equal(out[:, :, i, j], np.minimum(X[:, :, i, j] + added, 1))


@pytest.mark.parametrize("intensity", [10, 75])
def test_stripe_in_eight_bits(intensity):
    X = rng.randint(0, 256, size=(4, 28, 28)).astype(np.uint8)
    bright = StripeTrigger(intensity, value_range=(0, 255)).fit_transform(X)
    expected = X.astype(int)
    expected[:, ::2, ::2] += intensity
    assert_array_equal(bright, np.minimum(expected, 255))
    flat = StripeTrigger(intensity / 255, image_shape=(28, 28)).fit_transform(
        X.reshape(4, -1) / 255
    )
    assert_allclose(flat * 255, bright.reshape(4, -1), atol=1e-12)
