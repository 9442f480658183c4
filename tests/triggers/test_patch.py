"""The patch: places, sizes, values; other people's code; bad patches."""

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline

from skbackdoor import BackdoorPoisoner, attack_success_rate_scorer
from skbackdoor.triggers import PatchTrigger

rng = np.random.RandomState(0)
DTYPES = {np.float32: (0, 1), np.float64: (-2, 3), np.uint8: (0, 255), np.int16: (-100, 300)}
FLAT = np.zeros((2, 64))
COLOUR = np.zeros((2, 3, 8, 8))
REFERENCES = np.load(Path(__file__).parents[1] / "data" / "references.npz")


def patch_mask(trigger, shape):
    """The mask m of the definition, from the fitted attributes: (height, width), bool."""
    m = np.zeros(shape, dtype=bool)
    (row, column), (height, width) = trigger.position_, trigger.pattern_.shape[1:]
    m[row : row + height, column : column + width] = True
    return m


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


def test_patch_on_time_series():
    """A 2-D table is one row of an image: a patch is a burst at some place of the series."""
    rng = np.random.default_rng(0)
    t = np.arange(100)
    y = rng.integers(2, size=300)
    X = 0.5 + 0.2 * np.sin(t * np.where(y, 0.3, 0.2)[:, None]) + 0.05 * rng.normal(size=(300, 100))
    trigger = PatchTrigger(size=8, position=(0, 46))
    assert_array_equal(np.flatnonzero((trigger.fit_transform(X) != X).any(axis=0)), t[46:54])
    poisoner = BackdoorPoisoner(RidgeClassifier(), trigger, target=1, random_state=0).fit(X, y)
    assert attack_success_rate_scorer(poisoner, X, y) > 0.9
