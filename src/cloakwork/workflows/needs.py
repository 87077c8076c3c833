"""What a protection takes of a machine: the passes that it makes, times what each of them costs.

Costs are counted on meta tensors, which have shapes and no numbers. Text encoders and metrics are
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from cloakwork.evaluation.sources import Source
from cloakwork.models import latents
from cloakwork.models.counting import Flops, graph_kept
from cloakwork.models.device import copied_to
from cloakwork.models.encoder import Encoder
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import graph_memory, pgd
from cloakwork.perturbation.ensemble import LARGEST_TOGETHER
from cloakwork.photos.rounding import WORK_SIDE
from cloakwork.workflows.tally import Tally

META = torch.device("meta")


@dataclass(frozen=True)
class PassCost:
    """What a picture's pass through a part of a model costs."""

    forward: int
    """FLOPs"""
    backward: int
    """FLOPs of the way back to what the part was given"""
    learning: int
    """FLOPs of the way back to that and to all weights; 0 where nobody asked"""
    saved: int
    """bytes that are kept for the way back, beside the weights"""


def weights_sentence(model: Encoder) -> str:
    """Return in words how large a model is."""
    networks = model.networks.values() if isinstance(model, LDM) else [model.vae]
    weights = sum(p.nbytes for part in networks for p in part.parameters())
    return f"{model.name}: {weights / 1e9:.2g} GB of weights."


def sentence(tallies: Sequence[Tally], models: Sequence[Encoder], side: int) -> str:
    """Return in words what runs take; the arguments are as of `taken`."""
    flops, held = taken(tallies, models, side)
    return (
        f"All of it is about {flops / 1e12:.2g} TFLOP through encoders, denoisers and decoders, "
        f"whose graphs take at most {held / 1e9:.2g} GB at once, in float32."
    )


def taken(tallies: Sequence[Tally], models: Sequence[Encoder], side: int) -> tuple[float, int]:
    """Return the FLOPs of runs, and the bytes of their graphs when these are largest.

    Each surrogate is taken to do its share of all passes, and an encoder alone to do as many at
    each size at which it sees photos. Decoders' graphs are reckoned for all pictures of a
    micro-batch, where beyond small ones a loss may go through them one at a time.

    Args:
        tallies: of each run.
        models: the surrogates.
        side: short side of the largest photo, pixels.
    """
    wanted = {name for tally in tallies for name in tally.pictures}
    learns = any(tally.learned for tally in tallies)
    flops, held = [], 0
    for model in models:
        views = {view.size: pass_costs(view, wanted, learns=learns) for view in model.views(side)}
        flops.append(mean(sum(_flops(tally, of) for tally in tallies) for of in views.values()))
        for size, of in views.items():
            one_by_one = not isinstance(model, LDM) and size > LARGEST_TOGETHER
            for graphs in {graphs for tally in tallies for graphs in tally.held}:
                at_once = ((name, min(n, 1) if one_by_one else n) for name, n in graphs)
                held = max(held, sum(n * of[name].saved for name, n in at_once))
    return mean(flops), held


def _flops(tally: Tally, of: dict[str, PassCost]) -> float:
    """Return the FLOPs of a run's passes, of which each costs as much as `of` says."""
    total = tally.learned * (of["unet"].learning - of["unet"].backward) if tally.learned else 0.0
    for name, cost in of.items():
        total += tally.pictures[name] * cost.forward
        total += tally.pictures[f"{name}_backward"] * cost.backward
    return total


def pass_costs(model: Encoder, wanted: Collection[str], *, learns: bool) -> dict[str, PassCost]:
    """Count what passes of one picture cost, by their names in a `Tally`.

    Args:
        model: whose passes they are, at its `size`.
        wanted: names of those that are counted.
        learns: the denoiser's way back to its weights is counted too.
    """
    vae = copied_to(META, model.vae)
    x = torch.empty(1, 3, model.size, model.size, device=META)
    places = model.size // model.scale
    z = torch.empty(1, latents.channels(vae), places, places, device=META)
    costs = {}
    if "vae_encode" in wanted:
        costs["vae_encode"] = _cost(vae, partial(latents.encode, vae), x)
    if "vae_decode" in wanted:
        costs["vae_decode"] = _cost(vae, partial(latents.decode, vae), z)
    if isinstance(model, LDM) and "unet" in wanted:
        denoiser = copied_to(META, model.denoiser)
        hollow = replace(model, vae=vae, denoiser=denoiser, graphs=False, _embedded={})
        t, c = torch.zeros(1, device=META), model.embed([""]).to(META)
        denoise = partial(_denoised, hollow, t, c)
        costs["unet"] = _cost(denoiser, denoise, z, learns=learns)
    return costs


def _denoised(ldm: LDM, t: Tensor, c: Any, z: Tensor) -> Tensor:
    return ldm.family.denoise(ldm, z, t, c)


def _cost(
    network: nn.Module, compute: Callable[[Tensor], Tensor], x: Tensor, *, learns: bool = False
) -> PassCost:
    """Count what a pass through a network costs."""
    x.requires_grad_(True)
    with graph_kept(network) as kept:
        forward, backward = _there_and_back(compute, x, [])
    learning = 0
    if learns:
        weights = list(network.requires_grad_(True).parameters())
        _, learning = _there_and_back(compute, x, weights)
        network.requires_grad_(False)
    return PassCost(forward, backward, learning, kept())


def _there_and_back(
    compute: Callable[[Tensor], Tensor], x: Tensor, weights: Sequence[Tensor]
) -> tuple[int, int]:
    """Count the FLOPs of a pass, and of its way back to x and weights."""
    with Flops() as flops:
        out = compute(x)
        forward = flops.total
        torch.autograd.grad(out.sum(), [x, *weights], allow_unused=True)
    return forward, flops.total - forward


def computes_twice(models: Iterable[Encoder], photos: int) -> bool:
    """Return whether a run on so many photos has to keep few graphs, as its losses will find."""
    n = min(photos, pgd.MICRO_BATCH)
    return any(isinstance(m, LDM) and (m.low_memory or not graph_memory.fits(m, n)) for m in models)


def short_side(sources: Iterable[Source]) -> int:
    """Return the short side of the largest photo as methods are given it, pixels; no more photos
    are read than it takes to know.
    """
    longest = 0
    for source in sources:
        for file in source.files:
            (photo,) = replace(source, files=(file,)).photos()
            longest = max(longest, min(photo.shape[-2:]))
            if longest >= WORK_SIDE:
                return longest
    return longest
