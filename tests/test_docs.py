"""The reference of the documentation is complete."""

from pathlib import Path

import pytest

import skbackdoor

REPOSITORY = Path(__file__).parent.parent
REFERENCE = REPOSITORY / "doc" / "api.rst"


@pytest.mark.parametrize("package", ["", "deep"])
def test_reference_lists_every_public_name(package):
    module, prefix = skbackdoor, ""
    if package == "deep":
        module, prefix = pytest.importorskip("skbackdoor.deep"), "deep."
    listed = {line.strip() for line in REFERENCE.read_text().splitlines()}
    assert {prefix + name for name in module.__all__} <= listed


def test_everything_measured_has_its_page():
    measured = {path.name for path in (REPOSITORY / "benchmarks" / "results").glob("*.md")}
    index = (REPOSITORY / "doc" / "results" / "index.md").read_text().split()
    for name in measured:
        page = (REPOSITORY / "doc" / "results" / name).read_text()
        assert f"benchmarks/results/{name}" in page and name.removesuffix(".md") in index
