"""Gradients through purifiers, for protections that know what an attacker will do first.

Where a purifier has a differentiable form of itself (`smooth`), the gradient goes through that;
where it has none, its result is used and its gradient taken for that of the identity: backward pass
differentiable approximation (Athalye et al., arXiv 1802.00420). Drawing one of several chains in
every step is expectation over transformation (arXiv 1707.07397).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cloakwork import specs
from cloakwork.errors import UserError
from cloakwork.models import pixel_ddpm
from cloakwork.models.counting import drawn
from cloakwork.models.encoder import Encoder
from cloakwork.models.ldm import LDM
from cloakwork.models.pixel_ddpm import PixelDDPM
from cloakwork.perturbation import pgd
from cloakwork.photos.preprocessing import bilinear
from cloakwork.specs import Method
from cloakwork.types import Photos

Chain = tuple[Method, ...]  # purifiers, in order


def chains(text: str, model: str = "tiny", denoiser: str = "tiny") -> tuple[Chain, ...]:
    """Parse chains of purifiers from words parted by blanks, with presets as for these models.

    >>> [[method.name for method in chain] for chain in chains("none jpeg:quality=60 blur+resize")]
    [['none'], ['jpeg'], ['blur', 'resize']]

    Raises:
        UserError: no word, an unknown purifier or field.
    """
    words = specs.chains(text)
    if not words:
        raise UserError(
            "No purifier was named to go through; give words such as 'none jpeg resize', parted by "
            "blanks."
        )
    return tuple(specs.purifiers(word, model, denoiser) for word in words)


def instrument(text: str, denoiser: str) -> str:
    """Return what decides the result beside the text: the weights of the denoiser of pixels, and
    purifiers' versions after the first, and sources of a user's own; "" where the text is.
    """
    parsed = chains(text) if text else ()
    versions = {method.name: method.code for chain in parsed for method in chain}
    weights = [pixel_ddpm.weights(denoiser)] if "pixels" in _model_kinds(parsed) else []
    return " ".join(weights + [f"{name} {v}" for name, v in sorted(versions.items()) if v != 1])


def _model_kinds(parsed: Sequence[Chain]) -> set[str]:
    return {method.model_kind for chain in parsed for method in chain}


def models(parsed: Sequence[Chain], ldm: Encoder, denoiser: str) -> dict[str, Encoder | PixelDDPM]:
    """Return the models that the chains need, by kind, in the surrogate's precision.

    `denoiser` is loaded only if one of them diffuses pixels.

    Raises:
        UserError: one of them needs a whole model, and the surrogate is an encoder alone.
    """
    if "latent" in _model_kinds(parsed) and not isinstance(ldm, LDM):
        latent = [m.name for chain in parsed for m in chain if m.model_kind == "latent"]
        raise UserError(
            f"The purifier {latent[0]} needs a whole model to go through, and {ldm.name} is an "
            "encoder alone. Leave it out, or name a whole model as surrogate."
        )
    dtype = str(ldm.dtype).removeprefix("torch.")
    pixels = (
        {"pixels": pixel_ddpm.load(denoiser, str(ldm.device), dtype)}
        if "pixels" in _model_kinds(parsed)
        else {}
    )
    return {"latent": ldm} | pixels


def through(
    photos: Photos, chain: Chain, networks: Mapping[str, Encoder | PixelDDPM], rng: torch.Generator
) -> Photos:
    """Purify photos (each 3 x H x W in [0, 1]), with a graph that leads back to them.

    What a purifier has made smaller is enlarged again, bilinearly, as an attacker's loader does: so
    a square lies at the same place of a photo and of its original.
    """
    sizes = [p.shape[-2:] for p in photos]
    for method in chain:
        module, config, model = method.module, method.config, networks.get(method.model_kind)
        if hasattr(module, "smooth"):
            photos = module.smooth(photos, model, config, rng=rng)
            continue
        plain = [p.detach() for p in photos]
        with torch.no_grad():
            pure = module.purify(plain, model, config, rng=rng)
        carried = [_in_size(p, b.shape[-2:]) for p, b in zip(photos, pure, strict=True)]
        photos = [p + (b - p.detach()) for p, b in zip(carried, pure, strict=True)]
    return [_in_size(p, size) for p, size in zip(photos, sizes, strict=True)]


def _in_size(photo: Tensor, size: torch.Size) -> Tensor:
    return photo if photo.shape[-2:] == size else bilinear(photo, *size)


def looking_through(
    inner: pgd.Gradient, text: str, surrogate: Encoder, denoiser: str, rng: torch.Generator
) -> pgd.Gradient:
    """Return a surrogate's gradient, taken through the chains of purifiers that a text names; as it
    is where the text is empty.

    Args:
        inner: the gradient by purified photos.
        text: as `chains` takes it.
        surrogate: whose gradient it is; purifiers that need a model use it.
        denoiser: what those of them that diffuse pixels use.
        rng: as `gradient` takes it.

    Raises:
        UserError: as of `chains` and `models`.
    """
    if not text:
        return inner
    parsed = chains(text, surrogate.name, denoiser)
    return gradient(inner, parsed, models(parsed, surrogate, denoiser), rng)


def gradient(
    inner: pgd.Gradient,
    parsed: Sequence[Chain],
    networks: Mapping[str, Encoder | PixelDDPM],
    rng: torch.Generator,
) -> pgd.Gradient:
    """Turn a gradient by purified photos into one by the photos themselves.

    Each call draws a chain, and `inner` sees what it makes of the photos.

    Args:
        inner: the gradient by purified photos.
        parsed: the chains.
        networks: what they need, by `models`.
        rng: for the choice and for what purifiers draw.
    """

    def by_photos(x: Photos, which: list[int]) -> tuple[pgd.Value, Photos]:
        def by_chain(chain: Chain) -> tuple[pgd.Value, Photos]:
            leaves = [p.detach().requires_grad_(True) for p in x]
            purified = through(leaves, chain, networks, rng)
            value, grads = inner([p.detach() for p in purified], which)
            return value, list(torch.autograd.grad(purified, leaves, grads))

        return drawn(parsed, rng, by_chain)

    return by_photos
