"""Spectral signatures against numpy's SVD, and where their assumption holds."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.decomposition import PCA

from skbackdoor import Attack, BlendTrigger, SpectralSignatures, load_digits_pair


def two_classes(n=(40, 60), n_features=7, mean=0.0, seed=0):
    rng = np.random.RandomState(seed)
    X = np.r_[rng.normal(size=(n[0], n_features)), 2 * rng.normal(size=(n[1], n_features))]
    order = rng.permutation(len(X))
    return (X * np.arange(1, n_features + 1) + mean)[order], np.repeat([0, 1], n)[order]


def by_svd(X, y):
    scores = np.empty(len(y))
    for label in np.unique(y):
        Z = X[y == label] - X[y == label].mean(axis=0)
        scores[y == label] = (Z @ np.linalg.svd(Z)[2][0]) ** 2
    return scores


@pytest.mark.parametrize("n_features", [1, 3, 7, 80])
@pytest.mark.parametrize("container", [np.asarray, csr_matrix, pd.DataFrame])
def test_scores_are_squared_projections_of_centred_rows(n_features, container):
    X, y = two_classes(n_features=n_features)
    detector = SpectralSignatures().fit(container(X), y)
    assert_allclose(detector.scores_, by_svd(X, y), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("container", [np.asarray, csr_matrix])
def test_where_a_class_lies_does_not_count(container):
    """Projections that are not centred rank rows of a far class by the sign of their deviation."""
    X, y = two_classes(n_features=30)
    near, far = SpectralSignatures().fit(X, y), SpectralSignatures().fit(container(X + 1e5), y)
    assert_allclose(far.scores_, near.scores_, rtol=1e-5, atol=1e-5)
    assert_array_equal(far.is_poison_, near.is_poison_)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 1 / 3, 0.9])
def test_of_each_class_as_many_are_removed_as_the_paper_says(rate):
    X, y = two_classes()
    detector = SpectralSignatures(poisoning_rate=rate).fit(X, y)
    for label in (0, 1):
        scores, removed = detector.scores_[y == label], detector.is_poison_[y == label]
        assert removed.sum() == min(np.floor(1.5 * rate * len(scores) + 1e-9), len(scores))
        if 0 < removed.sum() < len(scores):
            assert scores[removed].min() > scores[~removed].max()
    assert detector.groups_ == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.05, 0.2])
def test_poison_is_removed_where_it_is_spectrally_separable(seed, share):
    """Lemma 3.1: means sqrt(6 / share) standard deviations apart."""
    rng = np.random.RandomState(seed)
    n, n_poison = 1000, int(1000 * share)
    X = rng.normal(size=(2 * n, 10)) + 30
    X[:n_poison, 3] += np.sqrt(6 / share)
    is_poison, y = np.arange(2 * n) < n_poison, np.repeat(["a", "b"], n)
    found = SpectralSignatures(poisoning_rate=share).fit_predict(X, y)
    assert found[is_poison].mean() > 1 - share


def test_a_blend_in_digits_is_found():
    X, y = load_digits_pair((4, 9), return_X_y=True)
    image = np.random.RandomState(0).uniform(size=(8, 8))
    attack = Attack(BlendTrigger(image, alpha=0.5, image_shape=(8, 8)), target=4, random_state=0)
    X, y, is_poison = attack.fit(X, y).poison(X, y)
    share = is_poison.sum() / np.sum(y == 4)
    assert SpectralSignatures(poisoning_rate=share).fit_predict(X, y)[is_poison].mean() > 0.9


@pytest.mark.parametrize("container", [np.asarray, csr_matrix])
def test_weights_are_repetitions(container):
    X, y = two_classes(n_features=12)
    weight = np.random.RandomState(1).randint(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), weight)
    weighted = SpectralSignatures().fit(container(X), y, sample_weight=weight)
    repeated = SpectralSignatures().fit(container(X[rows]), y[rows])
    assert_allclose(weighted.scores_[rows], repeated.scores_, rtol=1e-6)
    assert not weighted.scores_[weight == 0].any() and not weighted.is_poison_[weight == 0].any()
    for label in (0, 1):
        removed = weight[(y == label) & weighted.is_poison_].sum()
        most = repeated.is_poison_[y[rows] == label].sum()
        assert most - weight.max() < removed <= most


def test_single_precision_has_the_scores_of_double():
    X, y = two_classes()
    single = SpectralSignatures().fit(X.astype(np.float32), y).scores_
    assert_allclose(single, by_svd(X, y), rtol=1e-3, atol=1e-3)


def test_small_classes_are_skipped_and_named_once():
    X, y = two_classes(n=(7, 30))
    labels = np.array(["small", "large"])[y]
    with pytest.warns(UserWarning, match=r"fewer than 8 rows: \['small'\]") as record:
        detector = SpectralSignatures().fit(X, labels)
    assert len(record) == 1
    assert not detector.scores_[y == 0].any() and detector.is_poison_[y == 1].any()


@pytest.mark.parametrize("container", [np.asarray, csr_matrix])
@pytest.mark.parametrize("n_features", [1, 4, 50])
def test_a_class_of_one_row_repeated_has_no_direction(container, n_features):
    X, y = two_classes(n_features=n_features)
    X[y == 0] = np.random.RandomState(0).uniform(1, 9, size=n_features)
    detector = SpectralSignatures().fit(container(X), y)
    assert not detector.scores_[y == 0].any() and not detector.is_poison_[y == 0].any()
    assert detector.is_poison_[y == 1].any()


def test_constant_columns_change_nothing():
    X, y = two_classes()
    more = np.c_[np.full(len(y), 0.1), X, np.zeros(len(y))]
    assert_allclose(SpectralSignatures().fit(more, y).scores_, by_svd(X, y), rtol=1e-6, atol=1e-8)


def test_errors_say_what_is_wrong():
    X, y = two_classes()
    with pytest.raises(ValueError, match="only 1 class"):
        SpectralSignatures().fit(X, np.zeros(len(y)))
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        SpectralSignatures().fit(X, y)
    with pytest.raises(ValueError, match="poisoning_rate"):
        SpectralSignatures(poisoning_rate=0.0).fit(X, y)
    with pytest.raises(ValueError, match="representation="):
        SpectralSignatures().fit(["a text", "another"] * 10, [0, 1] * 10)


def test_new_rows_are_flagged_beyond_the_threshold_of_their_label():
    X, y = two_classes()
    detector = SpectralSignatures(PCA(3)).fit(X, y)
    assert_array_equal(detector.flag(X, y), detector.is_poison_)
    assert not detector.flag(X, np.full(len(y), 7)).any()
    far = X[y == 0].mean(axis=0) + 1e3
    assert detector.flag([far, far], [0, 1]).all()


def test_it_is_silent_and_does_not_write_to_its_input():
    X, y = two_classes()
    X.flags.writeable = y.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector = clone(SpectralSignatures()).fit(X, y)
    X_kept, y_kept = detector.fit_resample(X, y)
    assert_array_equal(X_kept, X[~detector.is_poison_])
    assert len(y_kept) == len(X_kept)
