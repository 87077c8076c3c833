"""An answer without an audit: what is left of protected photos' effect on encoders, in seconds.

Latents of protected photos are compared with those of their originals, as the photos are and after
purifiers, beside those of random noise of the same budget. Each photo is looked at in one size
(`displacement.least_size`). Nobody learns from the photos here: that is what `audit` is for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from cloakwork import specs
from cloakwork.errors import UserError, check_arguments
from cloakwork.evaluation.design import CLEAN, NOISE, PROTECTED
from cloakwork.evaluation.photo_pairs import load_original, originals
from cloakwork.evaluation.recorded_originals import Original
from cloakwork.files import expand_home, sha256
from cloakwork.metrics import linf, noticed
from cloakwork.models import latent_spaces
from cloakwork.photos.folders import refuse_report_among_photos
from cloakwork.photos.photo import Photo, load_photo
from cloakwork.photos.rounding import working_copy
from cloakwork.photos.sets import NOWHERE, find_sets, load_all
from cloakwork.photos.tensors import to_bytes
from cloakwork.protections import noise
from cloakwork.specs import Method
from cloakwork.state import Progress
from cloakwork.workflows.defaults import TRIED_PURIFIERS
from cloakwork.workflows.images import protect_images
from cloakwork.workflows.recorded import Recorded, recorded_files
from cloakwork.workflows.shown import Listed
from cloakwork.workflows.try_looks import Looks, look, looks_of, middle
from cloakwork.workflows.try_results import Tried, notes_on, summary, write_results

UNKNOWN = (
    "The original of {} is not known, or it is gone, or it has changed since. "
    "Name the folder of the originals with --clean."
)
# pixels: shorter side of what is looked at; larger photos are made smaller, for the time's sake
LARGEST = 1536
CHANGED = "Changed since it was protected; it was tried as it is now."


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
    notes = [*notes_on(tried, looks), *([UNKNOWN.format(", ".join(unknown))] if unknown else [])]
    result = Listed(tried, summary(tried, notes))
    if out:
        write_results(result, pictures, looks, seed, out)
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
