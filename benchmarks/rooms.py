"""Draw the package's rooms from the layer contract in pyproject.toml, into docs/rooms.svg.

    python benchmarks/rooms.py

A room imports only what is drawn below it. Each box says what its package or module says of itself.
"""

from __future__ import annotations

import ast
import re
import textwrap
import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
DRAWING = Path("docs/rooms.svg")
WIDTH, GAP, ROW_GAP, PAD, LINE = 900, 10, 12, 12, 16
CHARACTER = 6.4  # pixels, of the small text
STYLE = """
  text { font-family: system-ui, sans-serif; fill: #222; }
  .name { font-size: 15px; font-weight: 600; }
  .about { font-size: 12px; fill: #555; }
  rect { fill: #f5f6f8; stroke: #b8bec8; }
  @media (prefers-color-scheme: dark) {
    text { fill: #eee; } .about { fill: #b5bac2; } rect { fill: #23272e; stroke: #4b525d; }
  }
"""


def layers(root: Path = ROOT) -> list[list[str]]:
    """Return the rooms of each layer of the contract, from the top."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]
    return [re.split(r"\s*[|:]\s*", layer) for layer in contract["layers"]]


def about(room: str, root: Path = ROOT) -> str:
    """Return the first paragraph of what a package or module says of itself."""
    place = root / "src" / "cloakwork" / room
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def drawing(root: Path = ROOT) -> str:
    """Return the drawing as SVG: a row for each layer, a box for each room."""
    parts, top = [], ROW_GAP
    for rooms in layers(root):
        width = (WIDTH - GAP * (len(rooms) + 1)) / len(rooms)
        columns = int((width - 2 * PAD) / CHARACTER)
        texts = [textwrap.wrap(about(room, root), columns) for room in rooms]
        height = 2 * PAD + LINE * (1 + max(map(len, texts)))
        for number, (room, text) in enumerate(zip(rooms, texts, strict=True)):
            left = GAP + number * (width + GAP)
            parts.append(
                f'<rect x="{left:.0f}" y="{top}" width="{width:.0f}" height="{height}" rx="6"/>'
            )
            x, y = f"{left + PAD:.0f}", top + PAD + 12
            parts.append(f'<text class="name" x="{x}" y="{y}">{escape(room)}</text>')
            for row, words in enumerate(text, 1):
                parts.append(
                    f'<text class="about" x="{x}" y="{y + row * LINE + 2}">{escape(words)}</text>'
                )
        top += height + ROW_GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}">'
    title = "<title>The rooms of cloakwork: each imports only what is below it</title>"
    return "\n".join([head, title, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def drawn(svg: str) -> list[list[str]]:
    """Return the rooms that a drawing shows, row by row."""
    rows: dict[str, list[str]] = {}
    for y, room in re.findall(r'<text class="name" x="\d+" y="(\d+)">([^<]+)</text>', svg):
        rows.setdefault(y, []).append(room)
    return list(rows.values())


if __name__ == "__main__":
    (ROOT / DRAWING).write_text(drawing(), encoding="utf-8")
