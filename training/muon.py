"""Muon in float32. Torch's own orthogonalises in bfloat16 whatever the processor, and where that is
imitated it took nine tenths of `dit.py`'s step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # these and the next are torch's own
STEPS = 5
MOMENTUM = 0.95
EPS = 1e-7


def orthogonal(x: Tensor) -> Tensor:
    """A matrix with its singular values brought near 1, by torch's Newton-Schulz iteration."""
    a, b, c = COEFFICIENTS
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=EPS)
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """torch.optim.Muon with its usual settings and steps as long as AdamW's (match_rms_adamw)."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            lr, decay = group["lr"], group["weight_decay"]
            for p in group["params"]:
                grad = p.grad
                mean = self.state[p].setdefault("momentum_buffer", torch.zeros_like(grad))
                mean.lerp_(grad, 1 - MOMENTUM)
                update = orthogonal(grad.lerp(mean, MOMENTUM))
                p.mul_(1 - lr * decay)
                p.add_(update, alpha=-0.2 * lr * math.sqrt(max(p.shape)))
