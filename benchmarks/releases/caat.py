"""CAAT.

CO2-cityao/CAAT at 67792b5, CAAT.py:682-763 (what learns), 783-798 (photos, text) and 850-926 (the
step), without class pictures, on photos of the model's own size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from releases.parts import Draws, Found, Parts, box, signed, unsigned
from releases.trainers import keys_and_values


def caat(
    parts: Parts,
    photos: Tensor,
    draws: Draws,
    *,
    prompt: str,
    budget: float,
    step: float,
    steps: int,
    lr: float,
) -> Found:
    """One backward a step serves photos and weights; all photos are one batch."""
    theta, x_0, n = parts.copy(), signed(photos), len(photos)
    for p in theta.weights():
        p.requires_grad_(False)
    chosen = keys_and_values(theta.unet)
    for p in chosen:
        p.requires_grad_(True)
    optimizer = torch.optim.AdamW(chosen, lr=lr, weight_decay=1e-2)
    x, first = x_0, None
    for _ in range(steps):
        x = x.detach().requires_grad_(True)
        z, c = theta.encode(x, draws), theta.embed(n * [prompt])
        theta.error(z, c, draws.timestep(n), draws.normal(n)).mean().backward()
        nn.utils.clip_grad_norm_(chosen, 1.0)
        assert x.grad is not None
        first = x.grad if first is None else first
        x = box(x + 2 * step / 255 * x.grad.sign(), x_0, 2 * budget / 255)
        optimizer.step()
        optimizer.zero_grad()
    assert first is not None
    return Found(first, unsigned(x))
