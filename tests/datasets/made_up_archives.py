"""Archives that tests download from a file."""

import hashlib
import io
import tarfile
import zipfile


def write_tar(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return f"file://localhost{path}", hashlib.md5(path.read_bytes()).hexdigest()


def jpeg(colour, size=(20, 20)):
    import pytest

    file = io.BytesIO()
    pytest.importorskip("PIL.Image").new("RGB", size, colour).save(file, "JPEG")
    return file.getvalue()


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return f"file://localhost{path}", hashlib.md5(path.read_bytes()).hexdigest()
