"""Whether memory has room for the encoder's graph beside that of a loss."""

from __future__ import annotations

from cloakwork.models import latents
from cloakwork.models.device import free_memory
from cloakwork.models.ldm import LDM

# Numbers that a half of the autoencoder saves for its backward, for each channel of its first level
# and each pixel of a picture. Each level has a quarter of the places and at most twice the channels
# of the one before, so that the first one tells the size of all. Counted for Stable Diffusion at
# 512 px.
ENCODER, DECODER = 25, 46
BYTES = 4  # of a number; autocast saves some in fewer
USABLE = 0.9  # of the free memory; the rest is for what is computed on the way


def saved_bytes(ldm: LDM, n: int, *, sampling: int = 0) -> tuple[int, int]:
    """Estimate the bytes that the encoder, and the largest loss, save for their backward.

    The denoiser goes over all n photos at once, the decoder over one at a time. With `sampling`,
    the loss is of n pictures that so many passes of the denoiser make, and decoded at once. Under
    autocast the denoiser's graph holds its weights once more, cast.
    """
    pixels, places = ldm.size**2, (ldm.size // ldm.scale) ** 2
    of_vae = BYTES * pixels * latents.width(ldm.vae)
    of_denoiser = BYTES * ldm.family.saved(ldm.denoiser, places)
    cast = sum(p.numel() for p in ldm.denoiser.parameters() if p.dtype != ldm.dtype)
    casts = ldm.dtype.itemsize * cast
    if sampling:
        of_loss = n * (sampling * of_denoiser + DECODER * of_vae) + casts
    else:
        of_loss = max(n * of_denoiser + casts, DECODER * of_vae)
    return n * ENCODER * of_vae, of_loss


def fits(ldm: LDM, n: int, *, sampling: int = 0) -> bool:
    """Return whether both graphs of n photos fit into what is free now.

    `sampling` is as in `saved_bytes`.

    It may say otherwise a step later: which way a gradient is computed changes no byte of it.
    """
    return sum(saved_bytes(ldm, n, sampling=sampling)) <= USABLE * free_memory(ldm.device)
