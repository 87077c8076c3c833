"""DISTS, over a VGG16 of random weights, and how visible a change is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from cloakwork.errors import Unscored
from cloakwork.metrics import dists, noticed
from cloakwork.models.dists import CHANNELS, PLACES, STAGES, WEIGHTS
from cloakwork.types import Photos


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random VGG16, as the hub has it."""
    folder, rng = tmp_path_factory.mktemp("vgg"), torch.Generator().manual_seed(0)
    widths, tensors = [3], {}
    for count, channels in STAGES:
        widths += count * [channels]
    for place, a, b in zip(PLACES, widths[:-1], widths[1:], strict=True):
        weight = torch.randn(b, a, 3, 3, generator=rng) * (2 / (9 * a)) ** 0.5
        tensors |= {f"features.{place}.weight": weight, f"features.{place}.bias": torch.zeros(b)}
    tensors["head.fc.weight"] = torch.zeros(3, 3)  # the hub's has more than features
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "vgg16"}))
    return folder


def stated(x: Tensor, y: Tensor, folder: Path) -> float:
    """DISTS as the paper has it, written down once more: pairs of maps, a channel at a time."""
    weights = load_file(folder / "model.safetensors")
    window = np.outer(np.hanning(5)[1:-1], np.hanning(5)[1:-1])
    window = torch.tensor(window / window.sum()).float()

    def maps(x: Tensor) -> list[Tensor]:
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        found, places = [x], iter(PLACES)
        h = (x - mean[:, None, None]) / std[:, None, None]
        for i, (count, _) in enumerate(STAGES):
            if i:
                squares = [F.conv2d(c[None, None] ** 2, window[None, None], None, 2, 1) for c in h]
                h = (torch.cat(squares)[:, 0] + 1e-12).sqrt()
            for _ in range(count):
                p = next(places)
                w, b = weights[f"features.{p}.weight"], weights[f"features.{p}.bias"]
                h = F.conv2d(h[None], w, b, padding=1)[0].relu()
            found.append(h)
        return found

    kept = load_file(WEIGHTS)
    alpha, beta = kept["alpha"].double(), kept["beta"].double()
    pairs = [
        (a.double(), b.double())
        for one, other in zip(maps(x), maps(y), strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    texture = [
        (2 * a.mean() * b.mean() + 1e-6) / (a.mean() ** 2 + b.mean() ** 2 + 1e-6) for a, b in pairs
    ]
    structure = [
        (2 * ((a - a.mean()) * (b - b.mean())).mean() + 1e-6)
        / (a.var(correction=0) + b.var(correction=0) + 1e-6)
        for a, b in pairs
    ]
    alike = (alpha * torch.stack(texture)).sum() + (beta * torch.stack(structure)).sum()
    return (1 - alike / (alpha.sum() + beta.sum())).item()


def test_dists_is_the_papers(vgg: Path, photos: Photos) -> None:
    x = photos[2][:, :48, :56]
    y = (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    (found,) = dists.score([y], [x], None, dists.Config(str(vgg))).tolist()
    assert found == pytest.approx(stated(y, x, vgg), abs=1e-4)
    assert dists.score([x], [x], None, dists.Config(str(vgg))).item() == pytest.approx(0, abs=1e-5)
    assert sum(CHANNELS) == len(load_file(WEIGHTS)["alpha"])


def test_dists_makes_photos_small_and_leaves_tiny_ones_unscored(vgg: Path) -> None:
    large = torch.rand(3, 300, 520, generator=torch.Generator().manual_seed(2))
    cfg = dists.Config(str(vgg))
    small = F.interpolate(large[None], (256, 444), mode="bilinear", antialias=True)[0]
    grey = [torch.full_like(p, 0.5) for p in (large, small)]
    a, b = (dists.score([p], [g], None, cfg) for p, g in zip((large, small), grey, strict=True))
    assert a == pytest.approx(b, abs=1e-4)
    assert dists.score([torch.rand(3, 15, 40)], [torch.rand(3, 15, 40)], None, cfg).isnan().all()


def test_dists_asks_for_its_network(tmp_path: Path, photos: Photos) -> None:
    with pytest.raises(Unscored, match="give one as its field 'vgg'"):
        dists.score(photos, photos, None, dists.Config())
    (tmp_path / "config.json").write_text("{}")
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(Unscored, match="is no VGG16"):
        dists.score(photos, photos, None, dists.Config(str(tmp_path)))


@pytest.mark.parametrize(
    ("levels", "expected"),
    [(0, "unchanged"), (1, "unseen"), (2, "seen close up"), (4, "seen at once")],
)
def test_how_visible_a_change_of_a_flat_grey_is(levels: int, expected: str) -> None:
    flat = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    changed = flat.clone()
    changed[:, ::2] += levels
    seen = noticed.score([changed], [flat], None, noticed.Config()).item()
    assert noticed.word(seen) == expected
    floats = noticed.score([changed / 255], [flat / 255], None, noticed.Config()).item()
    assert floats == pytest.approx(seen, abs=1e-3)
