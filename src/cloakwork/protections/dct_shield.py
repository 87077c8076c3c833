"""DCT-Shield: PGD on the coefficients that a JPEG file would keep, against the encoder alone.

Bala et al., "DCT-Shield: A Robust Frequency Domain Defense against Malicious Image Editing", ICCV
2025, arXiv 2504.17894. Let c(x) be the block-DCT coefficients of x in Y, Cb and Cr, divided by the
quantisation table of a JPEG quality, D their inverse, and E the encoder:

    c' = argmin over |c' - c(x)| <= eps of || E(D(c')) ||_2^2          x' = D(c')

eps is counted in steps of the quantisation, so that what is one step or more is still there after
compression at that quality.

Checked against the paper alone: no code is published.

Departures (beside the package's conventions):
- the budget holds too, pixel by pixel: after every step the photo is cut to it and transformed
  again (the paper bounds the coefficients alone);
- c(x) is not rounded, so that a budget of 0 gives the photo back, and what is saved is not a JPEG;
- `rounded`: the encoder sees changes of whole steps, with rounding taken for the identity on the
  way back; here it is off by default, for under a budget of pixels few changes reach a whole step;
- `away`: the latent is drawn from the photo's own instead of to nothing; the laptop preset does so;
- colours are not subsampled;
- libjpeg's tables, in place of unnamed ones; squared norm.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Literal

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cloakwork.errors import check_ranges
from cloakwork.models.encoder import Encoder
from cloakwork.perturbation import ensemble, losses, pgd, targets
from cloakwork.perturbation.originals import Originals
from cloakwork.perturbation.parametrisation import Parametrisation
from cloakwork.photos.preprocessing import SLIDE, preprocess
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

VERSION = 1
NEEDS = "encoder"
BLOCK = 8  # side of JPEG's blocks, pixels
# RGB -> Y, Cb, Cr, as JFIF has them
YCBCR = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)


@dataclass(frozen=True)
class Config:
    """Names of the paper; the budget in 1/255, eps and step in steps of the quantisation."""

    budget: float = 64
    """largest change of a pixel, 1/255"""
    strength: Strength = field(default="uniform", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """how the budget follows the photo: not at all; or less where the eye would notice a change"""
    start: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """a protection that PGD starts from, such as learned, with which fewer steps may do (empty: the
    photo itself)"""
    eps: float = 1
    """largest change of a coefficient, in steps of the quantisation"""
    steps: int = 1000
    """PGD steps"""
    step: float = 0.1
    """change of a coefficient per step, in steps of the quantisation"""
    jpeg_quality: int = 75
    """the JPEG quality whose table scales the coefficients, 1 to 100"""
    channels: Literal["ycbcr", "y"] = "ycbcr"
    """what is changed: all, or the brightness alone"""
    rounded: bool = False
    """the encoder sees changes of whole steps only"""
    away: bool = False
    """away from the photo's own latent, not to a latent of nothing"""
    surrogate_weights: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """weights of several surrogates' gradients, parted by blanks, as in "1 1 2"; with them, and
    where encoders alone are among the surrogates, gradients are first brought to one length"""

    def __post_init__(self) -> None:
        ensemble.parse_weights(self.surrogate_weights)
        check_ranges(self, jpeg_quality=(1, 100))


PRESETS = {
    "tiny": Config(budget=11, steps=100, channels="y", away=True),
    "paper": Config(rounded=True),
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
    """Return photos (each 3 x H x W in [0, 1]) whose latents under every surrogate are small, or
    far from their own, by changes that JPEG keeps.
    """
    originals = Originals(photos)

    def gradient(ldm: Encoder) -> pgd.Gradient:
        if cfg.away:
            return _distance(ldm, originals, rng)
        return losses.gradient(ldm, losses.target_distance(targets.latent(ldm, "zero")), rng)

    # a photo is as far as it can be from nothing, and no distance at all from itself
    return ensemble.ascend_mean(
        photos,
        surrogates,
        gradient,
        cfg,
        rng,
        state,
        random_start=cfg.away or cfg.rounded,
        parametrise=partial(coefficients, cfg=cfg),
        weights=cfg.surrogate_weights,
    )


def _distance(ldm: Encoder, originals: Originals, rng: torch.Generator) -> pgd.Gradient:
    def distance(x: Photos, which: list[int]) -> Tensor:
        same = losses.same_draws(rng)  # the same places for the crops
        now = ldm.encode(preprocess(x, ldm.size, SLIDE, rng), rng)
        before = ldm.latents(originals.seen(ldm, which, same)[1], same)
        return (now - before).square().sum() / len(which)

    return pgd.by_autograd(distance)


def coefficients(photo: Tensor, cfg: Config) -> Parametrisation:
    """Return the photo's JPEG coefficients as what PGD steps in: 3 x H/8 x W/8 x 8 x 8, in steps of
    the quantisation; sides are padded to whole blocks.
    """
    height, width = photo.shape[-2:]
    down, right = -height % BLOCK, -width % BLOCK
    colours, dct = YCBCR.to(photo), _dct().to(photo)
    to_rgb = torch.linalg.inv(colours)
    table = _tables(cfg.jpeg_quality).to(photo)[:, None, None]
    middle = torch.tensor([128.0, 0, 0]).to(photo)[:, None, None]

    def forward(x: Tensor) -> Tensor:
        y = torch.einsum("ij,jhw->ihw", colours, 255 * x) - middle
        y = F.pad(y[None], (0, right, 0, down), mode="replicate")[0]
        blocks = y.unflatten(2, (-1, BLOCK)).unflatten(1, (-1, BLOCK)).transpose(2, 3)
        return dct @ blocks @ dct.mT / table

    def inverse(c: Tensor) -> Tensor:
        blocks = dct.mT @ (c * table) @ dct
        y = blocks.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :height, :width]
        return torch.einsum("ij,jhw->ihw", to_rgb, y) / 255

    c_0 = forward(photo)
    kept = torch.tensor([1.0, *2 * [float(cfg.channels == "ycbcr")]]).to(photo)

    def to_pixels(c: Tensor) -> Tensor:
        delta = (c - c_0).clamp(-cfg.eps, cfg.eps) * kept[:, None, None, None, None]
        if cfg.rounded:
            delta = delta + (delta.round() - delta).detach()
        return photo + inverse(delta)

    return Parametrisation(forward, to_pixels)


def _dct() -> Tensor:
    """Return the orthonormal DCT of eight samples, frequency by place."""
    k = torch.arange(BLOCK)
    waves = torch.cos((2 * k[None] + 1) * k[:, None] * torch.pi / (2 * BLOCK)) / 2
    return torch.cat([waves[:1] / 2**0.5, waves[1:]])


@lru_cache
def _tables(quality: int) -> Tensor:
    """Return libjpeg's quantisation tables of Y, Cb and Cr at a quality, 3 x 8 x 8."""
    file = io.BytesIO()
    Image.new("RGB", (BLOCK, BLOCK)).save(file, "JPEG", quality=quality)
    table = Image.open(file).quantization  # type: ignore[attr-defined]
    return torch.tensor([table[0], table[1], table[1]]).float().view(3, BLOCK, BLOCK)
