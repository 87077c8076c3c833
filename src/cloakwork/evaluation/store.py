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

import json
import os
import platform
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cloakwork._version import __version__
from cloakwork.errors import UserError
from cloakwork.files import atomic_write, cache_folder, sha256, write_json
from cloakwork.parts import is_alive

FORMAT = 1
BEAT = 10.0  # seconds between two signs of life
# without one for so long, a claim's owner is taken for dead; clocks of machines may differ by less
LOST = 6 * BEAT


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
        """Remove a result and its record."""
        for path in (self.folder / name, _record(self.folder / name)):
            path.unlink(missing_ok=True)
            if self.url:
                with suppress(FileNotFoundError):
                    self._place[0].rm_file(
                        f"{self._place[1]}/{path.relative_to(self.folder).as_posix()}"
                    )

    def record(self, name: str) -> dict[str, Any]:
        """Return a result's record; empty when there is none."""
        path = _record(self.folder / name)
        if self.url and not path.is_file():
            self._fetch(path.relative_to(self.folder).as_posix())
        return json.loads(path.read_text()) if path.is_file() else {}

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records of all results in the local folder."""
        for path in sorted(self.folder.glob("*/*.record.json")):
            yield json.loads(path.read_text())

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Claim a result for as long as the context lasts.

        Yields:
            True: it is ours to make. False: somebody else is making it.
        """
        token = json.dumps({"host": platform.node(), "pid": os.getpid(), "token": uuid.uuid4().hex})
        claim = _Claim(self, Path(name).with_suffix(".claim").as_posix(), token)
        if not claim.take():
            yield False
            return
        stop = threading.Event()
        beats = threading.Thread(target=_beat, args=(claim, stop), daemon=True)
        beats.start()
        try:
            yield True
        finally:
            stop.set()
            beats.join()
            claim.release()

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
        header = json.loads(path.read_text())
    except (ImportError, ValueError, OSError) as error:
        raise UserError(
            f"The store {where} cannot be reached ({error}). "
            "Check the spelling, and whether you may write there."
        ) from error
    if header["format"] > FORMAT:
        raise UserError(
            f"The store {where} was written by cloakwork {header['made_by']} "
            f"(format {header['format']}; this one reads {FORMAT}). "
            "Update cloakwork, or name another store."
        )
    return store


@dataclass(frozen=True)
class _Claim:
    """A file that says that a result is being made, and by whom: it holds its owner's token."""

    store: Store
    name: str
    token: str

    def take(self) -> bool:
        """Try to take the claim, a dead owner's too; return whether it is ours."""
        for _ in range(2):
            if self._create():
                return self._read() == self.token  # of two who came at once, only one wrote last
            if not self._lost():
                return False
            self._remove()
        return False

    def release(self) -> None:
        """Give the claim up, if it is still ours."""
        if self._read() == self.token:
            self._remove()

    def beat(self) -> None:
        """Give a sign of life: the file's time is that of the last one."""
        if self._read() == self.token:
            fs, path = self._at()
            fs.pipe_file(path, self.token.encode())

    def _at(self) -> tuple[Any, str]:
        """Return the file system and the claim's path on it."""
        fs, root = self.store._place
        return fs, f"{root}/{self.name}"

    def _create(self) -> bool:
        """Create the file; return False if there is one."""
        fs, path = self._at()
        try:
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            if self.store.url:
                fs.pipe_file(path, self.token.encode(), mode="create")
            else:
                with open(path, "x") as file:
                    file.write(self.token)
        except FileExistsError:
            return False
        return True

    def _read(self) -> str | None:
        """Return the token in the file, None without a file."""
        fs, path = self._at()
        with suppress(FileNotFoundError):
            return fs.cat_file(path).decode()
        return None

    def _lost(self) -> bool:
        """Return whether the owner is dead, as far as can be seen from here."""
        fs, path = self._at()
        fs.invalidate_cache()
        try:
            token, age = fs.cat_file(path).decode(), time.time() - fs.modified(path).timestamp()
        except FileNotFoundError:
            return True
        if age > LOST or not token:  # an empty one is being written, or its writer died over it
            return age > LOST
        owner = json.loads(token)
        return owner["host"] == platform.node() and not is_alive(owner["pid"])

    def _remove(self) -> None:
        fs, path = self._at()
        with suppress(FileNotFoundError):
            fs.rm_file(path)


def _beat(claim: _Claim, stop: threading.Event) -> None:
    """Give signs of life until `stop` is set."""
    while not stop.wait(BEAT):
        with suppress(OSError):
            claim.beat()


def _sound(path: Path) -> bool:
    """Return whether a result is what its record says; one without a record is taken as it is."""
    record = _record(path)
    try:
        return not record.is_file() or json.loads(record.read_text())["sha256"] == sha256(path)
    except (ValueError, KeyError, TypeError):
        return False


def _record(path: Path) -> Path:
    """Return where the record of a result is.

    >>> _record(Path("attack/1f0c.safetensors")).as_posix()
    'attack/1f0c.record.json'
    """
    return path.with_suffix(".record.json")
