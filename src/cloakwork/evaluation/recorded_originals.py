"""Which files protected photos were made from, as the records beside them have it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cloakwork.errors import UserError
from cloakwork.evaluation.typed_json import from_json
from cloakwork.files import FOLDER, read_json
from cloakwork.types import Strength


class Original(NamedTuple):
    """The file that a protected photo was made from."""

    file: Path
    digest: str = ""
    """sha256 of its pixels when the photo was made from it; "" where no record has it"""
    budget: float = 0
    """of the protection, 1/255; 0 where no record has it"""
    strength: Strength = "uniform"
    """how that budget followed the photo"""

    def changed(self, digest: str) -> bool:
        """Return whether the file holds another picture by now, by the sha256 of its pixels."""
        return bool(self.digest) and self.digest != digest


def read_records(
    root: Path, advice: str = "name the folder of the originals with --clean"
) -> dict[tuple[str, str], Original]:
    """Read the records of a folder: photo set and file name -> original.

    Args:
        root: a folder that `protect` wrote.
        advice: what a user whose record is damaged is to do when it is taken away.

    Raises:
        UserError: a record is damaged.
    """
    known = {}
    for path in record_files(root):
        record = from_json(_Record, read_json(path))
        try:
            if record is None:
                raise ValueError
            for photo in record.photos:
                # below the set's own folder: the photos of one set may lie in several
                place = photo.output.relative_to(record.out)
                folder = (Path(record.name) / place.parent).as_posix()
                original = Original(
                    photo.original, photo.digest, record.config.budget, record.config.follows
                )
                known["" if folder == "." else folder, place.name] = original
        except ValueError:
            raise UserError(f"The record {path} is damaged. Take it away, and {advice}.") from None
    return known


def record_files(root: Path) -> list[Path]:
    """List the records of a folder that `protect` wrote, one a photo set."""
    found = (root / FOLDER).rglob("record.json")
    return sorted(path for path in found if not path.is_dir())


@dataclass(frozen=True)
class _Photo:
    """What is read of a record's photo."""

    original: Path
    digest: str
    output: Path


@dataclass(frozen=True)
class _Config:
    """What is read of a record's settings."""

    budget: float
    strength: Strength | float = "uniform"
    """a number in old records of photoguard, whose field of that name was another"""

    @property
    def follows(self) -> Strength:
        """How the budget followed the photo."""
        return self.strength if isinstance(self.strength, str) else "uniform"


@dataclass(frozen=True)
class _Record:
    """What is read of a record."""

    name: str
    out: Path
    config: _Config
    photos: list[_Photo]
