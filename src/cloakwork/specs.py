"""Methods with their settings in one word: `dreambooth`, `lora:service`, `jpeg:quality=75+resize:scale=0.5`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from types import ModuleType
from typing import Any

import tyro
from tyro.conf import FlagConversionOff

from cloakwork import methods
from cloakwork.errors import UserError


def parse(kind: str, text: str, models: Iterable[str] = ("tiny",)) -> tuple[str, Any]:
    """`NAME[:PRESET][:FIELD=VALUE,...]` -> name and Config; nested fields are dotted, as in `sampling.n=4`.

    Raises:
        UserError: unknown name, preset or field, or a value that the field cannot have.
    """
    name, _, rest = text.partition(":")
    first, _, others = rest.partition(":")
    preset, settings = (first, others) if first and "=" not in first else (None, rest)  # a value may hold colons
    module = methods.load(kind, name)
    config = methods.config(module, preset, models)
    pairs = [setting.partition("=") for setting in settings.split(",") if setting]
    flags = [f"--{field.strip().replace('_', '-')}={value}" for field, _, value in pairs]
    if not flags:
        return name, config
    try:
        return name, tyro.cli(type(config), default=config, args=flags, config=(FlagConversionOff,), console_outputs=False)
    except SystemExit:
        known = ", ".join(f.name for f in fields(config))
        raise UserError(f"'{text}' cannot be read as {name} with its fields ({known}).") from None


def module(kind: str, text: str) -> ModuleType:
    """The module of a method that is written with its settings."""
    return methods.load(kind, text.partition(":")[0])


def purifiers(text: str, model: str = "tiny", denoiser: str = "tiny") -> tuple[tuple[str, Any], ...]:
    """Purifiers in order, joined by `+`; an empty text is none.

    Without a preset each takes that for the model of its kind: a latent diffusion model, or a denoiser of pixels.

    Raises:
        UserError: as of `parse`.
    """
    words = [word for word in text.split("+") if word]
    return tuple(parse("purifiers", word, methods.asked(word.partition(":")[0], model, denoiser)) for word in words)


def word(kind: str, name: str, config: Any) -> str:
    """What `parse` reads as this method: its name, and what differs from what the name alone says."""
    usual = methods.config(methods.load(kind, name), None, ("tiny",))
    changed = [f"{f.name}={value}" for f in fields(config) if (value := getattr(config, f.name)) != getattr(usual, f.name)]
    return ":".join([name, ",".join(changed)]) if changed else name
