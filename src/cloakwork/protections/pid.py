"""PID: mean and variance of the encoder's posterior are driven away from the photo's own; no
prompt, no UNet.

Li et al., "PID: Prompt-Independent Data Protection Against Latent Diffusion Models", arXiv
2406.15305. With N(mu(x), sigma(x)^2) the autoencoder's posterior and d(a, b) the mean squared
difference:

    x' = argmax over |x' - x| <= budget of  d(log sigma(x')^2, log sigma(x)^2) + d(mu(x'), mu(x))

Checked against PKU-ML/Diffusion-PID-Protection at af7a928 (loss "add-log": budget 12.75/255, steps
of 1/255, random start in the budget's box, one photo after the other, fp32; 1000 steps). Its
further losses (either part alone, standard deviations instead of log variances, KL divergence,
samples of the posterior) are not here.

Departures (beside the package's conventions):
- a surrogate whose autoencoder has no posterior (AutoencoderTiny, as in tiny-b) gives its latent
  for the mean, and has no variance: only d(mu(x'), mu(x)) is left for it;
- the square of every step is the same from the photo and from its original (the release cuts at
  random too, by default);
- ours: with `purifiers`, PGD looks through them as in `adaptive`, at the original as it is; the
  presets `lasting` (the package's default), `adaptive` and `refined` do so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.models import latents
from cloakwork.models.encoder import Encoder
from cloakwork.perturbation import bpda, ensemble, losses, pgd
from cloakwork.perturbation.originals import Originals
from cloakwork.photos.preprocessing import SLIDE, preprocess
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

VERSION = 1
NEEDS = "encoder"


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
    steps: int = 1000
    """PGD steps"""
    step: float | None = 1
    """change per step, 1/255 (none: budget / 10)"""
    arithmetic: Literal["", "bfloat16"] = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """what surrogates compute in: bfloat16, faster on CPUs that have it; empty: as loaded"""
    purifiers: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """chains of purifiers that PGD looks through, parted by blanks, one drawn a step (see
    `adaptive`)"""
    denoiser: str = field(default="tiny", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """what those of them that diffuse pixels use"""
    surrogate_weights: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """weights of several surrogates' gradients, parted by blanks, as in "1 1 2"; with them, and
    where encoders alone are among the surrogates, gradients are first brought to one length"""

    def __post_init__(self) -> None:
        ensemble.parse_weights(self.surrogate_weights)
        if self.purifiers:
            bpda.chains(self.purifiers)


TINY = Config(budget=11, steps=100, step=None)
# after Real-ESRGAN latents are twice as far off as `pid`'s, and yet an attacker gets no less
ADAPTIVE = replace(TINY, purifiers="none jpeg blur codesr")
PRESETS = {
    "tiny": TINY,
    "tiny-bf16": replace(TINY, arithmetic="bfloat16"),
    "adaptive": ADAPTIVE,
    # through what platforms do as well, from where `learned` ends: more of it is left after JPEG, a
    # resize and purifiers than of `tiny`, and less where nobody touches the photos
    "lasting": replace(TINY, purifiers="none jpeg jpeg_and_resize codesr", start="learned"),
    # a fifth of the steps, from where `learned` ends
    "refined": replace(ADAPTIVE, steps=20, start="learned"),
    "paper": Config(),
}


def instrument(cfg: Config) -> str:
    """Return the weights of the denoiser of pixels, if there is one."""
    return bpda.instrument(cfg.purifiers, cfg.denoiser)


def protect(
    photos: Photos,
    surrogates: list[Encoder],
    cfg: Config,
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) whose posterior under every surrogate lies far from
    the original's.
    """
    surrogates = [ldm.computing_in(cfg.arithmetic) for ldm in surrogates]

    originals = Originals(photos)

    def gradient(ldm: Encoder) -> pgd.Gradient:
        inner = _distance(ldm, originals, rng)
        return bpda.looking_through(inner, cfg.purifiers, ldm, cfg.denoiser, rng)

    # at the photo itself the distance has no gradient, so the random start is part of the method
    return ensemble.ascend_mean(
        photos,
        surrogates,
        gradient,
        cfg,
        rng,
        state,
        random_start=True,
        weights=cfg.surrogate_weights,
    )


def _distance(ldm: Encoder, originals: Originals, rng: torch.Generator) -> pgd.Gradient:
    def distance(x: Photos, which: list[int]) -> Tensor:
        same = losses.same_draws(rng)  # the same places for the crops
        seen = ldm.moments(preprocess(x, ldm.size, SLIDE, rng))
        now = latents.mean_and_log_variance(ldm.vae, seen)
        before = latents.mean_and_log_variance(ldm.vae, originals.seen(ldm, which, same)[1])
        return torch.stack([F.mse_loss(a, b) for a, b in zip(now, before, strict=True)]).sum()

    return pgd.by_autograd(distance)
