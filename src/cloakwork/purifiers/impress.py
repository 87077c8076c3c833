"""IMPRESS: a photo near the given one that the autoencoder, unlike that one, gives back as it is.

Cao et al., "IMPRESS: Evaluating the Resilience of Imperceptible Perturbations Against Unauthorized
Data Usage in Diffusion-Based Generative AI", arXiv 2310.19248. From x + noise, by Adam on the
pixels, with V the autoencoder:

    x' = argmin  |V(x') - x'|^2 + alpha * max(LPIPS(x', x) - eps, 0)

Checked against AAAAAAsuka/Impress: for Glaze 3000 steps at .01 with alpha .1 and noise .1 (preset
"paper"), for PhotoGuard 1000 steps at .005 with alpha .01 and noise .05 (preset "photoguard");
rates, noise and the first term in pixels from -1 to 1, as here; pixels are clamped after every
step; Adam's eps is 1e-5, far over most gradients, so that a step is much less than its rate; the
rate falls to 1e-5 along a cosine; no bound on a pixel's change.

Departures: LPIPS on AlexNet (there on VGG); photos keep their size (windows of the model's square
that overlap by half); the autoencoder's mean latent, and what it gives back is clamped; the noisy
start is clamped too; the laptop preset takes 100 steps, whole ones (Adam's usual eps).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from cloakwork.errors import check_ranges
from cloakwork.models.denoising import SAMPLING_MICRO_BATCH
from cloakwork.models.ldm import LDM
from cloakwork.models.lpips import at_least, load_lpips
from cloakwork.photos import tiling
from cloakwork.types import Images, Photos

VERSION = 2
USES_MODEL = "latent"
WINDOWS = True


@dataclass(frozen=True)
class Config:
    """Names of the release; pixels from -1 to 1."""

    steps: int = 3000
    """of Adam (pur_iters)"""
    lr: float = 0.01
    """of Adam on pixels (pur_lr)"""
    alpha: float = 0.1
    """weight of the perceptual distance (pur_alpha)"""
    eps: float = 0.1
    """perceptual distance (LPIPS) that costs nothing (pur_eps)"""
    noise: float = 0.1
    """standard deviation of the noise it starts from (pur_noise)"""
    adam_eps: float = 1e-5
    """of Adam: smaller gradients than this hardly move a pixel"""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            steps=(0, 1_000_000),
            lr=(0, 10),
            alpha=(0, 1e6),
            eps=(0, 10),
            noise=(0, 10),
            adam_eps=(0, 1),
        )


PRESETS = {
    "tiny": Config(steps=100, adam_eps=1e-8),
    "paper": Config(),
    "photoguard": Config(steps=1000, lr=0.005, alpha=0.01, noise=0.05),
}
TRIAL = {"steps": 2}  # of Adam; the others only take time


def purify(photos: Photos, ldm: LDM, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) of their own sizes.

    Raises:
        UserError: a photo smaller than the model's square.
    """

    def pure(photo: torch.Tensor) -> torch.Tensor:
        height, width = photo.shape[-2:]
        at = tiling.places(height, width, ldm.size, ldm.size // 2)
        start = photo + cfg.noise / 2 * torch.randn(photo.shape, generator=rng).to(photo)
        given, begun = (
            tiling.cut(x, at, ldm.size).split(SAMPLING_MICRO_BATCH) for x in (photo, start)
        )
        made = [consistent(x, x_0, ldm, cfg) for x, x_0 in zip(given, begun, strict=True)]
        return tiling.join(torch.cat(made), at, height, width).clamp(0, 1)

    return [pure(p) for p in photos]


@torch.enable_grad()  # it is a search, whoever calls it
def consistent(x: Images, x_0: Images, ldm: LDM, cfg: Config) -> Images:
    """Seek pictures near x that the autoencoder gives back, from x_0 on.

    Args:
        x: the given pictures, n x 3 x S x S in [0, 1].
        x_0: where the search begins, n x 3 x S x S.
        ldm: the model with the autoencoder.
        cfg: how to search.

    Returns:
        n x 3 x S x S in [0, 1].
    """
    ldm = replace(ldm, sample_posterior=False)
    lpips, found = load_lpips(ldm.device), (2 * x_0 - 1).detach().clamp(-1, 1).requires_grad_(True)
    optimizer = torch.optim.Adam([found], lr=cfg.lr, eps=cfg.adam_eps)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, max(1, cfg.steps), eta_min=min(1e-5, cfg.lr)
    )
    for _ in range(cfg.steps):
        optimizer.zero_grad()
        seen = found / 2 + 0.5
        given_back = 2 * ldm.decode(ldm.encode(seen)) - 1
        strayed = (lpips(at_least(64, seen), at_least(64, x)) - cfg.eps).clamp(min=0)
        ((given_back - found).square().mean((1, 2, 3)) + cfg.alpha * strayed).sum().backward()
        optimizer.step()
        found.data.clamp_(-1, 1)
        rate.step()
    return found.detach() / 2 + 0.5
