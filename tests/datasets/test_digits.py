"""Two of scikit-learn's digits: shapes, scaling, and which there are."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skbackdoor.datasets import load_digits_pair


def test_load_digits_pair():
    bunch = load_digits_pair()
    assert set(bunch.target) == {1, 7} and bunch.target_names == [1, 7]
    assert bunch.data.shape == (len(bunch.target), 64) and bunch.data.dtype == np.float64
    assert bunch.data.min() == 0 and bunch.data.max() == 1
    assert bunch.image_shape == (8, 8) and len(bunch.feature_names) == 64
    np.testing.assert_array_equal(bunch.images.reshape(-1, 64), bunch.data)
    X, y = load_digits_pair((1, 7), return_X_y=True)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)
    whole = load_digits()
    np.testing.assert_array_equal(X * 16, whole.data[np.isin(whole.target, (1, 7))])


@pytest.mark.parametrize("digits", [(1,), (1, 1), (1, 2, 3), (1, 10), (-1, 2), (0.5, 1), ()])
def test_bad_digits(digits):
    with pytest.raises(ValueError, match=r"digits=.* must be 2 digits from 0 to 9"):
        load_digits_pair(digits)


def test_bad_digits_type():
    with pytest.raises(TypeError, match="digits=3 must be"):
        load_digits_pair(3)
