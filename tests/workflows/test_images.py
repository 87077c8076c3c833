"""Pictures in memory are treated as files are, and come back as they came."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cloakwork
from cloakwork.errors import UserError
from cloakwork.photos.photo import load_photo

ROOT = Path(__file__).parents[2]


def test_protected_in_memory_as_in_files(
    sample_files: list[Path], small_name: str, tmp_path: Path
) -> None:
    how = {"protection": "pid", "surrogates": [small_name], "budget": 8, "steps": 2, "seed": 3}
    (record,) = cloakwork.protect(sample_files, tmp_path, **how)
    files = [load_photo(tmp_path / f"{f.stem}.png").pixels for f in sample_files]
    pillow = [Image.open(f) for f in sample_files]
    arrays = [np.array(image) for image in pillow]
    tensors = [torch.from_numpy(a).permute(2, 0, 1).double() / 255 for a in arrays]
    for given in (pillow, arrays, tensors):
        made = cloakwork.protect_images(given, **how)
        for x, got, want in zip(given, made, files, strict=True):
            assert type(got) is (Image.Image if isinstance(x, Image.Image) else type(x))
            if isinstance(got, torch.Tensor):
                assert got.dtype == x.dtype and torch.equal(got.mul(255).round().byte(), want)
            else:
                assert np.array_equal(np.array(got), want.permute(1, 2, 0).numpy())
    assert len(record.photos) == 3


def test_purified_in_memory_as_in_files(sample_files: list[Path], tmp_path: Path) -> None:
    for file in sample_files:
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / file.name).write_bytes(file.read_bytes())
    cloakwork.purify(tmp_path / "in", tmp_path / "out", purifiers="noise+jpeg:quality=75", seed=2)
    given = [Image.open(f) for f in sample_files]
    made = cloakwork.purify_images(given, "noise+jpeg:quality=75", seed=2)
    for got, file in zip(made, sample_files, strict=True):
        want = load_photo(tmp_path / "out" / f"{file.stem}.png").pixels
        assert np.array_equal(np.array(got), want.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_a_batch_comes_back_as_a_batch_within_the_budget(dtype: torch.dtype) -> None:
    bytes_ = torch.randint(0, 256, (2, 3, 64, 70), generator=torch.Generator().manual_seed(0))
    batch = bytes_.byte() if dtype == torch.uint8 else (bytes_ / 255).to(dtype)
    made = cloakwork.protect_images(batch, "noise", budget=5)
    assert made.shape == batch.shape and made.dtype == dtype
    levels = made.double() * (1 if dtype == torch.uint8 else 255)
    assert (levels.round() - bytes_).abs().max() == 5


def test_pid_goes_on_from_a_pattern(small_name: str, tmp_path: Path) -> None:
    pixels = np.full((64, 70, 3), 100, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    how = {"protection": "learned", "refine": 2, "surrogates": [small_name], "budget": 6}
    made = cloakwork.protect_images(pixels, **how)
    named = "pid:refined:steps=2,budget=6"
    assert np.array_equal(
        made, cloakwork.protect_images(pixels, named, surrogates=how["surrogates"])
    )
    cloakwork.protect(tmp_path / "grey.png", tmp_path / "out", **how)
    assert np.array_equal(made, np.array(Image.open(tmp_path / "out" / "grey.png")))


def test_transparency_stays() -> None:
    image = Image.new("RGBA", (80, 64), (200, 90, 30, 77))
    made = cloakwork.protect_images(image, "noise", budget=5)
    assert made.mode == "RGBA" and made.getchannel("A").getextrema() == (77, 77)
    assert cloakwork.score_images(made.convert("RGB"), "linf", reference=image) == pytest.approx(5)


def test_scores_are_numbers() -> None:
    grey = np.full((64, 64, 3), 100, np.uint8)
    assert cloakwork.score_images(grey + 3, "linf", reference=grey) == pytest.approx(3)
    found = cloakwork.score_images([grey, grey + 1], "linf,psnr", reference=[grey, grey])
    assert found["linf"] == pytest.approx([0, 1], abs=1e-4) and found["psnr"][1] == pytest.approx(
        48.13, abs=0.01
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("a.png", "given as a str"),
        ([], "No picture"),
        (Image.new("L", (64, 64)), "mode L"),
        (np.zeros((64, 64)), "allowed is H x W x 3"),
        (np.full((64, 64, 3), 255.0), r"allowed are floats in \[0, 1\]"),
        (torch.zeros(3, 32, 64), "at least 64"),
        (torch.zeros(3, 64, 64, dtype=torch.bfloat16), "bfloat16"),
    ],
)
def test_what_is_no_picture(given: object, says: str) -> None:
    with pytest.raises(UserError, match=says):
        cloakwork.protect_images(given, "noise")


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "examples" / "in_memory.ipynb").read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert names["psnr"] > 20  # type: ignore[operator]
