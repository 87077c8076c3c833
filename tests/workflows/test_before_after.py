from __future__ import annotations

import os
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from PIL import Image

from cloakwork.protections import noise
from cloakwork.workflows.before_after import NAME
from cloakwork.workflows.protect import protect


class Page(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


AWKWARD = ['50% "a" & <b>#1?.png', "d'e:f(g).png", os.fsdecode(b"caf\xe9.png")]


@pytest.fixture
def page(tmp_path: Path, sample_files: list[Path]) -> Page:
    (tmp_path / "in").mkdir()
    for file, name in zip(sample_files, AWKWARD, strict=True):
        (tmp_path / "in" / name).write_bytes(file.read_bytes())
    protect(tmp_path / "in", tmp_path / "out", protection="noise", config=noise.Config(budget=7))
    return Page(tmp_path / "out" / NAME)


def test_photos_are_found_whatever_their_names(page: Page, tmp_path: Path) -> None:
    """Protected ones beside the page, originals where they lie."""
    pictures = page.all("img")
    assert len(pictures) == 6 and all(picture["alt"] for picture in pictures)
    named = sorted(os.fsencode(name) for name in AWKWARD)
    originals = [p["src"] for p in pictures if p["class"] == "before"]
    prefix = (tmp_path / "in").as_uri() + "/"
    assert all(address.startswith(prefix) for address in originals)
    assert sorted(unquote_to_bytes(a.removeprefix(prefix)) for a in originals) == named
    beside = [p["src"] for p in pictures if p["class"] == "after"]
    assert sorted(map(unquote_to_bytes, beside)) == named
    assert all(re.fullmatch(r"[\w.%~-]+", address) for address in beside)


def test_no_original_is_copied_and_nothing_is_fetched(page: Page, tmp_path: Path) -> None:
    text = (tmp_path / "out" / NAME).read_text(encoding="utf-8")
    assert "base64" not in text and "data:" not in text and not re.search(r"https?://", text)
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'; img-src 'self' file:;")
    written = [f for f in (tmp_path / "out").iterdir() if not f.name.startswith(".")]
    assert len(written) == 4
    assert "The originals are not copied" in text and "noise" in text


def test_every_photo_has_a_slider_and_keys(page: Page) -> None:
    sliders = [i for i in page.all("input") if i["type"] == "range"]
    groups = [d for d in page.all("div") if d.get("tabindex") == "0"]
    assert len(sliders) == len(groups) == 3
    assert all(s["aria-label"] for s in sliders) and all(g["aria-label"] for g in groups)
    assert Counter(tag for tag, _ in page.tags)["figure"] == 3


def test_a_page_of_somebody_else_stays(sample_files: list[Path], tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("mine")
    how = {"protection": "noise", "config": noise.Config(budget=7)}
    (result,) = protect(sample_files[:1], tmp_path, **how)
    assert (tmp_path / NAME).read_text() == "mine"
    assert any(NAME in note for note in result.notes)


def test_formats_that_browsers_do_not_show_are_linked(
    sample_files: list[Path], tmp_path: Path
) -> None:
    Image.open(sample_files[0]).save(tmp_path / "a.tif")
    protect(tmp_path / "a.tif", tmp_path / "out", protection="noise", config=noise.Config(budget=7))
    page = Page(tmp_path / "out" / NAME)
    assert not page.all("img") and len(page.all("a")) == 2
    assert "Browsers do not show .tif." in (tmp_path / "out" / NAME).read_text()
