"""STRIP: its entropies by a loop, its rate of false alarms by drawing, and triggered digits."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skbackdoor import BackdoorPoisoner, PatchTrigger, StripFilter


def data(seed=0, n=120, n_features=5):
    rng = np.random.RandomState(seed)
    X = rng.uniform(size=(n, n_features))
    return X, (X.sum(axis=1) + X[:, 0] > 0.5 + n_features / 2).astype(int)


def model(seed=0):
    return LogisticRegression(C=10).fit(*data(seed))


@pytest.mark.parametrize("value_range", [(0, 1), (0, 1.5), None])
def test_scores_are_mean_entropies_of_saturated_sums(value_range):
    X, _ = data(1)
    classifier = model()
    strip = StripFilter(classifier, n_blends=30, value_range=value_range, random_state=0).fit(X)
    assert strip.overlays_.shape == (30, 5)
    new = data(2)[0][:20]
    for x, score in zip(new, strip.score_samples(new)):
        sums = x + strip.overlays_
        sums = sums if value_range is None else np.minimum(sums, value_range[1])
        p = classifier.predict_proba(sums)
        assert_allclose(score, np.mean(-np.sum(p * np.log2(p), axis=1)), rtol=1e-9)
    assert_allclose(strip.decision_function(new), strip.score_samples(new) - strip.offset_)
    refused = strip.score_samples(new) < strip.offset_
    assert_array_equal(strip.predict(new), np.where(refused, -1, 1))


@pytest.mark.filterwarnings("ignore:A threshold")
@pytest.mark.parametrize("n_clean, rate", [(40, 0.05), (40, 0.2), (84, 0.05), (40, 0.03)])
def test_of_clean_samples_as_many_are_refused_as_asked_for(n_clean, rate):
    """On average over draws of both: rank / (n + 1), the largest of these up to the rate."""
    classifier, n_blends, n_draws = Sum(), 5, 200
    calibrating = n_clean - n_blends
    refused = []
    for seed in range(n_draws):
        X, _ = data(seed, n_clean + 100)
        strip = StripFilter(
            classifier, n_blends=n_blends, false_positive_rate=rate, random_state=seed
        ).fit(X[:n_clean])
        refused.append(np.mean(strip.predict(X[n_clean:]) == -1))
    expected = np.floor((calibrating + 1) * rate + 1e-9) / (calibrating + 1)
    assert rate - 1 / (calibrating + 1) < expected <= rate + 1e-9
    assert np.mean(refused) == pytest.approx(expected, abs=4 * np.std(refused) / n_draws**0.5)


class Sum(ClassifierMixin, BaseEstimator):
    """Without overhead."""

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        second = 1 / (1 + np.exp(4 * (X.shape[1] * 0.75 - X.sum(axis=1))))
        return np.column_stack([1 - second, second])

    def __sklearn_is_fitted__(self):
        return True


def test_where_all_are_alike_none_is_refused():
    class Undecided(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict_proba(self, X):
            return np.full((len(X), 2), 0.5)

    X, y = data()
    strip = StripFilter(Undecided().fit(X, y), random_state=0).fit(X)
    assert_allclose(strip.score_samples(X), 1.0)
    assert (strip.predict(X) == 1).all()


def test_too_few_clean_samples_are_spoken_of_and_refuse_nothing():
    X, _ = data()
    with pytest.warns(UserWarning, match="needs 19 clean samples beside the 18 .* there are 18"):
        strip = StripFilter(model(), random_state=0).fit(X[:36])
    assert strip.offset_ == -np.inf and (strip.predict(X) == 1).all()


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.5, stratify=y, random_state=0)
    X_clean, X_test, _, y_test = train_test_split(X_test, y_test, test_size=0.5, random_state=0)
    return X, y, X_clean, X_test, y_test


def test_triggered_digits_are_refused(digits):
    X, y, X_clean, X_test, y_test = digits
    poisoner = BackdoorPoisoner(
        LogisticRegression(C=10, max_iter=2000), PatchTrigger(size=3, image_shape=(8, 8)),
        target=7, random_state=0,
    ).fit(X, y)  # fmt: skip
    strip = StripFilter(poisoner, n_blends=50, random_state=0).fit(X_clean)
    triggered, _, _ = poisoner.triggered_test(X_test, y_test)
    assert np.mean(strip.predict(triggered) == -1) > 0.95
    assert np.mean(strip.predict(X_test) == -1) < 0.1


def test_containers_and_shapes_have_the_scores_of_flat_arrays():
    X, y = data(n_features=6)
    strip = StripFilter(LogisticRegression().fit(X, y), random_state=0)
    expected = strip.fit(X).score_samples(X[:9])
    sparse = strip.fit(csr_matrix(X)).score_samples(csr_matrix(X[:9]))
    assert_allclose(sparse, expected)
    frame = pd.DataFrame(X, columns=list("abcdef"), index=range(7, 7 + len(X)))
    named = StripFilter(LogisticRegression().fit(frame, y), random_state=0).fit(frame)
    assert_allclose(named.score_samples(frame[:9]), expected)
    assert list(named.feature_names_in_) == list("abcdef")

    class Flat(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.inner_ = LogisticRegression().fit(X.reshape(len(X), -1), y)
            return self

        def predict_proba(self, X):
            assert X.shape[1:] == (2, 3)
            return self.inner_.predict_proba(X.reshape(len(X), -1))

    images = X.reshape(-1, 2, 3)
    strip = StripFilter(Flat().fit(images, y), random_state=0).fit(images)
    assert_allclose(strip.score_samples(images[:9]), expected)


def test_bytes_saturate_and_stay_bytes():
    rng = np.random.RandomState(0)
    X = rng.randint(0, 256, size=(80, 4), dtype=np.uint8)
    seen = []

    class Watching(LogisticRegression):
        def predict_proba(self, X):
            seen.append(X)
            return super().predict_proba(X)

    classifier = Watching().fit(X, X[:, 0] > 127)
    strip = StripFilter(classifier, value_range=(0, 255), n_blends=3, random_state=0).fit(X)
    seen.clear()
    strip.predict(X)
    assert len(seen) == 3 and all(each.dtype == np.uint8 for each in seen)
    for each, overlay in zip(seen, strip.overlays_):
        assert_array_equal(each, np.minimum(X.astype(int) + overlay, 255))


def test_errors_say_what_is_wrong():
    X, y = data()
    with pytest.raises(NotFittedError):
        StripFilter(LogisticRegression()).fit(X)
    with pytest.raises(NotFittedError):
        StripFilter(model()).predict(X)
    with pytest.raises(ValueError, match="estimator"):
        StripFilter(object()).fit(X)
    with pytest.raises(ValueError, match=r"from .* to 2.* value_range=\(0, 1\)"):
        StripFilter(model()).fit(np.where(X > 0.9, 2.0, X))
    for value_range in [(1, 0), (0, 1, 2), ("a", "b")]:
        with pytest.raises(ValueError, match="must be two numbers"):
            StripFilter(model(), value_range=value_range).fit(X)
    with pytest.raises(ValueError, match="minimum of 2"):
        StripFilter(model()).fit(X[:1])
    with pytest.raises(ValueError, match="NaN"):
        StripFilter(model()).fit(np.where(X > 0.9, np.nan, X))
    with pytest.raises(ValueError, match="expecting 5 features"):
        StripFilter(model()).fit(X).predict(X[:, :4])


def test_a_frozen_classifier_survives_a_clone():
    X, _ = data()
    strip = StripFilter(model(), random_state=0)
    frozen = clone(StripFilter(FrozenEstimator(model()), random_state=0)).fit(X)
    assert_array_equal(frozen.score_samples(X), strip.fit(X).score_samples(X))
    with pytest.raises(NotFittedError):
        clone(strip).fit(X)
