"""Benchmarks: what the command and the Python API call. A report and all numbers as plain data go
to a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from cloakwork.benchmark.collect import collect
from cloakwork.benchmark.execution import serial
from cloakwork.benchmark.execution.serial import Expected, Outcome, StepProgress
from cloakwork.benchmark.flags import add_flags
from cloakwork.benchmark.grids import Grid, targets
from cloakwork.benchmark.recipes._reported import add_reported
from cloakwork.benchmark.report import write
from cloakwork.benchmark.results import Results
from cloakwork.environment import commit
from cloakwork.errors import UserError
from cloakwork.evaluation import steps
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.files import expand_home, remove
from cloakwork.registry import unknown
from cloakwork.state import Progress
from cloakwork.workflows.workload import follow

Engine = Callable[[Iterable[Step], Workspace, StepProgress | None], Outcome]


def bench(
    grid: Grid,
    out: Path | str,
    *,
    store: Path | str | None = None,
    device: str = "auto",
    low_memory: bool = False,
    engine: Engine = serial.serial,
    tell: StepProgress | None = None,
    progress: Progress | None = None,
    command: str = "",
    recipe: str = "",
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
        low_memory: compute in less memory, in up to 1.3 times the time; the results are the same.
        engine: what runs the steps; `execution.serial.serial`, or another of its kind.
        tell: called after every step with steps done, their total and the last one's name.
        progress: called with "time", the seconds passed and those of the whole run; of the serial
            engine only.
        command: what was typed; the report shows it.
        recipe: where the grid comes from, as `recipes.origin` says it; the report shows it.

    Returns:
        The findings. Steps that raised are in there as cells without a number, with the reason.

    Raises:
        UserError: the store cannot be reached, a model is not there, the disk is full.
    """
    out = expand_home(out)
    if out.is_file():
        raise UserError(f"The report folder {out} is a file; name another folder.")
    workspace = Workspace(store or out / ".cloakwork", device, low_memory=low_memory)
    wanted = list(targets(grid))
    if progress and engine is serial.serial:
        follow(workspace, wanted, progress, pass_on=False)
    outcome = engine(wanted, workspace, tell)
    failures = outcome.reasons()
    results = add_reported(add_flags(collect(grid, workspace, failures), grid, workspace, failures))
    told = {"command": command, "recipe": recipe, "commit": commit()}
    results = replace(results, made={k: v for k, v in told.items() if v} | results.made)
    write.write(results, out, grid=grid, workspace=workspace)
    workspace.results.tidy()
    return results


def forget(grid: Grid, words: Iterable[str], store: Path | str, device: str = "auto") -> int:
    """Remove results of some of a grid's steps from the store, with all that rests on them, so
    that they are made anew.

    Args:
        grid: whose steps are meant.
        words: each a kind ("attack"), a method ("dreambooth") or both ("attack:dreambooth").
        store: of the results.
        device: as in `bench`.

    Returns:
        How many results were removed.

    Raises:
        UserError: a word that means no step of the grid; then nothing is removed.
    """
    workspace = Workspace(store, device)
    found = steps.graph(targets(grid), workspace)
    known = {word for step in found.values() for word in _words(step)}
    faults = [unknown(f"step of '{grid.name}'", w, sorted(known)) for w in words if w not in known]
    if faults:
        raise UserError(*[sentence for fault in faults for sentence in fault.sentences])
    gone: dict[str, bool] = {}
    for name, step in found.items():  # what a step rests on comes before it
        rests = any(steps.name_of(before, workspace) in gone for before in step.dependencies)
        if rests or set(words) & _words(step):
            gone[name] = workspace.results.has(name)
            workspace.results.drop(name)
            remove((workspace.results.folder / name).with_suffix(".part.safetensors"))
    return sum(gone.values())


def _words(step: Step) -> set[str]:
    """Return what `forget` knows a step by."""
    return {step.kind, step.name, f"{step.kind}:{step.name}"}


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
