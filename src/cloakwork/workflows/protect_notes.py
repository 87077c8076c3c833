"""What a user is told of protected photos that the numbers alone do not say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloakwork.photos.sets import SAME
from cloakwork.workflows.protect_job import ProtectJob
from cloakwork.workflows.records import PhotoRecord

# learning rate below which an update is lost when most weights are rounded to bf16
MOVES_BF16 = 1e-5
NAMES = 6  # in a note
# of a Config: where one of them is 0 no perturbation is optimised
COUNTS = ("steps", "outer", "pgd_steps")
VISIBLE = 64  # 1/255; beyond it nobody can overlook the perturbation


def notes_on(job: ProtectJob, rows: list[PhotoRecord]) -> list[str]:
    """Return the notes on one photo set.

    Args:
        job: what was done to it.
        rows: its photos.
    """
    return [
        *_losses(job, rows),
        *_narrowed(job, rows),
        *_other_format(job, rows),
        *_unchanged(job, rows),
        *_no_steps(job.config),
        *_without_effect(job, rows),
        *_visible(job.config.budget),
        *_idle(job.config),
    ]


def place_note(names: Sequence[str], places: Sequence[bool]) -> list[str]:
    """Return the note on photos that say where they were taken, as one sentence.

    Args:
        names: of a set's photos.
        places: whether the file of each says it.

    >>> place_note(["a.jpg", "b.jpg"], [True, False])[0][:46]
    'The output of a.jpg says where it was taken (G'
    >>> place_note(["a.jpg"], [False])
    []
    """
    named = [name for name, place in zip(names, places, strict=True) if place]
    if not named:
        return []
    advice = "--strip-gps leaves that out."
    if len(named) == len(names):
        return [f"The output says where the photos were taken (GPS); {advice}"]
    first, more = ", ".join(named[:NAMES]), len(named) - NAMES
    which = f"{first} and {more} more" if more > 0 else first
    they = "it was" if len(named) == 1 else "they were"
    return [f"The output of {which} says where {they} taken (GPS); {advice}"]


def _losses(job: ProtectJob, rows: list[PhotoRecord]) -> list[str]:
    """Return the note on an output format that is not lossless."""
    lossy = [row for row in rows if row.left is not None]
    if not lossy:
        return []
    endings = dict.fromkeys(row.output.suffix[1:].upper() for row in lossy)
    note = (
        f"{' and '.join(endings)} is lossy: pixels may differ from the original by more than the "
        "budget."
    )
    note += " It was made of the protected photos." if job.halved else " PNG loses nothing."
    if job.judge:
        share = sum(row.left or 0 for row in lossy) / len(lossy)
        note += (
            f" Measured again after encoding, {100 * share:.0f} % of the latents' shift "
            f"on {job.judge.name} is left."
        )
    return [note]


def _narrowed(job: ProtectJob, rows: list[PhotoRecord]) -> list[str]:
    """Return the note on photos that were made as wide as a platform shows them."""
    if all(row.width != job.width for row in rows):
        return []
    return [
        f"Photos wider than {job.width} pixels were made that wide first; "
        "the numbers compare with those."
    ]


def _other_format(job: ProtectJob, rows: list[PhotoRecord]) -> list[str]:
    """Return the note on photos that were to keep their format, which cannot be written."""
    if job.suffix != SAME:
        return []
    names: dict[str, list[str]] = {}
    for row in rows:
        ending = row.original.suffix.lower()
        if ending != row.output.suffix.lower():
            names.setdefault(ending, []).append(row.name)
    return [
        f"{ending} cannot be written, so {', '.join(of)} became PNG."
        for ending, of in names.items()
    ]


def _unchanged(job: ProtectJob, rows: list[PhotoRecord]) -> list[str]:
    """Return the note on unchanged photos, which are not to be taken for protected ones."""
    same = [r.name for r in rows if r.budget_used == 0]
    if not same or not job.surrogates or not job.config.budget:
        return []
    return [
        f"NOT protected, since nothing changed: {', '.join(same)}. "
        "Check the number of steps, the step and the dtype."
    ]


def _no_steps(config: Any) -> list[str]:
    """Return the note on a method that was told to do nothing."""
    idle = [name for name in COUNTS if getattr(config, name, None) == 0]
    return [
        f"NOT protected: with {name} at 0 nothing is computed, and what changed is a random start."
        for name in idle[:1]
    ]


def _without_effect(job: ProtectJob, rows: list[PhotoRecord]) -> list[str]:
    """Return the note on a budget that a method without models does not use."""
    if job.surrogates or not job.config.budget or any(row.budget_used for row in rows):
        return []
    return [
        f"'{job.method.name}' changes nothing, whatever the budget: "
        f"that of {job.config.budget:g} has no effect."
    ]


def _visible(budget: float) -> list[str]:
    """Return the note on a budget that nobody can overlook."""
    if budget <= VISIBLE:
        return []
    return [
        f"A budget of {budget:g} is plainly visible in the photos. "
        "Usual are 4 to 16 (1/255 of the pixel range)."
    ]


def _idle(config: Any) -> list[str]:
    """Return the note on surrogates that cannot learn."""
    training = getattr(config, "training", config)
    if getattr(training, "weights", "") != "bfloat16" or training.lr >= MOVES_BF16:
        return []
    return [
        f"At a learning rate of {training.lr:g} hardly a bf16 weight of a surrogate moves. "
        "Keep weights in float32, or raise the learning rate."
    ]
