"""What the records beside protected photos tell of them: when and how each one was made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cloakwork.errors import UserError
from cloakwork.evaluation.recorded_originals import record_files
from cloakwork.files import FOLDER, read_json
from cloakwork.workflows.records import PhotoRecord, SetRecord, read_set


@dataclass(frozen=True)
class Recorded:
    """A protected photo, as its record has it."""

    file: Path
    """below its folder as that is called now; it may be gone"""
    photo: PhotoRecord
    made: SetRecord
    budget: float
    """1/255"""
    when: datetime
    """when its photo set was finished, in this machine's time"""

    @property
    def how(self) -> str:
        """By what it was protected, in words."""
        models = self.made.models or "no model"
        return f"{self.made.protection} at a budget of {self.budget:g} against {models}"

    @property
    def day(self) -> str:
        """When, as people read it."""
        return f"{self.when:%Y-%m-%d %H:%M}"


def recorded(root: Path) -> list[Recorded]:
    """Return the photos that the records of a folder name, in the order of the records' paths.

    Args:
        root: a folder that `protect` wrote; one without records has none.

    Raises:
        UserError: a record is damaged.
    """
    if not (root / FOLDER).is_dir():
        return []
    return [photo for path in record_files(root) for photo in _photos(root, path)]


def recorded_files(files: list[Path]) -> dict[Path, Recorded]:
    """Return what is recorded of photos in the folders over them, as far as anything is.

    Raises:
        UserError: a record is damaged.
    """
    roots = {root for file in files for root in file.parents}
    # the folder nearest to a photo last: its record goes before others
    known = {r.file: r for root in sorted(roots) for r in recorded(root)}
    return {file: known[file] for file in files if file in known}


def _photos(root: Path, path: Path) -> list[Recorded]:
    """Return the photos of one record."""
    record = read_json(path)
    made, config = read_set(path, record), record.get("config")
    budget = config.get("budget") if isinstance(config, dict) else None
    try:
        if made is None or not isinstance(budget, int | float):
            raise ValueError
        places = [photo.output.relative_to(made.out) for photo in made.photos]
    except ValueError:
        raise UserError(f"The record {path} is damaged. Take it away.") from None
    when = _finished(path)
    return [
        Recorded(root / made.name / place, photo, made, budget, when)
        for photo, place in zip(made.photos, places, strict=True)
    ]


def _finished(path: Path) -> datetime:
    """Return when a record's photos were done: older ones have it from their file alone."""
    told = read_json(path.with_name("timings.json")).get("finished")
    try:
        return datetime.fromisoformat(str(told)).astimezone()
    except ValueError:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).astimezone()
