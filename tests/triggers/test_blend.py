"""Blended images: their equation."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from skbackdoor.triggers import BlendTrigger

rng = np.random.RandomState(0)


def test_blend():
    X, image = rng.uniform(size=(4, 3, 5, 6)), rng.uniform(size=(3, 5, 6))
    for alpha in (0.0, 0.2, 1.0):
        out = BlendTrigger(image, alpha=alpha).fit_transform(X)
        assert_allclose(out, (1 - alpha) * X + alpha * image, rtol=1e-15)
    assert_array_equal(BlendTrigger(image, alpha=0).fit_transform(X), X)
    flat = BlendTrigger(image.ravel(), image_shape=(3, 5, 6)).fit_transform(X.reshape(4, -1))
    assert_array_equal(flat.reshape(X.shape), BlendTrigger(image).fit_transform(X))
    gray = BlendTrigger(image[0]).fit(X).pattern_
    assert_array_equal(gray, np.broadcast_to(image[0], (3, 5, 6)))
