"""Sine waves: their equations, and other people's code."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skbackdoor.triggers import SinusoidTrigger

rng = np.random.RandomState(0)
REFERENCES = np.load(Path(__file__).parents[1] / "data" / "references.npz")


def test_sig():
    trigger = SinusoidTrigger(20 / 255, 30 / 6, additive=True, alpha=1)
    assert_allclose(trigger.fit_transform(REFERENCES["sig_images"]), REFERENCES["sig"], atol=1e-15)


@pytest.mark.parametrize("angle", [0, 90, 37.5])
@pytest.mark.parametrize("additive", [False, True])
def test_sinusoid(angle, additive):
    X = rng.uniform(size=(2, 3, 6, 9))
    trigger = SinusoidTrigger(0.4, 5, phase=0.3, angle=angle, additive=additive, alpha=0.25)
    out = trigger.fit_transform(X)
    a = np.deg2rad(angle)
    for i in range(6):
        for j in range(9):
            t = j * np.cos(a) + i * np.sin(a)
            s = 0.4 * np.sin(2 * np.pi * t / 5 + 0.3)
            x = X[:, :, i, j]
            expected = x + 0.25 * s if additive else 0.75 * x + 0.25 * s
            assert_allclose(out[:, :, i, j], np.clip(expected, 0, 1), atol=1e-14)


def test_the_sine_of_evaluation_is_the_default():
    j = np.arange(224)
    pattern = SinusoidTrigger().fit(np.zeros((1, 3, 4, 224))).pattern_
    assert_allclose(pattern, np.tile(0.4 * np.sin(0.05 * np.pi * j), (4, 1)), atol=1e-13)
