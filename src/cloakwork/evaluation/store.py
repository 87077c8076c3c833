"""Where results lie: a folder, on a disk that several machines may share, or any place that fsspec
reaches.

A result is a file that appears whole, beside a record with its hash, its cost and where it was
made. A file that is not what its record says is thrown away and made again. Who makes a result
claims it first; a claim whose owner has stopped giving signs of life is taken over, so that any
number of processes may work on one store, and one that dies costs no more than its own step.

    store.json                      the format
    attack/1f0c....safetensors      a result
    attack/1f0c....record.json      its record
    attack/1f0c....claim            while it is being made
"""

from __future__ import annotations

import platform
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from cloakwork._version import __version__
from cloakwork.errors import Unwritable, UserError, type_faults
from cloakwork.evaluation.claims import claimed
from cloakwork.evaluation.typed_json import from_json
from cloakwork.files import (
    atomic_write,
    cache_folder,
    parse_json,
    read_json,
    remove,
    sha256,
    unwritable,
    write_json,
)
from cloakwork.files.parts import remove_parts

FORMAT = 1
# what is read of a record
ABOUT = {"kind": str, "name": str, "host": str, "when": str}
ABOUT |= {"seconds": float, "cpu_seconds": float, "dead_steps": int}


@dataclass(frozen=True)
class Store:
    """A place for results; names are relative paths such as "attack/1f0c.safetensors".

    Attributes:
        folder: local; of a remote store it is the mirror.
        url: of a remote store, as fsspec takes it, else "".
    """

    folder: Path
    url: str = ""

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The file system that all who share the store see, and the folder in it."""
        from fsspec.core import url_to_fs

        return url_to_fs(self.url or str(self.folder))

    def find(self, name: str) -> Path | None:
        """Return the local file of a result, checked against its record.

        Returns:
            None when there is none, or none that can be trusted; that is removed, with a warning.
        """
        path = self.folder / name
        if path.is_file() and _sound(path):
            return path
        # the mirror has nothing yet, or nothing that can be trusted
        if self.url and self._fetch(name):
            self._fetch(_record(path).relative_to(self.folder).as_posix())
            if _sound(path):
                return path
        if path.is_file():
            warnings.warn(f"{path} is not what its record says. It is made again.", stacklevel=2)
            self.drop(name)
        return None

    def has(self, name: str) -> bool:
        """Return whether a result is there, without a look inside."""
        return (self.folder / name).is_file() or bool(
            self.url and self._place[0].exists(f"{self._place[1]}/{name}")
        )

    def keep(self, name: str, write: Callable[[Path], None], about: dict[str, Any]) -> Path:
        """Write a result, which must have been claimed, and its record.

        The record comes first, so that no result is ever seen without it.

        Args:
            name: of the result.
            write: writes its content to a path that it is given.
            about: what the record says of it, beside its hash, host, version and time.

        Returns:
            The result's local file.

        Raises:
            UserError: the disk is full, or the like.
        """
        path = self.folder / name
        host = {
            "host": platform.node(),
            "made_by": __version__,
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        with atomic_write(path) as part:
            write(part)
            write_json(_record(path), {"sha256": sha256(part)} | about | host)
            if self.url:
                self._send(_record(path), _record(path).relative_to(self.folder).as_posix())
                self._send(part, name)
        return path

    def drop(self, name: str) -> None:
        """Remove a result and its record.

        Raises:
            Unwritable: they may not be removed.
        """
        for path in (self.folder / name, _record(self.folder / name)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise Unwritable(unwritable(path, error)) from None
            if self.url:
                with suppress(FileNotFoundError):
                    self._place[0].rm_file(
                        f"{self._place[1]}/{path.relative_to(self.folder).as_posix()}"
                    )

    def tidy(self) -> None:
        """Remove what killed processes left beside results that are there: claims, checkpoints,
        parts.

        What is left of results that are not there yet helps whoever makes them.
        """
        for record in self.folder.glob("*/*.record.json"):
            stem = record.with_name(record.name.removesuffix(".record.json"))
            claim, checkpoint, *results = (
                stem.with_name(stem.name + end)
                for end in (".claim", ".part.safetensors", ".safetensors", ".json")
            )
            made = [path for path in results if path.is_file()]
            if made and (claim.is_file() or checkpoint.is_file()):
                # a dead owner's is taken over and given up
                with self.claimed(made[0].relative_to(self.folder).as_posix()) as ours:
                    if ours:
                        remove(checkpoint)
        for kind in self.folder.glob("*/"):
            remove_parts(kind)

    def record(self, name: str) -> dict[str, Any]:
        """Return a result's record; empty when there is none, or it is damaged."""
        path = _record(self.folder / name)
        if self.url and not path.is_file():
            self._fetch(path.relative_to(self.folder).as_posix())
        return _about(path)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records of all results in the local folder; damaged ones are passed over."""
        yield from filter(None, map(_about, sorted(self.folder.glob("*/*.record.json"))))

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Claim a result for as long as the context lasts.

        Yields:
            True: it is ours to make. False: somebody else is making it.
        """
        fs, root = self._place
        place = f"{root}/{Path(name).with_suffix('.claim').as_posix()}"
        with claimed(fs, place, local=not self.url) as ours:
            yield ours

    def _fetch(self, name: str) -> bool:
        """Copy a file from the remote store to the mirror; return whether it was there."""
        fs, root = self._place
        if not fs.exists(f"{root}/{name}"):
            return False
        with atomic_write(self.folder / name) as part:
            fs.get_file(f"{root}/{name}", str(part))
        return True

    def _send(self, path: Path, name: str) -> None:
        """Copy a file to the remote store, where it appears whole."""
        fs, root = self._place
        target = f"{root}/{name}"
        fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        part = f"{target}.{uuid.uuid4().hex[:8]}.part"
        fs.put_file(str(path), part)
        fs.mv(part, target)


def open_store(where: Path | str) -> Store:
    """Open a store in a folder, or at an fsspec URL such as s3://bucket/folder.

    It is made if it is not there.

    Raises:
        UserError: a newer version has written it, or it cannot be reached.
    """
    url = str(where) if "://" in str(where) else ""
    folder = (
        cache_folder() / "stores" / uuid.uuid5(uuid.NAMESPACE_URL, url).hex
        if url
        else Path(where).absolute()
    )
    store, name = Store(folder, url.rstrip("/")), "store.json"
    path = folder / name
    try:
        exists = store._fetch(name) if url else path.is_file()
        if not exists:
            write_json(path, {"format": FORMAT, "made_by": __version__})
            if url:
                store._send(path, name)
        content = path.read_bytes()
    except UserError:
        raise
    except Exception as error:  # file systems of any maker raise nearly anything
        raise UserError(
            f"The store {where} cannot be reached ({error or type(error).__name__}). "
            "Check the spelling, and whether you may write there."
        ) from error
    _check_format(content, path, where)
    return store


@dataclass(frozen=True)
class _Header:
    """What store.json says."""

    format: int
    made_by: str = "of another version"


def _check_format(content: bytes, path: Path, where: Path | str) -> None:
    """Refuse a store that a newer version has written, or one whose store.json is damaged."""
    try:
        header = from_json(_Header, parse_json(content))
    except ValueError:
        header = None
    if header is None:
        raise UserError(
            f"{path} is damaged, so nobody knows the format of the store {where}. "
            "Take that file away if this version made the store, or name another store."
        )
    if header.format > FORMAT:
        raise UserError(
            f"The store {where} was written by cloakwork {header.made_by} "
            f"(format {header.format}; this one reads {FORMAT}). "
            "Update cloakwork, or name another store."
        )


def _sound(path: Path) -> bool:
    """Return whether a result is what its record says; one without a record, whether it is whole.

    What it holds is for its reader to say.
    """
    if _record(path).is_file():
        return read_json(_record(path)).get("sha256") == sha256(path)
    if path.suffix == ".json":
        return bool(read_json(path))
    try:
        with safe_open(path, "pt"):
            return True
    except (OSError, SafetensorError):
        return False


def _about(path: Path) -> dict[str, Any]:
    """Return a record; empty where there is none, or a field that is read is of another type."""
    record = read_json(path)
    return {} if type_faults("{}", ABOUT, record) else record


def _record(path: Path) -> Path:
    """Return where the record of a result is.

    >>> _record(Path("attack/1f0c.safetensors")).as_posix()
    'attack/1f0c.record.json'
    """
    return path.with_suffix(".record.json")
