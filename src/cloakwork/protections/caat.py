"""CAAT: one backward serves both sides, the photos go up the denoising error and the
cross-attention's keys and values down.

Xu et al., "Perturbing Attention Gives You More Bang for the Buck: Subtle Imaging Perturbations That
Efficiently Fool Customized Diffusion Models", arXiv 2404.15081. With theta_KV the key and value
matrices of the UNet's cross-attention (what Custom Diffusion trains) and L the denoising error
under one prompt, each of `steps` steps computes one loss and one backward:

    g_x, g_theta  <- gradient of L(theta_KV, x')
    x'            <- x' + step sign(g_x), within the budget of the photos
    theta_KV      <- AdamW step down g_theta

Checked against CO2-cityao/CAAT at 67792b5 (250 steps, lr 1e-5, constant, one AdamW throughout,
gradients clipped to norm 1, all photos in one batch, "a photo of a person", the first token's keys
and values out of the graph as in diffusers' CustomDiffusionAttnProcessor; step .005 on [-1, 1] =
.64/255; budget .1 on [-1, 1] = 12.75/255 by default, .05 = 6.4 in its script). It rounds to
nearest, so that 12.75 is 13 levels in its files.

Departures (beside the package's conventions):
- the release cuts a random square out of each photo once, mirrors it half of the time (its script),
  and saves that: nothing is mirrored here;
- more photos than fit a micro-batch share one step of the weights, like the release's single batch;
- several surrogates each learn for themselves;
- the release's variant with class pictures is not here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cloakwork.errors import UserError
from cloakwork.finetuning import adapters
from cloakwork.finetuning.training import Training, adamw
from cloakwork.finetuning.weights import restore_training, training_tensors
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import ensemble, losses, pgd
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT, SUBJECT_PROMPT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

VERSION = 2  # 1 let keys and values learn from the prompt's first token too


@dataclass(frozen=True)
class Config:
    """Names of the release; budgets in 1/255."""

    budget: float = 12.75
    """largest change of a pixel, 1/255"""
    strength: Strength = field(default="uniform", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """how the budget follows the photo: not at all; or less where the eye would notice a change"""
    start: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """a protection that PGD starts from, such as learned, with which fewer steps may do (empty: the
    photo itself)"""
    steps: int = 250
    """steps, of photos and weights alike (max_train_steps)"""
    step: float | None = 0.64
    """change per step, 1/255 (alpha; none: budget / 10)"""
    lr: float = 1e-5
    """AdamW learning rate of the keys and values"""
    prompt: str = field(default="a photo of a person", metadata=SUBJECT_PROMPT)
    """the text that the photos are denoised under"""


PRESETS = {"tiny": Config(budget=11, steps=100, step=None, lr=3e-4), "paper": Config()}


def protect(
    photos: Photos,
    surrogates: list[LDM],
    cfg: Config,
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) that a model denoises badly whose cross-attention
    has learned them meanwhile.

    Raises:
        UserError: a surrogate without a cross-attention.
    """
    pairs = [_learner(ldm.copy(), len(photos), cfg, rng) for ldm in surrogates]
    return pgd.ascend(
        photos,
        ensemble.mean([gradient for gradient, _ in pairs]),
        budget=cfg.budget,
        step=cfg.step,
        steps=cfg.steps,
        rng=rng,
        carried=[carried for _, carried in pairs],
        state=state,
    )


def _learner(
    theta: LDM, n: int, cfg: Config, rng: torch.Generator
) -> tuple[pgd.Gradient, pgd.ExtraState]:
    """Return the gradient by the photos, which also moves theta once all n photos went through; and
    what theta has learned.
    """
    theta_kv = _keys_and_values(theta)
    c = theta.embed([cfg.prompt])
    optimizer = adamw(list(theta_kv.values()), Training(lr=cfg.lr))

    def both(z: Tensor) -> tuple[Tensor, Tensor]:
        z = z.detach().requires_grad_(True)
        loss = theta.latent_loss(z, c, rng) * len(z) / n
        loss.backward()  # adds to the gradients of the weights too
        assert z.grad is not None
        return loss.detach() * n / len(z), z.grad * n / len(z)

    up = losses.gradient(theta, losses.LatentLoss(both, graph=True), rng)

    def gradient(x: Photos, which: list[int]) -> tuple[pgd.Value, Photos]:
        value, grads = up(x, which)
        if which[-1] == n - 1:
            nn.utils.clip_grad_norm_(theta_kv.values(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return value, grads

    carried = pgd.ExtraState(
        lambda: training_tensors(theta_kv, optimizer),
        lambda kept: restore_training(theta_kv, optimizer, kept),
    )
    return gradient, carried


def _keys_and_values(theta: LDM) -> dict[str, nn.Parameter]:
    """Let the cross-attention's keys and values learn, but not from a prompt's first token; return
    them by name.

    Raises:
        UserError: there is no cross-attention.
    """
    adapters.detach_first_token(theta)
    theta_kv: dict[str, nn.Parameter] = {
        k: p
        for k, p in theta.denoiser.named_parameters()
        if adapters.is_custom(f"{theta.family.DENOISER}.{k}")
    }
    if not theta_kv:
        raise UserError(
            f"caat learns keys and values of a cross-attention, which '{theta.name}' has not: in "
            f"{theta.family.NAME} text and picture attend to each other together. Take advdm or "
            "aspl, or a surrogate with a UNet."
        )
    for p in theta_kv.values():
        p.requires_grad_(True)
    return theta_kv
