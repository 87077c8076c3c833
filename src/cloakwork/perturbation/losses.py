"""Losses on latents, and the one way back from them to the pixels.

A `LatentLoss` is something to raise: it takes latents without a graph and gives its value and its
gradient by them. Losses are summed up on the latents (`weighted`, `balanced`), and `gradient` sends
the sum through the encoder's backward once, however many there are. Where memory has no room for
the loss's graph beside the encoder's, the latter is built only after the former is gone (the split
backward of mist-v2: one more encoding for a peak of memory that is the larger of the two graphs,
not their sum).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.models import schedulers
from cloakwork.models.encoder import Encoder
from cloakwork.models.ldm import LDM
from cloakwork.models.lpips import at_least, load_lpips
from cloakwork.models.text import Text
from cloakwork.perturbation import graph_memory, pgd
from cloakwork.photos.preprocessing import SLIDE, Preprocessing, preprocess
from cloakwork.types import Images, Photos

# latents, n x c x h x w -> value (a scalar), its gradient by the latents
ValueAndGradient = Callable[[Tensor], tuple[Tensor, Tensor]]
# pixels; up to here the decoder's graphs of a micro-batch fit into memory
SMALL_PICTURE = 128


@dataclass(frozen=True)
class LatentLoss:
    """Something to raise, by latents."""

    of: ValueAndGradient
    graph: bool
    """whether it builds a graph to compute them, which fills memory"""

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return value and gradient at latents that have no graph."""
        return self.of(z)


def from_scalar(loss: Callable[[Tensor], Tensor]) -> LatentLoss:
    """Return a `LatentLoss` from any scalar loss on latents, by autograd.

    >>> from_scalar(lambda z: z.square().sum())(torch.tensor([1.0, 3.0]))
    (tensor(10.), tensor([2., 6.]))
    """

    def latent_loss(z: Tensor) -> tuple[Tensor, Tensor]:
        leaf = z.detach().requires_grad_(True)
        value = loss(leaf)
        (g,) = torch.autograd.grad(value, leaf)
        return value.detach(), g

    return LatentLoss(latent_loss, graph=True)


def denoising(ldm: LDM, c: Text, rng: torch.Generator, t: Tensor | None = None) -> LatentLoss:
    """Return L_S, the denoising error under text c, by the denoiser's own backward.

    Args:
        ldm: the denoiser.
        c: the text.
        rng: for a noise, and unless t is given a timestep, for each photo.
        t: the timesteps, n.
    """
    return from_scalar(lambda z: ldm.latent_loss(z, c, rng, t))


def targeted(ldm: LDM, c: Text, rng: torch.Generator, z_target: Tensor | None) -> LatentLoss:
    """Return L_S - || z_{t-1} - q(z_target, t-1, eps) ||^2, Anti-DreamBooth's targeted loss (arXiv
    2303.15433); L_S without a target.

    z_{t-1} is the DDPM step that the model takes from z_t, and eps and t are those of L_S. Both
    terms are means over elements.

    Raises:
        UserError: a target for a model that matches flows.
    """
    if z_target is None:
        return denoising(ldm, c, rng)
    check_takes_target([ldm])

    def loss(z: Tensor) -> Tensor:
        t = ldm.timesteps(len(z), rng)
        noise = ldm.noise(z.shape, rng)
        z_t, goal = ldm.diffuse(z, noise, t)
        out = ldm.predict(z_t, t, c)
        # before the first timestep there is no noise (the release reads index -1 there: the
        # noisiest of all)
        abar = F.pad(ldm.alphas_cumprod, (1, 0), value=1)[:, None, None, None]
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


def check_takes_target(surrogates: Sequence[LDM]) -> None:
    """Refuse models that cannot be drawn to a target by `targeted`.

    Raises:
        UserError: one that matches flows.
    """
    faults = [
        f"A target is reached by steps of DDPM, which '{ldm.name}' does not take: it matches "
        "flows. Leave the target out."
        for ldm in surrogates
        if schedulers.predicted(ldm.scheduler) == "flow"
    ]
    if faults:
        raise UserError(*faults)


def distillation(ldm: LDM, c: Text, rng: torch.Generator, t: Tensor | None = None) -> LatentLoss:
    """Return L_S with score distillation's gradient, e_hat - eps, which leaves the denoiser's
    Jacobian out (Poole et al., arXiv 2209.14988; as a protection: Xue et al., arXiv 2311.12832).

    So there is no backward through the denoiser.

    The weight w(t) is 1, and the gradient is that of a sum over a photo's latent, averaged over
    photos.
    """

    @torch.no_grad()
    def latent_loss(z: Tensor) -> tuple[Tensor, Tensor]:
        at = ldm.timesteps(len(z), rng) if t is None else t
        noise = ldm.noise(z.shape, rng)
        residual = ldm.predict_noise(ldm.diffuse(z, noise, at)[0], at, c) - noise
        return residual.square().mean(), residual / len(z)

    return LatentLoss(latent_loss, graph=False)


def target_distance(z_target: Tensor) -> LatentLoss:
    """Return -L_T, minus the squared distance to a target's latent (1 or n x c x h x w).

    A sum over a latent, a mean over photos.

    >>> target_distance(torch.zeros(1, 1, 1, 2))(torch.ones(1, 1, 1, 2))
    (tensor(-2.), tensor([[[[-2., -2.]]]]))
    """

    def latent_loss(z: Tensor) -> tuple[Tensor, Tensor]:
        way = z_target - z
        return -way.square().sum() / len(z), 2 * way / len(z)

    return LatentLoss(latent_loss, graph=False)


def reconstruction_lpips(ldm: LDM, view: Images) -> LatentLoss:
    """Return LPIPS between what the autoencoder makes of the latents and pictures of the originals,
    a mean over pictures.

    Args:
        ldm: whose decoder it is. Beyond small pictures it decodes one at a time: its graph is the
            largest of all.
        view: the originals, n x 3 x S x S in [0, 1].
    """
    net = load_lpips(ldm.device)
    at_once = 1 if ldm.size > SMALL_PICTURE else len(view)

    def latent_loss(z: Tensor) -> tuple[Tensor, Tensor]:
        parts = zip(z.split(at_once), at_least(64, view).split(at_once), strict=True)
        values_and_grads = [
            from_scalar(lambda z, v=v: net(at_least(64, ldm.decode(z)), v).sum() / len(view))(z)
            for z, v in parts
        ]
        values, grads = zip(*values_and_grads, strict=True)
        return torch.stack(values).sum(), torch.cat(grads)

    return LatentLoss(latent_loss, graph=True)


def balanced(*losses: tuple[float, LatentLoss]) -> LatentLoss:
    """Return the sum of weight times loss, with each loss's gradient brought to length 1 for each
    photo beforehand.

    So weights say what share a loss has in the direction, whatever its unit. A gradient of 0 stays
    0.
    """

    def of_unit_length(part: LatentLoss) -> LatentLoss:
        def latent_loss(z: Tensor) -> tuple[Tensor, Tensor]:
            value, g = part(z)
            return value, g / g.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None, None]

        return LatentLoss(latent_loss, part.graph)

    return weighted(*((weight, of_unit_length(part)) for weight, part in losses))


def weighted(*losses: tuple[float, LatentLoss]) -> LatentLoss:
    """Return the sum of weight times loss; a weight of 0 costs nothing.

    >>> square, total = from_scalar(lambda z: z.square().sum()), from_scalar(torch.sum)
    >>> weighted((1, square), (-2, total))(torch.tensor([1.0, 3.0]))
    (tensor(2.), tensor([0., 4.]))
    """
    felt = [(weight, part) for weight, part in losses if weight]

    def latent_loss(z: Tensor) -> tuple[Tensor, Tensor]:
        value, g = torch.zeros((), device=z.device), torch.zeros_like(z)
        for weight, part in felt:
            v, dv = part(z)
            value, g = value + weight * v, g + weight * dv
        return value, g

    return LatentLoss(latent_loss, graph=any(part.graph for _, part in felt))


def same_draws(rng: torch.Generator) -> torch.Generator:
    """Return a second generator, which draws what `rng` is about to draw.

    So a photo and its original can be cut, flipped or noised alike. It must be made before `rng` is
    used, and both must be asked for the same things in the same order.

    >>> rng = torch.Generator().manual_seed(0)
    >>> again = same_draws(rng)
    >>> torch.equal(torch.rand(2, generator=rng), torch.rand(2, generator=again))
    True
    """
    return torch.Generator().set_state(rng.get_state())


def gradient(
    ldm: Encoder,
    loss: LatentLoss,
    rng: torch.Generator,
    *,
    loader: Preprocessing = SLIDE,
    split: bool | None = None,
) -> pgd.Gradient:
    """Return a loss's gradient by photos of any size, as `pgd.ascend` wants it.

    Args:
        ldm: whose encoder is in between.
        loss: of latents; what is random in it comes from `rng` too.
        rng: for the loader and, where the model samples it, the posterior.
        loader: how an attacker reads the photos.
        split: never hold the encoder's and the loss's graphs at once; None: where there is no room
            for both. Changes no byte.
    """

    def by_photos(x: Photos, which: list[int]) -> tuple[pgd.Value, Photos]:
        leaves = [p.detach().requires_grad_(True) for p in x]
        view = preprocess(leaves, ldm.size, loader, rng)
        same_posterior = same_draws(rng)
        two_encodings = _must_split(ldm, loss, len(x)) if split is None else split
        with torch.set_grad_enabled(not two_encodings):
            z = ldm.encode(view, rng)
        value, g = loss(z.detach())
        if two_encodings:
            z = ldm.encode(view, same_posterior)
        return value, list(torch.autograd.grad(z, leaves, g))

    return by_photos


def _must_split(ldm: Encoder, loss: LatentLoss, n: int) -> bool:
    """Return whether the encoder's graph of n photos has to wait until a loss's graph is gone.

    An encoder alone has no denoiser or decoder whose graph would fill memory.
    """
    if not loss.graph or not isinstance(ldm, LDM):
        return False
    return ldm.low_memory or not graph_memory.fits(ldm, n)
