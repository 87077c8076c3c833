"""Benchmarks: what the command and the Python API call. A report and all numbers as plain data go
to a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from cloakwork.benchmark.execution import serial
from cloakwork.benchmark.execution.serial import Expected, Outcome, StepProgress
from cloakwork.benchmark.flags import add_flags
from cloakwork.benchmark.grids import Grid, targets
from cloakwork.benchmark.recipes._reported import add_reported
from cloakwork.benchmark.report import write
from cloakwork.benchmark.results import Results, collect
from cloakwork.errors import UserError
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.registry import unknown

Engine = Callable[[Iterable[Step], Workspace, StepProgress | None], Outcome]


def bench(
    grid: Grid,
    out: Path | str,
    *,
    store: Path | str | None = None,
    device: str = "auto",
    engine: Engine = serial.serial,
    tell: StepProgress | None = None,
) -> Results:
    """Run the missing steps of a grid, flag doubtful results, and write the report.

    Results depend on the number of torch's threads; with one, a machine's cores are used by as many
    processes on one store.

    Args:
        grid: what a recipe gives.
        out: folder for report.html, ab.html, findings.json and tables/.
        store: folder or fsspec URL of finished steps, which benchmarks and processes may share;
            None keeps them in `out`.
        device: where the models run.
        engine: what runs the steps; `executors.serial`, or another of its kind.
        tell: called after every step with steps done, their total and the last one's name.

    Returns:
        The findings. Steps that raised are in there as cells without a number, with the reason.

    Raises:
        UserError: the store cannot be reached, a model is not there, the disk is full.
    """
    out = Path(out)
    if out.is_file():
        raise UserError(f"The report folder {out} is a file; name another folder.")
    workspace = Workspace(store or out / ".cloakwork", device)
    outcome = engine(list(targets(grid)), workspace, tell)
    failures = outcome.reasons()
    results = add_reported(add_flags(collect(grid, workspace, failures), grid, workspace, failures))
    write.write(results, out, grid=grid, workspace=workspace)
    return results


def expect(grid: Grid, store: Path | str, device: str = "auto") -> list[Expected]:
    """Return a grid's steps, how many are cached and what the rest may take; compute nothing."""
    return serial.expect(targets(grid), Workspace(store, device))


def only(grid: Grid, names: Iterable[str]) -> Grid:
    """Return a grid cut down to some of its tables; all where none is named.

    Raises:
        UserError: no such table.
    """
    known, wanted = [t.name for t in grid.tables], list(names)
    for name in wanted:
        if name not in known:
            raise unknown(f"table of '{grid.name}'", name, known)
    return replace(grid, tables=tuple(t for t in grid.tables if t.name in (wanted or known)))
