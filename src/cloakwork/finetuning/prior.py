"""Class pictures for prior preservation (DreamBooth)."""

from __future__ import annotations

import hashlib

import torch

from cloakwork.environment import computed_on
from cloakwork.files import cache_folder
from cloakwork.files.tensors import read_tensors, write_tensors
from cloakwork.finetuning.latent_dataset import LatentDataset, encode_dataset
from cloakwork.finetuning.training import Training
from cloakwork.models.ldm import LDM
from cloakwork.photos.tensors import to_bytes
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
    """Draw n pictures of the subject's class by the model itself, for prior preservation.

    They are kept in the cache folder, eight by eight, under the hash of all that decides them, so
    that several subjects share them.

    Returns:
        n x 3 x S x S in [0, 1].
    """
    where = " ".join(map(str, computed_on(ldm.device)))
    what = f"class 2 {ldm.weights} {ldm.dtype} {prompt!r} {guidance} {steps} {where}"
    folder = cache_folder() / f"class-{hashlib.sha256(what.encode()).hexdigest()[:16]}"
    batches = []
    for first in range(0, n, 8):
        path = folder / f"{first}.safetensors"
        kept = (read_tensors(path, without_checksum=True) or {}).get("pictures")
        if kept is None or kept.shape[:2] != (8, 3):
            pictures = ldm.sample(
                [prompt], 8, torch.Generator().manual_seed(first), guidance=guidance, steps=steps
            )
            kept = to_bytes(pictures).cpu().contiguous()  # as a file holds them
            write_tensors(path, {"pictures": kept}, checksum=True)
            if progress:  # of those that are drawn alone: others cost no time
                progress("class pictures", min(first + 8, n), n)
        batches.append(kept)
    return torch.cat(batches)[:n].float().div(255)


def prior_dataset(
    ldm: LDM,
    prompt: str,
    most: int,
    training: Training,
    steps: int,
    state: RunState,
    *,
    under: str | None = None,
    sampling_steps: int = 25,
) -> LatentDataset | None:
    """Draw and encode pictures of the class by the model itself.

    Args:
        ldm: the model, not yet trained.
        prompt: what the pictures show.
        most: as many are drawn as the training uses, but no more than this.
        training: its batch and prior weight.
        steps: of the training.
        state: shown the progress.
        under: the words they are learned under, if other than `prompt`.
        sampling_steps: DDIM steps that a picture takes.

    Returns:
        None where class pictures have no weight or none are used.
    """
    n = min(most, steps * training.batch)
    if not training.prior_weight or n < 1:
        return None
    pictures = class_pictures(ldm, prompt, n, steps=sampling_steps, progress=state.progress)
    return encode_dataset(ldm, pictures, under or prompt)
