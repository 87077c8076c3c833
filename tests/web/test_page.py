"""The page's own parts: that they load nothing from elsewhere, and can be read by anybody."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers.web import addresses_in, visitor

from cloakwork.metrics.noticed import WORDS
from cloakwork.web.texts import LANGUAGES, PARTS, STATIC, texts

# what a document may name without loading it
NAMES = ("http://www.w3.org/2000/svg",)


class Tags(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


@pytest.fixture
def html(tmp_path: Path) -> str:
    page = visitor(tmp_path)
    page.enter()
    return page.client.get("/").text


def test_everything_that_is_loaded_is_our_own(html: str) -> None:
    loaded = addresses_in(html)
    assert {f"/static/{name}" for name in STATIC} <= set(loaded)
    assert all(re.match(r"/(?!/)|#", address) for address in loaded)


@pytest.mark.parametrize("name", STATIC)
def test_no_part_names_another_place(name: str) -> None:
    text = STATIC[name][0].read_text(encoding="utf-8")
    for known in NAMES:
        text = text.replace(known, "")
    assert not re.search(r"(?:https?|wss?|ftp):|//[a-z]+\.[a-z]|@import|url\((?!\")", text)


def test_no_script_and_no_style_stands_in_the_page(html: str) -> None:
    """The policy forbids them, so they would do nothing."""
    tags = Tags(html).found
    assert [a for tag, a in tags if tag == "script" and not a.get("src")] == []
    assert not [tag for tag, a in tags if tag == "style" or "style" in a]
    assert not [a for _, a in tags if any(name.startswith("on") for name in a)]


def test_every_field_has_a_name_and_every_picture_a_text(html: str) -> None:
    tags = Tags(html).found
    labelled = {a["for"] for tag, a in tags if tag == "label" and "for" in a}
    for tag, a in tags:
        if tag == "img":
            assert "alt" in a
        if tag == "input" and a.get("type") in ("text", "file"):
            assert "aria-label" in a or a["id"] in labelled
        if tag == "progress":
            assert a["aria-label"]
    (html_tag,) = [a for tag, a in tags if tag == "html"]
    assert html_tag["lang"] == "en"
    panels = {a["id"]: a["aria-labelledby"] for _, a in tags if a.get("role") == "tabpanel"}
    tabs = {a["aria-controls"]: a["id"] for _, a in tags if a.get("role") == "tab"}
    assert panels == tabs and len(tabs) == 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_text(language: str) -> None:
    """With the same places to fill."""

    def places(text: str) -> set[str]:
        return set(re.findall(r"\{\w+\}", text))

    mine, first = texts(language), texts(LANGUAGES[0])
    assert mine.keys() == first.keys()
    assert {key: places(mine[key]) for key in first} == {k: places(v) for k, v in first.items()}


def test_every_text_is_used() -> None:
    used = "".join(
        (PARTS / name).read_text(encoding="utf-8")
        for name in ("index.html.j2", "closed.html.j2", "page.js")
    )
    # named by parts: a strength, a count
    counted = ("_one", "_many", "_about", *(f"_{w.replace(' ', '_')}" for w in WORDS.values()))
    for key in json.loads((PARTS / "en.json").read_text(encoding="utf-8")):
        stem = next((key.removesuffix(end) for end in counted if key.endswith(end)), key)
        assert stem in used, key


@pytest.mark.parametrize("word", WORDS.values())
def test_how_visible_a_change_is_has_a_text(word: str) -> None:
    assert f"word_{word.replace(' ', '_')}" in texts("en")
