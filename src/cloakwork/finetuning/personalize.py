"""The course of every attack that trains: read the photos, fine-tune, draw pictures, write what was
trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch

from cloakwork.finetuning.batches import latent_batches
from cloakwork.finetuning.cdl import CDL
from cloakwork.finetuning.latent_dataset import LatentDataset
from cloakwork.finetuning.prior import prior_dataset
from cloakwork.finetuning.sampling import sampler
from cloakwork.finetuning.training import Training, finetune
from cloakwork.models.ldm import LDM
from cloakwork.models.sampling import Sampling
from cloakwork.photos.preprocessing import Preprocessing
from cloakwork.state import RunState
from cloakwork.types import Images, Photos


class TrainerConfig(Protocol):
    """What the Config of every attacker that trains has."""

    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def loader(self) -> Preprocessing: ...
    @property
    def sampling(self) -> Sampling: ...
    @property
    def cdl(self) -> CDL: ...


class PriorConfig(TrainerConfig, Protocol):
    """What is added where class pictures are learned along with the photos."""

    @property
    def class_prompt(self) -> str: ...
    @property
    def class_images(self) -> int: ...


def victims_prior(
    victim: LDM, cfg: PriorConfig, training: Training, state: RunState
) -> LatentDataset | None:
    """Draw class pictures by the victim as it is, for prior preservation; draws nothing from an
    attack's generator.

    Returns:
        Their latents and the prompt they are learned under; None if their weight is 0.
    """
    return prior_dataset(
        victim,
        cfg.class_prompt,
        cfg.class_images,
        training,
        cfg.steps,
        state,
        under=cfg.cdl.class_prompt(cfg.class_prompt),
    )


def personalize(
    theta: LDM,
    photos: Photos,
    prompts: Sequence[str],
    cfg: TrainerConfig,
    *,
    training: Training,
    instance: str,
    token: str,
    seed: int,
    prior: LatentDataset | None = None,
    only: Callable[[str], bool] | None = None,
    buckets: bool = False,
    export: Callable[[LDM, Path], None],
    rng: torch.Generator,
    state: RunState,
) -> Images:
    """Train a model on the photos, and draw what the attacker wanted.

    Args:
        theta: the attacker's copy of the victim, with whatever was added to it; it is trained in
            place.
        photos: each 3 x H x W in [0, 1].
        prompts: what pictures are asked for; "sks" stands for the subject.
        cfg: steps, batch, loader, sampling and CDL.
        training: how the weights learn.
        instance: the words under the photos, `token` and all.
        token: the attacker's own words for the subject, in place of "sks" in the prompts.
        seed: of the pictures' starting noise, by `draw_seed` before anything else was drawn.
        prior: class pictures that are learned along with the photos.
        only: says by name which weights learn (None: all).
        buckets: oblong photos keep their shape.
        export: writes what was trained to `state.keep_model`, if that is set.
        rng: for everything random in the training.
        state: resumed from; keeps checkpoints, previews and the losses.

    Returns:
        `cfg.sampling.n` pictures a prompt, in the prompts' order, n x 3 x S x S in [0, 1].

    Raises:
        NotFinite: the loss is not finite.
    """
    batches = latent_batches(theta, photos, cfg.loader, cfg.batch, rng, buckets=buckets)
    draw = sampler(theta, prompts, cfg.sampling, seed, token=token, cdl=cfg.cdl)
    finetune(theta, batches, instance, prior, training, cfg.steps, rng, state, draw, only=only)
    pictures = draw(cfg.sampling.n)
    if state.keep_model is not None:
        export(theta, state.keep_model)
    return pictures
