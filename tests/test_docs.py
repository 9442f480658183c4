"""The reference of the documentation is complete, and so are docstrings of estimators."""

from inspect import getdoc, signature
from pathlib import Path

import pytest
from instances import public_estimators

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


@pytest.mark.parametrize("cls", sorted(public_estimators(), key=str), ids=lambda cls: cls.__name__)
def test_docstrings_describe_every_parameter(cls):
    """Shared lines are filled in, for `inspect.getdoc`, `help` and numpydoc."""
    text = getdoc(cls)
    assert "%(" not in text
    described = {
        name.strip()
        for line in text.splitlines()
        if " : " in line and not line.startswith(" ")
        for name in line.split(" : ")[0].split(",")
    }
    parameters = signature(cls).parameters.values()
    named = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD and "__" not in p.name}
    assert named - {"iterator_train", "iterator_valid"} <= described


def test_everything_measured_has_its_page():
    measured = {path.name for path in (REPOSITORY / "benchmarks" / "results").glob("*.md")}
    index = (REPOSITORY / "doc" / "results" / "index.md").read_text().split()
    for name in measured:
        page = (REPOSITORY / "doc" / "results" / name).read_text()
        assert f"benchmarks/results/{name}" in page and name.removesuffix(".md") in index
