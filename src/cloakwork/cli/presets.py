"""What a protection will cost, before anything is computed: `protect --list-presets` and `protect
--dry-run`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cloakwork import registry
from cloakwork.cli.terminal import plain_console, say
from cloakwork.files import COSTS

if TYPE_CHECKING:
    from cloakwork.workflows.protect_plan import ProtectPlan


def list_presets(protection: str | None) -> None:
    """Print every preset of one protection, or of all, with budget, steps and measured cost."""
    from rich.table import Table

    costs: dict[str, Any] = json.loads(COSTS.read_text()) if COSTS.exists() else {"cells": {}}
    table = Table()
    for name in ("protection", "preset"):
        table.add_column(name, no_wrap=True)
    for name in ("budget", "PGD steps", "training steps", "CPU seconds", "MB"):
        table.add_column(name, justify="right")
    for name in (
        [protection] if protection else [name for name, _ in registry.listing("protections")]
    ):
        module = registry.load("protections", name)
        for preset, config in module.PRESETS.items():
            cell = costs["cells"].get(name, {}).get(preset, {})
            numbers = [
                _number(cell.get(key))
                for key in ("pgd_steps", "training_steps", "cpu_seconds", "peak_memory_mb")
            ]
            table.add_row(name, preset, f"{config.budget:g}", *numbers)
    console = plain_console(soft_wrap=False)
    console.print(table)
    print(costs.get("about", "Costs were not measured."))


def _number(value: float | None) -> str:
    """Return a number as text, with a dash for none."""
    return "-" if value is None else f"{value:,.0f}"


def dry_run(plan: ProtectPlan, surrogates: int) -> None:
    """Print what a plan would compute.

    Args:
        plan: of a job that nothing forbids.
        surrogates: number of models to protect against.
    """
    from cloakwork.models.ldm import LDM
    from cloakwork.workflows import needs
    from cloakwork.workflows.dry_run import tallied

    job, models = plan.job, plan.job.surrogates
    method, clean = job.method, len(job.clean.files) if job.clean else 0
    photos = [len(task.photos) for task in plan.tasks]
    of = {
        n: tallied(
            method.module,
            method.config,
            photos=n,
            surrogates=surrogates,
            clean=clean,
            low_memory=needs.computes_twice(models, n),
        )
        for n in dict.fromkeys(photos)
    }
    tallies = [of[n] for n in photos]
    counted = [tally.counts.whole() for tally in tallies]
    sets = f"{len(photos)} photo set{'s' * (len(photos) != 1)}"
    head = f"{method.name} would do, for {sets} of {', '.join(map(str, photos))} photos:"
    print(f"If {' and '.join(plan.unfetched)} can be used, {head}" if plan.unfetched else head)
    for name in asdict(counted[0]):
        print(f"  {name.replace('_', ' '):<22}{sum(getattr(c, name) for c in counted):>12,}")
    for model in models:
        say(needs.weights_sentence(model))
    if models and not plan.unfetched:
        whole = all(isinstance(model, LDM) for model in models)
        side = 0 if whole else needs.short_side(task.source for task in plan.tasks)
        say(needs.sentence(tallies, models, side))
    for note in plan.notes:
        say(note)
    for name in plan.unfetched:
        print(
            f"Not checked: {name} is not on this machine. A run would fetch it from the hub, and "
            "refuse it if it cannot be used."
        )
