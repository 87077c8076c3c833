"""Claims: files that say that a result is being made, and by whom, to all who share a store."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloakwork.errors import Unwritable
from cloakwork.evaluation.typed_json import from_json
from cloakwork.files import parse_json, unwritable
from cloakwork.files.parts import is_alive, new_part

BEAT = 10.0  # seconds between two signs of life
# without one for so long, a claim's owner is taken for dead; clocks of machines may differ by less
LOST = 6 * BEAT


@contextmanager
def claimed(fs: Any, path: str, *, local: bool) -> Iterator[bool]:
    """Hold a claim for as long as the context lasts.

    Args:
        fs: the file system that all who share the store see, as fsspec has it.
        path: the claim's file on it.
        local: it is a folder of this machine, where a file can be made exclusively.

    Yields:
        True: it is ours. False: somebody else's.

    Raises:
        Unwritable: the store may not be written, or something else is in the claim's place.
    """
    token = json.dumps({"host": platform.node(), "pid": os.getpid(), "token": uuid.uuid4().hex})
    claim = _Claim(fs, path, local, token)
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


@dataclass(frozen=True)
class _Claim:
    """A file that says that a result is being made, and by whom: it holds its owner's token."""

    fs: Any
    path: str
    exclusive: bool
    token: str

    def take(self) -> bool:
        """Try to take the claim, a dead owner's too; return whether it is ours.

        Raises:
            Unwritable: the store may not be written, or something else is in the claim's place.
        """
        try:
            for _ in range(2):
                if self._create():
                    # of two who came at once, only one wrote last
                    return self._read() == self.token
                if not self._lost():
                    return False
                self._remove()
        except OSError as error:
            raise Unwritable(unwritable(Path(self.path), error)) from None
        return False

    def release(self) -> None:
        """Give the claim up, if it is still ours."""
        if self._read() == self.token:
            self._remove()

    def beat(self) -> None:
        """Give a sign of life: the file's time is that of the last one."""
        if self._read() == self.token:
            self.fs.pipe_file(self.path, self.token.encode())

    def _create(self) -> bool:
        """Create the file; return False if there is one."""
        try:
            self.fs.makedirs(self.path.rpartition("/")[0], exist_ok=True)
            if self.exclusive:
                _write_new(Path(self.path), self.token)
            else:
                self.fs.pipe_file(self.path, self.token.encode(), mode="create")
        except FileExistsError:
            return False
        return True

    def _read(self) -> str | None:
        """Return the token in the file, None without a file."""
        with suppress(FileNotFoundError):
            return self.fs.cat_file(self.path).decode(errors="replace")
        return None

    def _lost(self) -> bool:
        """Return whether the owner is dead, as far as can be seen from here."""
        self.fs.invalidate_cache()
        try:
            token, beaten = self.fs.cat_file(self.path), self.fs.modified(self.path).timestamp()
        except FileNotFoundError:
            return True
        if time.time() - beaten > LOST:
            return True
        try:
            owner = from_json(_Owner, parse_json(token))
        except ValueError:  # an empty one is being written, or its writer died over it
            owner = None
        return owner is not None and owner.host == platform.node() and not is_alive(owner.pid)

    def _remove(self) -> None:
        with suppress(FileNotFoundError):
            self.fs.rm_file(self.path)


def _write_new(path: Path, text: str) -> None:
    """Write a file that must not exist; whoever sees it sees all of it.

    Raises:
        FileExistsError: it does.
    """
    part = new_part(path)
    try:
        with open(part, "x") as file:
            file.write(text)
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        with open(path, "x") as file:
            file.write(text)
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Owner:
    """Who holds a claim."""

    host: str
    pid: int


def _beat(claim: _Claim, stop: threading.Event) -> None:
    """Give signs of life until `stop` is set."""
    while not stop.wait(BEAT):
        with suppress(OSError):
            claim.beat()
