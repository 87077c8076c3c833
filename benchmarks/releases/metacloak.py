"""MetaCloak's released loop.

liuyixin-louis/MetaCloak at 67bcf70: robust_facecloak/attacks/algs/metacloak.py:46-167
(`train_few_step`), 468-488 (the transformation) and 551-597 (pool and turns);
robust_facecloak/attacks/worker/robust_pgd_worker.py:40-98 and 181-268 (PGD). The release keeps bf16
weights and photos of 0 to 255 that it does not bring to [-1, 1] where it learns them; here both are
as meant.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from releases.parts import Draws, Found, Parts, box, signed, unsigned


def train_few_step(
    parts: Parts,
    x: Tensor,
    classes: Tensor,
    prompts: tuple[str, str],
    draws: Draws,
    *,
    lr: float,
    steps: int,
    first: int = 0,
    save_every: int = 0,
) -> tuple[Parts, list[dict[str, Tensor]]]:
    """A copy after some AdamW steps of one photo and one class picture (in [-1, 1]) each, and its
    weights before the first and every `save_every`-th update.

    Gradients are clipped to norm 1, as the release means to.
    """
    theta, encoding, kept = parts.copy(), replace(parts, sample=False), []
    optimizer = torch.optim.AdamW(theta.weights(), lr=lr, weight_decay=1e-2)
    for step in range(steps):
        if save_every and (step == 0 or (step + 1) % save_every == 0):
            kept.append(copy.deepcopy(theta.unet.state_dict()))
            kept[-1] |= {f"text {k}": p for k, p in _copied(theta.text_encoder).items()}
        both = torch.stack([v[(first + step) % len(v)] for v in (x, classes)])
        with torch.no_grad():
            z = encoding.encode(both, draws)
        error = theta.error(z, theta.embed(prompts), draws.timestep(2), draws.normal(2))
        of_photo, of_class = error.chunk(2)
        (of_photo.mean() + of_class.mean()).backward()
        nn.utils.clip_grad_norm_(theta.weights(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return theta, kept


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(module.state_dict())


def transform(x: Tensor, draws: Draws, blur: int, together: bool) -> Tensor:
    """Blur, then flip, pictures of the model's own size.

    Args:
        together: one strength and one flip for all of them, as torchvision does it with a batch;
            else one each.
    """
    n = len(x)
    flips, sigmas = draws.uniform(n) < 0.5, 0.1 + 1.9 * draws.uniform(n)
    if together:
        flips, sigmas = flips[:1].expand(n), sigmas[:1].expand(n)
    at = torch.arange(blur) - blur // 2
    kernels = torch.exp(-0.5 * (at / sigmas[:, None]).square())
    kernels = kernels / kernels.sum(1, keepdim=True)
    padded = F.pad(x, 4 * [blur // 2], mode="reflect")
    seen = []
    for picture, kernel, flip in zip(padded, kernels, flips, strict=True):
        square = (kernel[:, None] * kernel).expand(3, 1, blur, blur)
        blurred = F.conv2d(picture[None], square, groups=3)[0]
        seen.append(blurred.flip(-1) if flip else blurred)
    return torch.stack(seen)


def perturb(
    parts: Parts,
    x: Tensor,
    x_0: Tensor,
    prompt: str,
    draws: Draws,
    *,
    budget: float,
    step: float,
    steps: int,
    blur: int,
    together: bool,
) -> tuple[Tensor, Tensor]:
    """Sign steps through the transformation, with weights frozen (all in [-1, 1])."""
    for p in parts.weights():
        p.requires_grad_(False)
    first, n = None, len(x)
    for _ in range(steps):
        x = x.detach().requires_grad_(True)
        z = parts.encode(transform(x, draws, blur, together), draws)
        c = parts.embed(n * [prompt])
        loss = parts.error(z, c, draws.timestep(n), draws.normal(n)).mean()
        loss.backward()
        assert x.grad is not None
        first = x.grad if first is None else first
        x = box(x + 2 * step / 255 * x.grad.sign(), x_0, 2 * budget / 255)
    for p in parts.weights():
        p.requires_grad_(True)
    assert first is not None
    return x.detach(), first


def metacloak(
    parts: Parts,
    photos: Tensor,
    clean: Tensor,
    classes: Tensor,
    draws: Draws,
    *,
    prompts: tuple[str, str],
    budget: float,
    step: float,
    pgd_steps: int,
    pool_steps: int,
    interval: int,
    advance: int,
    lr: float,
    blur: int,
    together: bool,
) -> Found:
    """One trial: through the pool, and so often through each of its members; photos and class
    pictures in turn.
    """
    x, x_0, x_class = signed(photos), signed(photos), signed(classes)
    _, pool = train_few_step(
        parts,
        signed(clean),
        x_class,
        prompts,
        draws.others[0],
        lr=lr,
        steps=pool_steps,
        save_every=interval,
    )
    firsts, turn = [], 0
    for member in pool:
        theta = parts.copy()
        theta.text_encoder.load_state_dict(
            {k.removeprefix("text "): p for k, p in member.items() if k.startswith("text ")}
        )
        theta.unet.load_state_dict({k: p for k, p in member.items() if not k.startswith("text ")})
        for _ in range(interval // advance):
            x, first = perturb(
                theta,
                x,
                x_0,
                prompts[0],
                draws,
                budget=budget,
                step=step,
                steps=pgd_steps,
                blur=blur,
                together=together,
            )
            firsts.append(first)
            theta, _ = train_few_step(
                theta, x, x_class, prompts, draws, lr=lr, steps=advance, first=turn * advance
            )
            turn += 1
    return Found(firsts[0], unsigned(x))
