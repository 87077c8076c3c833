"""How far the denoiser's features move, beside its error: SimAC's loss (Wang et al., arXiv
2312.07865).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.models.ldm import LDM
from cloakwork.models.text import Text
from cloakwork.perturbation.losses import LatentLoss, from_scalar
from cloakwork.photos.tensors import send


def feature_disturbance(
    ldm: LDM, c: Text, z_0: Tensor, t: Tensor, rng: torch.Generator, *, weight: float = 1.0
) -> LatentLoss:
    """Return L_S + weight * || f(z_t) - f(z_0t) ||^2, with a live gradient in both terms.

    f is what the residual blocks of the UNet's last up-block compute inside (of another denoiser:
    its family's `features`); both latents meet it under the same noise.

    Args:
        ldm, c: the denoiser and the text it is given.
        z_0: the originals' latents, n x c x h x w.
        t: the timesteps, n.
        rng: for the noise.
        weight: of the features' distance, a mean over elements and blocks.
    """

    def loss(z: Tensor) -> Tensor:
        at, noise = send(t, z.device), ldm.noise(z.shape, rng)
        z_t, target = ldm.diffuse(z, noise, at)
        with _features(ldm) as f:
            off = ldm.weigh(ldm.predict(z_t, at, c) - target, at)
            error = F.mse_loss(off, torch.zeros_like(off))
        with torch.no_grad(), _features(ldm) as f_0:
            ldm.predict(ldm.diffuse(z_0, noise, at)[0], at, c)
        apart = torch.stack([F.mse_loss(a, b) for a, b in zip(f, f_0, strict=True)]).mean()
        return error + weight * apart

    return from_scalar(loss)


@contextmanager
def _features(ldm: LDM) -> Iterator[list[Tensor]]:
    """Lend a list that fills with the denoiser's fine features."""
    seen: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: seen.append(out.float()))
        for layer in ldm.family.features(ldm.denoiser)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
