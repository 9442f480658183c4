"""Rows as they were given, half whitened, show groups that a representation hardly shows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits, make_classification
from sklearn.preprocessing import StandardScaler

from skbackdoor import Attack, SinusoidTrigger
from skbackdoor.detection import (
    LeaveGroupOutDetector,
    clean_label,
    leave_group_out,
    verdict,
    whitened,
)
from skbackdoor.detection.whitened import Whitening, numbers
from skbackdoor.detection.within_classes import WithinClasses


def rows_of_classes(shape, far):
    """Rows of three classes whose features go together, far from 0."""
    rng, y = np.random.RandomState(0), np.arange(shape[0]) % 3
    mixed = rng.normal(size=(shape[1], shape[1]))
    return rng.normal(size=shape) @ mixed + 5.0 * rng.normal(size=(3, shape[1]))[y] + far, y


@pytest.mark.parametrize("far", [0.0, 1e4])
@pytest.mark.parametrize("shape", [(300, 40), (60, 90)])
def test_rows_of_one_class_differ_by_the_root_of_what_they_did(shape, far):
    X, y = rows_of_classes(shape, far)
    whitening = Whitening(X, y, 0)
    assert whitening.n_axes == min(shape[1], shape[0] - 3)
    Z, variance = whitening.transform(X), WithinClasses(X, y).variance
    centred = [np.stack([rows[y == k].mean(axis=0) for k in range(3)])[y] for rows in (X, Z)]
    left = np.linalg.svd(X - centred[0], compute_uv=False)[: whitening.n_axes] ** 2 / len(X)
    covariance = (Z - centred[1]).T @ (Z - centred[1]) / len(Z)
    expected = np.diag(np.sort(left) / np.sqrt(variance))
    assert_allclose(covariance, expected, atol=1e-8 * expected.max())


@pytest.mark.parametrize("far", [0.0, 1e4])
@pytest.mark.parametrize("shape", [(300, 40), (60, 90)])
def test_a_linear_discriminant_is_the_same_of_whitened_rows(shape, far):
    X, y = rows_of_classes(shape, far)
    whitening, shift = Whitening(X, y, 0), X[7] - X[1]  # within a class, so along the axes
    along = whitening.transform(X) @ whitening.solve(whitening.transform(shift[np.newaxis])[0])
    expected = X @ WithinClasses(X, y).solve(shift)
    differences = [values - values[0] for values in (along, expected)]
    same = y == y[0]
    assert_allclose(differences[0][same], differences[1][same], rtol=1e-6, atol=1e-8)


def test_images_of_bytes_are_whitened_as_numbers(monkeypatch):
    X = np.random.RandomState(0).randint(0, 256, size=(50, 3, 6, 6)).astype(np.uint8)
    y = np.arange(50) % 2
    bytes_, floats = Whitening(X, y, 0), Whitening(X.reshape(50, -1).astype(float), y, 0)
    assert_allclose(bytes_.transform(X), floats.transform(X.astype(float)))
    single = Whitening(X.astype(np.float32), y, 0).transform(X.astype(np.float32))
    assert_allclose(single, bytes_.transform(X))
    monkeypatch.setattr(whitened, "MOST_FEATURES", 20)
    drawn = Whitening(X, y, 0)
    assert drawn.n_axes == 20
    some = X.reshape(50, -1)[:, np.sort(np.random.RandomState(0).permutation(108)[:20])]
    assert_allclose(drawn.transform(X), Whitening(some, y, 0).transform(some))


def test_what_is_no_dense_and_finite_number_is_left_to_the_representation():
    features = np.ones((3, 2))
    given = np.zeros((3, 4, 4), dtype=np.uint8)
    assert numbers(given, features) is given
    assert numbers([[1.0], [2.0], [3.0]], features).shape == (3, 1)
    for other in (np.full((3, 4), np.nan), np.array([["a"], ["b"], ["c"]])):
        assert numbers(other, features) is features


class Faint:
    """A representation in which classes overlap and a trigger hardly shows."""

    def __init__(self, trigger, visible):
        self.trigger, self.visible = trigger, visible

    def __call__(self, X):
        shown = X[:, 30:] @ self.trigger / (self.trigger @ self.trigger)
        return np.c_[X[:, :30] / 5.0, self.visible * shown].astype(float)


def overlapping(n, n_victims, trigger, seed=0):
    """Rows of five classes that overlap; some of others than the first get trigger and label 0."""
    rng = np.random.RandomState(seed)
    y, means = rng.randint(5, size=n), np.random.RandomState(1).normal(size=(5, 30))
    content = rng.normal(size=(n, 30)) + 0.3 * means[y]
    X = np.c_[5.0 * content, 0.5 * rng.normal(size=(n, 40))]
    victims = rng.choice(np.flatnonzero(y > 0), n_victims, replace=False)
    X[victims, 30:] += trigger
    y[victims] = 0
    return X, y, np.isin(np.arange(n), victims)


@pytest.fixture(scope="module")
def trigger():
    return 0.6 * np.random.RandomState(2).choice([-1.0, 1.0], 40)


def test_a_group_that_the_representation_hardly_shows_is_found_in_rows_as_given(trigger):
    X, y, is_poison = overlapping(900, 40, trigger)
    representation = Faint(trigger, 1.06)
    detector = LeaveGroupOutDetector(representation, candidates="clusters").fit(X, y)
    assert np.mean(detector.is_poison_[is_poison]) > 0.9
    assert np.sum(detector.is_poison_[~is_poison]) <= 2
    (group,) = [group for group in detector.groups_ if group.verdict == "poison"]
    assert group.label == 0 and not group.clean_label and group.content_accuracy < 0.9
    features = representation(X)
    alone = LeaveGroupOutDetector(candidates="clusters").fit(features, y)
    assert np.mean(alone.is_poison_[is_poison]) < np.mean(detector.is_poison_[is_poison])
    # Rows that were not searched are told by what was given, too, in any container.
    new, labels, has_trigger = overlapping(500, 100, trigger, seed=3)
    flagged = detector.flag(new, labels)
    assert np.mean(flagged[has_trigger]) > 0.8
    assert np.mean(flagged[~has_trigger & (labels == 0)]) < 0.1
    assert not flagged[labels != 0].any()
    assert_array_equal(detector.flag(new.astype(object), labels), flagged)


def test_of_more_rows_than_are_searched_the_others_are_told_by_what_was_given(trigger):
    X, y, is_poison = overlapping(1100, 50, trigger)
    detector = LeaveGroupOutDetector(
        Faint(trigger, 1.06), candidates="clusters", max_samples=900
    ).fit(X, y)
    assert np.mean(detector.is_poison_[is_poison]) > 0.8
    assert np.mean(detector.is_poison_[~is_poison]) < 0.01


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rows_in_which_a_representation_hides_a_trigger_are_added(trigger, seed, monkeypatch):
    rng = np.random.RandomState(seed)
    y, means = rng.randint(5, size=600), rng.normal(size=(5, 30))
    X = np.c_[rng.normal(size=(600, 30)) + 1.5 * means[y], 0.5 * rng.normal(size=(600, 40))]
    is_poison = np.isin(np.arange(600), rng.choice(np.flatnonzero(y > 0), 60, replace=False))
    X[is_poison, 30:] += trigger
    y[is_poison] = 0

    def representation(X):
        shown = X[:, 30:] @ trigger / (trigger @ trigger)
        return np.c_[X[:, :30], np.where(X[:, 0] > X[:, 1] - 0.5, 8.0, 0.0) * shown]

    def fitted():
        return LeaveGroupOutDetector(representation, candidates="clusters").fit(X, y)

    hidden = is_poison & (X[:, 0] <= X[:, 1] - 0.5)
    detector = fitted()
    assert np.mean(detector.is_poison_[hidden]) > 0.8
    assert np.mean(detector.is_poison_[is_poison]) > 0.97
    assert np.mean(detector.is_poison_[~is_poison]) < 0.01
    # Rows that were not searched are told by either, too.
    new = np.c_[rng.normal(size=(300, 30)) + 1.5 * means[1], 0.5 * rng.normal(size=(300, 40))]
    clean = detector.flag(new, np.zeros(300))
    new[:, 30:] += trigger
    is_hidden, flagged = new[:, 0] <= new[:, 1] - 0.5, detector.flag(new, np.zeros(300))
    assert np.mean(flagged[is_hidden]) > 0.7 and np.mean(flagged[~is_hidden]) > 0.9
    assert np.mean(clean) < 0.2  # mislabelled, but without the trigger
    monkeypatch.setattr(leave_group_out, "completed_in", lambda view, search, group: group)
    monkeypatch.setattr(verdict, "FAR_APART", (1.1, 0.45, 0.75))  # would find most of them alone
    assert np.mean(fitted().is_poison_[hidden]) < 0.2


@pytest.mark.parametrize(("n", "period", "alpha", "seed"), [(8, 3, 0.25, 0), (10, 5, 0.15, 1)])
def test_few_rows_of_a_faint_trigger_are_found_far_apart(n, period, alpha, seed, monkeypatch):
    """Of 1,797; other groups that flip and are as far apart are kinds, and no null."""
    X, y = load_digits(return_X_y=True)
    wave = SinusoidTrigger(image_shape=(8, 8), alpha=alpha, period=period)
    attack = Attack(
        wave, target=9, poisoning_rate=n / 1797, placement="replace", random_state=seed
    ).fit(X / 16, y)
    X, y, is_poison = attack.poison(X / 16, y)
    detector = LeaveGroupOutDetector().fit(X, y)
    assert is_poison.sum() == n and detector.is_poison_[is_poison].all()
    assert np.sum(detector.is_poison_[~is_poison]) <= 1
    monkeypatch.setattr(verdict, "FAR_APART", (1.1, 0.45, 0.75))
    found = LeaveGroupOutDetector().fit(X, y).is_poison_[is_poison]
    assert found.all() if period == 5 else not found.any()


def test_clusters_of_clean_data_that_are_far_apart_are_no_poison():
    """A cluster of one class may be one of another moved, but few get its label by that."""
    X, y = make_classification(
        600,
        34,
        n_informative=12,
        n_redundant=0,
        n_classes=6,
        n_clusters_per_class=3,
        class_sep=2.0,
        flip_y=0.02,
        weights=[0.1951, 0.1206, 0.1383, 0.2376, 0.1579, 0.1505],
        random_state=0,
    )
    assert not LeaveGroupOutDetector().fit(StandardScaler().fit_transform(X), y).is_poison_.any()


def test_overlapping_classes_without_a_trigger_hold_no_such_group(trigger):
    X, y, _ = overlapping(900, 0, trigger)
    detector = LeaveGroupOutDetector(Faint(trigger, 1.06), candidates="clusters").fit(X, y)
    assert not detector.is_poison_.any()


def test_given_rows_that_are_alike_within_classes_are_not_whitened():
    rng, y = np.random.RandomState(0), np.repeat([0, 1], 40)
    features = rng.normal(size=(80, 40)) + 3.0 * y[:, None]
    given = 0.1 * np.eye(2)[y].repeat(40, axis=1)
    assert Whitening(given, y, 0).n_axes <= 2
    detector = LeaveGroupOutDetector(lambda X: features, candidates="clusters").fit(given, y)
    assert not detector.is_poison_.any()


def test_rows_that_rightly_have_their_label_are_seen_twice(trigger, monkeypatch):
    """A clean-label attack that neither features nor rows as given show well enough alone."""
    X, y, _ = overlapping(900, 0, trigger)
    victims = np.random.RandomState(0).choice(np.flatnonzero(y == 0), 40, replace=False)
    X[victims, 30:] += trigger
    is_poison = np.isin(np.arange(900), victims)
    representation = Faint(trigger, 2.2)
    detector = LeaveGroupOutDetector(representation, candidates="clusters").fit(X, y)
    assert np.mean(detector.is_poison_[is_poison]) > 0.9
    assert np.mean(detector.is_poison_[~is_poison]) < 0.01
    (group,) = [group for group in detector.groups_ if group.verdict == "poison"]
    assert group.clean_label and group.label == 0
    monkeypatch.setattr(clean_label, "SEEN_TWICE", (1.0, 2.5))
    once = LeaveGroupOutDetector(representation, candidates="clusters").fit(X, y)
    assert not once.is_poison_.any()
    # Rows of the label that were not searched are told by what was given.
    new, labels, _ = overlapping(300, 0, trigger, seed=3)
    has_trigger = (labels == 0) & (np.arange(300) % 2 == 0)
    new[has_trigger, 30:] += trigger
    flagged = detector.flag(new, labels)
    assert np.mean(flagged[has_trigger]) > 0.8 and np.mean(flagged[~has_trigger]) < 0.02
