"""Photos that are kept from when they were checked until they are protected.

So they need not be decoded for that again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from cloakwork.photos.photo import Photo
from cloakwork.photos.rounding import WORK_SIDE, working_copy
from cloakwork.photos.sizes import load_narrow
from cloakwork.photos.tensors import to_bytes

MOST = 64 * 2**20  # bytes of the sets behind the first one

Kept: TypeAlias = "Photo | Tensor"  # a photo of the working size; or a working copy, uint8


@dataclass
class AtHand:
    """What is kept of the photos of a run.

    A photo larger than its working copy is decoded twice: when it is checked, and when it is
    written. In between its working copy alone is kept, at 8 bits; the photo itself would be several
    times as large. Memory is not the greater for it: the first set is computed first, which makes
    floats of the copies, four times as large. The sets behind it have to wait. What does not fit in
    MOST is not kept of them, and decoded once more.

    Attributes:
        first: files of the first set.
        kept: by file.
        left: bytes that may still be kept of other sets.
        width: pixels that photos are wide at most; None: any.
    """

    first: frozenset[Path] = frozenset()
    kept: dict[Path, Kept] = field(default_factory=dict)
    left: int = field(default_factory=lambda: MOST)
    width: int | None = None

    def keep(self, photo: Photo) -> None:
        """Keep a photo that was decoded, if there is room."""
        found = _kept(photo)
        if photo.path not in self.first:
            size = _pixels(found).numel()
            if size > self.left:
                return
            self.left -= size
        self.kept[photo.path] = found

    def look(self, file: Path) -> Tensor:
        """Return the working copy of a photo, 3 x h x w, uint8; it stays."""
        found = self.kept.get(file)
        return _pixels(_kept(load_narrow(file, self.width)) if found is None else found)

    def take(self, file: Path) -> tuple[Tensor, Photo | None]:
        """Return the working copy of a photo, 3 x h x w, uint8, and forget it.

        With it comes the photo; None for one that is larger, and has to be decoded again.
        """
        found = self.kept.pop(file, None)
        if found is None:
            found = _kept(load_narrow(file, self.width))
        return _pixels(found), found if isinstance(found, Photo) else None

    def forget(self, files: Iterable[Path]) -> None:
        """Forget photos that are not needed."""
        for file in files:
            self.kept.pop(file, None)


def _kept(photo: Photo) -> Kept:
    """Return a photo, or its working copy if that is smaller."""
    large = min(photo.pixels.shape[1:]) > WORK_SIDE
    return to_bytes(working_copy(photo.pixels)) if large else photo


def _pixels(kept: Kept) -> Tensor:
    """Return the pixels of what is kept of a photo, 3 x h x w, uint8."""
    return kept.pixels if isinstance(kept, Photo) else kept
