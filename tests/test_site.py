"""The site builds without a warning, its links lead somewhere, it needs nothing from outside."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from cloakwork import registry

ROOT = Path(__file__).parents[1]
# what a browser fetches by itself: (tag, attribute)
FETCHED = {
    ("script", "src"),
    ("img", "src"),
    ("img", "srcset"),
    ("source", "src"),
    ("source", "srcset"),
    ("iframe", "src"),
    ("video", "src"),
    ("audio", "src"),
    ("embed", "src"),
    ("object", "data"),
    ("link", "href"),
}


@dataclass
class Seen(HTMLParser):
    """What a page fetches, where it leads, and what can be led to in it."""

    fetched: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    styles: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._style = tag == "style"
        for name, value in attrs:
            if (tag, name) in FETCHED and value:
                self.fetched.append(value)
            elif (tag, name) == ("a", "href") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)
            elif name == "style" and value:
                self.styles += value

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if self._style:
            self.styles += data


def read(text: str) -> Seen:
    seen = Seen()
    seen.feed(text)
    return seen


def from_outside(addresses: list[str]) -> list[str]:
    return [a for a in addresses if not a.startswith("data:") and urlsplit(a).netloc]


def styled(css: str) -> list[str]:
    """What a style sheet fetches."""
    return re.findall(r"""(?:url\(\s*["']?|@import\s+["'])([^"')\s]+)""", css)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("site")
    # whatever would go out fails at once
    nowhere = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(built)],
        cwd=ROOT,
        check=False,
        env=os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return built


def test_what_comes_from_outside_is_noticed() -> None:
    seen = read(
        '<script src="https://a.b/c.js"></script><img src="d.png"><link href="//e.f/g.css">'
        '<a href="https://h.i">j</a><style>@import url("https://k.l/m.css");</style>'
    )
    assert from_outside(seen.fetched) == ["https://a.b/c.js", "//e.f/g.css"]
    assert from_outside(styled(seen.styles)) == ["https://k.l/m.css"]


def test_method_pages_say_what_files_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "website")
    methods = importlib.import_module("methods")
    assert doctest.testmod(methods).failed == 0
    page = methods.page("protections", "pid")
    assert "[arXiv 2406.15305](https://arxiv.org/abs/2406.15305)" in page
    assert (
        "| `tiny-bf16` | `budget=11`, `steps=100`, `step=None`, `arithmetic='bfloat16'` |" in page
    )
    assert "| `steps` | `1000` | PGD steps |" in page
    # its row and those of the controls, as they stand in the table of results
    kept = (ROOT / "docs" / "protections.md").read_text(encoding="utf-8")
    rate = re.search(r"\| with transformations \| pid \| (\S+ \[.*?\]) \|", kept)
    assert rate and f"| with transformations | **pid** | {rate[1]} |" in page
    assert "| with transformations | noise | " in page and "caat" not in page
    assert "lower is better" in methods.page("metrics", "lpips")


def test_every_sheet_is_of_a_method() -> None:
    folder = ROOT / "docs" / "pictures" / "methods"
    made = json.loads((folder / "sheets.json").read_text(encoding="utf-8"))
    names = {f"{kind}-{name}" for kind, specs in made.items() for name in specs}
    assert names == {path.stem for path in folder.glob("*.webp")}
    for kind, specs in made.items():
        assert set(specs) <= {name for name, _ in registry.listing(kind)}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["protect", "red_team", "write_a_protection"])
def test_tutorials_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "website")
    notebooks = importlib.import_module("notebooks")
    kept = nbformat.read(notebooks.FOLDER / f"{name}.ipynb", as_version=4)
    run = notebooks.run(notebooks.FOLDER / f"{name}.ipynb", tmp_path)
    # a kept output is of the cell as it stands: as many, of the same kinds
    kinds = [[[o.output_type for o in c.get("outputs", [])] for c in b.cells] for b in (kept, run)]
    assert kinds[0] == kinds[1] and any(kinds[0])
    assert (notebooks.FOLDER / f"{name}.ipynb").stat().st_size < 200_000


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nothing_comes_from_outside(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        seen = read(page.read_text(encoding="utf-8"))
        assert not from_outside(seen.fetched), page
        assert not from_outside(styled(seen.styles)), page
    for sheet in site.rglob("*.css"):
        assert not from_outside(styled(sheet.read_text(encoding="utf-8"))), sheet


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_links_and_pictures_lead_somewhere(site: Path) -> None:
    pages = {page: read(page.read_text(encoding="utf-8")) for page in site.rglob("*.html")}
    for page, seen in pages.items():
        if page.name == "404.html":  # it is shown at any address, so its own are absolute
            continue
        for address in [*seen.fetched, *seen.links]:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            place = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            place = place / "index.html" if place.is_dir() else place
            assert place.is_file(), (page, address)
            if parts.fragment and place in pages and parts.fragment != "__skip":
                assert unquote(parts.fragment) in pages[place].anchors, (page, address)
