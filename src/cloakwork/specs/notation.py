"""A method with its settings, and the text that it is written in: `dreambooth`, `lora:service`,
`jpeg:quality=75`.

A value that holds a comma, a plus or a blank stands in double quotes: `latent_diffpure:prompt="a
face, clear"`.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass, fields, is_dataclass
from types import ModuleType
from typing import Any, get_args, get_type_hints

import tyro
from tyro.conf import FlagConversionOff

from cloakwork import registry
from cloakwork.errors import UserError, in_words
from cloakwork.registry import surrogate_needs, user_modules


@dataclass(frozen=True)
class Method:
    """One method with its settings.

    Attributes:
        kind: "protections", "attackers", "purifiers" or "metrics".
        name: as in `cloakwork list`, or a module of the user's such as "my_lab.mine".
        config: an instance of the module's Config.
    """

    kind: str
    name: str
    config: Any

    def __post_init__(self) -> None:
        _ = self.begins  # refused here, before anything is computed

    @property
    def module(self) -> ModuleType:
        """The module that the method is."""
        return registry.load(self.kind, self.name)

    @property
    def version(self) -> int:
        """The VERSION of the module; another one gives other bytes."""
        return self.module.VERSION

    @property
    def source(self) -> str:
        """The digest of a user's module and what lies beside it; "" for one of this package."""
        return user_modules.source_digest(self.module)

    @property
    def code(self) -> int | str:
        """What its code is, for a key: VERSION, and of a module of the user's the source too."""
        return f"{self.version} {self.source}" if self.source else self.version

    @property
    def settings(self) -> dict[str, Any]:
        """The Config as plain data for a key."""
        return registry.settings(self.config)

    @property
    def begins(self) -> Method | None:
        """The protection that PGD starts from, by a protection's field `start`; None: the photo."""
        text = getattr(self.config, "start", "") if self.kind == "protections" else ""
        return starting(text) if text else None

    @property
    def networks(self) -> str:
        """The networks that the method finds by itself, with their weights; "" for none."""
        own, first = registry.instrument(self.module, self.config), self.begins
        if first is None:
            return own
        return " ".join(str(word) for word in (own, first.name, first.code, first.networks) if word)

    @property
    def model_kind(self) -> str:
        """What a purifier is given: "latent" (an LDM), "pixels" (a PixelDDPM) or "" (nothing)."""
        return registry.model_kind(self.name) if self.kind == "purifiers" else ""

    @property
    def needs(self) -> str:
        """What a protection needs of a surrogate: "model", or "encoder" alone."""
        return surrogate_needs.needs(self.module, self.config)

    @property
    def trains(self) -> bool:
        """Whether an attacker fine-tunes a model, as its module says by TRAINS."""
        return getattr(self.module, "TRAINS", False)

    @property
    def takes_masks(self) -> bool:
        """Whether an attacker paints where masks say, as its module says by TAKES_MASKS."""
        return getattr(self.module, "TAKES_MASKS", False)

    def record(self) -> list[Any]:
        """Return name and settings as they stand in records."""
        return [self.name, asdict(self.config)]


def parse(kind: str, text: str, models: Iterable[str] = ("tiny",)) -> Method:
    """Parse `NAME[:PRESET][:FIELD=VALUE,...]`; nested fields are dotted, as in `sampling.n=4`.

    Args:
        kind: "protections", "attackers", "purifiers" or "metrics".
        text: as above.
        models: those that the method will be given; they decide the preset where none is named.

    Raises:
        UserError: unknown name, preset or field, or a value that the field cannot have.

    >>> parse("purifiers", "jpeg:quality=40").config.quality
    40
    """
    word, _, rest = text.partition(":")
    name = registry.named(kind, word)
    first, _, others = rest.partition(":")
    # a value may hold colons
    preset, settings = (first, others) if first and "=" not in first else (None, rest)
    module = registry.load(kind, name)
    if preset in {f.name for f in fields(module.Config)} - set(getattr(module, "PRESETS", {})):
        raise UserError(
            f"'{preset}' is a field of {name}, not a preset. Write {name}:{preset}=VALUE."
        )
    config = registry.config(module, preset, models)
    pairs = [setting.partition("=") for setting in split(settings, ",") if setting.strip()]
    given = [
        (field.strip(), value[1:-1] if re.fullmatch('".*"', value) else value)
        for field, _, value in pairs
    ]
    counts = Counter(field.replace("-", "_") for field, _ in given)
    if repeated := [field for field, n in counts.items() if n > 1]:
        sentence = "The field {} of {} is given more than once. Give it once."
        raise UserError(*[sentence.format(field, name) for field in repeated])
    try:
        return Method(kind, name, _set(config, given))
    except UserError as error:
        raise UserError(*[f"{name}: {sentence}" for sentence in error.sentences]) from None
    except SystemExit:
        faults = [_fault(name, config, *pair) for pair in given if not _fits(config, *pair)]
        raise UserError(*faults) from None


def starting(text: str) -> Method:
    """Return the protection that PGD is to start from.

    Args:
        text: as of `parse`.

    Raises:
        UserError: an unknown protection, or one that asks surrogates itself.

    >>> starting("noise").name
    'noise'
    """
    first = parse("protections", text)
    if getattr(first.module, "USES_SURROGATES", True):
        raise UserError(
            f"PGD cannot start from '{first.name}', which computes against models itself. "
            "Name a protection that needs none, such as learned or noise."
        )
    return first


# by tyro, as flags are: `--field VALUE` and `FIELD=VALUE` accept the very same texts
def _set(config: Any, given: list[tuple[str, str]]) -> Any:
    """Return a Config with some fields set from text; SystemExit where tyro refuses one."""
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
    """Return whether tyro takes a setting.

    Bounds do not count: other settings that are given with this one may move them.
    """
    try:
        with suppress(UserError):
            _set(config, [(field, value)])
    except SystemExit:
        return False
    return True


def _fault(name: str, config: Any, field: str, value: str) -> str:
    """Return a sentence on what is wrong with a setting that tyro refuses."""
    *outer, last = field.split(".")
    for part in outer:
        config = getattr(config, part, None)
    known = get_type_hints(type(config)) if is_dataclass(config) else {}
    if last not in known:
        dotted = [".".join([*outer, k]) for k in known]
        return str(registry.unknown(f"field of {name}", field, dotted))
    return f"The field {field} of {name} is '{value}'. Allowed: {_allowed(known[last])}."


def _allowed(hint: Any) -> str:
    """Return a type in the user's words.

    >>> _allowed(int)
    'a whole number'
    >>> _allowed(float | None)
    'a number or None'
    """
    if choices := get_args(hint):
        return " or ".join(
            choice if isinstance(choice, str) else _allowed(choice) for choice in choices
        )
    if is_dataclass(hint):
        return f"its own fields, such as {fields(hint)[0].name}, after a dot"
    return in_words(hint)


def split(text: str, mark: str) -> list[str]:
    """Split a text at marks, except at those in double quotes.

    Args:
        text: with an even number of double quotes.
        mark: one character; a blank stands for any number of them.

    >>> split('steps=3,prompt="a face, clear"', ",")
    ['steps=3', 'prompt="a face, clear"']
    >>> split("jpeg  resize", " ")
    ['jpeg', 'resize']
    """
    pattern = r"\s+" if mark == " " else re.escape(mark)
    return re.split(rf'{pattern}(?=(?:[^"]*"[^"]*")*[^"]*$)', text)
