"""AdvDM, SDS and SDST of Diff-Protect.

xavihart/Diff-Protect at ac5ffdb: the losses in code/diff_mist.py:133-168, PGD (advertorch's
LinfPGDAttack, descending, with its random start) in code/diff_mist.py:284-285, score distillation
in code/attacks.py:170-285. Photos go through one by one, in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from releases.parts import Draws, Found, Parts, box, signed, unsigned

# pictures in [-1, 1], what was drawn for them -> what is lowered
Loss = Callable[[Tensor, Draws], Tensor]


def one_by_one(photos: Tensor, draws: Draws, one: Callable[[Tensor, Draws], Found]) -> Found:
    """Every photo (1 x 3 x S x S) for itself, put together again."""
    n = len(photos)
    each = [one(photos[i : i + 1], draws.of_photo(i, n)) for i in range(n)]
    return Found(torch.cat([f.gradient for f in each]), torch.cat([f.result for f in each]))


def descend(
    photo: Tensor, loss: Loss, draws: Draws, *, budget: float, step: float, steps: int
) -> Found:
    """advertorch's loop: what is stepped in is the change, from a random point of the box."""
    x, eps, alpha = signed(photo), 2 * budget / 255, 2 * step / 255
    delta = box(x + eps * (2 * draws.starts[0][None] - 1), x, eps) - x
    first = None
    for _ in range(steps):
        delta.requires_grad_(True)
        loss(x + delta, draws).backward()  # of the weights too, where they have any
        assert delta.grad is not None
        g = -delta.grad
        first = g if first is None else first
        delta = (delta.detach() + alpha * g.sign()).clamp(-eps, eps)
        delta = (x + delta).clamp(-1, 1) - x
    assert first is not None
    return Found(first, unsigned(x + delta))


def denoising(parts: Parts, z: Tensor, prompt: str, draws: Draws) -> Tensor:
    """L_S; the text goes through its encoder each time."""
    c = parts.embed([prompt])
    return parts.error(z, c, draws.timestep(1), draws.normal(1)).mean()


def advdm(
    parts: Parts,
    photos: Tensor,
    draws: Draws,
    target: Tensor,
    *,
    prompt: str,
    budget: float,
    step: float,
    steps: int,
) -> Found:
    """Mode advdm with g "+" (code/diff_mist.py:154-160); the target goes through too, to no use,
    and the UNet's weights get gradients that nobody reads.
    """
    parts.unet.requires_grad_(True)
    unused = Draws(shape=draws.shape)

    def loss(x: Tensor, own: Draws) -> Tensor:
        error = denoising(parts, parts.encode(x, own), prompt, own)
        denoising(parts, parts.encode(signed(target), unused), prompt, unused)
        return -error

    return one_by_one(
        photos, draws, lambda x, own: descend(x, loss, own, budget=budget, step=step, steps=steps)
    )


def distilled(
    parts: Parts,
    photos: Tensor,
    draws: Draws,
    *,
    prompt: str,
    budget: float,
    step: float,
    steps: int,
    target: Tensor | None = None,
    rate: float = 1,
) -> Found:
    """SDS with g "-" (code/attacks.py:199-277), and SDST where there is a target: the photo and the
    target are encoded again for it, each step (255-265).
    """
    eps, alpha = 2 * budget / 255, 2 * step / 255

    def one(photo: Tensor, own: Draws) -> Found:
        x_0 = signed(photo)
        x, first = x_0.clone(), None
        for _ in range(steps):
            x.requires_grad_(True)
            posterior = own.normals[:1]
            z = parts.encode(x, own)
            with torch.no_grad():
                t, noise = own.timestep(1), own.normal(1)
                z_t = parts.scheduler.add_noise(z.detach(), noise, t)
                residual = parts.unet(z_t, t, parts.embed([prompt])).sample - noise
            (g,) = torch.autograd.grad(z, x, residual)
            g = -rate * g
            if target is not None:
                again = Draws(list(posterior), shape=own.shape)
                with torch.no_grad():
                    z_target = encode_target(parts, target, draws)
                distance = (z_target - parts.encode(x, again)).square().sum()
                g = g - torch.autograd.grad(distance, x)[0]
            first = g if first is None else first
            x = box(x.detach() + alpha * g.sign(), x_0, eps)
        assert first is not None
        return Found(first, unsigned(x))

    return one_by_one(photos, draws, one)


def encode_target(parts: Parts, target: Tensor, draws: Draws, drawn_by: int = 0) -> Tensor:
    """A target's latent, by the noise that the package's method drew for it, by a generator of its
    own (its number among those beside the run's).
    """
    noise = draws.others[drawn_by].normals[:1] if parts.sample else []
    return parts.encode(signed(target), Draws(list(noise), shape=draws.shape))
