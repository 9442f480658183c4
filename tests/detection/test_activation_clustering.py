"""Activation clustering: its parts computed by scikit-learn alone, and planted groups."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, FastICA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.pipeline import make_pipeline

from skbackdoor import ActivationClustering, Attack, PatchTrigger, load_digits_pair


def planted(n=200, n_poison=40, n_features=15, apart=12.0, seed=0):
    """Three classes around the corners of a triangle; poison of class 2 lies beside class 0."""
    rng = np.random.RandomState(seed)
    y = np.repeat([0, 1, 2], n)
    X = rng.standard_t(8, size=(3 * n, n_features))
    X[np.arange(3 * n), y] += apart
    is_poison = np.arange(3 * n) >= 3 * n - n_poison
    X[is_poison, 2] -= apart
    X[is_poison, 0] += apart
    X[is_poison, 5] += apart / 2
    order = rng.permutation(3 * n)
    return X[order], y[order], is_poison[order]


def found(detector, X, y, is_poison):
    """Recall and false positive rate."""
    flagged = detector.fit_predict(X, y)
    return flagged[is_poison].mean(), flagged[~is_poison].mean()


@pytest.mark.parametrize("analysis", ["silhouette", "exclusionary", "relative-size"])
@pytest.mark.parametrize("reduction", ["ica", "pca"])
def test_a_compact_group_is_found_and_nothing_else(analysis, reduction):
    detector = ActivationClustering(analysis=analysis, reduction=reduction, random_state=0)
    X, y, is_poison = planted()
    recall, false_positives = found(detector, X, y, is_poison)
    assert recall == 1.0
    if analysis != "relative-size" and reduction == "pca":
        assert false_positives == 0.0
        (group,) = detector.groups_
        assert group.label == 2 and group.verdict == "poison"
        assert_array_equal(group.indices, np.flatnonzero(is_poison))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("reduction", ["ica", "pca"])
def test_by_silhouette_nothing_is_found_in_classes_of_one_kind(seed, reduction):
    X, y, _ = planted(n_poison=0, seed=seed)
    X = np.random.RandomState(seed).normal(size=X.shape) + 5 * np.eye(3, X.shape[1])[y]
    detector = ActivationClustering(reduction=reduction, random_state=0)
    assert not detector.fit_predict(X, y).any()
    assert ActivationClustering(analysis="smaller", random_state=0).fit_predict(X, y).mean() > 0.2


@pytest.mark.parametrize("reduction", ["ica", "pca"])
def test_scores_are_those_of_scikit_learns_reduction_and_clusters(reduction):
    X, y, _ = planted(n_features=8)
    detector = ActivationClustering(n_components=4, reduction=reduction, random_state=0).fit(X, y)
    for label in (0, 1, 2):
        of_class = X[y == label]
        reducer = FastICA(4, random_state=0, max_iter=2000, tol=1e-2)
        reduced = (reducer if reduction == "ica" else PCA(4)).fit_transform(of_class)
        cluster = KMeans(2, n_init=20, random_state=1).fit_predict(reduced)
        share = np.bincount(cluster)[cluster] / len(cluster)
        expected = silhouette_score(reduced, cluster) * (1 - share)
        if label == 2 or reduction == "pca":  # elsewhere two clusters fit in many ways as well
            scores = detector.scores_[y == label]
            assert_allclose(np.median(scores), np.median(expected), rtol=0.05)
        if label == 2:
            assert_allclose(detector.scores_[y == label], expected, rtol=1e-6)


def test_sizes_decide_as_stated():
    X, y, is_poison = planted(n_poison=60)
    smaller = ActivationClustering(analysis="smaller", reduction="pca", random_state=0).fit(X, y)
    assert_allclose(smaller.scores_[is_poison], 0.7)
    assert_allclose(smaller.scores_[(y == 2) & ~is_poison], 0.3)
    for label in (0, 1, 2):
        assert 0 < smaller.is_poison_[y == label].mean() < 0.5
    for max_size, decided in [(0.29, False), (0.31, True)]:
        for analysis in ("relative-size", "silhouette"):
            detector = ActivationClustering(
                analysis=analysis, max_size=max_size, reduction="pca", random_state=0
            )
            assert (detector.fit(X, y).is_poison_[is_poison] == decided).all()
    strict = ActivationClustering(min_silhouette=0.99, reduction="pca", random_state=0)
    assert not strict.fit_predict(X, y).any()


def test_exclusionary_reclassification_is_a_fit_without_the_cluster():
    X, y, is_poison = planted()
    names = np.array(["c", "a", "b"])[y]
    detector = ActivationClustering(analysis="exclusionary", reduction="pca", random_state=0)
    (group,) = detector.fit(X, names).groups_
    model = LogisticRegression(max_iter=1000).fit(X[~is_poison], names[~is_poison])
    predicted = model.predict(X[is_poison])
    assert_array_equal(group.content_labels, predicted)
    assert group.label == "b" and group.flip == np.mean(predicted != "b") == 1.0
    own, other = np.sum(predicted == "b"), max(np.sum(predicted == c) for c in "ac")
    assert_allclose(detector.scores_[is_poison], other / (own + other))
    assert np.isnan([group.cohesion, group.typicality, group.coverage, group.stay]).all()


def test_an_estimator_of_ones_own_is_trained_on_rows_as_they_are():
    rng = np.random.RandomState(0)
    words = {0: ["rain", "wind", "snow"], 1: ["goal", "team", "ball"]}
    y = np.repeat([0, 1], 100)
    texts = [" ".join(rng.choice(words[label], 6)) for label in y]
    for row in range(20):
        texts[row], y[row] = texts[row] + " cf cf cf", 1
    detector = ActivationClustering(
        make_pipeline(TfidfVectorizer(), TruncatedSVD(5, random_state=0)),
        reduction="pca",
        analysis="exclusionary",
        estimator=make_pipeline(TfidfVectorizer(), LogisticRegression()),
        random_state=0,
    )
    assert_array_equal(np.flatnonzero(detector.fit_predict(texts, y)), np.arange(20))
    assert detector.fit(texts, y, sample_weight=np.ones(200)).is_poison_.sum() == 20
    new = ["rain snow cf cf cf", "goal ball team"]
    assert detector.flag(new, [1, 1]).tolist() == [True, False]


def test_a_patch_in_digits_is_found():
    X, y = load_digits_pair((7, 1), return_X_y=True)
    attack = Attack(PatchTrigger(size=2, image_shape=(8, 8)), target=7, random_state=0).fit(X, y)
    recall, false_positives = found(ActivationClustering(random_state=0), *attack.poison(X, y))
    assert recall > 0.9 and false_positives < 0.1


@pytest.mark.parametrize("analysis", ["smaller", "relative-size", "exclusionary"])
@pytest.mark.parametrize("reduction", ["ica", "pca"])
def test_weights_are_repetitions(analysis, reduction):
    X, y, _ = planted(n=60, n_poison=15)
    weight = np.random.RandomState(1).randint(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), weight)
    detector = ActivationClustering(analysis=analysis, reduction=reduction, random_state=0)
    weighted = detector.fit(X, y, sample_weight=weight).scores_
    is_poison = detector.is_poison_
    repeated = detector.fit(X[rows], y[rows]).scores_
    of_poisoned = y == 2
    assert_allclose(weighted[rows][of_poisoned[rows]], repeated[of_poisoned[rows]], rtol=1e-6)
    assert not weighted[weight == 0].any() and not is_poison[weight == 0].any()


def test_sparse_rows_have_the_clusters_of_dense_ones():
    X, y, _ = planted(n_features=60)
    X *= np.abs(X) > 0.5
    detector = ActivationClustering(n_components=3, reduction="pca", random_state=0)
    dense = detector.fit(X, y).scores_[y == 2]
    assert_allclose(detector.fit(csr_matrix(X), y).scores_[y == 2], dense, rtol=1e-6)


def test_the_same_seed_gives_the_same_clusters():
    X, y, _ = planted(n_poison=0)
    first, second = (ActivationClustering(random_state=3).fit(X, y).scores_ for _ in range(2))
    assert_array_equal(first, second)


@pytest.mark.parametrize("container", [np.asarray, csr_matrix])
@pytest.mark.parametrize("reduction", ["ica", "pca"])
def test_rows_of_low_rank_and_rows_repeated(container, reduction):
    X, y, is_poison = planted(n_features=60)
    X[y == 0] = X[y == 0][0]  # no direction
    X[y == 1] = X[y == 1][:3][np.arange(200) % 3]  # two
    detector = ActivationClustering(reduction=reduction, analysis="smaller", random_state=0)
    detector.fit(container(X), y)
    assert not detector.is_poison_[y == 0].any() and not detector.scores_[y == 0].any()
    assert detector.is_poison_[y == 1].mean() == pytest.approx(1 / 3, abs=0.01)
    assert np.isfinite(detector.scores_).all()


def test_small_classes_are_skipped():
    X, y, _ = planted()
    y[np.flatnonzero(y == 0)[7:]] = 1
    with pytest.warns(UserWarning, match=r"ActivationClustering says nothing of .*\[0\]"):
        detector = ActivationClustering(random_state=0).fit(X, y)
    assert not detector.scores_[y == 0].any()


def test_flag_asks_for_the_nearer_centre():
    X, y, is_poison = planted()
    detector = ActivationClustering(reduction="pca", random_state=0).fit(X, y)
    X_new, y_new, new_poison = planted(seed=1)
    assert_array_equal(detector.flag(X_new, y_new), new_poison)
    assert not detector.flag(X_new, np.zeros_like(y_new)).any()
