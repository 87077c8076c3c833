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
from dataclasses import asdict, dataclass, fields, is_dataclass
from types import ModuleType
from typing import Any, get_args, get_type_hints

import tyro
from tyro.conf import FlagConversionOff

from cloakwork import registry
from cloakwork.errors import UserError


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

    @property
    def module(self) -> ModuleType:
        """The module that the method is."""
        return registry.load(self.kind, self.name)

    @property
    def version(self) -> int:
        """The VERSION of the module; another one gives other bytes."""
        return self.module.VERSION

    @property
    def settings(self) -> dict[str, Any]:
        """The Config as plain data for a key."""
        return registry.settings(self.config)

    @property
    def networks(self) -> str:
        """The networks that the method finds by itself, with their weights; "" for none."""
        return registry.instrument(self.module, self.config)

    @property
    def model_kind(self) -> str:
        """What a purifier is given: "latent" (an LDM), "pixels" (a PixelDDPM) or "" (nothing)."""
        return registry.model_kind(self.name) if self.kind == "purifiers" else ""

    @property
    def trains(self) -> bool:
        """Whether an attacker fine-tunes a model, as its module says by TRAINS."""
        return getattr(self.module, "TRAINS", False)

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
    name, _, rest = text.partition(":")
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
    return {
        int: "a whole number",
        float: "a number",
        bool: "True or False",
        type(None): "None",
    }.get(hint, str(hint))


def module(kind: str, text: str) -> ModuleType:
    """Return the module of a method that is written with its settings.

    >>> module("purifiers", "jpeg:quality=40").__name__
    'cloakwork.purifiers.jpeg'
    """
    return registry.load(kind, text.partition(":")[0])


def purifiers(
    given: str | Sequence[Method | tuple[str, Any]], model: str = "tiny", denoiser: str = "tiny"
) -> tuple[Method, ...]:
    """Return purifiers in the order in which they run.

    Without a preset each takes that for the model of its kind: a latent diffusion model, or a
    denoiser of pixels.

    Args:
        given: a text, in which they are joined by `+` (an empty text is none); or methods, or
            pairs of a name and a Config, where None asks for the preset.
        model: the latent diffusion model that they will be given.
        denoiser: the denoiser of pixels that they will be given.

    Raises:
        UserError: as of `parse`.

    >>> [method.name for method in purifiers("jpeg:quality=75+resize")]
    ['jpeg', 'resize']
    >>> purifiers("")
    ()
    """

    def models(name: str) -> tuple[str, ...]:
        return registry.model_names(name, model, denoiser)

    if isinstance(given, str):
        words = [word.strip() for word in split(given, "+")] if given.strip() else []
        return tuple(parse("purifiers", word, models(word.partition(":")[0])) for word in words)
    chosen = []
    for entry in given:
        if isinstance(entry, Method):
            chosen.append(entry)
            continue
        name, config = entry
        if config is None:
            config = registry.config(registry.load("purifiers", name), None, models(name))
        chosen.append(Method("purifiers", name, config))
    return tuple(chosen)


def word(method: Method) -> str:
    """Return what `parse` reads as this method: its name, and what differs from its preset.

    >>> word(parse("purifiers", "jpeg:quality=40"))
    'jpeg:quality=40'
    """
    usual = registry.config(method.module, None, ("tiny",))
    named = {
        f.name: value
        for f in fields(method.config)
        if (value := getattr(method.config, f.name)) != getattr(usual, f.name)
    }
    changed = [
        f'{field}="{value}"' if re.search(r"[,+\s]", str(value)) else f"{field}={value}"
        for field, value in named.items()
    ]
    return ":".join([method.name, ",".join(changed)]) if changed else method.name
