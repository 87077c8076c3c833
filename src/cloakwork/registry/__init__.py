"""Finds methods by name. The file is the registry: `protections/aspl.py` is the protection `aspl`.

Names and help are read with `ast`, so that listing them imports no method and no torch. A name with
a dot in it, such as `my_lab.mine`, is anybody's module.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from cloakwork.errors import UserError
from cloakwork.registry.user_modules import find_module, source_digest

# kind (a folder of this package) -> the function that a method of that kind has
FUNCTIONS = {
    "protections": "protect",
    "attackers": "attack",
    "purifiers": "purify",
    "metrics": "score",
}
KINDS = tuple(FUNCTIONS)
# with its preset, for any surrogate; seconds a photo, and much of it is left after JPEG, a resize
# and purifiers
DEFAULT_PROTECTION = "pid:lasting"
DEFAULT_NAME = DEFAULT_PROTECTION.partition(":")[0]
# many times its time; leaves less to plain attackers, and to those who compress
STRONGEST_PROTECTION = "cloakwork"
# words in place of a method's name
ALIASES = {("protections", "strongest"): STRONGEST_PROTECTION}
# of a Config's field that came after results had been kept under the others: where it is at its
# default they stay valid
OMIT_FROM_KEY_AT_DEFAULT = {"late": True}
# of a field that has been renamed, in its metadata: the name by which keys know it
IN_KEY = "in key"
# of a Config's field with a text that names what photos show, as in "a photo of a person"
SUBJECT_PROMPT = {"subject_prompt": True}
# small models of ours, for which methods have a preset of their own, and their folders, under
# assets/ but for those below
EMBEDDED = {"tiny": "tiny", "tiny-b": "tiny-b", "tiny-dit": "tiny-dit"}
# those of them that have a distribution of their own, and its import package
APART = {"tiny-dit": "cloakwork_tiny_dit"}


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """What a metric's numbers mean: every metric module has one, by the name METRIC.

    Attributes:
        scope: "image": one number a picture; "set": one number for all pictures together.
        better: "higher" or "lower": which numbers speak for the pictures themselves, such as a
            likeness for an attacker's pictures; "" where neither does.
        range: smallest and largest number there can be, infinite ones included.
        unit: "share" (of pictures, 0 to 1), "dB", "1/255" or another; "" for a plain number.
        reference: what pictures are compared with: "originals" (one a picture, in the same order),
            "subject" (any clean photos of the subject) or None (nothing).
    """

    scope: Literal["image", "set"]
    better: Literal["higher", "lower", ""]
    range: tuple[float, float]
    unit: str
    reference: Literal["originals", "subject"] | None


def listing(kind: str) -> list[tuple[str, str]]:
    """Return name and summary of every method of a kind, sorted by name; import none of them.

    A summary is the first paragraph of a docstring.
    """
    docstrings = {f.stem: ast.get_docstring(ast.parse(f.read_text("utf-8"))) for f in files(kind)}
    return [(name, summary(docstring)) for name, docstring in docstrings.items()]


def named(kind: str, word: str) -> str:
    """Return the method's name that a word stands for, mostly itself.

    >>> named("protections", "strongest"), named("protections", "aspl")
    ('cloakwork', 'aspl')
    """
    return ALIASES.get((kind, word), word)


def load(kind: str, name: str) -> ModuleType:
    """Import the module of a method.

    Args:
        kind: one of KINDS.
        name: one of `listing(kind)`, or a module of the user's (`my_lab.mine`).

    Raises:
        UserError: an unknown name, or a module that lacks what a method needs.
    """
    if "." in name:
        return _foreign(kind, name)
    known = [file.stem for file in files(kind)]
    if name not in known:
        raise unknown(
            kind.removesuffix("s"),
            name,
            known,
            "A method of your own goes by its module, such as my_lab.mine.",
        )
    return importlib.import_module(f"cloakwork.{kind}.{name}")


def config(module: ModuleType, preset: str | None = None, surrogates: Iterable[str] = ()) -> Any:
    """Return the method's Config as a preset has it.

    Args:
        module: of the method.
        preset: None: `tiny` where all surrogates are small (`is_small`), else `paper`.
        surrogates: names of the models that the method will be given.

    Raises:
        UserError: the method does not have the preset.
    """
    presets: dict[str, Any] = getattr(module, "PRESETS", {})
    if preset is None:
        small = all(map(is_small, surrogates))
        return presets.get("tiny" if small else "paper", module.Config())
    if preset not in presets:
        name = module.__name__
        short = name.rpartition(".")[2] if name.startswith("cloakwork.") else name
        raise unknown(f"{short} preset", preset, sorted(presets))
    return presets[preset]


def is_small(surrogate: str) -> bool:
    """Return whether a model is an embedded one, or the small version of an encoder.

    >>> is_small("tiny"), is_small("sd3:tiny"), is_small("sd3:full")
    (True, True, False)
    """
    return surrogate in EMBEDDED or surrogate.endswith(":tiny")


def model_kind(purifier: str) -> str:
    """Return the kind of model that a purifier asks for.

    Returns:
        "latent" (an LDM), "pixels" (a PixelDDPM) or "" (none).

    >>> model_kind("gridpure"), model_kind("jpeg")
    ('pixels', '')
    """
    return getattr(load("purifiers", purifier), "USES_MODEL", "")


def model_names(purifier: str, model: str, denoiser: str) -> tuple[str, ...]:
    """Return which of two models a purifier asks for, if any.

    Args:
        purifier: its name.
        model: name of a latent diffusion model.
        denoiser: name of a denoiser of pixels.

    >>> model_names("gridpure", "tiny", "adm"), model_names("jpeg", "tiny", "adm")
    (('adm',), ())
    """
    return {"latent": (model,), "pixels": (denoiser,)}.get(model_kind(purifier), ())


def instrument(module: ModuleType | None, config: Any) -> str:
    """Return the network that a method asks beside the models it is given, with its weights.

    Returns:
        A text for a key; "" for none.
    """
    return module.instrument(config) if hasattr(module, "instrument") else ""  # type: ignore[union-attr]


def settings(config: Any) -> dict[str, Any]:
    """Return a Config as plain data for a key.

    Fields marked by `OMIT_FROM_KEY_AT_DEFAULT` are left out where they are at their default, and
    those that have been renamed since results were kept go by the name that `IN_KEY` says.

    >>> from dataclasses import field
    >>> @dataclass(frozen=True)
    ... class Config:
    ...     steps: int = 100
    ...     momentum: float = field(default=0.0, metadata=OMIT_FROM_KEY_AT_DEFAULT)
    >>> settings(Config()), settings(Config(momentum=0.9))
    ({'steps': 100}, {'steps': 100, 'momentum': 0.9})
    """
    later = {
        f.name
        for f in fields(config)
        if f.metadata.get("late") and getattr(config, f.name) == f.default
    }
    inner = {
        f.name: settings(value)
        for f in fields(config)
        if is_dataclass(value := getattr(config, f.name))
    }
    named = {f.name: f.metadata.get(IN_KEY, f.name) for f in fields(config)}
    return {named[k]: value for k, value in (asdict(config) | inner).items() if k not in later}


def unknown(what: str, name: str, known: list[str], *advice: str) -> UserError:
    """Return the error for a mistyped name: what is nearest, what there is, further advice.

    >>> str(unknown("metric", "psnrr", ["psnr", "ssim"]))
    "There is no metric 'psnrr'; did you mean 'psnr'? Known: psnr, ssim."
    """
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"; did you mean '{near[0]}'?" if near else "."
    choice = f"Known: {', '.join(known)}." if known else "There is none."
    return UserError(" ".join([f"There is no {what} '{name}'{guess}", choice, *advice]))


def field_help(config: type) -> dict[str, str]:
    """Return the help of each field of a Config that has any: the text below it."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    return {
        field.target.id: " ".join(below.value.value.split())
        for field, below in pairwise(getattr(tree, "body", []))
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(below.value.value, str)
    }


def files(kind: str) -> list[Path]:
    """Return the files of a kind's methods, or those of the recipes, sorted by name."""
    folder = "benchmark/recipes" if kind == "recipes" else kind
    return sorted((Path(__file__).parents[1] / folder).glob("[!_]*.py"))


def summary(docstring: str | None) -> str:
    r"""Return the first paragraph of a docstring, on one line.

    >>> summary("Compresses photos\nas JPEG.\n\nDepartures: none.")
    'Compresses photos as JPEG.'
    """
    return " ".join((docstring or "").strip().partition("\n\n")[0].split())


def _foreign(kind: str, name: str) -> ModuleType:
    """Import a user's module, and check that it has what a method of its kind needs."""
    module = find_module(name)
    if missing := missing_parts(module, kind):
        raise UserError(
            f"The module '{name}' is not one of the {kind}: it lacks {', '.join(missing)}."
        )
    source_digest(module)  # now, while its file is still what was imported
    return module


def missing_parts(module: ModuleType, kind: str) -> list[str]:
    """Return what a method of this kind needs and the module does not have."""
    missing = []
    if type(getattr(module, "VERSION", None)) is not int:
        missing.append("VERSION (a whole number)")
    config = getattr(module, "Config", None)
    if not (
        isinstance(config, type)
        and is_dataclass(config)
        and getattr(config, "__dataclass_params__").frozen  # noqa: B009 - unknown to typing
    ):
        missing.append("Config (a frozen dataclass)")
    elif kind == "protections" and "budget" not in {field.name for field in fields(config)}:
        missing.append("Config.budget (largest change of a pixel, 1/255)")
    if kind == "metrics" and not isinstance(getattr(module, "METRIC", None), MetricInfo):
        missing.append("METRIC (a MetricInfo, as in cloakwork.metrics.psnr)")
    if not callable(getattr(module, FUNCTIONS[kind], None)):
        missing.append(f"{FUNCTIONS[kind]}() (a function)")
    return missing
