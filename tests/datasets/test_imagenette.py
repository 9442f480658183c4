"""Imagenette: shapes, repeatability, and archives that are not there or damaged."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from made_up_archives import write_tar

from skbackdoor.datasets import archives, fetch_imagenette
from skbackdoor.datasets import imagenette as imagenette_module

SHARED = Path(__file__).parents[3] / "shared" / "data"


def jpeg(width, height, colour):
    file = io.BytesIO()
    pytest.importorskip("PIL.Image").new("RGB", (width, height), colour).save(file, "JPEG")
    return file.getvalue()


def imagenette_members(root, sides=(20, 30)):
    """Two photographs a class, upright and lying, to train on, one grey one to test.

    Their red is 10 times the class.
    """
    small, large = sides
    members = {}
    for i, wnid in enumerate(imagenette_module._IMAGENETTE_CLASSES):
        for k, size in enumerate(((small, large), (large, small))):
            members[f"{root}/train/{wnid}/{k}.JPEG"] = jpeg(*size, (10 * i, 0, 200))
        members[f"{root}/val/{wnid}/0.JPEG"] = jpeg(small, small, (10 * i,) * 3)
    return members


@pytest.fixture
def imagenette(tmp_path, monkeypatch):
    archive = tmp_path / "imagenette2-160.tgz"
    record = write_tar(archive, imagenette_members("imagenette2-160"))
    monkeypatch.setattr(imagenette_module, "_IMAGENETTE", {160: record})
    return archive


def test_imagenette(imagenette, tmp_path):
    home = tmp_path / "home"
    whole = fetch_imagenette(image_size=16, data_home=home)
    assert whole.X_train.shape == (20, 3, 16, 16) and whole.X_test.shape == (10, 3, 16, 16)
    assert whole.X_train.dtype == np.uint8 and whole.image_shape == (3, 16, 16)
    np.testing.assert_array_equal(whole.y_train, np.repeat(np.arange(10), 2))
    means = whole.X_train.mean(axis=(2, 3))
    np.testing.assert_allclose(means[:, 0], 10 * whole.y_train, atol=4)  # JPEG
    np.testing.assert_allclose(means[:, 2], 200, atol=4)
    assert whole.class_names[6] == "garbage truck" and whole.target_names == list(range(10))
    assert [path.name for path in home.iterdir()] == ["imagenette2-160"]  # no archive, no rest

    imagenette.unlink()
    part = fetch_imagenette((6, 0), 3, 1, data_home=home, download_if_missing=False)
    assert part.X_train.shape == (3, 3, 160, 160) and set(part.y_train) == {0, 6}
    again = fetch_imagenette((6, 0), 3, 1, path=home / "imagenette2-160", return_X_y=True)
    for name, array in zip(("X_train", "y_train", "X_test", "y_test"), again):
        np.testing.assert_array_equal(array, part[name])


def test_the_middle_square_is_taken(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.zeros((8, 24, 3), dtype=np.uint8)
    pixels[:, 8:16] = 255
    for part in ("train", "val"):
        folder = tmp_path / part / "n01440764"
        folder.mkdir(parents=True)
        image.fromarray(pixels).save(folder / "0.JPEG", quality=100)
    X, _, _, _ = fetch_imagenette([0], image_size=8, path=tmp_path, return_X_y=True)
    assert X.min() > 250


def test_imagenette_that_is_not_there(imagenette, tmp_path, monkeypatch):
    with pytest.raises(OSError, match="imagenette2-160.tgz, and download_if_missing=False"):
        fetch_imagenette(data_home=tmp_path / "home", download_if_missing=False)
    with pytest.raises(FileNotFoundError, match=r"nowhere is not Imagenette.*train/"):
        fetch_imagenette(path=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="image_size == 0"):
        fetch_imagenette(image_size=0, path=tmp_path)
    url, _ = imagenette_module._IMAGENETTE[160]
    monkeypatch.setattr(imagenette_module, "_IMAGENETTE", {160: (url, "0" * 32)})
    with pytest.raises(ValueError, match="md5 sum"):
        fetch_imagenette(data_home=tmp_path / "home")


def test_imagenette_is_unpacked_by_older_pythons(imagenette, tmp_path, monkeypatch):
    """3.11.2, which Debian has, knows no filter."""
    pytest.importorskip("PIL")
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    extract = tarfile.TarFile.extractall

    def without_filter(self, path):
        extract(self, path)

    monkeypatch.setattr(tarfile.TarFile, "extractall", without_filter)
    home = tmp_path / "older"
    assert len(fetch_imagenette([0], data_home=home, return_X_y=True)[0])


@pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="Python has no filter of archives")
def test_nothing_is_unpacked_outside(tmp_path, monkeypatch):
    record = write_tar(tmp_path / "imagenette2-160.tgz", {"../../escaped": b"x"})
    monkeypatch.setattr(imagenette_module, "_IMAGENETTE", {160: record})
    home = tmp_path / "a" / "home"
    with pytest.raises(tarfile.OutsideDestinationError):
        fetch_imagenette(data_home=home)
    assert not list(tmp_path.rglob("escaped"))


def test_large_images_come_from_the_larger_archive(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(archives, "fetch_file", lambda url, folder: asked.append(url))
    for image_size in (160, 161):
        with pytest.raises(TypeError):  # nothing was fetched
            fetch_imagenette(image_size=image_size, data_home=tmp_path)
    assert [url[-7:] for url in asked] == ["160.tgz", "320.tgz"]


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "imagenette").exists(), reason="no ../shared/data/imagenette")
def test_real_imagenette():
    imagenette = fetch_imagenette((6, 0), 40, 20, image_size=64, path=SHARED / "imagenette")
    assert imagenette.X_train.shape == (40, 3, 64, 64) and set(imagenette.y_train) == {0, 6}
    assert 60 < imagenette.X_train.mean() < 200
