"""What was found of photos that were tried: a table, what it says in words, and a sheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from statistics import mean
from typing import Any

from torch import Tensor

from cloakwork.environment import surroundings
from cloakwork.evaluation.design import CLEAN
from cloakwork.files import write_json
from cloakwork.photos.sheets import ROWS, contact_sheet, gain_for
from cloakwork.workflows.check_module import SHIFT
from cloakwork.workflows.protect_surrogates import against
from cloakwork.workflows.shown import Listed, Summary, by_photo
from cloakwork.workflows.try_looks import AS_IT_IS, Looks, Shift

AUDIT = (
    "What somebody gets who learns from the photos is another matter: ask `cloakwork audit` "
    "before you rely on them."
)


@dataclass(frozen=True)
class Tried:
    """One protected photo that was tried."""

    name: str
    file: Path
    original: Path
    budget: float
    """of the noise, 1/255: that of the record, else the largest change"""
    noticed: float
    """just-noticeable differences, as of the metric"""
    visible: str
    """that in a word"""
    made: str
    """by what it was protected, in words; "" where no record tells"""
    when: str
    """day and time; likewise"""
    shifts: list[Shift]
    notes: list[str]
    seconds: float

    def __repr__(self) -> str:
        return f"<tried {self.name}: {self.told}>"

    @property
    def told(self) -> str:
        """How visible the change is, when it was made and by what."""
        made = f", protected {self.when} by {self.made}" if self.made else ""
        return f"change {self.visible}{made}"


def notes_on(tried: Sequence[Tried], looks: Looks) -> Iterator[str]:
    """Yield what belongs to the table."""
    yield f"Looked at by {against(looks.coders)}."
    for after, reason in looks.left_out.items():
        yield f"{after} was left out. {reason}"
    yield from by_photo([(t.name, [f"{t.told}.", *t.notes]) for t in tried], len(tried))
    yield AUDIT


def summary(tried: Sequence[Tried], notes: Sequence[str]) -> Summary:
    """Return what is shown of photos that were tried."""
    rows = table(tried)
    count = f"{len(tried)} photo{'s' * (len(tried) != 1)}"
    least = min((r for r in rows if r["after"] == AS_IT_IS), key=itemgetter("times_noise"))
    head = (
        f"{count}: latents are moved {least['times_noise']:.1f} times as far as by noise of the "
        f"same budget ({least['encoder']}, where it is least)."
    )
    if worst := _worst(rows):
        head += (
            f" Least of it is left after {worst['after']}: {worst['left']:.0%} "
            f"({worst['encoder']}), {worst['times_noise']:.1f} times what is left of noise."
        )
    faint = dict.fromkeys(r["after"] for r in rows if r["times_noise"] < SHIFT)
    if faint:
        head += f" Hardly more than by noise: {', '.join(faint)}."
    return Summary(head, rows, notes)


def table(tried: Sequence[Tried]) -> list[dict[str, Any]]:
    """Return a line for each purifier and encoder: means over photos.

    `left` is the share of the shift that there was without the purifier.
    """
    by: dict[tuple[str, str], list[Shift]] = {}
    for shift in (shift for t in tried for shift in t.shifts):
        by.setdefault((shift.after, shift.encoder), []).append(shift)
    rows = []
    for (after, encoder), shifts in by.items():
        moved, noisy = mean(s.protected for s in shifts), mean(s.noise for s in shifts)
        before = mean(s.protected for s in by[AS_IT_IS, encoder])
        rows.append(
            {
                "after": after,
                "encoder": encoder,
                "protected": moved,
                "noise": noisy,
                "times_noise": moved / noisy if noisy else 0.0,
                "left": moved / before if before else 0.0,
            }
        )
    return rows


def _worst(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the line of the purifier and the encoder where the smallest share is left."""
    purified = [row for row in rows if row["after"] != AS_IT_IS]
    return min(purified, key=itemgetter("left"), default=None)


def write_results(
    result: Listed[Tried],
    pictures: Sequence[Mapping[str, Tensor]],
    looks: Looks,
    seed: int,
    out: Path,
) -> None:
    """Write try.json, and try.png with the purifier that leaves least."""
    shown = {"original": CLEAN, "protected": AS_IT_IS}
    if worst := _worst(result.summary.rows):
        shown |= {f"after {worst['after']}": worst["after"]}
    contact_sheet(
        [t.name for t in result[:ROWS]],
        {title: [p[key] for p in pictures[:ROWS]] for title, key in shown.items()},
        gain_for(max(t.budget for t in result)),
        out / "try.png",
        compared=("protected", "original"),
    )
    write_json(
        out / "try.json",
        {
            "photos": [asdict(t) for t in result],
            "means": list(result.summary.rows),
            "head": result.summary.head,
            "notes": list(result.summary.notes),
            "encoders": {coder.name: coder.weights for coder in looks.coders},
            "purifiers": {after: job.methods_used for after, job in looks.jobs.items()},
            "seed": seed,
            "surroundings": surroundings(looks.coders[0].device),
        },
    )
