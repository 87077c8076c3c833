"""`cloakwork list`: the methods there are, and what can be set of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from cloakwork import registry
from cloakwork.errors import UserError
from cloakwork.registry import surrogate_needs

LISTED = (*registry.KINDS, "recipes")
WIDEST = 44  # characters of the left column
MODELS = "models"
USAGE = f"""\
usage: cloakwork list [KIND [NAME]]

The methods there are, one line each; of one method its presets and fields.
KIND: {", ".join(LISTED)}; or {MODELS}: which can be named as surrogates, the families that they
may be of, what of them is on this machine, and what would be fetched."""


def list_command(words: list[str]) -> None:
    """Run `cloakwork list`."""
    match words:
        case ["-h" | "--help", *_]:
            print(USAGE)
        case []:
            _list(LISTED)
        case ["models"]:
            _list_models()
        case [kind, *_] if kind not in LISTED:
            raise registry.unknown("kind", kind, [*LISTED, MODELS])
        case [kind]:
            _list((kind,))
        case [kind, name] if kind in registry.KINDS:
            _describe(kind, name)
        case [kind, *_]:
            raise UserError(
                f"Give a kind, and at most one of the methods ({', '.join(registry.KINDS)}), "
                f"not {len(words)} words."
            )


def _list(kinds: tuple[str, ...]) -> None:
    """Print the methods of some kinds."""
    for kind in kinds:
        rows = registry.listing(kind)
        if kind == "protections":
            rows = [(name, f"{text} Against: {_against(name)}.") for name, text in rows]
        if rows:
            _columns(kind, rows)


def _list_models() -> None:
    """Print the models and families that go by a name of their own, and where each is."""
    from cloakwork.models import latent_spaces, published

    whole = [(name, _place(name)) for name in registry.EMBEDDED]
    whole += [
        ("FOLDER or owner/name", "a diffusers pipeline; one of the hub's is then fetched"),
        ("FILE.safetensors", "a pipeline in one file; what it lacks comes from --parts FOLDER"),
        ("MODEL+FILE.safetensors", "any of them with a LoRA added to its weights"),
    ]
    _columns("whole models", whole)
    _columns("families of whole models", published.offers())
    rows = [
        (name, f"{says}. {space.models}")
        for space in latent_spaces.SPACES.values()
        for version in latent_spaces.VERSIONS
        if (says := latent_spaces.offers(name := f"{space.name}:{version}"))
    ]
    _columns("encoders alone (all: those on this machine)", rows)


def _place(model: str) -> str:
    """Return where one of our own models is, in words."""
    from cloakwork.models import hub

    if model not in registry.APART:
        return "comes with the package"
    distribution = registry.APART[model].replace("_", "-")
    here = "here" if hub.apart(model) else "not here"
    return f"{here}; comes with the distribution {distribution}"


def _against(protection: str) -> str:
    """Return what a protection is computed against, in words."""
    return surrogate_needs.surrogates_in_words(protection) or "nothing"


def _columns(title: str, rows: list[tuple[str, str]]) -> None:
    """Print a title and two columns."""
    width = min(WIDEST, max(16, *(len(name) for name, _ in rows)))
    print("\n".join([title, *(f"  {name:<{width}}  {text}".rstrip() for name, text in rows)]))


def _describe(kind: str, name: str) -> None:
    """Print what a method is, which presets it has, what can be set."""
    module = registry.load(kind, name)
    config = registry.config(module, None, ("tiny",))
    presets = getattr(module, "PRESETS", {})
    print(registry.summary(module.__doc__ or name))
    print(f"presets: {', '.join(sorted(presets)) or 'none'}")
    if kind == "protections" and "." not in name:
        print(f"computed against: {_against(name)}")
    rows = [(f"{field}={value}", doc) for field, value, doc in _fields(config)]
    if rows:
        _columns("fields, as the embedded models have them:" if presets else "fields:", rows)
        example, value, _ = next(_fields(config))
        flag = f"--{example.replace('_', '-')} {value}"
        print(f"written {flag}" if kind == "protections" else f"written {name}:{example}={value}")


def _fields(config: Any, outer: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield name, value and documentation of each field; those of nested Configs are dotted."""
    docs = registry.field_help(type(config))
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            yield from _fields(value, f"{outer}{f.name}.")
        else:
            yield (
                outer + f.name,
                f'"{value}"' if isinstance(value, str) else value,
                docs.get(f.name, ""),
            )
