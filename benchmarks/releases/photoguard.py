"""PhotoGuard: the encoder's attack and the diffusion attack.

MadryLab/photoguard at 686bea7: notebooks/demo_simple_attack_img2img.ipynb, cell 7 (`pgd`) with the
settings of cell 9; notebooks/demo_complex_attack_inpainting.ipynb, cell 8 (`attack_forward`,
`compute_grad`, `super_linf`) with those of cell 11. The notebooks run in half precision, here it is
float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from releases.diff_protect import one_by_one
from releases.parts import Draws, Found, Parts, box, signed, unsigned


def encoder(
    parts: Parts,
    photos: Tensor,
    draws: Draws,
    *,
    budget: float,
    step: float,
    steps: int,
    start_cut: bool,
) -> Found:
    """Lower the plain norm of the posterior's mean; the step shrinks linearly to a hundredth.

    Args:
        start_cut: the random start is cut to the pixel range; the release leaves it for its first
            step.
    """
    eps, alpha = 2 * budget / 255, 2 * step / 255

    def one(photo: Tensor, own: Draws) -> Found:
        x_0 = signed(photo)
        x, first = x_0 + eps * (2 * own.starts[0][None] - 1), None
        x = x.clamp(-1, 1) if start_cut else x
        for k in range(steps):
            x = x.detach().requires_grad_(True)
            (g,) = torch.autograd.grad(parts.vae.encode(x).latent_dist.mean.norm(), x)
            first = -g if first is None else first
            x = x - g.sign() * (alpha - (alpha - alpha / 100) / steps * k)
            x = box(x, x_0, eps)
        assert first is not None
        return Found(first, unsigned(x))

    return one_by_one(photos, draws, one)


def diffusion(
    parts: Parts,
    photos: Tensor,
    draws: Draws,
    target: Tensor,
    *,
    prompt: str,
    budget: float,
    step: float,
    steps: int,
    repetitions: int,
    strength: float,
    ddim_steps: int,
    guidance: float,
    as_released: bool,
) -> Found:
    """Lower the distance of what is sampled from the target: sign steps on the mean gradient of the
    repetitions.

    There is no inpainting model here, so the sampling is a text-to-image model's SDEdit, without
    eta and masks.

    Args:
        as_released: the plain norm of the distance; else, as in the package, its square, and of a
            picture that is cut to the pixel range.
    """
    eps, alpha, x_target = 2 * budget / 255, 2 * step / 255, signed(target)

    def sampled(x: Tensor, own: Draws) -> Tensor:
        with torch.no_grad():
            c = parts.embed(["", prompt])
        scheduler = type(parts.scheduler).from_config(parts.scheduler.config, clip_sample=False)
        total = round(ddim_steps / strength)
        scheduler.set_timesteps(total)
        left = scheduler.timesteps[total - int(total * strength) :]
        z = parts.scale * parts.vae.encode(x).latent_dist.mean
        z = scheduler.add_noise(z, own.normal(1), left[:1])
        for t in left:
            free, held = parts.unet(z.repeat(2, 1, 1, 1), t, c).sample.chunk(2)
            z = scheduler.step(free + guidance * (held - free), t, z).prev_sample
        return parts.vae.decode(z / parts.scale).sample

    def one(photo: Tensor, own: Draws) -> Found:
        x_0 = signed(photo)
        x, first = x_0.clone(), None
        for _ in range(steps):
            each = []
            for _ in range(repetitions):
                leaf = x.clone().requires_grad_(True)
                seen = sampled(leaf, own)
                if as_released:
                    loss = (seen - x_target).norm()
                else:
                    loss = (seen.clamp(-1, 1) - x_target).square().sum()
                each.append(torch.autograd.grad(loss, leaf)[0])
            g = torch.stack(each).mean(0)
            first = -g if first is None else first
            x = box(x - alpha * g.sign(), x_0, eps)
        assert first is not None
        return Found(first, unsigned(x))

    return one_by_one(photos, draws, one)
