"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloakwork.errors import Unwritable

if TYPE_CHECKING:
    from torch import Tensor

ASSETS = Path(__file__).parent / "assets"  # the embedded models
SAMPLE_PHOTOS = ASSETS / "sample_photos"
FOLDER = ".cloakwork"  # beside photos: records, sheets, checkpoints


@contextmanager
def atomic_write(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yields a hidden neighbour of `path` to write to; pushed to the disk and renamed at the end,
    removed on any failure.

    Its name is always the same, so that what a killed process left is replaced by the next. Of a
    file that several processes may write at once (`shared`) each has a neighbour of its own.

    Raises:
        Unwritable: the disk is full, the folder cannot be written, or the like.
    """
    part = _part(path)
    if shared:
        part = part.with_name(f"{part.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unwritable(
            f"{path} could not be written ({reason}); make room, or choose another folder."
        ) from None


def remove(path: Path) -> None:
    """Takes a file away, and what a killed process left that was writing it."""
    for file in (path, _part(path)):
        file.unlink(missing_ok=True)
    shutil.rmtree(scratch_folder(_part(path)), ignore_errors=True)


def scratch_folder(path: Path) -> Path:
    """A folder for libraries that write a file of a random name before they rename it."""
    return path.with_name(f"{path.name}.d")


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file of ours holds; nothing where there is none, or it was damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, content: dict[str, Any], *, shared: bool = False) -> None:
    """Indented JSON that appears whole or not at all; numbers that JSON cannot hold (infinite, NaN)
    become null.

    `shared` as in `files.whole`.
    """
    with atomic_write(path, shared=shared) as part:
        save_json(part, content)


def save_json(path: Path, content: dict[str, Any]) -> None:
    """The same in place."""
    text = json.dumps(_finite(content), indent=2, default=str, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_tensors(path: Path, tensors: dict[str, Tensor], *, shared: bool = False) -> None:
    """A safetensors file that appears whole or not at all; `shared` as in `files.whole`."""
    with atomic_write(path, shared=shared) as part:
        save_tensors(part, tensors)


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file; OSError if the disk is full."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # the library writes to a random name first, which a killed process leaves: in a folder of its
    # own it is found again
    place = scratch_folder(path)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, place / "tensors")
        path.touch()
        shutil.copymode(
            path, place / "tensors"
        )  # as readable as other files to those who share the folder
        os.replace(place / "tensors", path)
    except SafetensorError as error:  # how the library says that the disk is full
        raise OSError(str(error)) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def cache_folder() -> Path:
    """Where class pictures and the like are kept between runs: $CLOAKWORK_CACHE, else
    ~/.cache/cloakwork.
    """
    return Path(os.environ.get("CLOAKWORK_CACHE") or Path.home() / ".cache" / "cloakwork")


def hash_of(parts: Any) -> str:
    """sha256 of plain data, hex."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
