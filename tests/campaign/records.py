"""Damage the files that cloakwork keeps, a few at random each time, and count what becomes of it.

Whatever has happened to a record, a checkpoint, a result or a claim: the same bytes come out, or
one `UserError` says why not. Anything else ("other bytes", "traceback") is a defect; the damaged
file is then kept in the folder.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cloakwork.errors import UserError
from cloakwork.evaluation.store import open_store
from cloakwork.files import sha256
from cloakwork.state import RunState
from cloakwork.workflows.protect import protect
from cloakwork.workflows.purify import purify
from cloakwork.workflows.undo import undo

STRANGE = (None, True, -1, 10**30, 1.5, "", "x", "a\0b", "\ud800", [], {}, [[]], {"newer": 1})
RESULT = "protect/0123.json"


@dataclass(frozen=True)
class Case:
    """A kind of file, and what is done with it again.

    Attributes:
        files: pattern of the files that are damaged, below the case's folder.
        make: prepares a folder.
        again: does the same again, and returns what must not have changed.
    """

    files: str
    make: Callable[[Path], object]
    again: Callable[[Path], object]


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return the content of a file after one accident."""
    accidents = [_flipped, _cut, _zeroed, lambda c, d: b"[" * 200_000, lambda c, d: b""]
    try:
        data = json.loads(content)
    except ValueError:
        return draw.choice(accidents)(content, draw)
    if draw.random() < 0.3:
        return draw.choice(accidents)(content, draw)
    return json.dumps(_changed(data, draw)).encode()


def _flipped(content: bytes, draw: random.Random) -> bytes:
    """Flip one bit."""
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    """Lose the end."""
    return content[: draw.randrange(len(content))]


def _zeroed(content: bytes, draw: random.Random) -> bytes:
    """Lose a block."""
    place = draw.randrange(len(content))
    return content[:place] + bytes(len(content[place : place + 64])) + content[place + 64 :]


def _changed(data: Any, draw: random.Random) -> Any:
    """Change, drop or add one entry of what JSON holds, anywhere in it."""
    keys = (
        list(data)
        if isinstance(data, dict)
        else list(range(len(data) if isinstance(data, list) else 0))
    )
    if not keys or draw.random() < 0.1:
        return draw.choice(STRANGE)
    key, copy = draw.choice(keys), data.copy()
    if isinstance(data[key], dict | list) and draw.random() < 0.7:
        copy[key] = _changed(data[key], draw)
    elif draw.random() < 0.4:
        del copy[key]
    else:
        copy[key] = draw.choice(STRANGE)
    if isinstance(copy, dict) and draw.random() < 0.1:
        copy["newer"] = draw.choice(STRANGE)
    return copy


def run(seed: int, count: int, folder: Path) -> Counter[str]:
    """Damage files, as many of each kind.

    Args:
        seed: of the accidents.
        count: trials in all; at least one of each kind.
        folder: an empty one; what was not as it should be stays in it.

    Returns:
        Outcome -> trials: "same", "refused", and faults with the kind of file.
    """
    total = Counter[str]()
    each = max(1, round(count / len(cases())))
    for name, outcomes in by_kind(seed, each, folder).items():
        for outcome, n in outcomes.items():
            good = outcome in ("same", "refused")
            total[outcome if good else f"FAULT: {outcome} ({name})"] += n
    return total


def by_kind(seed: int, count: int, folder: Path) -> dict[str, Counter[str]]:
    """Damage each kind of file `count` times; the rest as of `run`.

    Returns:
        Kind of file -> outcome -> trials. Outcomes are "same", "refused", "other bytes" and
        "traceback".
    """
    draw, outcomes = random.Random(seed), {}
    for name, case in cases().items():
        place, whole = folder / name, folder / f"{name}-whole"  # records name places in full
        place.mkdir(parents=True)
        case.make(place)
        shutil.copytree(place, whole)
        want = case.again(place)
        outcomes[name] = Counter[str]()
        for trial in range(count):
            shutil.rmtree(place)
            shutil.copytree(whole, place)
            outcome = _trial(case, place, want, draw)
            outcomes[name][outcome.partition(":")[0]] += 1
            if outcome not in ("same", "refused"):
                shutil.copytree(place, folder / f"{name}-{trial}")
                (folder / f"{name}-{trial}/outcome.txt").write_text(outcome)
    return outcomes


def _trial(case: Case, folder: Path, want: object, draw: random.Random) -> str:
    """Damage one file, lose some photos at times, and do the same again."""
    file = draw.choice(sorted(folder.glob(case.files)))
    file.write_bytes(damaged(file.read_bytes(), draw))
    for photo in sorted(folder.glob("out/*.png")):
        if draw.random() < 0.2:
            photo.unlink()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return "same" if case.again(folder) == want else "other bytes"
    except UserError as error:
        return "refused" if error.sentences else "traceback: a UserError without a sentence"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {error}"


def cases() -> dict[str, Case]:
    """Return the kinds of files."""
    hidden = "out/.cloakwork"
    return {
        "record": Case(f"{hidden}/record.json", partial(_photos, then=_protect), _protect),
        "undo": Case(f"{hidden}/record.json", partial(_photos, then=_protect), _undo),
        "saving": Case(f"{hidden}/saving.json", _stopped, _protect),
        "purified": Case(f"{hidden}/purified.json", partial(_photos, then=_purify), _purify),
        "draws": Case(f"{hidden}/draws/*", partial(_photos, then=_half_purified), _purify),
        "checkpoint": Case("state.safetensors", _checkpoint, _resumed),
        "store": Case("store/store.json", _store, _result),
        "result": Case("store/protect/*", _store, _result),
        "claim": Case("store/protect/*.claim", _claim, _result),
    }


def _photos(folder: Path, then: Callable[[Path], object]) -> None:
    """Make four small photos, and do a job."""
    (folder / "in").mkdir()
    pixels = np.random.default_rng(0)
    for name in "abcd":
        image = Image.fromarray(pixels.integers(0, 255, (64, 64, 3), np.uint8))
        image.save(folder / f"in/{name}.png")
    then(folder)


def _outputs(folder: Path) -> dict[str, str]:
    return {file.name: sha256(file) for file in sorted(folder.glob("out/*.png"))}


def _protect(folder: Path) -> object:
    (made,) = protect(folder / "in", folder / "out", protection="noise")
    return [photo.sha256 for photo in made.photos], _outputs(folder)


def _purify(folder: Path) -> object:
    rows = purify(folder / "in", folder / "out", purifiers="jpeg+noise")
    return [row.sha256 for row in rows], _outputs(folder)


def _half_purified(folder: Path) -> None:
    """Leave what a job leaves that was stopped after two photos."""

    def stop(label: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        purify(folder / "in", folder / "out", purifiers="jpeg+noise", progress=stop)


def _undo(folder: Path) -> object:
    """Return nothing: a path in a record may be any."""
    undo(folder / "out")


def _stopped(folder: Path) -> None:
    """Leave what a job leaves that was stopped while saving."""
    _photos(folder, _protect)
    record = folder / "out/.cloakwork/record.json"
    key = json.loads(record.read_text())["key"]
    names = [f"../{name}" for name in _outputs(folder)]
    record.with_name("saving.json").write_text(json.dumps({"key": key, "outputs": names}))
    record.unlink()


def _checkpoint(folder: Path) -> None:
    state = RunState(folder / "state.safetensors", checkpoint_seconds=0)
    state.trace = [0.5]
    state.checkpoint(1, 3, torch.Generator().manual_seed(1), lambda: {"x": torch.ones(2, 3)})


def _resumed(folder: Path) -> object:
    """Return what three steps give, resumed or from their beginning."""
    state, rng = RunState(folder / "state.safetensors"), torch.Generator().manual_seed(1)
    first, saved = state.resume(rng)
    x = saved.get("x", torch.zeros(2, 3))
    for _ in range(first, 3):
        x = x + 1
    return x.tolist()


def _store(folder: Path) -> None:
    store = open_store(folder / "store")
    store.keep(RESULT, lambda part: part.write_text('{"a": 1}') and None, {"seconds": 1.0})


def _claim(folder: Path) -> None:
    _store(folder)
    claim = (folder / "store" / RESULT).with_suffix(".claim")
    claim.write_text(json.dumps({"host": "other", "pid": os.getpid(), "token": "x"}))


def _result(folder: Path) -> object:
    """Return a result, made again where it is not there."""
    store = open_store(folder / "store")
    list(store.records())
    with store.claimed("protect/4567.json"), store.claimed(RESULT):
        if store.find(RESULT) is None:
            _store(folder)
    return (folder / "store" / RESULT).read_text()
