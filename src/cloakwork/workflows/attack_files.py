"""What an attack leaves behind: its pictures and their record, and the model that it trained."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloakwork.errors import Unwritable, UserError
from cloakwork.evaluation.typed_json import from_json
from cloakwork.files import FOLDER, atomic_write, read_json, unwritable, write_json
from cloakwork.files.parts import new_part, remove_parts
from cloakwork.finetuning.validation import check_new_folder
from cloakwork.photos.tensors import to_pil
from cloakwork.types import Images


def write_pictures(
    images: Images, out: Path, about: dict[str, Any], earlier: set[Path]
) -> list[Path]:
    """Write pictures and a record of them, and remove those of an earlier attack.

    Returns:
        The pictures' files.
    """
    files = [out / f"{i:03}.png" for i in range(len(images))]
    for file in earlier - set(files):  # first, while the record still names them
        file.unlink()
    # before the pictures, so that those of an attack that is stopped here are known as such
    write_json(out / FOLDER / "attack.json", about | {"pictures": [str(f) for f in files]})
    for picture, file in zip(images, files, strict=True):
        with atomic_write(file) as part:
            to_pil(picture).save(part, "PNG")
    return files


def earlier_pictures(out: Path) -> set[Path]:
    """Return the pictures of an earlier attack that still exist.

    Raises:
        UserError: a picture that would be replaced was not written by an attack.
    """
    existing = {f for f in out.glob("*.png") if f.stem.isdecimal() and len(f.stem) >= 3}
    if strange := sorted(existing - recorded_pictures(out)):
        raise UserError(
            *[
                f"{f} was not written by `cloakwork attack`, so it will not be overwritten. "
                "Choose another output folder."
                for f in strange
            ]
        )
    return existing


def recorded_pictures(out: Path) -> set[Path]:
    """Return the pictures that the record of an earlier attack names, whether they exist or not."""
    record = from_json(_Record, read_json(out / FOLDER / "attack.json"))
    return {out / picture.name for picture in record.pictures} if record else set()


@dataclass(frozen=True)
class _Record:
    """What is read of an attack's record."""

    pictures: list[Path]


@contextmanager
def at_the_end(kept: Path | None) -> Iterator[Path | None]:
    """Yield a neighbour of a new folder, which becomes the folder after all else was written.

    So an attack that was stopped finds no model of its own in its way.

    Raises:
        UserError: something is there already.
        Unwritable: it could not be written.
    """
    if kept is None:
        yield None
        return
    check_new_folder(kept)
    remove_parts(kept.parent, [kept.name])
    part = new_part(kept)
    try:
        yield part
        try:
            if kept.is_dir():
                kept.rmdir()
            os.replace(part, kept)
        except OSError as error:
            raise Unwritable(unwritable(kept, error)) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
