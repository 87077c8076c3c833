"""Copies of the original in every place of a photo's file: what a protected file holds of them."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from helpers import carriers

from cloakwork.photos.photo import load_photo
from cloakwork.photos.saving import save_photo

OUTPUTS = (".png", ".jpg", ".webp", ".tif", ".bmp")


def run(seed: int, count: int, folder: Path) -> Counter[str]:
    """Plant a secret in several places of a photo, protect it, and look for the secret.

    Args:
        seed: decides formats and places.
        count: of photos, each written with its metadata and without.
        folder: for the photos; those with a fault stay there.

    Returns:
        Outcome -> how often: "gone", and "FAULT: found".
    """
    import pillow_heif

    pillow_heif.register_heif_opener()
    rng, outcomes = random.Random(seed), Counter[str]()
    for number in range(count):
        format = rng.choice(list(carriers.BESIDE))
        places = {
            "exif": rng.choice(["preview", *carriers.FIELDS]),
            "xmp": rng.choice(list(carriers.SPELLINGS)),
            "icc": rng.choice(list(carriers.PROFILES)),
            "beside": rng.choice(list(carriers.BESIDE[format])),
        }
        content = carriers.photo_file(
            format,
            exif=carriers.exif_with(places["exif"]),
            xmp=carriers.SPELLINGS[places["xmp"]],
            icc=carriers.PROFILES[places["icc"]],
        )
        path = folder / f"{seed}-{number}.img"
        path.write_bytes(carriers.BESIDE[format][places["beside"]](content))
        found = [
            suffix
            for suffix in OUTPUTS
            for strip_metadata in (False, True)
            if _survives(path, folder / f"out{suffix}", strip_metadata)
        ]
        outcomes["FAULT: found" if found else "gone"] += 1
        if found:
            print(f"{path.name}: found in {found}: {format} with {places}", flush=True)
        else:
            path.unlink()
    return outcomes


def _survives(path: Path, output: Path, strip_metadata: bool) -> bool:
    """Return whether a file that is written with other pixels still holds the secret."""
    photo = load_photo(path)
    if output.suffix == ".bmp" and photo.icc is not None:
        return False  # refused: BMP cannot hold the profile
    save_photo(255 - photo.pixels, photo, output, strip_metadata=strip_metadata, force=True)
    found = carriers.holds_secret(output.read_bytes())
    output.unlink()
    return found
