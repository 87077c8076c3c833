"""A folder of entries: written, read, and refused with a sentence where one is not as it must
be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cloakwork.benchmark.board import judged
from cloakwork.benchmark.board.entry import FORMAT, Entry, Gap, Interval, Measured, file_name
from cloakwork.benchmark.board.schema import schema
from cloakwork.benchmark.results import beats_both
from cloakwork.errors import UserError
from cloakwork.evaluation.typed_json import Misfit, read
from cloakwork.files import atomic_write, parse_json

SCHEMA = "schema.json"


def write(entries: Iterable[Entry], folder: Path, *, sweep: bool = False) -> list[Path]:
    """Write a file for each entry, and the schema.

    Args:
        entries: of different methods.
        folder: is made if it is missing.
        sweep: remove the entries in it of other methods.

    Returns:
        The files.
    """
    contents: dict[str, Any] = {file_name(e.method): asdict(e) for e in entries}
    contents[SCHEMA] = schema()
    for name, content in contents.items():
        with atomic_write(folder / name) as part:
            text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
            part.write_text(text + "\n", encoding="utf-8")
    for other in set(folder.glob("*.json")) - {folder / name for name in contents} if sweep else ():
        other.unlink()
    return [folder / name for name in contents]


def read_all(folder: Path) -> list[Entry]:
    """Read the entries of a folder, sorted by name; controls first.

    Raises:
        UserError: there are none, or some are not as they must be; one sentence a fault, of all
            together.
    """
    files = [file for file in sorted(Path(folder).glob("*.json")) if file.name != SCHEMA]
    if not files:
        raise UserError(f"{folder} holds no entries. Name a folder of them, such as board/.")
    found, faults = [], []
    for file in files:
        try:
            found.append(read_entry(file))
        except UserError as error:
            faults += error.sentences
    if faults:
        raise UserError(*faults)
    return sorted(found, key=lambda entry: not entry.control)


def read_entry(file: Path) -> Entry:
    """Read one entry, and check it.

    Raises:
        UserError: it cannot be read, or is not as it must be; one sentence a fault.
    """
    try:
        content = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is no entry of the board: it cannot be read ({error}).") from None
    written = content.get("format") if isinstance(content, dict) else None
    if isinstance(written, int) and written > FORMAT:
        raise UserError(f"{file} has format {written}; this one reads {FORMAT}. Update cloakwork.")
    try:
        entry = read(Entry, content)
    except Misfit as error:
        raise UserError(f"{file}: {error}. {SCHEMA} has all fields.") from None
    faults = [f"{file}: {fault}" for fault in _faults(entry, file.name)]
    if faults:
        raise UserError(*faults)
    return entry


def _faults(entry: Entry, file: str) -> Iterator[str]:
    """Yield what is wrong with an entry, a sentence a fault."""
    if not entry.method:
        yield "method is empty; it must be the protection's name."
    elif file != file_name(entry.method):
        yield f"the entry of {entry.method} must be called {file_name(entry.method)}."
    if entry.paper and not re.fullmatch(r"(\d{4}\.\d{4,5})?", entry.paper.arxiv):
        number = f"paper.arxiv is '{entry.paper.arxiv}'"
        yield f"{number}; it must be an arXiv number such as 2406.15305, or empty."
    for i, measured in enumerate(entry.measured):
        for fault in _measured_faults(measured, entry.version):
            yield f"measured[{i}] ({measured.threat}) {fault}"
    derived = {
        "worst": judged.worst(entry.measured),
        "flags": judged.flags(entry.measured, entry.version, control=entry.control),
    }
    for name, value in derived.items():
        if getattr(entry, name) != value:
            yield f"{name} is not what the measurements say; it must be {_shown(value)}."
    reason = judged.unreliable(entry.measured)
    if reason and not entry.unreliable:
        yield f"unreliable is empty; it must say a reason, such as '{reason}'."


def _measured_faults(measured: Measured, version: int) -> Iterator[str]:
    """Yield what is wrong with a measurement, as the ends of sentences."""
    for name in ("score", "against_clean", "against_noise"):
        interval: Interval | Gap | None = getattr(measured, name)
        if interval and not interval.low <= interval.mean <= interval.high:
            low_high = f"[{interval.low:g}, {interval.high:g}]"
            yield f"has a {name} of {interval.mean:g}, which is not within {low_high}."
    score = measured.score
    if score and measured.metric == judged.METRIC and not 0 <= score.low <= score.high <= 1:
        yield f"has a share of {score.low:g} to {score.high:g}; it must lie in 0 to 1."
    if (score is None) != bool(measured.failed):
        yield "must have either a score or, in failed, the reason why there is none."
    works = beats_both(measured.better, measured.against_clean, measured.against_noise)
    if measured.works != works:
        yield f"has works {measured.works}; by its intervals it is {works}."
    if measured.version > version:
        yield f"was measured with VERSION {measured.version}, and the method has {version} now."
    if measured.people < 1 or measured.seeds < 1:
        yield f"rests on {measured.people} people and {measured.seeds} seeds; there must be some."


def _shown(value: Any) -> str:
    """Return a value as it stands in a file, cut short."""
    text = json.dumps(value, default=asdict)
    return text if len(text) < 200 else f"{text[:200]}..."
