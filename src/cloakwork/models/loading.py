"""Load latent diffusion models by name: an embedded one, a diffusers pipeline folder, a hub id, a
single file, each with adapters.

safetensors only, and no code from the hub.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from cloakwork.errors import UserError
from cloakwork.models import latents, pipelines, schedulers
from cloakwork.models.device import arithmetic, copied_to, pick_device
from cloakwork.models.families.family import Family
from cloakwork.models.graphs import Replayed
from cloakwork.models.ldm import LDM
from cloakwork.models.pipeline_files import DISTILLED, ZEROS

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
    """Load a latent diffusion model of one of `pipelines.FAMILIES`.

    An inpainting model's UNet takes more than latents (`LDM.inpaints`): it can be an editor's
    victim, not a trainer's.

    Args:
        name: "tiny", "tiny-b", "tiny-dit", a diffusers pipeline folder, a hub id or a safetensors
            file; behind it, each after a +, the folder of what a file lacks and LoRA files
            (`names.parse`).
        device: where it runs; see `device.pick_device`.
        dtype: "float32", "bfloat16" or "float16": what the arithmetic is autocast to.
        sample_posterior: encode to a sample of the autoencoder's posterior instead of its mean.
        low_memory: take less memory and more time wherever there is the choice; same bytes.
        graphs: replay passes through frozen networks as CUDA graphs.

    Raises:
        UserError: unknown dtype or device, wrong folder, pickle files, another family, a hub that
            cannot be reached, or graphs on another device than cuda.
    """
    target = pick_device(device)
    computes_in = arithmetic(dtype, target)
    if graphs and target.type != "cuda":
        raise UserError(
            f"Passes are replayed as graphs on cuda alone; the device is {target.type}. "
            "Leave --graphs out."
        )
    base = _load_cpu(str(name))
    if base.device != target:
        base = _moved(base, target, computes_in, low_memory)
    if graphs:
        _replay(base.vae)
    if target.type == "cpu" and base.size <= PLAIN_ATTENTION_UP_TO:
        _use_plain_attention(base.denoiser)
    return replace(
        base,
        dtype=computes_in,
        sample_posterior=sample_posterior,
        low_memory=low_memory,
        graphs=graphs,
        _embedded={},
    )


def _moved(base: LDM, device: torch.device, dtype: torch.dtype, low_memory: bool) -> LDM:
    """Return a copy of a model on a device, in less memory if wanted: without the text encoders,
    which are fetched when prompts are read, and with a denoiser that has no more digits than the
    arithmetic.
    """
    if not low_memory:
        return replace(base, **{k: copied_to(device, part) for k, part in base.networks.items()})
    fewer = dtype == torch.bfloat16
    return replace(
        base,
        vae=copied_to(device, base.vae),
        denoiser=copied_to(device, base.denoiser, dtype if fewer else None),
        whole=base.denoiser if fewer else None,
    )


def _replay(vae: Any) -> None:
    """Replay an autoencoder's passes; it must be nobody else's. The denoiser's are the LDM's."""
    for part in (vae.encoder, vae.decoder):
        part.forward = Replayed(part, part.forward)


@lru_cache(maxsize=4)
def _load_cpu(name: str) -> LDM:
    pipe, family = pipelines.read(name)
    denoiser = getattr(pipe, family.DENOISER)
    _check_parts(family, pipe, denoiser, name)
    editor, processor = pipelines.editor(name, family)
    ldm = LDM(
        name=name,
        vae=pipe.vae,
        denoiser=denoiser,
        text_encoder=pipe.text_encoder,
        tokenizer=pipe.tokenizer,
        scheduler=pipe.scheduler,
        weights=pipelines.weights(name),
        size=family.side(pipe.vae, denoiser) * latents.scale(pipe.vae),
        family=family,
        zero_negative=pipe.config.get(ZEROS, False),
        distilled=pipe.config.get(DISTILLED, False),
        editor=editor,
        processor=processor,
        tokenizer_2=getattr(pipe, "tokenizer_2", None),
        text_encoder_2=getattr(pipe, "text_encoder_2", None),
        tokenizer_3=getattr(pipe, "tokenizer_3", None),
        text_encoder_3=getattr(pipe, "text_encoder_3", None),
    )
    for part in ldm.networks.values():
        part.eval().requires_grad_(False)
    family.prepare(ldm)
    return ldm


def _check_parts(family: Family, pipe: Any, denoiser: Any, name: str) -> None:
    """Refuse a denoiser with other inputs, or one that predicts what its family does not.

    Text-to-image models take a latent; inpainting ones a latent, a mask and another latent.
    """
    kind, schedule = schedulers.predicted(pipe.scheduler), type(pipe.scheduler).__name__
    # schedules of EDM's kind scale what the denoiser sees in a way of their own
    known = kind in family.PREDICTS and not schedule.startswith("EDM")
    given, channels = family.channels(denoiser), latents.channels(pipe.vae)
    allowed = (channels, 2 * channels + 1)
    if given not in allowed or not known:
        raise UserError(
            f"The model in '{name}' has {given} input channels and predicts '{kind}' "
            f"({schedule}). Text-to-image models have {allowed[0]} channels, inpainting models "
            f"{allowed[1]}; those of {family.NAME} that predict {' or '.join(family.PREDICTS)} "
            "can be used."
        )


def _use_plain_attention(denoiser: Any) -> None:
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor

    # fused attention's backward is slower on a CPU
    if isinstance(denoiser, UNet2DConditionModel):
        denoiser.set_attn_processor(AttnProcessor())
