"""A photo is known again by its fingerprint."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from cloakwork.photos.fingerprint import CUTS, MARK, distances, fingerprint, parse, seen
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import pixels_of_pil
from cloakwork.workflows.mine import LIKELY, SURE


@pytest.fixture(scope="module")
def images(sample_files: list[Path]) -> list[Image.Image]:
    return [Image.open(file).convert("RGB") for file in sample_files]


def of(image: Image.Image) -> np.ndarray:
    hashes = parse(fingerprint(pixels_of_pil(image)))
    assert hashes is not None
    return hashes


def far(found: Image.Image, image: Image.Image) -> tuple[float, float]:
    straight, turned = distances(seen(pixels_of_pil(found)), [of(image)])[:, 0]
    return float(straight), float(turned)


def test_a_fingerprint_is_one_of_the_whole_and_of_cuts(images: list[Image.Image]) -> None:
    hashes = of(images[0])
    assert hashes.shape == (1 + sum(places**2 for places in CUTS.values()), 32)
    assert fingerprint(pixels_of_pil(images[0])) == fingerprint(pixels_of_pil(images[0]))
    assert len({h.tobytes() for h in hashes}) > 10


def test_what_a_photo_is_known_after(images: list[Image.Image]) -> None:
    for image in images:
        width, height = image.size
        file = io.BytesIO()
        image.save(file, "JPEG", quality=50)
        assert far(Image.open(file), image)[0] < SURE
        assert far(image.resize((width // 2, height // 2)), image)[0] < SURE
        corner = image.crop((0, round(0.1 * height), round(0.9 * width), height))
        assert far(corner, image)[0] < LIKELY
        straight, turned = far(ImageOps.mirror(image), image)
        assert turned < SURE < straight


def test_others_are_far(images: list[Image.Image]) -> None:
    for found in images:
        others = [of(image) for image in images if image is not found]
        assert (distances(seen(pixels_of_pil(found)), others) > 1.5 * LIKELY).all()


def test_a_large_photo_has_the_fingerprint_of_a_small_one(images: list[Image.Image]) -> None:
    large = images[0].resize((images[0].width * 8, images[0].height * 8), Image.Resampling.BICUBIC)
    assert far(large, images[0])[0] < SURE


@pytest.mark.parametrize("text", ["", MARK, MARK + "00", MARK + "zz" * 32, "phash-0:" + "00" * 32])
def test_what_is_no_fingerprint_is_none(text: str) -> None:
    assert parse(text) is None


def test_the_nearest_hash_of_each_counts() -> None:
    found = np.zeros((2, 32), np.uint8)
    found[1, 0] = 255
    recorded = [np.full((2, 32), 255, np.uint8), np.zeros((1, 32), np.uint8), found]
    assert distances(found, recorded).tolist() == [[1, 0, 0], [1 - 8 / 256, 8 / 256, 0]]
    assert distances(found, []).shape == (2, 0)


def test_a_flat_photo_has_one_too() -> None:
    hashes = parse(fingerprint(torch.full((3, 64, 900), 7, dtype=torch.uint8)))
    assert hashes is not None and len(hashes) == 26


def test_it_is_that_of_the_photo_upright(tmp_path: Path, images: list[Image.Image]) -> None:
    turned = images[0].transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x112] = 6  # to be shown turned by 90 degrees clockwise
    turned.save(tmp_path / "a.png", exif=exif)
    assert fingerprint(load_photo(tmp_path / "a.png").pixels) == fingerprint(
        pixels_of_pil(images[0])
    )


def test_the_bounds_are_those_that_were_chosen() -> None:
    results = Path(__file__).parents[2] / "results" / "fingerprints.json"
    assert json.loads(results.read_text())["chosen"] == {"sure": SURE, "likely": LIKELY}
