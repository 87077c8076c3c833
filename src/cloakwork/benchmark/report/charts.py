"""Figures as SVG inside a page: no file beside it, colours that fit a light and a dark page."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from cloakwork.benchmark.report import leaderboard, wording
from cloakwork.benchmark.results import TableResults
from cloakwork.evaluation import figures
from cloakwork.evaluation.statistics import Estimate

WIDTH = 4.8  # inches; a phone shows it at three quarters
LETTERS = 17  # of a chain of purifiers that stand in a field
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


def heat(table: TableResults, name: str) -> str:
    """Draw protections x purifiers: what the worst attacker with each gets; the first column says
    which was the worst of all.
    """
    cases = leaderboard.worst_cases(table)
    chains = list(cases[0].by_purifiers)
    labels = {chain: chain or "as they are" for chain in chains}
    values, words = {}, {}
    for case in cases:
        row = {"worst": case.worst} | {labels[chain]: case.by_purifiers[chain] for chain in chains}
        values[case.protection] = {
            column: cell.mean.mean if cell and cell.mean else math.nan
            for column, cell in row.items()
        }
        words |= {
            (case.protection, c): wording.number(cell.mean.mean, cell.unit)
            for c, cell in row.items()
            if cell and cell.mean
        }
        if case.worst and case.worst.mean:
            chain = case.worst.purifiers or "as they are"
            chain = chain if len(chain) <= LETTERS else chain[: LETTERS - 1] + "…"
            number = wording.number(case.worst.mean.mean, case.worst.unit)
            more = "" if case.whole else " or worse"
            words[case.protection, "worst"] = f"{number}{more}\n{chain}"
    better = next((c.better for c in table.cells if c.metric == table.metrics[0]), "")
    label = f"{table.metrics[0]} ({wording.safer(better)})"

    def draw(path: Path) -> None:
        figures.heat(
            path, values, title="", label=label, words=words, reverse=better == "lower", rule=1
        )

    return inline(name, draw)


def stealth(table: TableResults, name: str) -> str:
    """Draw LPIPS against what the table's first attacker gets; "" where no protection has both
    numbers.
    """
    cells = {
        c.protection: c
        for c in table.cells
        if c.metric == table.metrics[0] and c.threat_model == table.threat_models[0]
    }
    points, controls = {}, {}
    for protection, cell in cells.items():
        lpips = table.stealth.get(protection, {}).get("lpips")
        if cell.mean and leaderboard.known(cell.mean):
            if leaderboard.control(protection):
                controls[protection] = cell.mean
            elif lpips and leaderboard.known(lpips):
                points[protection] = (lpips, cell.mean)
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


def bar(estimate: Estimate, low: float, high: float) -> dict[str, float]:
    """Return where mean and interval lie between low and high, in per cent.

    >>> bar(Estimate(0.5, 0.25, 0.75, 6, 2, 96), 0, 1)
    {'at': 50.0, 'start': 25.0, 'width': 50.0}
    """
    width = (high - low) or 1.0
    at, start, end = (
        (min(max(value, low), high) - low) / width * 100
        for value in (estimate.mean, estimate.low, estimate.high)
    )
    return {"at": round(at, 1), "start": round(start, 1), "width": round(max(end - start, 0.0), 1)}


def inline(name: str, draw: Callable[[Path], None]) -> str:
    """Return what `draw` writes to the path it is given (without an ending), as an <svg> element.

    Args:
        name: of the figure; its ids begin with it, so that those of several in one page differ.
        draw: one of the functions of `figures`.
    """
    with TemporaryDirectory() as folder:
        draw(Path(folder) / name)
        svg = ElementTree.parse(Path(folder) / f"{name}.svg").getroot()
    for parent in list(svg.iter()):
        for child in parent.findall(f"{SVG}metadata") + parent.findall(f"{SVG}style"):
            parent.remove(child)
    for element in svg.iter():  # a page needs no namespaces
        element.tag = element.tag.removeprefix(SVG)
        plain = {key.removeprefix(XLINK): value for key, value in element.items()}
        element.attrib.clear()
        element.attrib.update(plain)
    _own_ids(svg, name)
    for element in svg.iter():
        for key, value in element.items():
            # black is what matplotlib writes and draws with: on a page it is the page's own ink
            ink = value.replace("#000000", "currentColor").replace("fill: #ffffff", "fill: none")
            element.set(key, ink)
    width = float(svg.attrib.pop("width").removesuffix("pt")) * 4 / 3
    del svg.attrib["height"]
    head = {"role": "presentation", "aria-hidden": "true", "fill": "currentColor"}
    head |= {"style": f"--wide:{width:.0f}px"} | svg.attrib
    svg.attrib.clear()
    svg.attrib.update(head)
    return ElementTree.tostring(svg, encoding="unicode").strip()


def _own_ids(svg: ElementTree.Element, name: str) -> None:
    """Begin every id, and what refers to it, with the figure's name; drop ids that nothing refers
    to.
    """
    used = set()
    for element in svg.iter():
        for key, value in element.items():
            if key == "href":
                used.add(value.removeprefix("#"))
                element.set(key, value.replace("#", f"#{name}-", 1))
            elif "url(#" in value:
                used.update(part.partition(")")[0] for part in value.split("url(#")[1:])
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    for element in svg.iter():
        if old := element.attrib.pop("id", None):
            element.attrib |= {"id": f"{name}-{old}"} if old in used else {}
