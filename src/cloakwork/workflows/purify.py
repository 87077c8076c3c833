"""Whole jobs of purification: photos in, purified photos, a record and a contact sheet out."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from cloakwork import registry, specs
from cloakwork.environment import surroundings
from cloakwork.errors import UserError
from cloakwork.evaluation.pairing import Original, originals
from cloakwork.files import FOLDER, hash_of, read_json, sha256, write_json
from cloakwork.metrics import lpips
from cloakwork.models import loading, pixel_ddpm
from cloakwork.models.device import pick_device
from cloakwork.models.ldm import LDM
from cloakwork.models.pixel_ddpm import PixelDDPM
from cloakwork.photos import tiling
from cloakwork.photos.photo import Photo, check_quality, load_photo, save_photo
from cloakwork.photos.sets import PhotoSet, find_sets, load_all
from cloakwork.photos.sheets import contact_sheet, thumbnail
from cloakwork.photos.tensors import as_float
from cloakwork.state import Progress
from cloakwork.types import Photos

GAIN = 4  # of the contact sheet's differences: what purifiers change is larger than a budget


@dataclass(frozen=True)
class Purified:
    """One photo, and how far it is from its original before and after, where that is known."""

    name: str
    digest: str
    """sha256 of the pixels it was given with"""
    output: Path
    sha256: str
    """of the output file"""
    width: int
    height: int
    original: Path | None
    lpips_before: float | None
    """between the photo as it was given and its original"""
    lpips_after: float | None
    """between the purified photo and the original"""
    seconds: float
    notes: list[str]
    """what the purifiers had to say; of the first photo also what was left out, and why"""


@dataclass(frozen=True)
class PurifyJob:
    """Everything that decides a purified photo's bytes, beside the photo."""

    purifiers: list[tuple[str, ModuleType, Any]]
    models: dict[str, LDM | PixelDDPM]
    """by kind, those that are needed"""
    seed: int
    quality: int
    device: torch.device
    """where the purifiers' networks are, those included that they find by themselves"""

    @cached_property
    def methods_used(self) -> list[dict[str, Any]]:
        """The purifiers as plain data; once a job, since it hashes the weights of networks that
        they find by themselves.
        """
        return [
            {
                "name": name,
                "version": module.VERSION,
                "config": asdict(config),
                "instrument": registry.instrument(module, config),
            }
            for name, module, config in self.purifiers
        ]

    @cached_property
    def key(self) -> str:
        """Hash of all that."""
        weights = [(m.weights, str(m.dtype)) for m in self.models.values()]
        where = [self.device.type, torch.__version__, torch.get_num_threads()]
        return hash_of([self.methods_used, weights, self.seed, self.quality, where])

    def purify(self, photo: Photo) -> Tensor:
        """One photo through all purifiers, each with draws of its own; 3 x H x W, uint8."""
        x = as_float(photo.pixels).to(self.device)
        for k, (name, module, config) in enumerate(self.purifiers):
            rng = torch.Generator().manual_seed(int(hash_of([self.seed, k, photo.digest])[:15], 16))
            (x,) = module.purify([x], self.models.get(registry.model_kind(name)), config, rng=rng)
        return x.clamp(0, 1).mul(255).round().byte().cpu()


def purify(
    photos: Path | str,
    out: Path | str,
    *,
    purifiers: str | Sequence[tuple[str, Any]] = "jpeg",
    clean: Path | str | None = None,
    model: str = "tiny",
    denoiser: str = "tiny",
    seed: int = 0,
    device: str = "auto",
    dtype: str = "float32",
    suffix: str = ".png",
    quality: int = 95,
    force: bool = False,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> list[Purified]:
    """Runs photos of any size through purifiers, one photo after the other, at the photos' own
    size.

    Args:
        photos: a folder (subfolders are mirrored), a file or a pattern.
        out: folder for the purified photos; records and sheets go to its `.cloakwork`.
        purifiers: as on the command line, such as "jpeg:quality=75+resize"; or names (modules such
            as "my_lab.mine" too) and Configs in order, where None takes the preset for the model.
        clean: folder of the originals, by the same names; None: those that the records beside the
            photos name.
        model: what purifiers that work in latents use: "tiny", "tiny-b", a folder or a hub id.
        denoiser: what purifiers that diffuse pixels use: "tiny", a folder (diffusers' DDPMPipeline)
            or a hub id.
        seed: with the photo's content it decides everything random.
        device, dtype: where the model runs and what its arithmetic is autocast to.
        suffix: output format, such as ".png" or ".jpg"; `quality` is for JPEG.
        force: overwrite existing outputs (never originals).
        skip_bad: leave out photos that cannot be read.
        progress: called with a label, photos done and their total.

    Returns:
        The photos, set by set. What the same job has written before stays as it is.

    Raises:
        UserError: every fault found in the input, before anything is written.
    """
    out = Path(out).expanduser().absolute()
    chosen = [
        (n, registry.load("purifiers", n), config)
        for n, config in specs.purifiers(purifiers, model, denoiser)
    ]
    if not chosen:
        raise UserError("No purifier was named; `cloakwork list purifiers` shows them.")
    check_quality(quality)
    sets, skipped = load_all(find_sets([photos], out, suffix=suffix), skip_bad=skip_bad)
    known = originals(sets, clean)
    kept = {original.file.resolve() for original in known.values()}
    if mine := [o for s in sets for o in s.outputs if o.resolve() in kept]:
        raise UserError(
            *[
                f"{o} is an original, which is never overwritten; choose another output folder."
                for o in mine
            ]
        )
    kinds = {registry.model_kind(name) for name, _, _ in chosen}
    models: dict[str, LDM | PixelDDPM] = {}
    if "latent" in kinds:
        models["latent"] = loading.load(model, device, dtype)
    if "pixels" in kinds:
        models["pixels"] = pixel_ddpm.load(denoiser, device, dtype)
    alone = any(hasattr(module, "instrument") for _, module, _ in chosen)
    job = PurifyJob(
        chosen,
        models,
        seed,
        quality,
        pick_device(device) if models or alone else torch.device("cpu"),
    )
    _check_sizes(job, sets)
    done = {} if force else {s.name: _done(job, out / FOLDER / s.name) for s in sets}
    wrote = {output for rows in done.values() for output in rows}
    there = [o for s in sets for o in s.outputs if o.exists() and o not in wrote and not force]
    if there:
        raise UserError(
            *[
                f"{o} exists already; give --force to overwrite it, or another output folder."
                for o in there
            ]
        )
    total, rows = sum(len(s.files) for s in sets), []
    for s in sets:
        tell = partial(_tell, progress, len(rows), total)
        rows += _purify_set(job, s, out / FOLDER / s.name, known, done.get(s.name, {}), tell)
    rows[0] = replace(rows[0], notes=[*skipped, *rows[0].notes])
    return rows


def _check_sizes(job: PurifyJob, sets: Sequence[PhotoSet]) -> None:
    """Raises UserError for every photo that is smaller than the largest window which one of the
    purifiers puts on it.
    """
    windowed = [
        registry.model_kind(name)
        for name, module, _ in job.purifiers
        if getattr(module, "WINDOWS", False)
    ]
    if not windowed:
        return
    size = max(job.models[kind].size for kind in windowed)
    shapes = {file: load_photo(file).pixels.shape[1:] for s in sets for file in s.files}
    if small := {file: shape for file, shape in shapes.items() if min(shape) < size}:
        raise UserError(
            *[
                f"{file}: {tiling.too_small(shape[0], shape[1], size)}"
                for file, shape in small.items()
            ]
        )


def _tell(progress: Progress | None, before: int, total: int, done: int) -> None:
    if progress:
        progress("purified", before + done, total)


def _purify_set(
    job: PurifyJob,
    photos: PhotoSet,
    folder: Path,
    known: dict[Path, Original],
    done: dict[Path, Purified],
    tell: Callable[[int], None],
) -> list[Purified]:
    """One photo set; its record grows with every photo, so that an interrupted job goes on."""
    rows: list[Purified] = []
    shown: list[
        tuple[Tensor, ...]
    ] = []  # original where it is known, the photo as given, the photo purified
    for file, output in zip(photos.files, photos.outputs, strict=True):
        photo = load_photo(file)
        original = _alike(known.get(file), photo)
        before = done.get(output)
        row = before if before and before.digest == photo.digest else _purify(job, photo, output)
        rows.append(_compared(row, photo, original))
        later = [done[o] for o in photos.outputs[len(rows) :] if o in done]
        write_json(
            folder / "purified.json",
            _settings(job) | {"photos": [asdict(row) for row in [*rows, *later]]},
        )
        stages = ([original] if original else []) + [photo, load_photo(output)]
        shown.append(tuple(thumbnail(as_float(stage.pixels)) for stage in stages))
        tell(len(rows))
    count = min(len(stages) for stages in shown)
    titles = ("original", "as given", "purified")[-count:]
    columns: dict[str, Photos] = {
        title: [stages[i] for stages in shown]
        for i, title in zip(range(-count, 0), titles, strict=True)
    }
    contact_sheet([row.name for row in rows], columns, GAIN, folder / "sheet.png")
    return rows


def _alike(known: Original | None, photo: Photo) -> Photo | None:
    """The original, where it is known, what it was when the photo was made from it, and of the
    photo's size.
    """
    original = load_photo(known.file) if known else None
    if known is None or original is None or known.changed(original.digest):
        return None
    return original if original.pixels.shape == photo.pixels.shape else None


def _purify(job: PurifyJob, photo: Photo, output: Path) -> Purified:
    """One photo from file to file."""
    begun = time.monotonic()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        pixels = job.purify(photo)
    save_photo(pixels, photo, output, quality=job.quality, force=True)
    seconds = time.monotonic() - begun
    notes = dict.fromkeys(
        f"{photo.path.name}: {w.message}" for w in said if w.category is UserWarning
    )
    return Purified(
        photo.path.name,
        photo.digest,
        output,
        sha256(output),
        photo.pixels.shape[2],
        photo.pixels.shape[1],
        None,
        None,
        None,
        round(seconds, 2),
        list(notes),
    )


def _compared(row: Purified, photo: Photo, original: Photo | None) -> Purified:
    """The row with distances to the original, where that is known; what is in it already stays."""
    if original is None or row.original == original.path:
        return row
    before, after = (_apart(x, original) for x in (photo, load_photo(row.output)))
    return replace(row, original=original.path, lpips_before=before, lpips_after=after)


def _apart(photo: Photo, original: Photo) -> float:
    """LPIPS."""
    return lpips.score(
        [as_float(photo.pixels)], [as_float(original.pixels)], None, lpips.Config()
    ).item()


def _done(job: PurifyJob, folder: Path) -> dict[Path, Purified]:
    """What the very same job has written into a set already and is still as it was, by output."""
    kept = read_json(folder / "purified.json")
    if kept.get("key") != job.key:
        return {}
    rows = [
        Purified(
            **r | {"output": Path(r["output"]), "original": r["original"] and Path(r["original"])}
        )
        for r in kept["photos"]
    ]
    return {
        row.output: row for row in rows if row.output.is_file() and sha256(row.output) == row.sha256
    }


def _settings(job: PurifyJob) -> dict[str, Any]:
    """Everything needed to do the same again."""
    return {
        "key": job.key,
        "purifiers": job.methods_used,
        "models": {
            k: {"name": m.name, "weights": m.weights, "dtype": str(m.dtype)}
            for k, m in job.models.items()
        },
        "seed": job.seed,
        "surroundings": surroundings(job.device),
    }
