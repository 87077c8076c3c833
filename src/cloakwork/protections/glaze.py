"""Glaze: the latent takes on another style's while the photo changes little to the eye, by Adam
under an LPIPS budget.

Shan et al., "Glaze: Protecting Artists from Style Mimicry by Text-to-Image Models", arXiv
2302.04222. Its program is closed; this is the method as the literature re-states it. With E the
encoder and Omega(x) the photo in another style, by Adam on the pixels:

    x' = argmin over x' of  || E(x') - E(Omega(x)) ||_2^2 + alpha max(LPIPS(x', x) - p, 0),  here
    within |x' - x| <= budget too

Checked against AAAAAAsuka/Impress at 12f1f07 (glaze.py: mean squared difference of unscaled
latents, 500 iterations, random start of +- p; lr .01 on [-1, 1] = 1.275/255, alpha 30, p .05 where
it is called) and the copy of it in liuyixin-louis/DiffShortcut at 7620b9d (lr .002, alpha .1, p .1:
preset "diffshortcut").

Departures (beside the package's conventions):
- LPIPS has AlexNet features (the re-implementations: VGG), and a p means another visibility in it;
  it compares what the model sees of the photo with what it sees of the original, one photo at a
  time;
- an l-infinity budget holds as well, and the random start fills it (they bound LPIPS alone); 16/255
  in preset "paper" is ours;
- Omega without an image generator (they: Stable Diffusion's style transfer) is a filter of our own,
  see `restyle`: patches of paint, four levels a colour, colours in turned roles; or `target`, one
  picture for all photos;
- latents are measured in Stable Diffusion's unscaled units whatever the surrogate's own;
- the square of every step is the same from x', x and Omega(x).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.models.encoder import Encoder
from cloakwork.models.lpips import at_least, load_lpips
from cloakwork.perturbation import ensemble, losses, pgd, targets
from cloakwork.perturbation.originals import Originals
from cloakwork.photos.preprocessing import SLIDE, preprocess
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

VERSION = 1
NEEDS = "encoder"
SCALE = 0.18215  # of Stable Diffusion's latents


@dataclass(frozen=True)
class Config:
    """Names of the re-implementations; budgets in 1/255."""

    budget: float = 16
    """largest change of a pixel, 1/255"""
    strength: Strength = field(default="uniform", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """how the budget follows the photo: not at all; or less where the eye would notice a change"""
    start: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """a protection that PGD starts from, such as learned, with which fewer steps may do (empty: the
    photo itself)"""
    steps: int = 500
    """iterations of Adam"""
    step: float | None = 1.275
    """Adam's learning rate, 1/255 (none: budget / 10)"""
    alpha: float = 30
    """weight of the LPIPS that goes beyond p"""
    p: float = 0.05
    """LPIPS that is free"""
    target: str = ""
    """the style: empty for the photo itself, restyled; or pattern, grey, zero, or an image file,
    the same for all photos"""
    surrogate_weights: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """weights of several surrogates' gradients, parted by blanks, as in "1 1 2"; with them, and
    where encoders alone are among the surrogates, gradients are first brought to one length"""

    def __post_init__(self) -> None:
        ensemble.parse_weights(self.surrogate_weights)


PRESETS = {
    "tiny": Config(budget=11, steps=100, step=None),
    "paper": Config(),
    "diffshortcut": Config(step=0.255, alpha=0.1, p=0.1),
}


def protect(
    photos: Photos,
    surrogates: list[Encoder],
    cfg: Config,
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) whose latents under every surrogate lie near another
    style's.
    """
    styled = Originals([] if cfg.target else [restyle(p) for p in photos])

    def gradient(ldm: Encoder) -> pgd.Gradient:
        return _towards(ldm, photos, styled, cfg, rng)

    return ensemble.ascend_mean(
        photos,
        surrogates,
        gradient,
        cfg,
        rng,
        state,
        random_start=True,
        update="adam",
        weights=cfg.surrogate_weights,
    )


def _towards(
    ldm: Encoder, photos: Photos, styled: Originals, cfg: Config, rng: torch.Generator
) -> pgd.Gradient:
    z_target = targets.latent(ldm, cfg.target) if cfg.target else None
    lpips = load_lpips(ldm.device)

    def nearness(x: Photos, which: list[int]) -> Tensor:
        # the same places for all crops
        same, again = losses.same_draws(rng), losses.same_draws(rng)
        seen = preprocess(x, ldm.size, SLIDE, rng)
        if z_target is None:
            goal = ldm.latents(styled.seen(ldm, which, same)[1], rng)
        else:
            goal = z_target
        far = ((ldm.encode(seen, rng) - goal) / SCALE).square().mean()
        before = preprocess([photos[i] for i in which], ldm.size, SLIDE, again)
        distance = lpips(at_least(64, seen), at_least(64, before))
        visible = F.relu(distance - cfg.p).mean()
        return -far - cfg.alpha * visible

    return pgd.by_autograd(nearness)


def restyle(photo: Tensor) -> Tensor:
    """Restyle a photo (3 x H x W in [0, 1]) as if it were painted.

    Patches by medians, four levels a colour, red, green and blue in turned roles. Nothing is
    random, and nothing differentiable.

    >>> restyle(torch.linspace(0, 1, 80).expand(3, 64, 80)).unique()
    tensor([0.0000, 0.3333, 0.6667, 1.0000])
    """
    reach = max(1, min(photo.shape[-2:]) // 64)  # of a brush, pixels
    x = photo[:, None]
    for _ in range(3):
        around = F.unfold(F.pad(x, 4 * [2 * reach], mode="replicate"), 5, dilation=reach)
        x = around.median(1).values.reshape(x.shape)
    levels = (x[:, 0] * 4).floor().clamp(max=3) / 3
    return levels.roll(1, 0)
