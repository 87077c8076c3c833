"""Which protected photo belongs to which clean one: from the records beside the protected photos,
or from a clean folder.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cloakwork.errors import UserError
from cloakwork.evaluation.design import Subject
from cloakwork.evaluation.recorded_originals import Original, read_records
from cloakwork.evaluation.sources import Source, source
from cloakwork.files import FOLDER, expand_home
from cloakwork.photos.photo import Photo, load_photo
from cloakwork.photos.rounding import seen_grey
from cloakwork.photos.sets import PhotoSet, load_sets
from cloakwork.photos.sizes import as_narrow_as
from cloakwork.types import Strength


class Couple(NamedTuple):
    """A protected photo and its original."""

    clean_digest: str
    clean: Path
    protected_digest: str
    protected: Path
    change: int
    """largest, 1/255"""
    grey: bool
    """whether the original is (`rounding.seen_grey`)"""
    width: int
    """of the protected photo, pixels"""
    narrower: bool
    """whether it is the original made narrower"""


def load_original(known: Original | None, photo: Photo) -> Photo | None:
    """Load a photo's original.

    Returns:
        None where it is unknown, has changed since the photo was made from it, or differs in size;
            one of which the photo is a narrower copy is made as narrow.
    """
    original = load_photo(known.file) if known else None
    if known is None or original is None or known.changed(original.digest):
        return None
    return as_narrow_as(original, photo)


def find_subjects(
    protected: Path | str, clean: Path | str | None = None, reference: Path | str | None = None
) -> list[Subject]:
    """Return the photo sets of a folder of protected photos, each paired with its originals.

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
    protected = expand_home(protected)
    sets = load_sets(protected)
    pairs, budgets = (_by_name(sets, clean), {}) if clean else _by_record(sets, protected)
    faults, subjects = [], []
    references = {s.name: s.files for s in load_sets(reference)} if reference else {}
    for photo_set in sets:
        couples = [_couple(*pair) for pair in pairs[photo_set.name]]
        faults += [couple for couple in couples if isinstance(couple, str)]
        if reference and photo_set.name not in references and len(references) > 1:
            faults.append(
                f"{reference} has no subfolder '{photo_set.name}'. "
                "Add one with clean photos of that set."
            )
        if not faults:
            subjects.append(
                _subject(
                    photo_set.name or protected.name,
                    [couple for couple in couples if isinstance(couple, Couple)],
                    budgets.get(photo_set.name),
                    references.get(photo_set.name, next(iter(references.values()), None)),
                )
            )
    if faults:
        raise UserError(*faults)
    return subjects


def _couple(protected: Path, original: Original) -> Couple | str:
    """Return a photo and its original, each file decoded once.

    Returns:
        The couple, or a sentence for the user if the original has changed or the sizes differ.
    """
    clean = original.file
    a, b = load_photo(protected), load_photo(clean)
    if original.changed(b.digest):
        return (
            f"{clean} has changed since {protected} was made from it. "
            "Name the folder of the originals with --clean."
        )
    same = as_narrow_as(b, a)
    if same is None:
        sizes = [f"{p.pixels.shape[2]} x {p.pixels.shape[1]}" for p in (a, b)]
        return (
            f"{protected} is {sizes[0]} and its original {clean} {sizes[1]}. "
            "They must have the same size."
        )
    change = int((a.pixels.int() - same.pixels.int()).abs().max())
    grey, width = seen_grey(same.pixels), a.pixels.shape[2]
    return Couple(b.digest, clean, a.digest, protected, change, grey, width, same is not b)


def _subject(
    name: str,
    couples: list[Couple],
    recorded: tuple[float, Strength] | None,
    references: tuple[Path, ...] | None,
) -> Subject:
    """Return a subject, its pairs in the order of the originals' contents: names do not matter.

    Args:
        name: of the photo set.
        couples: its pairs.
        recorded: budget, 1/255, and strength; None: the largest change that there is, but at least
            1, everywhere.
        references: photos that pictures are compared with; None: the originals.
    """
    couples = sorted(couples)
    clean = Source(
        tuple(c.clean for c in couples),
        tuple(c.clean_digest for c in couples),
        grey=any(c.grey for c in couples),
        width=_width(couples),
    )
    protected = Source(
        tuple(c.protected for c in couples), tuple(c.protected_digest for c in couples)
    )
    budget, strength = recorded or (float(max(c.change for c in couples)), "uniform")
    compared = source(references) if references else clean
    return Subject(name, clean, protected, max(1.0, budget), compared, strength=strength)


def _width(couples: list[Couple]) -> int | None:
    """Return how wide a set's originals are at most, beside photos that were made narrower.

    Raises:
        UserError: they were made narrower in several ways.
    """
    widths = {c.width for c in couples if c.narrower}
    if not widths:
        return None
    width = min(widths)
    if any(c.width > width for c in couples):
        raise UserError(
            f"{couples[0].protected} and its neighbours were not all made narrower to one width. "
            "Put those of each width into a folder of their own."
        )
    return width


def _by_name(sets: list[PhotoSet], clean: Path | str) -> dict[str, list[tuple[Path, Original]]]:
    """Return pairs of the same set and stem: set -> pairs of a photo and its original."""
    originals = {s.name: {f.stem.casefold(): f for f in s.files} for s in load_sets(clean)}
    if len(sets) == len(originals) == 1:  # the two folders may be called what they like
        originals = {sets[0].name: next(iter(originals.values()))}
    faults, pairs = [], {}
    for s in sets:
        clean_files = originals.pop(s.name, {})
        files = {f.stem.casefold(): f for f in s.files}
        faults += [
            f"{f} has no original in {clean}. Name the two alike."
            for k, f in files.items()
            if k not in clean_files
        ]
        faults += [
            f"{f} has no protected counterpart. Name the two alike, or take it away."
            for k, f in clean_files.items()
            if k not in files
        ]
        pairs[s.name] = [
            (f, Original(clean_files[k])) for k, f in files.items() if k in clean_files
        ]
    faults += [
        f"The clean set '{name}' has no protected counterpart. Name the two folders alike."
        for name in originals
    ]
    if faults:
        raise UserError(*faults)
    return pairs


def _by_record(
    sets: list[PhotoSet], root: Path
) -> tuple[dict[str, list[tuple[Path, Original]]], dict[str, tuple[float, Strength]]]:
    """Return pairs, budgets and strengths as the records beside the photos have them.

    The folder may have been moved since, so photos are known by set and file name.

    Returns:
        set -> pairs of a photo and its original, and set -> largest budget, 1/255, and its
            strength.
    """
    known = read_records(root)
    faults, pairs, budgets = [], {}, {}
    for s in sets:
        for file in s.files:
            original = known.get((s.name, file.name))
            if original is None or not os.path.isfile(original.file):
                reason = (
                    f"its original {original.file} is gone"
                    if original
                    else "no record says what its original is"
                )
                faults.append(f"{file}: {reason}. Name the folder of the originals with --clean.")
                continue
            pairs.setdefault(s.name, []).append((file, original))
            used = (original.budget, original.strength)
            budgets[s.name] = max(used, budgets.get(s.name, used))
    if faults:
        raise UserError(*faults)
    return pairs, budgets


def originals(sets: list[PhotoSet], clean: Path | str | None) -> dict[Path, Original]:
    """Return the originals of photos as far as they are known: photo -> original.

    Whether an original has changed is not checked here.

    Args:
        sets: of one folder.
        clean: folder of the originals, by the same names; None: the records beside the photos, or
            in a folder over theirs, say where originals are, and what they do not know is left out.

    Raises:
        UserError: photos and those of `clean` do not pair up, or a record is damaged.
    """
    if clean:
        return {
            photo: original for pairs in _by_name(sets, clean).values() for photo, original in pairs
        }
    records = cache(read_records)

    def original(file: Path) -> Original | None:
        for root in file.parents:
            if (root / FOLDER).is_dir():
                name = file.parent.relative_to(root).as_posix()
                if known := records(root).get(("" if name == "." else name, file.name)):
                    return known
        return None

    candidates = {file: original(file) for s in sets for file in s.files}
    return {
        photo: known for photo, known in candidates.items() if known and os.path.isfile(known.file)
    }
