"""Subtract: looks for the pattern that the protection `learned` has laid over a photo, and takes it
off again.

Ours. Whoever has the package has the patterns, so this is the first thing that an attacker who
knows the protection does. With r the photo less what is around each pixel, p_k a pattern treated
alike, and o where the tile begins:

    k, o = argmax <r, p_k shifted by o>
    x = x' - a * P_k shifted by o,    a = <r, p_k> / <p_k, p_k>

All places are tried at once, by the Fourier transform of the photo folded to one tile. A photo in
which no place stands out stays as it is. A photo that has been cut is no hindrance; one that has
been resized is.

With `blind` no pattern need be known, so that one that somebody has learned for himself is no
secret either. A tile repeats all over a photo, and the photo does not. With F_i the spectra of n
tiles of what is fine in the photo, the tile is what they share, less what chance leaves of it
(Wiener's filter):

    P = F^-1[g * mean(F_i)],    g = max(0, 1 - var(F_i) / (n |mean(F_i)|^2))
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor

from cloakwork.errors import check_ranges
from cloakwork.models import protector
from cloakwork.models.ldm import LDM
from cloakwork.photos.rounding import at_most
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT
from cloakwork.types import Photos

VERSION = 1
SIGMA = 2.0  # of the blur, pixels: what is coarser is the photo's, not the pattern's
BLIND_SIGMA = 4.0  # the same for `blind`, which tells the two apart by more than that
LOUDEST = 24 / 255  # what is louder, an edge, is no pattern and counts no more than this
FEWEST = 4  # tiles that `blind` can tell from the photo


@dataclass(frozen=True)
class Config:
    """How sure it has to be."""

    side: int = 1024
    """shorter side at which the protection perturbs larger photos, pixels"""
    stands_out: float = 9.0
    """by how many standard deviations of all places the best one has to"""
    blind: bool = field(default=False, metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """take off whatever repeats as a pattern does, known or not; of photos that hold four tiles"""

    def __post_init__(self) -> None:
        check_ranges(self, side=(32, 65500), stands_out=(0, 1000))


class Found(NamedTuple):
    """A pattern in a photo."""

    pattern: Tensor
    """one of those that were looked for"""
    place: tuple[int, int]
    """row and column of it at which the photo's corner lies"""
    stands_out: float
    """how far its fit is over that of all places, in their standard deviations"""


@torch.no_grad()
def purify(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) without the pattern that was found in them."""
    return [_without(p, cfg) for p in photos]


def _without(photo: Tensor, cfg: Config) -> Tensor:
    small = at_most(photo, cfg.side)
    height, width = small.shape[-2:]
    if cfg.blind:
        pattern = protector.laid_over(photo, repeated(small), (0, 0), (height, width))
        return (photo - pattern).clamp(0, 1)
    found = find(small, protector.load(protector.EMBEDDED, photo.device))
    if found.stands_out < cfg.stands_out:
        return photo
    pattern = protector.laid_over(photo, found.pattern, found.place, (height, width))
    sigma = SIGMA * photo.shape[-1] / small.shape[-1]
    own = fine(pattern, sigma)
    share = (fine(photo, sigma) * own).sum() / own.square().sum().clamp(min=1e-12)
    return (photo - share * pattern).clamp(0, 1)


def repeated(photo: Tensor, side: int = protector.TILE) -> Tensor:
    """Return what repeats in a photo from tile to tile, 3 x side x side; of too few tiles zeros.

    Args:
        photo: 3 x H x W in [0, 1].
        side: of a tile, pixels.
    """
    rows, columns = (n // side for n in photo.shape[-2:])
    if (n := rows * columns) < FEWEST:
        return photo.new_zeros(3, side, side)
    seen = fine(photo, BLIND_SIGMA).clamp(-LOUDEST, LOUDEST)
    whole = seen[:, : rows * side, : columns * side].unfold(1, side, side).unfold(2, side, side)
    spectra = torch.fft.rfft2(whole.flatten(1, 2).transpose(0, 1))
    shared = spectra.mean(0)
    chance = (spectra - shared).abs().square().sum(0) / (n * (n - 1))
    gain = (1 - chance / shared.abs().square().clamp(min=1e-12)).clamp(min=0)
    return torch.fft.irfft2(gain * shared, s=(side, side))


def find(photo: Tensor, patterns: Tensor) -> Found:
    """Return the pattern that fits a photo best, of any place.

    Args:
        photo: 3 x H x W in [0, 1].
        patterns: n x 3 x S x S within -1 and 1.
    """
    side = patterns.shape[-1]
    around = [fine(p.repeat(1, 3, 3))[:, side:-side, side:-side] for p in patterns]
    # a tile that begins at (row, column) meets pixel (i, j) with its own (i + row, j + column)
    spectrum = torch.fft.rfft2(folded(fine(photo), side)).conj() * torch.fft.rfft2(
        torch.stack(around)
    )
    fits = torch.fft.irfft2(spectrum, s=(side, side)).sum(1)
    which, place = divmod(int(fits.argmax()), side * side)
    return Found(
        patterns[which],
        divmod(place, side),
        ((fits.max() - fits.mean()) / fits.std().clamp(min=1e-12)).item(),
    )


def folded(x: Tensor, side: int) -> Tensor:
    """Return the sum of a picture's tiles, 3 x side x side.

    >>> folded(torch.ones(3, 4, 5), 4)[0, 0].tolist()
    [2.0, 1.0, 1.0, 1.0]
    """
    height, width = (-n % side for n in x.shape[-2:])
    x = F.pad(x, (0, width, 0, height))
    return x.unflatten(-1, (-1, side)).unflatten(-3, (-1, side)).sum((-2, -4))


def fine(x: Tensor, sigma: float = SIGMA) -> Tensor:
    """Return what is finer than `sigma` pixels, of a picture 3 x H x W."""
    reach = 2 * int(2 * sigma) + 1
    blurred = gaussian_blur2d(x[None], (reach, reach), (sigma, sigma), "replicate")
    return x - blurred[0]
