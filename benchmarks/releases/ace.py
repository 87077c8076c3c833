"""ACE (Mist-v2).

psyker-team/mist-v2 at ed195b9: attacks/mist.py:303-522 (`train_one_epoch`), 526-644 (`pgd_attack`,
mode lunet) and 823-852 (the rounds); lora_diffusion/lora.py:32-58, 159 and 221-275 (the layers).
The same words stand under all photos here, and the text encoder does not learn, as by the release's
default.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from releases.diff_protect import encode_target
from releases.parts import Draws, Found, Parts, box, signed, unsigned
from releases.trainers import ATTENTION, add_lora


def train_one_epoch(
    parts: Parts,
    params: list[nn.Parameter],
    x: Tensor,
    classes: Tensor,
    prompts: tuple[str, str],
    draws: Draws,
    *,
    lr: float,
    prior_weight: float,
    steps: int,
    first: int,
) -> None:
    """So many AdamW steps in all, each of a photo and a class picture (in [-1, 1]) that go through
    one after the other.

    Which photo a step takes is drawn in the release; here it is the next.
    """
    optimizer = torch.optim.AdamW(params, lr=lr, weight_decay=1e-2)
    for step in range(first, first + steps):
        for pictures, prompt, weight in zip(
            (x, classes), prompts, (1.0, prior_weight), strict=True
        ):
            at = step % len(pictures)
            with torch.no_grad():
                z = parts.encode(pictures[at : at + 1], draws)
                c = parts.embed([prompt])
            (weight * parts.error(z, c, draws.timestep(1), draws.normal(1)).mean()).backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def pgd_attack(
    parts: Parts,
    x: Tensor,
    x_0: Tensor,
    z_target: Tensor,
    prompt: str,
    draws: Draws,
    *,
    budget: float,
    step: float,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """One photo (1 x 3 x S x S in [-1, 1]): the UNet's backward to the latent, then the encoder's,
    encoded again.
    """
    first = None
    for _ in range(steps):
        with torch.no_grad():
            z = parts.encode(x, draws)
        z.requires_grad_(True)
        t, noise = draws.timestep(1), draws.normal(1)
        seen = parts.unet(parts.scheduler.add_noise(z, noise, t), t, parts.embed([prompt])).sample
        (by_latent,) = torch.autograd.grad(-(seen - z_target).square().mean(), z)
        leaf = x.clone().requires_grad_(True)
        (g,) = torch.autograd.grad(parts.vae.encode(leaf).latent_dist.mean, leaf, by_latent)
        first = g if first is None else first
        x = box(x + 2 * step / 255 * g.sign(), x_0, 2 * budget / 255)
    assert first is not None
    return x, first


def ace(
    parts: Parts,
    photos: Tensor,
    classes: Tensor,
    draws: Draws,
    target: Tensor,
    *,
    prompts: tuple[str, str],
    budget: float,
    step: float,
    steps: int,
    outer: int,
    lora_steps: int,
    rank: int,
    lr: float,
    prior_weight: float,
    feed_forward: bool,
) -> Found:
    """The rounds.

    Args:
        feed_forward: low-rank layers on the first projection of the feed-forward parts too, as in
            the release.
    """
    x_0, x_class, n, theta = signed(photos), signed(classes), len(photos), parts.copy()
    for p in theta.weights():
        p.requires_grad_(False)
    theta = replace(theta, sample=False)
    names = ATTENTION + (".ff.net.0.proj",) * feed_forward
    params: list[nn.Parameter] = []
    with torch.no_grad():
        z_target = encode_target(theta, target, draws)
    x, firsts = x_0, []
    for k in range(outer):
        own = draws.cut(steps * n, steps * n)
        each = []
        for i in range(n):
            mine = own.of_photo(i, n)
            here = x[i : i + 1], x_0[i : i + 1]
            each.append(
                pgd_attack(
                    theta, *here, z_target, prompts[0], mine, budget=budget, step=step, steps=steps
                )
            )
        x = torch.cat([changed for changed, _ in each])
        firsts.append(torch.cat([first for _, first in each]))
        params = params or add_lora(theta.unet, rank, draws, names)
        train_one_epoch(
            theta,
            params,
            x,
            x_class,
            prompts,
            draws,
            lr=lr,
            prior_weight=prior_weight,
            steps=lora_steps,
            first=k * lora_steps,
        )
    return Found(firsts[0], unsigned(x))
