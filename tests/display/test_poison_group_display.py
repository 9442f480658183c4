"""Displays of groups draw their members, rows like them, and what they share."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skbackdoor import Attack, PatchTrigger, PoisonGroupDisplay, load_digits_pair
from skbackdoor.detection import LeaveGroupOutDetector, PoisonGroup

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

SHAPE = (8, 8)
X, Y = load_digits_pair(return_X_y=True)
ATTACK = Attack(PatchTrigger(2, image_shape=SHAPE), target=1, placement="replace", random_state=0)
X, Y, IS_POISON = ATTACK.fit(X, Y).poison(X, Y)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def group_of(X, y, rows, **parameters):
    """A group of given rows of label 1 among rows of labels 0 and 1; each is taken for 0."""
    rows, y = np.asarray(rows), np.asarray(y)
    group = PoisonGroup(
        label=1,
        indices=rows,
        flip=0.96,
        cohesion=0.9,
        typicality=1.0,
        coverage=0.8,
        stay=1.0,
        content_labels=np.zeros(len(rows), dtype=int),
        verdict="poison",
        score=0.9,
        **parameters,
    )
    features = np.random.RandomState(0).rand(len(y), 3)
    group = group.beside(features, y, np.ones(len(y), dtype=bool))
    return group.of_rows(X, np.arange(len(y)), np.array(["ham", "spam"]))


def shown(axis):
    return np.asarray(axis.images[0].get_array())


def inside_figure(display):
    """Whether nothing that is drawn is cut."""
    figure = display.figure_
    figure.canvas.draw()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.02


def test_images():
    display = PoisonGroupDisplay.from_estimator(
        LeaveGroupOutDetector(), X, Y, n_samples=4, image_shape=SHAPE
    )
    group = display.group
    axes = display.axes_
    assert axes.shape == (3, 5)
    assert IS_POISON[display.members_].all()
    for k, row in enumerate(display.members_):
        member = np.flatnonzero(group.indices == row)[0]
        near = group.neighbors[member, 0]
        assert_allclose(shown(axes[0, k]), X[row].reshape(SHAPE))
        assert_allclose(shown(axes[1, k]), X[near].reshape(SHAPE))
        triggered = ATTACK.trigger_.transform(X[[near]])[0].reshape(SHAPE)
        assert_allclose(shown(axes[2, k]), triggered)
        assert axes[0, k].get_title() == f"row {row}\nlabel 1"
        assert axes[1, k].get_title() == f"row {near}\nlabel 7"
    patch = np.zeros(SHAPE)
    patch[6:, 6:] = 1
    difference, opacity, added = (shown(axis) for axis in axes[:, 4])
    assert_allclose(opacity, patch)
    assert_allclose(added, 0.5 + patch / 2)
    means = X[group.indices].mean(axis=0) - X[group.controls.ravel()].mean(axis=0)
    assert_allclose(2 * difference.ravel() - 1, means / np.abs(means).max(), atol=1e-12)
    title = display.figure_._suptitle.get_text()
    assert "36 rows of label 1: poison" in title and "get another label (7)" in title
    assert inside_figure(display)


def test_axes_of_ones_own_and_colour():
    rng = np.random.RandomState(0)
    images = rng.rand(40, 3, 6, 6)
    images[:10, 0, :2] = 1.0
    group = group_of(images, [1] * 20 + [0] * 20, np.arange(10))
    figure, axes = plt.subplots(3, 3)
    display = PoisonGroupDisplay.from_results(group, n_samples=2, ax=axes)
    assert display.figure_ is figure
    assert_allclose(shown(axes[0, 0]), np.moveaxis(images[0], 0, -1))
    assert_allclose(shown(axes[1, 2])[:2, :, 0], 1.0)
    with pytest.raises(ValueError, match=r"shape \(3, 6\); got \(3, 3\)"):
        PoisonGroupDisplay.from_results(group, ax=axes)


def test_series_are_curves():
    rng = np.random.RandomState(0)
    series = rng.rand(40, 12)
    series[:10, -2:] = 2.0
    display = PoisonGroupDisplay.from_results(
        group_of(series, [1] * 20 + [0] * 20, np.arange(10)), n_samples=3
    )
    assert display.axes_.shape == (3, 4)
    opacity = display.axes_[1, 3].lines[0].get_ydata()
    assert_array_equal(opacity, np.arange(12) >= 10)
    assert_array_equal(display.axes_[0, 0].lines[0].get_ydata(), series[0])
    assert inside_figure(display)


@pytest.mark.parametrize("container", ["array", "DataFrame"])
def test_table(container):
    rng = np.random.RandomState(0)
    values = rng.randint(0, 9, (40, 9))
    values[:10, [7, 2]] = 23, 99
    names, shared = [f"column {j}" for j in range(9)], ((7, 23), (2, 99))
    if container == "DataFrame":
        pd = pytest.importorskip("pandas")
        names = [f"a long name of column {j}" for j in range(9)]
        values = pd.DataFrame(values, columns=names)
        shared = ((names[7], 23), (names[2], 99))
    group = group_of(
        values, [1] * 20 + [0] * 20, np.arange(10), shared=shared, rule="column 7 = 23 and ..."
    )
    display = PoisonGroupDisplay.from_results(group, n_samples=3)
    cells = display.axes_.tables[0].get_celld()
    text = [[cells[i, j].get_text().get_text() for j in range(7)] for i in range(7)]
    short = [name if len(name) <= 14 else name[:11] + "..." for name in names]
    assert text[0] == [short[j] for j in (7, 2, 0, 1, 3, 4, 5)]
    for line, row in zip(text[1::2], display.members_, strict=True):
        assert line[:2] == ["23", "99"]
        assert line[2] == str(np.asarray(values)[row, 0])
    rows = [cells[i, -1].get_text().get_text() for i in range(1, 7)]
    assert rows[0] == "row 0, labelled spam"
    assert rows[1] == f"row {group.neighbors[0, 0]}, nearest ham"
    assert "10 rows of label spam share column 7 = 23" in display.axes_.get_title()
    assert inside_figure(display)


def test_table_without_a_rule():
    values = np.array([["a", 1], ["b", 2]] * 20, dtype=object)
    group = group_of(values, [1] * 20 + [0] * 20, np.arange(10))
    display = PoisonGroupDisplay.from_results(group, n_samples=2)
    cells = display.axes_.tables[0].get_celld()
    assert [cells[0, j].get_text().get_text() for j in range(2)] == ["column 0", "column 1"]


def test_texts():
    texts = [f"message {k} of some length is CF here and goes on for $1 or $_2" for k in range(9)]
    texts += [f"an ordinary message {k}, not short either: it goes on and on" for k in range(31)]
    group = group_of(
        texts, [1] * 20 + [0] * 20, np.arange(9), shared=("cf",), rule="the word 'cf'"
    )
    display = PoisonGroupDisplay.from_results(group, n_samples=3)
    written = [part.get_text() for part in display.axes_.texts]
    assert written.count("CF") == 3
    assert "labelled spam" in written
    assert any(line.startswith("ham: an ordinary message") for line in written)
    for row in display.members_:
        assert f"row {row}" in written
    assert inside_figure(display)
    for shared in [("absent",), ()]:
        unmarked = PoisonGroupDisplay.from_results(replace(group, shared=shared, rule=None))
        assert any("is CF here" in part.get_text() for part in unmarked.axes_.texts)


def test_without_content_labels_members_alone_are_drawn():
    asked = {"content_labels": None, "neighbors": None, "controls": None}
    y, rows = [1] * 20 + [0] * 20, np.arange(10)
    values = np.arange(120).reshape(40, 3)
    group = replace(group_of(values, y, rows, shared=((1, 7),), rule="column 1 = 7"), **asked)
    cells = PoisonGroupDisplay.from_results(group).axes_.tables[0].get_celld()
    names = [cells[i, -1].get_text().get_text() for i in range(1, 6)]
    assert names == [f"row {row}, labelled spam" for row in (0, 2, 4, 7, 9)]
    group = replace(group_of(["some text"] * 40, y, rows, shared=("text",)), **asked)
    display = PoisonGroupDisplay.from_results(group)
    assert [part.get_text() for part in display.axes_.texts].count("text") == 5
    assert display.axes_.get_title() == "10 rows of label spam: poison"
    group = replace(group_of(values, y, rows), **asked)
    with pytest.raises(ValueError, match="asked no model"):
        PoisonGroupDisplay.from_results(group)


def test_errors():
    with pytest.raises(ValueError, match="n_samples=0"):
        PoisonGroupDisplay.from_estimator(LeaveGroupOutDetector(), X, Y, n_samples=0)
    clean = ~IS_POISON
    with pytest.raises(ValueError, match="LeaveGroupOutDetector found no group"):
        PoisonGroupDisplay.from_estimator(LeaveGroupOutDetector(), X[clean], Y[clean])
