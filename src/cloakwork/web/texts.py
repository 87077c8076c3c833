"""The page itself: its parts, and its texts in the languages that it speaks."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from cloakwork.templates import environment

PARTS = Path(__file__).parent / "page"
SHARED = Path(__file__).parents[1] / "workflows" / "page"  # with before-after.html
LANGUAGES = ("en", "de")
STATIC = {
    "style.css": (PARTS / "style.css", "text/css"),
    "page.js": (PARTS / "page.js", "text/javascript"),
    "icon.svg": (PARTS / "icon.svg", "image/svg+xml"),
    "compare.css": (SHARED / "compare.css", "text/css"),
    "compare.js": (SHARED / "compare.js", "text/javascript"),
}
"""What the page consists of beside its HTML: name -> file and kind."""


def language(accepted: str) -> str:
    """Return the language of the page, by what a browser accepts.

    >>> language("de-AT, en;q=0.8"), language("fr")
    ('de', 'en')
    """
    wanted = [part.split(";")[0].strip()[:2].lower() for part in accepted.split(",")]
    return next((name for name in wanted if name in LANGUAGES), LANGUAGES[0])


@cache
def texts(name: str) -> dict[str, str]:
    """Read the texts of a language."""
    return json.loads((PARTS / f"{name}.json").read_text(encoding="utf-8"))


def render(page: str, accepted: str, **values: Any) -> str:
    """Return a page as HTML.

    Args:
        page: "index" or "closed".
        accepted: the languages that the browser accepts.
        values: what the template names.
    """
    spoken = language(accepted)
    words = texts(spoken)
    template = environment(PARTS).get_template(f"{page}.html.j2")
    return template.render(
        language=spoken, t=words, script_texts=json.dumps(words, ensure_ascii=False), **values
    )
