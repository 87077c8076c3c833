"""Load latent diffusion models by name: an embedded one, a diffusers pipeline folder, a hub id.

safetensors only, and no code from the hub.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cloakwork.errors import UserError
from cloakwork.files import hash_files, parse_json
from cloakwork.models import hub
from cloakwork.models.device import DTYPES, pick_device
from cloakwork.models.graphs import Replayed
from cloakwork.models.ldm import LDM
from cloakwork.models.pretrained_parts import read_part
from cloakwork.registry import EMBEDDED

PARTS = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")
PIPELINE_PATTERNS = [
    "model_index.json",
    *(f"{part}/*.{end}" for part in PARTS for end in ("json", "txt", "safetensors")),
]
PIPELINE_LEFT_OUT = ["*.fp16.*", "*non_ema*"]
# what each part of a pipeline may be; anything else is another family
PIPELINE_CLASSES = {
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    "unet": ("UNet2DConditionModel",),
    "text_encoder": ("CLIPTextModel",),
}
# endings of Stable Diffusion in a single file
CHECKPOINTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
# part -> files, any of these choices, without which a folder is not whole
NEEDED = {
    "tokenizer": (("vocab.json", "merges.txt"), ("tokenizer.json",)),
    "scheduler": (("scheduler_config.json",),),
}
# pixels; up to here a CPU is faster with plain attention, beyond it the maps would fill the memory
PLAIN_ATTENTION_UP_TO = 128


def load(
    name: str,
    device: str = "auto",
    dtype: str = "float32",
    *,
    sample_posterior: bool = False,
    low_memory: bool = False,
    graphs: bool = False,
) -> LDM:
    """Load a latent diffusion model of the family of Stable Diffusion 1.x and 2.x.

    An inpainting model's UNet takes more than latents (`LDM.inpaints`): it can be an editor's
    victim, not a trainer's.

    Args:
        name: "tiny", "tiny-b", a diffusers pipeline folder or a hub id.
        device: where it runs; see `device.pick_device`.
        dtype: "float32", "bfloat16" or "float16": what the arithmetic is autocast to.
        sample_posterior: encode to a sample of the autoencoder's posterior instead of its mean.
        low_memory: take less memory and more time wherever there is the choice; same bytes.
        graphs: replay passes through frozen networks as CUDA graphs.

    Raises:
        UserError: unknown dtype or device, wrong folder, pickle files, another family, a hub that
            cannot be reached, or graphs on another device than cuda.
    """
    if dtype not in DTYPES:
        raise UserError(f"The dtype '{dtype}' is not known; allowed are {', '.join(DTYPES)}.")
    target = pick_device(device)
    if graphs and target.type != "cuda":
        raise UserError(
            f"Passes are replayed as graphs on cuda alone; the device is {target.type}. "
            "Leave --graphs out."
        )
    base = _load_cpu(str(name))
    if base.device != target:
        base = replace(
            base,
            **{
                part: deepcopy(getattr(base, part)).to(target)
                for part in ("vae", "denoiser", "text_encoder")
            },
        )
    if graphs:
        _replay(base.vae)
    if target.type == "cpu" and base.size <= PLAIN_ATTENTION_UP_TO:
        _use_plain_attention(base.denoiser)
    return replace(
        base,
        dtype=DTYPES[dtype],
        sample_posterior=sample_posterior,
        low_memory=low_memory,
        graphs=graphs,
        _embedded={},
    )


def _replay(vae: Any) -> None:
    """Replay an autoencoder's passes; it must be nobody else's. The denoiser's are the LDM's."""
    for part in (vae.encoder, vae.decoder):
        part.forward = Replayed(part, part.forward)


def without_network(name: str) -> str | None:
    """Return what `load` takes for a model without asking the hub, nor fetching anything from it.

    Returns:
        The name; of a hub id, the folder of its copy on this machine, None where that is not whole.
    """
    if not hub.is_on_hub(name, EMBEDDED):
        return name
    folder = hub.cached(name, PIPELINE_PATTERNS, PIPELINE_LEFT_OUT)
    parts = ("vae", "unet", "text_encoder")
    if folder is None or not (folder / "model_index.json").is_file():
        return None
    try:
        _check_family(parse_json((folder / "model_index.json").read_bytes()), name)
    except ValueError:
        return None
    whole = all(list((folder / part).glob("*.safetensors")) for part in parts)
    return str(folder) if whole else None


@lru_cache
def weights(name: str) -> str:
    """Compute the `LDM.weights` of a model by name, without loading it.

    Raises:
        UserError: no such model, another family, pickle files.
    """
    return hash_weights(_folder(name))


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


def _folder(name: str) -> Path:
    _refuse_single_file(name)
    advice = f"one of {', '.join(EMBEDDED)}, a diffusers pipeline folder"
    folder = hub.locate(
        name,
        PIPELINE_PATTERNS,
        what="model",
        kind="pipeline",
        advice=advice,
        embedded=EMBEDDED,
        unwanted=PIPELINE_LEFT_OUT,
    )
    _check_folder(folder, name)
    return folder


@lru_cache(maxsize=4)
def _load_cpu(name: str) -> LDM:
    folder = _folder(name)
    pipe = _read_pipeline(folder, name)
    for part in (pipe.vae, pipe.unet, pipe.text_encoder):
        part.eval().requires_grad_(False)
    _check_parts(pipe, name)
    scale = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    return LDM(
        name=name,
        vae=pipe.vae,
        denoiser=pipe.unet,
        text_encoder=pipe.text_encoder,
        tokenizer=pipe.tokenizer,
        scheduler=pipe.scheduler,
        weights=weights(name),
        size=pipe.unet.config.sample_size * scale,
    )


def _check_parts(pipe: Any, name: str) -> None:
    """Refuse a UNet with other inputs, or one that predicts anything but epsilon or v.

    Text-to-image UNets take a latent; inpainting ones a latent, a mask and another latent.
    """
    kind = pipe.scheduler.config.get("prediction_type", "epsilon")
    given, channels = pipe.unet.config.in_channels, pipe.vae.config.latent_channels
    allowed = (channels, 2 * channels + 1)
    if given not in allowed or kind not in ("epsilon", "v_prediction"):
        raise UserError(
            f"The model in '{name}' has {given} input channels and predicts '{kind}'. "
            f"Text-to-image models have {allowed[0]} channels, inpainting models {allowed[1]}; "
            "those that predict epsilon or v can be used."
        )


def _use_plain_attention(unet: nn.Module) -> None:
    from diffusers.models.attention_processor import AttnProcessor

    # fused attention's backward is slower on a CPU
    unet.set_attn_processor(AttnProcessor())  # type: ignore[operator]


def _check_folder(folder: Path, name: str) -> None:
    """Refuse a folder that is no pipeline, of another family, or without safetensors."""
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
    _check_family(index, name)
    for part in ("vae", "unet", "text_encoder"):
        _check_weights(folder, part, name)
    for part, choices in NEEDED.items():
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


def _check_family(index: Any, name: str) -> None:
    """Refuse a pipeline with parts of other classes; `index` is its model_index.json."""
    parts = index if isinstance(index, dict) else {}
    classes = {
        part: entry[1]
        for part, entry in parts.items()
        if isinstance(entry, list) and len(entry) == 2 and entry[1]
    }
    other = [
        f"{part}: {classes.get(part, 'none')}"
        for part, allowed in PIPELINE_CLASSES.items()
        if classes.get(part) not in allowed
    ]
    other += [
        f"{part}: {classes[part]}"
        for part in classes
        if part.endswith(("_2", "_3")) or part == "transformer"
    ]
    if other:
        raise UserError(
            f"The folder '{name}' holds a model of another family, "
            f"{parts.get('_class_name', 'without a name')} ({', '.join(other)}); Stable Diffusion "
            "1.x and 2.x, inpainting models among them, can be used here."
        )


def _read_pipeline(folder: Path, name: str) -> Any:
    return read_part(
        "diffusers.StableDiffusionPipeline",
        folder,
        f"The model in '{name}'",
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
    )


def hash_weights(folder: Path) -> str:
    """Compute the digest of a pipeline folder's weights, configs and vocabulary, 12 hex digits."""
    files = (file for part in PARTS for file in (folder / part).glob("*"))
    counted = [file for file in files if file.suffix in (".safetensors", ".json", ".txt")]
    return hash_files(counted, inside=folder)
