"""Photos on the disk: where graphs of steps begin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cloakwork.files import hash_of
from cloakwork.photos.photo import load_photo
from cloakwork.photos.rounding import WORK_SIDE, seen_grey, working_copy
from cloakwork.photos.sizes import load_narrow
from cloakwork.photos.tensors import as_float, to_bytes
from cloakwork.types import Photos


def as_loaded(pixels: Tensor, side: int = WORK_SIDE) -> Tensor:
    """Turn a photo's pixels into what methods are given: 3 x H x W in [0, 1], at 8 bits.

    Args:
        pixels: 3 x H x W, uint8.
        side: pixels that the shorter side has at most.
    """
    return as_float(to_bytes(working_copy(pixels, side)))


@dataclass(frozen=True)
class Source:
    """Photos on the disk.

    Attributes:
        files: in the order in which they pair up with those of other sources.
        digests: sha256 of each photo's pixels.
        side: pixels that the shorter side of a photo has at most; larger ones are made smaller when
            they are read.
        grey: whether one of them is grey. Grey photos once got a change of their own in each
            channel: keys of what protects them say that they do no more.
        width: pixels that a photo is wide at most, as platforms show it (None: any); digests are
            those of the files' own pictures.
    """

    files: tuple[Path, ...]
    digests: tuple[str, ...]
    side: int = WORK_SIDE
    grey: bool = False
    width: int | None = None

    def photos(self) -> Photos:
        """Load the photos, each 3 x H x W in [0, 1], at 8 bits like a file's."""
        return [as_loaded(load_narrow(f, self.width).pixels, self.side) for f in self.files]

    @property
    def key(self) -> str:
        """The sha256, hex, over what decides the photos; their names do not."""
        side = [self.side] if self.side != WORK_SIDE else []
        width = [] if self.width is None else ["wide", self.width]
        return hash_of(["photos", self.digests, *side, *width])


def source(files: Iterable[Path], side: int = WORK_SIDE) -> Source:
    """Return files as a source, in the order of their contents, so that names do not matter."""
    # one photo at a time: a set may be larger than the memory
    read = sorted((p.digest, p.path, seen_grey(p.pixels, side)) for p in map(load_photo, files))
    digests, sorted_files, grey = zip(*read, strict=True)
    return Source(sorted_files, digests, side, any(grey))
