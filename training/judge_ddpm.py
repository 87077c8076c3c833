"""Does the denoiser of pixels denoise? PSNR on noisy patches of photos that it was never trained
on, against the best blur.

A patch is the centre 64 x 64 px of a photo whose short side was brought to 160 px, the training
photos' own. The denoiser guesses the clean patch in one step, at the timestep whose noise is the
patch's. The blur is Gaussian, with the width that is best on average for these very patches: a
rival that has seen the answers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from ddpm import SIDE
from diffusers import DDPMScheduler, UNet2DModel
from judging import outside, save_sheet, stack, summary, unseen
from kornia.filters import gaussian_blur2d
from PIL import Image, ImageOps
from torch import Tensor

NOISE = (11, 25, 50)  # standard deviations, 1/255
WIDTHS = np.arange(0.3, 2.5, 0.1)  # standard deviations of the blur, pixels
SHORT = 160  # pixels


def patch(path: Path) -> Image.Image:
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    scale = SHORT / min(image.size)
    image = image.resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS
    )
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    return image.crop((left, top, left + SIDE, top + SIDE))


def psnr(x: Tensor, clean: Tensor) -> np.ndarray:
    return (-10 * (x.clamp(0, 1) - clean).square().mean((1, 2, 3)).log10()).numpy()


@torch.no_grad()
def denoised(unet: UNet2DModel, scheduler: DDPMScheduler, noisy: Tensor, sigma: float) -> Tensor:
    """The clean patches that the model guesses, in [0, 1], for noise of deviation sigma in the same
    range."""
    a = scheduler.alphas_cumprod
    t = ((1 - a) / a - (2 * sigma) ** 2).abs().argmin()
    x_t = a[t].sqrt() * (2 * noisy - 1)
    noise = torch.cat([unet(part, t).sample for part in x_t.split(32)])
    return (((x_t - (1 - a[t]).sqrt() * noise) / a[t].sqrt()) / 2 + 0.5).clamp(0, 1)


def measure(model: Path, shared: Path, sheets: Path | None) -> dict:
    unet = UNet2DModel.from_pretrained(model / "tiny-pixels" / "unet").eval()
    scheduler = DDPMScheduler.from_pretrained(model / "tiny-pixels" / "scheduler")
    found = unseen(shared)
    groups, clean = [name for name, _ in found], stack([patch(path) for _, path in found])
    results = {}
    for level in NOISE:
        noisy = clean + level / 255 * torch.randn(
            clean.shape, generator=torch.Generator().manual_seed(level)
        )
        made = denoised(unet, scheduler, noisy, level / 255)
        blurs = [gaussian_blur2d(noisy, 13, (w, w)) for w in WIDTHS.tolist()]
        best = max(blurs, key=lambda x: psnr(x, clean).mean())
        got, rival = psnr(made, clean), psnr(best, clean)
        results[str(level)] = {
            "noisy": summary(psnr(noisy, clean), groups),
            "blur": summary(rival, groups),
            "denoiser": summary(got, groups),
            "gain": summary(got - rival, groups),
        }
        if sheets:
            rows = [clean[::20], noisy[::20].clamp(0, 1), best[::20].clamp(0, 1), made[::20]]
            save_sheet(rows, outside(sheets) / f"denoised-{level}.png")
    return results
