"""Scores of any pictures, by any metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloakwork import registry, specs
from cloakwork.errors import UserError
from cloakwork.files import read_json, write_json
from cloakwork.metrics._measure import measure
from cloakwork.photos.photo import load_photo
from cloakwork.photos.sets import load_sets
from cloakwork.photos.tensors import as_float
from cloakwork.types import Photos


def score(
    pictures: Path | str,
    *,
    metrics: Sequence[specs.Method] = (),
    clean: Path | str | None = None,
    prompt: str | None = None,
    out: Path | str | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure a folder of pictures.

    Args:
        pictures: a folder; its subfolders count too.
        metrics: as `specs.parse` gives them; none means every metric there is.
        clean: the originals, by the same names, for metrics of change; any clean photos of the
            subject for the others.
        prompt: what all the pictures were asked for.
        out: JSON file for every single score; scores that it holds are replaced.

    Returns:
        For each metric its mean (None: unscored), unit, values, how many of them are scored, the
        reason where some are not.

    Raises:
        UserError: no pictures, an unknown metric, a file that holds something else, originals that
            do not pair up when a metric of change was asked for.
    """
    if (
        out is not None
        and Path(out).exists()
        and not {"pictures", "metrics"} <= read_json(Path(out)).keys()
    ):
        raise UserError(f"{out} exists already and holds no scores. Name another file.")
    chosen = list(metrics) or [
        specs.parse("metrics", name) for name, _ in registry.listing("metrics")
    ]
    files = [f for s in load_sets(pictures) for f in s.files]
    photos = [as_float(load_photo(f).pixels) for f in files]
    subject, originals, fault = _references(files, clean)
    results = {}
    for method in chosen:
        paired = method.module.METRIC.reference == "originals"
        if paired and fault and metrics:
            raise UserError(fault)
        references = originals if paired else subject
        prompts = [prompt] * len(photos) if prompt else None
        measured = measure(method.name, photos, references, prompts, method.config)
        scored = [v for v in measured.values if not math.isnan(v)]
        results[method.name] = {
            "mean": sum(scored) / len(scored) if scored else None,
            "scored": len(scored),
            "n": len(measured.values),
            "unit": measured.unit,
            "reason": measured.reason,
            "instrument": measured.instrument,
            "values": measured.values,
        }
    if out:
        write_json(Path(out), {"pictures": [str(f) for f in files], "metrics": results})
    return results


def _references(
    files: Sequence[Path], clean: Path | str | None
) -> tuple[Photos | None, Photos | None, str | None]:
    """Load clean photos of the subject.

    Returns:
        The photos; the same in the pictures' order, where names pair up; why they do not.
    """
    if clean is None:
        return None, None, None
    clean_files = [f for s in load_sets(clean) for f in s.files]
    subject = [as_float(load_photo(f).pixels) for f in clean_files]
    by_stem = {f.stem.casefold(): photo for f, photo in zip(clean_files, subject, strict=True)}
    lost = [f.name for f in files if f.stem.casefold() not in by_stem]
    if lost:
        return (
            subject,
            None,
            f"{clean} has no original for {', '.join(lost)}. Name originals and pictures alike.",
        )
    return subject, [by_stem[f.stem.casefold()] for f in files], None
