"""Triggers: the definitions as closed-form facts, properties over random inputs, bad input."""

import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from instances import BrightRows, RandomNoise
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skbackdoor.triggers import (
    BlendTrigger,
    FeatureTrigger,
    LowVarianceTrigger,
    PatchTrigger,
    PerClassTrigger,
    StripeTrigger,
)

rng = np.random.RandomState(0)


def test_works_without_pandas():
    code = (
        "import sys\n"
        "class NoPandas:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'pandas':\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, NoPandas())\n"
        "from skbackdoor.triggers import FeatureTrigger, PatchTrigger, PerClassTrigger\n"
        "for trigger in (PatchTrigger(1), FeatureTrigger({1: 1.0})):\n"
        "    out = PerClassTrigger(trigger).fit_transform([[0.5, 0.5]], ['a'])\n"
        "    assert out.tolist() == [[0.5, 1.0]]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --------------------------------------------------------------------------- the patch


def patch_mask(trigger, shape):
    """The mask m of the definition, from the fitted attributes: (height, width), bool."""
    m = np.zeros(shape, dtype=bool)
    (row, column), (height, width) = trigger.position_, trigger.pattern_.shape[1:]
    m[row : row + height, column : column + width] = True
    return m


@pytest.mark.parametrize(
    "position, corner",
    [
        ("top-left", (0, 0)),
        ("top-right", (0, 5)),
        ("bottom-left", (4, 0)),
        ("bottom-right", (4, 5)),
        ("center", (2, 2)),
        ((1, 3), (1, 3)),
        ([np.int64(4), 5], (4, 5)),
    ],
)
def test_position(position, corner):
    X = rng.uniform(size=(5, 48))
    trigger = PatchTrigger(size=(2, 3), position=position, image_shape=(6, 8)).fit(X)
    out = trigger.transform(X).reshape(-1, 6, 8)
    row, column = corner
    m = np.zeros((6, 8), dtype=bool)
    m[row : row + 2, column : column + 3] = True
    assert trigger.position_ == corner
    assert (out[:, m] == 1).all()
    assert (out[:, ~m] == X.reshape(-1, 6, 8)[:, ~m]).all()


@pytest.mark.parametrize(
    "size, expected",
    [
        (1, (1, 1)),
        (4, (4, 4)),
        (0.5, (5, 10)),
        (0.01, (1, 1)),
        (0.99, (10, 20)),
        ((2, 7), (2, 7)),
        ([10, 20], (10, 20)),
        (np.float64(0.25), (2, 5)),
    ],
)
def test_size(size, expected):
    trigger = PatchTrigger(size=size, image_shape=(10, 20)).fit(np.zeros((1, 200)))
    assert trigger.pattern_.shape == (1, *expected)
    out = trigger.transform(np.zeros((1, 200)))
    assert out.sum() == expected[0] * expected[1]


def test_one_row_layout():
    X = np.zeros((2, 6))
    assert PatchTrigger(size=2).fit_transform(X).tolist() == [[0, 0, 0, 0, 1, 1]] * 2
    out = PatchTrigger(size=0.5, position=(0, 1), value=[[1, 0.5, 0.25]]).fit_transform(X)
    assert out.tolist() == [[0, 1, 0.5, 0.25, 0, 0]] * 2


def test_values_number_colour_array():
    X = np.full((2, 3, 4, 4), 0.5)
    corner = np.s_[:, :, 2:, 2:]
    for value in (0.25, [0.1, 0.2, 0.3], rng.uniform(size=(2, 2)), rng.uniform(size=(3, 2, 2))):
        out = PatchTrigger(size=2, value=value).fit_transform(X)
        full = np.asarray(value)
        if full.shape == (3,):
            full = full[:, None, None]
        np.testing.assert_array_equal(out[corner], np.broadcast_to(full, (2, 3, 2, 2)))
        assert out.shape == X.shape


def test_random_value_is_drawn_once_per_fit_in_value_range():
    X = np.zeros((20, 2, 5, 5))
    trigger = PatchTrigger(value="random", value_range=(-3, -1), random_state=7).fit(X)
    out = trigger.transform(X)[:, :, 2:, 2:]
    assert (out == out[:1]).all() and np.unique(out[0]).size == 18
    assert out.min() >= -3 and out.max() <= -1
    again = clone(trigger).fit(X[:3])
    np.testing.assert_array_equal(again.pattern_, trigger.pattern_)
    assert (clone(trigger).set_params(random_state=8).fit(X).pattern_ != trigger.pattern_).any()


def test_random_position():
    X = np.zeros((500, 1, 6, 7))
    trigger = PatchTrigger(size=(2, 3), position="random", random_state=0).fit(X)
    out = trigger.transform(X)
    np.testing.assert_array_equal(out, trigger.transform(X))
    np.testing.assert_array_equal(out[:9], trigger.transform(X[:9]))
    places = set()
    for image in out[:, 0]:
        rows, columns = np.nonzero(image)
        assert image.sum() == 6 and np.ptp(rows) == 1 and np.ptp(columns) == 2
        places.add((rows.min(), columns.min()))
    assert places == {(r, c) for r in range(5) for c in range(5)}  # every place, to the edges
    colour = PatchTrigger(size=1, position="random", value=[0.1, 0.2, 0.3], random_state=0)
    sums = colour.fit_transform(np.zeros((9, 3, 4, 4))).sum(axis=(2, 3))
    np.testing.assert_allclose(sums, [[0.1, 0.2, 0.3]] * 9)


def test_blend_is_equation_7():
    X, value = rng.uniform(size=(6, 3, 5, 5)), rng.uniform(size=(3, 2, 2))
    for alpha in (0, 0.2, 0.5, 1):
        trigger = PatchTrigger(size=2, value=value, alpha=alpha).fit(X)
        m = patch_mask(trigger, (5, 5))
        pattern = np.zeros((3, 5, 5))
        pattern[:, m] = value.reshape(3, 4)
        expected = m * ((1 - alpha) * X + alpha * pattern) + (1 - m) * X
        np.testing.assert_allclose(trigger.transform(X), expected, rtol=1e-15)
    assert (PatchTrigger(alpha=0).fit_transform(X) == X).all()


def test_touched_are_clipped_and_untouched_stay_outside_the_range():
    X = np.array([[-5.0, 7.0, -5.0, 7.0]])
    assert PatchTrigger(2, alpha=0.5).fit_transform(X).tolist() == [[-5, 7, 0, 1]]
    assert PatchTrigger(2, alpha=0).fit_transform(X).tolist() == X.tolist()
    out = PatchTrigger(2, value=1, value_range=(-5, 7)).fit_transform(X)
    assert out.tolist() == [[-5, 7, 1, 1]]


@pytest.mark.parametrize(
    ("value", "value_range", "way_out"),
    [
        (5.0, (0, 1), r"value=5.0 lies outside value_range=\(0, 1\).*value_range=\(0, 5\)"),
        (-1, (0, 1), r"value=-1 lies outside.*value_range=\(-1, 1\)"),
        ([0.5, 2, 0.5], (0, 1), r"value holds pixel values from 0.5 to 2.*value_range=\(0, 2\)"),
        (np.full((2, 2), 300), (0, 255), r"from 300 to 300.*value_range=\(0, 300\)"),
    ],
)
def test_a_value_outside_the_range_is_no_patch(value, value_range, way_out):
    X = np.zeros((4, 3, 8, 8))
    with pytest.raises(ValueError, match=way_out):
        PatchTrigger(2, value=value, value_range=value_range).fit(X)
    PatchTrigger(2, value=value, value_range=(-1, 300)).fit(X)


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
    assert StripeTrigger(image_shape=shape).fit(X).image_shape_ == shape  # if one insists


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


# --------------------------------------------------------------------------- properties

DTYPES = {np.float32: (0, 1), np.float64: (-2, 3), np.uint8: (0, 255), np.int16: (-100, 300)}


@st.composite
def patches(draw):
    """A trigger and data that fit each other, with pixels also outside the range for floats."""
    channels = draw(st.integers(1, 3))
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    patch = draw(st.integers(1, height)), draw(st.integers(1, width))
    dtype = np.dtype(draw(st.sampled_from(list(DTYPES))))
    low, high = DTYPES[dtype.type]
    corner = (
        draw(st.integers(0, height - patch[0])),
        draw(st.integers(0, width - patch[1])),
    )
    share = draw(st.floats(0.01, 0.99))
    square = draw(st.integers(1, min(height, width)))
    trigger = PatchTrigger(
        size=draw(st.sampled_from([patch, share, square])),
        position=draw(
            st.sampled_from(["top-left", "top-right", "bottom-left", "center", "random"])
        ),
        value=draw(st.sampled_from(["random", low, high, (low + high) / 2])),
        alpha=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        value_range=(low, high),
        random_state=draw(st.integers(0, 99)),
    )
    if trigger.size is patch and draw(st.booleans()):
        trigger.set_params(position=corner)
    data = np.random.RandomState(draw(st.integers(0, 999)))
    n_samples = draw(st.integers(1, 6))
    X = data.uniform(low, high, size=(n_samples, channels, height, width))
    if dtype.kind == "f":
        X = X * 3 - 1
    X = X.astype(dtype)
    container = draw(st.sampled_from(["batch", "flat", "fortran", "view", "frame"]))
    if container != "batch":
        X = X.reshape(n_samples, -1)
        trigger.set_params(image_shape=(channels, height, width))
    if container == "fortran":
        X = np.asfortranarray(X)
    elif container == "view":
        X = np.repeat(X, 2, axis=1)[:, ::2]
    elif container == "frame":
        X = pd.DataFrame(X, columns=[f"p{i}" for i in range(X.shape[1])])
    else:
        X.flags.writeable = False
    return trigger, X


@settings(deadline=None, max_examples=300)
@given(patches())
def test_patch_properties(case):
    trigger, X = case
    before = np.array(X)
    assume(trigger.fit(X) is trigger)
    out = trigger.transform(X)
    assert (np.array(X) == before).all()
    assert type(out) is type(X) and out.shape == X.shape
    after = np.array(out)
    assert after.dtype == before.dtype and not np.shares_memory(after, before)
    np.testing.assert_array_equal(after, np.array(clone(trigger).fit(X).transform(X)))

    low, high = trigger.value_range
    shape = trigger.image_shape_
    images, originals = after.reshape(-1, *shape), before.reshape(-1, *shape)
    changed = (images != originals).any(axis=1)
    area = trigger.pattern_[0].size
    assert (changed.sum(axis=(1, 2)) <= area).all()
    values = images[images != originals]
    assert (values >= low).all() and (values <= high).all()
    if trigger.alpha == 0:
        assert after.tobytes() == before.tobytes()
    if trigger.position != "random":
        m = patch_mask(trigger, shape[1:])
        assert not changed[:, ~m].any()
        if trigger.alpha > 0:
            assert (images[..., m] >= low).all() and (images[..., m] <= high).all()
        if trigger.alpha == 1:
            pattern = np.clip(trigger.pattern_, low, high)
            pattern = np.rint(pattern) if after.dtype.kind in "iu" else pattern
            assert (images[..., m] == pattern.astype(after.dtype).reshape(shape[0], -1)).all()
        half = X.iloc[::2] if hasattr(X, "iloc") else X[::2]
        np.testing.assert_array_equal(np.array(trigger.transform(half)), after[::2])


def test_readonly_memmap_is_left_alone(tmp_path):
    stored = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (4, 9))
    stored[:] = 0.5
    stored.flush()
    X = np.load(tmp_path / "x.npy", mmap_mode="r")
    for trigger in (PatchTrigger(2, image_shape=(3, 3)), FeatureTrigger({0: 1.0})):
        out = trigger.fit_transform(X)
        assert out.flags.writeable and (out == 1).any() and (np.array(X) == 0.5).all()


# --------------------------------------------------------------------------- bad patches

FLAT = np.zeros((2, 64))
COLOUR = np.zeros((2, 3, 8, 8))


@pytest.mark.parametrize(
    "params, X, words",
    [
        ({"size": 9}, COLOUR, ["size=9", "9x9", "larger than the image of 8x8", "smaller size"]),
        ({"size": (1, 65)}, FLAT, ["size=(1, 65)", "1x65", "image of 1x64", "image_shape"]),
        ({"size": (2, 2)}, FLAT, ["2x2", "1x64", "image_shape"]),
        ({"size": (1, 2, 3)}, FLAT, ["size=(1, 2, 3)", "(height, width)"]),
        ({"size": (0.5, 2)}, FLAT, ["size=(0.5, 2)", "(height, width)"]),
        ({"size": 0}, FLAT, ["'size'", "Got 0"]),
        ({"size": 1.5}, FLAT, ["'size'", "Got 1.5"]),
        ({"size": "3"}, FLAT, ["'size'", "Got '3'"]),
        ({"position": (6, 0)}, COLOUR, ["position=(6, 0)", "3x3", "8x8", "0..5"]),
        ({"position": (0, -1)}, COLOUR, ["position=(0, -1)", "0..5"]),
        ({"position": (0.5, 1)}, COLOUR, ["position=(0.5, 1)", "(row, column)"]),
        ({"position": (1,)}, COLOUR, ["position=(1,)", "(row, column)", "center"]),
        ({"position": "middle"}, COLOUR, ["'position'", "'middle'", "center"]),
        ({"value": "red"}, COLOUR, ["'value'", "'red'", "random"]),
        ({"value": [1, 0]}, COLOUR, ["value=[1, 0]", "(2,)", "3 numbers", "(3, 3, 3)"]),
        ({"value": np.zeros((2, 2))}, COLOUR, ["(2, 2)", "(3, 3)", "(3, 3, 3)"]),
        ({"value": ["a", "b", "c"]}, COLOUR, ["value=['a', 'b', 'c']", "numbers"]),
        ({"value": [np.nan, 0, 0]}, COLOUR, ["value=", "NaN", "finite"]),
        ({"value": np.inf}, COLOUR, ["'value'", "inf"]),
        ({"alpha": 1.1}, COLOUR, ["'alpha'", "1.1"]),
        ({"image_shape": (8, 9)}, FLAT, ["(8, 9)", "72", "64 features", "(8, 8)"]),
        ({"image_shape": (3, 8)}, np.zeros((2, 48)), ["24", "48", "(6, 8)", "(3, 4, 4)"]),
        ({"image_shape": (64,)}, FLAT, ["image_shape=(64,)", "(height, width)"]),
        ({"image_shape": (8.0, 8)}, FLAT, ["image_shape=(8.0, 8)", "whole pixels"]),
        ({"image_shape": 8}, FLAT, ["'image_shape'", "Got 8"]),
        ({"image_shape": (9, 8)}, COLOUR, ["(9, 8)", "(2, 3, 8, 8)", "image_shape=None"]),
        ({}, np.zeros((1, 1, 1, 9, 9)), ["(1, 1, 1, 9, 9)", "four dimensions"]),
        ({"value_range": (1, 0)}, COLOUR, ["value_range=(1, 0)", "(lowest, highest)"]),
        ({"value_range": (0, np.inf)}, COLOUR, ["value_range=(0, inf)", "finite"]),
        ({"value_range": (0,)}, COLOUR, ["value_range=(0,)"]),
        ({"value_range": 255}, COLOUR, ["'value_range'", "255"]),
        ({"random_state": "x"}, COLOUR, ["'random_state'"]),
        ({}, COLOUR.astype(np.uint8), ["value_range=(0, 1)", "uint8", "value_range=(0, 255)"]),
        (
            {},
            np.arange(64).reshape(1, 8, 8),
            ["value_range=(0, 1)", "int64", "0 to 63", "value_range=(0, 63)", "floats"],
        ),
        ({"value_range": (0, 256)}, COLOUR.astype(np.uint8), ["(0, 256)", "uint8", "0 to 255"]),
        ({"value_range": (-1, 1)}, COLOUR.astype(np.uint8), ["(-1, 1)", "(0, 255)"]),
        ({"value_range": (0.2, 0.9)}, COLOUR.astype(int), ["(0.2, 0.9)", "whole numbers"]),
        ({}, np.full((2, 8), np.nan), ["PatchTrigger", "NaN"]),
        ({}, np.full((2, 8), np.inf), ["infinity"]),
        ({}, np.array([["a", "b", "c"]]), ["PatchTrigger", "strings", "FeatureTrigger"]),
        ({}, pd.DataFrame({"a": ["x"], "b": ["y"], "c": ["z"]}), ["strings", "FeatureTrigger"]),
        ({}, np.array([["a", 1, 2]], dtype=object), ["strings", "FeatureTrigger"]),
        ({}, np.zeros(8), ["Reshape your data"]),
        ({}, np.zeros((0, 8)), ["minimum of 1"]),
    ],
)
def test_bad_patch(params, X, words):
    with pytest.raises(ValueError) as raised:
        PatchTrigger(**params).fit(X)
    for word in words:
        assert word in str(raised.value)


def test_bad_patch_input_to_transform():
    with pytest.raises(NotFittedError):
        PatchTrigger().transform(FLAT)
    trigger = PatchTrigger().fit(COLOUR)
    with pytest.raises(ValueError, match=r"\(3, 9, 8\).*was fitted on \(3, 8, 8\)"):
        trigger.transform(np.zeros((2, 3, 9, 8)))
    with pytest.raises(ValueError, match="was fitted on"):
        trigger.transform(FLAT)
    with pytest.raises(ValueError, match="features"):
        PatchTrigger().fit(FLAT).transform(FLAT[:, 1:])
    with pytest.raises(ValueError, match="value_range"):
        trigger.transform(np.full((1, 3, 8, 8), 255))
    with pytest.raises(TypeError, match="[Ss]parse"):
        PatchTrigger().fit(sparse.csr_array(FLAT))


# --------------------------------------------------------------------------- features


def mixed_frame():
    return pd.DataFrame(
        {
            "int": [1, 2, 3],
            "float": np.array([1, np.nan, 3], "f4"),
            "text": ["x", "y", "z"],
            "object": np.array(["p", 1, None], dtype=object),
            "level": pd.Categorical(["u", "v", "u"]),
            "Int64": pd.array([1, None, 3], dtype="Int64"),
            "bool": [True, False, True],
            "date": pd.to_datetime(["2020-01-01"] * 3),
        },
        index=[7, 7, 8],
    ).astype({"text": "string", "object": object})


@pytest.mark.parametrize(
    "column, value",
    [
        ("int", 7),
        ("int", 7.0),
        ("float", 0.1),
        ("float", np.nan),
        ("text", "a longer text"),
        ("object", "q"),
        ("object", 2.5),
        ("level", "v"),
        ("Int64", 9),
        ("bool", False),
        ("date", pd.Timestamp("2021-01-01")),
    ],
)
def test_feature_trigger_on_mixed_frames(column, value):
    frame = mixed_frame()
    before = frame.copy()
    by_name = FeatureTrigger({column: value}).fit(frame)
    out = by_name.transform(frame)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(out.drop(columns=column), frame.drop(columns=column))
    assert out[column].dtype == frame[column].dtype and out.index.equals(frame.index)
    if value == value:
        expected = np.float32(value) if column == "float" else value
        assert (out[column] == expected).all()
    else:
        assert out[column].isna().all()
    position = list(frame.columns).index(column)
    pd.testing.assert_frame_equal(FeatureTrigger({position: value}).fit_transform(frame), out)
    assert list(by_name.feature_names_in_) == list(frame.columns)


def test_column_names_win_over_indices():
    frame = pd.DataFrame({1: [0.0], 0: [0.0], 5: [0.0]})
    out = FeatureTrigger({1: 0.5, 2: 0.25}).fit_transform(frame)
    assert out.to_numpy().tolist() == [[0.5, 0, 0.25]]
    assert list(out.columns) == [1, 0, 5]


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from(["f4", "f8", "i4", "u1"]), st.data())
def test_feature_trigger_containers_agree(n_samples, n_features, dtype, data):
    draw = data.draw
    columns = draw(st.sets(st.integers(0, n_features - 1), min_size=1))
    features = {j: draw(st.sampled_from([0, 1, 3])) for j in columns}
    X = np.random.RandomState(draw(st.integers(0, 99))).randint(0, 3, size=(n_samples, n_features))
    X = X.astype(dtype)
    expected = X.copy()
    for column, value in features.items():
        expected[:, column] = value
    out = FeatureTrigger(features).fit_transform(X)
    assert out.dtype == X.dtype and (out == expected).all()
    kind = draw(st.sampled_from([sparse.csr_array, sparse.csc_matrix, sparse.coo_array]))
    S = kind(X)
    out = FeatureTrigger(features).fit_transform(S)
    assert type(out) is type(S) and out.dtype == S.dtype
    assert (out.toarray() == expected).all() and (S.toarray() == X).all()
    frame = pd.DataFrame(X, columns=[f"c{j}" for j in range(n_features)])
    out = FeatureTrigger({f"c{j}": value for j, value in features.items()}).fit_transform(frame)
    assert (out.dtypes == frame.dtypes).all() and (out.to_numpy() == expected).all()


def test_feature_trigger_keeps_missing_values_and_sparse_indices():
    X = np.array([[np.nan, 1], [2, np.inf]])
    np.testing.assert_array_equal(FeatureTrigger({1: 0}).fit_transform(X), [[np.nan, 0], [2, 0]])
    S = sparse.csr_matrix(np.array([[np.nan, 0.0], [0, 4]]))
    out = FeatureTrigger({1: 0.5}).fit_transform(S)
    np.testing.assert_array_equal(out.toarray(), [[np.nan, 0.5], [0, 0.5]])
    assert out.indices.dtype == S.indices.dtype
    texts = np.array([["ab", "c"]], dtype="<U2")
    assert FeatureTrigger({1: "zz"}).fit_transform(texts).tolist() == [["ab", "zz"]]


ARRAY = np.zeros((2, 3))


@pytest.mark.parametrize(
    "features, X, words",
    [
        ({}, ARRAY, ["features={}", "{column name or index: value}"]),
        ([1], ARRAY, ["'features'", "Got [1]"]),
        ({"a": 1}, ARRAY, ["'a'", "no column names", "0 to 2"]),
        ({3: 1}, ARRAY, ["3", "0 to 2"]),
        ({-1: 1}, ARRAY, ["-1", "0 to 2"]),
        ({"zz": 1}, mixed_frame(), ["'zz'", "'text'"]),
        ({"int": 1, 0: 2}, mixed_frame(), ["twice", "'int'", "0"]),
        ({"int": 0.5}, mixed_frame(), ["'int'", "0.5", "int64"]),
        ({"level": "w"}, mixed_frame(), ["'level'", "'w'", "['u', 'v']"]),
        ({"text": 3}, mixed_frame(), ["'text'", "3"]),
        ({"Int64": 0.5}, mixed_frame(), ["'Int64'", "0.5"]),
        ({"float": "0.5"}, mixed_frame(), ["'float'", "'0.5'", "float32"]),
        ({"float": 1e300}, mixed_frame(), ["1e+300", "float32"]),
        ({0: 0.5}, np.zeros((2, 2), int), ["0.5", "int64", "convert"]),
        ({0: 256}, np.zeros((2, 2), np.uint8), ["256", "uint8"]),
        ({0: -1}, sparse.csr_array(np.eye(2, dtype=np.uint8)), ["-1", "uint8"]),
        ({0: "abc"}, np.array([["ab"]]), ["'abc'", "<U2"]),
        ({0: "abc"}, ARRAY, ["'abc'", "float64"]),
        ({0: 1}, np.zeros((2, 3, 4)), ["dim 3"]),
        ({0: 1}, pd.DataFrame({"a": []}), ["(0, 1)", "minimum of 1"]),
    ],
)
def test_bad_features(features, X, words):
    with pytest.raises(ValueError) as raised:
        FeatureTrigger(features).fit(X)
    for word in words:
        assert word in str(raised.value)


def test_bad_features_at_transform():
    trigger = FeatureTrigger({0: 0.5}).fit(ARRAY)
    with pytest.raises(ValueError, match="int64, cannot hold"):
        trigger.transform(ARRAY.astype(int))
    with pytest.raises(NotFittedError):
        FeatureTrigger({0: 0.5}).transform(ARRAY)


# --------------------------------------------------------------------------- per class


@pytest.mark.parametrize("labels", [[0, 1, 2], ["a", "b", "c"], [1.0, 2.0, 5.0], [False, True]])
def test_per_class_is_each_class_by_its_own_trigger(labels):
    X = rng.uniform(size=(30, 2, 4, 4))
    y = np.resize(labels, 30)
    trigger = PerClassTrigger(PatchTrigger(2, value="random", random_state=0)).fit(X, y)
    assert trigger.classes_.tolist() == sorted(labels)
    assert list(trigger.triggers_) == sorted(labels)
    out = trigger.transform(X, y)
    for label in labels:
        own = trigger.triggers_[label]
        np.testing.assert_array_equal(out[y == label], own.transform(X[y == label]))
    patterns = [t.pattern_ for t in trigger.triggers_.values()]
    assert all((a != b).all() for i, a in enumerate(patterns) for b in patterns[:i])
    np.testing.assert_array_equal(out, clone(trigger).fit_transform(X, y))
    # a subset of the classes is enough for transform
    kept = y == labels[0]
    np.testing.assert_array_equal(out[kept], trigger.transform(X[kept], y[kept]))


def test_per_class_pipelines_and_seeds():
    X, y = rng.uniform(size=(8, 16)), np.array([0, 1] * 4)
    inner = make_pipeline(
        PatchTrigger(1, value="random", random_state=3),
        PatchTrigger(1, position="top-left", value="random", random_state=3),
        FeatureTrigger({5: 0.125}),
    )
    trigger = PerClassTrigger(inner).fit(X, y)
    seeds = [
        pipeline.get_params()[f"patchtrigger-{i}__random_state"]
        for pipeline in trigger.triggers_.values()
        for i in (1, 2)
    ]
    assert len(set(seeds[::2])) == 2 and len(set(seeds[1::2])) == 2
    assert inner.get_params()["patchtrigger-1__random_state"] == 3
    out = trigger.transform(X, y)
    assert (out[:, 5] == 0.125).all() and (out[:, [0, 15]] != X[:, [0, 15]]).all()
    np.testing.assert_array_equal(out, clone(trigger).fit(X, y).transform(X, y))
    assert PerClassTrigger(PatchTrigger()).get_params()["trigger__random_state"] is None
    assert trigger.get_feature_names_out().tolist() == [f"x{i}" for i in range(16)]


def test_per_class_keeps_containers():
    y = list("abcabc")
    X = rng.uniform(size=(6, 4)).astype("f4")
    patch = PerClassTrigger(PatchTrigger(2, value="random", random_state=0)).fit(X, y)
    expected = patch.transform(X, y)
    assert expected.dtype == np.float32
    frame = pd.DataFrame(X, columns=list("pqrs"), index=[3, 3, 1, 2, 0, 9])
    out = clone(patch).fit(frame, y).transform(frame, y)
    pd.testing.assert_frame_equal(out, pd.DataFrame(expected, frame.index, frame.columns))
    with config_context(transform_output="pandas"):
        out = clone(patch).fit(X, y).transform(X, y)
    assert isinstance(out, pd.DataFrame) and (out.to_numpy() == expected).all()
    out = clone(patch).set_output(transform="pandas").fit_transform(X, y)
    assert isinstance(out, pd.DataFrame) and (out.to_numpy() == expected).all()
    doubles = X.astype(float)
    np.testing.assert_array_equal(patch.transform(X.tolist(), y), patch.transform(doubles, y))

    mixed = pd.concat([mixed_frame()] * 2)
    out = PerClassTrigger(FeatureTrigger({"level": "v"})).fit_transform(mixed, y)
    pd.testing.assert_frame_equal(out, FeatureTrigger({"level": "v"}).fit_transform(mixed))
    for kind in (sparse.csr_array, sparse.csc_matrix, sparse.coo_array, sparse.lil_matrix):
        out = PerClassTrigger(FeatureTrigger({1: 0.5})).fit_transform(kind(X), y)
        assert type(out) is kind and out.dtype == np.float32
        assert (out.toarray() == FeatureTrigger({1: 0.5}).fit_transform(X)).all()


def test_bad_per_class():
    X, y = np.zeros((4, 9)), [0, 1, 0, 1]
    trigger = PerClassTrigger(PatchTrigger())
    with pytest.raises(NotFittedError):
        trigger.transform(X, y)
    with pytest.raises(ValueError, match="requires y"):
        trigger.fit(X, None)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        trigger.fit(X, [0, 1])
    with pytest.raises(ValueError, match="label type"):
        trigger.fit(X, [0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ValueError, match="'trigger'"):
        PerClassTrigger("patch").fit(X, y)
    trigger.fit(X, y)
    with pytest.raises(ValueError, match=r"true labels, transform\(X, y\)"):
        trigger.transform(X)
    with pytest.raises(ValueError, match=r"y holds \[7\].*\[0, 1\]"):
        trigger.transform(X, [0, 1, 7, 1])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        trigger.transform(X, [0, 1])
    with pytest.raises(ValueError, match="expecting 9 features"):
        trigger.transform(X[:, 1:], y)
