"""Measurements: numbers, or NaN with a reason."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from cloakwork.errors import UserError
from cloakwork.metrics._measure import measure, metric_instrument
from cloakwork.types import Photos


def test_numbers_come_with_their_unit_and_direction(photos: Photos) -> None:
    found = measure("linf", [(p + 2 / 255).clamp(0, 1) for p in photos], photos)
    assert found.values == pytest.approx([2, 2, 2], abs=1e-3) and found.mean == pytest.approx(
        2, abs=1e-3
    )
    assert (found.name, found.reason, found.instrument, found.better, found.unit) == (
        "linf",
        None,
        "",
        "lower",
        "1/255",
    )
    assert json.loads(json.dumps(asdict(found)))["values"] == found.values


def test_a_batch_of_pictures_is_as_good_as_a_list(photos: Photos) -> None:
    batch = torch.stack([p[:, :120, :120] for p in photos])
    assert measure("clip_i", batch, photos).values == measure("clip_i", list(batch), photos).values


def test_the_instrument_is_named_with_its_weights(photos: Photos) -> None:
    named = metric_instrument("clip_i")
    assert (
        named.startswith("CLIP tiny (weights ")
        and measure("clip_i", photos, photos).instrument == named
    )
    assert metric_instrument("dino") == metric_instrument("linf") == ""


def test_without_originals_there_is_no_number(photos: Photos) -> None:
    found = measure("psnr", photos)
    assert [math.isnan(v) for v in found.values] == [True] * 3
    assert found.reason == "'psnr' compares with the originals, and none were given."
    assert measure("brisque", []).reason == "There is no picture to score."


def test_some_unscored_leave_the_others(photos: Photos) -> None:
    large = torch.nn.functional.interpolate(photos[0][None], scale_factor=2)[0]
    found = measure("ms_ssim", [large, photos[0]], [large, photos[0]])
    assert found.mean == pytest.approx(1, abs=1e-5) and math.isnan(found.values[1])
    assert found.reason == (
        "1 of 2: MS-SSIM's five scales need sides of at least 176 px; 'ssim' scores smaller photos."
    )


def test_pairs_must_pair_up(photos: Photos) -> None:
    with pytest.raises(UserError, match="3 pictures and 2 originals"):
        measure("linf", photos, photos[:2])
    with pytest.raises(
        UserError,
        match="Picture 0 is 168 x 128 and its original 128 x 150; 'ssim' needs the same size",
    ):
        measure("ssim", photos[:2], photos[1::-1])
    with pytest.raises(UserError, match="3 pictures and 2 prompts"):
        measure("clip_t", photos, None, ["a", "b"])
    with pytest.raises(UserError, match="did you mean 'ssim'"):
        measure("sssim", photos, photos)


def test_a_metric_of_anybodys(
    tmp_path: Path, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bright_lab.py").write_text(
        '"""Brightness."""\nfrom dataclasses import dataclass\nimport torch\nVERSION = 1\n'
        "from cloakwork.registry import MetricInfo\n"
        'METRIC = MetricInfo(scope="set", better="higher", range=(0, 1), unit="", reference=None)\n'
        "@dataclass(frozen=True)\nclass Config:\n    gain: float = 1\n"
        "def score(images, reference, prompts, cfg):\n"
        "    return cfg.gain * torch.stack([x.mean() for x in images]).mean()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from cloakwork import registry

    (tmp_path / "lab_of_mine").mkdir()
    (tmp_path / "lab_of_mine" / "__init__.py").touch()
    (tmp_path / "bright_lab.py").rename(tmp_path / "lab_of_mine" / "bright.py")
    module = registry.load("metrics", "lab_of_mine.bright")
    found = measure("lab_of_mine.bright", photos, cfg=module.Config(gain=2))
    assert found.values == pytest.approx([2 * sum(p.mean().item() for p in photos) / 3])
