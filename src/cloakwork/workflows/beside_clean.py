"""The clean arm of one attack: what the same attacker gets from the originals, where they are
known.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from cloakwork.evaluation.photo_pairs import load_original, originals
from cloakwork.evaluation.sources import Source
from cloakwork.files import FOLDER, atomic_write
from cloakwork.photos.photo import load_photo
from cloakwork.photos.sets import PhotoSet
from cloakwork.photos.sheets import attack_sheet
from cloakwork.photos.tensors import to_pil
from cloakwork.types import Images

LEFT_OUT = (
    "The originals are known: without --no-clean, what the same attacker gets from them stands "
    "beside its pictures, for twice the time."
)


def clean_source(photos: Source) -> Source | None:
    """Return the originals of photos, in the same order, as the records beside the photos have
    them; None where one is not known or has changed since.
    """
    known = originals([PhotoSet("", photos.files, photos.files)], None)
    if set(known) != set(photos.files):
        return None
    found = [load_original(known[file], load_photo(file)) for file in photos.files]
    loaded = [photo for photo in found if photo is not None]
    if len(loaded) < len(found):
        return None
    return Source(tuple(p.path for p in loaded), tuple(p.digest for p in loaded), photos.side)


def write_beside(images: Images, clean: Images | None, prompts: Sequence[str], out: Path) -> str:
    """Write the sheet, and the pictures from the originals to a folder of their own.

    Args:
        images: what the attacker got from the photos, n x 3 x S x S in [0, 1].
        clean: as many from the originals; None where they are not known.
        prompts: the texts.
        out: the attack's folder; those of an earlier attack are replaced.

    Returns:
        A sentence on where they are, "" for none.
    """
    folder, sheet = out / FOLDER / "clean", out / FOLDER / "sheet.png"
    shutil.rmtree(folder, ignore_errors=True)
    if clean is None:
        attack_sheet(images, prompts, sheet)
        return ""
    for i, picture in enumerate(clean):
        with atomic_write(folder / f"{i:03}.png") as part:
            to_pil(picture).save(part, "PNG")
    each = len(images) // len(prompts)
    rows = zip(images.split(each), clean.split(each), strict=True)
    titles = [f"{p} ({of})" for p in prompts for of in ("from these photos", "from the originals")]
    attack_sheet(torch.cat([picture for row in rows for picture in row]), titles, sheet)
    return (
        "On the sheet, what the same attacker gets from the clean originals, by the same draws, "
        f"stands below; these pictures are in {folder}."
    )
