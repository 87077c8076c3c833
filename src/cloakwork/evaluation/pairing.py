"""Which protected photo belongs to which clean one: from the records beside the protected photos,
or from a clean folder.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cloakwork.errors import UserError
from cloakwork.evaluation.design import Subject
from cloakwork.evaluation.sources import Source, source
from cloakwork.files import FOLDER
from cloakwork.photos.photo import load_photo
from cloakwork.photos.sets import PhotoSet, load_sets


class Original(NamedTuple):
    """The file that a protected photo was made from."""

    file: Path
    digest: str = ""
    """sha256 of its pixels when the photo was made from it; "" where nobody wrote it down"""
    budget: float = 0

    def changed(self, digest: str) -> bool:
        """Whether it is another picture by now."""
        return bool(self.digest) and self.digest != digest


class Couple(NamedTuple):
    """A protected photo and its original."""

    clean_digest: str
    clean: Path
    protected_digest: str
    protected: Path
    change: int
    """largest, 1/255"""


def find_subjects(
    protected: Path | str, clean: Path | str | None = None, reference: Path | str | None = None
) -> list[Subject]:
    """The photo sets of a folder of protected photos, each paired with its originals.

    Args:
        protected: a folder that `protect` wrote, or any folder of protected photos.
        clean: folder of the originals, by the same names (endings may differ); None: the records
            say where they are.
        reference: folder of further clean photos of the subject, or of the subjects in subfolders
            of the same names, that pictures are compared with; None: the originals.

    Raises:
        UserError: every protected photo without an original and the other way round, other sizes,
            missing records.
    """
    sets = load_sets(protected)
    pairs, budgets = (_by_name(sets, clean), {}) if clean else _by_record(sets, Path(protected))
    faults, subjects = [], []
    more = {s.name: s.files for s in load_sets(reference)} if reference else {}
    for photo_set in sets:
        couples = [_couple(*pair) for pair in pairs[photo_set.name]]
        faults += [couple for couple in couples if isinstance(couple, str)]
        if reference and photo_set.name not in more and len(more) > 1:
            faults.append(
                f"{reference} has no subfolder '{photo_set.name}' with clean photos of that set; add one."
            )
        if not faults:
            subjects.append(
                _subject(
                    photo_set.name or Path(protected).name,
                    [couple for couple in couples if isinstance(couple, Couple)],
                    budgets.get(photo_set.name),
                    more.get(photo_set.name, next(iter(more.values()), None)),
                )
            )
    if faults:
        raise UserError(*faults)
    return subjects


def _couple(protected: Path, original: Original) -> Couple | str:
    """A pair, each file decoded once; a sentence if the original has changed or the two have other
    sizes.
    """
    clean = original.file
    a, b = load_photo(protected), load_photo(clean)
    if original.changed(b.digest):
        return f"{clean} has changed since {protected} was made from it; name the folder of the originals with --clean."
    if a.pixels.shape != b.pixels.shape:
        sizes = [f"{p.pixels.shape[2]} x {p.pixels.shape[1]}" for p in (a, b)]
        return f"{protected} is {sizes[0]} and its original {clean} {sizes[1]}; they must have the same size."
    return Couple(
        b.digest, clean, a.digest, protected, int((a.pixels.int() - b.pixels.int()).abs().max())
    )


def _subject(
    name: str, couples: list[Couple], budget: float | None, more: tuple[Path, ...] | None
) -> Subject:
    """Pairs in the order of the originals' contents, so that names do not matter."""
    couples = sorted(couples)
    clean = Source(tuple(c.clean for c in couples), tuple(c.clean_digest for c in couples))
    protected = Source(
        tuple(c.protected for c in couples), tuple(c.protected_digest for c in couples)
    )
    used = float(max(c.change for c in couples)) if budget is None else budget
    return Subject(name, clean, protected, max(1.0, used), source(more) if more else clean)


def _by_name(sets: list[PhotoSet], clean: Path | str) -> dict[str, list[tuple[Path, Original]]]:
    """Pairs of the same set and stem."""
    originals = {s.name: {f.stem.casefold(): f for f in s.files} for s in load_sets(clean)}
    if len(sets) == len(originals) == 1:  # the two folders may be called what they like
        originals = {sets[0].name: next(iter(originals.values()))}
    faults, pairs = [], {}
    for s in sets:
        known, mine = originals.pop(s.name, {}), {f.stem.casefold(): f for f in s.files}
        faults += [
            f"{f} has no original in {clean}; name the two alike."
            for k, f in mine.items()
            if k not in known
        ]
        faults += [
            f"{f} has no protected counterpart; name the two alike, or take it away."
            for k, f in known.items()
            if k not in mine
        ]
        pairs[s.name] = [(f, Original(known[k])) for k, f in mine.items() if k in known]
    faults += [
        f"The clean set '{name}' has no protected counterpart; name the two folders alike."
        for name in originals
    ]
    if faults:
        raise UserError(*faults)
    return pairs


def _by_record(
    sets: list[PhotoSet], root: Path
) -> tuple[dict[str, list[tuple[Path, Original]]], dict[str, float]]:
    """Pairs and budgets as the records beside the photos have them; the folder may have been moved
    since.
    """
    known = _records(root)
    faults, pairs, budgets = [], {}, {}
    for s in sets:
        for file in s.files:
            original = known.get((s.name, file.name))
            if original is None or not original.file.is_file():
                gone = (
                    f"its original {original.file} is gone"
                    if original
                    else "no record says what its original is"
                )
                faults.append(f"{file}: {gone}; name the folder of the originals with --clean.")
                continue
            pairs.setdefault(s.name, []).append((file, original))
            budgets[s.name] = max(original.budget, budgets.get(s.name, 0))
    if faults:
        raise UserError(*faults)
    return pairs, budgets


def _records(root: Path) -> dict[tuple[str, str], Original]:
    """What the records in a folder know: photo set and file name -> original."""
    known = {}
    for path in sorted((root / FOLDER).rglob("record.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            for photo in record["photos"]:
                original = Original(
                    Path(photo["original"]), photo["digest"], record["config"]["budget"]
                )
                known[record["name"], Path(photo["output"]).name] = original
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"The record {path} is damaged; take it away, and name the folder of the originals with --clean."
            ) from None
    return known


def originals(sets: list[PhotoSet], clean: Path | str | None) -> dict[Path, Original]:
    """The originals of photos as far as they are known: photo -> original.

    Args:
        sets: of one folder.
        clean: folder of the originals, by the same names; None: the records beside the photos, or
            in a folder over theirs, say where originals are, and what they do not know is left out.
            Whether an original has changed is not asked here.

    Raises:
        UserError: photos and those of `clean` do not pair up, or a record is damaged.
    """
    if clean:
        return {
            photo: original for pairs in _by_name(sets, clean).values() for photo, original in pairs
        }
    records = cache(_records)

    def original(file: Path) -> Original | None:
        for root in file.parents:
            if (root / FOLDER).is_dir():
                name = file.parent.relative_to(root).as_posix()
                if found := records(root).get(("" if name == "." else name, file.name)):
                    return found
        return None

    found = {file: original(file) for s in sets for file in s.files}
    return {photo: known for photo, known in found.items() if known and known.file.is_file()}
