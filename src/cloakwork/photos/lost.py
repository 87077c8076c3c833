"""What a photo has that the format of its output cannot hold, in words."""

from __future__ import annotations

from pathlib import Path

from cloakwork.photos import descriptions
from cloakwork.photos.photo import Photo
from cloakwork.photos.saving import FORMATS


def lost_in(photo: Photo, path: Path) -> list[str]:
    """Return the note on what `saving.save_photo` leaves out at a path, where that is anything.

    Transparency and colour profile are never left out; `saving.check_target` refuses such a path.

    Args:
        photo: the original.
        path: its ending is the format.
    """
    format = FORMATS[path.suffix.lower()]
    things = [] if format != "BMP" else [("its EXIF", photo.exif), ("its XMP", photo.xmp)]
    named = [name for name, content in things if content is not None]
    named += descriptions.lost(photo.description, format)
    if not named:
        return []
    return [f"{path.suffix} cannot hold {' and '.join(named)}: left out."]
