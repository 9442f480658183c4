"""The reference of the documentation is complete."""

from pathlib import Path

import pytest

import skbackdoor

REFERENCE = Path(__file__).parent.parent / "doc" / "api.rst"


@pytest.mark.parametrize("package", ["", "deep"])
def test_reference_lists_every_public_name(package):
    module, prefix = skbackdoor, ""
    if package == "deep":
        module, prefix = pytest.importorskip("skbackdoor.deep"), "deep."
    listed = {line.strip() for line in REFERENCE.read_text().splitlines()}
    assert {prefix + name for name in module.__all__} <= listed
