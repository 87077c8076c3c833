"""Which photos each training step takes, as latents."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.models.ldm import LDM
from cloakwork.photos.preprocessing import Preprocessing, augment, preprocess
from cloakwork.types import Photos


def turn(step: int, batch: int, n: int) -> list[int]:
    """Return which of n pictures a step takes: one after the other, round and round.

    >>> [turn(step, batch=2, n=3) for step in range(3)]
    [[0, 1], [2, 0], [1, 2]]
    """
    return [(step * batch + i) % n for i in range(batch)]


# a step's number -> the latents (each c x h x w) that are learned in it
BatchFn = Callable[[int], list[Tensor]]


def latent_batches(
    ldm: LDM,
    photos: Photos,
    loader: Preprocessing,
    batch: int,
    rng: torch.Generator,
    *,
    buckets: bool = False,
) -> BatchFn:
    """Return what a trainer learns from in each step: latents of `batch` photos, taken in turn.

    They are encoded once, unless the loader draws something or the model samples its posterior.

    Args:
        ldm: whose autoencoder is used.
        photos: each 3 x H x W in [0, 1].
        loader: how the attacker reads photos.
        batch: photos a step.
        rng: for the loader and the posterior.
        buckets: oblong photos keep their shape (see `bucket`), whatever the loader says of
            cropping.
    """
    photos = [p.to(ldm.device) for p in photos]

    @torch.no_grad()
    def encoded(which: list[int]) -> list[Tensor]:
        if buckets:
            unit = ldm.scale * ldm.family.multiple(ldm.denoiser)
            views = [augment(bucket(photos[i], ldm.size, unit)[None], loader, rng) for i in which]
        else:
            views = list(preprocess([photos[i] for i in which], ldm.size, loader, rng).split(8))
        return [z for view in views for z in ldm.encode(view, rng)]

    if is_random(loader) or ldm.sample_posterior:
        return lambda step: encoded(turn(step, batch, len(photos)))
    latents = encoded(list(range(len(photos))))
    return lambda step: [latents[i] for i in turn(step, batch, len(latents))]


def bucket(photo: Tensor, size: int, unit: int) -> Tensor:
    """Cut and resize a photo (3 x H x W) to the nearest aspect bucket.

    As trainers with aspect buckets do it (Novel AI's, kohya's): sides are multiples of `unit`,
    none is below half of `size`, and there are at most size² pixels.

    >>> bucket(torch.zeros(3, 300, 200), size=128, unit=32).shape
    torch.Size([3, 160, 96])
    """
    height, width = photo.shape[-2:]
    tall = [
        (h, size * size // h // unit * unit) for h in range(size // unit * unit, 2 * size + 1, unit)
    ]
    shapes = [(a, b) for h, w in tall if 2 * w >= size for a, b in ((h, w), (w, h))]
    h, w = min(shapes, key=lambda s: abs(math.log(s[0] / s[1] * width / height)))
    zoom = min(height / h, width / w)
    cut = round(h * zoom), round(w * zoom)
    top, left = (height - cut[0]) // 2, (width - cut[1]) // 2
    inner = photo[None, :, top : top + cut[0], left : left + cut[1]]
    return F.interpolate(inner, (h, w), mode="bilinear", antialias=True)[0]


def is_random(loader: Preprocessing) -> bool:
    """Return whether a loader shows the same photo in more than one way.

    >>> is_random(Preprocessing(flip=0.5)), is_random(Preprocessing(flip=1))
    (True, False)
    """
    spans = [loader.blur_sigma if loader.blur else None, loader.jpeg_quality]
    return (
        loader.crop == "slide"
        or loader.zoom < 1
        or 0 < loader.flip < 1
        or any(s is not None and s[0] < s[1] for s in spans)
    )
