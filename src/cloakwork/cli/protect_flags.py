"""The flags of `cloakwork protect` and `cloakwork demo`.

Flags and help come from dataclasses, a method's own from its Config.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, get_type_hints

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from cloakwork import registry, specs
from cloakwork.cli.common import PARTS, QUALITY, parse
from cloakwork.errors import UserError
from cloakwork.models.names import with_parts

BY_SURROGATE = "(default: tiny for the embedded models, else paper)"
REPEATABLE = "(repeatable, default: tiny)"


@dataclass(frozen=True)
class Files:
    """Which photos, and how they are written."""

    photos: Annotated[
        Positional[tuple[str, ...]], arg(metavar="PHOTO ...", help_behavior_hint="(one or more)")
    ]
    """photos, folders or globs; a folder is one photo set and its subfolders are further ones,
    loose files are one set"""
    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")]
    """folder for the protected photos; sheets and records go to FOLDER/.cloakwork"""
    clean: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """folder of unprotected photos of the same subject that the protection may learn from"""
    mask: Annotated[Path | None, arg(metavar="FILE")] = None
    """a picture of the photos' size that is white where they may change, or a folder with one of
    its name for each photo"""
    faces: bool = False
    """let photos change around faces alone (extra `face`); one in which none is found everywhere"""
    each: bool = False
    """treat every photo alone, as a set of its own"""
    one_set: bool = False
    """treat all photos as one set, such as those of one person in three folders"""
    format: Literal["same", "png", "jpg", "webp", "tiff", "bmp"] = "png"
    """file format of the output; same: each photo's own, and png where that cannot be written; a
    lossy one loses some of the protection, and what is left is measured"""
    quality: Annotated[int | None, arg(help_behavior_hint=QUALITY)] = None
    """quality of lossy formats, 1 to 100; WebP is lossy with one"""
    for_width: Annotated[int | None, arg(name="for", metavar="PIXELS")] = None
    """for uploads: make wider photos this wide first, as platforms do, and protect what comes of
    it; none is enlarged"""
    jpeg: Annotated[int | None, arg(metavar="QUALITY")] = None
    """for uploads: write JPEG of this quality, 1 to 100, as platforms do (4:2:0), and say what it
    leaves of the protection"""
    strip_metadata: bool = False
    """leave out EXIF (place, time, camera), XMP, IPTC and texts"""
    strip_gps: bool = False
    """leave out where photos were taken (GPS), and nothing else"""
    force: bool = False
    """overwrite photos in the output folder (originals are never overwritten), and protect photos
    that were protected before"""
    skip_bad: bool = False
    """go on without the photos that cannot be read"""
    sidecars: bool = False
    """copy captions (.txt, .caption) and metadata.jsonl beside the photos, with names adjusted"""
    dry_run: bool = False
    """compute nothing and fetch nothing: open photos and models, and count the steps and the passes
    through the models that it would take"""
    list_presets: bool = False
    """show every preset of the chosen --protection (of all without one) with budget, steps and
    measured cost"""


@dataclass(frozen=True)
class Sample:
    """Where the demo writes."""

    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")] = Path("demo-output")
    """folder for the protected sample photos; those of an earlier demo are overwritten, and nothing
    else is"""


@dataclass(frozen=True)
class How:
    """Which protection, against what."""

    protection: Annotated[str, arg(metavar="NAME")] = registry.DEFAULT_PROTECTION
    """the method: a name from `cloakwork list`, `strongest`, or a module of your own such as
    my_lab.mine; with its settings as in photoguard:tiny:steps=30"""
    preset: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=BY_SURROGATE)] = None
    """where the method's own flags start from"""
    refine: Annotated[int, arg(metavar="N")] = 0
    """go on from a protection that asks no model, such as learned, with N steps of pid:refined"""
    surrogate: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="MODEL", help_behavior_hint=REPEATABLE)
    ] = ()
    """model to protect against: tiny, tiny-b, a diffusers folder, a hub id (which is then fetched)
    or a safetensors file, with a LoRA as in FILE+LORA; for protections that need no denoiser also
    an encoder alone: a family (sd, sdxl, sd3, flux, flux2, qwen, sana; NAME:tiny or NAME:full), all
    that are at hand, an autoencoder's folder or hub id"""
    parts: Annotated[Path | None, arg(metavar="FOLDER", help=PARTS)] = None
    fetch: bool = False
    """fetch encoders of families from the hub that are not on this machine; `cloakwork list models`
    says how large they are"""
    seed: int = 0
    """same seed, same machine, same bytes"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """what the surrogates compute in"""
    sample_posterior: bool = False
    """encode photos to a sample of the VAE's posterior, as Stable Diffusion's training does, not to
    its mean"""
    low_memory: bool = False
    """compute in less memory and up to 1.3 times the time, as is done anyway where memory is short;
    changes no byte"""
    graphs: bool = False
    """on cuda: replay passes through networks that do not learn as CUDA graphs, which launches a
    pass as a whole; changes no byte, has not been timed, and is not done for encoders alone"""


def parse_protection(
    command: str, what: str, flags: type, words: list[str]
) -> tuple[Any, How, Any]:
    """Parse the command's flags, the common ones and those of the chosen method.

    The method's own flags start from its preset.

    Returns:
        The command's flags, the common ones, and the method's Config.
    """
    chosen = scan(words)
    method = specs.parse("protections", chosen.protection, chosen.surrogate)
    name, module, start = method.name, method.module, method.config
    _refuse_clashes(module, flags, How)
    if chosen.preset is not None:
        if ":" in chosen.protection:
            raise UserError(
                f"--preset {chosen.preset} is given beside {chosen.protection}, which has settings "
                "of its own. Give one of the two."
            )
        start = registry.config(module, chosen.preset, chosen.surrogate)
    if chosen.refine:
        from cloakwork.perturbation.start import refined

        method = refined(specs.Method("protections", name, start), chosen.refine)
        name, module, start = method.name, method.module, method.config
        _refuse_clashes(module, flags, How)
    parts = [
        ("files", Annotated[flags, FlagCreatePairsOff]),
        ("how", How, field(default_factory=How)),
        (
            "config",
            Annotated[module.Config, arg(name=name)],
            field(default_factory=lambda: start),
        ),
    ]
    known = ", ".join(sorted(getattr(module, "PRESETS", {})))
    summary = f"{name}: {registry.summary(module.__doc__)}"
    about = f"{what}\n\n{summary} Presets: {known or 'none'}."
    parsed = parse(make_dataclass("Flags", parts, frozen=True), command, about, words, pairs=True)
    surrogate = with_parts(chosen.surrogate, parsed.how.parts)
    how = replace(parsed.how, protection=name, surrogate=tuple(surrogate))
    return parsed.files, how, parsed.config


def scan(words: list[str]) -> argparse.Namespace:
    """Parse the flags that decide which parser to build.

    Everything else, mistakes included, is left to that parser.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--protection", nargs="?")
    parser.add_argument("--preset", nargs="?")
    parser.add_argument("--refine", nargs="?")
    parser.add_argument("--surrogate", nargs="?", action="append", default=[])
    parser.add_argument("--device", nargs="?")
    parser.add_argument("--fetch", action="store_true")
    chosen, _ = parser.parse_known_args(words)
    usual = registry.DEFAULT_PROTECTION if chosen.preset is None else registry.DEFAULT_NAME
    chosen.protection = chosen.protection or usual
    number = re.fullmatch(r"-?\d+", chosen.refine or "")
    chosen.refine = int(number[0]) if number else 0
    chosen.surrogate = [name for name in chosen.surrogate if name] or ["tiny"]
    if not {"-h", "--help"} & set(words):
        from cloakwork.models.latent_spaces import spelled

        how = {"fetch": chosen.fetch and "--dry-run" not in words}
        chosen.surrogate = spelled(chosen.surrogate, chosen.device or "auto", **how)
    return chosen


def flag_names(*common: type) -> set[str]:
    """Return the names of flags, by the dataclasses that they come from.

    Fields of a field that is a dataclass are flags too, without its name before them.
    """
    found = set()
    for flags in common:
        types = get_type_hints(flags)
        for flag in fields(flags):
            kind = types[flag.name]
            nested = isinstance(kind, type) and is_dataclass(kind)
            found |= flag_names(kind) if nested else {flag.name}
    return found


def _refuse_clashes(module: ModuleType, *common: type) -> None:
    """Refuse a method whose fields have the names of common flags."""
    taken = flag_names(*common)
    if clash := ", ".join(sorted(taken & flag_names(module.Config))):
        raise UserError(
            f"The Config of '{module.__name__}' has fields that are flags of the command already: "
            f"{clash}. Rename them."
        )
