"""Folders of diffusers pipelines: where they are, of which family, whether they are whole."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from cloakwork.errors import UserError
from cloakwork.files import SHORT_DIGEST, hash_files, parse_json, read_json
from cloakwork.models import hub
from cloakwork.models.families import flux, sd3, sdxl, stable_diffusion
from cloakwork.models.families.family import Family
from cloakwork.registry import EMBEDDED

FAMILIES: tuple[Family, ...] = (stable_diffusion, sdxl, sd3, flux)
# folders of what has weights, and of what reads prompts, in any family
NETWORKS = ("vae", "unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
PARTS = (*NETWORKS, *TOKENIZERS, "scheduler")
PIPELINE_PATTERNS = [
    "model_index.json",
    *(f"{part}/*.{end}" for part in PARTS for end in ("json", "txt", "safetensors")),
]
# what guidance leads away from without a negative prompt: zeros (true, the default), or ""
ZEROS = "force_zeros_for_empty_prompt"
PIPELINE_LEFT_OUT = ["*.fp16.*", "*non_ema*"]
# endings of Stable Diffusion in a single file
CHECKPOINTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
# files, any of these choices, without which a folder is not whole
OF_TOKENIZER = (("vocab.json", "merges.txt"), ("tokenizer.json",))
OF_SCHEDULER = (("scheduler_config.json",),)


def locate(name: str) -> tuple[Path, Family]:
    """Return the folder of a model by name, checked to be whole, and its family.

    Args:
        name: an embedded model, a diffusers pipeline folder or a hub id.

    Raises:
        UserError: no such model, another family, pickle files, parts that are missing.
    """
    _refuse_single_file(name)
    folder = hub.locate(
        name,
        PIPELINE_PATTERNS,
        what="model",
        kind="pipeline",
        advice=f"one of {', '.join(EMBEDDED)}, a diffusers pipeline folder",
        embedded=EMBEDDED,
        unwanted=PIPELINE_LEFT_OUT,
    )
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
    _check_files(folder, index, name)
    return folder, family


def without_network(name: str) -> str | None:
    """Return what `locate` takes for a model without asking the hub, nor fetching anything from it.

    Returns:
        The name; of a hub id, the folder of its copy on this machine, None where that is not whole.
    """
    if not hub.is_on_hub(name, EMBEDDED):
        return name
    folder = hub.cached(name, PIPELINE_PATTERNS, PIPELINE_LEFT_OUT)
    if folder is None or not (folder / "model_index.json").is_file():
        return None
    try:
        index = parse_json((folder / "model_index.json").read_bytes())
        family_of(index, name)
    except ValueError:
        return None
    whole = all(list((folder / part).glob("*.safetensors")) for part in _networks(index))
    return str(folder) if whole else None


@lru_cache
def weights(name: str) -> str:
    """Compute the `LDM.weights` of a model by name, without loading it.

    Raises:
        UserError: no such model, another family, pickle files.
    """
    folder = locate(name)[0]
    digest, index = hash_weights(folder), read_json(folder / "model_index.json")
    # the one setting beside the parts that decides pictures
    if index.get(ZEROS, True):
        return digest
    return hashlib.sha256(f"{digest} {ZEROS} false".encode()).hexdigest()[:SHORT_DIGEST]


def hash_weights(folder: Path) -> str:
    """Compute the digest of a pipeline folder's weights, configs and vocabulary, 12 hex digits."""
    files = (file for part in PARTS for file in (folder / part).glob("*"))
    counted = [file for file in files if file.suffix in (".safetensors", ".json", ".txt")]
    return hash_files(counted, inside=folder)


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


def left_out(folder: Path, family: Family) -> dict[str, Any]:
    """Return the parts that a family's pipelines may lack and this one does, as diffusers wants to
    be told of them.
    """
    has = _networks(read_json(folder / "model_index.json"))
    lacks = [part for part, kinds in family.PARTS.items() if None in kinds and part not in has]
    return dict.fromkeys([*lacks, *(part.replace("text_encoder", "tokenizer") for part in lacks)])


def _check_files(folder: Path, index: Any, name: str) -> None:
    """Refuse a folder without safetensors, or that lacks what is read beside them."""
    for part in _networks(index):
        _check_weights(folder, part, name)
    needed = {part: OF_TOKENIZER for part in TOKENIZERS if (index.get(part) or [None])[-1]}
    for part, choices in {**needed, "scheduler": OF_SCHEDULER}.items():
        if not any(all((folder / part / file).is_file() for file in files) for files in choices):
            wanted = ", or ".join(" and ".join(files) for files in choices)
            raise UserError(
                f"The folder '{name}' has no {wanted} in {part}/; fetch or save the model again."
            )


def _check_weights(folder: Path, part: str, name: str) -> None:
    """Refuse a part without weights that are loaded: safetensors, and in full precision."""
    found = [file for file in (folder / part).glob("*.safetensors") if file.is_file()]
    if not found:
        raise UserError(
            f"The folder '{name}' has no safetensors weights in {part}/. "
            "Pickle files are never loaded; convert them first "
            "(diffusers: save_pretrained(..., safe_serialization=True))."
        )
    if all(".fp16." in file.name for file in found):
        raise UserError(
            f"The folder '{name}' has the weights in {part}/ as the variant fp16 only. Fetch those "
            "without a variant, or make them once: load the folder with variant='fp16' in "
            "diffusers, and save it without."
        )


def _refuse_single_file(name: str) -> None:
    """Refuse a checkpoint in a single file, and say how a folder is made of it."""
    file = Path(name).expanduser()
    if not file.is_file():
        return
    if file.suffix.lower() not in CHECKPOINTS:
        raise UserError(f"'{name}' is a file where a diffusers pipeline folder is needed.")
    pickle = "" if file.suffix.lower() == ".safetensors" else ", and of a kind that can run code"
    raise UserError(
        f"'{name}' is a checkpoint in a single file{pickle}, where a diffusers pipeline folder is "
        "needed. Make one once with StableDiffusionPipeline.from_single_file"
        f"({str(file)!r}).save_pretrained('FOLDER') of diffusers, and name that folder."
    )
