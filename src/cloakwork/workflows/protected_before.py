"""Photos that were protected before: the changes of two protections add up beyond their budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloakwork.files import sha256
from cloakwork.workflows.records import listed_photos


@dataclass(frozen=True)
class Before:
    """A photo that an earlier run wrote, by its record."""

    file: Path
    protection: str
    change: float
    """largest, 1/255"""
    original: str

    @property
    def fault(self) -> str:
        """The sentence that refuses it."""
        return (
            f"{self.file} was protected before, by {self.protection} with changes of up to "
            f"{self.change:g}; a second protection adds its own. Take the original "
            f"{self.original}, or give --force."
        )

    @property
    def note(self) -> str:
        """The sentence on it where that was forced, without the file's name."""
        return (
            f"Protected before, by {self.protection} with changes of up to {self.change:g}, which "
            "the budget does not count."
        )


@dataclass(frozen=True)
class _Changed:
    """What is read of a record's photo."""

    sha256: str
    """of the output file"""
    budget_used: float
    """largest change, 1/255"""
    original: str


def protected_before(files: Sequence[Path], out: Path) -> list[Before]:
    """Find photos among files that an earlier run wrote, whatever they are called by now.

    They are known by their content, from the records in their own folders, in folders over these
    and in the output folder. A copy that was moved far from every record is not known.

    Args:
        files: photos that are to be protected.
        out: the output folder.
    """
    roots = {out} | {parent for file in files for parent in file.parents}
    written = {
        photo.sha256: (record.get("protection"), photo)
        for root in sorted(roots)
        for record, photo in listed_photos(root, _Changed)
        if photo.budget_used > 0
    }
    if not written:
        return []
    found = []
    for file in files:
        if known := written.get(sha256(file)):
            protection, photo = known
            found.append(Before(file, str(protection), photo.budget_used, photo.original))
    return found
