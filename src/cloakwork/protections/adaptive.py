"""Adaptive: AdvDM through the purifiers that an attacker may use first.

Liu et al., "Rethinking and Defending Protective Perturbation in Personalized Diffusion Models",
arXiv 2406.18944, test their own purifier so: the protector knows it, and takes the gradient through
it, at a budget of 16/255. With L_S the denoising error and P one of several chains of purifiers,
drawn anew in every step (and for every surrogate and eight photos):

    x' = argmax over |x' - x| <= budget of  E_P E_t,eps L_S(P(x'))

P's gradient is that of its differentiable form (jpeg, resize, blur, noise, tvm, and for codesr a
shrinking and enlarging without the network that invents detail, or by a small one that imitates it,
`codesr:stand_in=network`) or, where there is none, that of the identity (BPDA). Our own protection
does the same with its own loss: `cloakwork`, preset "adaptive".

Checked against the description alone: the authors' DiffShortcut at 7620b9d has no code of this
attack.

Departures (beside the package's conventions):
- several purifiers at once, and none of them ("none") as one of the choices in the laptop preset;
- the denoising error is that of the prompt alone (theirs: along a guided trajectory);
- the loop is AdvDM's, see there; the laptop preset has the paper's budget.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cloakwork.models.ldm import LDM
from cloakwork.perturbation import bpda, ensemble, losses, pgd
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT, SUBJECT_PROMPT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Names of AdvDM; budgets in 1/255."""

    budget: float = 16
    """largest change of a pixel, 1/255"""
    strength: Strength = field(default="uniform", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """how the budget follows the photo: not at all; or less where the eye would notice a change"""
    start: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """a protection that PGD starts from, such as learned, with which fewer steps may do (empty: the
    photo itself)"""
    steps: int = 100
    """PGD steps"""
    step: float | None = 1
    """change per step, 1/255 (none: budget / 10)"""
    purifiers: str = "codesr"
    """chains of purifiers to go through, parted by blanks, one drawn a step, as in "none
    jpeg:quality=60 blur+resize" """
    denoiser: str = "tiny"
    """what purifiers that diffuse pixels use: tiny, a diffusers folder (DDPMPipeline) or a hub
    id"""
    prompt: str = field(default="a photo", metadata=SUBJECT_PROMPT)
    """the text that the photos are denoised under"""
    random_start: bool = True
    """begin at a random point of the budget's box"""

    def __post_init__(self) -> None:
        bpda.chains(self.purifiers)


PRESETS = {
    "tiny": Config(steps=50, step=None, purifiers="none jpeg blur resize tvm codesr"),
    "paper": Config(),
}
# six chains of purifiers share the steps
TRIAL = {"steps": 30}
# as in AdvDM the error alone is wanted: latents move 1.16 times as far as under noise on tiny
SHIFT = 1.1


def instrument(cfg: Config) -> str:
    """Return the weights of the denoiser of pixels, if there is one."""
    return bpda.instrument(cfg.purifiers, cfg.denoiser)


def protect(
    photos: Photos,
    surrogates: list[LDM],
    cfg: Config,
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) whose denoising error under every surrogate is
    higher after purifiers too.
    """

    def gradient(ldm: LDM) -> pgd.Gradient:
        error = losses.gradient(ldm, losses.denoising(ldm, ldm.embed([cfg.prompt]), rng), rng)
        return bpda.looking_through(error, cfg.purifiers, ldm, cfg.denoiser, rng)

    return ensemble.ascend_mean(
        photos, surrogates, gradient, cfg, rng, state, random_start=cfg.random_start
    )
