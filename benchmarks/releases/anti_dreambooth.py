"""FSMG and ASPL of Anti-DreamBooth.

VinAIResearch/Anti-DreamBooth at c97e891: attacks/aspl.py:375-483 (`train_one_epoch`), 486-584
(`pgd_attack`) and 726-763 (the turns); attacks/fsmg.py:548-624 with the surrogate of
train_dreambooth.py:925-995. The release keeps bf16 weights, here they are float32.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from releases.diff_protect import encode_target
from releases.parts import Draws, Found, Parts, box, signed, unsigned
from releases.trainers import dreambooth


def train_one_epoch(
    parts: Parts,
    x: Tensor,
    classes: Tensor,
    prompts: tuple[str, str],
    draws: Draws,
    *,
    lr: float,
    steps: int,
    clip: bool,
    first: int = 0,
    first_class: int = 0,
) -> Parts:
    """A copy after a few AdamW steps of one photo and one class picture (both in [-1, 1]) each.

    Args:
        clip: to norm 1; the release hands the clipping an iterator that is used up, so nothing is
            clipped.
        first, first_class: the pictures that are taken in the first step; the release begins at 0
            in every call.
    """
    copied, encoding = parts.copy(), replace(parts, sample=False)
    optimizer = torch.optim.AdamW(copied.weights(), lr=lr, weight_decay=1e-2)
    for step in range(steps):
        both = torch.stack(
            [x[(first + step) % len(x)], classes[(first_class + step) % len(classes)]]
        )
        with torch.no_grad():
            z = encoding.encode(both, draws)
        error = copied.error(z, copied.embed(prompts), draws.timestep(2), draws.normal(2))
        of_photo, of_class = error.chunk(2)
        (of_photo.mean() + of_class.mean()).backward()
        if clip:
            nn.utils.clip_grad_norm_(copied.weights(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return copied


def pgd_attack(
    parts: Parts,
    x: Tensor,
    x_0: Tensor,
    prompt: str,
    draws: Draws,
    *,
    budget: float,
    step: float,
    steps: int,
    z_target: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """All photos (in [-1, 1]) in one batch; the weights get gradients too.

    Args:
        z_target: what they are drawn to as well.

    Returns:
        The photos, and the first gradient.
    """
    first = None
    for _ in range(steps):
        x = x.detach().requires_grad_(True)
        z, c = parts.encode(x, draws), parts.embed(len(x) * [prompt])
        t, noise = draws.timestep(len(x)), draws.normal(len(x))
        if z_target is None:
            loss = parts.error(z, c, t, noise).mean()
        else:
            z_t = parts.scheduler.add_noise(z, noise, t)
            seen = parts.unet(z_t, t, c).sample
            z_before = ddpm_step(parts, seen, z_t, t, draws)
            wanted = parts.scheduler.add_noise(z_target, noise, t - 1)
            loss = (seen - noise).square().mean() - (z_before - wanted).square().mean()
        loss.backward()
        assert x.grad is not None
        first = x.grad if first is None else first
        x = box(x + 2 * step / 255 * x.grad.sign(), x_0, 2 * budget / 255)
        for p in parts.weights():
            p.grad = None
    assert first is not None
    return x.detach(), first


def ddpm_step(parts: Parts, seen: Tensor, z_t: Tensor, t: Tensor, draws: Draws) -> Tensor:
    """One step of ancestral sampling from t to t - 1 (Ho et al., arXiv 2006.11239, eq. 7), of a
    model that sees noise; there is no noise before the first timestep.
    """
    kept = torch.cat([torch.ones(1), parts.scheduler.alphas_cumprod])[:, None, None, None]
    now, before = kept[t + 1], kept[t]
    beta = 1 - now / before
    z_0 = (z_t - (1 - now).sqrt() * seen) / now.sqrt()
    mean = (before.sqrt() * beta * z_0 + (now / before).sqrt() * (1 - before) * z_t) / (1 - now)
    return mean + (beta * (1 - before) / (1 - now)).sqrt() * draws.normal(len(t))


def aspl(
    parts: Parts,
    photos: Tensor,
    clean: Tensor,
    classes: Tensor,
    draws: Draws,
    *,
    prompts: tuple[str, str],
    budget: float,
    step: float,
    outer: int,
    pgd_steps: int,
    train_steps: int,
    lr: float,
    as_released: bool,
) -> Found:
    """The turns: learn clean photos on a copy, perturb, learn the perturbed ones.

    Args:
        as_released: no clipping, and every call begins with the first photo and the first class
            picture; else what the package does instead: clipped to norm 1, calls go round all
            pictures.
    """
    x_0, x_clean, x_class = signed(photos), signed(clean), signed(classes)
    x, firsts, learned = x_0, [], 0
    theta = parts.copy()
    how = {"lr": lr, "steps": train_steps, "clip": not as_released}
    for k in range(outer):
        at = 0 if as_released else k * train_steps
        theta_s = train_one_epoch(
            theta.copy(), x_clean, x_class, prompts, draws, first=at, first_class=learned, **how
        )
        learned += 0 if as_released else train_steps
        x, first = pgd_attack(
            theta_s, x, x_0, prompts[0], draws, budget=budget, step=step, steps=pgd_steps
        )
        firsts.append(first)
        theta = train_one_epoch(
            theta, x, x_class, prompts, draws, first=at, first_class=learned, **how
        )
        learned += 0 if as_released else train_steps
    return Found(firsts[0], unsigned(x))


def fsmg(
    parts: Parts,
    photos: Tensor,
    clean: Tensor,
    classes: Tensor,
    draws: Draws,
    *,
    prompts: tuple[str, str],
    budget: float,
    step: float,
    steps: int,
    surrogate_steps: int,
    batch: int,
    lr: float,
    target: Tensor | None = None,
) -> Found:
    """A surrogate that has learned the clean photos, then sign steps against it (with a target:
    T-FSMG, whose loss aspl.py:197-210 has too).
    """
    theta = parts.copy()
    dreambooth(
        theta,
        clean,
        classes,
        draws.others[0],
        prompts=prompts,
        lr=lr,
        steps=surrogate_steps,
        batch=batch,
    )
    z_target = None
    if target is not None:
        with torch.no_grad():
            z_target = encode_target(parts, target, draws, drawn_by=1)
    x, first = pgd_attack(
        theta,
        signed(photos),
        signed(photos),
        prompts[0],
        draws,
        budget=budget,
        step=step,
        steps=steps,
        z_target=z_target,
    )
    return Found(first, unsigned(x))
