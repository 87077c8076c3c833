"""Photos that were protected before: the changes of two protections add up beyond their budgets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloakwork.files import FOLDER, read_json, sha256


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
        row["sha256"]: (record.get("protection"), row)
        for root in sorted(roots)
        for record in _records(root)
        for row in _rows(record)
    }
    if not written:
        return []
    found = []
    for file in files:
        if known := written.get(sha256(file)):
            protection, row = known
            found.append(Before(file, str(protection), row["budget_used"], str(row["original"])))
    return found


def _records(root: Path) -> Iterator[dict[str, Any]]:
    """Yield what the records in a folder hold."""
    for path in sorted((root / FOLDER).rglob("record.json")):
        yield read_json(path)


def _rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the photos of a record that were changed; a record may be damaged."""
    photos = record.get("photos")
    for row in photos if isinstance(photos, list) else []:
        if isinstance(row, dict) and {"sha256", "budget_used", "original"} <= row.keys():
            if isinstance(row["budget_used"], int | float) and row["budget_used"] > 0:
                yield row
