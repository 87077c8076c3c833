"""Ours: a learning surrogate keeps failing, inside and out, and what the autoencoder gives back
looks unlike the photo.

The best that an attacker can draw is what the autoencoder gives back of a photo x, D(E(x)). PGD
raises two things at once, with theta_s a surrogate that learns the photos in turns with PGD, as in
ASPL (Van Le et al., arXiv 2303.15433):

    x' = argmax over |x' - x| <= budget of   unit(S(theta_s, E(x'))) + unlikeness *
    unit(LPIPS(D(E(x')), x))

S is SimAC's loss (Wang et al., arXiv 2312.07865): the denoising error under "a photo of sks person"
and the distance of the denoiser's last features from those of x, at timesteps that were searched
beforehand for each photo because its gradient is large there. LPIPS is the perceptual distance
(Zhang et al., arXiv 1801.03924). unit() brings a term's gradient by a photo's latent to length 1,
so that neither drowns the other. The schedule is ASPL's: `outer` turns of surrogate steps on clean
photos, PGD, and surrogate steps on protected photos; 300 PGD steps, a fiftieth of released
MetaCloak's.

The autoencoder, unlike the denoiser, is the same in most models that are fine-tuned from one
another, which the second term rests on; it costs a pass forward and back through the decoder.

Departures (from SimAC, there being no paper of this; see there for its own):
- the term of the autoencoder; both terms' gradients are of length 1, so the sizes of their values
  do not matter;
- with `purifiers`, PGD looks through them as in `adaptive`;
- the search has at most 30 rounds.

Checked against no other code: there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from cloakwork.models.ldm import LDM
from cloakwork.perturbation import bpda, features, losses, pgd, timestep_search
from cloakwork.perturbation.alternating import alternate_at_chosen
from cloakwork.perturbation.originals import Originals, gradient_with_originals
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT, SUBJECT_PROMPT
from cloakwork.state import RunState
from cloakwork.types import Images, Photos, Strength

VERSION = 3  # 2 learned subject and class in two passes: other rounding


@dataclass(frozen=True)
class Config:
    """Names of SimAC, where it has one; budgets in 1/255."""

    budget: float = 11
    """largest change of a pixel, 1/255"""
    strength: Strength = field(default="uniform", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """how the budget follows the photo: not at all; or less where the eye would notice a change"""
    start: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """a protection that PGD starts from, such as learned, with which fewer steps may do (empty: the
    photo itself)"""
    steps: int = 30
    """most rounds of the search for timesteps"""
    outer: int = 50
    """turns"""
    clean_steps: int = 3
    """surrogate steps on clean photos a turn"""
    pgd_steps: int = 6
    """PGD steps a turn"""
    adv_steps: int = 3
    """surrogate steps on protected photos a turn"""
    step: float | None = None
    """change per PGD step, 1/255 (none: budget / 10)"""
    feature_weight: float = 1.0
    """weight of the UNet's features, against the denoising error"""
    unlikeness: float = 1.0
    """weight of what the autoencoder gives back, against these two"""
    lr: float = 5e-6
    """the surrogate's learning rate: the attacker's"""
    class_images: int = 200
    """most class pictures the surrogate makes before it learns"""
    class_sampling_steps: int = field(default=25, metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """DDIM steps that a class picture takes"""
    instance_prompt: str = field(default="a photo of sks person", metadata=SUBJECT_PROMPT)
    """what the attacker is expected to write under the photos"""
    class_prompt: str = field(default="a photo of person", metadata=SUBJECT_PROMPT)
    """what the class pictures show"""
    purifiers: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """chains of purifiers that PGD looks through, parted by blanks, one drawn a step (see
    `adaptive`)"""
    denoiser: str = field(default="tiny", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """what those of them that diffuse pixels use"""
    arithmetic: Literal["", "bfloat16"] = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """what surrogates compute in: bfloat16, faster on CPUs that have it; empty: as loaded"""

    def __post_init__(self) -> None:
        if self.purifiers:
            bpda.chains(self.purifiers)


TINY = Config(lr=3e-4, class_images=16)
PRESETS = {
    "tiny": TINY,
    "tiny-bf16": replace(TINY, arithmetic="bfloat16"),
    "adaptive": replace(TINY, budget=16, purifiers="none jpeg blur resize tvm codesr"),
    "paper": Config(),
}
# steps are rounds of a search here, each of which costs six gradients
TRIAL = {"outer": 2, "steps": 3}


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
    """Return photos (each 3 x H x W in [0, 1]) that an attacker can neither see well nor learn."""
    return alternate_at_chosen(
        photos,
        [ldm.computing_in(cfg.arithmetic) for ldm in surrogates],
        cfg,
        partial(_ascent, Originals(photos), cfg, rng),
        clean=clean,
        rng=rng,
        state=state,
    )


def _ascent(
    originals: Originals, cfg: Config, rng: torch.Generator, allowed: Tensor, theta: LDM
) -> pgd.Gradient:
    c = theta.embed([cfg.instance_prompt])

    def both(view: Images, z_0: Tensor, which: list[int]) -> losses.LatentLoss:
        t = timestep_search.draw(allowed[which], rng)
        disturbed = features.feature_disturbance(theta, c, z_0, t, rng, weight=cfg.feature_weight)
        return losses.balanced(
            (1, disturbed), (cfg.unlikeness, losses.reconstruction_lpips(theta, view))
        )

    inner = gradient_with_originals(theta, originals, both, rng)
    return bpda.looking_through(inner, cfg.purifiers, theta, cfg.denoiser, rng)
