"""Whole models in one safetensors file, as web UIs and trainers keep them.

The names of the weights are those of a model's first release, and say of which kind it is.
diffusers' own converters make its parts of them. Configs are those of the folder that is named
beside the file, else those in `configs/`. What a file lacks, tokenizers at least, comes from that
folder too. Nothing is ever fetched.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from cloakwork.errors import UserError
from cloakwork.files import SHORT_DIGEST, read_json, sha256
from cloakwork.models import names
from cloakwork.models.families.family import Family
from cloakwork.models.file_layouts import FLUX, SD2, Content
from cloakwork.models.file_parts import read_inside
from cloakwork.models.names import Named
from cloakwork.models.pipeline_files import (
    OF_TOKENIZER,
    ZEROS,
    full_weights,
    half_weights,
    is_whole,
    read_files,
    variant,
)
from cloakwork.models.pretrained_parts import read_part

_HOW_TO_LEAVE_OUT = (
    "; what its pipelines may go without is left out where FOLDER/model_index.json has it as "
    "[null, null]."
)


def read(named: Named) -> tuple[Any, Family]:
    """Read a model's file: a pipeline of diffusers in fp32, and its family.

    Raises:
        UserError: no such file, a pickle, another kind of file, damaged, or parts are lacking.
    """
    import diffusers

    content = open_file(named)
    family = content.layout.family
    parts: dict[str, Any] = {
        part: read_inside(content, part) if part in content.inside else _of_folder(content, part)
        for part in content.wanted
    }
    parts |= dict.fromkeys(content.left_out)
    for part, kind in content.tokenizers.items():
        folder = content.folder(part)
        parts[part] = read_part(f"transformers.{kind}", folder, f"The {part} in '{named.parts}'")
    parts["scheduler"] = scheduler(content)
    pipe = getattr(diffusers, family.PIPELINE)(**parts, **family.OPTIONS)
    if ZEROS in pipe.config and named.parts:
        zeros = read_json(named.parts / "model_index.json").get(ZEROS, True)
        pipe.register_to_config(**{ZEROS: zeros})
    return pipe, family


def weights(named: Named) -> str:
    """Compute the digest of all that `read` reads, 12 hex digits; where it lies does not count.

    Raises:
        UserError: as of `read`, but for damaged files.
    """
    content = open_file(named)
    files = {"": Path(named.model).expanduser()}
    for part in content.wanted:
        files[f"{part}/config.json"] = content.config(part)
    files["scheduler/scheduler_config.json"] = content.config("scheduler")
    outside = [part for part in content.wanted if part not in content.inside]
    for part in (*outside, *content.tokenizers):
        found = read_files(content.folder(part))
        files |= {f"{part}/{file.name}": file for file in found}
    said = "\n".join(f"{name} {sha256(files[name])}" for name in sorted(files))
    return hashlib.sha256(said.encode(errors="surrogateescape")).hexdigest()[:SHORT_DIGEST]


def open_file(named: Named) -> Content:
    """Read a file's header, and check that all parts of a model are there.

    Raises:
        UserError: as of `read`.
    """
    file = Path(named.model).expanduser()
    if file.suffix.lower() in names.PICKLES:
        raise UserError(names.pickled(file))
    if not file.is_file():
        raise UserError(f"There is no file '{file}'; give a model's safetensors file.")
    if file.suffix.lower() != names.SAFETENSORS:
        raise UserError(
            f"'{file}' is a file of another kind; a model is a safetensors file or the folder of a "
            "diffusers pipeline."
        )
    try:
        with safe_open(file, "pt") as opened:
            shapes = {k: tuple(opened.get_slice(k).get_shape()) for k in opened.keys()}
            content = Content(named, shapes, opened.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"'{file}' could not be read as safetensors ({error}); it is cut short, or another "
            "kind of file. Fetch or save it again."
        ) from None
    _check_parts(content)
    return content


def _check_parts(content: Content) -> None:
    """Refuse a model of which parts are neither in the file nor beside it."""
    lacking = [
        part
        for part in content.wanted
        if part not in content.inside and not _has_weights(content.folder(part))
    ] + [part for part in content.tokenizers if not is_whole(content.folder(part), OF_TOKENIZER)]
    if lacking:
        name, beside = content.named.model, content.named.parts
        where = f", nor has '{beside}'" if beside else ""
        raise UserError(
            f"'{name}' ({content.layout.name}) has no {' and no '.join(lacking)}{where}; give "
            f"--parts FOLDER (or write {name}+FOLDER), where FOLDER has "
            f"{', '.join(f'{part}/' for part in lacking)} as a diffusers pipeline of its kind does"
            + ("." if set(content.optional).isdisjoint(lacking) else _HOW_TO_LEAVE_OUT)
        )


def _has_weights(folder: Path) -> bool:
    return bool(full_weights(folder) or half_weights(folder))


def _of_folder(content: Content, part: str) -> Any:
    """Read a part with weights that lies beside the file."""
    kind, folder = content.layout.family.PARTS[part][0], content.folder(part)
    library = "transformers" if part.startswith("text_encoder") else "diffusers"
    how = {"variant": variant(folder), "use_safetensors": True, "local_files_only": True}
    what = f"The {part} in '{content.named.parts}'"
    return read_part(f"{library}.{kind}", folder, what, dtype=torch.float32, **how)


def scheduler(content: Content) -> Any:
    """Return the scheduler, for what the file says that its denoiser predicts.

    Raises:
        UserError: neither the file nor a config beside it says.
    """
    config, predicts = content.config("scheduler"), content.predicts
    known = content.knows("scheduler")
    if content.layout is SD2 and predicts is None and known:
        name = content.named.model
        raise UserError(
            f"'{name}' does not say whether it predicts noise or v, and {content.layout.name} may "
            "do either; give --parts FOLDER, where FOLDER has the scheduler/ of its pipeline."
        )
    settings: dict[str, Any] = {"prediction_type": predicts} if predicts else {}
    if content.layout is FLUX and known and not content.is_told_guidance:  # schnell
        settings = {"shift": 1.0, "use_dynamic_shifting": False}
    kind = read_json(config).get("_class_name")
    if "ztsnr" in content.shapes:  # no signal is left at the last timestep
        kind, settings["rescale_betas_zero_snr"] = "DDIMScheduler", True
    what = f"{content.what('scheduler')}, read by {config},"
    return read_part(f"diffusers.{kind}", config.parent, what, **settings)
