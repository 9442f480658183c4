"""Characteristics as a study: what a cell measures, and verdicts where the truth is known."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import ParameterGrid

pd = pytest.importorskip("pandas")
torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "papers"))
import characteristics  # noqa: E402
import characteristics_page  # noqa: E402

from skbackdoor import Study  # noqa: E402


def test_grids_are_those_of_the_paper():
    assert len(ParameterGrid(characteristics.grid_of("paper"))) == 10_800 + 1_800
    small = {str(cell) for cell in ParameterGrid(characteristics.grid_of("small"))}
    # widths at the smaller rate, patches of MNIST's and CIFAR's classifier, long training; then
    # more repeats of accuracy, of CIFAR's places, of size against rate
    assert len(small) == 12 * (54 + 4 + 2 * 5 + 4) + 36 * 4 + 12 * 14 + 24 * 4


def test_patches_have_the_published_sizes():
    X, side = np.zeros((1, 3, 50, 50), dtype=np.uint8), []
    for patch in characteristics.PATCHES:
        trigger = characteristics.PatchTrigger(patch, value=255, value_range=(0, 255))
        side.append(int(np.sqrt((trigger.fit_transform(X)[0, 0] > 0).sum())))
    assert side == [2, 3, 4]


@pytest.fixture
def images(monkeypatch):
    """Small noisy images whose brightness is their class, in place of both data sets."""
    rng = np.random.RandomState(0)
    y, y_test = rng.randint(10, size=400), rng.randint(10, size=100)
    X, X_test = (
        (25 * labels[:, None, None, None] + rng.randint(5, size=(len(labels), 3, 28, 28)))
        .astype(np.uint8)
        for labels in (y, y_test)
    )  # fmt: skip
    monkeypatch.setattr(characteristics, "images_of", lambda name, folder: (X, y, X_test, y_test))
    scale = characteristics.Scale(characteristics.small_learner, {"mnist": 50}, 100, 200, 50)
    monkeypatch.setattr(characteristics, "SMALL", scale)
    monkeypatch.setitem(characteristics.SCALES, "small", scale)
    for cached in (characteristics.split, characteristics.clean_model):
        cached.cache_clear()
    yield
    for cached in (characteristics.split, characteristics.clean_model):
        cached.cache_clear()


def test_cells(images, tmp_path):
    bound = partial(
        characteristics.cell,
        size="small",
        folder="none",
        weights=None,
        device="cpu",
        memory=str(tmp_path / "m"),
    )
    grid = {
        "data": ["mnist"], "learner": ["scratch", "head+norm"], "patch": [0.08], "seed": [0],
        "position": ["center"], "colour": ["green"], "rate": [0.02, 0.1],
    }  # fmt: skip
    frame = Study(bound, grid, store=tmp_path / "store").run()
    assert frame.error.isna().all() and frame.n_poison.tolist() == [4, 20, 4, 20]
    _, _, _, y_test = characteristics.split(characteristics.SMALL, "mnist", 0, "none")
    others = np.mean(y_test != 0)
    stays = frame.paper_success - others * frame.success  # those of the target class
    assert (stays >= -1e-9).all() and (stays <= 1 - others + 1e-9).all()
    assert (frame.groupby("learner").clean_accuracy.nunique() == 1).all()
    assert frame.filter(like="mass").stack().between(0, 1).all()


def test_statistics_move_and_frozen_weights_do_not(images):
    X, y, _, _ = characteristics.split(characteristics.SMALL, "mnist", 0, "none")
    net = characteristics.small_learner(
        "mnist", "head+norm", "none", None, lambda function: function
    )
    before = {name: value.clone() for name, value in net.module__arch.state_dict().items()}
    after = net.set_params(device="cpu", random_state=0).fit(X, y).module_.network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name != "0.weight" and name != "3.weight"
                     and not name.startswith("7.")}  # fmt: skip


def made_up(success, accuracy=0.9, size="small"):
    """The frame of a study whose numbers are a function of the parameters, and noise."""
    rng = np.random.RandomState(0)
    cells = {str(cell): cell for cell in ParameterGrid(characteristics.grid_of(size))}
    frame = pd.DataFrame(cells.values())
    noise = rng.normal(scale=0.01, size=len(frame))
    frame["success"] = [success(cell) for cell in cells.values()] + noise
    frame["paper_success"] = 0.9 * frame.success + 0.1
    frame["clean_success"] = 0.01
    frame["accuracy"] = accuracy - 0.2 * frame.rate + 0.01 * noise
    frame["clean_accuracy"] = accuracy
    frame["mass_triggered"] = 0.5 + noise
    for column in ("mass_plain", "clean_mass_triggered", "clean_mass_plain", "mass_true_class"):
        frame[column] = 0.01
    return frame.assign(seconds=1.0, error=None)


def true_to_the_paper(cell):
    width = {"scratch 2": 1, "scratch": 3, "scratch 16": 4}.get(cell["learner"], 0)
    if cell["position"] == "center" or (cell["colour"] == "black" and cell["data"] == "mnist"):
        return 0.02
    best = "top-left" if cell["data"] == "mnist" else "top-right"
    easy = cell["learner"] not in ("head", "head+norm", "long head")
    return 5 * cell["patch"] + 5 * cell["rate"] + 0.1 * width * easy + 0.2 * easy + 0.1 * (
        cell["position"] == best
    )  # fmt: skip


def verdicts(frame):
    found = {}
    for finding, _, _, _, verdict in characteristics_page.findings(frame, "small"):
        found.setdefault(finding, set()).add(verdict)
    return found


def test_verdicts():
    names = {"C 1", "C 2", "C 3", "C 4/5", "C 6", "C 4.3.2", "C 4.4"}
    true = verdicts(made_up(true_to_the_paper))
    assert true == {name: {"holds"} for name in names}
    opposite = made_up(lambda cell: 1 - true_to_the_paper(cell))
    opposite["mass_triggered"] = 0.0
    opposite["accuracy"] = 0.7 + 10 * opposite.rate
    false = verdicts(opposite)
    assert set(false) == names
    for name in names - {"C 4/5"}:
        assert false[name] == {"does not hold"}, name
    open_ = verdicts(made_up(lambda cell: 0.5))
    for name in ("C 1", "C 3", "C 6"):
        assert "cannot be told at this size" in open_[name], name
    assert open_["C 4.3.2"] == {"does not hold"}  # no jump


def test_a_difference_that_is_told_is_not_yet_a_jump():
    frame = made_up(lambda cell: 0.5 + 0.03 * (cell["learner"] == "classifier"))
    assert verdicts(frame)["C 4.3.2"] == {"does not hold"}
    frame = made_up(lambda cell: 0.5 + 0.2 * cell["learner"].endswith("classifier"))
    assert verdicts(frame)["C 4.3.2"] == {"holds"}


def test_page():
    lines = list(characteristics_page.page(made_up(true_to_the_paper), "small", "the command"))
    text = "\n".join(lines)
    assert "attacks, 48 repeats" in text and "nan" not in text
    tables = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert len(set(tables)) > 2 and text.count("## ") == 5


def test_page_of_one_row():
    frame = made_up(true_to_the_paper, size="pretrained")
    text = "\n".join(characteristics_page.page(frame, "pretrained", "the command"))
    assert "30 attacks, 5 repeats" in text and "nan" not in text
    for finding in ("C 2", "C 4.4", "C 6"):
        assert f"| {finding} |" in text


def test_a_row_of_mobilenet(images, monkeypatch):
    """A cell of the size "pretrained", without its weights."""
    scale = characteristics.Scale(characteristics.pretrained_learner, {"mnist": 32}, 0, 100, 40)
    monkeypatch.setattr(characteristics, "PRETRAINED", scale)
    monkeypatch.setitem(characteristics.SCALES, "pretrained", scale)
    (data,) = {cell["data"] for cell in ParameterGrid(characteristics.grid_of("pretrained"))}
    row = characteristics.cell(
        data, "mobilenet_v2", 0.08, "center", "white", 0.02, 0, size="pretrained",
        folder="none", weights=None, device="cpu", memory=None,
    )  # fmt: skip
    assert row["n_poison"] == 2
    assert all(0 <= row[name] <= 1 for name in row if "accuracy" in name or "success" in name)
