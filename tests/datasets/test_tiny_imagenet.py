"""TinyImageNet: labels of both parts, repeatability, archives that are not there or damaged."""

import numpy as np
import pytest
from made_up_archives import jpeg, write_zip

from skbackdoor.datasets import fetch_tiny_imagenet
from skbackdoor.datasets import tiny_imagenet as tiny_module

WNIDS = [f"n{i:08d}" for i in range(200)]
SHUFFLED = [WNIDS[i] for i in np.random.RandomState(0).permutation(200)]


def members(root):
    """Two images a class to train on, one to test; their red is the class."""
    files = {
        f"{root}/wnids.txt": "\n".join(SHUFFLED),
        f"{root}/words.txt": "".join(f"{w}\tname {i}, other\n" for i, w in enumerate(WNIDS)),
    }
    shown = ""
    for k, wnid in enumerate(SHUFFLED):
        i = WNIDS.index(wnid)
        for copy in range(2):
            files[f"{root}/train/{wnid}/images/{wnid}_{copy}.JPEG"] = jpeg((i, 0, 0), (64, 64))
        files[f"{root}/val/images/val_{k}.JPEG"] = jpeg((i, 255, 0), (64, 64))
        shown += f"val_{k}.JPEG\t{wnid}\t0\t0\t62\t62\n"
    return files | {f"{root}/val/val_annotations.txt": shown}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    archive = tmp_path / "tiny-imagenet-200.zip"
    record = write_zip(archive, members("tiny-imagenet-200"))
    monkeypatch.setattr(tiny_module, "_TINY_IMAGENET", record)
    return archive


def test_tiny_imagenet(tiny, tmp_path):
    home = tmp_path / "home"
    whole = fetch_tiny_imagenet(data_home=home)
    assert whole.X_train.shape == (400, 3, 64, 64) and whole.X_test.shape == (200, 3, 64, 64)
    np.testing.assert_array_equal(whole.y_train, np.repeat(np.arange(200), 2))
    for part, green in (("train", 0), ("test", 255)):
        means = whole[f"X_{part}"].mean(axis=(2, 3))
        np.testing.assert_allclose(means[:, 0], whole[f"y_{part}"], atol=4)  # JPEG
        np.testing.assert_allclose(means[:, 1], green, atol=4)
    assert whole.class_names[7] == "name 7, other" and len(whole.class_names) == 200
    assert [path.name for path in home.iterdir()] == ["tiny-imagenet-200"]

    tiny.unlink()
    part = fetch_tiny_imagenet(
        (199, 3), 3, 1, image_size=16, data_home=home, download_if_missing=False
    )
    assert part.X_train.shape == (3, 3, 16, 16) and set(part.y_train) == {3, 199}
    again = fetch_tiny_imagenet(
        (199, 3), 3, 1, image_size=16, path=home / "tiny-imagenet-200", return_X_y=True
    )
    for name, array in zip(("X_train", "y_train", "X_test", "y_test"), again):
        np.testing.assert_array_equal(array, part[name])


def test_tiny_imagenet_that_is_not_there(tiny, tmp_path, monkeypatch):
    home = tmp_path / "home"
    with pytest.raises(OSError, match="tiny-imagenet-200.zip, and download_if_missing=False"):
        fetch_tiny_imagenet(data_home=home, download_if_missing=False)
    with pytest.raises(FileNotFoundError, match="nowhere is not TinyImageNet: .*wnids.txt"):
        fetch_tiny_imagenet(path=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"must be different classes from 0 to 199"):
        fetch_tiny_imagenet([200], path=tmp_path)
    monkeypatch.setattr(tiny_module, "_TINY_IMAGENET", (tiny_module._TINY_IMAGENET[0], "0" * 32))
    with pytest.raises(ValueError, match="md5 sum"):
        fetch_tiny_imagenet(data_home=home)


def test_nothing_is_unpacked_outside(tmp_path, monkeypatch):
    files = {"tiny-imagenet-200/wnids.txt": "", "../../escaped": b"x"}
    record = write_zip(tmp_path / "tiny-imagenet-200.zip", files)
    monkeypatch.setattr(tiny_module, "_TINY_IMAGENET", record)
    with pytest.raises(FileNotFoundError, match="words.txt is missing"):
        fetch_tiny_imagenet(data_home=tmp_path / "a" / "home")
    assert not (tmp_path / "escaped").exists() and not (tmp_path / "a" / "escaped").exists()


def test_a_train_folder_without_images(tmp_path):
    for name, text in members("root").items():
        path = tmp_path / name
        if not name.startswith("root/train"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FileNotFoundError, match="no train images of some of the classes"):
        fetch_tiny_imagenet([1], path=tmp_path / "root")
