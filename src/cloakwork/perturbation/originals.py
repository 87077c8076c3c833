"""The photos as they were, for losses that compare protected photos with them.

An original never changes. So what the encoder says of it is kept for each place where it was cut: a
square photo has one, an oblong one some dozens or hundreds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cloakwork.models.counting import once
from cloakwork.models.encoder import Encoder
from cloakwork.perturbation import losses, pgd
from cloakwork.photos.preprocessing import SLIDE, Square, cut, draw_squares
from cloakwork.types import Images, Photos

MOST_BYTES = 64 * 2**20  # kept of a photo set: 512 places at 512 px, 8192 at 128 px


@dataclass(frozen=True)
class Originals:
    """Photos before anything was done to them, and what encoders have said of them so far."""

    photos: Photos
    """each 3 x H x W in [0, 1]"""
    most_bytes: int = MOST_BYTES
    """beyond these, what was not asked for the longest time goes"""
    _kept: OrderedDict[Key, Tensor] = field(default_factory=OrderedDict, repr=False)

    def seen(self, ldm: Encoder, which: list[int], rng: torch.Generator) -> tuple[Images, Tensor]:
        """Return how a model sees the originals of a micro-batch.

        Args:
            ldm: the model.
            which: the photos' places in the set.
            rng: cuts the originals where it would cut the photos themselves.

        Returns:
            The pictures, n x 3 x S x S in [0, 1], and their moments (`LDM.moments`), without a
            graph: those that an encoding of this micro-batch gives, to the bit.
        """
        photos = [self.photos[i] for i in which]
        squares = draw_squares(photos, SLIDE, rng)
        view = cut(photos, squares, ldm.size)
        # how a picture's sums are rounded may depend on how many are encoded with it, and where it
        # stands among them, but not on what the others show
        keys = [
            (ldm.weights, ldm.size, tuple(which), k, square) for k, square in enumerate(squares)
        ]
        if not all(key in self._kept for key in keys):
            with once(), torch.no_grad():
                moments = ldm.moments(view)
            self._keep(dict(zip(keys, moments, strict=True)))
            return view, moments
        for key in keys:
            self._kept.move_to_end(key)
        return view, _together([self._kept[key] for key in keys])

    def _keep(self, new: dict[Key, Tensor]) -> None:
        """Keep moments of single pictures, and forget others that they leave no room for."""
        for key, one in new.items():
            self._kept[key] = one.clone()  # not the whole micro-batch that it is a part of
            self._kept.move_to_end(key)
            while len(self._kept) > self.most_bytes // one.nbytes:
                self._kept.popitem(last=False)


# a model's weights and size, the micro-batch, a picture's place in it, where that was cut
Key = tuple[str, int, tuple[int, ...], int, Square]


def _together(moments: list[Tensor]) -> Tensor:
    """Return the moments of single pictures as one tensor, in memory as the encoder leaves it:
    sums are taken, and rounded, in that order.
    """
    one = moments[0]
    laid_out = one.new_empty_strided((len(moments), *one.shape), (one.numel(), *one.stride()))
    return torch.stack(moments, out=laid_out)


def gradient_with_originals(
    ldm: Encoder,
    originals: Originals,
    make_loss: Callable[[Images, Tensor, list[int]], losses.LatentLoss],
    rng: torch.Generator,
) -> pgd.Gradient:
    """Return the gradient of a loss that compares photos with their originals.

    Args:
        ldm, rng: as in `losses.gradient`.
        originals: of all photos.
        make_loss: makes the loss for each call, from the originals in the photos' own view
            (n x 3 x S x S in [0, 1]), their latents (of the posterior's sample, where the model
            samples it, by the photos' own noise), and the places of the photos in the set.
    """

    def by_photos(x: Photos, which: list[int]) -> tuple[pgd.Value, Photos]:
        same = losses.same_draws(rng)

        # called once the photos are encoded: what `make_loss` draws comes after their own draws
        def loss(z: Tensor) -> tuple[Tensor, Tensor]:
            view, moments = originals.seen(ldm, which, same)
            return make_loss(view, ldm.latents(moments, same), which)(z)

        return losses.gradient(ldm, losses.LatentLoss(loss, graph=True), rng)(x, which)

    return by_photos
