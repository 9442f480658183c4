"""The built site: links lead somewhere, nothing comes from elsewhere, pages fit their windows.

`make doc` builds the site and runs these; where there is none they are skipped, and what needs a
browser is skipped where there is no Chromium.
"""

import functools
import http.server
import json
import os
import queue
import re
import shutil
import subprocess
import threading
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

REPOSITORY = Path(__file__).parent.parent
SITE = REPOSITORY / "doc" / "_build" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

#: Columns of code and of output that an article holds in a window of 1400 pixels.
COLUMNS = 99

WIDE, PHONE = 1400, 420  # pixels
BROWSER_SECONDS = 120  # a third of this on two busy cores

#: Pages that a browser shows; others are made of the same parts.
MAIN = re.compile(
    r"(guide|auto_examples)/|(index|api|architecture|contributing|results/(index|deep))\.html"
    r"|api/skbackdoor\.(BackdoorPoisoner|PatchTrigger|backdoor_learning_slope|weight_path)\.html"
)

pytestmark = pytest.mark.skipif(
    not (SITE / "index.html").exists(), reason="needs the site, which `make doc` builds"
)


class Page(HTMLParser):
    """What a page links to, what it loads, its anchors and its texts set in one width."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.anchors, self.blocks = [], [], set(), []
        self.text = path.read_text(encoding="utf-8")
        self._in_block = 0
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if tag == "link" and not {"prev", "next", "index", "search"} & {attributes.get("rel")}:
            self.loads.append(attributes["href"])
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.loads += [attributes[key] for key in ("src", "srcset") if attributes.get(key)]
        if tag == "pre":
            self._in_block += 1
            self.blocks.append("")

    def handle_endtag(self, tag):
        if tag == "pre":
            self._in_block -= 1

    def handle_data(self, data):
        if self._in_block:
            self.blocks[-1] += data


@functools.cache
def pages():
    """Path from the root of the site -> page."""
    paths = sorted(SITE.rglob("*.html"))
    names = {path: path.relative_to(SITE).as_posix() for path in paths}
    return {
        name: Page(path) for path, name in names.items() if not name.startswith(("_static", "_im"))
    }


def is_external(address):
    return bool(urlsplit(address).netloc) or urlsplit(address).scheme not in ("", "data")


def local_file(name, address):
    """The file that an address on page `name` means, and the anchor in it."""
    parts = urlsplit(address)
    path = (SITE / name).parent / unquote(parts.path) if parts.path else SITE / name
    path = Path(os.path.normpath(path))
    return (path / "index.html" if path.is_dir() else path), unquote(parts.fragment)


def test_every_internal_link_and_anchor_is_there():
    broken = []
    for name, page in pages().items():
        for address in page.links + page.loads:
            if is_external(address) or address.startswith("data:") or address == "#":
                continue
            path, anchor = local_file(name, address)
            if not path.is_file():
                broken.append(f"{name}: {address} (no such file)")
                continue
            other = pages().get(path.relative_to(SITE).as_posix())
            if anchor and other is not None and anchor not in other.anchors:
                broken.append(f"{name}: {address} (no such anchor)")
    assert not broken, "\n".join(broken)


def test_nothing_is_loaded_from_another_host():
    loaded = [
        f"{name}: {address}"
        for name, page in pages().items()
        for address in page.loads
        if is_external(address)
    ]
    for sheet in SITE.rglob("*.css"):
        text = re.sub(r"/\*.*?\*/", "", sheet.read_text(encoding="utf-8"), flags=re.S)
        found = re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]*)", text)
        loaded += [f"{sheet.relative_to(SITE)}: {address}" for address in found]
    assert not loaded, "\n".join(loaded)


def test_no_object_is_printed_by_its_address():
    found = [
        f"{name}: {line}"
        for name, page in pages().items()
        if not name.startswith("_modules")
        for line in unescape(page.text).splitlines()
        if " object at 0x" in line
    ]
    assert not found, "\n".join(found)


def test_no_line_of_code_or_output_is_cut():
    long = [
        f"{name}: {line}"
        for name, page in pages().items()
        if not name.startswith("_modules")
        for block in page.blocks
        for line in block.splitlines()
        if len(line) > COLUMNS
    ]
    assert not long, "\n".join(long)


def test_no_navigation_is_empty():
    empty = [
        name
        for name, page in pages().items()
        if re.search(r"Section Navigation</p>\s*<div[^>]*>\s*</div>", page.text)
    ]
    assert not empty, "\n".join(empty)


class Handler(http.server.SimpleHTTPRequestHandler):
    """The site, and `frames`: a page that shows others in frames and posts how they look."""

    def __init__(self, *arguments, looks, seen):
        self.looks, self.seen = looks, seen
        super().__init__(*arguments, directory=SITE)

    def do_GET(self):
        if self.path != "/frames":
            return super().do_GET()
        body = FRAMES.replace("LOOKS", json.dumps(self.looks)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.seen.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        pass


FRAMES = """<!doctype html><meta charset="utf-8"><title>frames</title><body>
<pre id="seen"></pre>
<script>
const inScroller = element => {
  for (let e = element.parentElement; e && e.tagName != "BODY"; e = e.parentElement)
    if (["auto", "scroll", "hidden", "clip"].includes(
          e.ownerDocument.defaultView.getComputedStyle(e).overflowX)) return true;
  return false;
};
const name = e => `${e.tagName}.${e.className}: ${(e.textContent || "").trim().slice(0, 60)}`;
async function look(page, width) {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 900; frame.src = "/" + page;
  await new Promise(loaded => { frame.onload = loaded; document.body.append(frame); });
  const view = frame.contentWindow, shown = view.document;
  if (view.MathJax) await view.MathJax.startup.promise;
  await shown.fonts.ready;
  const all = [...shown.querySelectorAll("body *")];
  const visible = e => e.getClientRects().length
    && view.getComputedStyle(e).visibility != "hidden";
  const wide = all.filter(e => visible(e) && !inScroller(e)
    && e.getBoundingClientRect().right > width + 1);
  const end = e => {
    const range = shown.createRange();
    range.selectNodeContents(e);
    return range.getBoundingClientRect().right;
  };
  const columns = [...shown.querySelectorAll(".bd-sidebar-primary a, .bd-sidebar-secondary a")]
    .filter(e => visible(e) && end(e) >
      e.closest(".bd-sidebar-primary, .bd-sidebar-secondary").getBoundingClientRect().right + 1);
  const result = {
    page, width,
    page_width: shown.documentElement.scrollWidth,
    wide: wide.slice(0, 5).map(name),
    columns: columns.slice(0, 5).map(name),
    cut: [...shown.querySelectorAll("article pre")].filter(e => e.scrollWidth > e.clientWidth + 1)
      .map(name),
    small: [...shown.querySelectorAll("article img")].filter(e => visible(e)
      && e.naturalWidth > 300 && !e.closest(".sphx-glr-thumbcontainer")
      && e.getBoundingClientRect().width < 0.6 * Math.min(e.naturalWidth, width / 2))
      .map(e => e.src),
    missing: [...shown.images].filter(e => visible(e) && e.complete && !e.naturalWidth)
      .map(e => e.src),
    formulas: shown.querySelectorAll("article .math").length,
    drawn: [...shown.querySelectorAll("article .math mjx-container")]
      .filter(e => e.getBoundingClientRect().width > 2).length,
    failed: shown.querySelectorAll("mjx-merror, merror").length,
  };
  frame.remove();
  return result;
}
(async () => {
  let seen = [];
  try {
    for (const [page, width] of LOOKS) seen.push(await look(page, width));
  } catch (error) { seen = String(error.stack); }
  await fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
})();
</script>"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """How Chromium shows pages at both widths, without a network."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    looks = [(page, width) for page in pages() if MAIN.match(page) for width in (WIDE, PHONE)]
    answers = queue.Queue()
    handler = functools.partial(Handler, looks=looks, seen=answers)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        switches = (
            "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync"
            " disable-background-networking disable-component-update window-size=1500,1000"
        )
        browser = subprocess.Popen(
            [
                CHROMIUM,
                *("--" + switch for switch in switches.split()),
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
                f"http://127.0.0.1:{server.server_port}/frames",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            answer = answers.get(timeout=BROWSER_SECONDS)
            assert isinstance(answer, list), answer
            return answer
        except queue.Empty:
            pytest.fail(f"Chromium did not show all pages within {BROWSER_SECONDS} s")
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()


def complaints(seen, key, width=None):
    return [
        f"{look['page']} at {look['width']}: {look[key]}"
        for look in seen
        if look[key] and width in (None, look["width"])
    ]


def test_formulas_are_drawn(seen):
    assert sum(look["formulas"] for look in seen) > 10
    wrong = [
        f"{look['page']}: {look['drawn']} of {look['formulas']} formulas, {look['failed']} failed"
        for look in seen
        if look["drawn"] != look["formulas"] or look["failed"]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_page_is_wider_than_its_window(seen):
    wide = [
        f"{look['page']} at {look['width']}: {look['page_width']} {look['wide']}"
        for look in seen
        if look["page_width"] > look["width"]
    ]
    assert not wide, "\n".join(wide)


def test_columns_beside_the_text_hold_their_names(seen):
    assert not complaints(seen, "columns"), "\n".join(complaints(seen, "columns"))


def test_code_and_output_are_seen_whole_on_a_wide_screen(seen):
    assert not complaints(seen, "cut", WIDE), "\n".join(complaints(seen, "cut", WIDE))


def test_pictures_are_there_and_large_enough(seen):
    wrong = complaints(seen, "missing") + complaints(seen, "small")
    assert not wrong, "\n".join(wrong)
