"""Warps: by hand, and other people's code."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skbackdoor.triggers import WarpTrigger

rng = np.random.RandomState(0)
REFERENCES = np.load(Path(__file__).parents[1] / "data" / "references.npz")


class Field:
    """A random state that draws what WaNet's authors drew."""

    def __init__(self, field):
        self.field = field

    def uniform(self, low, high, size):
        assert (low, high, size) == (-1, 1, self.field.shape)
        return self.field


@pytest.mark.parametrize("name, strength", [("warp", 0.5), ("warp_strong", 4.0)])
def test_wanet(name, strength):
    """The field, its interpolation and the sampling are those of the published training code."""
    X = REFERENCES["warp_images"]
    trigger = WarpTrigger(strength).fit(X)
    trigger._draw(X, Field(REFERENCES["warp_field"]))
    assert_allclose(trigger.transform(X), REFERENCES[name], rtol=0, atol=1e-12)
    assert np.abs(trigger.flow_).max() > 0.2 * strength


@pytest.mark.parametrize("strength", [0.0, 0.5, 3.0])
def test_warp_by_hand(strength):
    X = rng.uniform(size=(2, 2, 7, 5))
    trigger = WarpTrigger(strength, random_state=3).fit(X)
    out = trigger.transform(X)
    for i in range(7):
        for j in range(5):
            r = np.clip(i + trigger.flow_[0, i, j], 0, 6)
            c = np.clip(j + trigger.flow_[1, i, j], 0, 4)
            r0, c0 = min(int(r), 5), min(int(c), 3)
            dr, dc = r - r0, c - c0
            expected = (
                (1 - dr) * (1 - dc) * X[..., r0, c0]
                + (1 - dr) * dc * X[..., r0, c0 + 1]
                + dr * (1 - dc) * X[..., r0 + 1, c0]
                + dr * dc * X[..., r0 + 1, c0 + 1]
            )
            assert_allclose(out[..., i, j], expected, atol=1e-13)
    if strength == 0:
        assert_array_equal(out, X)
    assert_array_equal(trigger.fit(X).transform(X), out)  # the same seed, the same field
