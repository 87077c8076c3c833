"""Windows over photos of any size, and diffusion of pixels: the sampler against what is known of
Gaussian pictures, loading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import nn

from cloakwork.errors import UserError
from cloakwork.models import pixel_ddpm
from cloakwork.models.pixel_ddpm import PixelDDPM
from cloakwork.photos import tiling
from cloakwork.purifiers._regenerate import regenerate

SPREAD = 0.3  # standard deviation of the pictures that the exact denoiser knows


class Exact(nn.Module):
    """The best denoiser there is, where every pixel is normal with mean 0 and deviation SPREAD:
    E[noise | x_t]."""

    def __init__(self, scheduler: DDPMScheduler) -> None:
        super().__init__()
        self.abar = nn.Parameter(scheduler.alphas_cumprod, requires_grad=False)
        self.seen: list[torch.Tensor] = []

    def forward(self, x_t: torch.Tensor, t: torch.Tensor):
        self.seen.append(x_t)
        a = self.abar[t]
        noise = (1 - a).sqrt() * x_t / (a * SPREAD**2 + 1 - a)
        return type("Out", (), {"sample": noise})


@pytest.fixture
def exact() -> PixelDDPM:
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    return PixelDDPM("exact", Exact(scheduler), scheduler, "0", 32)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 64), (77, 50), (48, 131)])
def test_windows_cover_a_photo_and_join_to_it(height: int, width: int) -> None:
    x = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    at = tiling.places(height, width, 32, 16)
    cut = tiling.cut(x, at, 32)
    assert cut.shape == (len(at), 3, 32, 32)
    assert torch.allclose(tiling.join(cut, at, height, width), x, atol=1e-6)
    top, left = at[-1]
    assert top + 32 >= height and left + 32 >= width and top < height - 16 + 16 and left < width


def test_windows_are_joined_without_a_seam() -> None:
    """Two windows of other brightness: no step between neighbouring pixels is larger than the
    ramp's."""
    at = tiling.places(32, 48, 32, 16)
    joined = tiling.join(torch.stack([torch.zeros(1, 32, 32), torch.ones(1, 32, 32)]), at, 32, 48)
    assert joined[0, 0, 0] == 0 and joined[0, 0, -1] == 1
    assert joined.diff(dim=2).abs().max() < 0.1


def test_a_photo_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(UserError, match=r"A photo is 40 x 31 px, smaller than the window of 32 px"):
        tiling.places(31, 40, 32, 16)


@pytest.mark.parametrize(("t", "steps"), [(1000, 0), (1000, 100), (100, 0), (100, 20), (20, 0)])
def test_ancestral_sampling_draws_from_the_posterior(exact: PixelDDPM, t: int, steps: int) -> None:
    """Pictures as spread as the model's own come out as spread as before, and as like the photo as
    Bayes' rule has it."""
    g = torch.Generator().manual_seed(0)
    photo = (0.5 + 0.5 * SPREAD * torch.randn(3, 96, 96, generator=g)).clamp(0, 1)
    new = regenerate(exact, photo, t, steps, g)
    slack = 2 if steps else 1  # the posterior's variance is exact for small steps alone
    assert new.std().item() == pytest.approx(0.5 * SPREAD, rel=0.06 * slack)
    signal, noise = exact.abar(t - 1) * SPREAD**2, 1 - exact.abar(t - 1)
    like = torch.corrcoef(torch.stack([photo.flatten(), new.flatten()]))[0, 1].item()
    assert like == pytest.approx((signal / (signal + noise)).item(), abs=0.025 * slack)


def test_little_noise_keeps_the_photo(exact: PixelDDPM) -> None:
    photo = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3
    apart = [
        (regenerate(exact, photo, t, 0, torch.Generator().manual_seed(2)) - photo).abs().mean()
        for t in (5, 50)
    ]
    assert apart[0] < 0.02 < apart[1] < 0.2


def test_the_model_sees_its_own_range(exact: PixelDDPM) -> None:
    """[-1, 1] and not [0, 1], unless the released mistake is asked for."""
    photo = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
    regenerate(exact, photo, 1, 1, torch.Generator().manual_seed(2))
    assert exact.unet.seen[-1].min() < -0.9 and exact.unet.seen[-1].max() > 0.9
    regenerate(exact, photo, 1, 1, torch.Generator().manual_seed(2), range="released")
    assert exact.unet.seen[-1].min() > -0.1


@pytest.mark.parametrize(("t", "steps"), [(0, 0), (1001, 0), (10, 11)])
def test_timesteps_that_there_are_not(exact: PixelDDPM, t: int, steps: int) -> None:
    with pytest.raises(
        UserError, match=rf"t is {t} and steps {steps}; allowed are 1 to 1000 for t"
    ):
        regenerate(exact, torch.rand(3, 32, 32), t, steps, torch.Generator())


def test_any_pipeline_of_diffusers_can_be_loaded(tmp_path: Path) -> None:
    torch.random.fork_rng()
    unet = UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2,
        norm_num_groups=4,
        up_block_types=("UpBlock2D",) * 2,
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "model")
    model = pixel_ddpm.load(str(tmp_path / "model"), "cpu")
    assert model.size == 16 and len(model.weights) == 12
    got = regenerate(model, torch.rand(3, 20, 33), 20, 4, torch.Generator().manual_seed(0))
    assert got.shape == (3, 20, 33) and 0 <= got.min() and got.max() <= 1
    (tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    pixel_ddpm._load_cpu.cache_clear()
    with pytest.raises(UserError, match="has no safetensors weights in unet/"):
        pixel_ddpm.load(str(tmp_path / "model"), "cpu")


def test_other_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match=r"holds nothing that model_index\.json names"):
        pixel_ddpm.load(str(tmp_path / "model"))
    (tmp_path / "model" / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionPipeline"})
    )
    with pytest.raises(UserError, match="holds StableDiffusionPipeline; a denoiser of pixels"):
        pixel_ddpm.load(str(tmp_path / "model"))
    with pytest.raises(UserError, match="There is no denoiser 'tniy'"):
        pixel_ddpm.load("tniy")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"num_class_embeds": 3},
            "works on pictures of the size 16 and asks for their class; "
            "one of squares without a class",
        ),
        ({"sample_size": (16, 32)}, r"works on pictures of the size \[16, 32\]; one of squares"),
        ({"sample_size": None}, "works on pictures of the size None"),
    ],
)
def test_models_that_windows_do_not_suit_are_refused(
    change: dict[str, object], says: str, tmp_path: Path
) -> None:
    shape = {"sample_size": 16, "block_out_channels": (8, 8), "norm_num_groups": 4} | change
    unet = UNet2DModel(
        **shape, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match=says):
        pixel_ddpm.load(str(tmp_path / "model"), "cpu")
    (tmp_path / "model" / "model_index.json").write_text("{")
    pixel_ddpm._load_cpu.cache_clear()
    with pytest.raises(UserError, match=r"holds nothing that model_index\.json names"):
        pixel_ddpm.load(str(tmp_path / "model"), "cpu")
