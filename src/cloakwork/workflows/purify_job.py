"""What decides a purified photo's bytes: the job, and the order in which photos draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cloakwork.environment import computed_on
from cloakwork.errors import UserError
from cloakwork.evaluation.recorded_originals import Original
from cloakwork.evaluation.run import SEEDING, purifier_rng, run_purifier
from cloakwork.files import hash_of
from cloakwork.models import loading, pixel_ddpm
from cloakwork.models.device import pick_device
from cloakwork.models.ldm import LDM
from cloakwork.models.pixel_ddpm import PixelDDPM
from cloakwork.photos import tiling
from cloakwork.photos.photo import Photo, load_photo, revisions
from cloakwork.photos.saving import quality_key
from cloakwork.photos.sets import PhotoSet
from cloakwork.specs import Method


@dataclass(frozen=True)
class PurifyJob:
    """Everything that decides a purified photo's bytes, beside the photos."""

    purifiers: tuple[Method, ...]
    models: dict[str, LDM | PixelDDPM]
    """by kind, those that are needed"""
    seed: int
    quality: int | None
    device: torch.device
    """where the purifiers' networks are, those included that they find by themselves"""

    @cached_property
    def methods_used(self) -> list[dict[str, Any]]:
        """The purifiers as plain data.

        Made once a job, since it hashes the weights of networks that they find by themselves.
        """
        return [
            {
                "name": method.name,
                "version": method.version,
                "config": asdict(method.config),
                "instrument": method.networks,
            }
            | ({"source": method.source} if method.source else {})
            for method in self.purifiers
        ]

    @property
    def window(self) -> int:
        """Side of the largest square that a purifier cuts from photos, in pixels; 0 for none."""
        windowed = [m.model_kind for m in self.purifiers if getattr(m.module, "WINDOWS", False)]
        return max((self.models[kind].size for kind in windowed), default=0)

    def key(
        self, digests: Sequence[str], outputs: Sequence[Path], revised: Iterable[str] = ()
    ) -> str:
        """Return the hash of the job and of a set's photos in the order in which they are taken.

        Args:
            digests: of the photos.
            outputs: where they go.
            revised: `photo.revisions` of any of them.
        """
        weights = [(m.weights, str(m.dtype)) for m in self.models.values()]
        quality, late = quality_key(outputs, self.quality)
        parts = [self.methods_used, weights, self.seed, quality, computed_on(self.device)]
        return hash_of([*parts, SEEDING, list(digests), *sorted(revised), *late])

    def generators(self) -> list[torch.Generator]:
        """Return what each purifier draws from, before the first photo of a set."""
        return [purifier_rng(self.seed, place) for place in range(len(self.purifiers))]

    def purify(self, photo: Photo, rngs: Sequence[torch.Generator]) -> Tensor:
        """Run one photo through all purifiers.

        Args:
            photo: of any size.
            rngs: as `generators` gives them; they have moved on by what the photos before took.

        Returns:
            3 x H x W, uint8.
        """
        pixels = photo.pixels
        for method, rng in zip(self.purifiers, rngs, strict=True):
            model = self.models.get(method.model_kind)
            pixels = run_purifier(method, pixels.to(self.device), model, rng)
        return pixels


def job_of(
    purifiers: tuple[Method, ...],
    model: str,
    denoiser: str,
    seed: int,
    device: str,
    dtype: str,
    quality: int | None = None,
) -> PurifyJob:
    """Return a job, with the models that its purifiers ask for.

    Raises:
        UserError: no purifier; a model that is not there.
    """
    if not purifiers:
        raise UserError("No purifier was named. `cloakwork list purifiers` shows them.")
    kinds = {method.model_kind for method in purifiers}
    models: dict[str, LDM | PixelDDPM] = {}
    if "latent" in kinds:
        models["latent"] = loading.load(model, device, dtype)
    if "pixels" in kinds:
        models["pixels"] = pixel_ddpm.load(denoiser, device, dtype)
    alone = any(hasattr(method.module, "instrument") for method in purifiers)
    where = pick_device(device) if models or alone else torch.device("cpu")
    return PurifyJob(purifiers, models, seed, quality, where)


def check_sizes(window: int, shapes: Mapping[Any, Sequence[int]]) -> None:
    """Refuse photos that are smaller than a job's window.

    Args:
        window: `PurifyJob.window`.
        shapes: what a photo is called -> height and width in pixels.

    Raises:
        UserError: one sentence a photo.
    """
    if small := {name: shape for name, shape in shapes.items() if min(shape) < window}:
        raise UserError(
            *[
                f"{name}: {tiling.too_small(shape[0], shape[1], window)}"
                for name, shape in small.items()
            ]
        )


@dataclass(frozen=True)
class PurifyTask:
    """One photo set to be purified.

    Attributes:
        photos: the set.
        order: its photo numbers in the order in which an audit takes them: by the contents of the
            originals where all are known, else by their own. The photos draw one after the other.
        folder: where its record and sheet go.
        key: of job and photos.
        contents: output -> the sha256 of the pixels that its photo is given with.
    """

    photos: PhotoSet
    order: tuple[int, ...]
    folder: Path
    key: str
    contents: dict[Path, str]

    def draws(self, place: int) -> Path:
        """Return the file of the generators' states after the photo at a place of the order."""
        return self.folder / "draws" / f"{place:04}.safetensors"


def task_of(
    job: PurifyJob, photos: PhotoSet, folder: Path, known: dict[Path, Original]
) -> PurifyTask:
    """Return a photo set with its key; every photo is loaded once."""
    loaded = [(p.digest, revisions(p)) for p in map(load_photo, photos.files)]
    ranks = digests = [digest for digest, _ in loaded]
    if all(f in known for f in photos.files):
        ranks = [known[f].digest or load_photo(known[f].file).digest for f in photos.files]
    order = sorted(range(len(digests)), key=lambda i: (ranks[i], photos.files[i]))
    revised = frozenset().union(*(r for _, r in loaded))
    key = job.key([digests[i] for i in order], photos.outputs, revised)
    contents = dict(zip(photos.outputs, digests, strict=True))
    return PurifyTask(photos, tuple(order), folder, key, contents)
