"""One protected photo: from what is added to it to its file, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cloakwork.evaluation.run import add_within
from cloakwork.files import sha256
from cloakwork.metrics import linf, noticed, psnr, ssim
from cloakwork.models.encoder import Encoder
from cloakwork.photos.fingerprint import fingerprint
from cloakwork.photos.lost import lost_in
from cloakwork.photos.photo import Photo, has_place, keep_hidden, load_photo
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.rounding import working_copy
from cloakwork.photos.saving import after_encoding, save_photo
from cloakwork.photos.sheets import thumbnail
from cloakwork.workflows.protect_job import PhotoSetTask, ProtectJob
from cloakwork.workflows.records import PhotoRecord


@dataclass(frozen=True, eq=False)
class SavedPhoto:
    """What is kept of a photo once it is protected and written.

    Attributes:
        record: of it.
        notes: on reading the original, and on what the file cannot hold of it.
        place: whether the file says where the photo was taken.
        thumbnails: of the original and of the saved file; None where the sheet does not show them.
    """

    record: PhotoRecord
    notes: tuple[str, ...]
    place: bool
    thumbnails: tuple[Tensor, Tensor] | None


def save_protected(
    job: ProtectJob, task: PhotoSetTask, photo: Photo, output: Path, delta: Tensor
) -> SavedPhoto:
    """Write one protected photo, and measure the file against its original.

    Args:
        job: what is done to it.
        task: the set that it is in.
        photo: the original.
        output: where it goes.
        delta: what the protection adds to its working copy, 3 x h x w.
    """
    pixels, written = write_protected(job, photo, output, delta)
    saved = written.pixels
    shown = output in task.shown
    return SavedPhoto(
        _record(photo, output, saved, task, left_in(job, photo, output, pixels, saved)),
        (*photo.notes, *([] if job.strip_metadata else lost_in(photo, output))),
        has_place(written),
        (thumbnail(photo.pixels), thumbnail(saved)) if shown else None,
    )


def write_protected(
    job: ProtectJob, photo: Photo, output: Path, delta: Tensor
) -> tuple[Tensor, Photo]:
    """Write one protected photo.

    Args:
        job, photo, output, delta: as of `save_protected`.

    Returns:
        The protected pixels, 3 x H x W, uint8, and what the file holds.
    """
    mask = job.mask(photo.path, photo.pixels)
    pixels = keep_hidden(add_within(job.method, photo.pixels, delta, mask), photo)
    save_photo(
        pixels,
        photo,
        output,
        quality=job.quality,
        halved=job.halved,
        strip_metadata=job.strip_metadata,
        strip_gps=job.strip_gps,
        force=True,
    )
    return pixels, load_photo(output)


def left_in(
    job: ProtectJob, photo: Photo, output: Path, pixels: Tensor, saved: Tensor
) -> float | None:
    """Return the share of the protection that a file keeps; None when the format is lossless."""
    if torch.equal(saved, pixels):
        return None
    judge = job.judge
    if judge is None or torch.equal(pixels, photo.pixels):
        return 0.0
    compressed = after_encoding(photo.pixels, photo, output, job.quality, halved=job.halved)
    return _kept(judge, photo.pixels, pixels, saved, compressed)


@torch.no_grad()
def _kept(
    model: Encoder, clean: Tensor, protected: Tensor, saved: Tensor, clean_saved: Tensor
) -> float:
    """Return the share of the latents' way from clean to protected that a lossy encoding leaves.

    All are 3 x H x W, uint8. What the encoding does to any photo does not count as protection.
    """
    seen: Any = model.views(min(clean.shape[-2:]))[-1]
    views = [
        preprocess([working_copy(x).to(seen.device)], seen.size)
        for x in (clean, protected, saved, clean_saved)
    ]
    seen = replace(seen, sample_posterior=False)
    z, z_protected, z_saved, z_clean_saved = (seen.encode(x) for x in views)
    way = z_protected - z
    return (((z_saved - z_clean_saved) * way).sum() / way.square().sum()).item()


def _record(
    photo: Photo, output: Path, saved: Tensor, task: PhotoSetTask, left: float | None
) -> PhotoRecord:
    """Measure the saved file's pixels (3 x H x W, uint8) against its original."""
    # as bytes: floats of a large photo would be several times what is held of it
    used, noise, likeness, seen = (
        m.score([saved], [photo.pixels], None, m.Config()).item()
        for m in (linf, psnr, ssim, noticed)
    )
    return PhotoRecord(
        name=(output.parent.relative_to(task.out) / photo.path.name).as_posix(),
        original=photo.path.absolute(),
        digest=photo.digest,
        output=output,
        sha256=sha256(output),
        width=saved.shape[-1],
        height=saved.shape[-2],
        budget_used=round(used, 3),
        psnr=round(noise, 3),
        ssim=round(likeness, 4),
        noticed=round(seen, 3),
        fingerprint=fingerprint(saved),
        left=None if left is None else round(left, 3),
        bytes=output.stat().st_size,
    )
