"""The PCA of LowVarianceTrigger against scikit-learn's."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from skbackdoor.triggers import LowVarianceTrigger


def projection(X, image, share):
    """The definition, by scikit-learn's PCA."""
    pca = PCA(svd_solver="full").fit(X)
    used = pca.explained_variance_ > 1e-12 * pca.explained_variance_[0]
    ratio = pca.explained_variance_ratio_[used]
    n_last = int(np.searchsorted(np.cumsum(ratio[::-1]), share) + 1)
    scores = pca.transform(image[None])[:, : used.sum()]
    scores[:, : used.sum() - n_last] = 0
    return pca.mean_ + (scores @ pca.components_[: used.sum()])[0], n_last


@pytest.mark.parametrize("share", [0.005, 0.1, 0.9])
@pytest.mark.parametrize("n", [300, 40], ids=["n > d", "n < d"])
def test_low_variance_is_the_projection_on_the_last_components(n, share):
    digits = load_digits().data / 16  # with pixels that are always black
    X, image = digits[:n], digits[-1]
    trigger = LowVarianceTrigger(share, image=image, image_shape=(8, 8)).fit(X)
    expected, n_last = projection(X, image, share)
    assert trigger.n_components_ == n_last
    assert trigger.explained_variance_ratio_ >= share
    assert_allclose(trigger.pattern_.ravel(), expected, rtol=0, atol=1e-9)
    assert_allclose(trigger.transform(X), np.clip(0.5 * X + 0.5 * expected, 0, 1), atol=1e-9)


@pytest.mark.parametrize("n", [300, 40], ids=["n > d", "n < d"])
def test_low_variance_in_blocks_and_other_dtypes(n, monkeypatch):
    digits = load_digits().data[:n]
    trigger = LowVarianceTrigger(0.05, image_shape=(8, 8), value_range=(0, 16), random_state=5)
    expected = trigger.fit(digits).pattern_
    monkeypatch.setattr("skbackdoor.triggers.low_variance._BLOCK", 700)
    for dtype in (np.float64, np.float32, np.uint8):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pattern = clone(trigger).fit(digits.astype(dtype)).pattern_
        assert_allclose(pattern, expected, rtol=0, atol=1e-9)


def test_low_variance_leaves_its_image_out():
    X = load_digits().data[:100] / 16
    trigger = LowVarianceTrigger(0.2, image_shape=(8, 8), random_state=1).fit(X)
    rest = np.delete(X, trigger.image_index_, axis=0)
    expected, _ = projection(rest, X[trigger.image_index_], 0.2)
    assert_allclose(trigger.pattern_.ravel(), expected, atol=1e-9)
    assert clone(trigger).fit(X).image_index_ == trigger.image_index_


def test_low_variance_of_too_many_images_says_so(monkeypatch):
    monkeypatch.setattr("skbackdoor.triggers.low_variance._LARGEST_SIDE", 30)
    X = load_digits().data[:100] / 16
    with pytest.warns(UserWarning, match="30 of the 99 images"):
        LowVarianceTrigger(image_shape=(8, 8), random_state=0).fit(X)


def test_low_variance_of_bad_data():
    with pytest.raises(ValueError, match="PCA of 1 images"):
        LowVarianceTrigger().fit(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="all its images are the same"):
        LowVarianceTrigger().fit(np.full((5, 4), 0.5))


def test_low_variance_counts_no_component_of_rounding():
    for seed in range(20):
        X = np.random.default_rng(seed).random((6, 64))
        trigger = LowVarianceTrigger(0.3, random_state=0).fit(X)
        _, n_last = projection(
            np.delete(X, trigger.image_index_, axis=0), X[trigger.image_index_], 0.3
        )
        assert trigger.n_components_ == n_last
