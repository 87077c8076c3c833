"""Methods as people and functions name them: by a name, a text with settings, a `Method`, lists of
such, or purifiers in a chain, `jpeg:quality=75+resize:scale=0.5`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from types import ModuleType
from typing import Any, TypeAlias, get_type_hints

from cloakwork import registry
from cloakwork.errors import UserError, type_faults
from cloakwork.specs.notation import Method, parse, split

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
    if given == registry.DEFAULT_PROTECTION and not (config is None and preset is None):
        # a preset that nobody named gives way to what is named
        given = registry.DEFAULT_NAME
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
