"""Scores of any pictures, by any metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cloakwork import specs
from cloakwork.errors import UserError, check_arguments
from cloakwork.evaluation.photo_pairs import load_original, originals
from cloakwork.files import expand_home, read_json, write_json
from cloakwork.metrics._measure import measure
from cloakwork.photos.left_out import left_out_of
from cloakwork.photos.photo import Photo, load_photo
from cloakwork.photos.sets import PhotoSet, load_sets
from cloakwork.photos.tensors import as_float
from cloakwork.types import Photos
from cloakwork.workflows.defaults import ALONE_METRICS, AUDIT_METRICS, CHANGE_METRICS
from cloakwork.workflows.shown import Scores


def score(
    pictures: Path | str,
    *,
    metrics: specs.Given | Sequence[specs.Given] = (),
    clean: Path | str | None = None,
    prompt: str | None = None,
    out: Path | str | None = None,
    **settings: Any,
) -> Scores:
    """Measure a folder of pictures.

    Args:
        pictures: a folder; its subfolders count too.
        metrics: names joined by commas, texts as on the command line ("clip_i:clip=my-clip"), or
            as `specs.Method`; one or a list. None means five: how far the pictures are from their
            originals where these are known, else how like the subject where there are clean photos
            of it, else what can be said of pictures alone (clip_t only with a prompt).
        clean: the originals, by the same names, for metrics of change; any clean photos of the
            subject for the others. None: the originals that the records beside the pictures name,
            as far as they have not changed since.
        prompt: what all the pictures were asked for.
        out: JSON file for every single score; scores that it holds are replaced.
        settings: fields of the one metric's Config.

    Returns:
        For each metric its mean (None: unscored), unit, which way is better for the pictures, what
        it compares with, values, how many of them are scored, the reason where some are not.

    Raises:
        UserError: no pictures, an unknown metric, a file that holds something else, a damaged
            record, originals that do not pair up when a metric of change was asked for.
    """
    arguments = check_arguments(score, locals())
    out = None if out is None else expand_home(out)
    if out and out.exists() and not {"pictures", "metrics"} <= read_json(out).keys():
        raise UserError(f"{out} exists already and holds no scores. Name another file.")
    named = specs.methods("metrics", metrics, settings=settings, arguments=arguments)
    sets = load_sets(pictures)
    files = [f for s in sets for f in s.files]
    photos = [load_photo(f) for f in files]
    references = _by_name(sets, clean) if clean else _by_record(sets, photos)
    if clean and references.fault and any(_of_change(method) for method in named):
        raise UserError(references.fault)
    floats = [as_float(photo.pixels) for photo in photos]
    results = Scores()
    results.notes = left_out_of(pictures, clean, beside=[out.absolute()] if out else [])
    for method in named or _usual(references, prompt):
        results[method.name] = _row(method, floats, references, prompt)
    if out:
        write_json(out, {"pictures": [str(f) for f in files], "metrics": results})
    return results


@dataclass(frozen=True)
class _References:
    """What pictures are compared with.

    Attributes:
        subject: any clean photos; empty for none.
        originals: one a picture; None where it is not known.
        fault: why some are not known, and what to do about it.
    """

    subject: Photos
    originals: list[Tensor | None]
    fault: str | None


def _usual(references: _References, prompt: str | None) -> list[specs.Method]:
    """Return the metrics that are measured where none are named."""
    if any(original is not None for original in references.originals):
        names = CHANGE_METRICS
    else:
        names = AUDIT_METRICS if references.subject else ALONE_METRICS
    return [specs.parse("metrics", name) for name in sorted(names) if prompt or name != "clip_t"]


def _of_change(method: specs.Method) -> bool:
    """Return whether a metric compares each picture with its original."""
    return method.module.METRIC.reference == "originals"


def _row(
    method: specs.Method, photos: Photos, references: _References, prompt: str | None
) -> dict[str, Any]:
    """Return what a metric says; pictures without a known original are NaN for one of change."""
    places, compared = list(range(len(photos))), references.subject
    if _of_change(method):
        known = {i: x for i, x in enumerate(references.originals) if x is not None}
        places, compared = list(known) or places, list(known.values())
    measured = measure(
        method.name,
        [photos[i] for i in places],
        compared,
        [prompt] * len(places) if prompt else None,
        method.config,
    )
    values, reasons = measured.values, [measured.reason]
    if _of_change(method):
        by_place = dict(zip(places, values, strict=True))
        values = [by_place.get(i, math.nan) for i in range(len(photos))]
        reasons = [*(reasons if compared else ()), references.fault]
    scored = [v for v in values if not math.isnan(v)]
    return {
        "mean": sum(scored) / len(scored) if scored else None,
        "scored": len(scored),
        "n": len(values),
        "unit": measured.unit,
        "better": measured.better,
        "reference": method.module.METRIC.reference,
        "reason": " ".join(reason for reason in reasons if reason) or None,
        "instrument": measured.instrument,
        "values": values,
    }


def _by_record(sets: list[PhotoSet], photos: Sequence[Photo]) -> _References:
    """Load the originals that the records beside the pictures name."""
    known = originals(sets, None)
    found = [load_original(known.get(photo.path), photo) for photo in photos]
    floats = [as_float(original.pixels) if original else None for original in found]
    subject = [x for x in floats if x is not None]
    lost = [photo.path.name for photo, x in zip(photos, floats, strict=True) if x is None]
    fault = None
    if lost and subject:
        fault = f"The original of {', '.join(lost)} is not known, or it has changed since."
    elif lost:
        fault = "No record beside the pictures says what their originals are."
    return _References(subject, floats, fault and f"{fault} Name the originals with --clean.")


def _by_name(sets: list[PhotoSet], clean: Path | str) -> _References:
    """Load clean photos of the subject; they are the originals where names pair up."""
    clean_sets = load_sets(clean)
    alone = len(sets) == len(clean_sets) == 1  # the two folders may be called what they like

    def places(of: list[PhotoSet]) -> list[tuple[str, str]]:
        return [("" if alone else s.name, f.stem.casefold()) for s in of for f in s.files]

    subject = [as_float(load_photo(f).pixels) for s in clean_sets for f in s.files]
    by_place = dict(zip(places(clean_sets), subject, strict=True))
    files = [f for s in sets for f in s.files]
    lost = [f.name for f, p in zip(files, places(sets), strict=True) if p not in by_place]
    if lost:
        sentence = (
            f"{clean} has no original for {', '.join(lost)}. Name originals and pictures alike."
        )
        return _References(subject, [None] * len(files), sentence)
    return _References(subject, [by_place[p] for p in places(sets)], None)
