"""What all image triggers share: layouts, clipping, dtypes, containers, bad input."""

import warnings

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from instances import IMAGE_TRIGGERS, BrightRows, RandomNoise
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier

from skbackdoor import BackdoorPoisoner, evaluate_attack
from skbackdoor.triggers import (
    BlendTrigger,
    FeatureTrigger,
    FunctionTrigger,
    ImageTrigger,
    LowVarianceTrigger,
    PatchTrigger,
    PerClassTrigger,
    SinusoidTrigger,
    StripeTrigger,
    WarpTrigger,
)

rng = np.random.RandomState(0)


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


def test_touched_are_clipped_and_untouched_stay_outside_the_range():
    X = np.array([[-5.0, 7.0, -5.0, 7.0]])
    assert PatchTrigger(2, alpha=0.5).fit_transform(X).tolist() == [[-5, 7, 0, 1]]
    assert PatchTrigger(2, alpha=0).fit_transform(X).tolist() == X.tolist()
    out = PatchTrigger(2, value=1, value_range=(-5, 7)).fit_transform(X)
    assert out.tolist() == [[-5, 7, 1, 1]]


@pytest.mark.parametrize(
    "trigger", [BlendTrigger(2.0), LowVarianceTrigger(image=np.full(9, 2.0))],
    ids=["blend", "low variance"],
)  # fmt: skip
def test_an_image_outside_the_range_is_no_trigger(trigger):
    X = np.random.default_rng(0).random((20, 9))
    with pytest.raises(ValueError, match=r"image.*outside value_range=\(0, 1\)"):
        trigger.fit(X)
    clone(trigger).set_params(value_range=(0, 2)).fit(X)


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (30, 40, 4), (5, 6, 3)])
def test_channels_last_are_told_to_move(shape):
    X = np.random.default_rng(0).random((4, *shape))
    with pytest.raises(ValueError, match=r"np\.moveaxis\(X, -1, 1\)"):
        StripeTrigger().fit(X)
    moved = StripeTrigger().fit(np.moveaxis(X, -1, 1))
    assert moved.image_shape_ == (shape[2], *shape[:2])
    if shape[0] != shape[1]:  # if one insists
        assert StripeTrigger(image_shape=shape).fit(X).image_shape_ == shape


@pytest.mark.parametrize(
    "shape", [(3, 32, 32), (1, 28, 28), (3, 3, 3), (3, 5, 1), (4, 6, 3), (2, 9, 4), (64, 4, 4),
              (512, 1, 1), (6, 1, 128), (22, 5, 7)]
)  # fmt: skip
def test_channels_first_are_taken(shape):
    X = np.random.default_rng(0).random((4, *shape))
    assert StripeTrigger().fit(X).image_shape_ == shape


def test_integers_round_half_to_even():
    X = np.array([[0, 1, 2, 3, 4, 255]], dtype=np.uint8)
    out = PatchTrigger(6, value=1, alpha=0.5, value_range=(0, 255)).fit_transform(X)
    assert out.dtype == np.uint8
    assert out.tolist() == [[0, 1, 2, 2, 2, 128]]  # of 0.5, 1, 1.5, 2, 2.5, 128
    table = np.array([[0, 1, 1]])
    assert PatchTrigger(2, value=0).fit_transform(table).tolist() == [[0, 0, 0]]
    flags = np.array([[True, False, False]])
    out = PatchTrigger(1).fit_transform(flags)
    assert out.dtype == bool and out.tolist() == [[True, False, True]]
    trigger = PatchTrigger(5, value="random", value_range=(0.5, 1.7), random_state=0)
    assert trigger.fit_transform(table.repeat(2, axis=1)).tolist() == [[0, 1, 1, 1, 1, 1]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_dtypes_stay(dtype):
    X = rng.normal(size=(3, 9)).astype(dtype)
    out = PatchTrigger(2, image_shape=(3, 3), alpha=0.3).fit_transform(X)
    assert out.dtype == dtype
    assert out[:, :4].tobytes() == X[:, :4].tobytes()


def test_layouts_agree():
    flat = rng.uniform(size=(4, 75))
    trigger = PatchTrigger(2, value=[0.1, 0.2, 0.3], alpha=0.5)
    batch = trigger.fit_transform(flat.reshape(4, 3, 5, 5))
    flat_trigger = clone(trigger).set_params(image_shape=(3, 5, 5)).fit(flat)
    np.testing.assert_array_equal(batch.reshape(4, -1), flat_trigger.transform(flat))
    # one fitted layout serves flat images and batches of it
    np.testing.assert_array_equal(batch, flat_trigger.transform(flat.reshape(4, 3, 5, 5)))
    gray = PatchTrigger(2).fit(flat.reshape(4, 15, 5))
    assert gray.image_shape_ == (1, 15, 5) and not hasattr(gray, "n_features_in_")
    out = gray.transform(flat.reshape(4, 15, 5))
    assert out.shape == (4, 15, 5)
    np.testing.assert_array_equal(out.reshape(4, -1), gray.transform(flat))
    assert PatchTrigger(2, image_shape=(15, 5)).fit(flat.reshape(4, 15, 5)).image_shape_[0] == 1


def test_refit_on_a_batch_forgets_columns():
    frame = pd.DataFrame(np.zeros((2, 4)), columns=list("abcd"))
    trigger = PatchTrigger(1).fit(frame)
    assert trigger.n_features_in_ == 4
    trigger.fit(np.zeros((2, 3, 3)))
    assert not hasattr(trigger, "n_features_in_") and not hasattr(trigger, "feature_names_in_")
    per_class = PerClassTrigger(PatchTrigger(1)).fit(frame, [0, 1])
    per_class.fit(np.zeros((2, 3, 3)), [0, 1])
    assert not hasattr(per_class, "n_features_in_")


def test_frames_keep_index_columns_and_dtypes():
    index = [5, 5, 1]
    frame = pd.DataFrame(rng.uniform(size=(3, 4)).astype("f4"), columns=list("abcd"), index=index)
    out = PatchTrigger(2).fit_transform(frame)
    expected = frame.copy()
    expected[["c", "d"]] = np.float32(1)
    pd.testing.assert_frame_equal(out, expected)

    mixed = pd.DataFrame(
        {
            "int": [1, 0, 1],
            "f8": [0.25, 0.5, 1],
            "f4": np.array([0, 0.5, 1], "f4"),
            "Int64": pd.array([1, 0, 0], dtype="Int64"),
            "bool": [True, False, True],
        },
        index=index,
    )
    before = mixed.copy()
    out = PatchTrigger((1, 5), value=0.25).fit_transform(mixed)
    assert (out.dtypes == mixed.dtypes).all() and list(out.index) == index
    assert out.astype(float).to_numpy().tolist() == [[0, 0.25, 0.25, 0, 0]] * 3
    pd.testing.assert_frame_equal(mixed, before)
    out = PatchTrigger((1, 2)).fit_transform(pd.DataFrame({10: [0.5], 20: [0.5]}))
    assert list(out.columns) == [10, 20]


def test_new_triggers_are_a_dozen_lines():
    X = np.full((2, 4, 4), 0.9, dtype=np.float32)
    out = BrightRows().fit_transform(X)
    assert (out[:, ::2] == 1).all() and (out[:, 1::2] == X[:, 1::2]).all()
    assert out.dtype == np.float32
    noise = RandomNoise(random_state=0, alpha=0.25, image_shape=(4, 4)).fit(X.reshape(2, 16))
    np.testing.assert_allclose(noise.transform(X), 0.75 * X + 0.25 * noise.pattern_, rtol=1e-6)


def test_readonly_memmap_is_left_alone(tmp_path):
    stored = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (4, 9))
    stored[:] = 0.5
    stored.flush()
    X = np.load(tmp_path / "x.npy", mmap_mode="r")
    for trigger in (PatchTrigger(2, image_shape=(3, 3)), FeatureTrigger({0: 1.0})):
        out = trigger.fit_transform(X)
        assert out.flags.writeable and (out == 1).any() and (np.array(X) == 0.5).all()


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


def test_images_in_tables_of_several_dtypes():
    frame = pd.DataFrame({"a": np.array([0, 1, 250], np.uint8), "b": [0.0, 0.5, 1.0]})
    for value_range in ((0, 300), (-10, 255)):
        with pytest.raises(ValueError, match="does not fit column 'a' of dtype uint8"):
            PatchTrigger(1, value_range=value_range).fit(frame)
    large = pd.DataFrame({"a": [2**53 + 1] * 50, "b": [0.5] * 50})
    trigger = PatchTrigger(
        1, position="random", value=0.5, random_state=0, value_range=(0, 2.0**60)
    )
    out = trigger.fit_transform(large)
    touched = out["a"] != large["a"]
    assert 5 < touched.sum() < 45  # all others bit for bit
    nullable = pd.DataFrame({"i": pd.array([1, 2, 3], dtype="Int64"), "f": [1.0, 2, 3]})
    out = FunctionTrigger(lambda X: X * 2.0).fit_transform(nullable)
    assert out.dtypes.equals(nullable.dtypes) and out["i"].tolist() == [2, 4, 6]


@pytest.mark.parametrize("image_shape", [None, (32, 32, 3)])
def test_square_images_with_their_channels_last(image_shape):
    """An error, also where the shape is given: nobody has 32 channels of 32 x 3 pixels."""
    X = np.zeros((4, 32, 32, 3))
    with pytest.raises(ValueError, match="np.moveaxis"):
        PatchTrigger(3, image_shape=image_shape).fit(X)
    if image_shape is not None:
        with pytest.raises(ValueError, match="channels last"):
            PatchTrigger(3, image_shape=image_shape).fit(X.reshape(4, -1))


@pytest.mark.parametrize(
    "trigger", [SinusoidTrigger(), BlendTrigger(np.ones((8, 8))), WarpTrigger(random_state=0)]
)
def test_pixels_below_the_range_are_spoken_of(trigger):
    X = np.random.default_rng(0).uniform(-1, 1, (5, 3, 8, 8))
    with pytest.warns(UserWarning, match=r"goes down to -0.9\d+: every pixel"):
        trigger.fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clone(trigger).set_params(value_range=(-1, 1)).fit(X)
        PatchTrigger(2).fit(X)  # of the pixels that a patch covers nothing is left


@pytest.mark.parametrize(
    "trigger", [StripeTrigger(5.0), SinusoidTrigger(200.0), SinusoidTrigger(20.0, additive=True)]
)
def test_perturbations_wider_than_the_range(trigger):
    with pytest.raises(ValueError, match="units of pixel values"):
        trigger.fit(np.zeros((2, 1, 8, 8)))


def test_values_at_the_end_of_the_range_may_be_rounded():
    image = np.full((8, 8), 1.0 + 1e-7, dtype=np.float64)
    BlendTrigger(image).fit(np.zeros((2, 1, 8, 8)))
    PatchTrigger(2, value=np.float32(0.1), value_range=(0, 0.1)).fit(np.zeros((2, 1, 8, 8)))
