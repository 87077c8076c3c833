"""Back to the originals of protected photos: where they are, and whether they have changed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cloakwork.errors import UserError
from cloakwork.evaluation.recorded_originals import Original, read_records
from cloakwork.files import FOLDER, expand_home
from cloakwork.photos.photo import load_photo


@dataclass(frozen=True)
class Whereabouts:
    """A protected photo, and where its original is."""

    protected: Path
    """where the records have it, below the folder as it is called now; it may be gone"""
    original: Path
    state: Literal["unchanged", "changed", "gone"]
    """of the original, by the hash of its pixels"""


def undo(folder: Path | str) -> list[Whereabouts]:
    """Say where the originals of protected photos are; nothing is written.

    A protection cannot be taken out of a photo, but its original was never touched.

    Args:
        folder: that `protect` wrote, or a folder or a photo in it.

    Returns:
        One for each photo that the records name, sorted by name.

    Raises:
        UserError: there is no such folder or no record of it, or a record is damaged.
    """
    place = Path(os.path.abspath(expand_home(folder)))
    if not place.exists():
        raise UserError(f"'{folder}' does not exist; check the spelling.")
    for root in (place, *place.parents):
        known = _known(root)
        # a record without these photos may be another folder's
        if asked := sorted(p for p in known if place in (p, *p.parents)):
            return [Whereabouts(p, known[p].file, _state(known[p])) for p in asked]
    raise UserError(
        f"No record says where the originals of {folder} are. "
        "Name the folder that `cloakwork protect` wrote, with its .cloakwork in it."
    )


def _known(root: Path) -> dict[Path, Original]:
    """Return what the records in a folder say: protected photo -> original."""
    if not (root / FOLDER).is_dir():
        return {}
    records = read_records(root, "look for those originals yourself")
    return {root / name / file: original for (name, file), original in records.items()}


def _state(original: Original) -> Literal["unchanged", "changed", "gone"]:
    """Return whether a file still holds the picture that a photo was made from."""
    if not os.path.exists(original.file):
        return "gone"
    try:
        digest = load_photo(original.file).digest
    except UserError:  # no photo any longer
        return "changed"
    return "changed" if original.changed(digest) else "unchanged"
