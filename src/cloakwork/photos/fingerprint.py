"""A photo's fingerprint: perceptual hashes by which it is known again after it was compressed,
made smaller, recoloured a little or cut at the edges.

A hash is that of `imagehash.phash`: which of the 16 x 16 lowest frequencies of a photo, seen at
64 x 64 pixels, exceed their median; 256 bits. It does not survive a cut by itself. So a fingerprint
has those of the whole photo and of cuts from it, close enough to each other that any other cut of
up to a tenth of its sides is near one of them. `benchmarks/fingerprints.py` measures what survives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

SIDE = 512  # pixels: the longer side of what hashes are taken from
HASH_SIZE = 16
BITS = HASH_SIZE**2
# share of each side that is kept -> at how many places along it
CUTS = {0.96: 3, 0.91: 4}
MARK = "phash-1:"  # raised whenever one of the above changes


def fingerprint(pixels: Tensor) -> str:
    """Return the hashes of a photo and of cuts from it, as text for a record.

    Args:
        pixels: 3 x H x W, uint8.
    """
    small = _small(pixels)
    hashes = [_hash(part) for part in (small, *_cuts(small))]
    return MARK + b"".join(hashes).hex()


def parse(text: str) -> np.ndarray | None:
    """Return the hashes of a fingerprint, n x 32 bytes.

    Returns:
        None where there are none, or they were taken in another way.

    >>> parse("phash-1:" + "00" * 64).shape, parse("")
    ((2, 32), None)
    """
    try:
        content = bytes.fromhex(text.removeprefix(MARK)) if text.startswith(MARK) else b""
    except ValueError:
        return None
    whole = len(content) > 0 and len(content) % (BITS // 8) == 0
    return np.frombuffer(content, np.uint8).reshape(-1, BITS // 8) if whole else None


def seen(pixels: Tensor) -> np.ndarray:
    """Return the hash of a photo that was found, and that of its mirror image, 2 x 32 bytes.

    Args:
        pixels: 3 x H x W, uint8.
    """
    small = _small(pixels)
    both = b"".join(_hash(x) for x in (small, ImageOps.mirror(small)))
    return np.frombuffer(both, np.uint8).reshape(2, -1)


def distances(found: np.ndarray, hashes: Sequence[np.ndarray]) -> np.ndarray:
    """Return how far a found photo is from photos with fingerprints.

    Args:
        found: as `seen` gives it.
        hashes: of n photos, as `parse` gives them.

    Returns:
        2 x n: the share of the bits that differ, of the nearest of a photo's hashes; of the found
            photo, and of its mirror image. Unrelated photos differ in nearly a half.

    >>> found = np.zeros((2, 32), np.uint8)
    >>> distances(found, [np.zeros((1, 32), np.uint8), np.full((3, 32), 255, np.uint8)]).tolist()
    [[0.0, 1.0], [0.0, 1.0]]
    """
    if not hashes:
        return np.zeros((2, 0))
    lengths = [len(h) for h in hashes]
    differ = np.bitwise_count(np.concatenate(hashes) ^ found[:, None]).sum(-1, dtype=np.int64)
    firsts = np.cumsum([0, *lengths[:-1]])
    return np.minimum.reduceat(differ, firsts, axis=1) / BITS


def _small(pixels: Tensor) -> Image.Image:
    """Return a photo in grey, its longer side at most SIDE."""
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).convert("L")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image


def _cuts(image: Image.Image) -> Iterator[Image.Image]:
    """Yield cuts from a picture, each at places that are spread evenly."""
    for share, places in CUTS.items():
        width, height = (round(side * share) for side in image.size)
        for place in range(places**2):
            down, right = (part / (places - 1) for part in divmod(place, places))
            left, top = round((image.width - width) * right), round((image.height - height) * down)
            yield image.crop((left, top, left + width, top + height))


def _hash(image: Any) -> bytes:
    """Return a picture's hash, 32 bytes."""
    from imagehash import phash

    return np.packbits(phash(image, HASH_SIZE).hash).tobytes()
