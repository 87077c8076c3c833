"""Sets of photos that belong together, and where each photo's result goes.

A folder is one set and its subfolders are further sets, mirrored in the output; loose files
together are one set. All of them are one set where the user says so.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cloakwork.errors import UserError
from cloakwork.files import expand_home
from cloakwork.photos.photo import FORMATS, Photo, check_target, revisions
from cloakwork.photos.recognition import EXTENSIONS, is_photo
from cloakwork.photos.rounding import seen_grey
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
        suffix: ending of the results, one of `photo.FORMATS`, or SAME.

    Returns:
        The sets: of loose files first, then of folders in the order of their paths, each followed
            by its subfolders.

    Raises:
        UserError: one sentence for each fault that was found, all faults together.
    """
    faults: list[str] = []
    out = Path(os.path.abspath(out))
    faults += _no_folder(out)
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


def refuse_report_among_photos(out: Path, *folders: Path | str | None) -> None:
    """Refuse a folder for reports whose pictures would become photos, or that is a file.

    It may not be one of the photos' folders, nor lie in one.

    Args:
        out: the folder for reports.
        folders: of photos; None counts as no folder.

    Raises:
        UserError: one sentence for each such folder.
    """
    faults = [
        *_no_folder(out),
        *(
            fault
            for folder in folders
            if folder is not None
            for fault in _inside(out, expand_home(folder))
        ),
    ]
    if faults:
        raise UserError(*dict.fromkeys(faults))


def _no_folder(out: Path) -> list[str]:
    """Return the fault of an output folder that is something else; none of one still to be made."""
    if not os.path.lexists(out) or os.path.isdir(out):
        return []
    return [f"The output {out} is a file where a folder is needed; name another folder."]


def _inside(out: Path, folder: Path) -> list[str]:
    """Return the fault of an output folder that is the input folder or lies in it."""
    if not _real(out).is_relative_to(_real(folder)):
        return []
    same = _real(out) == _real(folder)
    where = "is the input folder" if same else f"lies in the input folder {folder}"
    return [
        f"The output folder {out} {where}, so results would become inputs; "
        "choose a folder outside of it."
    ]


def photo_files(folder: Path) -> list[Path]:
    """List the photos that lie in a folder itself, by name; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if is_photo(f))


def expand(photos: Sequence[Path | str]) -> tuple[set[Path], set[Path], list[str]]:
    """Sort files, folders and patterns into files and folders, both absolute, and faults."""
    faults: list[str] = []
    files: set[Path] = set()
    folders: set[Path] = set()
    for argument in (str(expand_home(photo)) if str(photo) else "" for photo in photos):
        matches = [Path(argument)] if os.path.lexists(argument) else _matches(argument)
        if not matches and set(argument) & set("*?["):
            faults.append(
                f"The pattern '{argument}' matches no photo and no folder; check the spelling."
            )
        elif not matches:
            faults.append(f"'{argument}' does not exist; check the spelling.")
        for match in matches:
            (folders if match.is_dir() else files).add(Path(os.path.abspath(match)))
    return files, folders, faults


def _matches(pattern: str) -> list[Path]:
    """List photos and folders that match a pattern.

    Hidden ones are listed only where the pattern itself names them.
    """
    path = Path(pattern)
    if not set(pattern) & set("*?["):
        return []
    try:
        # does not follow links to folders in "**"
        matches = list(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except ValueError:  # such as "a**.jpg"
        return []
    named = set(path.parts)
    shown = [
        match
        for match in matches
        if not any(part.startswith(".") and part not in named for part in match.parts)
    ]
    return [match for match in shown if match.is_dir() or is_photo(match)]


def _groups(
    files: set[Path], folders: set[Path], out: Path, one_set: bool
) -> tuple[list[tuple[str, list[Path]]], list[str]]:
    """Return the name and the photos of each set, and faults."""
    faults: list[str] = []
    out_real = _real(out)
    for file in sorted(files):
        if _real(file.parent).is_relative_to(out_real) or _real(file).is_relative_to(out_real):
            faults.append(
                f"{file} lies in the output folder {out}; "
                "choose an output folder without originals."
            )
    walks: dict[Path, list[tuple[str, list[Path]]]] = {}
    faulty: set[Path] = set()
    for folder in sorted(folder for folder in folders if folders.isdisjoint(folder.parents)):
        steps = _inside(out, folder) or list(_walk(folder, "", out, {}))
        found = [step for step in steps if isinstance(step, str)]
        faults += found
        if found:
            faulty.add(folder)
        walks[folder] = [step for step in steps if not isinstance(step, str)]
    loose = sorted(
        files - {file for walk in walks.values() for _, members in walk for file in members}
    )
    groups = [("", loose)]
    alone = len(walks) == 1 and not loose
    by_name: dict[str, Path] = {}
    for folder, walk in walks.items():
        if (other := by_name.setdefault(folder.name, folder)) != folder:
            faults.append(
                f"{other} and {folder} would share the output folder {out / folder.name}; "
                + ("rename one of them." if one_set else f"rename one of them, or {APART}.")
            )
        if folder not in faulty and not any(members for _, members in walk):
            faults.append(
                f"{folder} holds no photos ({', '.join(sorted(EXTENSIONS))}); "
                "name a folder that does."
            )
        groups += [
            (name if alone else f"{folder.name}/{name}".rstrip("/"), members)
            for name, members in walk
        ]
    return groups, faults


def _walk(
    folder: Path, name: str, out: Path, seen: dict[Path, Path]
) -> Iterator[tuple[str, list[Path]] | str]:
    """Yield the name and the photos of a folder and of all folders below it; a fault as a sentence.

    `seen` guards against links that lead back.
    """
    real = _real(folder)
    if real in seen:
        yield (
            f"{folder} and {seen[real]} are the same folder by way of a symbolic link; "
            "remove the link."
        )
        return
    seen[real] = folder
    if real.is_relative_to(_real(out)):
        yield (
            f"{folder} lies in the output folder {out}, so results would become inputs; "
            "choose another output folder."
        )
        return
    try:
        shown = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        yield (
            f"{folder} cannot be read ({error.strerror}); give yourself the permission to read it."
        )
        return
    yield name, [path for path in shown if not path.is_dir() and is_photo(path)]
    for path in shown:
        if path.is_dir():
            yield from _walk(path, f"{name}/{path.name}".lstrip("/"), out, seen)


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


def _real(path: Path) -> Path:
    """Return the path without symbolic links.

    Unlike Path.resolve it takes links that lead nowhere and in circles.
    """
    return Path(os.path.realpath(path))
