"""Archives that tests download from a file."""

import hashlib
import io
import tarfile


def write_tar(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return f"file://localhost{path}", hashlib.md5(path.read_bytes()).hexdigest()
