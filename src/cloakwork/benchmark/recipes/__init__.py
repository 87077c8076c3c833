"""Benchmarks by name: `quick` is the function `quick` in quick.py; `my_lab.grid` is the function
`grid` in anybody's module `my_lab`, or in its module `my_lab.grid`.

A recipe is a plain function that returns a `Grid`. It may take `data`, the folder of the user's
photo sets (None where none was named), `models`, names of models -> what is to be used in their
place, and `methods`, the protections that the user named.
"""

from __future__ import annotations

import importlib.util
import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cloakwork import registry
from cloakwork.benchmark.grids import Grid
from cloakwork.errors import UserError
from cloakwork.registry import user_modules

Recipe = Callable[..., Grid]


def find(names: Iterable[str]) -> dict[str, Recipe]:
    """Return recipes by name: those of this package, and anybody's as MODULE.FUNCTION.

    Raises:
        UserError: unknown, no function, or two of the same name.
    """
    given = list(dict.fromkeys(names))
    recipes: dict[str, Recipe] = {}
    for name in given:
        short = name.rpartition(".")[2]
        if short in recipes or (short != name and short in _known()):
            others = [
                other for other in given if other.rpartition(".")[2] == short and other != name
            ] or ["one of this package's"]
            raise UserError(
                f"Two recipes are called '{short}': {name} and {', '.join(others)}. "
                "Call the function differently."
            )
        recipes[short] = _function(name)
    return recipes


def build(
    name: str,
    recipe: Recipe,
    data: Path | None = None,
    models: Mapping[str, str] | None = None,
    methods: Sequence[str] = (),
) -> Grid:
    """Build a recipe's grid, and check it.

    Raises:
        UserError: the recipe raises, or gives no grid, or one that lacks something, or takes no
            methods where some were named.
    """
    if methods and "methods" not in inspect.signature(recipe).parameters:
        raise UserError(f"The recipe '{name}' has its own methods. Leave out --method.")
    offered = {"data": data, "models": models or {}, "methods": methods}
    try:
        return check_grid(_grid(name, recipe, offered))
    except UserError as error:
        takes = inspect.signature(recipe).parameters
        if data is None and "data" in takes and "--data" not in str(error):
            advice = (
                f"'{name}' was given no photo sets. If it needs some, name a folder with --data."
            )
            raise UserError(*error.sentences, advice) from error
        raise


def check_grid(grid: Grid) -> Grid:
    """Check a grid, and return it.

    Raises:
        UserError: it has no table, two of one name, or a table lacks photo sets, attackers, seeds
            or metrics.
    """
    faults = []
    if not grid.tables:
        faults.append(f"The recipe '{grid.name}' has no table. A grid needs at least one.")
    named = [("tables", [table.name for table in grid.tables])]
    for table in grid.tables:
        named.append(
            (f"attackers of '{table.name}'", [threat.name for threat in table.threat_models])
        )
    for what, names in named:
        faults += [
            f"Two {what} of the recipe '{grid.name}' are called '{name}'. Call them differently."
            for name in sorted({n for n in names if names.count(n) > 1})
        ]
    for table in grid.tables:
        # fields of the table, since that is what the recipe's author must fill
        fields = ("subjects", "threat_models", "metrics", "seeds")
        if missing := [field for field in fields if not getattr(table, field)]:
            faults.append(
                f"The table '{table.name}' of the recipe '{grid.name}' "
                f"has no {' and no '.join(missing)}. Add some."
            )
    if faults:
        raise UserError(*faults)
    return grid


def origin(recipe: Recipe) -> str:
    """Return where a recipe comes from: its module and function, and of a module of the user's the
    hash of its source.

    >>> origin(find(["quick"])["quick"])
    'cloakwork.benchmark.recipes.quick.quick'
    """
    place = inspect.getmodule(recipe)
    source = user_modules.source_digest(place) if place else ""
    name = f"{recipe.__module__}.{getattr(recipe, '__name__', recipe)}"
    return f"{name}, source {source}" if source else name


def _grid(name: str, recipe: Recipe, offered: Mapping[str, object]) -> Grid:
    """Call a recipe with those of the offered arguments that it takes."""
    try:
        takes = inspect.signature(recipe).parameters
        grid = recipe(**{k: v for k, v in offered.items() if k in takes})
    except UserError:
        raise
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(at.filename).name}, line {at.lineno}"
        raise UserError(
            f"The recipe '{name}' raised {type(error).__name__}: {error} ({where}). "
            "Nothing was run. Correct the recipe."
        ) from error
    if not isinstance(grid, Grid):
        raise UserError(
            f"The recipe '{name}' returned {type(grid).__name__}. "
            "It must return a cloakwork.benchmark.grids.Grid."
        )
    return grid


def _known() -> list[str]:
    """Return the names of this package's recipes."""
    return [name for name, _ in registry.listing("recipes")]


def _function(name: str) -> Recipe:
    """Import a recipe by its name, or by MODULE.FUNCTION."""
    if "." not in name:
        if name not in _known():
            raise registry.unknown(
                "recipe",
                name,
                _known(),
                "One of your own goes by module and function: --recipe my_lab.grid.",
            )
        return getattr(importlib.import_module(f"cloakwork.benchmark.recipes.{name}"), name)
    place, _, function = name.rpartition(".")
    module = user_modules.find_module(place)
    recipe: Recipe | None = getattr(module, function, None)
    package = hasattr(module, "__path__")
    if not callable(recipe) and package and importlib.util.find_spec(name) is not None:
        # as this package's: the function of a module of the same name
        recipe = getattr(user_modules.find_module(name), function, None)
    if not callable(recipe):
        raise UserError(
            f"The module '{place}' has no function '{function}'. "
            "A recipe is a function that returns a Grid."
        )
    return recipe
