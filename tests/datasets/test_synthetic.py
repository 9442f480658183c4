"""Synthetic data: shapes, balance, and features that no class uses."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skbackdoor.datasets import make_backdoor_classification


@pytest.mark.parametrize("params", [{}, {"n_features": 2}, {"image_shape": (8, 8)},
                                    {"image_shape": (3, 5, 4), "n_classes": 4}])  # fmt: skip
def test_make_backdoor_classification(params):
    X, y = make_backdoor_classification(400, class_sep=2, random_state=0, **params)
    n_classes = params.get("n_classes", 2)
    shape = params.get("image_shape", (params.get("n_features", 20),))
    assert X.shape == (400, np.prod(shape)) and X.min() >= 0 and X.max() <= 1
    assert np.bincount(y).tolist() == [400 // n_classes] * n_classes
    corner = X.reshape(-1, *shape)[..., shape[-1] // 2 :]
    unused = corner[..., shape[-2] // 2 :, :] if len(shape) > 1 else X[:, -max(1, shape[0] // 4) :]
    assert unused.max() < 0.05
    assert LogisticRegression(C=100).fit(X[:200], y[:200]).score(X[200:], y[200:]) > 0.9
    again, _ = make_backdoor_classification(400, class_sep=2, random_state=0, **params)
    np.testing.assert_array_equal(X, again)


def test_class_sep_zero_makes_the_classes_equal():
    X, y = make_backdoor_classification(4000, class_sep=0, random_state=0)
    assert abs(X[y == 0].mean(axis=0) - X[y == 1].mean(axis=0)).max() < 0.02


@pytest.mark.parametrize(
    "params, error, message",
    [
        ({"n_samples": 1}, ValueError, "n_samples == 1"),
        ({"n_features": 1}, ValueError, "n_features == 1"),
        ({"n_classes": 1}, ValueError, "n_classes == 1"),
        ({"class_sep": -1}, ValueError, "class_sep == -1"),
        ({"n_samples": 2.5}, TypeError, "n_samples"),
        ({"image_shape": (8,)}, ValueError, r"image_shape=\(8,\)"),
        ({"image_shape": (1, 1)}, ValueError, r"image_shape=\(1, 1\)"),
    ],
)
def test_bad_make_backdoor_classification(params, error, message):
    with pytest.raises(error, match=message):
        make_backdoor_classification(**params)
