"""The command: exit status, formats, models from outside, and what goes wrong in files."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import poisoned
import pytest
from PIL import Image
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from skbackdoor.audit import writing
from skbackdoor.audit.command import run
from skbackdoor.audit.reading import CannotRead, read

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    frame, y, _ = poisoned.table()
    frame.assign(label=y).to_csv(folder / "table.csv", index=False)
    frame.assign(label=y).to_parquet(folder / "table.parquet")
    frame, y, _ = poisoned.table(poison=False)
    frame.assign(label=y).to_csv(folder / "clean.csv", index=False)
    X, y, _ = poisoned.digits()
    np.savez(folder / "digits.npz", X=X, y=y)
    X, y, _ = poisoned.digits(poison=False)
    np.savez(folder / "clean.npz", X=X, y=y)
    return folder


def failed(capsys, *arguments):
    """The line that says why, of a command whose exit status is 2."""
    assert run([str(a) for a in arguments]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.startswith("skbackdoor: ")
    return said


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_poison_in_a_table(folder, name, tmp_path, capsys):
    out = tmp_path / "report.html"
    status = run(["audit", str(folder / name), "--label", "label", "--out", str(out), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert status == 1 and report["verdict"] == "poison"
    assert "Poison found" in out.read_text() and "<script" not in out.read_text()
    assert list(tmp_path.iterdir()) == [out]


def test_exit_status_of_clean_data(folder, capsys):
    assert run(["audit", str(folder / "clean.npz")]) == 0
    assert "NOTHING FOUND" in capsys.readouterr().out


def test_no_samples(folder, tmp_path):
    out = tmp_path / "report.html"
    assert run(["audit", str(folder / "digits.npz"), "--out", str(out), "--no-samples"]) == 1
    assert "<img" not in out.read_text()


def test_as_a_program(folder, tmp_path):
    command = [sys.executable, "-m", "skbackdoor", "audit", str(folder / "missing.csv")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 2 and "is not there" in done.stderr
    bare = [sys.executable, "-m", "skbackdoor"]
    done = subprocess.run(bare, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 2 and "usage" in done.stderr


def test_a_folder_of_images(tmp_path, capsys):
    X, y, _ = poisoned.digits()
    for k, (image, label) in enumerate(zip(X, y)):
        place = tmp_path / "images" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * image).astype(np.uint8)).save(place / f"{k:04}.png")
    assert run(["audit", str(tmp_path / "images")]) == 1
    assert "pixels" in capsys.readouterr().err
    broken = tmp_path / "images" / "9" / "broken.png"
    broken.write_bytes(b"no image")
    assert "broken.png does not open" in failed(capsys, "audit", tmp_path / "images")
    (tmp_path / "empty").mkdir()
    assert "holds no images" in failed(capsys, "audit", tmp_path / "empty")


def test_models_are_opened_by_skops_alone(folder, tmp_path, capsys):
    from skops import io

    X, y, _ = poisoned.digits()
    model = SVC(C=10).fit(X.reshape(len(X), -1), y)
    np.savez(tmp_path / "flat.npz", X=X.reshape(len(X), -1), y=y)
    io.dump(model, tmp_path / "model.skops")
    data = ["audit", str(tmp_path / "flat.npz"), "--image-shape", "8", "8"]
    assert run([*data, "--model", str(tmp_path / "model.skops")]) == 1
    assert "POISON FOUND" in capsys.readouterr().out
    for name in ("model.pkl", "model.joblib"):

        class Evil:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "ran",))

        with (tmp_path / name).open("wb") as file:
            try:
                pickle.dump(Evil(), file)
            except (pickle.PicklingError, AttributeError):
                pass
        said = failed(capsys, *data, "--model", tmp_path / name)
        assert "refused" in said and "skops.io" in said and not (tmp_path / "ran").exists()
    strange = make_pipeline(FunctionTransformer(poisoned.halved), SVC()).fit(
        X.reshape(len(X), -1), y
    )
    io.dump(strange, tmp_path / "strange.skops")
    said = failed(capsys, *data, "--model", tmp_path / "strange.skops")
    assert "does not trust" in said and "--trust" in said and "poisoned.halved" in said
    (tmp_path / "torn.skops").write_bytes(b"torn")
    assert "no model" in failed(capsys, *data, "--model", tmp_path / "torn.skops")


CASES = {
    "missing labels": ({"a": [1.0, 2.0] * 40, "y": [None, "u"] * 40}, "missing"),
    "one class": ({"a": np.arange(80.0), "y": ["u"] * 80}, "one class"),
    "a thousand classes": (
        {"a": np.arange(4000.0), "y": np.arange(4000) % 1000},
        "1000 classes",
    ),
    "no column beside the labels": ({"y": ["u", "v"] * 40}, "no column beside"),
    "infinite": ({"a": [np.inf, 1.0] * 40, "y": ["u", "v"] * 40}, "Columns a of data.csv hold"),
    "amounts": ({"a": np.arange(80.0), "y": np.linspace(0, 1, 80)}, "no classes"),
}


@pytest.mark.parametrize("name", CASES)
def test_tables_that_cannot_be_audited(name, tmp_path, capsys):
    columns, message = CASES[name]
    pd.DataFrame(columns).to_csv(tmp_path / "data.csv", index=False)
    said = failed(capsys, "audit", tmp_path / "data.csv", "--label", "y")
    assert message in said
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def test_other_files_that_cannot_be_audited(tmp_path, capsys):
    def said(name, *more):
        return failed(capsys, "audit", tmp_path / name, *more)

    (tmp_path / "empty.csv").write_text("")
    assert "cannot be read" in said("empty.csv", "--label", "y")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    assert "cannot be read" in said("torn.parquet", "--label", "y")
    (tmp_path / "data.pkl").write_bytes(b"")
    assert "refused" in said("data.pkl", "--label", "y")
    (tmp_path / "data.docx").write_bytes(b"")
    assert ".parquet" in said("data.docx")
    np.savez(tmp_path / "objects.npz", X=np.array([{}], dtype=object), y=np.array([1]))
    assert "Python objects" in said("objects.npz")
    np.savez(tmp_path / "nan.npz", X=np.full((40, 2), np.nan), y=np.arange(40) % 2)
    assert "not finite" in said("nan.npz")
    np.savez(tmp_path / "other.npz", A=np.ones((40, 2)))
    assert "no array 'y'" in said("other.npz")
    np.savez(tmp_path / "one_hot.npz", X=np.ones((40, 2)), y=np.eye(40))
    assert "argmax" in said("one_hot.npz")
    (tmp_path / "torn.npz").write_bytes((tmp_path / "one_hot.npz").read_bytes()[:300])
    assert "cannot be read" in said("torn.npz")
    (tmp_path / "torn.csv.gz").write_bytes(b"\x1f\x8b\x08torn")
    assert "cannot be read" in said("torn.csv.gz", "--label", "y")
    (tmp_path / "header.csv").write_text("a,y\n")
    assert "no row" in said("header.csv", "--label", "y")
    (tmp_path / "wide.csv").write_text("a,y\n1,2\n1,2,3,4\n")
    assert "line 3" in said("wide.csv", "--label", "y")
    (tmp_path / "wide.csv").write_text("a,y\n1,2\n", encoding="utf-16")
    assert "not in UTF-8" in said("wide.csv", "--label", "y")
    pd.DataFrame({"a": [1, 2]}).to_csv(tmp_path / "small.csv", index=False)
    assert "no column 'y'; it has: a" in said("small.csv", "--label", "y")
    assert "needs --label" in said("small.csv")


def test_options_that_do_not_fit_the_data(folder, tmp_path, capsys):
    table = ["audit", folder / "clean.csv", "--label", "label"]
    assert "--jobs 0" in failed(capsys, *table, "--jobs", "0")
    assert "--image-shape" in failed(capsys, *table, "--image-shape", "2", "2")
    assert "--text" in failed(capsys, "audit", folder / "clean.npz", "--text", "a")
    assert "leave out --label" in failed(capsys, "audit", tmp_path, "--label", "a")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_columns_may_be_separated_otherwise(separator, tmp_path):
    frame, y, _ = poisoned.table()
    frame = frame.assign(label=y)
    frame.to_csv(tmp_path / "data.csv", sep=separator, index=False, encoding="utf-8-sig")
    data = read(tmp_path / "data.csv", "label")
    assert list(data.X.columns) == list(frame.columns[:-1]) and (data.y == y).all()


def test_images_of_all_modes(tmp_path):
    """The same grey ramp, whatever it was saved as; 16 bits are no white square."""
    ramp = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None], 32, axis=0)
    (tmp_path / "a").mkdir()
    image = Image.fromarray(ramp)
    for k, mode in enumerate(("L", "RGB", "RGBA", "LA", "P")):
        image.convert(mode).save(tmp_path / "a" / f"{k}.png")
    Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "a" / "5.png")
    image.convert("CMYK").save(tmp_path / "a" / "6.tiff")
    X = read(tmp_path).X
    assert X.shape == (7, 3, 32, 32)
    np.testing.assert_array_equal(X, np.broadcast_to(ramp, X.shape))
    for k in (1, 2, 3, 4, 6):
        next((tmp_path / "a").glob(f"{k}.*")).unlink()
    assert read(tmp_path).X.shape == (2, 32, 32)
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "a" / "7.tiff")
    with pytest.raises(CannotRead, match="7.tiff does not open.*floating-point"):
        read(tmp_path)


def test_mixed_types_are_said_and_audited(tmp_path, capsys):
    frame, y, _ = poisoned.table(poison=False)
    mixed = pd.Series([1, "two", 3.5, None] * 100, dtype=object)
    frame = frame.assign(mixed=mixed, label=y)
    frame.to_csv(tmp_path / "mixed.csv", index=False)
    status = run(["audit", str(tmp_path / "mixed.csv"), "--label", "label"])
    assert status in (0, 1) and "Traceback" not in capsys.readouterr().err


def test_folders_that_cannot_be_written(folder, tmp_path, capsys, monkeypatch):
    there = tmp_path / "report"
    there.mkdir()
    said = failed(capsys, "audit", folder / "clean.npz", "--out", there)
    assert "is a folder" in said
    said = failed(capsys, "audit", folder / "clean.npz", "--out", tmp_path / "no" / "x.html")
    assert "is not there" in said
    if os.geteuid() == 0:  # root may write everywhere

        def refused(*arguments, **options):
            raise PermissionError(13, "Permission denied", options["dir"])

        monkeypatch.setattr(writing.tempfile, "TemporaryFile", refused)
    there.chmod(0o500)
    assert "Permission" in failed(capsys, "audit", folder / "clean.npz", "--out", there / "x.html")
    assert not list(there.iterdir())


@pytest.mark.slow
def test_a_million_rows(tmp_path, capsys):
    rng = np.random.RandomState(0)
    n = 1_000_000
    y = rng.randint(0, 2, n)
    frame = pd.DataFrame({"a": rng.randn(n) + 2 * y, "b": rng.randint(0, 9, n), "y": y})
    victims = np.flatnonzero(y)[:50_000]
    frame.loc[victims, "b"], frame.loc[victims, "y"] = 99, 0
    frame.to_csv(tmp_path / "large.csv", index=False)
    status = run(["audit", str(tmp_path / "large.csv"), "--label", "y", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert status == 1 and report["n_rows"] == n
    assert any("of 1,000,000 rows were drawn" in note for note in report["notes"])
