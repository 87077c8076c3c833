"""An answer without an audit: what is left of protected photos' effect on encoders, in seconds.

Latents of protected photos are compared with those of their originals, as the photos are and after
purifiers, beside those of random noise of the same budget. Each photo is looked at in one size
(`displacement.least_size`). Nobody learns from the photos here: that is what `audit` is for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from statistics import mean
from typing import Any

from torch import Tensor

from cloakwork import specs
from cloakwork.environment import surroundings
from cloakwork.errors import UserError, check_arguments
from cloakwork.evaluation.design import CLEAN, NOISE, PROTECTED
from cloakwork.evaluation.photo_pairs import load_original, originals
from cloakwork.evaluation.recorded_originals import Original
from cloakwork.files import expand_home, sha256, write_json
from cloakwork.metrics import linf, noticed
from cloakwork.models import latent_spaces
from cloakwork.photos.folders import refuse_report_among_photos
from cloakwork.photos.photo import Photo, load_photo
from cloakwork.photos.rounding import working_copy
from cloakwork.photos.sets import NOWHERE, find_sets, load_all
from cloakwork.photos.sheets import ROWS, contact_sheet, gain_for
from cloakwork.photos.tensors import to_bytes
from cloakwork.protections import noise
from cloakwork.specs import Method
from cloakwork.state import Progress
from cloakwork.workflows.check_module import SHIFT
from cloakwork.workflows.defaults import TRIED_PURIFIERS
from cloakwork.workflows.images import protect_images
from cloakwork.workflows.protect_surrogates import against
from cloakwork.workflows.recorded import Recorded, recorded_files
from cloakwork.workflows.shown import Listed, Summary, by_photo
from cloakwork.workflows.try_looks import AS_IT_IS, Looks, Shift, look, looks_of, middle

AUDIT = (
    "What somebody gets who learns from the photos is another matter: ask `cloakwork audit` "
    "before you rely on them."
)
UNKNOWN = (
    "The original of {} is not known, or it is gone, or it has changed since. "
    "Name the folder of the originals with --clean."
)
# pixels: shorter side of what is looked at; larger photos are made smaller, for the time's sake
LARGEST = 1536
CHANGED = "Changed since it was protected; it was tried as it is now."


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


def try_photos(
    photos: Sequence[Path | str] | Path | str,
    out: Path | str | None = None,
    *,
    clean: Path | str | None = None,
    purifiers: Sequence[specs.Chain] = TRIED_PURIFIERS,
    coders: Sequence[str] = (latent_spaces.ALL,),
    fetch: bool = False,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Listed[Tried]:
    """Measure what is left of protected photos' effect on encoders, as they are and purified.

    Args:
        photos: protected photos: files, folders, globs.
        out: folder for try.png and try.json; None writes nothing.
        clean: folder of the originals, by the same names; None: those that the records beside the
            photos name.
        purifiers: each as `purify` takes it; what cannot run here is left out, with the reason.
        coders: autoencoders, as `inspect` takes them; "all" are the families at hand.
        fetch: fetch encoders of families from the hub that are not on this machine.
        seed: of the noise, and of purifiers that draw.
        device: where encoders run.
        progress: called with a label, photos or looks done, and their total.

    Returns:
        The photos. `summary.rows` has a line for each purifier and encoder, with means over them.

    Raises:
        UserError: no photos, the original of none is known, unknown methods or encoders, an output
            folder among the photos, a damaged record.
    """
    check_arguments(try_photos, locals())
    asked = [photos] if isinstance(photos, str | Path) else list(photos)
    out = None if out is None else expand_home(out)
    if out:
        refuse_report_among_photos(out, *asked, clean)
    looks = looks_of(coders, purifiers, seed, device, fetch=fetch)
    sets = load_all(find_sets(asked, NOWHERE), skip_bad=False)[0]
    files = [file for s in sets for file in s.files]
    known = originals(sets, clean)
    records: dict[Path, Recorded] = {}
    with suppress(UserError):  # damaged ones: where they matter, `originals` has said so
        records = recorded_files(files)
    tried, pictures = [], []
    for number, file in enumerate(files):
        tell = partial(_tell, progress, number, len(files))
        if pair := _pair(file, known.get(file)):
            row, seen = _try(*pair, known[file], records.get(file), looks, seed, tell)
            tried.append(row)
            pictures.append(seen)
    _tell(progress, len(files), len(files), 0, 0)
    unknown = [file.name for file in files if file not in {t.file for t in tried}]
    if not tried:
        raise UserError(UNKNOWN.format(", ".join(unknown)))
    notes = [*_notes(tried, looks), *([UNKNOWN.format(", ".join(unknown))] if unknown else [])]
    result = Listed(tried, _summary(tried, notes))
    if out:
        _write(result, pictures, looks, seed, out)
    return result


def _pair(file: Path, original: Original | None) -> tuple[Photo, Photo] | None:
    """Load a protected photo and its original; None where that is not known."""
    photo = load_photo(file)
    clean = load_original(original, photo)
    return clean and (photo, clean)


def _try(
    photo: Photo,
    clean: Photo,
    original: Original,
    record: Recorded | None,
    looks: Looks,
    seed: int,
    tell: partial[None],
) -> tuple[Tried, dict[str, Tensor]]:
    """Try one photo.

    Returns:
        What was found, and pictures of it: clean, and the protected one after each purifier.
    """
    begun = time.monotonic()
    change, seen = (
        m.score([photo.pixels], [clean.pixels], None, m.Config()).item() for m in (linf, noticed)
    )
    budget = max(1.0, original.budget or float(round(change)))
    control = Method("protections", "noise", noise.Config(budget, original.strength))
    (noisy,) = protect_images([clean.pixels], control, seed=seed, device="cpu")
    made = {CLEAN: clean.pixels, NOISE: noisy, PROTECTED: photo.pixels}
    small = {arm: to_bytes(working_copy(x, LARGEST)) for arm, x in made.items()}
    arms = {arm: replace(photo, pixels=x) for arm, x in small.items()}
    shifts, pictures = look(looks, arms, tell)
    changed = record is not None and sha256(photo.path) != record.photo.sha256
    tried = Tried(
        photo.path.name,
        photo.path,
        clean.path,
        budget,
        round(seen, 3),
        noticed.word(seen),
        record.how if record else "",
        record.day if record else "",
        shifts,
        [CHANGED] if changed else [],
        round(time.monotonic() - begun, 2),
    )
    return tried, {CLEAN: middle(clean.pixels, min(clean.pixels.shape[-2:])), **pictures}


def _tell(progress: Progress | None, number: int, total: int, done: int, looks: int) -> None:
    """Report photos that were tried, and looks at the one that is being tried."""
    if progress:
        progress("tried", number, total)
        if looks:
            progress("looks", done, looks)


def _notes(tried: Sequence[Tried], looks: Looks) -> Iterator[str]:
    """Yield what belongs to the table."""
    yield f"Looked at by {against(looks.coders)}."
    for after, reason in looks.left_out.items():
        yield f"{after} was left out. {reason}"
    yield from by_photo([(t.name, [f"{t.told}.", *t.notes]) for t in tried], len(tried))
    yield AUDIT


def _summary(tried: Sequence[Tried], notes: Sequence[str]) -> Summary:
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


def _write(
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
