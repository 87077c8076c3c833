"""The whole contract of a method or a recipe, wherever it lies: one sentence for each fault."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from cloakwork import registry, specs
from cloakwork.benchmark import recipes
from cloakwork.benchmark.grids import Grid, protected
from cloakwork.errors import UserError, faults_of
from cloakwork.models import loading, pixel_ddpm
from cloakwork.models.device import pick_device
from cloakwork.registry import user_modules
from cloakwork.workflows import check_module, check_runs
from cloakwork.workflows.check_trial import trial

KINDS = (*registry.KINDS, "recipes")


@dataclass(frozen=True)
class Checked:
    """What was checked, and found to be in order."""

    name: str
    kind: str
    """one of KINDS"""
    checks: tuple[str, ...]
    """in words"""


def check(
    name: str,
    *,
    kind: str | None = None,
    surrogate: str = "tiny",
    data: Path | str | None = None,
    taken: Collection[str] = (),
    device: str = "cpu",
) -> Checked:
    """Check all that a protection, purifier, attacker, metric or recipe must keep.

    Args:
        name: of this package's, or anybody's: `my_lab.mine` is a module, `my_lab.my_grid` may be
            the function `my_grid` of the module `my_lab`.
        kind: one of KINDS; None finds out.
        surrogate: the model that the method is run with; for purifiers of pixels a denoiser.
        data: folder of photo sets, for a recipe that asks for one.
        taken: names of flags that no field of a protection may have.
        device: where it runs. A graphics card may round otherwise from run to run.

    Raises:
        UserError: one sentence for each fault.
    """
    if kind is not None and kind not in KINDS:
        raise registry.unknown("kind", kind, list(KINDS))
    kind = kind or _kind_of(name)
    if kind == "recipes":
        return _recipe(name, data)
    module = _module(kind, name)
    found = check_module.faults(module, kind, taken)
    checks = list(check_module.find_all(kind))
    if not registry.missing_parts(module, kind) and callable_as_asked(module, kind):
        faults, tried = _run(kind, name, module, surrogate, device)
        found, checks = found + faults, checks + tried
    if found:
        raise UserError(*found)
    return Checked(name, kind, tuple(checks))


def callable_as_asked(module: ModuleType, kind: str) -> bool:
    """Return whether a module's function takes what it is given, and its constants mean something.

    Without that there is no use in a run, which would say the same once more.
    """
    needed = (check_module.constants, check_module.meaning, check_module.arguments)
    return not any(list(find(module, kind)) for find in needed)


def _run(
    kind: str, name: str, module: ModuleType, surrogate: str, device: str
) -> tuple[list[str], list[str]]:
    """Return the faults that show when a method runs, and what was looked for."""
    try:
        config = registry.config(module, None, ["tiny"])
        model = _model(kind, module, surrogate, device)
    except UserError as error:
        return list(error.sentences), []
    except Exception as error:
        return [f"The Config of '{name}' raised {check_runs.raised(error, module)}"], []
    if type(config) is not module.Config:
        return [], []  # said already of its presets
    tried, on_trial = [], trial(specs.Method(kind, name, config), model, pick_device(device))
    for stage in check_runs.stages(kind):
        found = [s for find in stage.values() for s in check_runs.attempt(on_trial, find)]
        tried += stage
        if found:
            return found, tried
    return [], tried


def _model(kind: str, module: ModuleType, name: str, device: str) -> Any:
    """Return the model that a method is given, of the kind that it asks for; None for none."""
    wants = {
        "protections": "latent" if getattr(module, "USES_SURROGATES", True) else "",
        "attackers": "latent",
        "purifiers": getattr(module, "USES_MODEL", ""),
    }
    load = {"latent": loading.load, "pixels": pixel_ddpm.load}.get(wants.get(kind, ""))
    return load(name, device) if load else None


def _module(kind: str, name: str) -> ModuleType:
    """Import a method's module; parts that it lacks are told later.

    Raises:
        UserError: there is none, or it cannot be imported.
    """
    if "." not in name:
        return registry.load(kind, name)
    return _imported(name)


def _imported(name: str) -> ModuleType:
    """Import anybody's module."""
    try:
        return user_modules.find_module(name)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"The module '{name}' cannot be imported: {check_runs.raised(error)}"
        ) from error


def _kind_of(name: str) -> str:
    """Find out what a name stands for.

    Raises:
        UserError: nothing, or more than one kind.
    """
    if "." not in name:
        known = {kind: [n for n, _ in registry.listing(kind)] for kind in KINDS}
        kinds = [kind for kind in KINDS if name in known[kind]]
        if not kinds:
            every = sorted({n for names in known.values() for n in names})
            raise registry.unknown("method or recipe", name, every)
    elif _is_module(name):
        module = _imported(name)
        kinds = [k for k, function in registry.FUNCTIONS.items() if hasattr(module, function)]
        if not kinds:
            functions = ", ".join(f"{function}()" for function in registry.FUNCTIONS.values())
            raise UserError(
                f"The module '{name}' is no method: it has none of {functions}. "
                "Give a method's module, or a recipe as MODULE.FUNCTION."
            )
    else:
        kinds = ["recipes"]
    if len(kinds) > 1:
        raise UserError(
            f"'{name}' may be one of the {' or of the '.join(kinds)}. "
            f"Say which, as in --kind {kinds[0]}."
        )
    return kinds[0]


def _is_module(name: str) -> bool:
    """Return whether a dotted name is that of a module, not of a function in one.

    Where there is neither, it is taken for a module.
    """
    place, _, last = name.rpartition(".")
    try:
        module = _imported(place)
    except UserError:
        return True
    return not callable(getattr(module, last, None))


def _recipe(name: str, data: Path | str | None) -> Checked:
    """Check a recipe: it builds, and all that its tables name is there.

    Raises:
        UserError: one sentence for each fault.
    """
    ((short, recipe),) = recipes.find([name]).items()
    grid = recipes.build(short, recipe, Path(data) if data else None)
    if faults := list(dict.fromkeys(_table_faults(grid))):
        raise UserError(*faults)
    return Checked(name, "recipes", ("that it builds", "its tables", "the methods they name"))


def _table_faults(grid: Grid) -> Iterator[str]:
    """Find methods and settings of a grid's tables that are not there."""
    for table in grid.tables:
        of = f"The table '{table.name}': "
        for protection in table.protections:
            yield from (of + s for s in faults_of(protected, table, protection))
        for metric in table.metrics:
            yield from (of + s for s in faults_of(specs.parse, "metrics", metric))
