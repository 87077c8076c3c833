"""Glaze, as the literature states it again.

AAAAAAsuka/Impress at 12f1f07, glaze.py:6-36: Adam on the change, in [-1, 1]; both pictures are
encoded each step, without the latents' scale. LPIPS has AlexNet's features here, where the release
has VGG's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from releases.diff_protect import one_by_one
from releases.parts import Draws, Found, Parts, signed, unsigned


def glaze(
    parts: Parts,
    photos: Tensor,
    draws: Draws,
    styled: Tensor,
    lpips: Callable[[Tensor, Tensor], Tensor],
    *,
    p: float,
    alpha: float,
    lr: float,
    steps: int,
    budget: float | None,
) -> Found:
    """Draw the latent to another style's.

    Args:
        lpips: distance of pictures in [0, 1].
        lr: of Adam, 1/255.
        budget: of the random start and of every step, 1/255; None: the start has +- p, and nothing
            else is bounded, as in the release.
    """
    n = len(photos)
    place = iter(range(n))

    def one(photo: Tensor, own: Draws) -> Found:
        x, x_styled = signed(photo), signed(styled[(i := next(place)) : i + 1])
        radius = p if budget is None else 2 * budget / 255
        delta = radius * (2 * own.starts[0][None] - 1)
        delta = _bounded(x, delta, radius) if budget is not None else delta
        delta.requires_grad_(True)
        optimizer, first = torch.optim.Adam([delta], lr=2 * lr / 255), None
        for _ in range(steps):
            x_adv = x + delta
            x_adv.data = x_adv.data.clamp(-1, 1)
            with torch.no_grad():
                z_styled = parts.encode(x_styled, own) / parts.scale
            z = parts.encode(x_adv, own) / parts.scale
            optimizer.zero_grad()
            visible = alpha * F.relu(lpips(unsigned(x), (x_adv + 1) / 2) - p).sum()
            (F.mse_loss(z, z_styled) + visible).backward()
            assert delta.grad is not None
            first = -delta.grad.clone() if first is None else first
            optimizer.step()
            if budget is not None:
                delta.data = _bounded(x, delta.data, radius)
        assert first is not None
        return Found(first, unsigned((x + delta).clamp(-1, 1)))

    return one_by_one(photos, draws, one)


def _bounded(x: Tensor, delta: Tensor, eps: float) -> Tensor:
    return (x + delta.clamp(-eps, eps)).clamp(-1, 1) - x
