"""Whether a photo that was found is one of those that were protected here.

Records hold a fingerprint of every protected photo. Of records of before, which have none, it is
taken from the protected photo, or else from its original.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloakwork.errors import UserError, check_arguments
from cloakwork.files import FOLDER, expand_home, sha256
from cloakwork.photos.fingerprint import distances, fingerprint, parse, seen
from cloakwork.photos.photo import load_photo
from cloakwork.photos.sets import NOWHERE, find_sets, load_all
from cloakwork.state import Progress
from cloakwork.workflows.recorded import Recorded, recorded
from cloakwork.workflows.shown import Listed, Summary

# largest share of the bits of a hash that differ -> how sure it is; chosen on other photos than
# those that docs/try-and-mine.md reports on (benchmarks/fingerprints.py)
SURE, LIKELY = 0.14, 0.18
ITSELF = "the file itself"
NO_PROOF = (
    "No match is no proof: docs/try-and-mine.md says which changes a photo is known after, and "
    "only records in {} were looked through."
)


@dataclass(frozen=True)
class Match:
    """A protected photo that a found one may be."""

    sure: str
    """"the file itself", "sure" or "likely" """
    distance: float
    """share of the bits of a hash that differ"""
    mirrored: bool
    protected: Path
    """below its folder as that is called now; it may be gone"""
    original: Path
    when: str
    """it was protected"""
    made: str
    """by what, in words"""


@dataclass(frozen=True)
class Found:
    """A photo that was found, and which protected ones it may be, the nearest first."""

    file: Path
    matches: list[Match]

    def __repr__(self) -> str:
        return f"<found {self.told}>"

    @property
    def told(self) -> str:
        """What was found out, in words."""
        if not self.matches:
            return f"{self.file}: not known"
        match, more = self.matches[0], len(self.matches) - 1
        how = f"{match.sure}{', mirrored' if match.mirrored else ''}"
        bits = "" if match.sure == ITSELF else f" ({match.distance:.0%} of the bits differ)"
        others = f"; {more} more may be meant" if more else ""
        return (
            f"{self.file}: {how}{bits}: {match.protected}, made from {match.original} on "
            f"{match.when} by {match.made}{others}"
        )


def mine(
    photos: Sequence[Path | str] | Path | str,
    folders: Sequence[Path | str] | Path | str = ".",
    *,
    progress: Progress | None = None,
) -> Listed[Found]:
    """Say of photos whether they are among those that were protected; nothing is written.

    Args:
        photos: that were found: files, folders, globs.
        folders: that `protect` wrote, or folders over such.
        progress: called with a label, photos done and their total.

    Returns:
        One for each photo; `summary.rows` has a line for each match.

    Raises:
        UserError: photos that cannot be read, no such folder, no record in them.
    """
    check_arguments(mine, locals())
    asked = [photos] if isinstance(photos, str | Path) else list(photos)
    places = [folders] if isinstance(folders, str | Path) else list(folders)
    sets = load_all(find_sets(asked, NOWHERE), skip_bad=False)[0]
    known, notes = _known([expand_home(place).absolute() for place in places])
    if not known:
        raise UserError(
            f"No record of a protected photo is in {_list(places)}. "
            "Name the folders that `cloakwork protect` wrote with --in.",
            *notes,
        )
    hashes = {i: h for i, r in enumerate(known) if (h := _hashes(r)) is not None}
    if lost := len(known) - len(hashes):
        notes.append(
            f"{lost} protected photo{'s' * (lost != 1)} could not be compared: the record has no "
            "fingerprint, and the photo and its original are gone or have changed."
        )
    files = [file for s in sets for file in s.files]
    found = []
    for number, file in enumerate(files):
        if progress:
            progress("compared", number, len(files))
        found.append(_compare(file, known, hashes))
    if progress:
        progress("compared", len(files), len(files))
    if any(not f.matches for f in found):
        notes.append(NO_PROOF.format(_list(places)))
    return Listed(found, _summary(found, len(known), notes))


def _known(places: Sequence[Path]) -> tuple[list[Recorded], list[str]]:
    """Return what the records in folders and below them tell, and notes on damaged ones.

    Raises:
        UserError: a folder is none.
    """
    if faults := [f"'{p}' is no folder; check the spelling." for p in places if not p.is_dir()]:
        raise UserError(*faults)
    known: dict[Path, Recorded] = {}
    notes: list[str] = []
    for root in dict.fromkeys(root for place in places for root in _roots(place)):
        try:
            known |= {r.file: r for r in recorded(root)}
        except UserError as error:
            notes += error.sentences
    return list(known.values()), notes


def _roots(place: Path) -> Iterator[Path]:
    """Yield the folders in a folder, itself included, that have records."""
    for folder, names, _ in os.walk(place):
        if FOLDER in names:
            yield Path(folder)
        names[:] = sorted(name for name in names if not name.startswith("."))


def _hashes(record: Recorded) -> np.ndarray | None:
    """Return the hashes of a protected photo, from its record or else from a file that is there."""
    if (hashes := parse(record.photo.fingerprint)) is not None:
        return hashes
    for file, digest in ((record.file, ""), (record.photo.original, record.photo.digest)):
        try:
            photo = load_photo(file)
        except UserError:  # gone, or no photo any longer
            continue
        if digest in ("", photo.digest):
            return parse(fingerprint(photo.pixels))
    return None


def _compare(file: Path, known: Sequence[Recorded], hashes: dict[int, np.ndarray]) -> Found:
    """Compare a photo that was found with all that are known."""
    content = sha256(file)
    far = distances(seen(load_photo(file).pixels), list(hashes.values()))
    by_number = dict(zip(hashes, far.T.tolist(), strict=True))
    matches = []
    for number, record in enumerate(known):
        itself = content == record.photo.sha256
        straight, turned = (0.0, 1.0) if itself else by_number.get(number, (1.0, 1.0))
        distance = min(straight, turned)
        if distance > LIKELY:
            continue
        sure = ITSELF if itself else "sure" if distance <= SURE else "likely"
        mirrored = turned < straight
        about = (record.file, record.photo.original, record.day, record.how)
        matches.append(Match(sure, round(distance, 4), mirrored, *about))
    return Found(file, sorted(matches, key=lambda m: (m.sure != ITSELF, m.distance)))


def _summary(found: Sequence[Found], known: int, notes: Sequence[str]) -> Summary:
    """Return what is shown of photos that were found."""
    mine = sum(bool(f.matches) for f in found)
    count = f"{len(found)} photo{'s' * (len(found) != 1)}"
    head = f"{mine} of {count} known among {known} protected ones."
    rows = [
        {
            "photo": f.file,
            "match": m.sure,
            "mirrored": m.mirrored,
            "distance": m.distance,
            "protected": m.protected,
            "original": m.original,
            "when": m.when,
            "made": m.made,
        }
        for f in found
        for m in f.matches
    ]
    return Summary(head, rows, [*(f"{f.told}." for f in found), *notes])


def _list(places: Sequence[Path | str]) -> str:
    """Return folders as they were named."""
    return ", ".join("the current folder" if str(p) == "." else str(p) for p in places)
