"""Views of a report: text, table, JSON by its schema, and a page that is safe and readable."""

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import poisoned
import pytest

from skbackdoor.audit import html
from skbackdoor.audit.html import rows_csv
from skbackdoor.audit.pictures import picture, png

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCHEMA = json.loads((Path(html.__file__).parent / "schema.json").read_text())
KINDS = ["digits", "table", "texts"]
VOID = {"meta", "img", "br", "link", "hr", "input"}


class Tags(HTMLParser):
    """Tags that close each other, and every attribute."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.names, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.names.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


def follows(value, schema, where="report"):
    """Whether a value is as a JSON schema says; of the words that ours uses."""
    if "$ref" in schema:
        return follows(value, SCHEMA["$defs"][schema["$ref"].split("/")[-1]], where)
    kinds = schema.get("type")
    names = {
        "object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
        "boolean": bool, "null": type(None),
    }  # fmt: skip
    if kinds:
        kinds = [kinds] if isinstance(kinds, str) else kinds
        fits = [isinstance(value, names[kind]) for kind in kinds]
        assert any(fits), f"{where}: {value!r} is none of {kinds}"
    if "const" in schema:
        assert value == schema["const"], where
    if "enum" in schema:
        assert value in schema["enum"], where
    if "minimum" in schema and value is not None:
        assert value >= schema["minimum"], where
    if "maximum" in schema and value is not None:
        assert value <= schema["maximum"], where
    if isinstance(value, dict):
        assert set(schema["required"]) <= set(value) <= set(schema["properties"]), where
        for key, part in value.items():
            follows(part, schema["properties"][key], f"{where}.{key}")
    if isinstance(value, list):
        assert schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9)
        for part in value:
            follows(part, schema["items"], where)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("poison", [True, False])
def test_json_follows_its_schema(kind, poison, tmp_path):
    report = poisoned.report(kind, poison)
    text = report.to_json(tmp_path / "report.json")
    follows(json.loads(text), SCHEMA)
    assert (tmp_path / "report.json").read_text() == text


@pytest.mark.parametrize("kind", KINDS)
def test_rows_as_a_table_and_as_text(kind):
    report = poisoned.report(kind)
    frame = report.to_frame()
    poison = frame[frame["verdict"] == "poison"]["row"]
    assert set(poison) == set(np.flatnonzero(report.is_poison))
    assert "POISON FOUND" in report.summary()
    assert f"{len(report.groups[0].indices)} rows" in report.summary()


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_one_file_without_script(kind):
    tags = Tags(poisoned.report(kind).to_html())
    assert not {"script", "link", "iframe", "object", "form"} & set(tags.names)
    for tag, name, value in tags.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "action", "srcset"):
            assert value.startswith("data:"), value[:60]
    assert "http" not in " ".join(v or "" for _, name, v in tags.attributes if name != "content")


@pytest.mark.parametrize("kind", ["table", "texts"])
def test_text_from_data_is_escaped(kind):
    page = poisoned.report(kind).to_html()
    assert "<script" not in page and "alert(" in page
    assert poisoned.EVIL in "".join(Tags(page).text)
    assert "<script" not in poisoned.report(kind)._repr_html_().split('srcdoc="')[1]


def test_downloads_hold_no_formula():
    for row in csv.reader(io.StringIO(rows_csv(poisoned.report("table")))):
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row)


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_rows_than_asked_for(kind):
    report = poisoned.report(kind)
    for most in (0, 3, 8, 40):
        page = report.to_html(max_rows=most)
        shown = int(re.search(r"(\d+) rows of the data are shown", page)[1])
        assert shown <= most
        in_it = page.count("labelled ") + page.count("nearest ")
        assert in_it <= (2 if kind == "digits" else 1) * most
    bare = report.to_html(samples=False)
    assert "0 rows of the data are shown" in bare
    assert "<img" not in bare and "labelled " not in bare


@pytest.mark.parametrize("options", [{"max_rows": True}, {"max_rows": -1}, {"max_rows": 2.0},
                                     {"samples": "no"}])  # fmt: skip
def test_what_rows_are_shown_is_said_clearly(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        poisoned.report("digits").to_html(**options)


def luminance(colour):
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_contrast_of_text_in_light_and_dark():
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05) is 4.5 or more."""
    page = poisoned.report("digits").to_html()
    light, dark = re.findall(r":root \{(.*?)\}", page, re.S)
    for scheme in (light, dark):
        colours = dict(re.findall(r"--(\w+): (#\w{6});", scheme))
        pairs = [
            (text, back)
            for text in ("text", "soft", "poison", "suspect", "nothing", "link")
            for back in ("back", "card")
        ]
        for text, back in [*pairs, ("marked", "mark")]:
            low, high = sorted(luminance(colours[name]) for name in (text, back))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, back)


def test_pictures_are_what_they_show():
    from io import BytesIO

    from matplotlib.image import imread

    values = np.random.RandomState(0).randint(0, 256, (5, 7, 3)).astype(np.uint8)
    np.testing.assert_array_equal(np.rint(255 * imread(BytesIO(png(values)))), values)
    grey = imread(BytesIO(png(values[..., 0])))
    np.testing.assert_array_equal(np.rint(255 * grey), values[..., 0])
    assert picture(np.zeros(4), (2, 2), 0, 1) != picture(np.ones(4), (2, 2), 0, 1)


def test_files_are_whole_or_as_they_were(tmp_path, monkeypatch):
    from skbackdoor.audit import writing

    path = tmp_path / "report.html"
    path.write_text("before")

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        poisoned.report("digits").to_html(path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_without_jinja2_it_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"skbackdoor\[audit\]"):
        poisoned.report("digits").to_html()


LOOK = """<!doctype html><meta charset="utf-8"><body><script>
const texts = %s, out = [];
(async () => {
  for (const width of [1400, 420]) for (const text of texts) {
    const frame = document.createElement("iframe");
    frame.width = width; frame.height = 900; frame.srcdoc = text;
    await new Promise(done => { frame.onload = done; document.body.append(frame); });
    const page = frame.contentDocument;
    out.push({width, page: page.documentElement.scrollWidth,
      missing: [...page.images].filter(e => !e.naturalWidth).length, images: page.images.length,
      heading: page.querySelector(".verdict strong").getBoundingClientRect().width});
    frame.remove();
  }
  document.body.textContent = "SEEN" + JSON.stringify(out) + "NEES";
})();
</script>"""


def chromium(tmp_path, *arguments):
    switches = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    ).split()
    return subprocess.run(
        [CHROMIUM, *switches, "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={tmp_path / 'chromium'}", *arguments],
        capture_output=True, timeout=120, text=True,
    ).stdout  # fmt: skip


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_it_wide_and_on_a_phone_and_prints_it(tmp_path):
    pages = [poisoned.report(kind).to_html() for kind in KINDS]
    look = tmp_path / "look.html"
    look.write_text(LOOK % json.dumps(pages).replace("</", "<\\/"), encoding="utf-8")
    shown = chromium(tmp_path, "--virtual-time-budget=20000", "--dump-dom", look.as_uri())
    found = json.loads(re.search("SEEN(.*)NEES", shown)[1])
    assert len(found) == 2 * len(pages)
    for look in found:
        assert look["page"] <= look["width"], look
        assert look["missing"] == 0 and 100 < look["heading"] < look["width"]
    assert found[0]["images"] > 6
    path = tmp_path / "report.html"
    path.write_text(pages[0], encoding="utf-8")
    chromium(tmp_path, f"--print-to-pdf={tmp_path / 'report.pdf'}", path.as_uri())
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
