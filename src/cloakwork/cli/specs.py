"""Methods with their settings in one word: `dreambooth`, `lora:service`, `jpeg:quality=75+resize:scale=0.5`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tyro
from tyro.conf import FlagConversionOff

from cloakwork import methods


def parse(kind: str, text: str, models: Iterable[str] = ("tiny",)) -> tuple[str, Any]:
    """`NAME[:PRESET][:FIELD=VALUE,...]` -> name and Config; nested fields are dotted, as in `sampling.n=4`.

    Raises:
        UserError: unknown name or preset. An unknown field ends the program as a wrong flag does.
    """
    name, *parts = text.split(":")
    preset = parts.pop(0) if parts and "=" not in parts[0] else None
    module = methods.load(kind, name)
    config = methods.config(module, preset, models)
    flags = [f"--{field.strip().replace('_', '-')}={value}" for field, _, value in
             (setting.partition("=") for part in parts for setting in part.split(",") if setting)]  # fmt: skip
    return name, tyro.cli(
        type(config), default=config, args=flags, prog=f"{name}:", config=(FlagConversionOff,)
    ) if flags else config


def chain(kind: str, text: str) -> tuple[tuple[str, Any], ...]:
    """Several methods in order, joined by `+`; an empty text is none."""
    return tuple(parse(kind, word) for word in text.split("+") if word)
