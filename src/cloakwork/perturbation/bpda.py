"""Gradients through purifiers, for protections that know what a thief will do to the photos first.

Where a purifier has a differentiable form of itself (`smooth`), the gradient goes through that;
where it has none, its result is used and its gradient taken for that of the identity: backward pass
differentiable approximation (Athalye et al., arXiv 1802.00420). Drawing one of several chains in
every step is expectation over transformation (arXiv 1707.07397).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cloakwork import registry, specs
from cloakwork.errors import UserError
from cloakwork.models import pixel_ddpm
from cloakwork.models.ldm import LDM
from cloakwork.models.pixel_ddpm import PixelDDPM
from cloakwork.perturbation import pgd
from cloakwork.types import Photos

Chain = tuple[tuple[str, Any], ...]  # names and Configs, in order


def chains(text: str, model: str = "tiny", denoiser: str = "tiny") -> tuple[Chain, ...]:
    """Chains of purifiers from words parted by blanks, as in "none jpeg:quality=60 blur+resize";
    presets as for these models.

    Raises:
        UserError: no word, an unknown purifier or field.
    """
    found = tuple(
        specs.purifiers(word, model, denoiser) for word in specs.split(text.strip(), " ") if word
    )
    if not found:
        raise UserError(
            "No purifier was named to go through; give words such as 'none jpeg resize', parted by blanks."
        )
    return found


def instrument(text: str, denoiser: str) -> str:
    """What decides the result beside the text: the weights of the denoiser of pixels, and
    purifiers' versions after the first.
    """
    some = chains(text)
    versions = {
        name: registry.load("purifiers", name).VERSION for chain in some for name, _ in chain
    }
    weights = [pixel_ddpm.weights(denoiser)] if "pixels" in _kinds(some) else []
    return " ".join(
        weights + [f"{name} {version}" for name, version in sorted(versions.items()) if version > 1]
    )


def _kinds(some: Sequence[Chain]) -> set[str]:
    """Of models that the chains ask for."""
    return {registry.model_kind(name) for chain in some for name, _ in chain}


def models(some: Sequence[Chain], ldm: LDM, denoiser: str) -> dict[str, LDM | PixelDDPM]:
    """What the chains need, by kind, in the LDM's precision; `denoiser` is loaded only if one of
    them diffuses pixels.
    """
    dtype = str(ldm.dtype).removeprefix("torch.")
    pixels = (
        {"pixels": pixel_ddpm.load(denoiser, str(ldm.device), dtype)}
        if "pixels" in _kinds(some)
        else {}
    )
    return {"latent": ldm} | pixels


def through(
    photos: Photos, chain: Chain, known: Mapping[str, LDM | PixelDDPM], rng: torch.Generator
) -> Photos:
    """Photos (each 3 x H x W in [0, 1]) after a chain, with a graph that leads back to them."""
    for name, config in chain:
        module, model = registry.load("purifiers", name), known.get(registry.model_kind(name))
        if hasattr(module, "smooth"):
            photos = module.smooth(photos, model, config, rng=rng)
            continue
        plain = [p.detach() for p in photos]
        with torch.no_grad():
            pure = module.purify(plain, model, config, rng=rng)
        photos = [p + (b - a) for p, a, b in zip(photos, plain, pure, strict=True)]
    return photos


def gradient(
    inner: pgd.Gradient,
    some: Sequence[Chain],
    known: Mapping[str, LDM | PixelDDPM],
    rng: torch.Generator,
) -> pgd.Gradient:
    """A gradient by purified photos as one by the photos: each call draws a chain, and `inner` sees
    what it makes of them.
    """

    def of(x: Photos, which: list[int]) -> tuple[float, Photos]:
        chain = some[int(torch.randint(len(some), (), generator=rng))]
        leaves = [p.detach().requires_grad_(True) for p in x]
        seen = through(leaves, chain, known, rng)
        value, grads = inner([p.detach() for p in seen], which)
        return value, list(torch.autograd.grad(seen, leaves, grads))

    return of
