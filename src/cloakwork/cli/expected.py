"""What a run of steps would compute, as `bench --dry-run` and `audit --dry-run` show it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cloakwork.cli.terminal import plain_console

if TYPE_CHECKING:
    from cloakwork.benchmark.execution.serial import Expected


def show_expected(name: str, expected: Iterable[Expected]) -> None:
    """Print a table of the steps of a run, and how long those that are left may take."""
    from rich.table import Table

    rows = sorted(expected, key=lambda e: (e.kind, e.name))
    total, cached = sum(e.steps for e in rows), sum(e.cached for e in rows)
    table = Table(title=f"{name}: {total} steps, {cached} cached", title_justify="left")
    for head in ("step", "method", "steps", "cached", "seconds each", "left"):
        table.add_column(head, justify="left" if head in ("step", "method") else "right")
    for e in rows:
        each = "unknown" if e.seconds is None else f"{e.seconds:.1f}"
        table.add_row(e.kind, e.name, str(e.steps), str(e.cached), each, _time(e.left))
    console = plain_console(soft_wrap=False)
    console.print(table)
    console.print(in_words(rows))


def in_words(rows: list[Expected]) -> str:
    """Return how long the rest takes, how sure that is, and for how many steps nobody knows."""
    left = [e for e in rows if e.todo]
    known, unknown = [e for e in left if e.timed], sum(e.todo for e in left if not e.timed)
    never = (
        f"{unknown} steps have never been run with this store, so nothing is known of their time."
    )
    if not known:
        return never if unknown else "Nothing is left to do."
    fastest, slowest = (_time(sum(e.todo * e.timed[i] for e in known)) for i in (0, -1))
    runs, once = sum(len(e.timed) for e in known), any(len(e.timed) == 1 for e in known)
    sentences = [
        f"What is left takes one process about {_time(sum(e.left or 0 for e in known))}: "
        f"{fastest} to {slowest} as the {runs} earlier {'run' if runs == 1 else 'runs'} "
        f"of such steps {'has' if runs == 1 else 'have'} it."
    ]
    if once:
        sentences.append("Some were run once only; they may take several times as long.")
    return " ".join([*sentences, *([never] if unknown else [])])


def _time(seconds: float | None) -> str:
    """Return a time as text, in seconds, minutes or hours."""
    if seconds is None:
        return "unknown"
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )
