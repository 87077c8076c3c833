"""Methods with their settings in one word: `dreambooth`, `lora:service`,
`jpeg:quality=75+resize:scale=0.5`.

A value that holds a comma, a plus or a blank stands in double quotes: `latent_diffpure:prompt="a
face, clear"`.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any, get_args, get_type_hints

import tyro
from tyro.conf import FlagConversionOff

from cloakwork import registry
from cloakwork.errors import UserError


def parse(kind: str, text: str, models: Iterable[str] = ("tiny",)) -> tuple[str, Any]:
    """`NAME[:PRESET][:FIELD=VALUE,...]` -> name and Config; nested fields are dotted, as in
    `sampling.n=4`.

    Raises:
        UserError: unknown name, preset or field, or a value that the field cannot have.
    """
    name, _, rest = text.partition(":")
    first, _, others = rest.partition(":")
    preset, settings = (
        (first, others) if first and "=" not in first else (None, rest)
    )  # a value may hold colons
    module = registry.load(kind, name)
    if preset in {f.name for f in fields(module.Config)} - set(getattr(module, "PRESETS", {})):
        raise UserError(
            f"'{preset}' is a field of {name}, not a preset; write {name}:{preset}=VALUE."
        )
    config = registry.config(module, preset, models)
    pairs = [setting.partition("=") for setting in split(settings, ",") if setting.strip()]
    given = [
        (field.strip(), value[1:-1] if re.fullmatch('".*"', value) else value)
        for field, _, value in pairs
    ]
    counts = Counter(field.replace("-", "_") for field, _ in given)
    if twice := [field for field, n in counts.items() if n > 1]:
        raise UserError(
            *[
                f"The field {field} of {name} is given more than once; give it once."
                for field in twice
            ]
        )
    try:
        return name, _set(config, given)
    except UserError as error:
        raise UserError(*[f"{name}: {sentence}" for sentence in error.sentences]) from None
    except SystemExit:
        raise UserError(
            *[_fault(name, config, *pair) for pair in given if not _fits(config, *pair)]
        ) from None


def split(text: str, mark: str) -> list[str]:
    """The parts of a text between marks (a blank stands for any number of them), but for marks in
    double quotes.
    """
    where = r"\s+" if mark == " " else re.escape(mark)
    return re.split(rf'{where}(?=(?:[^"]*"[^"]*")*[^"]*$)', text)


def _set(config: Any, given: list[tuple[str, str]]) -> Any:
    """The Config with some fields set from text; SystemExit where tyro refuses one."""
    if not given:
        return config
    flags = [f"--{field.replace('_', '-')}={value}" for field, value in given]
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        return tyro.cli(
            type(config),
            default=config,
            args=flags,
            config=(FlagConversionOff,),
            console_outputs=False,
        )


def _fits(config: Any, field: str, value: str) -> bool:
    """Whether tyro takes the setting; bounds, which others given beside it may move, are no matter
    of one alone.
    """
    try:
        with suppress(UserError):
            _set(config, [(field, value)])
    except SystemExit:
        return False
    return True


def _fault(name: str, config: Any, field: str, value: str) -> str:
    """What is wrong with a setting that tyro refuses."""
    *outer, last = field.split(".")
    for part in outer:
        config = getattr(config, part, None)
    known = get_type_hints(type(config)) if is_dataclass(config) else {}
    if last not in known:
        return str(
            registry.unknown(f"field of {name}", field, [".".join([*outer, k]) for k in known])
        )
    return f"The field {field} of {name} is '{value}'; allowed: {_allowed(known[last])}."


def _allowed(hint: Any) -> str:
    """A type in the user's words."""
    if choices := get_args(hint):
        return " or ".join(
            choice if isinstance(choice, str) else _allowed(choice) for choice in choices
        )
    if is_dataclass(hint):
        return f"its own fields, such as {fields(hint)[0].name}, after a dot"
    return {
        int: "a whole number",
        float: "a number",
        bool: "True or False",
        type(None): "None",
    }.get(hint, str(hint))


def module(kind: str, text: str) -> ModuleType:
    """The module of a method that is written with its settings."""
    return registry.load(kind, text.partition(":")[0])


def purifiers(
    given: str | Sequence[tuple[str, Any]], model: str = "tiny", denoiser: str = "tiny"
) -> tuple[tuple[str, Any], ...]:
    """Purifiers in order: in a text joined by `+` (an empty one is none), else names and Configs,
    None where there is none yet.

    Without a preset each takes that for the model of its kind: a latent diffusion model, or a
    denoiser of pixels.

    Raises:
        UserError: as of `parse`.
    """

    def models(name: str) -> tuple[str, ...]:
        return registry.model_names(name, model, denoiser)

    if isinstance(given, str):
        words = [word.strip() for word in split(given, "+")] if given.strip() else []
        return tuple(parse("purifiers", word, models(word.partition(":")[0])) for word in words)
    return tuple(
        (
            name,
            registry.config(registry.load("purifiers", name), None, models(name))
            if config is None
            else config,
        )
        for name, config in given
    )


def word(kind: str, name: str, config: Any) -> str:
    """What `parse` reads as this method: its name, and what differs from what the name alone
    says.
    """
    usual = registry.config(registry.load(kind, name), None, ("tiny",))
    named = {
        f.name: value
        for f in fields(config)
        if (value := getattr(config, f.name)) != getattr(usual, f.name)
    }
    changed = [
        f'{field}="{value}"' if re.search(r"[,+\s]", str(value)) else f"{field}={value}"
        for field, value in named.items()
    ]
    return ":".join([name, ",".join(changed)]) if changed else name
