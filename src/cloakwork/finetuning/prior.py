"""Class pictures for prior preservation (DreamBooth)."""

from __future__ import annotations

import hashlib

import torch
from safetensors.torch import load_file

from cloakwork.files import cache_folder, write_tensors
from cloakwork.finetuning.latent_dataset import LatentDataset, encode_dataset
from cloakwork.finetuning.training import Training
from cloakwork.models.ldm import LDM
from cloakwork.state import Progress, RunState
from cloakwork.types import Images


def class_pictures(
    ldm: LDM,
    prompt: str,
    n: int,
    *,
    guidance: float = 7.5,
    steps: int = 25,
    progress: Progress | None = None,
) -> Images:
    """n pictures of the subject's class, drawn by the model itself for prior preservation; n x 3 x
    S x S in [0, 1].

    Kept in the cache folder, eight by eight, under the hash of all that decides them, so that
    several people share them.
    """
    where = f"{ldm.device.type} {torch.__version__} {torch.get_num_threads()}"
    what = f"class 2 {ldm.weights} {ldm.dtype} {prompt!r} {guidance} {steps} {where}"
    folder = cache_folder() / f"class-{hashlib.sha256(what.encode()).hexdigest()[:16]}"
    batches = []
    for first in range(0, n, 8):
        path = folder / f"{first}.safetensors"
        if not path.is_file():
            pictures = ldm.sample(
                [prompt], 8, torch.Generator().manual_seed(first), guidance=guidance, steps=steps
            )
            write_tensors(path, {"pictures": pictures.mul(255).round().byte()}, shared=True)
        batches.append(load_file(path)["pictures"])
        if progress:
            progress("class pictures", min(first + 8, n), n)
    return torch.cat(batches)[:n].float().div(255)


def prior(
    victim: LDM,
    prompt: str,
    most: int,
    how: Training,
    steps: int,
    state: RunState,
    *,
    under: str | None = None,
) -> LatentDataset | None:
    """Pictures of the class by the victim itself, at most `most` and only as many as the training
    uses; None without a weight.

    They are drawn for `prompt` and learned `under` other words, where some are given.
    """
    n = min(most, steps * how.batch)
    if not how.prior_weight or n < 1:
        return None
    return encode_dataset(
        victim, class_pictures(victim, prompt, n, progress=state.progress), under or prompt
    )
