"""Losses on latents, and the one way back from them to the pixels.

A `Term` is something to raise: it takes latents without a graph and gives its value and its
gradient by them. `gradient` sums up terms beforehand and sends the sum through the encoder's
backward once, however many terms there are. With more than small pictures the encoder's graph is
built only after the denoiser's is gone (the split backward of mist-v2: one more encoding for a peak
of memory that is the larger of the two graphs, not their sum).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.models.ldm import LDM
from cloakwork.models.lpips import at_least, load_lpips
from cloakwork.perturbation import pgd
from cloakwork.photos.preprocessing import SLIDE, Preprocessing, preprocess
from cloakwork.types import Images, Photos

LatentLoss = Callable[
    [Tensor], tuple[Tensor, Tensor]
]  # latents, n x c x h x w -> value (a scalar), its gradient by the latents
SMALL = 128  # pixels; up to here both graphs fit, and encoding twice would only cost time


def from_scalar(loss: Callable[[Tensor], Tensor]) -> LatentLoss:
    """A term from any scalar loss on latents."""

    def term(z: Tensor) -> tuple[Tensor, Tensor]:
        leaf = z.detach().requires_grad_(True)
        value = loss(leaf)
        (g,) = torch.autograd.grad(value, leaf)
        return value.detach(), g

    return term


def denoising(ldm: LDM, c: Tensor, rng: torch.Generator, t: Tensor | None = None) -> LatentLoss:
    """L_S, the denoising error under text c, by the denoiser's own backward; a timestep and a noise
    for each photo.
    """
    return from_scalar(lambda z: ldm.latent_loss(z, c, rng, t))


def feature_disturbance(
    ldm: LDM, c: Tensor, z_0: Tensor, t: Tensor, rng: torch.Generator, *, weight: float = 1.0
) -> LatentLoss:
    """L_S + weight * || f(z_t) - f(z_0t) ||^2, SimAC's loss (Wang et al., arXiv 2312.07865), with a
    live gradient in both terms.

    f is what the residual blocks of the UNet's last up-block compute inside; both latents meet it
    under the same noise.

    Args:
        ldm, c: the denoiser and the text it is given.
        z_0: the originals' latents, n x c x h x w.
        t: the timesteps, n.
        rng: for the noise.
        weight: of the features' distance, a mean over elements and blocks.
    """

    def loss(z: Tensor) -> Tensor:
        at, noise = t.to(z.device), ldm.noise(z.shape, rng)
        z_t, target = ldm.diffuse(z, noise, at)
        with _features(ldm) as f:
            error = F.mse_loss(ldm.predict(z_t, at, c), target)
        with torch.no_grad(), _features(ldm) as f_0:
            ldm.predict(ldm.diffuse(z_0, noise, at)[0], at, c)
        apart = torch.stack([F.mse_loss(a, b) for a, b in zip(f, f_0, strict=True)]).mean()
        return error + weight * apart

    return from_scalar(loss)


@contextmanager
def _features(ldm: LDM) -> Iterator[list[Tensor]]:
    """Fills with what the last up-block's residual blocks compute inside."""
    seen: list[Tensor] = []
    hooks = [
        block.conv2.register_forward_hook(lambda _, __, out: seen.append(out.float()))
        for block in ldm.unet.up_blocks[-1].resnets
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def targeted(ldm: LDM, c: Tensor, rng: torch.Generator, z_target: Tensor | None) -> LatentLoss:
    """L_S - || z_{t-1} - q(z_target, t-1, eps) ||^2, Anti-DreamBooth's targeted loss (arXiv
    2303.15433); L_S without a target.

    z_{t-1} is the DDPM step that the model takes from z_t, and eps and t are those of L_S. Both
    terms are means over elements.
    """
    if z_target is None:
        return denoising(ldm, c, rng)

    def loss(z: Tensor) -> Tensor:
        t = ldm.timesteps(len(z), rng)
        noise = ldm.noise(z.shape, rng)
        z_t, goal = ldm.diffuse(z, noise, t)
        out = ldm.predict(z_t, t, c)
        # before the first timestep there is no noise (the release reads index -1 there: the
        # noisiest of all)
        abar = torch.cat([torch.ones(1), ldm.scheduler.alphas_cumprod]).to(z.device)[
            :, None, None, None
        ]
        abar_t, abar_s = abar[t + 1], abar[t]
        beta_t = 1 - abar_t / abar_s
        z_0 = (z_t - (1 - abar_t).sqrt() * ldm.as_noise(out, z_t, t)) / abar_t.sqrt()
        mean = (abar_s.sqrt() * beta_t * z_0 + (abar_t / abar_s).sqrt() * (1 - abar_s) * z_t) / (
            1 - abar_t
        )
        z_s = mean + ((1 - abar_s) / (1 - abar_t) * beta_t).sqrt() * ldm.noise(z.shape, rng)
        wanted = abar_s.sqrt() * z_target + (1 - abar_s).sqrt() * noise
        return (out - goal).square().mean() - (z_s - wanted).square().mean()

    return from_scalar(loss)


def distillation(ldm: LDM, c: Tensor, rng: torch.Generator, t: Tensor | None = None) -> LatentLoss:
    """L_S with score distillation's gradient, e_hat - eps, that leaves the denoiser's Jacobian out
    (Poole et al., arXiv 2209.14988; as a protection: Xue et al., arXiv 2311.12832): no backward
    through the denoiser.

    The weight w(t) is 1, and the gradient is that of a sum over a photo's latent, averaged over
    photos.
    """

    @torch.no_grad()
    def term(z: Tensor) -> tuple[Tensor, Tensor]:
        at = ldm.timesteps(len(z), rng) if t is None else t
        noise = ldm.noise(z.shape, rng)
        residual = ldm.predict_noise(ldm.diffuse(z, noise, at)[0], at, c) - noise
        return residual.square().mean(), residual / len(z)

    return term


def target_distance(z_target: Tensor) -> LatentLoss:
    """-L_T, minus the squared distance to a target's latent (1 or n x c x h x w): sum over a
    latent, mean over photos.
    """

    def term(z: Tensor) -> tuple[Tensor, Tensor]:
        way = z_target - z
        return -way.square().sum() / len(z), 2 * way / len(z)

    return term


def reconstruction_lpips(ldm: LDM, view: Images) -> LatentLoss:
    """LPIPS between what the autoencoder makes of the latents and pictures of the originals, mean
    over pictures.

    Args:
        ldm: whose decoder it is. Beyond small pictures it decodes one at a time: its graph is the
            largest of all.
        view: the originals, n x 3 x S x S in [0, 1].
    """
    net, alone = load_lpips(ldm.device), 1 if ldm.size > SMALL else len(view)

    def term(z: Tensor) -> tuple[Tensor, Tensor]:
        parts = zip(z.split(alone), at_least(64, view).split(alone), strict=True)
        found = [
            from_scalar(lambda z, v=v: net(at_least(64, ldm.decode(z)), v).sum() / len(view))(z)
            for z, v in parts
        ]
        values, grads = zip(*found, strict=True)
        return torch.stack(values).sum(), torch.cat(grads)

    return term


def balanced(*terms: tuple[float, LatentLoss]) -> LatentLoss:
    """The sum of weight times term, with each term's gradient brought to length 1 for each photo
    beforehand.

    So weights say what share a term has in the direction, whatever its unit. A gradient of 0 stays
    0.
    """

    def unit(part: LatentLoss) -> LatentLoss:
        def term(z: Tensor) -> tuple[Tensor, Tensor]:
            value, g = part(z)
            return value, g / g.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None, None]

        return term

    return weighted(*((weight, unit(part)) for weight, part in terms))


def weighted(*terms: tuple[float, LatentLoss]) -> LatentLoss:
    """The sum of weight times term; a weight of 0 costs nothing."""

    def term(z: Tensor) -> tuple[Tensor, Tensor]:
        value, g = torch.zeros((), device=z.device), torch.zeros_like(z)
        for weight, part in terms:
            if weight:
                v, dv = part(z)
                value, g = value + weight * v, g + weight * dv
        return value, g

    return term


def gradient(
    ldm: LDM,
    term: LatentLoss,
    rng: torch.Generator,
    *,
    loader: Preprocessing = SLIDE,
    split: bool | None = None,
) -> pgd.Gradient:
    """A term's gradient by photos of any size, as `pgd.ascend` wants it.

    Args:
        ldm: whose encoder is in between.
        term: of latents; what is random in it comes from `rng` too.
        rng: for the loader and, where the model samples it, the posterior.
        loader: how a thief reads the photos.
        split: never hold the encoder's and the term's graphs at once; None: for pictures over 128
            px. Changes no byte.
    """
    return _gradient(ldm, lambda which, same: term, rng, loader, split)


def gradient_with_originals(
    ldm: LDM,
    originals: Photos,
    term: Callable[[Images, Tensor, list[int]], LatentLoss],
    rng: torch.Generator,
    *,
    loader: Preprocessing = SLIDE,
    split: bool | None = None,
) -> pgd.Gradient:
    """The same for a term that compares with originals.

    Args:
        ldm, rng, loader, split: as in `gradient`.
        originals: of all photos.
        term: made for each call from the originals in the same view (n x 3 x S x S in [0, 1]),
            their latents (of the posterior's sample, where the model samples it, by the same
            noise), and the places of the photos in the set.
    """

    def told(which: list[int], same: torch.Generator) -> LatentLoss:
        view = preprocess([originals[i] for i in which], ldm.size, loader, same)
        with torch.no_grad():
            z_0 = ldm.encode(view, same)
        return term(view, z_0, which)

    return _gradient(ldm, told, rng, loader, split)


def _gradient(
    ldm: LDM,
    term: Callable[[list[int], torch.Generator], LatentLoss],
    rng: torch.Generator,
    loader: Preprocessing,
    split: bool | None,
) -> pgd.Gradient:
    split = ldm.size > SMALL if split is None else split

    def of(x: Photos, which: list[int]) -> tuple[float, Photos]:
        leaves = [p.detach().requires_grad_(True) for p in x]
        same = torch.Generator().set_state(rng.get_state())  # draws the same view again
        view = preprocess(leaves, ldm.size, loader, rng)
        before = rng.get_state()
        with torch.set_grad_enabled(not split):
            z = ldm.encode(view, rng)
        value, g = term(which, same)(z.detach())
        if split:
            z = ldm.encode(view, torch.Generator().set_state(before))
        return value.item(), list(torch.autograd.grad(z, leaves, g))

    return of
