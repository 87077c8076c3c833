"""Sets of photos that belong together, and where each photo's result goes.

A folder is one set and its subfolders are further sets, mirrored in the output; loose files
together are one set. All of them are one set where the user says so.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from cloakwork.errors import UserError
from cloakwork.photos.folders import expand, inside, no_folder, walk, without_links
from cloakwork.photos.photo import Photo, revisions
from cloakwork.photos.recognition import EXTENSIONS
from cloakwork.photos.rounding import seen_grey
from cloakwork.photos.saving import FORMATS, check_target
from cloakwork.photos.sizes import load_narrow

NOWHERE = Path("/nonexistent-output")  # the output folder of sets that are only read
SAME = "same"  # in place of an ending: every result has its photo's own
# what to do with photos or folders of the same name; in the same output folder the second run would
# be refused, and with --force overwrite the first one's
APART = "name them in separate runs, each with an output folder of its own"


@dataclass(frozen=True)
class PhotoSet:
    """The photos of one subject.

    Attributes:
        name: folder of the set inside the output folder, with "/" between its parts; "" is the
            output folder itself.
        files: the photos, absolute, sorted.
        outputs: where each of them goes, absolute, in the same order.
        digests: of each photo (see `photo.Photo`), in the same order, once they have been loaded.
        revisions: of any of them (see `photo.revisions`); likewise.
        grey: whether one of them is (see `rounding.seen_grey`); likewise.
    """

    name: str
    files: tuple[Path, ...]
    outputs: tuple[Path, ...]
    digests: tuple[str, ...] = field(default=(), compare=False)
    revisions: frozenset[str] = field(default=frozenset(), compare=False)
    grey: bool = field(default=False, compare=False)


def find_sets(
    photos: Sequence[Path | str],
    out: Path | str,
    *,
    each: bool = False,
    one_set: bool = False,
    suffix: str = ".png",
) -> list[PhotoSet]:
    """Find the photo sets among files, folders and patterns. No photo is decoded.

    One folder alone is mirrored into `out` itself; several folders, or folders beside loose files,
    go to subfolders of their own names. Hidden files and folders are passed over, and so are files
    in a folder that are no photos by their ending or their first bytes. What is named twice counts
    once. The result does not depend on the order of the arguments.

    Args:
        photos: files, folders and patterns such as "trip/*.jpg".
        out: folder for the results; it need not exist.
        each: make every photo a set of its own; sets then share the names of their folders.
        one_set: make all photos one set, whose name is ""; they go where they would go without it.
        suffix: ending of the results, one of `saving.FORMATS`, or SAME.

    Returns:
        The sets: of loose files first, then of folders in the order of their paths, each followed
            by its subfolders.

    Raises:
        UserError: one sentence for each fault that was found, all faults together.
    """
    faults: list[str] = []
    out = Path(os.path.abspath(out))
    faults += no_folder(out)
    if suffix not in (*FORMATS, SAME):
        faults.append(
            f"The output ending '{suffix}' is not one of {', '.join(FORMATS)} and {SAME}; "
            "choose one of them."
        )
    if each and one_set:
        faults.append("Every photo cannot be a set and all of them one; choose each or one set.")
    files, folders, missing = expand(photos)
    groups, unusable = _groups(files, folders, out, one_set)
    faults += [*missing, *unusable]
    sets = [_photo_set(name, members, out, suffix) for name, members in groups if members]
    faults += _collisions(sets, one_set)
    if faults:
        raise UserError(*dict.fromkeys(faults))
    if not sets:
        raise UserError(
            "No photos were named; name files, folders or patterns such as 'trip/*.jpg'."
        )
    if each:
        sets = [
            PhotoSet(s.name, (file,), (output,))
            for s in sets
            for file, output in zip(s.files, s.outputs, strict=True)
        ]
    return [_joined(sets)] if one_set else sets


def _joined(sets: Sequence[PhotoSet]) -> PhotoSet:
    """Return all photos as one set."""
    pairs = sorted(pair for s in sets for pair in zip(s.files, s.outputs, strict=True))
    files, outputs = zip(*pairs, strict=True)
    return PhotoSet("", files, outputs)


def load_all(
    sets: Sequence[PhotoSet],
    *,
    skip_bad: bool,
    strip_metadata: bool = False,
    width: int | None = None,
    keep: Callable[[Photo], None] | None = None,
) -> tuple[list[PhotoSet], list[str]]:
    """Load every photo once, so that all faults are known before a long computation starts.

    One photo is held at a time, unless `keep` holds more.

    Args:
        sets: from `find_sets`.
        skip_bad: leave bad photos out instead of raising.
        strip_metadata: the outputs will hold none, so its size does not matter.
        width: pixels that photos are wide at most; wider ones are made smaller.
        keep: called with each good photo.

    Returns:
        The sets without their bad photos (sets without a good photo are left out), with the digests
        of the others, and one sentence for each photo left out, which says so.

    Raises:
        UserError: the faults of all photos together, when skip_bad is off or no good photo is left.
    """
    good: list[PhotoSet] = []
    faults: list[str] = []
    for photo_set in sets:
        loadable, revised, grey = [], frozenset(), False
        for file, output in zip(photo_set.files, photo_set.outputs, strict=True):
            try:
                photo = load_narrow(file, width)
                check_target(photo, output, strip_metadata=strip_metadata)
            except UserError as error:
                faults.extend(error.sentences)
            else:
                loadable.append((file, output, photo.digest))
                revised |= revisions(photo)
                grey = grey or seen_grey(photo.pixels)
                if keep:
                    keep(photo)
        if loadable:
            files, outputs, digests = zip(*loadable, strict=True)
            good.append(PhotoSet(photo_set.name, files, outputs, digests, revised, grey))
    if faults and not (skip_bad and good):
        raise UserError(*faults)
    return good, [f"Skipped: {fault}" for fault in faults]


def load_sets(folder: Path | str) -> list[PhotoSet]:
    """Find the photo sets of a folder, a file or a pattern for which nothing will be written.

    Every photo loads.

    Raises:
        UserError: as of `find_sets` and `load_all`.
    """
    return load_all(find_sets([folder], NOWHERE), skip_bad=False)[0]


Walk: TypeAlias = list[tuple[str, list[Path]]]
"""The name and the photos of each folder in a folder."""


def _groups(
    files: set[Path], folders: set[Path], out: Path, one_set: bool
) -> tuple[Walk, list[str]]:
    """Return the name and the photos of each set, and faults."""
    walks, broken = _walks(folders, out)
    found = {file for walked in walks.values() for _, members in walked for file in members}
    loose = sorted(files - found)
    alone = len(walks) == 1 and not loose
    groups = [
        (name if alone else f"{folder.name}/{name}".rstrip("/"), members)
        for folder, walked in walks.items()
        for name, members in walked
    ]
    faults = [*_among_results(files, out), *chain(*broken.values())]
    for folder, walked in walks.items():
        other = next(f for f in walks if f.name == folder.name)
        if other != folder:
            faults.append(
                f"{other} and {folder} would share the output folder {out / folder.name}; "
                + ("rename one of them." if one_set else f"rename one of them, or {APART}.")
            )
        if not broken[folder] and not any(members for _, members in walked):
            faults.append(
                f"{folder} holds no photos ({', '.join(sorted(EXTENSIONS))}); "
                "name a folder that does."
            )
    return [("", loose), *groups], faults


def _walks(folders: set[Path], out: Path) -> tuple[dict[Path, Walk], dict[Path, list[str]]]:
    """Walk through the outermost of folders; return what is in each, and its faults."""
    walks, faults = {}, {}
    for folder in sorted(folder for folder in folders if folders.isdisjoint(folder.parents)):
        steps = inside(out, folder) or list(walk(folder, "", out, {}))
        faults[folder] = [step for step in steps if isinstance(step, str)]
        walks[folder] = [step for step in steps if not isinstance(step, str)]
    return walks, faults


def _among_results(files: set[Path], out: Path) -> list[str]:
    """Return the faults of photos that lie where results are to go."""
    place = without_links(out)
    return [
        f"{file} lies in the output folder {out}; choose an output folder without originals."
        for file in sorted(files)
        if any(without_links(p).is_relative_to(place) for p in (file.parent, file))
    ]


def _photo_set(name: str, files: list[Path], out: Path, suffix: str) -> PhotoSet:
    outputs = (out / name / (file.stem + _ending(file, suffix)) for file in files)
    return PhotoSet(name, tuple(files), tuple(outputs))


def _ending(file: Path, suffix: str) -> str:
    """Return the ending of a photo's result.

    >>> _ending(Path("a.JPG"), SAME), _ending(Path("a.heic"), SAME), _ending(Path("a.JPG"), ".bmp")
    ('.JPG', '.png', '.bmp')
    """
    if suffix != SAME:
        return suffix
    return file.suffix if file.suffix.lower() in FORMATS else ".png"


def _collisions(sets: list[PhotoSet], one_set: bool) -> list[str]:
    """Return the faults of photos whose results would be the same file."""
    sources: dict[str, list[tuple[Path, Path]]] = defaultdict(list)
    for photo_set in sets:
        for file, output in zip(photo_set.files, photo_set.outputs, strict=True):
            # some disks tell neither case nor the ways to write an accent
            sources[unicodedata.normalize("NFC", str(output)).casefold()].append((file, output))
    return [
        f"{' and '.join(str(f) for f, _ in pairs)} would all be written to {pairs[0][1]}; "
        + ("rename them." if one_set else f"rename them, or {APART}.")
        for pairs in sources.values()
        if len(pairs) > 1
    ]
