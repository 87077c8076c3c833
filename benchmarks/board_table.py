"""The board as a table of docs/board.md, from its entries."""

from __future__ import annotations

from pathlib import Path

from finding_tables import head, line

from cloakwork.benchmark.board import page
from cloakwork.benchmark.board.entry import Interval
from cloakwork.benchmark.board.folder import read_all


def made(results: Path) -> list[str]:
    """A line an entry: what an attacker gets of it, what the worst purifier leaves and of how
    many purifiers it is the worst, LPIPS, CPU seconds; controls first, then best first."""
    lines = head(["protection", "learned from", "worst purifier", "edits", "LPIPS", "CPU s"])
    for row in page.rows(read_all(results.parent / "board")):
        entry, main, worst = row.entry, row.main, row.entry.worst
        if not (row.ranked or entry.control) or main is None or main.score is None:
            continue
        older = f", VERSION {main.version}" if main.version < entry.version else ""
        purified = (
            f"{_share(worst.score)}{_sign(worst.works)} {worst.threat}, of {row.purifiers}"
            if worst
            else "not tried"
        )
        edit = row.edit.score if row.edit and not entry.control else None
        lpips = entry.change.lpips if entry.change else None
        lines.append(
            line(
                [
                    entry.method,
                    _share(main.score) + _sign(main.works) + older,
                    purified,
                    f"{edit.mean:.2f}" if edit else "",
                    f"{lpips.mean:.3f}" if lpips else "",
                    f"{entry.cost.cpu_seconds:.0f}" if entry.cost else "",
                ]
            )
        )
    return lines


def _share(score: Interval) -> str:
    return f"{score.mean:.2f} [{score.low:.2f}, {score.high:.2f}]"


def _sign(works: bool | None) -> str:
    return {True: " ✓", False: " ✗", None: ""}[works]


TABLES = {"board": (("../board/schema.json",), made)}
