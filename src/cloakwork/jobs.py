"""Whole jobs: photos in, protected photos, a record and a contact sheet out. What the command and the Python API call."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from cloakwork import eot, images, loading, methods, pgd, photosets
from cloakwork.errors import UserError
from cloakwork.images import Photo
from cloakwork.ldm import LDM
from cloakwork.metrics import linf, psnr, ssim
from cloakwork.photosets import PhotoSet
from cloakwork.records import (
    FOLDER,
    ROWS,
    PhotoRecord,
    SetRecord,
    contact_sheet,
    peak_memory_mb,
    read_result,
    result_json,
    sha256,
    surroundings,
    thumbnail,
    write_json,
)
from cloakwork.state import Progress, State
from cloakwork.types import Photos
from cloakwork.worksize import WORK_SIDE, finish, work_copy


@dataclass(frozen=True)
class Job:
    """Everything that decides a protected photo's bytes, beside the photos."""

    protection: str
    module: ModuleType
    config: Any
    surrogates: list[LDM]
    seed: int
    clean: list[Photo]
    suffix: str
    quality: int
    strip_metadata: bool

    @property
    def device(self) -> torch.device:
        return self.surrogates[0].device if self.surrogates else torch.device("cpu")

    def key(self, digests: list[str]) -> str:
        """Hash of the job and of the photos' contents, whatever their names and order."""
        parts = {
            "protection": self.protection,
            "version": self.module.VERSION,
            "config": asdict(self.config),
            "surrogates": [(m.weights, str(m.dtype), m.device.type) for m in self.surrogates],
            "seed": self.seed,
            "clean": sorted(p.digest for p in self.clean),
            "photos": sorted(digests),
            "how": [WORK_SIDE, pgd.MICRO_BATCH, self.suffix, self.quality, self.strip_metadata],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def protect(
    photos: Sequence[Path | str],
    out: Path | str,
    *,
    protection: str = "aspl",
    config: Any = None,
    preset: str | None = None,
    surrogates: Sequence[str] = ("tiny",),
    seed: int = 0,
    clean: Path | str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    each: bool = False,
    suffix: str = ".png",
    quality: int = 95,
    strip_metadata: bool = False,
    force: bool = False,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> list[SetRecord]:
    """Protects files, folders and globs of photos into the folder `out`; see README for the sets they form.

    Args:
        photos: files, folders, globs.
        out: folder for the protected photos; records and sheets go to its `.cloakwork`.
        protection: name of a protection, or an importable module such as "my_lab.mine".
        config: the method's Config; None takes the preset.
        preset: name of one of the method's PRESETS; None takes "tiny" on the embedded models and "paper" on others.
        surrogates: models the protection is computed against: "tiny", "tiny-b", folders or hub ids.
        seed: with the photos' contents and the config it decides every byte.
        clean: folder of unprotected photos of the same subject that the protector may learn from (set A).
        device, dtype: where the models run and what their arithmetic is autocast to.
        each: every photo is protected by itself.
        suffix: output format, such as ".png" or ".jpg"; `quality` is for JPEG.
        strip_metadata: leave EXIF and XMP out.
        force: overwrite existing outputs (never originals).
        skip_bad: protect the good photos and name the bad ones in the notes.
        progress: called with a label, steps done and their total.

    Raises:
        UserError: every fault found in the input, before anything is written.
    """
    module = methods.load("protections", protection)
    config = methods.config(module, preset, surrogates) if config is None else config
    check_config(config, quality)
    out = Path(out).expanduser().absolute()
    sets, skipped = photosets.load_all(photosets.find_sets(photos, out, each=each, suffix=suffix), skip_bad=skip_bad)
    references = [images.load(f) for s in photosets.find_sets([clean], out) for f in s.files] if clean else []
    models = [loading.load(name, device, dtype) for name in surrogates] if getattr(module, "USES_SURROGATES", True) else []
    job = Job(protection, module, config, models, seed, references, suffix, quality, strip_metadata)
    tasks = [_task(job, s, out / FOLDER / s.name / (s.outputs[0].stem if each else "")) for s in sets]
    if not force:
        _refuse_overwriting(tasks)
    results = []
    for task in tasks:
        done = None if force else read_result(task.folder, task.key)
        results.append(done or _protect_set(job, task, [] if results else skipped, progress))
    if len(results) > 1:
        _overview(results, config.budget, out / FOLDER / "overview.png")
    return results


@dataclass(frozen=True)
class Task:
    """One photo set to be protected."""

    name: str
    photos: list[tuple[Path, Path]]
    """original and output, sorted by the originals' contents, so that the order they were named in does not matter"""
    folder: Path
    """where record, sheet and checkpoint go"""
    key: str


def _task(job: Job, photos: PhotoSet, folder: Path) -> Task:
    digests = [images.load(f).digest for f in photos.files]  # one photo at a time: a set may be larger than the memory
    order = sorted(zip(digests, photos.files, photos.outputs, strict=True))
    return Task(photos.name, [(f, o) for _, f, o in order], folder, job.key(digests))


def _refuse_overwriting(tasks: list[Task]) -> None:
    """Existing outputs stop the job before it computes anything, unless this very job wrote them."""
    there = [o for t in tasks if not _wrote(t) for _, o in t.photos if o.exists()]
    if there:
        raise UserError(*[f"{o} exists already; give --force to overwrite it, or another output folder." for o in there])


def _wrote(task: Task) -> bool:
    """Whether the same job has finished this set before, or was stopped while it saved it."""
    saving = task.folder / "saving.json"
    stopped = saving.is_file() and json.loads(saving.read_text())["key"] == task.key
    return stopped or read_result(task.folder, task.key) is not None


def check_config(config: Any, quality: int = 95) -> None:
    """Bounds that hold for every protection, all faults together.

    Raises:
        UserError: one sentence a fault.
    """
    faults = []
    if not 1 <= quality <= 100:
        faults.append(f"The quality {quality} is out of range; allowed are 1 to 100, and 95 is a good choice.")
    if not 0 <= config.budget <= 255:
        faults.append(
            f"The budget {config.budget:g} is out of range; allowed are 0 to 255 (1/255 of the pixel range), usual are 4 to 16."
        )
    for name, value in asdict(config).items():
        if isinstance(value, int) and not isinstance(value, bool) and value < 0:
            faults.append(f"The field {name} is {value}; it must not be negative.")
    step = getattr(config, "step", None)
    if step is not None and step <= 0:
        faults.append(f"The step {step:g} is out of range; it must be over 0 (1/255 of the pixel range).")
    if faults:
        raise UserError(*faults)


def _protect_set(job: Job, task: Task, notes: list[str], progress: Progress | None) -> SetRecord:
    """One photo set from files to files."""
    begun = time.monotonic()
    state = State(task.folder / f"state-{task.key[:16]}.safetensors", task.name or job.protection, progress)
    deltas = _perturbations(job, task, state)
    write_json(task.folder / "saving.json", {"key": task.key})  # from here on, outputs that exist are this job's own
    rows, kept, before, after = [], [], [], []
    for (file, output), delta in zip(task.photos, deltas, strict=True):
        photo = images.load(file)
        kept.append(_save(job, photo, output, delta))
        rows.append(_measure(photo, output, before, after))
    contact_sheet([r.name for r in rows], before, after, job.config.budget, task.folder / "sheet.png")
    result = SetRecord(
        name=task.name,
        out=task.photos[0][1].parent,
        protection=job.protection,
        surrogates=[f"{m.name} (weights {m.weights})" for m in job.surrogates],
        photos=rows,
        sheet=task.folder / "sheet.png",
        record=task.folder / "record.json",
        notes=notes + _losses(job, kept),
        seconds=round(time.monotonic() - begun, 2),
    )
    write_json(task.folder / "timings.json", {"seconds": result.seconds, "peak_memory_mb": peak_memory_mb()})
    write_json(result.record, {"key": task.key} | _settings(job) | result_json(result) | {"loss": state.trace})
    (task.folder / "saving.json").unlink()
    state.forget()
    return result


def _perturbations(job: Job, task: Task, state: State) -> list[Tensor]:
    """What the protection adds to each working copy, 3 x h x w floats on the CPU."""
    work = [work_copy(images.load(f).pixels).to(job.device) for f, _ in task.photos]
    clean = [work_copy(p.pixels).to(job.device) for p in job.clean] or None
    rng = torch.Generator().manual_seed(int(task.key[:15], 16))
    protected = job.module.protect(work, job.surrogates, job.config, clean=clean, rng=rng, state=state)
    return [(a - b).detach().cpu() for a, b in zip(protected, work, strict=True)]


def _save(job: Job, photo: Photo, output: Path, delta: Tensor) -> float:
    """Writes one protected photo; returns the share of its latent displacement that the file format kept (1 if lossless)."""
    pixels = finish(photo.pixels, delta, job.config.budget)
    how = {"quality": job.quality, "strip_metadata": job.strip_metadata}
    images.save(pixels, photo, output, force=True, **how)
    saved = images.load(output).pixels
    if torch.equal(saved, pixels) or torch.equal(pixels, photo.pixels) or not job.surrogates:
        return 1.0
    model = job.surrogates[0]
    with torch.no_grad():
        views = [work_copy(x).to(model.device) for x in (photo.pixels, pixels, saved)]
        clean, full, kept = (model.encode(eot.view([x], model.size), torch.Generator().manual_seed(0)) for x in views)
    return ((kept - clean).norm() / (full - clean).norm()).item()


def _losses(job: Job, shares: Sequence[float]) -> list[str]:
    """What the user is told when the output format is not lossless."""
    if min(shares) == 1:
        return []
    name, mean = job.surrogates[0].name, sum(shares) / len(shares)
    return [
        f"{job.suffix[1:].upper()} output is lossy: measured again after encoding, {100 * mean:.0f} % of the latent displacement "
        f"(on {name}) is left, and pixels may differ from the original by more than the budget; PNG loses nothing."
    ]


def _measure(photo: Photo, output: Path, before: Photos, after: Photos) -> PhotoRecord:
    """The saved file against its original; appends a thumbnail of each."""
    x0, x = images.unit(photo.pixels), images.unit(images.load(output).pixels)
    used, noise, likeness = (m.score([x], [x0], None, m.Config()).item() for m in (linf, psnr, ssim))
    before.append(thumbnail(x0))
    after.append(thumbnail(x))
    return PhotoRecord(
        name=photo.path.name,
        original=photo.path.absolute(),
        digest=photo.digest,
        output=output,
        sha256=sha256(output),
        width=x0.shape[-1],
        height=x0.shape[-2],
        budget_used=round(used, 3),
        psnr=round(noise, 3),
        ssim=round(likeness, 4),
    )


def _overview(results: list[SetRecord], budget: float, path: Path) -> None:
    """One contact sheet over many sets: the first photo of each."""
    first = [r.photos[0] for r in results[:ROWS]]
    before, after = ([thumbnail(images.unit(images.load(f).pixels)) for f in files]
                     for files in ([p.original for p in first], [p.output for p in first]))  # fmt: skip
    contact_sheet([str(p.output.relative_to(path.parent.parent)) for p in first], before, after, budget, path)


def _settings(job: Job) -> dict[str, Any]:
    """Everything needed to do the same again; timings are kept apart, for they differ every time."""
    return {
        "version": job.module.VERSION,
        "config": asdict(job.config),
        "seed": job.seed,
        "models": [{"name": m.name, "weights": m.weights, "dtype": str(m.dtype)} for m in job.surrogates],
        "clean": [str(p.path.absolute()) for p in job.clean],
        "output": {"suffix": job.suffix, "quality": job.quality, "strip_metadata": job.strip_metadata},
        "micro_batch": pgd.MICRO_BATCH,
        "surroundings": surroundings(job.device),
    }
