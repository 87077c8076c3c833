"""Figures as SVG inside a page: no file beside it, colours that fit a light and a dark page."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from cloakwork.benchmark.report import leaderboard, wording
from cloakwork.benchmark.results import TableResults
from cloakwork.evaluation import figures
from cloakwork.evaluation.intervals import Estimate

WIDTH = 4.8  # inches; a phone shows it at three quarters
LETTERS = 17  # of a chain of purifiers that stand in a field


def heat(table: TableResults, name: str) -> str:
    """Protections x purifiers: what the worst thief with each gets; the first column says which was
    the worst of all.
    """
    cases = leaderboard.worst_cases(table)
    chains = list(cases[0].by_purifiers)
    labels = {chain: chain or "as they are" for chain in chains}
    values, said = {}, {}
    for case in cases:
        row = {"worst": case.worst} | {labels[chain]: case.by_purifiers[chain] for chain in chains}
        values[case.protection] = {
            column: cell.mean.mean if cell and cell.mean else math.nan
            for column, cell in row.items()
        }
        said |= {
            (case.protection, c): wording.number(cell.mean.mean, cell.unit)
            for c, cell in row.items()
            if cell and cell.mean
        }
        if case.worst and case.worst.mean:
            who = case.worst.purifiers or "as they are"
            who = who if len(who) <= LETTERS else who[: LETTERS - 1] + "…"
            number = wording.number(case.worst.mean.mean, case.worst.unit)
            said[case.protection, "worst"] = f"{number}{'' if case.whole else ' or worse'}\n{who}"
    better = next((c.better for c in table.cells if c.metric == table.metrics[0]), "")
    label = f"{table.metrics[0]} ({wording.safer(better)})"

    def draw(path: Path) -> None:
        figures.heat(
            path, values, title="", label=label, words=said, reverse=better == "lower", rule=1
        )

    return inline(name, draw)


def stealth(table: TableResults, name: str) -> str:
    """LPIPS against what the table's first thief gets; "" where neither is known of any
    protection.
    """
    cells = {
        c.protection: c
        for c in table.cells
        if c.metric == table.metrics[0] and c.thief == table.thieves[0]
    }
    points, controls = {}, {}
    for protection, cell in cells.items():
        seen = table.stealth.get(protection, {}).get("lpips")
        if cell.mean and leaderboard.known(cell.mean):
            if leaderboard.control(protection):
                controls[protection] = cell.mean
            elif seen and leaderboard.known(seen):
                points[protection] = (seen, cell.mean)
    if not points:
        return ""
    better = next(iter(cells.values())).better
    axes = (
        "LPIPS to the original (lower is less visible)",
        f"{table.metrics[0]} ({wording.safer(better)})",
    )
    return inline(
        name,
        lambda path: figures.plane(path, points, title="", axes=axes, levels=controls, width=WIDTH),
    )


def bar(found: Estimate, low: float, high: float) -> dict[str, float]:
    """Where mean and interval lie between low and high, in per cent."""
    width = (high - low) or 1.0
    at, start, end = (
        (min(max(v, low), high) - low) / width * 100 for v in (found.mean, found.low, found.high)
    )
    return {"at": round(at, 1), "start": round(start, 1), "width": round(max(end - start, 0.0), 1)}


def inline(name: str, draw: Callable[[Path], None]) -> str:
    """What `draw` writes to the path it is given (without an ending), as an <svg> element.

    Args:
        name: of the figure; its ids begin with it, so that those of several in one page differ.
        draw: one of the functions of `figures`.
    """
    with TemporaryDirectory() as folder:
        draw(Path(folder) / name)
        svg = (Path(folder) / f"{name}.svg").read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    for what in (
        r"<metadata>.*?</metadata>",
        r"<style.*?</style>",
        r"<!--.*?-->",
        r' xmlns(:\w+)?="[^"]*"',
    ):
        svg = re.sub(what, "", svg, flags=re.S)
    svg = svg.replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    # black is what matplotlib writes and draws with: on a page it is the page's own ink
    svg = re.sub(r"#000000\b", "currentColor", svg)
    svg = re.sub(r"fill: ?#ffffff", "fill: none", svg)
    width = float(re.findall(r'width="([\d.]+)pt"', svg)[0]) * 4 / 3
    head = f'<svg role="presentation" aria-hidden="true" fill="currentColor" style="--wide:{width:.0f}px" '
    return re.sub(r' (width|height)="[\d.]+pt"', "", svg.replace("<svg ", head, 1), count=2).strip()
