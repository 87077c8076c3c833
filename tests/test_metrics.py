from __future__ import annotations

import pytest
import torch

from cloakwork import methods
from cloakwork.metrics import linf, psnr, ssim
from cloakwork.nets.lpips import load_lpips
from cloakwork.types import Photos


@pytest.mark.parametrize("name", [name for name, _ in methods.listing("metrics")])
def test_direction_is_data_and_true(name: str, photos: Photos, rng: torch.Generator) -> None:
    """Every full-reference metric ranks a faint change before a loud one, and scores sets of mixed sizes."""
    module = methods.load("metrics", name)
    assert module.SCOPE == "image" and module.REFERENCE
    signs = [torch.randint(0, 2, p.shape, generator=rng) * 2.0 - 1 for p in photos]
    faint, loud = ([(p + k / 255 * s).clamp(0, 1) for p, s in zip(photos, signs, strict=True)] for k in (3, 12))
    a, b = (module.score(x, photos, None, module.Config()) for x in (faint, loud))
    assert a.shape == (len(photos),)
    assert ((a > b) if module.BETTER == "higher" else (a < b)).all()


def test_closed_forms() -> None:
    x, y = torch.full((3, 70, 80), 0.5), torch.full((3, 70, 80), 0.6)
    assert psnr.score([x], [y], None, psnr.Config()).item() == pytest.approx(20, abs=1e-4)  # mse .01
    assert torch.isinf(psnr.score([x], [x], None, psnr.Config()))
    assert linf.score([x], [y], None, linf.Config()).item() == pytest.approx(25.5, abs=1e-4)
    luminance = (2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)  # constant pictures: SSIM is its luminance term
    assert ssim.score([x], [y], None, ssim.Config()).item() == pytest.approx(luminance, abs=1e-4)


def test_ssim_in_strips_is_ssim(monkeypatch: pytest.MonkeyPatch, rng: torch.Generator) -> None:
    x = torch.rand(3, 400, 100, generator=rng)
    y = (x + 0.1 * torch.randn(x.shape, generator=rng)).clamp(0, 1)
    whole = ssim.score([y], [x], None, ssim.Config())
    monkeypatch.setattr(ssim, "STRIP", 12_000)
    assert ssim.score([y], [x], None, ssim.Config()).item() == pytest.approx(whole.item(), abs=0.01)


def test_lpips_sees_what_people_see(photos: Photos, rng: torch.Generator) -> None:
    """Zero for the same picture, symmetric, and a blur counts for more than a change of brightness of equal error."""
    lpips, x = load_lpips(), photos[-1][None]
    blurred = torch.nn.functional.avg_pool2d(x, 5, 1, 2)
    brighter = (x + (blurred - x).square().mean().sqrt()).clamp(0, 1)
    with torch.no_grad():
        same, one, other, back = lpips(x, x), lpips(x, blurred), lpips(x, brighter), lpips(blurred, x)
    assert same.item() == 0 and one.item() == pytest.approx(back.item(), rel=1e-5)
    assert one > 3 * other
    leaf = blurred.clone().requires_grad_(True)
    (grad,) = torch.autograd.grad(lpips(leaf, x).sum(), leaf)
    assert torch.isfinite(grad).all() and grad.abs().sum() > 0
