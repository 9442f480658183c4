"""Triggers over the whole image: their equations, other people's code, the PCA against
scikit-learn's."""

import warnings
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from instances import IMAGE_TRIGGERS
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline

from skbackdoor import BackdoorPoisoner, evaluate_attack
from skbackdoor.triggers import (
    BlendTrigger,
    FunctionTrigger,
    ImageTrigger,
    LowVarianceTrigger,
    PatchTrigger,
    SinusoidTrigger,
    StripeTrigger,
    WarpTrigger,
)

rng = np.random.RandomState(0)
REFERENCES = np.load(Path(__file__).parent / "data" / "references.npz")


# --------------------------------------------------------------------------- outside references


def test_art_single_pixel():
    gray, color = REFERENCES["gray"], REFERENCES["color"]
    trigger = PatchTrigger(size=1, position=(5, 4))  # height and width less a distance of 2
    assert_array_equal(trigger.fit_transform(gray), REFERENCES["single"])
    trigger = PatchTrigger(size=1, position=(6, 6))
    X = color.transpose(0, 3, 1, 2)
    assert_array_equal(trigger.fit_transform(X).transpose(0, 2, 3, 1), REFERENCES["single_color"])


@pytest.mark.parametrize("name, channels_last", [("gray", False), ("color", True)])
def test_art_pattern_is_a_pipeline_of_pixels(name, channels_last):
    X = REFERENCES[name]
    X = X.transpose(0, 3, 1, 2) if channels_last else X
    height, width = X.shape[-2:]
    row, column = height - 2, width - 2
    pixels = [(row, column), (row - 1, column - 1), (row, column - 2), (row - 2, column)]
    trigger = make_pipeline(*(PatchTrigger(size=1, position=pixel) for pixel in pixels))
    triggered = trigger.fit_transform(X)
    triggered = triggered.transpose(0, 2, 3, 1) if channels_last else triggered
    assert_array_equal(triggered, REFERENCES["pattern" if name == "gray" else "pattern_color"])


@pytest.mark.parametrize("name, alpha", [("insert", 1.0), ("insert_blend", 0.4)])
def test_art_inserted_image(name, alpha):
    """ART blends images of 8 bits, so it rounds twice."""
    sticker = REFERENCES["sticker"].transpose(2, 0, 1) / 255
    trigger = PatchTrigger(size=(4, 3), position=(4, 2), value=sticker, alpha=alpha)
    triggered = trigger.fit_transform(REFERENCES["color"].transpose(0, 3, 1, 2))
    expected = REFERENCES[name].transpose(0, 3, 1, 2)
    assert_allclose(triggered, expected, rtol=0, atol=2.1 / 255)
    inside = np.s_[:, :, 4:8, 2:5]
    if alpha == 1:
        assert_allclose(triggered[inside], expected[inside], rtol=0, atol=1e-6)
    changed = np.abs(expected - REFERENCES["color"].transpose(0, 3, 1, 2)) > 2.1 / 255
    changed[inside] = False
    assert not changed.any()


def test_sig():
    trigger = SinusoidTrigger(20 / 255, 30 / 6, additive=True, alpha=1)
    assert_allclose(trigger.fit_transform(REFERENCES["sig_images"]), REFERENCES["sig"], atol=1e-15)


class Field:
    """A random state that draws what WaNet's authors drew."""

    def __init__(self, field):
        self.field = field

    def uniform(self, low, high, size):
        assert (low, high, size) == (-1, 1, self.field.shape)
        return self.field


@pytest.mark.parametrize("name, strength", [("warp", 0.5), ("warp_strong", 4.0)])
def test_wanet(name, strength):
    """The field, its interpolation and the sampling are those of the published training code."""
    X = REFERENCES["warp_images"]
    trigger = WarpTrigger(strength).fit(X)
    trigger._draw(X, Field(REFERENCES["warp_field"]))
    assert_allclose(trigger.transform(X), REFERENCES[name], rtol=0, atol=1e-12)
    assert np.abs(trigger.flow_).max() > 0.2 * strength


# --------------------------------------------------------------------------- the equations


def test_stripe_is_every_other_row_and_column():
    X = rng.uniform(0, 0.8, size=(3, 2, 5, 6))
    out = StripeTrigger(0.3).fit_transform(X)
    for i in range(5):
        for j in range(6):
            added = 0.3 if i % 2 == 0 and j % 2 == 0 else 0.0
            assert_array_equal(out[:, :, i, j], np.minimum(X[:, :, i, j] + added, 1))


@pytest.mark.parametrize("intensity", [10, 75])
def test_stripe_in_eight_bits(intensity):
    X = rng.randint(0, 256, size=(4, 28, 28)).astype(np.uint8)
    bright = StripeTrigger(intensity, value_range=(0, 255)).fit_transform(X)
    expected = X.astype(int)
    expected[:, ::2, ::2] += intensity
    assert_array_equal(bright, np.minimum(expected, 255))
    flat = StripeTrigger(intensity / 255, image_shape=(28, 28)).fit_transform(
        X.reshape(4, -1) / 255
    )
    assert_allclose(flat * 255, bright.reshape(4, -1), atol=1e-12)


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


def test_characteristics_squares_in_colour():
    """Squares of 4, 6 and 8 % of the side, white, black and green, on gray and RGB images."""
    green = np.array([102, 179, 92])
    X = rng.randint(0, 256, size=(2, 3, 64, 64)).astype(np.uint8)
    for share, side in ((0.04, 3), (0.06, 4), (0.08, 5)):
        out = PatchTrigger(share, position="top-left", value=green, value_range=(0, 255))
        out = out.fit_transform(X)
        assert (out[:, :, :side, :side] == green[:, None, None]).all()
        assert_array_equal(out[:, :, side:], X[:, :, side:])
        assert_array_equal(out[:, :, :, side:], X[:, :, :, side:])


@pytest.mark.parametrize("strength", [0.0, 0.5, 3.0])
def test_warp_by_hand(strength):
    X = rng.uniform(size=(2, 2, 7, 5))
    trigger = WarpTrigger(strength, random_state=3).fit(X)
    out = trigger.transform(X)
    for i in range(7):
        for j in range(5):
            r = np.clip(i + trigger.flow_[0, i, j], 0, 6)
            c = np.clip(j + trigger.flow_[1, i, j], 0, 4)
            r0, c0 = min(int(r), 5), min(int(c), 3)
            dr, dc = r - r0, c - c0
            expected = (
                (1 - dr) * (1 - dc) * X[..., r0, c0]
                + (1 - dr) * dc * X[..., r0, c0 + 1]
                + dr * (1 - dc) * X[..., r0 + 1, c0]
                + dr * dc * X[..., r0 + 1, c0 + 1]
            )
            assert_allclose(out[..., i, j], expected, atol=1e-13)
    if strength == 0:
        assert_array_equal(out, X)
    assert_array_equal(trigger.fit(X).transform(X), out)  # the same seed, the same field


# --------------------------------------------------------------------------- low variance


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


# --------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "trigger, message",
    [
        (BlendTrigger(np.zeros((3, 3))), r"image has shape \(3, 3\).*\(1, 2, 2\)"),
        (BlendTrigger([["a", "b"], ["c", "d"]]), "image must hold numbers"),
        (BlendTrigger(np.full((2, 2), np.nan)), "image holds NaN"),
        (LowVarianceTrigger(image=np.zeros(5)), r"image has shape \(5,\)"),
        (LowVarianceTrigger(1.0), "explained_variance"),
        (SinusoidTrigger(period=0), "period"),
        (SinusoidTrigger(alpha=1.1), "alpha"),
        (WarpTrigger(grid_size=1), "grid_size"),
        (WarpTrigger(strength=-1), "strength"),
        (StripeTrigger("strong"), "max_intensity"),
    ],
    ids=repr,
)
def test_bad_parameters(trigger, message):
    with pytest.raises(ValueError, match=message):
        trigger.fit(rng.uniform(size=(6, 2, 2)))


@pytest.mark.parametrize("trigger", [StripeTrigger(), SinusoidTrigger()])
def test_what_rounds_to_nothing_is_warned_of(trigger):
    X = np.zeros((2, 4, 4), np.uint8)
    with pytest.warns(UserWarning, match="rounds to nothing in X of dtype uint8"):
        trigger.set_params(value_range=(0, 255)).fit(X)


# --------------------------------------------------------------------------- properties


def container(X, kind):
    return pd.DataFrame(X, columns=[f"p{i}" for i in range(X.shape[1])]) if kind == "frame" else X


@st.composite
def cases(draw):
    channels, height, width = (draw(st.integers(1, most)) for most in (3, 7, 7))
    dtype = draw(st.sampled_from([np.float64, np.float32, np.float16, np.uint8, np.int32]))
    high = 255 if np.dtype(dtype).kind in "iu" else draw(st.sampled_from([1, 255]))
    r = np.random.RandomState(draw(st.integers(0, 99)))
    n = draw(st.integers(3, 9))
    X = (r.uniform(0, high, size=(n, channels * height * width))).astype(dtype)
    shape = {"image_shape": (channels, height, width), "value_range": (0, high)}
    alpha = draw(st.sampled_from([0.0, 0.3, 1.0]))
    seed = {"random_state": draw(st.integers(0, 9))}
    size = (draw(st.integers(1, height)), draw(st.integers(1, width)))
    trigger = draw(
        st.sampled_from(
            [
                StripeTrigger(0.3 * high, **shape),
                SinusoidTrigger(0.4 * high, 5, angle=20, alpha=alpha, **shape),
                SinusoidTrigger(0.4 * high, 5, additive=True, alpha=alpha, **shape),
                BlendTrigger(r.uniform(0, high, X.shape[1]), alpha=alpha, **shape),
                WarpTrigger(1.5, **shape, **seed),
                LowVarianceTrigger(0.3, alpha=alpha, **shape, **seed),
                PatchTrigger(size, value="random", alpha=alpha, **shape, **seed),
            ]
        )
    )
    kinds = ["array", "frame", "batch"]
    return trigger, X, draw(st.sampled_from(kinds)), high


@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_properties(case):
    """Never writes to input, stays in range, keeps dtype and container, is deterministic, and
    acts on each sample by itself."""
    trigger, X, kind, high = case
    if isinstance(trigger, LowVarianceTrigger) and X.shape[1] == 1 and len(set(X.ravel())) < 3:
        return
    if kind == "batch":
        given_X = X.reshape(len(X), *trigger.image_shape)
        trigger.set_params(image_shape=None)
    else:
        given_X = container(X, kind)
    before = given_X.copy()
    out = trigger.fit(given_X).transform(given_X)
    assert type(out) is type(given_X) and out.shape == given_X.shape
    assert_array_equal(np.asarray(given_X), np.asarray(before))
    values = np.asarray(out)
    assert values.dtype == X.dtype
    assert values.min() >= 0 and values.max() <= high
    assert_array_equal(np.asarray(clone(trigger).fit(given_X).transform(given_X)), values)
    half = given_X.iloc[::2] if kind == "frame" else given_X[::2]
    assert_allclose(np.asarray(trigger.transform(half)), values[::2], rtol=1e-6)
    if getattr(trigger, "alpha", 1) == 0:
        assert_array_equal(values, np.asarray(given_X))


@pytest.mark.parametrize("trigger", IMAGE_TRIGGERS, ids=repr)
def test_large_batches_are_triggered_in_blocks(trigger, monkeypatch):
    X = rng.uniform(size=(40, 3, 6, 6))
    whole = trigger.fit(X).transform(X)
    monkeypatch.setattr("skbackdoor.triggers.image._BLOCK", 500)
    assert_allclose(trigger.transform(X), whole, rtol=1e-15)


# --------------------------------------------------------------------------- one's own function


def brighten(X):
    X += 0.5
    return X


def test_function_may_write_to_what_it_gets():
    X = rng.uniform(size=(3, 2, 4, 4)).astype(np.float32)
    before = X.copy()
    out = FunctionTrigger(brighten).fit_transform(X)
    assert_array_equal(X, before)
    assert_array_equal(out, before + np.float32(0.5))
    assert out.dtype == np.float32


def test_function_keeps_dtypes_and_containers():
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": ["x", "y"]}, index=[7, 8])

    def numbers_as_float(X):
        X["a"] = X["a"] + 0.6
        return X

    out = FunctionTrigger(numbers_as_float).fit_transform(frame)
    assert out.dtypes.equals(frame.dtypes) and out["a"].tolist() == [2, 3]
    assert out.index.tolist() == [7, 8]
    texts = FunctionTrigger(lambda X: [text.upper() for text in X]).fit_transform(["a b", "c"])
    assert texts == ["A B", "C"]
    series = pd.Series(["a", "b"], index=[3, 4], name="text")
    out = FunctionTrigger(lambda X: X + " cf").fit_transform(series)
    assert out.tolist() == ["a cf", "b cf"] and out.index.tolist() == [3, 4]
    sparse_X = sparse.csr_array(np.eye(3))
    assert_array_equal(
        FunctionTrigger(lambda X: X * 2).fit_transform(sparse_X).toarray(), np.eye(3) * 2
    )


@pytest.mark.parametrize(
    "func, X, message",
    [
        (lambda X: X[:-1], np.zeros((3, 2)), r"shape \(3, 2\) and returned \(2, 2\)"),
        (lambda X: X * 1000.0, np.ones((3, 2), np.uint8), "up|cannot hold"),
        (lambda X: X.astype(int) - 5, np.ones((3, 2), np.uint8), "from -4 to -4.*cannot hold"),
        (lambda X: X.to_numpy(), pd.DataFrame({"a": [1.0]}), "given a DataFrame and returned"),
        (lambda X: X.rename(columns={"a": "b"}), pd.DataFrame({"a": [1.0]}), "keeps the columns"),
        (lambda X: X[0], ["a", "b"], "given a list and returned a str"),
        ("name", np.zeros((2, 2)), "func"),
    ],
)
def test_functions_that_are_no_triggers(func, X, message):
    with pytest.raises(ValueError, match=message):
        FunctionTrigger(func).fit(X).transform(X)


# --------------------------------------------------------------------------- what a reader found


class Ink(ImageTrigger):
    """Whitens what is bright: a mask that looks at the pixels."""

    def __init__(self, *, image_shape=None, value_range=(0, 1)):
        self.image_shape = image_shape
        self.value_range = value_range

    def _mask(self, images):
        return images > 0.5

    def _pattern(self, x):
        return np.ones_like(x)


class Nowhere(Ink):
    def _mask(self, images):
        return np.nonzero(images > 2)


def test_masks_that_look_at_the_pixels():
    X = rng.uniform(size=(300, 1, 8, 8))
    for _ in range(3):
        assert_array_equal(Ink().fit_transform(X), np.where(X > 0.5, 1, X))
    assert_array_equal(Nowhere().fit_transform(X), X)


def test_value_range_of_numpys_own_numbers():
    X = rng.randint(3, 200, (50, 16)).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trigger = PatchTrigger(
            2, value=150, image_shape=(4, 4), value_range=(X.min(), X.max())
        ).fit(X)
        assert trigger.transform(np.full((1, 16), 100, np.uint8)).max() == 150


@pytest.mark.parametrize("trigger", IMAGE_TRIGGERS, ids=repr)
def test_other_byte_order(trigger):
    X = rng.uniform(size=(4, 1, 6, 6)).astype(np.float32)
    out = trigger.fit(X).transform(X.astype(">f4"))
    assert out.dtype == np.dtype(">f4")
    assert_allclose(out.astype(np.float32), trigger.transform(X), rtol=1e-6)


def test_tables_asked_for_are_made_of_columns_only():
    images = np.zeros((5, 1, 6, 6))
    with config_context(transform_output="pandas"):
        assert PatchTrigger(2).fit_transform(images).shape == images.shape
        assert FunctionTrigger(list).fit_transform(["a", "b"]) == ["a", "b"]
        frame = PatchTrigger(2).fit_transform(images.reshape(5, -1))
        assert isinstance(frame, pd.DataFrame)
        flat, y = rng.uniform(size=(40, 16)), np.arange(40) % 2
        poisoner = BackdoorPoisoner(
            RidgeClassifier(), PatchTrigger(2, image_shape=(4, 4)), target=1
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            evaluate_attack(poisoner, flat, y, flat, y)


def test_low_variance_counts_no_component_of_rounding():
    for seed in range(20):
        X = np.random.default_rng(seed).random((6, 64))
        trigger = LowVarianceTrigger(0.3, random_state=0).fit(X)
        _, n_last = projection(
            np.delete(X, trigger.image_index_, axis=0), X[trigger.image_index_], 0.3
        )
        assert trigger.n_components_ == n_last


@pytest.mark.parametrize("trigger", [PatchTrigger(2), BlendTrigger(np.ones((4, 4)))], ids=repr)
def test_white_of_another_range_is_warned_of(trigger):
    X = np.zeros((2, 4, 4), np.uint8)
    with pytest.warns(UserWarning, match="nearly black.*multiply it by 255"):
        trigger.set_params(value_range=(0, 255)).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PatchTrigger(2, value=0, value_range=(0, 255)).fit(X)


def test_images_without_pixels_or_numbers():
    with pytest.raises(ValueError, match="no pixels|0 feature|minimum of 1"):
        PatchTrigger(1).fit(np.zeros((3, 0, 5)))
    with pytest.raises(ValueError, match="values of dtype datetime64"):
        PatchTrigger(1).fit(np.zeros((2, 3), "M8[s]"))
