"""SimAC.

somuchtome/SimAC at 2de1aa8, attacks/time_feature.py: 710-850 (`select_timestep`), 622-708
(`pgd_attack`); the turns are ASPL's. The release keeps bf16 weights, here they are float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from releases.anti_dreambooth import train_one_epoch
from releases.parts import Draws, Found, Parts, box, signed, unsigned

PROBES, ENOUGH, REACH = 5, 100, 20


def select_timesteps(
    parts: Parts,
    photo: Tensor,
    prompt: str,
    draws: Draws,
    *,
    budget: float,
    step: float,
    rounds: int,
) -> list[int]:
    """Timesteps that are left for one photo (1 x 3 x S x S in [-1, 1])."""
    left, x = torch.ones(parts.timesteps, dtype=torch.bool), photo

    def slope(t: Tensor) -> Tensor:
        leaf = x.detach().requires_grad_(True)
        z = parts.encode(leaf, draws)
        parts.error(z, parts.embed([prompt]), t, draws.normal(1)).mean().backward()
        assert leaf.grad is not None
        return leaf.grad

    for _ in range(rounds):
        if left.sum() <= ENOUGH:
            break
        probes = [draws.timestep(1) for _ in range(PROBES)]
        draws.missing += sum(not left[t] for t in probes)  # drawn from other timesteps than these
        scores = [slope(t).abs().sum().item() for t in probes]
        worst = int(probes[scores.index(min(scores))])
        worst = min(max(worst, REACH), parts.timesteps - REACH)
        left[worst - REACH : worst + REACH] = False
        g = slope(probes[scores.index(max(scores))])
        x = box(x + 2 * step / 255 * g.sign(), photo, 2 * budget / 255)
    return left.nonzero()[:, 0].tolist()


@contextmanager
def features(unet: Any) -> Iterator[list[Tensor]]:
    """What the residual blocks of the last up-block compute, before it is added to what they
    got.
    """
    seen: list[Tensor] = []
    hooks = [
        block.conv2.register_forward_hook(lambda _, __, out: seen.append(out))
        for block in unet.up_blocks[-1].resnets
    ]
    yield seen
    for hook in hooks:
        hook.remove()


def pgd_attack(
    parts: Parts,
    x: Tensor,
    x_0: Tensor,
    prompt: str,
    draws: Draws,
    chosen: list[list[int]],
    *,
    budget: float,
    step: float,
    steps: int,
    as_released: bool,
) -> tuple[Tensor, Tensor]:
    """Sign steps at chosen timesteps.

    Args:
        as_released: the distance of the features, to those of the photos as the turn found them, is
            added as a plain number; else it has a gradient, and they are those of the originals.
    """
    first, other, n = None, x if as_released else x_0, len(x)
    for _ in range(steps):
        x = x.detach().requires_grad_(True)
        posterior = Draws(draws.normals[:n], shape=draws.shape)
        z, c = parts.encode(x, draws), parts.embed(n * [prompt])
        t, noise = draws.timestep(n), draws.normal(n)
        draws.missing += sum(int(a) not in own for a, own in zip(t, chosen, strict=True))
        with features(parts.unet) as f:
            error = parts.error(z, c, t, noise).mean()
        with torch.no_grad(), features(parts.unet) as f_0:
            parts.error(parts.encode(other, posterior), c, t, noise)
        apart = (torch.stack(f) - torch.stack(f_0)).square().mean()
        (error + (apart.item() if as_released else apart)).backward()
        assert x.grad is not None
        first = x.grad if first is None else first
        x = box(x + 2 * step / 255 * x.grad.sign(), x_0, 2 * budget / 255)
        for p in parts.weights():
            p.grad = None
    assert first is not None
    return x.detach(), first


def simac(
    parts: Parts,
    photos: Tensor,
    clean: Tensor,
    classes: Tensor,
    draws: Draws,
    *,
    prompts: tuple[str, str],
    budget: float,
    step: float,
    rounds: int,
    pgd_steps: int,
    train_steps: int,
    lr: float,
    as_released: bool,
) -> Found:
    """The search for every photo, then one turn of ASPL at what it found, with weights clipped as
    in ASPL.
    """
    x, x_class, n = signed(photos), signed(classes), len(photos)
    theta, per_round = parts.copy(), 2 if parts.sample else 1
    searched = draws.cut(rounds * n * (PROBES + 1) * per_round, rounds * n * PROBES)
    chosen = []
    for i in range(n):
        own = searched.of_photo(i, n)
        chosen.append(
            select_timesteps(
                theta, x[i : i + 1], prompts[0], own, budget=budget, step=step, rounds=rounds
            )
        )
        draws.missing += own.missing
    for p in theta.weights():
        p.grad = None
    how = {"lr": lr, "steps": train_steps, "clip": not as_released}
    theta_s = train_one_epoch(theta.copy(), signed(clean), x_class, prompts, draws, **how)
    x, first = pgd_attack(
        theta_s,
        x,
        x,
        prompts[0],
        draws,
        chosen,
        budget=budget,
        step=step,
        steps=pgd_steps,
        as_released=as_released,
    )
    train_one_epoch(theta, x, x_class, prompts, draws, first_class=train_steps, **how)
    return Found(first, unsigned(x))
