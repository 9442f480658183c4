"""A mask and a pattern: its equation, and Neural Cleanse's as one of them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skbackdoor.triggers import BlendTrigger, MaskTrigger, PatchTrigger

rng = np.random.RandomState(0)
X = rng.uniform(size=(4, 3, 5, 6))


def test_mask_and_shift():
    mask, shift = rng.uniform(size=(3, 5, 6)), rng.uniform(-1, 1, size=(3, 5, 6))
    mask[:, :2], shift[:, :2] = 0.0, 0.0
    trigger = MaskTrigger(mask, shift).fit(X)
    out = trigger.transform(X)
    assert_allclose(out, np.clip((1 - mask) * X + shift, 0, 1), rtol=1e-14)
    assert_array_equal(out[:, :, :2], X[:, :, :2])
    assert_array_equal(trigger.touched_, np.broadcast_to(np.arange(5)[:, None] > 1, (3, 5, 6)))
    flat = MaskTrigger(mask.ravel(), shift.ravel()).fit_transform(X.reshape(4, -1))
    assert_array_equal(flat.reshape(X.shape), out)


def test_blends_and_patches_are_of_this_kind():
    image = rng.uniform(size=(5, 6))
    out = MaskTrigger(0.3, 0.3 * image).fit_transform(X)
    assert_allclose(out, BlendTrigger(image, alpha=0.3).fit_transform(X), rtol=1e-14)
    mask = np.zeros((5, 6))
    mask[-2:, -2:] = 1
    out = MaskTrigger(mask, 0.8 * mask).fit_transform(X)
    assert_array_equal(out, PatchTrigger(2, value=0.8).fit_transform(X))


def test_nothing_is_touched_where_both_are_zero():
    outside = 3 * X - 1
    with pytest.warns(UserWarning, match="value_range"):
        out = MaskTrigger(0, 0).fit_transform(outside)
    assert_array_equal(out, outside)


def test_opacities_are_checked():
    with pytest.raises(ValueError, match="mask holds values from 0 to 2: opacities are from 0"):
        MaskTrigger([0, 2], [0, 0]).fit([[0.0, 1.0]])
    with pytest.raises(ValueError, match=r"shift has shape \(3,\)"):
        MaskTrigger([0, 1], [0, 0, 0]).fit([[0.0, 1.0]])
