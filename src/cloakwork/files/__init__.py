"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cloakwork.errors import Unwritable
from cloakwork.files.parts import NOFOLLOW, new_part, remove_parts

ASSETS = Path(__file__).parents[1] / "assets"  # the embedded models
SAMPLE_PHOTOS = ASSETS / "sample_photos"
# written by benchmarks/cost.py: protection -> preset -> counts and, where it was run, seconds and
# memory
COSTS = Path(__file__).parents[1] / "protections" / "costs.json"
FOLDER = ".cloakwork"  # beside photos: records, sheets, checkpoints
SHORT_DIGEST = 12  # hex digits by which weights are named
_STDERR = threading.Lock()  # of the whole process


@contextmanager
def atomic_write(path: Path, *, sweep: bool = True, mode: int | None = None) -> Iterator[Path]:
    """Yield a hidden neighbour of `path` to write to, and rename it to `path` at the end.

    It is pushed to the disk before it is renamed, and removed on any failure. It has a name of its
    own, so that several processes may write `path` at once, and it is made exclusively: a link that
    somebody planted there is never followed.

    Args:
        path: the file; missing folders are made.
        sweep: remove first what killed processes left that were writing it, which lists the
            folder. Who writes many files into one folder does it once for all (`remove_parts`).
        mode: its permissions; None takes the usual ones, and below a FOLDER no more than its own.

    Raises:
        Unwritable: the disk is full, or the folder may not be written.
    """
    part = new_part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if sweep:
            remove_parts(path.parent, [path.name])
        usual = _usual_mode(path) if mode is None else mode
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW, usual))
        try:
            if mode is not None:
                with suppress(OSError):  # some disks know no permissions
                    part.chmod(mode)
            yield part
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise Unwritable(unwritable(path, error)) from None


def permissions(file: Path) -> int:
    """Return who may read and write a file, for another one to take: its owner may in any case."""
    return 0o600 | file.stat().st_mode & 0o666


def keep_private(folder: Path, files: Iterable[Path]) -> None:
    """Let nobody into a folder who may not read all of some files; it is made if it is missing.

    Who may not enter the folders that a file lies in may not read the file either.

    Raises:
        Unwritable: the folder cannot be made.
    """
    files = [file.resolve() for file in files if file.exists()]
    readers = 0o044  # group, others
    for mode in (file.stat().st_mode for file in files):
        readers &= mode
    for mode in (outer.stat().st_mode for outer in {p for file in files for p in file.parents}):
        readers &= mode << 2  # from who may enter to who may read
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(unwritable(folder, error)) from None
    allowed = 0o7700 | readers | readers >> 1 | readers >> 2
    with suppress(OSError):  # another user's, or some disks know no permissions
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) & allowed)


def _usual_mode(path: Path) -> int:
    """Return the permissions of a new file: all that the process gives, less below a FOLDER."""
    private = next((folder for folder in path.parents if folder.name == FOLDER), None)
    return 0o666 if private is None else private.stat().st_mode & 0o666


def unwritable(path: Path, error: OSError) -> str:
    """Return the sentence on a file that the system does not let be written.

    >>> unwritable(Path("a.png"), OSError(errno.ENOSPC, "No space left on device"))
    'a.png could not be written (No space left on device); make room, or choose another folder.'
    >>> unwritable(Path("a.png"), OSError(errno.EISDIR, "Is a directory"))
    'a.png could not be written (Is a directory); take away what is in its place.'
    """
    advice = {
        errno.EACCES: "give yourself the permission to write there, or choose another folder",
        errno.EISDIR: "take away what is in its place",
        errno.ENAMETOOLONG: "shorten the name",
        errno.ENOENT: "choose another folder",
    }
    advice |= dict.fromkeys((errno.EPERM, errno.EROFS), advice[errno.EACCES])
    advice |= dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.ENOTEMPTY), advice[errno.EISDIR])
    # libraries give no number: then it is the disk that is full
    what = advice.get(error.errno or 0, "make room, or choose another folder")
    return f"{path} could not be written ({error.strerror or error}); {what}."


def remove(path: Path) -> None:
    """Remove a file, and what a killed process left that was writing it."""
    path.unlink(missing_ok=True)
    remove_parts(path.parent, [path.name])


def expand_home(path: Path | str) -> Path:
    """Return a path with "~" as the home folder, unless there is a file of that very name.

    >>> expand_home("~/photos") == Path.home() / "photos"
    True
    """
    return Path(path) if os.path.lexists(path) else Path(os.path.expanduser(path))


@contextmanager
def without_stderr() -> Iterator[None]:
    """Drop what is printed on the error output, for C libraries that print beside our sentence.

    It holds for the whole process, so it is for short work alone.
    """
    with _STDERR:
        try:
            before = os.dup(2)
        except OSError:  # closed
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)


def sha256(path: Path) -> str:
    """Compute the sha256 of a file's bytes, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(files: Iterable[Path], inside: Path | None = None) -> str:
    """Compute the sha256 over the digests of files, in the order of their paths.

    Args:
        files: the files, in any order; folders among them are passed over.
        inside: a folder; the paths below it then count too, not the contents alone.

    Returns:
        The first 12 hex digits.
    """
    total = hashlib.sha256()
    for path in sorted(file for file in files if not file.is_dir()):
        if inside is not None:
            total.update(path.relative_to(inside).as_posix().encode(errors="surrogateescape"))
        total.update(bytes.fromhex(sha256(path)))
    return total.hexdigest()[:SHORT_DIGEST]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object; an empty one where there is none, or it is damaged."""
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def parse_json(content: bytes) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: it is damaged: cut short, not UTF-8, nested too deeply, or with a number that is
            infinite or none.

    >>> parse_json(b"[" * 200_000)
    Traceback (most recent call last):
    ValueError: nested too deeply
    """
    try:
        return json.loads(content.decode("utf-8"), parse_float=_number, parse_constant=_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _number(text: str) -> float:
    """Return a finite number; `write_json` writes no other."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no number")
    return number


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON that appears whole or not at all.

    Numbers that JSON cannot hold (infinite, NaN) become null.
    """
    with atomic_write(path) as part:
        save_json(part, content)


def save_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON straight to its file; see `write_json`."""
    text = json.dumps(_finite(content), indent=2, default=str, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cache_folder() -> Path:
    """Return the folder of what is kept between runs: $CLOAKWORK_CACHE, else ~/.cache/cloakwork."""
    return Path(os.environ.get("CLOAKWORK_CACHE") or Path.home() / ".cache" / "cloakwork")


def hash_of(parts: Any) -> str:
    """Compute the sha256 of plain data (as JSON, whatever the order of its keys), 64 hex digits.

    >>> hash_of({"seed": 0, "steps": 20}) == hash_of({"steps": 20, "seed": 0})
    True
    >>> hash_of([])[:12]
    '4f53cda18c2b'
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def untaken(name: str, taken: set[str], joint: str) -> str:
    """Return a file's name, numbered where others have it, and add it to those taken.

    Names that differ in capitals alone are the same to some file systems, so they are here.

    >>> taken = {"cat"}
    >>> untaken("Cat", taken, "-"), untaken("cat", taken, "-"), sorted(taken)
    ('Cat-2', 'cat-3', ['cat', 'cat-2', 'cat-3'])
    """
    free, number = name, 1
    while free.lower() in taken:
        number += 1
        free = f"{name}{joint}{number}"
    taken.add(free.lower())
    return free
