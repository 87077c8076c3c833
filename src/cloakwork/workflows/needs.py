"""What a whole model takes of a machine.

Arithmetic is counted on meta tensors, which have shapes and no numbers.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from cloakwork.models import latents
from cloakwork.models.device import copied_to
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import graph_memory

META = torch.device("meta")


def sentence(ldm: LDM) -> str:
    """Return in words what a model takes: its weights, and the gradient by one photo's pixels."""
    weights = sum(p.nbytes for part in ldm.networks.values() for p in part.parameters())
    flops = "" if ldm.graphs else f"about {gradient_flops(ldm) / 1e12:.2g} TFLOP and "
    return (
        f"{ldm.name}: {weights / 1e9:.2g} GB of weights; forward and back through encoder and "
        f"denoiser, for one photo at {ldm.size} px: {flops}at most "
        f"{sum(graph_memory.saved_bytes(ldm, 1)) / 1e9:.2g} GB."
    )


def gradient_flops(ldm: LDM) -> int:
    """Count the FLOPs of a photo's encoding and denoising, forward and back."""
    hollow = replace(
        ldm, vae=copied_to(META, ldm.vae), denoiser=copied_to(META, ldm.denoiser), _embedded={}
    )
    c = ldm.embed([""]).to(META)
    x = torch.empty(1, 3, ldm.size, ldm.size, device=META, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        z = latents.encode(hollow.vae, x)
        out = hollow.family.denoise(hollow, z, torch.zeros(1, device=META), c)
        torch.autograd.grad(out.sum(), x)
    return counter.get_total_flops()
