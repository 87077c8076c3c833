"""FSMG, Anti-DreamBooth: photos are made hard to denoise for a surrogate that has learned the
subject from clean photos.

Van Le et al., "Anti-DreamBooth", arXiv 2303.15433, fully-trained surrogate model guidance. With A
the clean photos, x the photos to protect, L the denoising error under "a photo of sks person" and
L_pr the same on pictures of the class:

    theta <- DreamBooth(A): `surrogate_steps` of AdamW on L(theta, A) + L_pr
    x'    <- `steps` sign steps from x that raise L(theta, x'), within the budget

With a `target` (T-FSMG), they raise L(theta, x') - || z_{t-1} - q(z_target, t-1, eps) ||^2, z_{t-1}
the model's DDPM step. Several surrogates (E-FSMG) each go `turn` steps from the same x', which then
is the mean of the results.

Checked against VinAIResearch/Anti-DreamBooth at c97e891 (1000 steps of 2 + 2 pictures, lr 5e-7, 200
class pictures; 100 PGD steps, budget .05 on [-1, 1] = 6.4/255, step .005 on [-1, 1] = .64/255;
E-FSMG: 60 x 12).

Departures (beside the package's conventions):
- at t = 0 the target itself is what x' is drawn to (the release reads index -1 there, the noisiest
  of all);
- the targeted form works for several surrogates too (the release has none);
- one surrogate step takes as many class pictures as photos;
- the trained surrogate is kept on disk under the hash of all that decides it, and used again; the
  laptop preset trains it for 300 steps of 4 + 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from safetensors.torch import load_file
from torch import Tensor

from cloakwork.finetuning import adapters
from cloakwork.finetuning.sampling import draw_seed
from cloakwork.finetuning.training import Training
from cloakwork.finetuning.weights import set_weights
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import losses, pgd, targets
from cloakwork.perturbation.schedule import Schedule, Turn
from cloakwork.perturbation.surrogates import make_snapshots, on_device, trainable_copies
from cloakwork.photos.preprocessing import preprocess
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT, SUBJECT_PROMPT
from cloakwork.state import RunState, numbered, photos_of
from cloakwork.types import Photos, Strength

VERSION = 1


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
    steps: int = 100
    """PGD steps"""
    step: float | None = 0.64
    """change per PGD step, 1/255 (none: budget / 10)"""
    surrogate_steps: int = 1000
    """training steps of the surrogate (max_train_steps)"""
    training: Training = field(default_factory=lambda: Training(lr=5e-7, batch=2))
    """how the surrogate learns"""
    class_images: int = 200
    """most class pictures the surrogate makes before it learns"""
    class_sampling_steps: int = field(default=25, metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """DDIM steps that a class picture takes"""
    target: str = ""
    """what photos are drawn to as well (T-FSMG): pattern, grey, zero, or an image file; empty:
    nothing"""
    turn: int = 12
    """several surrogates: PGD steps of each between two averages (E-FSMG)"""
    lora_rank: int = 0
    """LoRA layers of this rank learn instead of the weights, in less memory (0: the weights)"""
    lora_layers: adapters.Layers = "attention"
    """which of the UNet's layers get one: attention, or all, feed-forward and convolutions too"""
    instance_prompt: str = field(default="a photo of sks person", metadata=SUBJECT_PROMPT)
    """what the attacker is expected to write under the photos"""
    class_prompt: str = field(default="a photo of person", metadata=SUBJECT_PROMPT)
    """what the class pictures show"""


PRESETS = {
    # the surrogate learns like the attacker (preset "tiny" of dreambooth): at 5e-7 a small model
    # does not move
    "tiny": Config(
        budget=11,
        step=None,
        surrogate_steps=300,
        training=Training(lr=3e-4, batch=4),
        class_images=16,
    ),
    "paper": Config(),
    "ensemble": Config(steps=60 * 12),
}


def schedule(cfg: Config, surrogates: int = 1) -> Schedule:
    """Plan what each surrogate goes through; several take turns, the last of which may be short."""
    size = cfg.steps if surrogates == 1 else max(cfg.turn, 1)
    return Schedule(
        cfg.surrogate_steps,
        [Turn(pgd=min(size, cfg.steps - k)) for k in range(0, cfg.steps, size or 1)],
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
    """Return photos (each 3 x H x W in [0, 1]) that a model which knows the subject already cannot
    denoise.
    """
    if cfg.target:
        losses.check_takes_target(surrogates)
    plan, place, seed = schedule(cfg, len(surrogates)), photos[0].device, draw_seed(rng)
    how = {"budget": cfg.budget, "step": cfg.step, "rng": rng, "state": state}
    with trainable_copies(surrogates) as thetas:
        alone = len(thetas) == 1
        goals = [_teach(theta, clean or photos, cfg, place, seed, state) for theta in thetas]

        def perturb(x: Photos, steps: int) -> list[Photos]:
            results = []
            for theta, goal in zip(thetas, goals, strict=True):
                with on_device(theta, place):
                    error = losses.targeted(theta, theta.embed([cfg.instance_prompt]), rng, goal)
                    up = losses.gradient(theta, error, rng)
                    made = pgd.ascend(photos, up, steps=steps, start=x, checkpoints=alone, **how)
                results.append(made)
            return results

        if alone:  # the PGD loop keeps its own checkpoints
            return perturb(state.start or photos, plan.pgd_steps)[0]
        return _in_turns(photos, plan, perturb, rng, state)


def _teach(
    theta: LDM, clean: Photos, cfg: Config, place: torch.device, seed: int, state: RunState
) -> Tensor | None:
    """Train a surrogate on the subject; return the latent of the target, if there is one."""
    with on_device(theta, place):
        if cfg.lora_rank:
            learns, g = cfg.training.text_encoder, torch.Generator().manual_seed(seed)
            adapters.add_lora(theta, cfg.lora_rank, cfg.lora_layers, g, text_encoder=learns)
        pictures, at = preprocess(clean, theta.size), [cfg.surrogate_steps]
        (taught,) = make_snapshots(theta, pictures, cfg, at, seed, state)
        set_weights(theta, load_file(taught.snapshot))
        return targets.latent(theta, cfg.target) if cfg.target else None


def _in_turns(
    photos: Photos,
    plan: Schedule,
    perturb: Callable[[Photos, int], list[Photos]],
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return the mean of what all surrogates make of it, turn after turn."""
    done, saved = state.resume(rng)
    x = state.start or photos
    if saved:
        x = photos_of(saved, photos)
    for k, turn in plan.after(done):
        x = [torch.stack(p).mean(0) for p in zip(*perturb(x, turn.pgd), strict=True)]
        state.checkpoint(k + 1, len(plan.turns), rng, partial(numbered, x))
    return x
