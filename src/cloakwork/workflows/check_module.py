"""What of the contract can be read off a method's module: constants, settings, texts."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import MISSING, fields
from types import ModuleType

from cloakwork import registry
from cloakwork.errors import faults_of

Find = Callable[[ModuleType, str], Iterable[str]]
"""module and kind -> the faults that it has, one sentence each"""

PRESETS = ("tiny", "paper")  # of every protection
SHIFT = 1.3  # how far latents must move, in multiples of what noise of the same budget does to them
# kind -> constant that a module may have -> its values; the first is what is taken without it
CONSTANTS: dict[str, dict[str, tuple[object, ...]]] = {
    "protections": {"USES_SURROGATES": (True, False), "SINGLY": (False, True)},
    "attackers": {name: (False, True) for name in ("TRAINS", "SAMPLES", "TAKES_MASKS")},
    "purifiers": {
        "USES_MODEL": ("", "latent", "pixels"),
        "WINDOWS": (False, True),
        "SHRINKS": (False, True),
    },
    "metrics": {},
}
# of a metric's METRIC
MEANINGS: dict[str, tuple[object, ...]] = {
    "scope": ("image", "set"),
    "better": ("higher", "lower", ""),
    "reference": ("originals", "subject", None),
}
# kind -> what its function is called with: by place, and by name
ARGUMENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "protections": (("photos", "surrogates", "cfg"), ("clean", "rng", "state")),
    "attackers": (("photos", "victim", "cfg", "prompts"), ("masks", "rng", "state")),
    "purifiers": (("photos", "model", "cfg"), ("rng",)),
    "metrics": (("images", "reference", "prompts", "cfg"), ()),
}
# what the docstring of a protection that looks at a model must have: pattern -> what to write
CITATION = {
    r"arXiv|doi|https?:": 'what it is after: the paper, with its arXiv number or DOI ("arXiv ...")',
    r"Checked against": (
        'what it was checked against ("Checked against OWNER/CODE at COMMIT", '
        'or "Checked against no other code")'
    ),
    r"Departures": 'where it departs from the paper ("Departures: none." where it does not)',
}


def parts(module: ModuleType, kind: str) -> Iterator[str]:
    """Find what a method cannot be run without."""
    for part in registry.missing_parts(module, kind):
        yield f"The module lacks {part}. Add it."


def constants(module: ModuleType, kind: str) -> Iterator[str]:
    """Find constants with values that mean nothing."""
    for name, allowed in CONSTANTS[kind].items():
        yield from _one_of(name, getattr(module, name, allowed[0]), allowed)
    sampling = any(f.name == "sampling" for f in _fields(module))
    if getattr(module, "SAMPLES", False) is True and not sampling:
        yield (
            "SAMPLES is True and the Config has no field sampling. "
            "Add one (cloakwork.models.sampling.Sampling), or leave SAMPLES out."
        )


def surrogates(module: ModuleType, kind: str) -> Iterator[str]:
    """Find a NEEDS that says nothing."""
    needs = getattr(module, "NEEDS", "model")
    names = [re.escape(field.name) for field in _fields(module)]
    allowed = rf"model|encoder( if ({'|'.join(names)})=\S+)?"
    if not isinstance(needs, str) or not re.fullmatch(allowed, needs):
        yield (
            f"NEEDS is {needs!r}; allowed are 'model', 'encoder' and 'encoder if FIELD=VALUE' with "
            "a field of Config."
        )


def shift(module: ModuleType, kind: str) -> Iterator[str]:
    """Find a SHIFT that asks for less than random noise does."""
    least = getattr(module, "SHIFT", SHIFT)
    if not _number(least) or least < 1:
        yield (
            f"SHIFT is {least!r}; allowed are numbers of 1 or more (without one: {SHIFT}). "
            "Below 1 random noise moves latents further."
        )


def settings(module: ModuleType, kind: str) -> Iterator[str]:
    """Find fields of the Config without a default or without help."""
    if not (known := _fields(module)):
        return
    documented = registry.field_help(module.Config)
    for field in known:
        if field.default is MISSING and field.default_factory is MISSING:
            yield f"The field {field.name} of Config has no default. Give it one."
        if not documented.get(field.name):
            yield (
                f"The field {field.name} of Config has no help. "
                "Write a line in quotes below it; it becomes the flag's help."
            )


def presets(module: ModuleType, kind: str) -> Iterator[str]:
    """Find presets that are missing, or that are no Configs."""
    found = getattr(module, "PRESETS", {})
    if not isinstance(found, dict):
        yield f"PRESETS is a {type(found).__name__}; it must be a dict of names and Configs."
        return
    wanted = PRESETS if kind == "protections" else ()
    if missing := [name for name in wanted if name not in found]:
        yield (
            f"PRESETS lacks {' and '.join(missing)}. tiny is what is sensible on the embedded "
            "models, paper what was published."
        )
    config = getattr(module, "Config", None)
    for name, preset in found.items():
        if not (isinstance(config, type) and isinstance(preset, config)):
            yield f"The preset {name} is a {type(preset).__name__}; it must be a Config."


def docstring(module: ModuleType, kind: str) -> Iterator[str]:
    """Find what the docstring leaves out."""
    text = module.__doc__ or ""
    if not registry.summary(text):
        yield "The module has no docstring. Its first paragraph is the method's help; write one."
        return
    if kind == "protections" and getattr(module, "USES_SURROGATES", True):
        for pattern, wanted in CITATION.items():
            if not re.search(pattern, text):
                yield f"The docstring does not say {wanted}."


def arguments(module: ModuleType, kind: str) -> Iterator[str]:
    """Find a function that cannot be called as this package calls it."""
    name, (by_place, by_name) = registry.FUNCTIONS[kind], ARGUMENTS[kind]
    function = getattr(module, name, None)
    if not callable(function):
        return
    try:
        inspect.signature(function).bind(*by_place, **dict.fromkeys(by_name))
    except TypeError as error:
        asked = ", ".join([*by_place, *(["*", *by_name] if by_name else [])])
        yield f"{name}() does not take what it is given ({error}). Define it as {name}({asked})."


def meaning(module: ModuleType, kind: str) -> Iterator[str]:
    """Find what a metric says of its numbers that means nothing."""
    metric = getattr(module, "METRIC", None)
    if not isinstance(metric, registry.MetricInfo):
        return
    for name, allowed in MEANINGS.items():
        yield from _one_of(f"METRIC.{name}", getattr(metric, name), allowed)
    span = metric.range
    if not (isinstance(span, tuple) and len(span) == 2 and all(map(_number, span))) or (
        not span[0] < span[1]
    ):
        yield (
            f"METRIC.range is {span!r}. Give the smallest and the largest number there can be, "
            "such as (0, 1) or (0, math.inf)."
        )
    if not isinstance(metric.unit, str):
        yield f'METRIC.unit is {metric.unit!r}. Give a text, "" for none.'


def free_flags(module: ModuleType, taken: Collection[str]) -> Iterator[str]:
    """Find fields that are flags of the command already."""
    if clash := sorted(field.name for field in _fields(module) if field.name in taken):
        yield (
            f"The Config has fields that are flags of `cloakwork protect` already: "
            f"{', '.join(clash)}. Rename them."
        )


# what was checked, in words -> where the faults are found
OF_ALL: dict[str, Find] = {
    "VERSION, Config and the function": parts,
    "constants": constants,
    "a default and a line of help for every field": settings,
    "presets": presets,
    "docstring": docstring,
    "the function's arguments": arguments,
}
OF_ONE_KIND: dict[str, dict[str, Find]] = {
    "protections": {"threshold of the latents' shift": shift, "what it needs": surrogates},
    "metrics": {"meaning of the numbers": meaning},
}


def find_all(kind: str) -> dict[str, Find]:
    """Return everything that is looked for in the module of a method of a kind."""
    return OF_ALL | OF_ONE_KIND.get(kind, {})


def faults(module: ModuleType, kind: str, taken: Collection[str] = ()) -> list[str]:
    """Return what a module of a kind does not keep of the contract, one sentence a fault.

    Args:
        module: of the method.
        kind: one of registry.KINDS.
        taken: names that no field of a protection's Config may have.
    """
    found = [sentence for find in find_all(kind).values() for sentence in find(module, kind)]
    if kind == "protections":
        found += free_flags(module, taken)
    if not found:  # only now is it certain that there is a Config to be made
        found += faults_of(module.Config)
    return found


def _fields(module: ModuleType) -> tuple:
    """Return the fields of a module's Config; none where it has no proper one."""
    try:
        return fields(module.Config)
    except (AttributeError, TypeError):
        return ()


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> Iterator[str]:
    """Yield a sentence where a value is none of those that are allowed.

    >>> list(_one_of("WINDOWS", 1, (True, False)))
    ['WINDOWS is 1; allowed are True, False.']
    """
    if not any(type(value) is type(other) and value == other for other in allowed):
        yield f"{name} is {value!r}; allowed are {', '.join(map(repr, allowed))}."


def _number(value: object) -> bool:
    """Return whether a value is a number, infinite or not.

    >>> _number(1.5), _number(True), _number(float("nan"))
    (True, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
