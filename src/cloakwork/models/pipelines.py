"""Models by name: where their pipeline is, of which family, whether it is whole, how it is read.

A pipeline lies in a folder as diffusers writes it, or in a single file; adapters may be added.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from cloakwork.errors import UserError
from cloakwork.files import SHORT_DIGEST, hash_files, parse_json, read_json
from cloakwork.models import adapters, hub, names, single_file
from cloakwork.models.families import flux, flux2, qwen_image, sd3, sdxl, stable_diffusion, z_image
from cloakwork.models.families.family import Family
from cloakwork.models.pipeline_files import (
    NETWORKS,
    OF_PROCESSOR,
    OF_SCHEDULER,
    OF_TOKENIZER,
    PARTS,
    PROCESSOR,
    SETTINGS,
    TOKENIZERS,
    is_whole,
    read_files,
    variant,
)
from cloakwork.models.pretrained_parts import read_part
from cloakwork.registry import EMBEDDED

FAMILIES: tuple[Family, ...] = (stable_diffusion, sdxl, sd3, flux, flux2, qwen_image, z_image)
PIPELINE_PATTERNS = [
    "model_index.json",
    *(f"{part}/*.{end}" for part in PARTS for end in ("json", "txt", "jinja", "safetensors")),
]
ALWAYS_LEFT_OUT = ["*non_ema*"]
PIPELINE_LEFT_OUT = ["*.fp16*", *ALWAYS_LEFT_OUT]


def read(name: str) -> tuple[Any, Family]:
    """Read a model by name: a pipeline of diffusers in fp32, and its family.

    Raises:
        UserError: as of `locate`, or files that cannot be read.
    """
    named = names.parse(name)
    if named.file:
        pipe, family = single_file.read(named)
    else:
        folder, family = locate(named.model)
        pipe = _read_folder(folder, family, f"The model in '{named.model}'")
    adapters.add(pipe, named)
    return pipe, family


def _read_folder(folder: Path, family: Family, what: str) -> Any:
    """Read a pipeline's folder; parts of which only halves are there come of those."""
    index, halves = read_json(folder / "model_index.json"), {}
    how = {"dtype": torch.float32, "use_safetensors": True, "local_files_only": True}
    for part, kind in _networks(index).items():
        if of := variant(folder / part):
            library = index[part][0]
            halves[part] = read_part(f"{library}.{kind}", folder / part, what, variant=of, **how)
    return read_part(
        f"diffusers.{family.PIPELINE}",
        folder,
        what,
        **family.OPTIONS,
        **_left_out(index, family),
        **halves,
        **how,
    )


def editor(name: str, family: Family) -> tuple[str, Path | None]:
    """Return the class of a model's pipeline if it edits, "" otherwise, and the folder of what a
    text encoder's view of pictures is made by, if it has any.

    Args:
        name: of a model that was read.
        family: its family.
    """
    named = names.parse(name)
    if named.file:
        return "", None
    folder, _ = locate(named.model)
    kind = read_json(folder / "model_index.json").get("_class_name")
    if kind is None or kind not in family.EDITORS:
        return "", None
    return kind, folder / PROCESSOR if (folder / PROCESSOR).is_dir() else None


def locate(name: str) -> tuple[Path, Family]:
    """Return the folder of a model by name, checked to be whole, and its family.

    Args:
        name: an embedded model, a diffusers pipeline folder or a hub id.

    Raises:
        UserError: no such model, another family, pickle files, parts that are missing.
    """
    folder = _folder(name, PIPELINE_LEFT_OUT)
    path = folder / "model_index.json"
    if not path.is_file():
        raise UserError(
            f"The folder '{name}' has no model_index.json; a diffusers pipeline folder with vae, "
            "unet and text_encoder is needed."
        )
    try:
        index = parse_json(path.read_bytes())
    except (OSError, ValueError):
        raise UserError(f"{path} is not readable JSON; fetch or save the model again.") from None
    family = family_of(index, name)
    if hub.is_on_hub(name, EMBEDDED) and not _has_weights(folder, index):
        folder = _folder(name, ALWAYS_LEFT_OUT)  # halves may be all that there is
    _check_files(folder, index, name)
    return folder, family


def _folder(name: str, left_out: list[str]) -> Path:
    return hub.locate(
        name,
        PIPELINE_PATTERNS,
        what="model",
        kind="pipeline",
        advice=(
            f"one of {', '.join(EMBEDDED)}, a diffusers pipeline folder, a model's safetensors file"
        ),
        embedded=EMBEDDED,
        unwanted=left_out,
    )


def without_network(name: str) -> str | None:
    """Return what a model may be called without asking the hub, nor fetching anything from it.

    Returns:
        The name; of a hub id, the folder of its copy on this machine, None where that is not whole.
    """
    named = names.parse(name)
    if named.file or not hub.is_on_hub(named.model, EMBEDDED):
        return name
    copy = copy_of(named.model)
    return str(replace(named, model=str(copy[0]))) if copy else None


def copy_of(name: str) -> tuple[Path, Family] | None:
    """Return the folder of a hub id's copy on this machine, and its family; the hub is not asked.

    Returns:
        None where there is no copy, or one that is not whole.

    Raises:
        UserError: it is of another family.
    """
    folder = hub.cached(name, PIPELINE_PATTERNS, PIPELINE_LEFT_OUT)
    if folder is None or not (folder / "model_index.json").is_file():
        return None
    try:
        index = parse_json((folder / "model_index.json").read_bytes())
    except ValueError:
        return None
    family = family_of(index, name)
    return (folder, family) if _has_weights(folder, index) else None


@lru_cache
def weights(name: str) -> str:
    """Compute the `LDM.weights` of a model by name, without loading it.

    Raises:
        UserError: no such model, another family, pickle files.
    """
    named = names.parse(name)
    if named.file:
        digest, settings = single_file.weights(named), named.parts
    else:
        settings = locate(named.model)[0]
        digest = hash_weights(settings)
    index = read_json(settings / "model_index.json") if settings else {}
    for setting, usual in SETTINGS.items():
        if (value := index.get(setting, usual)) != usual:
            digest = _short(f"{digest} {setting} {str(value).lower()}")
    if named.adapters:
        digest = _short(" ".join([digest, *(hash_files([file]) for file in named.adapters)]))
    return digest


def _short(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:SHORT_DIGEST]


def hash_weights(folder: Path) -> str:
    """Compute the digest of a pipeline folder's weights, configs and vocabulary, 12 hex digits.

    Of weights in two variants, those count that are read.
    """
    return hash_files((f for part in PARTS for f in read_files(folder / part)), inside=folder)


def family_of(index: Any, name: str) -> Family:
    """Return the family whose parts a pipeline has; `index` is its model_index.json.

    Raises:
        UserError: it is none that is known.
    """
    classes = _networks(index)
    for family in FAMILIES:
        if all(classes.get(part) in family.PARTS.get(part, (None,)) for part in NETWORKS):
            return family
    kind = index.get("_class_name") if isinstance(index, dict) else None
    has = ", ".join(f"{part}: {what}" for part, what in classes.items()) or "no parts"
    raise UserError(
        f"The folder '{name}' holds a model of another family, {kind or 'without a name'} ({has}); "
        f"{', '.join(family.NAME for family in FAMILIES)}, inpainting models among them, can be "
        "used here."
    )


def _networks(index: Any) -> dict[str, Any]:
    """Return the classes of a pipeline's parts with weights, by folder."""
    entries = index if isinstance(index, dict) else {}
    return {
        part: entry[1]
        for part in NETWORKS
        if isinstance(entry := entries.get(part), list) and len(entry) == 2 and entry[1]
    }


def _left_out(index: Any, family: Family) -> dict[str, Any]:
    """Return the parts that a family's pipelines may lack and this one does, as diffusers wants to
    be told of them.
    """
    has = _networks(index)
    lacks = [part for part, kinds in family.PARTS.items() if None in kinds and part not in has]
    return dict.fromkeys([*lacks, *(part.replace("text_encoder", "tokenizer") for part in lacks)])


def _has_weights(folder: Path, index: Any) -> bool:
    return all(list((folder / part).glob("*.safetensors")) for part in _networks(index))


def _check_files(folder: Path, index: Any, name: str) -> None:
    """Refuse a folder without safetensors, or that lacks what is read beside them."""
    for part in _networks(index):
        variant(folder / part)
    choices = dict.fromkeys(TOKENIZERS, OF_TOKENIZER) | {PROCESSOR: OF_PROCESSOR}
    needed = {part: files for part, files in choices.items() if (index.get(part) or [None])[-1]}
    for part, choices in {**needed, "scheduler": OF_SCHEDULER}.items():
        if not is_whole(folder / part, choices):
            wanted = ", or ".join(" and ".join(files) for files in choices)
            raise UserError(
                f"The folder '{name}' has no {wanted} in {part}/; fetch or save the model again."
            )
