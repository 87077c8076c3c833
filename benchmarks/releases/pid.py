"""PID.

PKU-ML/Diffusion-PID-Protection at af7a928, PID.py:179-196 (start, posterior) and 212-262 (loss
"add-log", step): one photo after the other, the original encoded anew in each step.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from releases.diff_protect import one_by_one
from releases.parts import Draws, Found, Parts, signed


def add_log(
    parts: Parts,
    photos: Tensor,
    draws: Draws,
    *,
    budget: float,
    step: float,
    steps: int,
    start_cut: bool,
) -> Found:
    """Raise the distance of log variances plus that of means; photos and changes are in [0, 1].

    Args:
        start_cut: the random start is cut to the pixel range; the release leaves it for its first
            step.
    """
    eps = budget / 255

    def one(x: Tensor, own: Draws) -> Found:
        delta, first = eps * (2 * own.starts[0][None] - 1), None
        delta = (x + delta).clamp(0, 1) - x if start_cut else delta
        for _ in range(steps):
            delta = delta.detach().requires_grad_(True)
            clean = parts.vae.encode(signed(x)).latent_dist
            now = parts.vae.encode(signed(x + delta)).latent_dist
            loss = F.mse_loss(clean.var.log(), now.var.log()) + F.mse_loss(clean.mean, now.mean)
            (g,) = torch.autograd.grad(loss, delta)
            first = g if first is None else first
            delta = (delta.detach() + g.sign() * step / 255).clamp(-eps, eps)
            delta = torch.maximum(torch.minimum(delta, 1 - x), -x)
        assert first is not None
        return Found(first, (x + delta).detach())

    return one_by_one(photos, draws, one)
