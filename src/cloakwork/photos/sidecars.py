"""What a trainer reads beside photos: a caption for each, and a folder's metadata.jsonl.

Protected photos have other endings, and metadata.jsonl names files; so it is adjusted as it is
copied.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cloakwork.errors import UserError
from cloakwork.files import atomic_write, permissions
from cloakwork.files.parts import remove_parts
from cloakwork.photos.sets import PhotoSet

CAPTIONS = (".txt", ".caption")
METADATA = "metadata.jsonl"


@dataclass(frozen=True)
class Sidecar:
    """A file beside photos, and where it goes."""

    file: Path
    output: Path


@dataclass(frozen=True)
class Copy:
    """What is written of a sidecar."""

    output: Path
    content: bytes
    left_out: int = 0
    """lines of metadata.jsonl that name no photo of the run"""
    mode: int | None = None
    """permissions, those of the file that it was made from; None: the usual ones"""


def find_sidecars(sets: Sequence[PhotoSet], out: Path) -> list[Sidecar]:
    """Find captions and metadata.jsonl beside photos, and in the folders over them that are
    mirrored.

    Args:
        sets: the photos.
        out: the output folder, absolute.
    """
    found = {
        sidecar.output: sidecar
        for s in sets
        for file, output in zip(s.files, s.outputs, strict=True)
        for sidecar in (*_captions(file, output), *_metadata(file.parent, output.parent, out))
    }
    return sorted(found.values(), key=lambda sidecar: sidecar.output)


def _captions(file: Path, output: Path) -> Iterator[Sidecar]:
    for ending in CAPTIONS:
        caption = file.with_suffix(ending)
        if os.path.isfile(caption) and caption != file:  # also of a name that is too long
            yield Sidecar(caption, output.with_suffix(ending))


def _metadata(folder: Path, target: Path, out: Path) -> Iterator[Sidecar]:
    """Yield the metadata.jsonl of a folder and of those over it, as far as they are mirrored."""
    if (folder / METADATA).is_file():
        yield Sidecar(folder / METADATA, target / METADATA)
    if target != out and folder.name == target.name:
        yield from _metadata(folder.parent, target.parent, out)


def sidecar_note(sidecars: Sequence[Sidecar], copied: Sequence[Copy] | None) -> list[str]:
    """Return the note on files beside photos that were copied, or (None) were not.

    >>> sidecar_note([Sidecar(Path("a.txt"), Path("out/a.txt"))], None)
    ['Not copied: 1 caption (.txt) beside the photos; give --sidecars to copy.']
    """
    if not sidecars:
        return []
    counts = Counter(s.file.suffix for s in sidecars if s.file.name != METADATA)
    kinds = [f"{n} caption{'s' * (n != 1)} ({ending})" for ending, n in sorted(counts.items())]
    files = " and ".join([*kinds, *([METADATA] if len(sidecars) > counts.total() else [])])
    if copied is None:
        return [f"Not copied: {files} beside the photos; give --sidecars to copy."]
    left_out = sum(copy.left_out for copy in copied)
    more = f" Lines left out that name other files: {left_out}." if left_out else ""
    return [f"Copied: {files} beside the photos.{more}"]


def copies(sidecars: Sequence[Sidecar], sets: Sequence[PhotoSet], *, force: bool) -> list[Copy]:
    """Read sidecars, with names of photos in metadata.jsonl changed to those of their outputs.

    Args:
        sidecars: from `find_sidecars`.
        sets: the photos.
        force: overwrite files that hold something else.

    Raises:
        UserError: each that cannot be read, or would overwrite another file.
    """
    outputs = {file: o for s in sets for file, o in zip(s.files, s.outputs, strict=True)}
    made, faults = [], []
    for sidecar in sidecars:
        try:
            content = sidecar.file.read_bytes()
        except OSError as error:
            faults.append(
                f"{sidecar.file} cannot be read ({error.strerror}); leave --sidecars out."
            )
            continue
        try:
            named = sidecar.file.name == METADATA
            copy = _renamed(sidecar, content, outputs) if named else Copy(sidecar.output, content)
        except UserError as error:
            faults += error.sentences
            continue
        if not force and os.path.lexists(copy.output) and not _holds(copy.output, copy.content):
            faults.append(
                f"{copy.output} exists already; give --force to overwrite it, or another output "
                "folder."
            )
        made.append(replace(copy, mode=permissions(sidecar.file)))
    if faults:
        raise UserError(*faults)
    return made


def write_copies(made: Sequence[Copy]) -> None:
    """Write copies that are not there yet; each appears whole or not at all.

    Raises:
        Unwritable: the disk is full, or the folder may not be written.
    """
    for folder in {copy.output.parent for copy in made}:
        remove_parts(folder, [copy.output.name for copy in made])
    for copy in made:
        if not _holds(copy.output, copy.content):
            with atomic_write(copy.output, sweep=False, mode=copy.mode) as part:
                part.write_bytes(copy.content)


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _renamed(sidecar: Sidecar, content: bytes, outputs: dict[Path, Path]) -> Copy:
    """Return a metadata.jsonl with the photos' new names; lines of other files are left out.

    Raises:
        UserError: it is no JSON, a line each.
    """
    lines, left_out = [], 0
    for number, line in enumerate(content.decode("utf-8-sig", "replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
            raise UserError(
                f"Line {number} of {sidecar.file} is no JSON object with a file_name; mend it, or "
                "leave --sidecars out."
            )
        photo = Path(os.path.normpath(sidecar.file.parent / row["file_name"]))
        if photo not in outputs:
            left_out += 1
            continue
        name = os.path.relpath(outputs[photo], sidecar.output.parent)
        lines.append(json.dumps(row | {"file_name": Path(name).as_posix()}, ensure_ascii=False))
    return Copy(sidecar.output, "".join(f"{line}\n" for line in lines).encode(), left_out)
