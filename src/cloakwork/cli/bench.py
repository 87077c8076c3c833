"""`cloakwork bench`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from cloakwork import registry
from cloakwork.cli.common import parse
from cloakwork.cli.expected import show_expected
from cloakwork.cli.progress import progress_bars
from cloakwork.cli.terminal import plain_console
from cloakwork.errors import UserError

if TYPE_CHECKING:
    from cloakwork.benchmark.execution.serial import StepProgress
    from cloakwork.benchmark.grids import Grid
    from cloakwork.benchmark.results import Results
    from cloakwork.state import Progress
    from cloakwork.workflows.bench import Engine


@dataclass(frozen=True)
class BenchFlags:
    """What is run, and where."""

    names: Annotated[
        Positional[tuple[str, ...]], arg(metavar="RECIPE ...", help_behavior_hint="")
    ] = ()
    """benchmarks of this package; cloakwork list recipes names them"""
    recipe: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="MODULE.FUNCTION", help_behavior_hint="(repeatable)"),
    ] = ()
    """one of your own: a function that returns a Grid, such as my_lab.grid"""
    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")] = Path("bench-output")
    """folder for the reports, one folder a recipe"""
    data: Annotated[
        Path | None,
        arg(metavar="FOLDER", help_behavior_hint="(default: sample photos, for quick alone)"),
    ] = None
    """folder of photo sets, as the recipe wants them"""
    method: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="PROTECTION", help_behavior_hint="(repeatable; for board)"),
    ] = ()
    """protection to make an entry of the board for, such as my_lab.mine"""
    entries: Annotated[
        Path | None, arg(metavar="FOLDER", help_behavior_hint="(for board; default: none)")
    ] = None
    """entries to show on the board's page too; without --method nothing is run"""
    table: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="NAME", help_behavior_hint="(repeatable, default: all)"),
    ] = ()
    """only this table of the recipe"""
    model: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="NAME=OTHER", help_behavior_hint="(repeatable)"),
    ] = ()
    """what to use in the place of a recipe's model, such as a local folder for a hub id"""
    store: Annotated[
        str | None,
        arg(
            metavar="FOLDER|URL",
            help_behavior_hint="(default: .cloakwork in the folder for reports)",
        ),
    ] = None
    """finished steps, which benchmarks, processes and machines may share"""
    answers: Annotated[
        UseAppendAction[tuple[Path, ...]], arg(metavar="FILE", help_behavior_hint="(repeatable)")
    ] = ()
    """what people answered on ab.html, one file a person, to be analysed; nothing is run"""
    dry_run: bool = False
    """say what would be computed, what is there already and what the rest may take"""
    engine: Literal["serial", "ray"] = "serial"
    """serial: here, one step after the other; ray: on many processes or machines (extra ray)"""
    address: Annotated[str | None, arg(metavar="ADDRESS")] = None
    """of a Ray cluster that runs already; without it Ray is started here"""
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a core)")] = (
        None
    )
    """of a Ray that is started here: steps at a time"""
    threads: Annotated[int, arg(metavar="N")] = 1
    """of each process; another number gives other bytes"""
    force: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="STEPS", help_behavior_hint="(repeatable)")
    ] = ()
    """steps to make anew, with all that rests on them: a kind (protect, purify, attack, score), a
    method (pid), or both (attack:dreambooth); with --table of that table alone"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    low_memory: bool = False
    """compute in less memory and up to 1.3 times the time; changes no byte"""


def bench_command(words: list[str]) -> None:
    """Run `cloakwork bench`."""
    import torch

    from cloakwork.benchmark import recipes
    from cloakwork.benchmark.report import blind_answers
    from cloakwork.workflows.bench import expect, only
    from cloakwork.workflows.board import board

    flags = parse(BenchFlags, "bench", "Protections against attackers, as a grid.", words)
    if flags.answers:
        print("\n".join(blind_answers.analyse(flags.answers).lines()))
        return
    _check_recipes(flags)
    if flags.entries and not flags.method:
        print(f"The board: {board(flags.out / 'board', flags.entries)}")
        return
    if flags.threads < 1:
        raise UserError(f"There cannot be {flags.threads} threads; allowed are 1 and more.")
    torch.set_num_threads(flags.threads)
    swapped, store = _models(flags.model), flags.store or flags.out / ".cloakwork"
    found = recipes.find(flags.names + flags.recipe)
    grids = {
        name: only(recipes.build(name, function, flags.data, swapped, flags.method), flags.table)
        for name, function in found.items()
    }
    engine, failed = _engine(flags), 0
    for name, grid in grids.items():
        if flags.dry_run:
            show_expected(grid.name, expect(grid, store, flags.device))
            continue
        command = shlex.join(["cloakwork", "bench", *words])
        failed += _run(name, grid, flags, store, engine, command, recipes.origin(found[name]))
    if failed:
        raise UserError(
            f"{failed} cells have no number; the report says why. "
            "Run the same command to try again."
        )


def _check_recipes(flags: BenchFlags) -> None:
    """Refuse flags that name no recipe, or entries for another one than the board."""
    if not flags.names + flags.recipe:
        known = ", ".join(name for name, _ in registry.listing("recipes"))
        raise UserError(
            f"No recipe was named; name one of {known}, or your own with --recipe MODULE.FUNCTION."
        )
    if flags.entries and flags.names + flags.recipe != ("board",):
        raise UserError("--entries is for the recipe board alone: cloakwork bench board --entries.")


def _run(
    name: str,
    grid: Grid,
    flags: BenchFlags,
    store: Path | str,
    engine: Engine,
    command: str,
    recipe: str,
) -> int:
    """Run one recipe, and print what is worth knowing at once.

    Returns:
        How many cells have no number because a step failed.
    """
    from cloakwork.workflows.bench import bench, forget
    from cloakwork.workflows.board import board

    out, log = flags.out / name, partial(_log, flags.out / "bench.log", name)
    if flags.force:
        log(f"{forget(grid, flags.force, store, flags.device)} results removed by --force")
    with progress_bars() as progress:
        result = bench(
            grid,
            out,
            store=store,
            device=flags.device,
            low_memory=flags.low_memory,
            engine=engine,
            tell=_both(progress, log),
            progress=progress,
            command=command,
            recipe=recipe,
        )
    log("report written")
    failed = _summary(result, out)
    if name == "board":
        page = board(out, flags.entries, result)
        print(f"The board: {page}; its entries: {page.with_name('entries')}")
    return failed


def _both(bars: Progress, log: Callable[[str], None]) -> StepProgress:
    """Return what shows each step that is done by the bars, and in the log."""

    def tell(done: int, total: int, step: str) -> None:
        bars("steps", done, total)
        log(f"{done} of {total} steps, {step}")

    return tell


def _log(file: Path, recipe: str, what: str) -> None:
    """Append a line to the log of all runs in a folder for reports."""
    file.parent.mkdir(parents=True, exist_ok=True)
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with file.open("a", encoding="utf-8") as log:
        log.write(f"{when} {recipe}: {what}\n")


def _models(given: tuple[str, ...]) -> dict[str, str]:
    """Return what each model of a recipe is replaced by, from NAME=OTHER."""
    pairs = [text.partition("=") for text in given]
    if wrong := [name for name, sign, other in pairs if not (name and sign and other)]:
        raise UserError(f"'{wrong[0]}' does not say what to use instead; write --model NAME=OTHER.")
    return {name: other for name, _, other in pairs}


def _engine(flags: BenchFlags) -> Engine:
    """Return the engine that the flags name."""
    from cloakwork.benchmark.execution import ray_driver, serial

    if flags.engine == "ray":
        return partial(ray_driver.run, address=flags.address, workers=flags.workers)
    if flags.address or flags.workers:
        raise UserError(
            "The engine serial has neither an address nor workers. "
            "Add --engine ray, or leave them out."
        )
    return serial.serial


def _summary(found: Results, out: Path) -> int:
    """Print what is worth knowing at once.

    Returns:
        How many cells have no number because a step failed.
    """
    console = plain_console()
    cells = [c for t in found.tables for c in t.cells]
    without = sum(bool(c.failed) for c in cells)
    failed = sum(bool(c.failed) and not c.unscored for c in cells)
    where = f"{len(found.tables)} table{'s' * (len(found.tables) > 1)}"
    console.print(
        f"{found.name}: {len(cells)} cells in {where}, {without} without a number. {found.about}"
    )
    for flag in found.flags:
        console.print(f"- {flag.kind} ({flag.where}): {flag.text}")
    console.print(
        f"Report: {out / 'report.html'}; numbers: {out / 'findings.json'}; tables: {out / 'tables'}"
    )
    return failed
