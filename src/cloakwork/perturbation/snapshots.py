"""Snapshots of a surrogate that learns the subject, kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from cloakwork.environment import computed_on
from cloakwork.files import cache_folder, remove
from cloakwork.files.tensors import read_tensors, write_tensors
from cloakwork.finetuning.batches import turn
from cloakwork.finetuning.latent_dataset import LatentDataset
from cloakwork.finetuning.training import Training, finetune
from cloakwork.finetuning.weights import learnable
from cloakwork.models.ldm import LDM
from cloakwork.state import Progress, RunState
from cloakwork.types import Images


def snapshots(
    theta: LDM,
    subject: LatentDataset,
    prior: LatentDataset | None,
    training: Training,
    steps: int,
    at: Sequence[int],
    seed: int,
    progress: Progress | None = None,
) -> list[Path]:
    """Write theta's learnable weights after each of `at` steps of a DreamBooth training of `steps`
    steps in all.

    The files lie in the cache folder under the hash of all that decides them (pictures, words,
    weights, training, seed), so that they are paid for once. An interrupted training goes on.
    `theta` itself is left somewhere on the way.

    Returns:
        The files, in the order of `at`.

    Raises:
        NotFinite: the loss is not finite.
    """
    digest = _digest(theta, subject, prior, training, steps, at, seed)
    folder = cache_folder() / f"pool-{digest[:16]}"
    paths = [folder / f"{step}.safetensors" for step in at]
    if all(read_tensors(path, without_checksum=True) for path in paths):
        return paths

    def keep(step: int) -> None:
        if step in at:
            weights = {k: p.detach().cpu() for k, p in learnable(theta).items()}
            write_tensors(folder / f"{step}.safetensors", weights, checksum=True)

    def batches(step: int) -> list[Tensor]:
        keep(step)  # a step's pictures are asked for before its update
        return [subject.latents[i] for i in turn(step, training.batch, len(subject.latents))]

    state = RunState(folder / "training.safetensors", "surrogate", progress)
    rng, only = torch.Generator().manual_seed(seed), learnable(theta).__contains__

    def draw(n: int) -> Images:
        return torch.empty(0)  # nobody looks at pictures along the way

    course = (batches, subject.prompt, prior, training, steps, rng, state, draw)
    finetune(theta, *course, only=only, apart=at)
    keep(steps)
    remove(folder / "training.safetensors")
    return paths


def _digest(
    theta: LDM,
    subject: LatentDataset,
    prior: LatentDataset | None,
    training: Training,
    steps: int,
    at: Sequence[int],
    seed: int,
) -> str:
    """Return the hash of all that decides the snapshots, hex."""
    where = " ".join(map(str, computed_on(theta.device)))
    # these tell LoRA's ranks and layers
    shapes = [(name, tuple(p.shape)) for name, p in learnable(theta).items()]
    # `training` stands here by its repr, so the class Training and its fields may not be renamed,
    # nor be given new ones: every snapshot in users' caches would be made again
    course = f"{training} {steps} {list(at)} {seed}"
    text = f"pool 1 {theta.weights} {theta.dtype} {shapes} {course} {where}"
    digest = hashlib.sha256(text.encode())
    for data in (subject, prior):
        if data is not None:
            digest.update(data.prompt.encode() + data.latents.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
