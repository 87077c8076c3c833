"""`cloakwork score`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from cloakwork.cli.common import FROM_RECORDS, SPEC, parse
from cloakwork.cli.terminal import plain_console
from cloakwork.workflows.defaults import ALONE_METRICS, AUDIT_METRICS, CHANGE_METRICS

USUAL = (
    f"(repeatable, default: {', '.join(CHANGE_METRICS)} where originals are known; else "
    f"{', '.join(sorted(AUDIT_METRICS))} where there are clean photos; else "
    f"{', '.join(ALONE_METRICS)}, which need neither; clip_t only with --prompt)"
)
ARROWS = {"higher": "↑", "lower": "↓", "": ""}


@dataclass(frozen=True)
class ScoreFlags:
    """What is measured, and against what."""

    pictures: Annotated[Positional[Path], arg(metavar="PICTURES")]
    """folder of pictures or photos"""
    metric: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar=SPEC, help_behavior_hint=USUAL),
    ] = ()
    """metric, with its fields"""
    clean: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint=FROM_RECORDS)] = None
    """clean photos: the originals, by the same names, for metrics of change; any photos of the
    subject for the others"""
    prompt: str = ""
    """what the pictures were asked for, for metrics of text"""
    out: Annotated[Path | None, arg(aliases=("-o",), metavar="FILE")] = None
    """JSON file for every score"""


def score_command(words: list[str]) -> None:
    """Run `cloakwork score`."""
    from rich.table import Table

    from cloakwork.workflows.score import score

    flags = parse(ScoreFlags, "score", "Measure pictures.", words)
    scores = score(
        flags.pictures,
        metrics=flags.metric,
        clean=flags.clean,
        prompt=flags.prompt or None,
        out=flags.out,
    )
    console = plain_console()
    # a terminal of ASCII alone has no arrows
    better = {way: way for way in ARROWS} if console.options.ascii_only else ARROWS
    table = Table()
    for name in ("metric", "better", "mean", "unit", "scored", "why not"):
        table.add_column(name, overflow="fold")
    for name, row in scores.items():
        mean = "unscored" if row["mean"] is None else f"{row['mean']:.4g}"
        scored = f"{row['scored']} of {row['n']}"
        table.add_row(name, better[row["better"]], mean, row["unit"], scored, row["reason"] or "")
    console.print(table)
    for note in scores.notes:
        console.print(note)
    if flags.clean is None and any(r["scored"] and r["reference"] for r in scores.values()):
        console.print("The originals are those that the records beside the pictures name.")
