"""`OUT/before-after.html`: protected photos beside their originals, for people to look at.

The page lies among the protected photos and shows them from there. Originals are never copied: an
unprotected copy among protected photos is soon passed on by mistake. The page shows them from where
they lie, by file: addresses, and loads nothing from any network.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cloakwork import templates
from cloakwork.files import FOLDER, atomic_write, permissions
from cloakwork.workflows.records import PhotoRecord, SetRecord, summary

NAME = "before-after.html"
MARK = '<meta name="generator" content="cloakwork">'  # by which a page of ours is known
NOT_OURS = f"{{}} holds a {NAME} that is not cloakwork's, so no such page was written."
TEMPLATES = Path(__file__).parent / "page"
# what every browser shows
SHOWN = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".gif"}


@dataclass(frozen=True)
class Pair:
    """A photo as the page shows it."""

    name: str
    width: int
    height: int
    original: str
    """address"""
    protected: str
    """address, relative to the page"""
    where: str
    """the original's path, to be read"""
    hidden: list[str]
    """endings that browsers do not show"""
    caption: str


def write_page(results: Sequence[SetRecord], out: Path) -> Path | None:
    """Write the page for the photo sets of a run.

    Args:
        results: what was done.
        out: the output folder.

    Returns:
        The page, or None where a file of that name lies there that is none of ours.
    """
    page = out / NAME
    if os.path.lexists(page) and MARK not in _text(page):
        return None
    # it tells where the originals lie, as the records do
    with atomic_write(page, mode=permissions(out / FOLDER)) as part:
        part.write_text(html(results, out), encoding="utf-8")
    return page


def html(results: Sequence[SetRecord], out: Path) -> str:
    """Return the page as HTML that runs its own script and loads nothing but photos."""
    from markupsafe import Markup

    script, page, parts = (
        (TEMPLATES / name).read_text(encoding="utf-8")
        for name in ("compare.js", "before_after.css", "compare.css")
    )
    # the script defines what the page of `cloakwork web` uses too
    script += '\nfor (const figure of document.querySelectorAll("figure")) compare(figure);\n'
    shown = summary(results)
    template = templates.environment(TEMPLATES).get_template("before_after.html.j2")
    return template.render(
        mark=Markup(MARK),
        policy=Markup(templates.policy(script, "'self' file:")),
        style=Markup(page + parts),
        script=Markup(script),
        head=readable(shown.head),
        notes=[readable(note) for note in shown.notes],
        models=results[0].surrogates,
        pairs=[pair(photo, out) for result in results for photo in result.photos],
    )


def pair(photo: PhotoRecord, out: Path) -> Pair:
    """Return a photo as the page in `out` shows it."""
    files = (photo.original, photo.output)
    hidden = [f.suffix for f in files if f.suffix.lower() not in SHOWN]
    change = f"largest change {photo.budget_used:g} of 255, PSNR {photo.psnr:.1f} dB"
    seen = f", {photo.visible}" if photo.visible else ""
    change = f"{change}, SSIM {photo.ssim:.3f}{seen}" if photo.budget_used else "unchanged"
    return Pair(
        readable(photo.name),
        photo.width,
        photo.height,
        photo.original.absolute().as_uri(),
        address(os.path.relpath(photo.output, out)),
        readable(photo.original),
        list(dict.fromkeys(hidden)),
        f"{photo.width} x {photo.height} pixels; {change}",
    )


def address(path: str) -> str:
    """Return a relative path as an address, whatever its letters.

    >>> address('my photos/50% "a"#1?.png')
    'my%20photos/50%25%20%22a%22%231%3F.png'
    """
    # a colon in the first part would be taken for the end of a scheme; quote() writes it as %3A
    return quote(os.fsencode(Path(path).as_posix()))


def readable(name: Path | str) -> str:
    r"""Return a text without the stand-ins for bytes that are no UTF-8.

    >>> readable(os.fsdecode(b"caf\xe9.jpg"))
    'caf\ufffd.jpg'
    """
    return os.fsencode(name).decode("utf-8", "replace")


def _text(path: Path) -> str:
    """Return the beginning of a file as text, "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(2000)
    except OSError:
        return ""
