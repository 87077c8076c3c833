"""ASPL, Anti-DreamBooth: the surrogate learns and the photos are perturbed in turns, each against
the other.

Van Le et al., "Anti-DreamBooth", arXiv 2303.15433, alternating surrogate and perturbation learning.
With A the clean photos, x' the protected ones, L the denoising error under "a photo of sks person"
and L_pr the same on pictures of the class:

    repeat `outer` times:
        theta_s <- theta after `clean_steps` of AdamW on L(theta_s, A) + L_pr
        x'      <- `pgd_steps` sign steps that raise L(theta_s, x'), within the budget of the photos
        theta   <- theta after `adv_steps` of AdamW on L(theta, x') + L_pr

With a `target` (T-ASPL), PGD raises L(theta_s, x') - || z_{t-1} - q(z_target, t-1, eps) ||^2,
z_{t-1} the model's DDPM step.

Checked against VinAIResearch/Anti-DreamBooth at c97e891 (50 x (3 + 6 + 3), lr 5e-7, budget .05 on
[-1, 1] = 6.4/255, step .005 on [-1, 1] = .64/255; with LoRA: rank 4 on the attention of the UNet
and the text encoder).

Departures (beside the package's conventions):
- the release keeps bf16 weights, in which lr 5e-7 moves less than 1 % of them (preset "bf16" rounds
  the weights after every step, and nothing else of the release);
- gradients of the weights are clipped to norm 1, as the release means to (it hands the clipping an
  empty iterator);
- successive calls go round all photos and all class pictures (the release restarts at the first, so
  it uses three), and only as many class pictures are drawn as the schedule uses;
- at t = 0 the target itself is what x' is drawn to (the release reads index -1 there, the noisiest
  of all);
- LoRA layers of theta_s are a copy (those of the release are theta's own, which thereby learns the
  clean photos too), and their base is fp32; the preset with them is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from cloakwork.finetuning import adapters
from cloakwork.finetuning.training import Precision, Training
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import losses, pgd, targets
from cloakwork.perturbation.alternating import LearningSurrogate, alternate
from cloakwork.perturbation.schedule import Schedule, Turn
from cloakwork.perturbation.surrogates import encode_lessons, on_device, trainable_copies
from cloakwork.photos.preprocessing import preprocess
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT, SUBJECT_PROMPT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

VERSION = 2  # 1 learned subject and class in two passes: other rounding


@dataclass(frozen=True)
class Config:
    """Names of the paper and its release; budgets in 1/255."""

    budget: float = 6.4
    """largest change of a pixel, 1/255"""
    strength: Strength = field(default="uniform", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """how the budget follows the photo: not at all; or less where the eye would notice a change"""
    start: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """a protection that PGD starts from, such as learned, with which fewer steps may do (empty: the
    photo itself)"""
    outer: int = 50
    """outer iterations (release: max_train_steps)"""
    clean_steps: int = 3
    """surrogate steps on clean photos a turn (max_f_train_steps)"""
    pgd_steps: int = 6
    """PGD steps a turn (max_adv_train_steps)"""
    adv_steps: int = 3
    """surrogate steps on protected photos a turn"""
    step: float | None = 0.64
    """change per PGD step, 1/255 (none: budget / 10)"""
    lr: float = 5e-7
    """the surrogate's learning rate"""
    weights: Precision = "float32"
    """precision the surrogate's weights are kept in"""
    text_encoder: bool = True
    """the surrogate's text encoder learns too"""
    prior_weight: float = 1.0
    """weight of the loss on class pictures (0: none are made)"""
    class_images: int = 200
    """most class pictures the surrogate makes before it learns"""
    class_sampling_steps: int = field(default=25, metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """DDIM steps that a class picture takes"""
    ensemble: Literal["mean", "turns"] = "mean"
    """several surrogates: their photos are averaged (E-ASPL), or each goes on from the last
    one's"""
    target: str = ""
    """what photos are drawn to as well (T-ASPL): pattern, grey, zero, or an image file; empty:
    nothing"""
    lora_rank: int = 0
    """LoRA layers of this rank learn instead of the weights, in less memory (0: the weights)"""
    lora_layers: adapters.Layers = "attention"
    """which of the UNet's layers get one: attention, or all, feed-forward and convolutions too"""
    instance_prompt: str = field(default="a photo of sks person", metadata=SUBJECT_PROMPT)
    """what the attacker is expected to write under the photos"""
    class_prompt: str = field(default="a photo of person", metadata=SUBJECT_PROMPT)
    """what the class pictures show"""
    arithmetic: Literal["", "bfloat16"] = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """what surrogates compute in: bfloat16, faster on CPUs that have it; empty: as loaded"""


# the surrogate learns at the attacker's rate (preset "tiny" of dreambooth): at 5e-7 a small model
# does not move
TINY = Config(budget=11, step=None, lr=3e-4, class_images=16)
PRESETS = {
    "tiny": TINY,
    "tiny-bf16": replace(TINY, arithmetic="bfloat16"),
    "tiny-lora": Config(
        budget=11, step=None, lr=1e-3, class_images=16, lora_rank=16, lora_layers="all"
    ),
    "paper": Config(),
    "bf16": Config(weights="bfloat16"),
}
# fewer turns are enough to see the effect
TRIAL = {"outer": 3}


def schedule(cfg: Config) -> Schedule:
    """Plan what each surrogate goes through."""
    return Schedule(
        0,
        cfg.outer
        * [Turn(lookahead_steps=cfg.clean_steps, pgd=cfg.pgd_steps, kept_steps=cfg.adv_steps)],
    )


def protect(
    photos: Photos,
    surrogates: list[LDM],
    cfg: Config,
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) from which a model that learns them cannot learn the
    subject.
    """
    if cfg.target:
        losses.check_takes_target(surrogates)
    training = Training(
        lr=cfg.lr, prior_weight=cfg.prior_weight, text_encoder=cfg.text_encoder, weights=cfg.weights
    )
    plan = schedule(cfg)
    surrogates = [ldm.computing_in(cfg.arithmetic) for ldm in surrogates]
    with trainable_copies(surrogates) as thetas:
        learners = []
        for theta in thetas:
            with on_device(theta, photos[0].device):
                learners.append(_learner(theta, clean or photos, cfg, training, plan, rng, state))
        return alternate(
            photos,
            learners,
            plan,
            training,
            cfg.instance_prompt,
            budget=cfg.budget,
            step=cfg.step,
            ensemble=cfg.ensemble,
            rng=rng,
            state=state,
        )


def _learner(
    theta: LDM,
    clean: Photos,
    cfg: Config,
    training: Training,
    plan: Schedule,
    rng: torch.Generator,
    state: RunState,
) -> LearningSurrogate:
    pictures = preprocess(clean, theta.size)
    subject, prior = encode_lessons(theta, pictures, cfg, training, plan.surrogate_steps, state)
    z_target = targets.latent(theta, cfg.target) if cfg.target else None
    if cfg.lora_rank:
        adapters.add_lora(theta, cfg.lora_rank, cfg.lora_layers, rng, text_encoder=cfg.text_encoder)

    def ascent(theta_s: LDM) -> pgd.Gradient:
        error = losses.targeted(theta_s, theta_s.embed([cfg.instance_prompt]), rng, z_target)
        return losses.gradient(theta_s, error, rng)

    return LearningSurrogate(theta, subject, prior, ascent)
