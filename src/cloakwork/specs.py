"""Methods with their settings in one word: `dreambooth`, `lora:service`,
`jpeg:quality=75+resize:scale=0.5`.

A value that holds a comma, a plus or a blank stands in double quotes: `latent_diffpure:prompt="a
face, clear"`.
"""

from __future__ import annotations

import difflib
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from types import ModuleType
from typing import Any, TypeAlias, get_args, get_type_hints

import tyro
from tyro.conf import FlagConversionOff

from cloakwork import registry
from cloakwork.errors import UserError, in_words, type_faults


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
        return registry.source_digest(self.module)

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
        return registry.needs(self.module, self.config)

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


Given: TypeAlias = str | Method
"""A method as Python functions take it: a name, a text as of `parse`, or a Method."""


def method(
    kind: str,
    given: Given,
    models: Iterable[str] = ("tiny",),
    *,
    config: Any = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    arguments: Iterable[str] = (),
) -> Method:
    """Return a method that was named in Python, in whichever way.

    Args:
        kind: "protections", "attackers", "purifiers" or "metrics".
        given: its name, a text as of `parse`, or a Method.
        models: those that the method will be given; they decide the preset where none is named.
        config: the method's Config; with a name alone.
        preset: name of one of its PRESETS; with a name alone, and without `config`.
        settings: fields of its Config that are set last. Nested ones are mappings of their own.
        arguments: what else the user may have meant by the name of a setting.

    Raises:
        UserError: unknown names, and values that a field cannot have; all settings' together.

    >>> method("purifiers", "jpeg", settings={"quality": 40}).config.quality
    40
    """
    if config is not None and preset is not None:
        raise UserError("Both a config and a preset were given; give one of them.")
    whole = isinstance(given, Method) or ":" in given
    if whole and (config is not None or preset is not None):
        raise UserError(
            f"{given if isinstance(given, str) else given.name} was given with its settings, "
            "and a config or a preset as well. Give one of them."
        )
    if isinstance(given, Method):
        chosen = given
    elif whole:
        chosen = parse(kind, given, models)
    else:
        name = registry.named(kind, given)
        module = registry.load(kind, name)
        start = registry.config(module, preset, models) if config is None else config
        chosen = Method(kind, name, start)
    _check_method(kind, chosen)
    return replace(chosen, config=_changed(chosen, chosen.config, settings or {}, arguments))


def _check_method(kind: str, given: Method) -> None:
    """Refuse a method of another kind, or with the Config of another, or with wrong values in it.

    Raises:
        UserError: one sentence a fault.
    """
    name = given.name
    if given.kind != kind:
        raise UserError(f"{name} is one of the {given.kind}; here one of the {kind} is needed.")
    wanted = given.module.Config
    if not isinstance(given.config, wanted):
        raise UserError(
            f"The config of {name} is of the type {type(given.config).__name__}, from "
            f"{type(given.config).__module__}. It must be a {wanted.__name__} from "
            f"{wanted.__module__}."
        )
    values = {f.name: getattr(given.config, f.name) for f in fields(given.config)}
    if faults := type_faults(f"The field {{}} of {name}", get_type_hints(wanted), values):
        raise UserError(*faults)


def _changed(
    method: Method, config: Any, given: Mapping[str, Any], arguments: Iterable[str], outer: str = ""
) -> Any:
    """Return a Config with some fields set to Python values; see `method`."""
    kinds, faults, changes = get_type_hints(type(config)), [], {}
    known = [f.name for f in fields(config)]
    for name, value in given.items():
        if name not in known:
            dotted = [outer + k for k in known]
            what, advice = f"field of {method.name}", _meant(name, arguments)
            faults += registry.unknown(what, outer + name, dotted, *advice).sentences
        elif is_dataclass(getattr(config, name)) and isinstance(value, Mapping):
            inner = (getattr(config, name), value, (), f"{outer}{name}.")
            changes[name] = _changed(method, *inner)
        else:
            changes[name] = value
    faults += type_faults(f"The field {outer}{{}} of {method.name}", kinds, changes)
    if faults:
        raise UserError(*faults)
    try:
        return replace(config, **changes)
    except UserError as error:
        raise UserError(*[f"{method.name}: {sentence}" for sentence in error.sentences]) from None


def words(text: str) -> list[str]:
    """Return methods that are joined by commas; a text with fields is one method.

    >>> words("match, clip_i"), words("identity:size=64,model=x")
    (['match', 'clip_i'], ['identity:size=64,model=x'])
    """
    named = text.split(",") if "=" not in text else [text]
    return [word.strip() for word in named if word.strip()]


def methods(
    kind: str,
    given: Given | Sequence[Given],
    models: Iterable[str] = ("tiny",),
    *,
    settings: Mapping[str, Any] | None = None,
    arguments: Iterable[str] = (),
) -> tuple[Method, ...]:
    """Return one method or several, each as `method` takes it.

    Args:
        kind: "attackers" or "metrics".
        given: one or more; names in a text may be joined by commas.
        models: those that each will be given.
        settings: fields of the one method's Config.
        arguments: what else the user may have meant by the name of a setting.

    Raises:
        UserError: as of `method`; settings for none or for several methods.

    >>> [m.name for m in methods("metrics", "psnr, ssim")]
    ['psnr', 'ssim']
    """
    single, models = one_by_one(given), tuple(models)
    check_single(settings, len(single), arguments)
    return tuple(method(kind, e, models, settings=settings, arguments=arguments) for e in single)


def one_by_one(given: Given | Sequence[Given]) -> list[Given]:
    """Return methods one by one, texts of several names cut apart.

    >>> one_by_one(["psnr,ssim", "identity:size=64"])
    ['psnr', 'ssim', 'identity:size=64']
    """
    listed = [given] if isinstance(given, str | Method) else given
    return [x for e in listed for x in ([e] if isinstance(e, Method) else words(e))]


def check_single(settings: Mapping[str, Any] | None, count: int, arguments: Iterable[str]) -> None:
    """Refuse settings that do not belong to one method.

    Raises:
        UserError: settings for none or for several methods.
    """
    if not settings or count == 1:
        return
    name = next(iter(settings))
    said = f"The setting {name} was given with {count} methods, so it is not known whose it is."
    how = "Write settings into the text of a method, as in jpeg:quality=40."
    raise UserError(" ".join([said, how, *_meant(name, arguments)]))


def _meant(name: str, arguments: Iterable[str]) -> list[str]:
    """Return a sentence on the argument of a function that was meant by a setting, if any was."""
    near = difflib.get_close_matches(name, list(arguments), n=1)
    return [f"Perhaps the argument {near[0]} is meant."] if near else []


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
    return in_words(hint)


def module(kind: str, text: str) -> ModuleType:
    """Return the module of a method that is written with its settings.

    >>> module("purifiers", "jpeg:quality=40").__name__
    'cloakwork.purifiers.jpeg'
    """
    return registry.load(kind, text.partition(":")[0])


Chain: TypeAlias = Given | Sequence[Given | tuple[str, Any]]
"""Purifiers in order, as Python functions take them."""


def purifiers(
    given: Chain,
    model: str = "tiny",
    denoiser: str = "tiny",
    *,
    settings: Mapping[str, Any] | None = None,
    arguments: Iterable[str] = (),
) -> tuple[Method, ...]:
    """Return purifiers in the order in which they run.

    Without a preset each takes that for the model of its kind: a latent diffusion model, or a
    denoiser of pixels.

    Args:
        given: a text, in which they are joined by `+` (an empty text is none); or a Method; or
            a list of such, and of pairs of a name and a Config, where None asks for the preset.
        model: the latent diffusion model that they will be given.
        denoiser: the denoiser of pixels that they will be given.
        settings: fields of the one purifier's Config.
        arguments: what else the user may have meant by the name of a setting.

    Raises:
        UserError: as of `method`; settings for none or for several purifiers.

    >>> [method.name for method in purifiers("jpeg:quality=75+resize")]
    ['jpeg', 'resize']
    >>> purifiers("")
    ()
    """
    named: list[tuple[Given, Any]] = []
    for entry in [given] if isinstance(given, str | Method) else given:
        if isinstance(entry, str):
            named += [(w.strip(), None) for w in split(entry, "+")] if entry.strip() else []
        else:
            named.append((entry, None) if isinstance(entry, Method) else entry)
    check_single(settings, len(named), arguments)
    chosen = []
    for one, config in named:
        name = one.name if isinstance(one, Method) else one.partition(":")[0]
        models = registry.model_names(name, model, denoiser)
        how = {"config": config, "settings": settings, "arguments": arguments}
        chosen.append(method("purifiers", one, models, **how))
    return tuple(chosen)


def chains(text: str) -> list[str]:
    """Return chains of purifiers that are parted by blanks.

    >>> chains('none  blur+resize latent_diffpure:prompt="a face"')
    ['none', 'blur+resize', 'latent_diffpure:prompt="a face"']
    """
    return [word for word in split(text.strip(), " ") if word]


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
