"""Flowers: classes by their folders, of the archive and of another collection."""

from pathlib import Path

import numpy as np
import pytest
from made_up_archives import jpeg, write_tar

from skbackdoor.datasets import fetch_flowers
from skbackdoor.datasets import flowers as flowers_module

SHARED = Path(__file__).parents[3] / "shared" / "data" / "flowers"
NAMES = ("daisy", "dandelion", "roses", "sunflowers", "tulips")


@pytest.fixture
def flowers(tmp_path, monkeypatch):
    """Three photographs a class; their red is 40 times the class."""
    members = {
        f"flower_photos/{name}/{k}.jpg": jpeg((40 * i, 0, 200), (20, 30 + k))
        for i, name in enumerate(NAMES)
        for k in range(3)
    }
    archive = tmp_path / "flower_photos.tgz"
    record = write_tar(archive, members | {"flower_photos/LICENSE.txt": b"CC-BY"})
    monkeypatch.setattr(flowers_module, "_FLOWERS", record)
    return archive


def test_flowers(flowers, tmp_path):
    home = tmp_path / "home"
    whole = fetch_flowers(image_size=16, data_home=home)
    assert whole.X.shape == (15, 3, 16, 16) and whole.X.dtype == np.uint8
    np.testing.assert_array_equal(whole.y, np.repeat(np.arange(5), 3))
    np.testing.assert_allclose(whole.X[:, 0].mean(axis=(1, 2)), 40 * whole.y, atol=4)  # JPEG
    assert whole.class_names[2] == "rose" and whole.image_shape == (3, 16, 16)
    assert [path.name for path in home.iterdir()] == ["flower_photos"]

    flowers.unlink()
    X, y = fetch_flowers((4, 0), 4, data_home=home, download_if_missing=False, return_X_y=True)
    assert X.shape == (4, 3, 224, 224) and set(y) == {0, 4}
    X_again, _ = fetch_flowers((4, 0), 4, path=home / "flower_photos", return_X_y=True)
    np.testing.assert_array_equal(X_again, X)


def test_folders_in_the_singular(flowers, tmp_path):
    for i, name in enumerate(("daisy", "dandelion", "rose", "sunflower", "tulip")):
        (tmp_path / "other" / name).mkdir(parents=True)
        (tmp_path / "other" / name / "a.jpg").write_bytes(jpeg((40 * i, 0, 0)))
    _, y = fetch_flowers(image_size=8, path=tmp_path / "other", return_X_y=True)
    assert y.tolist() == [0, 1, 2, 3, 4]


def test_flowers_that_are_not_there(flowers, tmp_path, monkeypatch):
    home = tmp_path / "home"
    with pytest.raises(OSError, match="flower_photos.tgz, and download_if_missing=False"):
        fetch_flowers(data_home=home, download_if_missing=False)
    with pytest.raises(FileNotFoundError, match="nowhere is not Flowers: no .jpg"):
        fetch_flowers(path=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"classes=\[5\] must be different classes from 0 to 4"):
        fetch_flowers([5], path=tmp_path)
    with pytest.raises(ValueError, match="n_samples=7 is more than the 6 samples"):
        fetch_flowers([0, 1], 7, data_home=home)
    monkeypatch.setattr(flowers_module, "_FLOWERS", (flowers_module._FLOWERS[0], "0" * 32))
    with pytest.raises(ValueError, match="md5 sum"):
        fetch_flowers(data_home=tmp_path / "another")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="no ../shared/data/flowers")
def test_real_flowers():
    X, y = fetch_flowers(n_samples=20, image_size=32, path=SHARED, return_X_y=True)
    assert X.shape == (20, 3, 32, 32) and 40 < X.mean() < 200 and len(set(y)) > 2
