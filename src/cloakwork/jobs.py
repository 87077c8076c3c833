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
from cloakwork.records import FOLDER, PhotoRecord, SetRecord, contact_sheet, peak_memory_mb, surroundings, thumbnail, write_json
from cloakwork.state import Progress, State

# Photos are perturbed at a short side of at most this many pixels and the perturbation (never the photo) is enlarged:
# thieves' loaders shrink photos to 512 or 1024 px, and memory stays bounded whatever a camera makes.
WORK_SIDE = 1024


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

    def key(self, photos: list[Photo]) -> str:
        """Hash of the job and the photos' contents, whatever their names and order."""
        parts = {
            "protection": self.protection,
            "version": self.module.VERSION,
            "config": asdict(self.config),
            "surrogates": [(m.weights, str(m.dtype), m.device.type) for m in self.surrogates],
            "seed": self.seed,
            "clean": sorted(p.digest for p in self.clean),
            "photos": sorted(p.digest for p in photos),
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
    check_config(config)
    out = Path(out).expanduser().absolute()
    sets, skipped = photosets.load_all(photosets.find_sets(photos, out, each=each, suffix=suffix), skip_bad=skip_bad)
    references = [images.load(f) for s in photosets.find_sets([clean], out) for f in s.files] if clean else []
    models = [loading.load(name, device, dtype) for name in surrogates] if getattr(module, "USES_SURROGATES", True) else []
    job = Job(protection, module, config, models, seed, references, suffix, quality, strip_metadata)
    return [_protect_set(job, s, _folder(out, s, each), force, skipped if i == 0 else [], progress) for i, s in enumerate(sets)]


def check_config(config: Any) -> None:
    """Bounds that hold for every protection, all faults together."""
    faults = []
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


def _folder(out: Path, photos: PhotoSet, each: bool) -> Path:
    """Where the record of a set goes."""
    return out / FOLDER / photos.name / (photos.outputs[0].stem if each else "")


def _protect_set(job: Job, photos: PhotoSet, folder: Path, force: bool, notes: list[str], progress: Progress | None) -> SetRecord:
    """One photo set from files to files; skipped when its record says that the same has been done before."""
    begun = time.monotonic()
    pairs = [(images.load(f), o) for f, o in zip(photos.files, photos.outputs, strict=True)]
    pairs.sort(key=lambda pair: pair[0].digest)  # the order in which photos were named must not matter
    originals, outputs = [p for p, _ in pairs], [o for _, o in pairs]
    key = job.key(originals)
    if not force:
        earlier = _earlier(folder, key)
        if earlier is not None:
            return earlier
        _refuse_overwriting(folder, key, outputs)
    state = State(folder / f"state-{key[:16]}.safetensors", photos.name or job.protection, progress)
    deltas = _perturbations(job, originals, key, state)
    write_json(folder / "saving.json", {"key": key})  # from here on, outputs that exist are this job's own
    shares = [_save(job, *one) for one in zip(originals, outputs, deltas, strict=True)]
    seconds = round((time.monotonic() - begun) / len(originals), 2)
    rows, before, after = [], [], []
    for photo, output in zip(originals, outputs, strict=True):
        row, thumbs = _measure(photo, output, seconds)
        rows.append(row)
        before.append(thumbs[0])
        after.append(thumbs[1])
    notes = notes + _losses(job, shares)
    sheet, record = folder / "sheet.png", folder / "record.json"
    contact_sheet([r.name for r in rows], before, after, job.config.budget, sheet)
    surrogates = [f"{m.name} (weights {m.weights})" for m in job.surrogates]
    result = SetRecord(photos.name, outputs[0].parent, job.protection, surrogates, rows, sheet, record, notes)
    write_json(folder / "timings.json", {"seconds_per_photo": seconds, "peak_memory_mb": peak_memory_mb()})
    write_json(record, _record(job, key, originals, result, state))
    (folder / "saving.json").unlink()
    state.forget()
    return result


def _perturbations(job: Job, originals: list[Photo], key: str, state: State) -> list[Tensor]:
    """What the protection adds to each working copy, 3 x h x w floats on the CPU."""
    work = [work_copy(p.pixels).to(job.device) for p in originals]
    clean = [work_copy(p.pixels).to(job.device) for p in job.clean] or None
    rng = torch.Generator().manual_seed(int(key[:15], 16))
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


def _measure(photo: Photo, output: Path, seconds: float) -> tuple[PhotoRecord, tuple[Tensor, Tensor]]:
    """The saved file against its original: the numbers of a table row, and two thumbnails."""
    before, after = images.unit(photo.pixels), images.unit(images.load(output).pixels)
    used, noise, likeness = (m.score([after], [before], None, m.Config()).item() for m in (linf, psnr, ssim))
    height, width = before.shape[-2:]
    row = PhotoRecord(photo.path.name, output, width, height, round(used, 3), noise, likeness, seconds)
    return row, (thumbnail(before), thumbnail(after))


def _record(job: Job, key: str, originals: list[Photo], result: SetRecord, state: State) -> dict[str, Any]:
    """Everything needed to know what was done and to do it again; timings are kept apart, for they differ every time."""
    rows = [
        {
            "name": r.name, "original": str(p.path.absolute()), "digest": p.digest, "output": r.output.name,
            "sha256": _sha256(r.output), "width": r.width, "height": r.height, "budget_used": r.budget_used,
            "psnr": r.psnr, "ssim": r.ssim,
        }
        for p, r in zip(originals, result.photos, strict=True)
    ]  # fmt: skip
    return {
        "key": key,
        "protection": job.protection,
        "version": job.module.VERSION,
        "config": asdict(job.config),
        "seed": job.seed,
        "surrogates": [{"name": m.name, "weights": m.weights, "dtype": str(m.dtype)} for m in job.surrogates],
        "clean": [str(p.path.absolute()) for p in job.clean],
        "micro_batch": pgd.MICRO_BATCH,
        "surroundings": surroundings(job.device),
        "set": result.name,
        "out": str(result.out),
        "photos": rows,
        "notes": result.notes,
        "loss": state.trace,
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _earlier(folder: Path, key: str) -> SetRecord | None:
    """The result of an earlier run of the very same job, if all its photos are still there as they were written."""
    path = folder / "record.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text())
    out = Path(record["out"])
    if record["key"] != key or not all(
        (out / p["output"]).is_file() and _sha256(out / p["output"]) == p["sha256"] for p in record["photos"]
    ):
        return None
    rows = [
        PhotoRecord(p["name"], out / p["output"], p["width"], p["height"], p["budget_used"], p["psnr"], p["ssim"], 0.0)
        for p in record["photos"]
    ]
    surrogates = [f"{s['name']} (weights {s['weights']})" for s in record["surrogates"]]
    return SetRecord(
        record["set"], out, record["protection"], surrogates, rows, folder / "sheet.png", path, record["notes"], fresh=False
    )


def _refuse_overwriting(folder: Path, key: str, outputs: list[Path]) -> None:
    """Existing outputs stop the job before it computes anything, unless an interrupted run of the same job wrote them."""
    saving = folder / "saving.json"
    if saving.is_file() and json.loads(saving.read_text())["key"] == key:
        return
    there = [o for o in outputs if o.exists()]
    if there:
        raise UserError(*[f"{o} exists already; give --force to overwrite it, or another output folder." for o in there])


def work_copy(pixels: Tensor) -> Tensor:
    """uint8 3 x H x W to float in [0, 1], its short side at most WORK_SIDE."""
    x = images.unit(pixels)
    scale = WORK_SIDE / min(x.shape[-2:])
    if scale >= 1:
        return x
    size = (round(x.shape[-2] * scale), round(x.shape[-1] * scale))
    return torch.nn.functional.interpolate(x[None], size, mode="bilinear", antialias=True)[0]


def finish(pixels: Tensor, delta: Tensor, budget: float) -> Tensor:
    """The photo (uint8, 3 x H x W) plus a perturbation of its own or of its working size, rounded within the budget; uint8."""
    if delta.shape != pixels.shape:
        delta = torch.nn.functional.interpolate(delta[None], pixels.shape[-2:], mode="bilinear")[0]
    return images.round_within(images.unit(pixels).add_(delta), pixels, budget)
