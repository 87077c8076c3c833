"""The progress bar on the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from cloakwork.cli.terminal import plain
from cloakwork.workflows.how_far import HowFar

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show one bar on stderr for the whole job, with the time left.

    It stands for all loops that are running: how far it is follows from the steps done of the one
    inside and the whole things done of those around it.

    Whoever stops it by Ctrl-C gets the loops that were running as a note on the KeyboardInterrupt.

    Yields:
        A function of a label, steps done and their total.
    """
    display, far = _display(), HowFar()
    bar = display.add_task("getting ready", total=None, until=None)

    def show(label: str, done: int, total: int) -> None:
        far.report(label, done, total)
        if far.begun:
            display.update(bar, completed=far.share, total=1, until=far.until)
        display.update(bar, description=plain(far.words))

    try:
        with display:
            yield show
    except KeyboardInterrupt as stop:
        if far.words:
            stop.add_note(far.words)
        raise


def _display() -> Progress:
    """Return a display without bars, which shows nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        Task,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class TimeLeft(TimeRemainingColumn):
        """What was foretold, less what has passed since; else what rich makes of the share done."""

        def render(self, task: Task) -> Text:
            until = task.fields.get("until")
            if until is None:
                return super().render(task)
            left = timedelta(seconds=max(0, round(until - time.monotonic())))
            return Text(str(left), style="progress.remaining")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        "left:",
    )
    console = Console(stderr=True)
    return Progress(
        *columns,
        TimeLeft(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        # seconds: a step may take minutes, and rich forgets speeds after half a minute
        speed_estimate_period=3600,
    )
