"""ACE (Mist-v2): the model is to see one and the same target in every noise, whatever a LoRA layer
learns from the photos.

Zheng et al., "Targeted Attack Improves Protection against Unauthorized Diffusion Customization",
arXiv 2310.04687. With z_T the latent of a target picture, eps_theta the noise that the model sees
in the noised latent z'_t of x', and theta a LoRA surrogate:

    repeat `outer` times:
        x'     <- `steps` sign steps that lower || eps_theta(z'_t, t) - z_T ||^2, within the
                  budget of the photos
        theta  <- theta after `lora_steps` AdamW steps, each on the denoising error of one photo of
                  x' and of one class picture

Checked against psyker-team/mist-v2 at ed195b9 (mode lunet: 5 x (30 + 10), rank 4, lr 1e-4, prior
weight .1, 50 class pictures, "a picture", a new optimizer every round, posterior mean, Stable
Diffusion 1.5; budget 8/255 on [-1, 1] = 4/255, step .005 on [-1, 1] = .64/255).

Departures (beside the package's conventions):
- the release's mode "fused" is not reproduced: the sign of its distance between latents is
  inverted, so that it pushes them away from the target that it means to reach; its mode "anti-db"
  is `aspl` without the clean steps;
- v-prediction and flow models are asked for the noise that they see (the release compares their
  output itself);
- LoRA is on the UNet's attention alone (the release: on the first projection of its feed-forward
  parts too; the text encoder learns in neither unless the release is told to);
- all photos go through PGD together, with a prompt for all of them; the words of praise that the
  release writes before every caption are left out;
- the laptop preset has the attacker's words, LoRA of rank 16 on all layers, and a learning rate of
  1e-3, since at rank 4 and 1e-4 a small model learns nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from cloakwork.finetuning import adapters
from cloakwork.finetuning.prior import prior_dataset
from cloakwork.finetuning.training import Training
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import losses, pgd, targets
from cloakwork.perturbation.alternating import LearningSurrogate, alternate
from cloakwork.perturbation.schedule import Schedule, Turn
from cloakwork.perturbation.surrogates import on_device, trainable_copies
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT, SUBJECT_PROMPT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

# 1 took `lora_steps` for passes over all photos, where the release counts steps, and learned
# subject and class in two passes: other rounding
VERSION = 2


@dataclass(frozen=True)
class Config:
    """Names of the release; budgets in 1/255."""

    budget: float = 4
    """largest change of a pixel, 1/255"""
    strength: Strength = field(default="uniform", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """how the budget follows the photo: not at all; or less where the eye would notice a change"""
    start: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """a protection that PGD starts from, such as learned, with which fewer steps may do (empty: the
    photo itself)"""
    outer: int = 5
    """rounds (max_train_steps)"""
    steps: int = 30
    """PGD steps a round (max_adv_train_steps)"""
    lora_steps: int = 10
    """steps of the LoRA layers a round, each on one photo and one class picture
    (max_f_train_steps)"""
    step: float | None = 0.64
    """change per PGD step, 1/255 (none: budget / 10)"""
    lora_rank: int = 4
    """rank of every LoRA layer; alpha is the same"""
    lora_layers: adapters.Layers = "attention"
    """which of the UNet's layers get one: attention, or all, feed-forward and convolutions too"""
    lr: float = 1e-4
    """learning rate of the LoRA layers"""
    prior_weight: float = 0.1
    """weight of the loss on class pictures (0: none are made)"""
    class_images: int = 50
    """most class pictures the surrogate makes"""
    class_sampling_steps: int = field(default=25, metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """DDIM steps that a class picture takes"""
    target: str = "pattern"
    """what the model is to see in every noise: pattern, grey, zero, or an image file"""
    instance_prompt: str = field(default="a picture", metadata=SUBJECT_PROMPT)
    """what the attacker is expected to write under the photos"""
    class_prompt: str = field(default="a picture", metadata=SUBJECT_PROMPT)
    """what the class pictures show"""


PRESETS = {
    "tiny": Config(
        budget=11,
        step=None,
        lora_rank=16,
        lora_layers="all",
        lr=1e-3,
        class_images=16,
        instance_prompt="a photo of sks person",
        class_prompt="a photo of person",
    ),
    "paper": Config(),
}
# fewer turns are enough to see the effect
TRIAL = {"outer": 2, "steps": 10}


def schedule(cfg: Config) -> Schedule:
    """Plan what each surrogate goes through."""
    return Schedule(0, cfg.outer * [Turn(pgd=cfg.steps, kept_steps=cfg.lora_steps)])


def protect(
    photos: Photos,
    surrogates: list[LDM],
    cfg: Config,
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) in whose noise every surrogate sees the target,
    however LoRA changes it.
    """
    training = Training(lr=cfg.lr, prior_weight=cfg.prior_weight, text_encoder=False)
    plan = schedule(cfg)

    with trainable_copies(surrogates) as thetas:
        learners = []
        for theta in thetas:
            with on_device(theta, photos[0].device):
                prior = prior_dataset(
                    theta,
                    cfg.class_prompt,
                    cfg.class_images,
                    training,
                    plan.surrogate_steps,
                    state,
                    sampling_steps=cfg.class_sampling_steps,
                )
                adapters.add_lora(theta, cfg.lora_rank, cfg.lora_layers, rng, text_encoder=False)
                z_target = targets.latent(theta, cfg.target)
            ascent = partial(_towards, z_target, cfg, rng)
            learners.append(LearningSurrogate(theta, None, prior, ascent))
        return alternate(
            photos,
            learners,
            plan,
            training,
            cfg.instance_prompt,
            budget=cfg.budget,
            step=cfg.step,
            rng=rng,
            state=state,
        )


def _towards(z_target: Tensor, cfg: Config, rng: torch.Generator, theta: LDM) -> pgd.Gradient:
    c = theta.embed([cfg.instance_prompt])

    def nearness(z: Tensor) -> Tensor:
        t = theta.timesteps(len(z), rng)
        z_t = theta.diffuse(z, theta.noise(z.shape, rng), t)[0]
        return -(theta.predict_noise(z_t, t, c) - z_target).square().mean()

    return losses.gradient(theta, losses.from_scalar(nearness), rng)
