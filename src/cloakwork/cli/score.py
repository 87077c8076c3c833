"""`cloakwork score`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, UseAppendAction, arg

from cloakwork import specs
from cloakwork.cli.common import SPEC, metric_words


@dataclass(frozen=True)
class ScoreFlags:
    """What is measured, and against what."""

    pictures: Annotated[Positional[Path], arg(metavar="PICTURES")]
    """folder of pictures or photos"""
    metric: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar=SPEC, help_behavior_hint="(repeatable, default: all that apply)"),
    ] = ()
    """metric, with its fields"""
    clean: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """clean photos: the originals, by the same names, for metrics of change; any photos of the
    subject for the others"""
    prompt: str = ""
    """what the pictures were asked for, for metrics of text"""
    out: Annotated[Path | None, arg(aliases=("-o",), metavar="FILE")] = None
    """JSON file for every score"""


def score_command(words: list[str]) -> None:
    """Run `cloakwork score`."""
    from rich.console import Console
    from rich.table import Table

    from cloakwork.workflows.score import score

    flags = tyro.cli(
        ScoreFlags,
        prog="cloakwork score",
        description="Measure pictures.",
        args=words,
        config=(OmitArgPrefixes, FlagCreatePairsOff),
    )
    chosen = [specs.parse("metrics", spec) for spec in metric_words(flags.metric)]
    scores = score(
        flags.pictures,
        metrics=chosen,
        clean=flags.clean,
        prompt=flags.prompt or None,
        out=flags.out,
    )
    table = Table()
    for name in ("metric", "mean", "unit", "scored", "why not"):
        table.add_column(name)
    for name, row in scores.items():
        mean = "unscored" if row["mean"] is None else f"{row['mean']:.4g}"
        table.add_row(
            name, mean, row["unit"], f"{row['scored']} of {row['n']}", row["reason"] or ""
        )
    Console(markup=False, highlight=False).print(table)
