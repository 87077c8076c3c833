"""Mist.

mist-project/mist at 7bd1aef: the loss in mist_v3.py:108-149, the loop in Masked_PGD.py:62-120 and
175-192 (steps and budget from mist_v3.py:198-205). The photo is encoded for the target and again,
with the text, for the denoising error; at the model's own size the random crop in between
(mist_v3.py:122-127) cuts nothing.
"""

from __future__ import annotations

from torch import Tensor

from releases.diff_protect import denoising, descend, encode_target, one_by_one
from releases.parts import Draws, Found, Parts


def fused(
    parts: Parts,
    photos: Tensor,
    draws: Draws,
    target: Tensor,
    *,
    prompt: str,
    budget: float,
    step: float,
    steps: int,
    rate: float,
) -> Found:
    """Mode 2: L_T - rate L_S. Both encodings of the photo get the same noise of the posterior here
    (the release draws two, and one for the target, in each step).
    """
    parts.unet.requires_grad_(True)

    def loss(x: Tensor, own: Draws) -> Tensor:
        posterior = Draws(own.normals[:1], shape=own.shape)
        z = parts.encode(x, own)
        z_target = encode_target(parts, target, draws)
        error = denoising(parts, parts.encode(x, posterior), prompt, own)
        for _ in range(2):  # the text is encoded along with the photo and the target
            parts.embed([prompt])
        return (z - z_target).square().sum() - rate * error

    return one_by_one(
        photos, draws, lambda x, own: descend(x, loss, own, budget=budget, step=step, steps=steps)
    )
